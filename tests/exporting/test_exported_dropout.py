"""Exported training with Dropout: a file draws as the Trainer does, from the numbers of the sample and the step."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import datasets, nn, optim
from tests.exporting.test_c import compiled, needs_cc
from tests.exporting.test_trained import library


class Dropping(nn.Module):
    def __init__(self) -> None:
        self.first, self.drop, self.last = (
            nn.MLP(2, [6], seed=1, output_activation="tanh"),
            nn.Dropout(0.4),
            nn.MLP(6, [1], seed=2),
        )

    def __call__(self, x: Any) -> Any:
        return self.last(self.drop(self.first(x)))


X, Y = datasets.make_moons(24, noise=0.1, seed=1)
ROWS = np.column_stack([X, Y, np.arange(24)])


@pytest.fixture(scope="module", params=[optim.Adam, optim.SGD], ids=["adam", "no state"])
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """Files of a Trainer, and the losses of its next 20 steps. Without a state, too, they have steps behind them."""
    folder = tmp_path_factory.mktemp("dropout")
    trainer = mg.Trainer(Dropping(), optimizer=request.param(0.02), scale="standard")
    settings: dict[str, Any] = {"batch_size": None, "shuffle": False, "seed": 7, "progress": "none"}
    trainer.fit(X, Y.astype(int), epochs=5, **settings)
    mg.export(trainer, folder / "net.c", kind="train", lanes=4)
    mg.export(trainer, folder / "bits.c", kind="train", strict=True)
    mg.export(trainer, folder / "slope.c", kind="gradient")
    for name in ("net.wasm", "net.onnx"):
        mg.export(trainer, folder / name, kind="train")
    return folder, [trainer.fit(X, Y.astype(int), epochs=1, **settings).losses[-1] for _ in range(20)]


@needs_cc
def test_c_goes_on_as_the_trainer_does(case: tuple[Path, list[float]]) -> None:
    folder, right = case
    lib = library(folder / "net.c")
    lib.net_step.restype = ctypes.c_double
    state, found = ctypes.create_string_buffer(1 << 17), []
    lib.net_init(state)
    batch = ctypes.c_void_p(np.ascontiguousarray(ROWS).ctypes.data)
    for _ in right:
        found.append(lib.net_step(state, batch, ctypes.c_int32(len(ROWS)), ctypes.c_double(0.02)))
    np.testing.assert_allclose(found, right, rtol=1e-9)


@needs_cc
def test_strict_bits_are_those_of_native_code(case: tuple[Path, list[float]]) -> None:
    for name, said in (("bits", "bits: 100 steps agree\n"), ("slope", "slope: 3 cases agree\n")):
        program = compiled(case[0] / f"{name}.c", "-DMACROGRAD_SELFTEST")
        assert subprocess.run([str(program)], capture_output=True, text=True, check=False).stdout == said


def test_webassembly_goes_on_as_the_trainer_does(case: tuple[Path, list[float]]) -> None:
    pytest.importorskip("wasmtime")
    from tests.fuzz.wasm import Module

    folder, right = case
    np.testing.assert_allclose(Module(folder / "net.wasm").steps(ROWS, 0.02, len(right)), right, rtol=1e-9)


def test_onnx_goes_on_as_the_trainer_does(case: tuple[Path, list[float]]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder, right = case
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of inputs with defaults
    session = onnxruntime.InferenceSession(folder / "net.onnx", options)
    carried: dict[str, Any] = {"rate": np.array(0.02)}
    found = []
    for _ in right:
        loss, *new = session.run(None, {"x": X, "y": Y.astype(int), "number": ROWS[:, 3], **carried})
        carried |= dict(zip(["parameters", *["state"] * (len(new) - 2), "steps"], new, strict=True))
        found.append(float(loss))
    np.testing.assert_allclose(found, right, rtol=1e-9)
