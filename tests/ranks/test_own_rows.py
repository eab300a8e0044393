"""Training where each rank passes the rows that it has, on a communicator of threads."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake import on_ranks

import macrograd as mg
from macrograd import nn, optim
from macrograd.ranks import OtherRankError
from macrograd.train import TrainingWarning
from macrograd.train.callbacks import Run

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 2)) * [1.0, 3.0]
Y = np.where(X[:, 0] * X[:, 1] > 0.3, "yes", "no")
W = rng.uniform(0.5, 2.0, size=300)
XV, YV = rng.normal(size=(70, 2)), np.where(rng.uniform(size=70) > 0.5, "yes", "no")


def mine(comm: Any, *columns: Any) -> list[Any]:
    """This rank's rows: the first has few, the last most."""
    rank, size = comm.Get_rank(), comm.Get_size()
    found = []
    for column in columns:
        ends = [round(len(column) * (k / size) ** 2) for k in range(size + 1)]
        found.append(column[ends[rank] : ends[rank + 1]])
    return found


def trained(comm: Any, *, own: bool = True, **options: Any) -> tuple[Any, ...]:
    model = nn.MLP(2, [4, 1], seed=0)
    trainer = mg.Trainer(model, None, optim.Adam(1e-2), comm=comm, own_rows=own, scale="robust", label_smoothing=0.1)
    x, y, w, xv, yv = mine(comm, X, Y, W, XV, YV) if own else (X, Y, W, XV, YV)
    settings = {"epochs": 2, "batch_size": 70, "validation": (xv, yv), "progress": False, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)  # two epochs are too few to learn
        history = trainer.fit(
            x, y, sample_weight=w, class_weight="balanced", metrics=["accuracy"], **settings
        )  # fmt: skip
    answers = trainer.predict(X).tolist()
    return [p.data for p in trainer.model.parameters()], history.losses, dict(history.metrics), answers


@pytest.fixture(scope="module")
def whole() -> tuple[Any, ...]:
    return on_ranks(1, lambda comm: trained(comm, own=False))[0]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_bits_are_those_of_ranks_that_have_all_rows(size: int, whole: tuple[Any, ...]) -> None:
    assert on_ranks(size, trained) == [whole] * size


def test_a_fraction_is_held_out_of_all_rows_and_the_order_may_be_that_of_the_rows() -> None:
    options: dict[str, Any] = {"validation": 0.3, "shuffle": False, "early_stopping": 1, "watch": "health"}
    (one,) = on_ranks(1, lambda comm: trained(comm, own=False, **options))
    assert on_ranks(3, lambda comm: trained(comm, **options)) == [one] * 3


def test_another_number_of_ranks_resumes(tmp_path: Path, whole: tuple[Any, ...]) -> None:
    path = tmp_path / "run"
    on_ranks(3, lambda comm: trained(comm, epochs=1, checkpoint=path, every="3 steps"))
    assert on_ranks(2, lambda comm: trained(comm, checkpoint=path, resume=True)) == [whole] * 2


def test_a_rank_that_stops_stops_all_after_the_same_step() -> None:
    def enough(comm: Any) -> Any:
        return lambda run: run.stop("enough") if comm.Get_rank() == 1 and run.epoch == 2 else None

    found = on_ranks(3, lambda comm: trained(comm, epochs=4, callbacks=enough(comm)))
    assert len(found[0][1]) == 2 * 5
    assert all(one[:2] == found[0][:2] for one in found)


def test_examples_are_rows_that_this_rank_has() -> None:
    def work(comm: Any) -> Any:
        seen: list[Any] = []

        def look(run: Run) -> None:
            if comm.Get_rank() == 1:
                seen.append(run.examples(5))

        trained(comm, epochs=1, callbacks=look)
        return seen

    rows, labels = on_ranks(2, work)[1][0]
    assert len(rows) == 5
    for row, label in zip(rows, labels, strict=True):
        place = int(np.abs(X - row).sum(axis=1).argmin())
        assert np.allclose(X[place], row)
        assert Y[place] == label
        assert place >= 75


def test_what_does_not_fit_together_is_told() -> None:
    def work(comm: Any, x: Any = None, y: Any = None, **options: Any) -> Any:
        model = nn.MLP(2, [1], seed=0)
        a, b = mine(comm, X, Y)
        k = comm.Get_rank()
        trainer = mg.Trainer(model, comm=comm, own_rows=True)
        return trainer.fit(a if x is None else x[k], b if y is None else y[k], steps=1, progress=False, **options)

    cases: dict[str, dict[str, Any]] = {
        "X of rank 1 has rows of another shape or other columns": {"x": (X[:9, :2], X[:9, :1]), "y": (Y[:9], Y[:9])},
        "y of rank 1 holds text": {"y": (np.arange(75), Y[75:])},
        "X has 75 samples on rank 0 and y the shape (9,)": {"y": (Y[:9], Y[75:])},
        "X is empty": {"x": (X[:0], X), "y": (Y[:0], Y)},
    }
    ones, objects = np.ones(70), np.array([1.0, None] * 35)
    cases |= {
        "Xv has 70 samples on rank 0 and yv the shape (69,)": {"validation": (XV, YV[1:])},
        "Xv has 70 samples on rank 0 and sample_weight of Xv the shape (69,)": {"validation": (XV, YV, ones[1:])},
        "yv holds objects": {"validation": (XV, objects)},
        "sample_weight of Xv holds objects": {"validation": (XV, YV, objects)},
    }
    for message, case in cases.items():
        found = on_ranks(2, lambda comm, case=case: work(comm, **case))
        assert all(isinstance(one, (ValueError, OtherRankError)) for one in found), found
        assert any(message in str(one) for one in found), found
    (found,) = on_ranks(1, lambda comm: work(comm, validation=1.5))
    assert isinstance(found, ValueError)
    with pytest.raises(ValueError, match="own_rows=True is for ranks that share a run: give comm"):
        mg.Trainer(nn.MLP(2, [1]), own_rows=True)
