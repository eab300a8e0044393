"""The native training loop: its sums do not depend on how steps are grouped into runs, and it reads what it was given
last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler.step import TrainingLoop

pytest.importorskip("llvmlite")

X = np.random.default_rng(3).normal(size=(90, 3))
Y = np.random.default_rng(4).normal(size=90)


def made(batch_size: int = 40, **options: Any) -> TrainingLoop:
    w = [Value(0.1 * k) for k in range(3)]
    loss = mg.compile(lambda x, y: (mg.dot(w, x) - y) ** 2, batch=True, backend="llvm")
    return TrainingLoop(loss, [X, Y], lambda p, g, s, rate, step: (p - rate * g, ()), batch_size=batch_size, **options)


def test_a_short_last_step_is_rounded_alike_in_a_run_of_its_own() -> None:
    order, lengths, rates = np.arange(90), np.array([40, 40, 10]), np.full(3, 0.1)
    whole, parts = made(), made()
    losses = whole.run(order, lengths, rates).losses
    found = [parts.run(order[40 * k : 40 * k + n], lengths[k : k + 1], rates[:1]).losses for k, n in enumerate(lengths)]
    assert np.concatenate(found).tobytes() == losses.tobytes()
    assert parts.theta.tobytes() == whole.theta.tobytes()


def test_steps_longer_than_the_batch() -> None:
    loop = made(batch_size=4)
    outcome = loop.run(np.arange(90), np.array([90]), np.array([0.0]))
    weights = 0.1 * np.arange(3)
    assert outcome.losses == pytest.approx(np.mean((X @ weights - Y) ** 2))


def test_data_and_parameters_written_between_runs() -> None:
    loop = made()
    one = (np.arange(40), np.array([40]), np.array([0.0]))
    first = loop.run(*one).losses
    loop.load([X[::-1], Y[::-1]])
    loop.theta[:] = 1.0
    assert loop.run(*one).losses == pytest.approx(np.mean((X[:-41:-1].sum(1) - Y[:-41:-1]) ** 2))
    loop.load([X, Y])
    loop.theta[:] = 0.1 * np.arange(3)
    assert loop.run(*one).losses.tobytes() == first.tobytes()


def test_a_read_only_order_and_one_of_another_type() -> None:
    order = np.arange(40, dtype=np.int32)
    frozen = np.arange(40)
    frozen.flags.writeable = False
    length, rate = np.array([40]), np.array([0.1])
    assert made().run(order, length, rate).losses == made().run(frozen, length, rate).losses


@pytest.mark.parametrize(
    ("order", "lengths", "rates", "message"),
    [
        ([0, 1], [3], [0.1], "2 rows, 1 lengths with the sum 3"),
        ([0, 1], [2, 0], [0.1, 0.1], "2 rows, 2 lengths"),
        ([0, 1], [2], [], "0 learning rates"),
        ([0, 90], [2], [0.1], "outside of the data's 90 rows"),
        ([0, -1], [2], [0.1], "outside of the data's 90 rows"),
    ],
)
def test_what_does_not_fit_together(order: list[int], lengths: list[int], rates: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made().run(np.array(order), np.array(lengths), np.array(rates))
