"""Programs with `mg.loop`, `mg.while_loop` and `mg.cond` as C, WebAssembly and ONNX, against the eager engine."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from tests.exporting.test_c import FLAGS, needs_cc

N = 60
A, B = Value(0.7, "a"), Value(-0.4, "b")
WAVE = np.sin(np.arange(N)).tolist()


def recurrence(x: Any) -> Any:
    """Reads an array by the round, an argument, and the number of the round."""
    return mg.loop(N, lambda i, h: mg.tanh(A * h + mg.take(WAVE, i) * x[0] + 0.001 * i * B), x[1])


def kept(x: Any) -> Any:
    """The second loop reads backwards what the first one kept, and has a loop in each round."""

    def forward(i: Any, s: Any) -> Any:
        new = (mg.tanh(A * s[0] + x[0] * s[1]), 0.99 * s[1] + 0.01 * B)
        return new, new[0]

    (last, _), path = mg.loop(N, forward, (x[1], 1.0), collect=True)

    def back(i: Any, s: Any) -> Any:
        return mg.loop(9, lambda j, t: mg.sin(A * t + 0.1 * j), s * B) + mg.take(path, N - 1 - i) ** 2

    return mg.loop(N, back, last)


def root(x: Any) -> Any:
    """As many rounds as it takes, which differ between samples, and then one of two branches."""
    y = x[0] * x[0] + A * A
    found = mg.while_loop(lambda s: abs(s * s - y) > 1e-12 * y, lambda s: 0.5 * (s + y / s), y, most=40)
    return mg.cond(x[1] > 0.0, lambda r: r * B, lambda r: mg.exp(r) * A, found)


def again(x: Any) -> Any:
    """The loop runs in sections, on slots that each of them uses again."""
    return mg.loop(1_000, lambda i, s: mg.sin(s * A + 0.1 * i) * x[0], x[1] * B, memory="sqrt")


def asked(x: Any) -> Any:
    """As many rounds as an argument says, in sections."""
    return mg.loop(mg.floor(60.0 * (x[0] + 1.0)), lambda i, s: mg.sin(A * s + 0.1 * i), x[1] * B, most=300)


def one_by_one(x: Any) -> Any:
    """Rounds that are long enough to be left out by themselves."""

    def body(i: Any, s: Any) -> Any:
        for k in range(17):
            s = A * s + 0.01 * k * i
        return s

    return mg.loop(mg.floor(6.0 * (x[0] + 1.0)), body, x[1] * B, most=16)


PROGRAMS = [recurrence, kept, root, again, asked, one_by_one]
SAMPLES = [[0.3, -0.2], [1.5, 0.8], [-0.9, 0.1]]
Gradient = Callable[[Sequence[float]], tuple[float, Any]]


def in_c(function: Any, folder: Path, example: Sequence[float] = SAMPLES[0]) -> Gradient:
    path, library = folder / "case.c", folder / "case.so"
    mg.export(function, path, example, kind="gradient")
    subprocess.run(["cc", *FLAGS, "-shared", "-fPIC", "-o", str(library), str(path), "-lm"], check=True)
    entry = ctypes.CDLL(str(library)).case_gradient
    entry.restype, entry.argtypes = ctypes.c_double, [ctypes.c_void_p] * 4
    state, theta = ctypes.create_string_buffer(1 << 20), np.array([p.data for p in parameters(function, example)])

    def run(sample: Sequence[float]) -> tuple[float, Any]:
        x, gradient = np.array(sample), np.empty(len(theta))
        return entry(state, theta.ctypes.data, x.ctypes.data, gradient.ctypes.data), gradient

    return run


def in_wasm(function: Any, folder: Path, example: Sequence[float] = SAMPLES[0]) -> Gradient:
    pytest.importorskip("wasmtime")
    from tests.exporting.test_wasm import exported

    return exported(function, folder, example, kind="gradient").gradient


def in_onnx(function: Any, folder: Path) -> Gradient:
    onnxruntime = pytest.importorskip("onnxruntime")
    mg.export(function, folder / "case.onnx", SAMPLES[0], kind="gradient")
    session = onnxruntime.InferenceSession(str(folder / "case.onnx"), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(sample: Sequence[float]) -> tuple[float, Any]:
        found = dict(zip(names, session.run(None, {session.get_inputs()[0].name: np.array([sample])}), strict=True))
        return float(found["value"]), found["gradient"]

    return run


def parameters(function: Any, sample: Sequence[float] = SAMPLES[0]) -> list[Value]:
    """In the order of exported files."""
    compiled = mg.compile(function)
    compiled(sample)
    return list(compiled.parameters)


def eagerly(function: Any, sample: Sequence[float]) -> tuple[float, list[float]]:
    for p in (A, B):
        p.grad = 0.0
    value = function(mg.Vector(sample))
    value.backward()
    return value.data, [p.grad for p in parameters(function, sample)]


@pytest.mark.parametrize("form", [pytest.param(in_c, marks=needs_cc), in_wasm, in_onnx])
@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
def test_values_and_gradients_are_those_of_plain_python(tmp_path: Path, function: Any, form: Any) -> None:
    gradient = form(function, tmp_path)
    for sample in SAMPLES:
        value, derivatives = gradient(sample)
        right, expected = eagerly(function, sample)
        assert value == pytest.approx(right, rel=1e-11)
        np.testing.assert_allclose(derivatives, expected, rtol=1e-9, atol=1e-12)


def counted(x: Any) -> Any:
    return mg.loop(x[0], lambda i, s: A * s + 0.1 * i * B, x[1], most=900)


def ended(x: Any) -> Any:
    return mg.while_loop(lambda s: s < x[0], lambda s: s + A + mg.tanh(B), x[1], most=7)


def solved(x: Any) -> Any:
    return mg.implicit(lambda y: y * y + x[0] * A - x[1] * B, 0.7, most=9)


def chosen(x: Any) -> Any:
    return mg.take([A, B, A * B], x[0]) * x[1]


# A sample with an answer, and some for which a compiled function raises an error.
FAILING: list[tuple[Any, list[float], list[list[float]]]] = [
    (counted, [3, 0.5], [[901, 0.5], [-1, 0.5], [2.5, 0.5], [float("nan"), 0.5], [1e300, 0.5]]),
    (ended, [1.0, 0.5], [[99.0, 0.5]]),
    (solved, [-1.0, 0.5], [[3.0, -2.0]]),
    (chosen, [1, 0.5], [[3, 0.5], [-1, 0.5], [0.5, 0.5], [float("inf"), 0.5]]),
]


@pytest.mark.parametrize("form", [pytest.param(in_c, marks=needs_cc), in_wasm])
@pytest.mark.parametrize(("function", "good", "failing"), FAILING, ids=lambda x: getattr(x, "__name__", ""))
def test_where_a_function_raises_the_value_is_nan(
    tmp_path: Path, function: Any, good: list[float], failing: list[list[float]], form: Any
) -> None:
    gradient = form(function, tmp_path, good)
    for sample in failing:
        assert np.isnan(gradient(sample)[0])
        assert gradient(good)[0] == pytest.approx(eagerly(function, good)[0])  # the next call is not affected


@needs_cc
def test_rounds_that_are_not_asked_for_are_not_run(tmp_path: Path) -> None:
    """The states of sections that do not run stay as they were."""
    path, library = tmp_path / "case.c", tmp_path / "case.so"
    mg.export(lambda n, s: mg.loop(n, lambda i, s: A * s + 0.1 * i, s, most=900), path, 3, 0.5, kind="gradient")
    subprocess.run(["cc", *FLAGS, "-shared", "-fPIC", "-o", str(library), str(path), "-lm"], check=True)
    entry = ctypes.CDLL(str(library)).case_gradient
    entry.restype, entry.argtypes = ctypes.c_double, [ctypes.c_void_p] * 4
    untouched = []
    for rounds in (3, 450, 900):
        state, x, gradient = np.full(6_000, 1.2345), np.array([rounds, 0.5]), np.empty(1)
        entry(state.ctypes.data, None, x.ctypes.data, gradient.ctypes.data)
        untouched.append(int((state == 1.2345).sum()))
    assert untouched[0] > untouched[1] > untouched[2]
