"""Numbers beyond float32 are infinite in float32 programs, whoever gives them, and no warning comes of it: here every
warning is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, optim

INF = float("inf")
P, Q = Value(1e200), Value(0.5)


def program(x: Any, y: Any) -> Any:
    return mg.where(x < 1e39, x, -1e39) * P + mg.minimum(y[0], y[1]) * Q + 1e-60


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_in_calls(backend: str, batch: bool) -> None:
    f = mg.compile(program, dtype="float32", backend=backend, batch=batch)
    x, y = ([2.0, 3.0], [[1e100, 3.0], [1.0, 1e39]]) if batch else (2.0, [1e100, 3.0])
    arrays = np.array(x), np.array(y)
    for given in ((x, y), arrays, (x, y)):
        assert np.ravel(f(*given)).tolist() == [INF] * (1 + batch)
        assert f.value_and_grad(np.array([2.0, 1.0]), *given)[0] == 7.0
        value, gradient = f.value_and_grad([1e39, -1e39], *given)
        assert np.isnan(value)
        assert gradient.tolist() == [2.5 if batch else 2.0, 2.0 if batch else 3.0]
        P.grad = Q.grad = 0.0
        assert f.backward(*given) == INF
        assert f.bind(*given)() == INF


def test_in_arguments_that_are_the_same_for_all_samples() -> None:
    f = mg.compile(program, dtype="float32", batch=True, uniform="y")
    assert f([1.0, -1.0], [1e60, 3.0]).tolist() == [INF, -INF]


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_in_loops(backend: str) -> None:
    f = mg.compile(lambda x: mg.loop(200, lambda i, s: mg.minimum(s + 1e39, x), 0.0), dtype="float32", backend=backend)
    assert f(3.0) == 3.0
    assert f(1e39) == INF


def test_in_the_numbers_of_an_optimiser() -> None:
    """A rate that float32 does not hold."""
    net = mg.nn.MLP(1, [1], seed=1)
    trainer = mg.Trainer(net, lambda p, t: p * p * 0.0 + 1.0, optim.SGD(1e39), dtype="float32")
    trainer.fit(np.ones((4, 1)), np.zeros(4), epochs=1, batch_size=4, progress=False)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        ("c", "predict"),
        ("c", "gradient"),
        ("c", "train"),
        ("wasm", "gradient"),
        ("wasm", "train"),
        ("onnx", "gradient"),
    ],
)
def test_in_files(tmp_path: Path, suffix: str, kind: str) -> None:
    more: dict[str, Any] = {"optimizer": optim.Adam(1e39)} if kind == "train" else {}
    mg.export(program, tmp_path / f"f.{suffix}", 2.0, [1e39, 0.0], kind=kind, dtype="float32", **more)
