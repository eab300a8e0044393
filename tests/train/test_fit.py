"""The training loop and the eager step."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest

from macrograd import nn, optim
from macrograd.train import DivergedError, History, Task, fit
from macrograd.train.steps import make_step

X = np.array([[0.0, 1.0], [1.0, -1.0], [2.0, 0.5], [-1.0, 0.25]])
Y = [0, 1, 1, 0]


def net(outputs: int = 1) -> nn.MLP:
    return nn.MLP(2, [3, outputs], activation="tanh", seed=4)


def test_one_step_by_hand() -> None:
    model = nn.MLP(2, [1], seed=1)  # a line: score = b + w·x
    w1, w2, b = (p.data for p in model.parameters())
    task = Task.of(Y, "squared_error")
    history = fit(model, X, task, optimizer=optim.SGD(0.1), steps=1, l2=0.01)
    scores = b + X @ [w1, w2]
    errors = scores - task.targets
    assert history.losses[0] == pytest.approx((errors**2).mean() + 0.01 * (w1**2 + w2**2 + b**2), rel=1e-14)
    slopes = [*(2 * errors @ X / 4), 2 * errors.mean()]
    expected = [p - 0.1 * (g + 0.02 * p) for p, g in zip((w1, w2, b), slopes, strict=True)]
    assert [p.data for p in model.parameters()] == pytest.approx(expected, rel=1e-13)
    assert history.metrics["accuracy"] == [float(np.mean((scores > 0) == (np.array(task.targets) > 0)))]


@pytest.mark.parametrize(
    ("y", "loss"),
    [(Y, None), (Y, "binary_cross_entropy"), (Y, "cross_entropy"), ([0, 1, 2, 1], None), ([0.5, -0.5, 1.5, 2.5], None)],
)
def test_every_kind_of_task_learns(y: list[Any], loss: str | None) -> None:
    task = Task.of(y, loss)
    history = fit(net(task.outputs), X, task, optimizer=optim.Adam(0.05), steps=60)
    assert history.losses[-1] < 0.3 * history.losses[0]


def test_the_callback_sees_every_step_as_it_happens() -> None:
    seen = []
    history = fit(
        net(), X, Task.of(Y), optimizer=optim.SGD(0.1), steps=3, on_step=lambda h: seen.append((len(h), h.losses[-1]))
    )
    assert seen == [(1, history.losses[0]), (2, history.losses[1]), (3, history.losses[2])]
    assert history.seconds == sorted(history.seconds)


def test_a_second_fit_goes_on_where_the_first_stopped() -> None:
    at_once, in_two = net(), net()
    fit(at_once, X, Task.of(Y), optimizer=optim.Adam(optim.linear(0.1, 0.01, 6)), steps=6)
    optimizer = optim.Adam(optim.linear(0.1, 0.01, 6))
    for _ in range(2):
        fit(in_two, X, Task.of(Y), optimizer=optimizer, steps=3)
    assert [p.data for p in in_two.parameters()] == [p.data for p in at_once.parameters()]


def test_no_steps() -> None:
    model = net()
    before = [p.data for p in model.parameters()]
    assert fit(model, X, Task.of(Y), optimizer=optim.SGD(0.1), steps=0) == History()
    assert [p.data for p in model.parameters()] == before


def test_a_graph_is_gone_before_the_next_and_without_the_collector() -> None:
    def peak(steps: int) -> int:
        model, task = nn.MLP(2, [16, 1], seed=4), Task.of(Y * 10)
        tracemalloc.start()
        try:
            fit(model, np.tile(X, (10, 1)), task, optimizer=optim.SGD(0.1), steps=steps)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    gc.disable()
    try:
        peak(1)  # what is loaded and cached once
        once, often = peak(1), peak(8)
    finally:
        gc.enable()
    # Two graphs at a time would be twice as much.
    assert often < 1.25 * once


def test_the_collector_is_off_in_a_step_and_on_after_it() -> None:
    class Asks(nn.MLP):
        def __call__(self, x: Any) -> Any:
            seen.append(gc.isenabled())
            return super().__call__(x)

    seen: list[bool] = []
    fit(Asks(2, [1], seed=0), X, Task.of(Y), optimizer=optim.SGD(0.1), steps=1)
    assert seen == [False] * 4
    assert gc.isenabled()
    with pytest.raises(DivergedError):
        fit(Asks(2, [1], seed=0), X * 1e200, Task.of(Y, "squared_error"), optimizer=optim.SGD(1.0), steps=2)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("scale", "rate", "message"),
    [
        (1e200, 1.0, "the loss is inf at step 0, with the learning rate 1"),
        (1.0, 1e200, "the loss is inf at step 1, with the learning rate 1e+200"),
    ],
)
def test_a_loss_that_is_not_finite_stops_before_the_update(scale: float, rate: float, message: str) -> None:
    model, histories = nn.MLP(2, [1], seed=1), [History()]
    values: list[list[float]] = [[p.data for p in model.parameters()]]

    def on_step(history: History) -> None:
        values.append([p.data for p in model.parameters()])
        histories.append(history)

    task = Task.of(Y, "squared_error")
    with pytest.raises(DivergedError) as caught:
        fit(model, X * scale, task, optimizer=optim.SGD(rate), steps=9, on_step=on_step)
    assert str(caught.value) == (f"{message}: a smaller learning rate or features of the size of 1 usually help")
    assert [p.data for p in model.parameters()] == values[-1]
    assert np.isfinite(values[-1]).all()


def test_a_gradient_that_is_not_finite_stops_before_the_update() -> None:
    model = nn.MLP(2, [1], seed=1)
    huge = np.array([[1e160, 0.0], [-1e160, 1.0]])
    model.parameters()[0].data = 1e-10
    model.parameters()[1].data = 0.0
    before = [p.data for p in model.parameters()]
    with pytest.raises(DivergedError, match=r"^a gradient is not finite at step 0, with the "):
        fit(model, huge, Task.of([0, 1], "squared_error"), optimizer=optim.SGD(1.0), steps=1)
    assert [p.data for p in model.parameters()] == before


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (X[:3], {}, "there are 3 samples but 4 targets: there must be one for each"),
        (X[:, 0], {}, "samples must be of shape (n, features), got (4,)"),
        (np.where(X == 0.5, np.nan, X), {}, "feature 1 of sample 2 is nan: samples must be finite numbers"),
        (np.where(X == 2.0, -np.inf, X), {}, "feature 0 of sample 2 is -inf: samples must be finite numbers"),
        (X, {"steps": -1}, "the number of steps must be 0 or more, got -1"),
        (X, {"l2": -1.0}, "l2 must be 0 or more and finite, got -1.0"),
        (X, {"l2": float("nan")}, "l2 must be 0 or more and finite, got nan"),
        (X, {"batch_size": 5}, "a batch size of 5 does not fit 4 samples: choose one from 1 to 4"),
        (X, {"engine": "steam"}, "engine 'steam' is not known: use compiled or eager"),
    ],
)
def test_what_does_not_fit_is_found_before_any_work(samples: Any, options: dict[str, Any], message: str) -> None:
    model = net()
    before = [p.data for p in model.parameters()]
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        fit(model, samples, Task.of(Y), **{"optimizer": optim.SGD(0.1), "steps": 1, **options})
    assert str(caught.value).startswith(message)
    assert [p.data for p in model.parameters()] == before


def test_a_step_gives_plain_floats() -> None:
    step = make_step("eager", net(2), X, Task.of(Y, "cross_entropy"), optim.SGD(0.1), 0.0)
    loss, predictions = step([0, 3])
    assert type(loss) is float
    assert [[type(x) for x in p] for p in predictions] == [[float, float], [float, float]]
