"""A new operation is one row: one that is made up here runs in every target, without an entry anywhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import importlib.util
import math
import shutil
import subprocess
import sys
import numpy as np
import macrograd as mg
from macrograd import Value, ops
from macrograd.ops import Op

FACTOR = float(sys.argv[1])
# x·σ(kx): the derivative is σ(kx)·(1 + kx·(1 − σ(kx)))
swish = Op(
    "swish", "swish", 1, None,
    (lambda g, out, a: g * (ops.sigmoid(FACTOR * a) * (1.0 + FACTOR * a * (1.0 - ops.sigmoid(FACTOR * a)))),),
    formula=lambda a: a * ops.sigmoid(FACTOR * a),
    cost=30,
)

def exact(x):
    return x / (1.0 + np.exp(-FACTOR * x))

x = np.linspace(-3.0, 3.0, 37)
assert abs(swish(0.7) - exact(0.7)) < 1e-15                      # eager, on floats
v = Value(0.7)
swish(v).backward()
step = 1e-6
slope = (exact(0.7 + step) - exact(0.7 - step)) / (2 * step)
curve = (exact(0.7 + 1e-4) - 2 * exact(0.7) + exact(0.7 - 1e-4)) / 1e-8
assert abs(v.grad - slope) < 1e-9
assert swish(v).op is swish and swish(v)._op == "swish"

w = [Value(0.1 * k - 1.0) for k in range(24)]
bend = mg.grad(mg.grad(lambda a: swish(a)))                       # the second derivative
assert abs(bend(0.7) - curve) < 1e-6

def loss(row):                                                    # a rolled group, sums, a gradient for each weight
    return mg.sum(swish(a * b) for a, b in zip(w, row, strict=True))

def uneven(a):                                                    # nothing alike: a stream, run by the kernel
    b = a
    for k in range(160):
        b = swish(b) + mg.sin(a * (k % 7)) if k % 3 else b * swish(a + k % 5) - mg.tanh(b)
    return b

samples = np.random.default_rng(0).normal(size=(50, 24))
expected = exact(samples * np.array([p.data for p in w])).sum(axis=1)
for backend in ("llvm", "numpy"):
    for strict in (False, True):
        how = dict(backend=backend, strict=strict)
        f = mg.compile(loss, batch=True, **how)
        np.testing.assert_allclose(f(samples), expected, rtol=1e-13)
        for p in w:
            p.grad = 0.0
        f.backward(samples)
        for k in (0, 7, 23):
            moved = [samples[:, k] * (w[k].data + s) for s in (step, -step)]
            want = np.mean((exact(moved[0]) - exact(moved[1])) / (2 * step))
            assert abs(w[k].grad - want) < 1e-8, (k, w[k].grad, want)
        assert "swish" in f.explain(), f.explain()
        one = mg.compile(loss, **how)
        np.testing.assert_allclose(one(samples[0]), expected[0], rtol=1e-13)
        second = mg.compile(lambda a: mg.grad(mg.grad(lambda b: swish(b)))(a), batch=True, **how)
        np.testing.assert_allclose(second(np.array([0.7, 0.7])), curve, rtol=1e-5)
        for batch, given in ((True, x[:5]), (False, x[1])):
            g = mg.compile(uneven, batch=batch, **how)
            np.testing.assert_allclose(g(given), np.vectorize(uneven)(given), rtol=1e-9)
single = mg.compile(lambda a: swish(a), batch=True, dtype="float32")
np.testing.assert_allclose(single(x.astype(np.float32)), exact(x), rtol=3e-7)
stream = mg.compile(uneven)
stream(0.3)
stream = stream.explain()
assert "swish" in stream and "for a kernel" in stream, stream

if folder := sys.argv[2]:                                         # files: C, also strict, WebAssembly, ONNX
    def few(row):
        return mg.sum(swish(a * b) for a, b in zip(w[:3], row, strict=True))

    for strict in (False, True):
        mg.export(few, f"{folder}/few.c", samples[0, :3], kind="gradient", strict=strict)
        if shutil.which("cc"):
            build = ["cc", "-std=c99", "-Wall", "-Werror", "-DMACROGRAD_SELFTEST", "few.c", "-lm", "-o", "few"]
            subprocess.run(build, cwd=folder, check=True)
            ran = subprocess.run(["./few"], cwd=folder, capture_output=True, text=True, check=True)
            assert ran.stdout == "few: 3 cases agree\\n", ran.stdout
        assert mg.export(few, f"{folder}/few.wasm", samples[0, :3], strict=strict).paths
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        mg.export(few, f"{folder}/few.onnx", samples[0, :3])
        session = onnxruntime.InferenceSession(f"{folder}/few.onnx")
        (found,) = session.run(None, {session.get_inputs()[0].name: samples[:, :3]})
        np.testing.assert_allclose(found, [few(row).data for row in samples[:, :3]], rtol=1e-13)
print("all targets")
"""


@pytest.mark.parametrize("factor", ["1.0", "1.7"])  # the second time with another row of the same name: no stale code
def test_a_row_alone_runs_everywhere(factor: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = Path(tmp_path_factory.getbasetemp()) / "one-row-cache"
    environment = {**os.environ, "MACROGRAD_CACHE": str(cache)}
    command = [sys.executable, "-W", "error", "-c", PROGRAM, factor, str(tmp_path) if factor == "1.0" else ""]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=1200)
    assert ran.stdout == "all targets\n", ran.stderr
