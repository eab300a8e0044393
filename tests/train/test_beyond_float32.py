"""Numbers beyond float32 in runs of float32: infinite, without a warning, and the same alone and together."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import nn, optim
from macrograd.train import DivergedError

X = np.random.default_rng(0).normal(size=(6, 2))
Y = X[:, 0]
HUGE = 1e200


def made(seed: int, optimizer: optim.Optimizer, *, first: float | None = None, l2: float = 0.0) -> mg.Trainer:
    model = nn.MLP(2, [2, 1], activation="tanh", seed=seed)
    if first is not None:
        model.parameters()[0].data = first
    return mg.Trainer(model, "squared_error", optimizer, dtype="float32", l2=l2)


BEYOND: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "rate": (lambda: optim.SGD(HUGE), {}, {}),
    "decay": (lambda: optim.SGD(0.1, weight_decay=HUGE), {}, {}),
    "momentum": (lambda: optim.SGD(0.1, momentum=HUGE), {}, {}),
    "eps": (lambda: optim.Adam(0.1, eps=HUGE), {}, {}),
    "start": (lambda: optim.SGD(0.1), {"first": HUGE}, {}),
    "l2": (lambda: optim.SGD(0.1), {"l2": HUGE}, {}),
    "weight": (lambda: optim.SGD(0.1), {}, {"sample_weight": np.full(6, HUGE)}),
    "clip": (lambda: optim.SGD(0.1), {}, {"clip_norm": HUGE}),
}


@pytest.mark.filterwarnings("ignore::macrograd.train.TrainingWarning")
@pytest.mark.parametrize("what", BEYOND)
def test_numbers_beyond_float32_are_infinite_without_a_warning(what: str) -> None:
    optimizer, trainer, fit = BEYOND[what]
    alone = made(0, optimizer(), **trainer)
    with contextlib.suppress(DivergedError):
        alone.fit(X, Y, steps=3, progress=False, **fit)
    many = mg.train_many([made(k, optimizer(), **trainer) for k in range(2)], X, Y, steps=3, **fit)
    assert len(many.histories[0]) == len(alone.history)
    np.testing.assert_allclose(many.histories[0].losses, alone.history.losses, rtol=1e-5)
    starts = np.tile([[trainer.get("first", 0.5), *[0.5] * 8]], (2, 1))
    mg.train_many(made(0, optimizer(), **trainer), X, Y, starts=starts, steps=3, **fit)


def test_a_run_of_no_steps_leaves_the_same_numbers_alone_and_together() -> None:
    alone = made(0, optim.SGD(0.1), first=0.1)
    alone.fit(X, Y, steps=0, progress=False)
    many = mg.train_many([made(k, optim.SGD(0.1), first=0.1) for k in range(2)], X, Y, steps=0)
    for p, q in zip(alone.model.parameters(), many[0].model.parameters(), strict=True):
        assert p.data == q.data
