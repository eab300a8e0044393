"""Any array-like is data, and what is larger than memory stays in its file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd import nn, optim
from macrograd.train import Trainer
from macrograd.train.samples.data import Samples

ROWS = np.random.RandomState(0).randn(40, 3)
Y = (ROWS[:, 0] > 0).astype(int)


class Table:
    """What a pandas DataFrame shows of itself."""

    def __init__(self, rows: Any, columns: list[str]) -> None:
        self._rows, self.columns = rows, columns

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self._rows, dtype=dtype)


class Chunked:
    """What an HDF5 dataset shows of itself: increasing row numbers only, each once."""

    def __init__(self, rows: Any) -> None:
        self._rows, self.shape, self.dtype, self.ndim, self.chunks = rows, rows.shape, rows.dtype, rows.ndim, (8, 3)
        self.most = 0

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, slice):
            assert (np.diff(key) > 0).all()
        found = self._rows[key]
        self.most = max(self.most, len(found))
        return found


def memmapped(path: Path, rows: Any) -> Any:
    np.save(path, rows)
    return np.load(path, mmap_mode="r")


def trained(X: Any, dtype: str = "float64", engine: str = "compiled") -> tuple[list[float], Trainer]:
    model = nn.MLP(3, [4, 1], seed=1)
    trainer = Trainer(model, optimizer=optim.Adam(0.01), dtype=dtype, engine=engine)
    trainer.fit(X, Y, epochs=3, batch_size=16, metrics=["accuracy"], progress=False)
    return [p.data for p in model.parameters()], trainer


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_every_kind_of_data_gives_the_same_bits(tmp_path: Path, engine: str) -> None:
    expected, _ = trained(ROWS, engine=engine)
    kinds = {
        "lists": ROWS.tolist(),
        "tuples": [tuple(row) for row in ROWS.tolist()],
        "rows of arrays": list(ROWS),
        "a table": Table(ROWS, ["a", "b", "c"]),
        "a table of objects": Table(ROWS.astype(object), ["a", "b", "c"]),
        "fortran": np.asfortranarray(ROWS),
        "strided": np.repeat(ROWS, 2, axis=0)[::2],
        "memory-mapped": memmapped(tmp_path / "X.npy", ROWS),
        "a part of a file": memmapped(tmp_path / "twice.npy", np.concatenate([ROWS, ROWS]))[40:],
        "chunked": Chunked(ROWS),
    }
    for kind, X in kinds.items():
        assert trained(X, engine=engine)[0] == expected, kind


def test_integers_and_bools_are_numbers() -> None:
    assert Samples([[1, 2], [3, 4]]).array().dtype == np.float64
    assert Samples([[True, False]]).array().tolist() == [[1.0, 0.0]]


def test_a_file_is_never_copied_whole(tmp_path: Path) -> None:
    rows = np.zeros((400_000, 16), dtype=np.float32)  # 25 MB, as float64 50
    rows[:, 0] = np.arange(400_000) % 2
    X = memmapped(tmp_path / "X.npy", rows)
    y = rows[:, 0].astype(int)
    model = nn.MLP(16, [2, 1], activation="tanh", seed=1)
    trainer = Trainer(model, dtype="float32")
    trainer.fit(X, y, steps=1, batch_size=1000, progress=False)  # what is loaded and compiled once
    tracemalloc.start()
    try:
        trainer.fit(X, y, steps=400, batch_size=1000, progress=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The order of an epoch is 3 MB and its making 10; a block is 16 MB at most, and read a few times at once.
    assert Samples(X, dtype="float32").streamed
    assert peak < 120e6
    assert trainer.evaluate(X, y, metrics=["accuracy"])["accuracy"] > 0.9


def test_chunked_data_are_read_in_blocks() -> None:
    X = Chunked(ROWS)
    trained(X)
    before = Samples(X)
    assert before.streamed
    with pytest.raises(ValueError, match=r"X stays in its file: give \(Xv, yv\)"):
        Trainer(nn.MLP(3, [1], seed=0)).fit(X, Y, validation=0.5, progress=False)


def test_bad_numbers_are_found_in_files(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[33, 2] = np.nan
    with pytest.raises(ValueError, match=r"X\[33, 2\] is nan, in row 33, column 2"):
        Samples(memmapped(tmp_path / "X.npy", rows))


def test_columns_are_named() -> None:
    rows = ROWS.copy()
    rows[1, 1] = np.inf
    with pytest.raises(ValueError, match=r"X\[1, 1\] is inf, in row 1, column 1 \('height'\)"):
        Samples(Table(rows, ["width", "height", "depth"]))
    with pytest.raises(TypeError, match=r"X holds 'tall' in row 0, column 1 \('height'\): samples must be numbers"):
        Samples(Table(np.array([[1, "tall"]], dtype=object), ["width", "height"]))


def test_numbers_too_large_for_float32() -> None:
    with pytest.raises(ValueError, match=r"X\[0, 1\] is 1e\+200, in row 0, column 1: too large for float32"):
        Samples([[1.0, 1e200]], dtype="float32")


def test_places_deeper_than_two() -> None:
    cube = np.zeros((3, 2, 2))
    cube[2, 1, 0] = np.nan
    with pytest.raises(ValueError, match=r"X\[2, 1, 0\] is nan, in row 2, at \(1, 0\)"):
        Samples(cube)


def test_sparse_data_and_things_that_are_none() -> None:
    class Sparse:
        def toarray(self) -> Any:
            return ROWS

    with pytest.raises(TypeError, match=r"X is a sparse Sparse: give the dense array, with X\.toarray\(\)"):
        Samples(Sparse())
    with pytest.raises(TypeError, match="X must hold numbers, got "):
        Samples(object())
    with pytest.raises(ValueError, match="row 1 of X has a single number, row 0 has 2 numbers"):
        Samples([[1, 2], 3])
    with pytest.raises(TypeError, match="X must hold real numbers, got dtype datetime64"):
        Samples(np.array([["2020-01-01"]], dtype="datetime64[D]"))
