"""A step of the eager engine: checked by hand, and what it leaves behind."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest

from macrograd import nn, optim
from macrograd.train import DivergedError, Trainer, plain

X = np.array([[0.0, 1.0], [1.0, -1.0], [2.0, 0.5], [-1.0, 0.25]])
Y = np.array([-1.0, 1.0, 1.0, -1.0])


def fit(model: nn.MLP, X: Any, y: Any, *, steps: int, rate: float = 0.1, l2: float = 0.0) -> Any:
    trainer = Trainer(model, "squared_error", optim.SGD(rate), l2=l2, engine="eager")
    return trainer.fit(X, y, steps=steps, batch_size=None, shuffle=False, progress="none")


def test_one_step_by_hand() -> None:
    model = nn.MLP(2, [1], seed=1)  # a line: score = b + w·x
    w1, w2, b = (p.data for p in model.parameters())
    history = fit(model, X, Y, steps=1, l2=0.01)
    errors = b + X @ [w1, w2] - Y
    assert history.losses[0] == pytest.approx((errors**2).mean() + 0.01 * (w1**2 + w2**2 + b**2), rel=1e-14)
    slopes = [*(2 * errors @ X / 4), 2 * errors.mean()]
    expected = [p - 0.1 * (g + 0.02 * p) for p, g in zip((w1, w2, b), slopes, strict=True)]
    assert [p.data for p in model.parameters()] == pytest.approx(expected, rel=1e-13)


def test_a_graph_is_gone_before_the_next_and_without_the_collector() -> None:
    # Deep enough that one sample's graph is far larger than all else that a run holds.
    def peak(steps: int) -> int:
        model = nn.MLP(2, [16, 16, 16, 16, 1], seed=4)
        tracemalloc.start()
        try:
            fit(model, X, Y, steps=steps, rate=1e-3)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    gc.disable()
    try:
        peak(1)  # what is loaded and cached once
        once, often = peak(1), peak(3)
    finally:
        gc.enable()
    # Two graphs at a time would be twice as much.
    assert often < 1.5 * once


def test_the_collector_is_off_in_a_step_and_on_after_it() -> None:
    class Asks(nn.MLP):
        def __call__(self, x: Any) -> Any:
            seen.append(gc.isenabled())
            return super().__call__(x)

    seen: list[bool] = []
    fit(Asks(2, [1], seed=0), X, Y, steps=1)
    assert seen == [True] + [False] * 4  # the first asks how many outputs there are
    assert gc.isenabled()
    with pytest.raises(DivergedError):
        fit(Asks(2, [1], seed=0), X * 1e200, Y, steps=2, rate=1.0)
    assert gc.isenabled()


def test_plain_floats() -> None:
    model = nn.MLP(2, [2], seed=0)
    assert [type(x) for x in plain(model([1.0, 2.0]))] == [float, float]
    assert type(plain(nn.MLP(2, [1], seed=0)([1.0, 2.0]))) is float
