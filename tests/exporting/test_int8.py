"""Predictors in 8-bit integers: the same integers in C and in the reference, and nearly the same answers."""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, nn
from macrograd.cli import main
from tests.exporting.test_c import FLAGS, checked, needs_cc, net, selftest
from tests.exporting.test_trained import as_csv, table
from tests.fuzz import generate, language

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
    program = checked(tmp_path / "main.c", "-DMACROGRAD_FLOAT")
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
CELLS = [[Value(w) for w in row] for row in np.random.default_rng(1).normal(0.0, 0.5, (16, 5)).tolist()]


def memory(rounds: int) -> Any:
    """An LSTM of 4 cells along a line of numbers."""

    def run(x: Any) -> Any:
        h, c = [0.0] * 4, [0.0] * 4
        for t in range(rounds):
            z = [sum(w * v for w, v in zip(row, [*h, x[t]], strict=True)) for row in CELLS]
            c = [mg.sigmoid(z[i]) * c[i] + mg.sigmoid(z[4 + i]) * mg.tanh(z[8 + i]) for i in range(4)]
            h = [mg.sigmoid(z[12 + i]) * mg.tanh(c[i]) for i in range(4)]
        return h

    return run


def irregular(x: Any) -> Any:
    """Scalars without a pattern."""
    draw, v = np.random.default_rng(3), list(x)
    for _ in range(120):
        i, j = draw.integers(0, len(v), 2)
        made = [lambda a, b: a * b * 0.5, lambda a, b: mg.tanh(a) - 0.3 * b, lambda a, b: mg.maximum(a, W * b)]
        v.append(made[draw.integers(0, 3)](v[i], v[j]))
    return [v[-1], v[-2] * v[-3]]


def choosing(x: Any) -> Any:
    which = mg.round(mg.sigmoid(x[2]) * 2.0)
    return [mg.take([x[0], x[0] * x[1], W], which), mg.where(x[0] * x[1] > x[2], mg.exp(x[1]), x[0]), mg.floor(x[0])]


ANY: dict[str, tuple[Any, int, float]] = {  # a function, its inputs, how far off it may be, relative to the largest
    "products": (lambda x: [W * x[0] * x[1], mg.minimum(x[0], x[1]), x[0] / (1.5 + mg.tanh(x[1] * x[2]))], 3, 0.02),
    "softmax": (lambda x: mg.softmax([x[k] * x[(k + 1) % 3] for k in range(3)]), 3, 0.02),
    "choices": (choosing, 3, 1.0),  # a number next to a border is on the other side of it in 8 bits
    "memory": (memory(12), 12, 0.03),
    "irregular": (irregular, 3, 0.05),
    "slow": (lambda x: mg.loop(1000, lambda k, s: 0.999 * s + 0.001 * mg.exp(x[0]), x[1] * x[2]), 3, 0.03),
    "loop": (lambda x: mg.loop(30, lambda k, s: 0.9 * s + 0.1 * mg.sin(s * x[0] + 0.1 * k), x[1]), 3, 0.03),
}


@needs_cc
@pytest.mark.parametrize("name", ANY)
def test_any_program_has_the_integers_of_the_reference(tmp_path: Path, name: str) -> None:
    function, size, far = ANY[name]
    rows = np.random.default_rng(0).normal(size=(200, size))
    exported = mg.export(function, tmp_path / "t.c", np.zeros(size), dtype="int8", calibration=rows)
    reference = exported.reference
    wild = np.vstack([reference.encode(rows), np.random.default_rng(1).integers(-128, 128, (100, size))])
    np.testing.assert_array_equal(in_c(tmp_path / "t.c", exported, wild), reference.run(wild))
    right = mg.compile(function, batch=True)(rows)
    right = np.column_stack(right) if isinstance(right, (list, tuple)) else np.reshape(right, (len(rows), -1))
    assert np.abs(reference.predict(rows) - right).max() <= far * np.abs(right).max()
    assert "double" not in (tmp_path / "t.c").read_text()


def test_loops_stay_loops(tmp_path: Path) -> None:
    lines = []
    for rounds in (10, 40):
        rows = np.random.default_rng(0).normal(size=(50, rounds))
        mg.export(memory(rounds), tmp_path / "t.c", np.zeros(rounds), dtype="int8", calibration=rows)
        text = (tmp_path / "t.c").read_text()
        body = text[text.index("void t_predict(t_state *s, const int8_t *x, int16_t *y) {") :]
        lines.append(body[: body.index("\n}\n")].count("\n"))
    assert lines[0] == lines[1]


@needs_cc
def test_random_programs_have_the_integers_of_the_reference(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    for k in range(45):
        case = generate.case(f"integers:{k}")
        rows = np.array(case.data.samples)
        if len(case.program.arguments) > 1 or not np.isfinite(rows).all():
            continue
        function = language.function(case.program.text(), [Value(p) for p in case.data.parameters])
        path = tmp_path / f"t{k}.c"
        with contextlib.suppress(TypeError, ValueError):  # refused
            found[path.stem] = mg.export(function, path, rows[0], dtype="int8", calibration=rows)
    assert len(found) >= 15
    out = tmp_path / "all.so"
    files = [str(tmp_path / f"{name}.c") for name in found]
    subprocess.run(["cc", "-std=c99", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(out), *files], check=True)
    library = ctypes.CDLL(str(out))
    for name, exported in found.items():
        reference = exported.reference
        given = np.random.default_rng(0).integers(-128, 128, (40, reference.inputs))
        predict = getattr(library, f"{name}_predict")
        predict.argtypes = [ctypes.c_void_p] * 3
        state, y = ctypes.create_string_buffer(exported.state + 8), np.empty((40, reference.outputs), np.int16)
        for row, to in zip(np.ascontiguousarray(given, np.int8), y, strict=True):
            predict(state, row.ctypes.data, to.ctypes.data)
        np.testing.assert_array_equal(y, reference.run(given), err_msg=name)


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
        ({"calibration": [[1.0, 1e200, 0.0]]}, ValueError, "has 1e+200 in row 0, column 1: integers hold numbers up"),
        ({"what": lambda x: mg.atan2(W * x[0], x[1])}, TypeError, "cannot quantise atan2 of 2 numbers that depend"),
        ({"what": lambda x: mg.atan2(W * x[0], x[1])}, TypeError, f"(atan2 at {__file__}:"),
        ({"what": lambda x: mg.log(x[0] * x[1])}, TypeError, "log gives nan on a calibration row"),
        ({"what": lambda x: mg.log(x[0] * x[1])}, TypeError, f"(log at {__file__}:"),
        ({"what": lambda x: mg.sin(300.0 * x[0] * x[1])}, TypeError, "it changes too fast for a table"),
        ({"what": lambda x: mg.exp(x[0] * 60.0) * x[1]}, TypeError, "on the calibration rows, and integers hold"),
        ({"what": lambda x: mg.take([W, W * x[1]], x[0])}, TypeError, "take got the index"),
        ({"what": lambda x: mg.sin(x[0]), "calibration": 1000.0 + ROWS}, TypeError, "in integers are off by"),
        ({"what": lambda x: x[0] * mg.sin(x[1]), "calibration": 1000.0 + ROWS}, TypeError, "in integers are off by"),
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
