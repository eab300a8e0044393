"""Compiled functions in several threads, and memory that stays flat over many calls."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, nn
from tests.compiler.test_compiled import data, expected, regression
from tests.memory import held

# --- threads and memory -------------------------------------------------------------------------------------


def test_several_threads_call_one_function(backend: str) -> None:
    """Also while it is being traced and compiled for the first time."""
    loss, _ = regression()
    f = mg.compile(loss, batch=True, backend=backend)
    cases = []
    for k in range(4):
        X, y = data(20 + 150 * k)
        theta = np.array([1.0, 2.0, 3.0]) * (k + 1)
        cases.append((theta, X + k, y))
    wrong: list[Any] = []
    start = threading.Barrier(4)

    def work(theta: Any, X: Any, y: Any) -> None:
        start.wait()
        for _ in range(30):
            value, gradient = f.value_and_grad(theta, X, y)
            want = expected(theta, X, y)
            if not (np.isclose(value, want[0], rtol=1e-11) and np.allclose(gradient, want[1], rtol=1e-9)):
                wrong.append((value, want))

    threads = [threading.Thread(target=work, args=case) for case in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_two_threads_trace_two_functions_at_once() -> None:
    found: dict[int, list[Value]] = {}
    parameters = {k: [Value(float(k)) for _ in range(20)] for k in range(4)}

    def work(k: int) -> None:
        f = mg.compile(lambda x: mg.sum([mg.tanh(p * x) for p in parameters[k]]))
        f(1.0)
        found[k] = f.parameters

    threads = [threading.Thread(target=work, args=(k,)) for k in parameters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == parameters


@pytest.mark.parametrize("samples", [5, 4096])
def test_two_threads_give_the_bits_of_one(samples: int, backend: str) -> None:
    net = nn.MLP(2, [7, 1], seed=3)
    X, y = data(samples)
    results = []
    for threads in (1, 2, 3):
        f = mg.compile(lambda x, t: (net(x) - t) ** 2, batch=True, threads=threads, backend=backend)
        out = f(X, y)
        value, gradient = f.value_and_grad(f.theta(), X, y)
        results.append((out.tobytes(), value.hex(), gradient.tobytes()))
    assert results[0] == results[1] == results[2]


def test_memory_stays_flat_over_many_calls(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACROGRAD_TIERS", "best")  # or better code comes, and is kept, while memory is watched
    loss, parameters = regression()
    X, y = data(40)
    f = mg.compile(loss, batch=True, backend=backend)
    step = f.bind(X, y)
    theta = np.array([p.data for p in parameters])

    def calls(count: int) -> None:
        for _ in range(count):
            f(X, y)
            f.value_and_grad(theta, X, y)
            f.backward(X, y)
            step()

    calls(30)
    gc.collect()
    tracemalloc.start()
    try:
        calls(10)
        before = held()
        calls(120)
        gc.collect()
        after = held()
    finally:
        tracemalloc.stop()
    assert after - before < 6_000
