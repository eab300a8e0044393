"""Lanes of a block that stand for no sample add nothing to sums over the batch, whatever they are multiplied with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value

INF = math.inf
FUNCTIONS: dict[str, Callable[[list[Value], Any], Any]] = {
    "a constant factor": lambda P, x: mg.dot([1.0, P[0]], [x[0], INF]),
    "a parameter as factor": lambda P, x: P[0] * P[1] * x[0],
    "a sum with one infinite term": lambda P, x: P[0] * (P[1] * x[0] + 2.0 * x[1]),
    "a factor that is made from parameters": lambda P, x: P[0] * mg.exp(P[2]) * x[1] + P[1] * x[0],
    "a row of them": lambda P, x: mg.sum([p * (P[1] * x[0] + P[2] * x[1]) for p in P]),
    "derivatives by inputs": lambda P, x: mg.dot(mg.grad(lambda x: P[0] * x[0] * x[0] * P[1])(list(x)), [1.0, 2.0]),
}


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 8, 17, 67, 385])  # 385: the last block has 73 of 104
@pytest.mark.parametrize("backend", ["first", "best", "numpy"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_infinite_factors_meet_samples_alone(
    name: str, backend: str, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend != "numpy":
        monkeypatch.setenv("MACROGRAD_TIERS", backend)
        backend = "llvm"
    P, f = [Value(0.5), Value(-INF), Value(INF)], FUNCTIONS[name]
    X = np.linspace(0.25, 2.0, 2 * samples).reshape(samples, 2)
    compiled = mg.compile(lambda x: f(P, x), batch=True, backend=backend)
    value = compiled.backward(X)
    found = [p.grad for p in P]
    for p in P:
        p.grad = 0.0
    eager = [f(P, x.tolist()) for x in X]
    for one in eager:
        one.backward()
    np.testing.assert_allclose(value, np.mean([one.data for one in eager]), rtol=1e-12)
    np.testing.assert_allclose(found, [p.grad / samples for p in P], rtol=1e-12)


@pytest.mark.parametrize("samples", [1, 3, 67])
@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_a_constant_that_is_infinite_in_float32_meets_samples_alone(backend: str, samples: int) -> None:
    p = Value(0.5)
    compiled = mg.compile(lambda x: mg.dot([1.0, p], [x, 1e39]), batch=True, backend=backend, dtype="float32")
    assert compiled.value_and_grad([0.5], np.ones(samples)) == (INF, [INF])
