"""Predictors in 8-bit integers: the same integers in C and in the reference, and nearly the same answers."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, nn
from macrograd.cli import main
from tests.exporting.test_c import CHECKED, FLAGS, compiled, needs_cc, net, recurrence, selftest
from tests.exporting.test_trained import as_csv, table

sklearn_datasets = pytest.importorskip("sklearn.datasets")


def in_c(path: Path, exported: Any, rows: Any) -> np.ndarray:
    """The file's outputs for rows of integers."""
    out = path.with_suffix(".so")
    subprocess.run(["cc", *FLAGS, "-O1", "-shared", "-fPIC", "-o", str(out), str(path)], check=True)
    predict = getattr(ctypes.CDLL(str(out)), f"{path.stem}_predict")
    predict.argtypes = [ctypes.c_void_p] * 3
    state, found = (
        ctypes.create_string_buffer(exported.state),
        np.empty((len(rows), exported.reference.outputs), np.int16),
    )
    for row, y in zip(np.ascontiguousarray(rows, np.int8), found, strict=True):
        predict(state, row.ctypes.data, y.ctypes.data)
    return found


@needs_cc
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_digits_within_half_a_point(tmp_path: Path, activation: str) -> None:
    X, y = sklearn_datasets.load_digits(return_X_y=True)
    trainer = mg.Trainer(nn.MLP(64, [24, 10], seed=1, activation=activation), "cross_entropy", scale="standard")
    trainer.fit(X[:1200], y[:1200], epochs=6, progress="none")
    exported = mg.export(trainer, tmp_path / "net.c", dtype="int8", calibration=X[:1200])
    assert selftest(tmp_path / "net.c").stdout == "net: 5 cases agree\n"
    found = in_c(tmp_path / "net.c", exported, exported.reference.encode(X))
    np.testing.assert_array_equal(found, exported.reference.run(exported.reference.encode(X)))
    exact = float(np.mean(trainer.predict(X) == y))
    assert exact > 0.85
    assert abs(float(np.mean(found.argmax(axis=1) == y)) - exact) <= 0.005
    body = (tmp_path / "net.c").read_text().split("*/", 1)[1].split("#ifdef MACROGRAD_SELFTEST")[0]
    assert "double" not in body
    assert "float" not in body.replace("#ifdef MACROGRAD_FLOAT", "FLOAT").split("FLOAT")[0]
    assert exported.constants < 64 * 24 + 24 * 10 + 34 * 9 + 400  # a byte for a weight, nine for a channel, a table
    assert exported.state == 64 + 24 * 2


ROWS = np.random.default_rng(0).normal(size=(300, 3))


@needs_cc
@pytest.mark.parametrize(
    "function",
    [
        lambda x: [mg.tanh(x[0]) * 2.0 + x[2], mg.leaky_relu(x[1]), 3.0, x[0] * x[0]],
        lambda x: mg.sigmoid(0.5 * mg.sin(x[0] - x[1]) + mg.exp(-abs(x[2])) - 0.25),
        lambda x: [mg.relu(x[k] * 0.5 - x[(k + 1) % 3]) - mg.relu(x[k] + 0.1 * x[(k + 2) % 3]) for k in range(3)],
        lambda x: x[1],
    ],
)
def test_functions_of_numbers(tmp_path: Path, function: Any) -> None:
    exported = mg.export(function, tmp_path / "t.c", np.zeros(3), dtype="int8", calibration=ROWS, header=True)
    assert selftest(tmp_path / "t.c").stdout == "t: 5 cases agree\n"
    reference = exported.reference
    np.testing.assert_array_equal(
        in_c(tmp_path / "t.c", exported, reference.encode(ROWS)), reference.run(reference.encode(ROWS))
    )
    right = np.array([np.ravel([float(y) for y in np.ravel(function(list(row)))]) for row in ROWS.tolist()])
    assert np.abs(reference.predict(ROWS) - right).max() < 0.03 * np.abs(right).max()


@needs_cc
def test_floats_are_encoded_in_c(tmp_path: Path) -> None:
    exported = mg.export(
        lambda x: mg.tanh(x[0] + x[1] - x[2]), tmp_path / "t.c", np.zeros(3), dtype="int8", calibration=ROWS
    )
    numbers = ROWS[:40].astype(np.float32)
    listed = ", ".join(f"{float(x).hex()}f" for x in numbers.ravel())
    whole = ", ".join(map(str, exported.reference.encode(numbers).ravel()))
    (tmp_path / "main.c").write_text(
        f'#include "t.c"\nint main(void) {{\n    static const float x[120] = {{{listed}}};\n'
        f"    static const int8_t right[120] = {{{whole}}};\n    int wrong = 0;\n"
        "    for (int k = 0; k < 40; ++k) {\n        int8_t q[3];\n        t_encode(x + 3 * k, q);\n"
        "        for (int i = 0; i < 3; ++i) {\n            const int off = q[i] - right[3 * k + i];\n"
        "            wrong += off > 1 || off < -1;\n        }\n    }\n"
        "    return wrong;\n}\n"
    )
    program = compiled(tmp_path / "main.c", *CHECKED, "-DMACROGRAD_FLOAT")
    assert subprocess.run([str(program)], check=False).returncode == 0


@needs_cc
def test_the_command_calibrates_by_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = [row[:2] + row[3:] for row in table()]  # without the dates
    data, model, out = as_csv(listed, tmp_path / "t.csv"), str(tmp_path / "t.safetensors"), tmp_path / "net.c"
    assert main(["train", str(data), "--target", "kind", "--steps", "60", "--quiet", "--save", model]) == 0
    assert main(["export", model, str(out), "--dtype", "int8", "--calibrate", str(data)]) == 0
    assert "-DMACROGRAD_SELFTEST" in capsys.readouterr().out
    assert selftest(out).stdout == "net: 5 cases agree\n"
    other = as_csv([["size */", "kind"], ["1", "2"]], tmp_path / "other.csv")
    empty = as_csv([listed[0], ["", *listed[2][1:]]], tmp_path / "empty.csv")
    written = out.read_bytes()
    for asked, said in (
        (["--dtype", "int8"], "give a table with --calibrate"),
        (["--calibrate", str(data)], "--calibrate is for --dtype int8: float64 needs no rows"),
        (["--dtype", "int8", "--calibrate", str(tmp_path / "none.csv")], "none.csv"),
        (["--dtype", "int8", "--calibrate", str(other)], "lacks"),
        (["--dtype", "int8", "--calibrate", str(empty)], "lacks a number"),
        (["--dtype", "int8", "--kind", "train", "--calibrate", str(data)], "integers of 8 bits predict, in a .c file"),
    ):
        assert main(["export", model, str(out), *asked]) == 2
        assert said in capsys.readouterr().err
    assert out.read_bytes() == written


W = Value(0.5)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (
            {"calibration": None},
            ValueError,
            "export(dtype='int8') needs rows like those to be predicted, as in calibration=",
        ),
        ({"calibration": np.zeros((4, 2))}, ValueError, "needs rows of 3 numbers, got an array of shape (4, 2)"),
        ({"calibration": [[1.0, np.nan, 0.0]]}, ValueError, "has nan in row 0, column 1: integers have no NaN"),
        ({"kind": "gradient"}, ValueError, "integers of 8 bits predict, in a .c file; use dtype='float32' here"),
        ({"path": "net.wasm"}, ValueError, "integers of 8 bits predict, in a .c file"),
        ({"dtype": "float32"}, ValueError, "export(calibration=...) is for dtype='int8'"),
        ({"what": lambda x: W * x[0] * x[1]}, TypeError, "cannot quantise"),
        ({"what": lambda x: mg.maximum(x[0], x[1])}, TypeError, "cannot quantise maximum of two numbers"),
        ({"what": lambda x: mg.take([W, W, x[1]], x[0])}, TypeError, "cannot quantise a choice by index"),
        (
            {"what": recurrence(40), "args": (np.zeros(40),), "calibration": np.zeros((2, 40))},
            TypeError,
            "cannot quantise a loop",
        ),
    ],
)
def test_bad_input_writes_nothing(tmp_path: Path, change: dict[str, Any], error: type[Exception], said: str) -> None:
    given: dict[str, Any] = {
        "what": net([3, 4, 1]), "path": "net.c", "args": (np.zeros(3),), "dtype": "int8", "calibration": ROWS, **change,
    }  # fmt: skip
    what, path, args = given.pop("what"), tmp_path / given.pop("path"), given.pop("args")
    with pytest.raises(error) as raised:
        mg.export(what, path, *args, **given)
    assert said in str(raised.value)
    assert not list(tmp_path.iterdir())
