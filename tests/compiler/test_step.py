"""The training loop on every target: its sums do not depend on how steps are grouped into runs, it reads what it was
given last, and it stops before what is not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, optim
from macrograd.compiler.settings import CompileWarning
from macrograd.compiler.step import TrainingLoop

X = np.random.default_rng(3).normal(size=(90, 3))
Y = np.random.default_rng(4).normal(size=90)


def made(backend: str, batch_size: int = 40, **options: Any) -> TrainingLoop:
    w = [Value(0.1 * k) for k in range(3)]
    loss = mg.compile(lambda x, y: (mg.dot(w, x) - y) ** 2, batch=True, backend=backend)
    return TrainingLoop(loss, [X, Y], lambda p, g, s, rate, step: (p - rate * g, ()), batch_size=batch_size, **options)


def test_a_short_last_step_is_rounded_alike_in_a_run_of_its_own(backend: str) -> None:
    order, lengths, rates = np.arange(90), np.array([40, 40, 10]), np.full(3, 0.1)
    whole, parts = made(backend), made(backend)
    losses = whole.run(order, lengths, rates).losses
    found = [parts.run(order[40 * k : 40 * k + n], lengths[k : k + 1], rates[:1]).losses for k, n in enumerate(lengths)]
    assert np.concatenate(found).tobytes() == losses.tobytes()
    assert parts.theta.tobytes() == whole.theta.tobytes()


def test_steps_longer_than_the_batch(backend: str) -> None:
    loop = made(backend, batch_size=4)
    outcome = loop.run(np.arange(90), np.array([90]), np.array([0.0]))
    weights = 0.1 * np.arange(3)
    assert outcome.losses == pytest.approx(np.mean((X @ weights - Y) ** 2))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_steps_of_one_sample_have_a_program_of_their_own(backend: str, dtype: str) -> None:
    """With an argument that varies, one that is a vector, a step number, and an index that is invalid in row 7."""
    adam, found, penalty = optim.Adam(), list[Any](), 0.01
    rows, number = np.array([3, 0, 2, 2, 6, 7, 1]), np.arange(90.0)
    for batch_size in (1, 2):
        w = [Value(0.1 * k) for k in range(3)]

        def loss(step: Any, x: Any, y: Any, k: Any, w: Any = w) -> Any:
            return mg.tanh(mg.dot(w, x) - y) ** 2 + mg.take(w, k) * step + penalty * mg.dot(w, w)

        compiled = mg.compile(loss, batch=True, uniform="step", backend=backend, dtype=dtype)
        data = [X, Y, np.where(number == 7, 3, number % 3)]
        loop = TrainingLoop(compiled, data, adam.rule, adam.initial_state, clip_norm=0.5, batch_size=batch_size)
        outcome = loop.run(rows, np.ones(7, np.int64), np.full(7, 0.1))
        assert (outcome.done, outcome.why) == (5, "index")
        again = loop.run(rows[:2], np.ones(2, np.int64), np.full(2, 0.1), 6)
        found.append([*outcome.losses, *again.losses, *loop.theta, *loop.state.ravel(), *loop.gradient])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12 if dtype == "float64" else 1e-4)


def test_a_loop_for_steps_of_one_sample_refuses_others(backend: str) -> None:
    loop = made(backend, batch_size=1)
    for lengths, weights in ((np.array([1, 2]), None), (np.ones(3, np.int64), np.ones(90))):
        with pytest.raises(ValueError, match="batch_size=1 takes steps of one sample each, without weights"):
            loop.run(np.arange(3), lengths, np.full(len(lengths), 0.1), weights=weights)
    assert loop.theta.tolist() == pytest.approx([0.0, 0.1, 0.2])


def test_data_and_parameters_written_between_runs(backend: str) -> None:
    loop = made(backend)
    one = (np.arange(40), np.array([40]), np.array([0.0]))
    first = loop.run(*one).losses
    loop.load([X[::-1], Y[::-1]])
    loop.theta[:] = 1.0
    assert loop.run(*one).losses == pytest.approx(np.mean((X[:-41:-1].sum(1) - Y[:-41:-1]) ** 2))
    loop.load([X, Y])
    loop.theta[:] = 0.1 * np.arange(3)
    assert loop.run(*one).losses.tobytes() == first.tobytes()


def test_a_read_only_order_and_one_of_another_type(backend: str) -> None:
    order = np.arange(40, dtype=np.int32)
    frozen = np.arange(40)
    frozen.flags.writeable = False
    length, rate = np.array([40]), np.array([0.1])
    assert made(backend).run(order, length, rate).losses == made(backend).run(frozen, length, rate).losses


@pytest.mark.parametrize(
    ("order", "lengths", "rates", "message"),
    [
        ([0, 1], [3], [0.1], "2 rows, 1 lengths with the sum 3"),
        ([0, 1], [2, 0], [0.1, 0.1], "2 rows, 2 lengths"),
        ([0, 1], [2], [], "0 learning rates"),
        ([0, 90], [2], [0.1], "outside the data's 90 rows"),
        ([0, -1], [2], [0.1], "outside the data's 90 rows"),
    ],
)
def test_what_does_not_fit_together(
    backend: str, order: list[int], lengths: list[int], rates: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        made(backend).run(np.array(order), np.array(lengths), np.array(rates))


def test_rows_known_to_exist_are_not_looked_at(backend: str) -> None:
    order, lengths, rates = np.array([0, 89]), np.array([2]), np.array([0.1])
    with pytest.raises(ValueError, match="outside the data's 90 rows"):
        made(backend).run(order, lengths, rates, below=91)
    assert made(backend).run(order, lengths, rates, below=90).losses == made(backend).run(order, lengths, rates).losses


# --- measure, clipping, the number of the step ------------------------------------------------------------------------


def descent(p: Any, g: Any, state: Any, rate: Any, step: Any) -> Any:
    return p - rate * g, ()


@pytest.mark.parametrize("parameters", [1, 7, 16, 45])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_gradient_is_clipped_to_its_norm(backend: str, parameters: int, dtype: str) -> None:
    rounding = 1e-14 if dtype == "float64" else 1e-6
    w = [Value(0.1 * k - 1.0) for k in range(parameters)]
    loss = mg.compile(lambda x: mg.sum([(p - x) ** 2 for p in w]), batch=True, dtype=dtype, backend=backend)
    start = np.array([p.data for p in w])
    data = np.linspace(-1.0, 1.0, 8)
    expected = 2.0 * (start - data.mean())
    norm = float(np.sqrt(expected @ expected))
    for limit in (0.5 * norm, 2.0 * norm):
        loop = TrainingLoop(loss, [data], descent, clip_norm=limit, batch_size=8)
        loop.run(np.arange(8), np.array([8]), np.array([0.25]))
        scaled = expected * min(1.0, limit / norm)
        assert loop.gradient == pytest.approx(scaled, rel=rounding, abs=rounding)
        assert loop.theta == pytest.approx(start - 0.25 * scaled, rel=rounding, abs=rounding)


@pytest.mark.parametrize("bad", [None, *range(19)])
def test_a_step_that_is_not_finite_is_not_applied(backend: str, bad: int | None) -> None:
    """Whichever element is infinite: in a whole vector of parameters, or behind the last."""
    w = [Value(1.0) for _ in range(19)]

    def loss(x: Any) -> Any:
        odd = [mg.sqrt(p - 1.0) if k == bad else p * p for k, p in enumerate(w)]
        return x * mg.sum(odd) + (mg.log(x - 2.0) if bad is None else 0.0)

    loop = TrainingLoop(mg.compile(loss, batch=True, backend=backend), [np.ones(4)], descent, batch_size=4)
    outcome = loop.run(np.arange(4), np.array([2, 2]), np.array([0.1, 0.1]))
    assert (outcome.done, outcome.why, len(outcome.losses)) == (0, "non-finite", 1)
    assert np.isfinite(outcome.losses[0]) == (bad is not None)
    assert loop.theta.tolist() == [1.0] * 19


def test_the_targets_agree_on_every_part(backend: str) -> None:
    w = [Value(0.3 * k - 0.4) for k in range(5)]
    data, weights = np.random.default_rng(5).normal(size=(30, 5)), np.linspace(0.5, 1.5, 30)
    order, lengths = np.random.default_rng(6).permutation(30), np.array([12, 12, 6])
    found = []
    for target in (backend, "numpy"):
        loss = mg.compile(lambda x: mg.tanh(mg.dot(w, x)) ** 2, batch=True, backend=target)
        adam = optim.Adam()
        loop = TrainingLoop(loss, [data], adam.rule, adam.initial_state, clip_norm=0.1, batch_size=12)
        assert loop.native == (target == "llvm")
        losses = loop.run(order, lengths, np.array([0.1, 0.05, 0.02]), 3, weights).losses
        found.append(np.concatenate([losses, loop.theta, loop.gradient, loop.state.ravel()]))
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_a_sample_counts_steps_modulo_a_period_and_the_rule_all(backend: str) -> None:
    w = Value(1.0)
    loss = mg.compile(lambda step, x: w * x + step, batch=True, uniform="step", backend=backend)

    def counting(p: Any, g: Any, state: Any, rate: Any, step: Any) -> Any:
        return p + 0.0 * g, (step,)

    loop = TrainingLoop(loss, [np.zeros(2)], counting, (0.0,), batch_size=1, period=4)
    assert [p is w for p in loop.parameters] == [True]
    losses = loop.run(np.zeros(4, np.int64), np.ones(4, np.int64), np.zeros(4), 6).losses
    assert losses.tolist() == [2.0, 3.0, 0.0, 1.0]
    assert loop.state.tolist() == [[9.0]]
    two = mg.compile(lambda x, a, b: w * x + a + b, batch=True, uniform=(1, 2), backend=backend)
    with pytest.raises(ValueError, match="more than one uniform scalar"):
        TrainingLoop(two, [np.zeros(2)], counting, (0.0,))


def test_theta_is_the_memory_that_the_program_works_on(backend: str) -> None:
    loop = made(backend, batch_size=4)
    theta, gradient, state = loop.theta, loop.gradient, loop.state
    for n in (4, 90, 1):  # buffers of their own for each
        loop.run(np.arange(n), np.array([n]), np.array([0.1]))
        assert loop.theta is theta
        assert loop.state is state
        assert np.shares_memory(loop.gradient, gradient)
    assert gradient.any()


def test_native_code_that_fails_gives_way_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from macrograd.compiler.targets.llvm import steps

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such register")

    monkeypatch.setattr(steps, "step_code", fail)
    with pytest.warns(CompileWarning, match="no such register"):
        loop = made("llvm")
    assert not loop.native
    assert loop.run(np.arange(40), np.array([40]), np.array([0.1])).done == 1
