"""Programs with `mg.loop`, `mg.while_loop` and `mg.cond` as C, WebAssembly and ONNX, against the eager engine."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
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


PROGRAMS = [recurrence, kept, root, again]
SAMPLES = [[0.3, -0.2], [1.5, 0.8], [-0.9, 0.1]]
Gradient = Callable[[list[float]], tuple[float, Any]]


def in_c(function: Any, folder: Path) -> Gradient:
    path, library = folder / "case.c", folder / "case.so"
    mg.export(function, path, SAMPLES[0], kind="gradient")
    subprocess.run(["cc", *FLAGS, "-shared", "-fPIC", "-o", str(library), str(path), "-lm"], check=True)
    entry = ctypes.CDLL(str(library)).case_gradient
    entry.restype, entry.argtypes = ctypes.c_double, [ctypes.c_void_p] * 4
    state, theta = ctypes.create_string_buffer(1 << 20), np.array([p.data for p in parameters(function)])

    def run(sample: list[float]) -> tuple[float, Any]:
        x, gradient = np.array(sample), np.empty(len(theta))
        return entry(state, theta.ctypes.data, x.ctypes.data, gradient.ctypes.data), gradient

    return run


def in_wasm(function: Any, folder: Path) -> Gradient:
    pytest.importorskip("wasmtime")
    from tests.exporting.test_wasm import exported

    return exported(function, folder, SAMPLES[0], kind="gradient").gradient


def in_onnx(function: Any, folder: Path) -> Gradient:
    onnxruntime = pytest.importorskip("onnxruntime")
    mg.export(function, folder / "case.onnx", SAMPLES[0], kind="gradient")
    session = onnxruntime.InferenceSession(str(folder / "case.onnx"), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(sample: list[float]) -> tuple[float, Any]:
        found = dict(zip(names, session.run(None, {session.get_inputs()[0].name: np.array([sample])}), strict=True))
        return float(found["value"]), found["gradient"]

    return run


def parameters(function: Any) -> list[Value]:
    """In the order of exported files."""
    compiled = mg.compile(function)
    compiled(SAMPLES[0])
    return list(compiled.parameters)


def eagerly(function: Any, sample: list[float]) -> tuple[float, list[float]]:
    for p in (A, B):
        p.grad = 0.0
    value = function(mg.Vector(sample))
    value.backward()
    return value.data, [p.grad for p in parameters(function)]


@pytest.mark.parametrize("form", [pytest.param(in_c, marks=needs_cc), in_wasm, in_onnx])
@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
def test_values_and_gradients_are_those_of_plain_python(tmp_path: Path, function: Any, form: Any) -> None:
    gradient = form(function, tmp_path)
    for sample in SAMPLES:
        value, derivatives = gradient(sample)
        right, expected = eagerly(function, sample)
        assert value == pytest.approx(right, rel=1e-11)
        np.testing.assert_allclose(derivatives, expected, rtol=1e-9, atol=1e-12)
