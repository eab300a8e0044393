"""Strict loops of any number of rounds, which end together where their number would decide the order of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.trace.eager_graph import NOWHERE, Turns, add_way

P, Q = Value(0.37), Value(-1.3)


def by_turns(x: Any, most: int) -> Any:
    """The gradient comes from one number of the state to the other and back: for even and odd numbers of rounds it
    meets them in another order."""

    def body(s: Any) -> Any:
        n, a, b = s
        return n + 1.0, 0.3 * b * P + 0.4 * a / (1.0 + a * a), a * Q * 0.5 + b / (1.0 + b * b)

    _, a, b = mg.while_loop(lambda s: s[0] < x, body, (0.0, x, P), most=most)
    return a * b * P + 0.3 * b


def driven(x: Any, most: int) -> Any:
    """The second number does not need the first, which is met last round first."""

    def body(s: Any) -> Any:
        n, a, b = s
        return n + 1.0, 0.5 * a * P + b, (b * Q + P) / (1.0 + b * b)

    _, a, b = mg.while_loop(lambda s: s[0] < x, body, (0.0, P, Q), most=most)
    return a * P * 0.7 + 0.3 * b * a + 0.1 * P


def after_another(x: Any, most: int) -> Any:
    """What the first loop leaves decides how often the second runs."""
    _, a = mg.while_loop(lambda s: s[0] < x, lambda s: (s[0] + 1.0, s[1] * P + 0.3 * Q * s[1]), (0.0, P), most=most)

    def body(s: Any) -> Any:
        n, u, v = s
        return n + 1.0, v * P + u * 0.3, v * 0.9 + v * Q * 0.1

    _, u, v = mg.while_loop(lambda s: s[0] < 2.0 + a * a, body, (0.0, a, Q), most=most)
    return u * v + a * v * P


def _told(fn: Any, *points: float) -> tuple[list[list[float]], list[list[float]]]:
    """The value and the gradient at each point, compiled and eager."""
    found: list[list[list[float]]] = []
    for run in (mg.compile(fn, strict=True, backend="numpy").backward, fn):
        found.append([])
        for x in points:
            P.grad = Q.grad = 0.0
            value = run(x)
            if isinstance(value, Value):
                value.backward()
            found[-1].append([float(getattr(value, "data", value)), P.grad, Q.grad])
    return found[0], found[1]


def _said(fn: Any) -> str:
    """What is said of the last bits."""
    return "".join(pipeline.record(fn, [()], strict=True).untold)


@pytest.mark.parametrize(
    ("fn", "most"),
    [(by_turns, 40), (driven, 30), (driven, 100), (after_another, 30)],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_gradients_have_the_bits_of_the_eager_engine(fn: Any, most: int) -> None:
    got, expected = _told(lambda x: fn(x, most), -1.0, 0.5, 3.0, 8.5)
    assert got == expected


@pytest.mark.parametrize("most", [40, 100])
def test_nothing_is_said_then(most: int) -> None:
    assert not _said(lambda x: driven(x, most))


def test_all_rounds_may_be_done_and_one_more_is_an_error() -> None:
    got, expected = _told(lambda x: driven(x, 30), 30.0)
    assert got == expected
    with pytest.raises(RuntimeError, match="did 30 rounds, and its condition still holds"):
        mg.compile(lambda x: driven(x, 30), strict=True, backend="numpy").backward(30.5)


def test_each_sample_of_a_batch_has_its_own_number_of_rounds() -> None:
    f = mg.compile(mg.grad(lambda x: driven(x * 1.0, 30) * x), strict=True, backend="numpy", batch=True)
    xs = [0.5, 7.0, 2.5]
    expected = [mg.grad(lambda x: driven(x * 1.0, 30) * x)(x) for x in xs]
    assert f(np.array(xs)).tolist() == [float(getattr(d, "data", d)) for d in expected]


def test_it_is_said_where_rounds_differ_still() -> None:
    """Both first numbers of the state are computed before it, in an order that depends on whether the number of rounds
    is even."""

    def fn(x: Any) -> Any:
        body = lambda s: (s[0] + 1.0, s[2] * P, s[1] * Q)  # noqa: E731 - one line
        _, a, b = mg.while_loop(lambda s: s[0] < x, body, (0.0, P * Q, P + Q * 0.3), most=120)
        return a * b * P

    (got,), (expected,) = _told(fn, 3.0)
    assert got == pytest.approx(expected, rel=1e-12)
    assert _said(fn) == "choices are in a loop of more than 96 rounds"


def test_a_round_that_is_done_is_followed_by_those_after_it() -> None:
    rounds, before = [], Value(0.0)
    for _ in range(4):
        before = ops.where(ops.where(before, 1.0, Value(1.0)), 1.0, 0.0)
        rounds.append(before)
    turns, flags = Turns(), [(0, id(x)) for x in rounds]
    for x in reversed(rounds):
        turns.meet(x, 2)
    idle = turns.turned(NOWHERE, flags[2], 0)
    assert idle == {(flag, 0) for flag in flags[:3]}
    assert turns.shortest(idle) == {(flags[2], 0)}
    assert turns.known(idle, flags[1], (1, 0)) == [0]
    assert turns.known(turns.turned(NOWHERE, flags[1], 1), flags[2], (1, 0)) == [1]
    ways = [turns.turned(NOWHERE, flags[0], 1)]
    for k in range(1, 4):  # the first round that is done is number k
        add_way(ways, turns.turned(turns.turned(NOWHERE, flags[k - 1], 0), flags[k], 1), turns)
        assert ways == [{(flags[k], 1)}]
    add_way(ways, turns.turned(NOWHERE, flags[3], 0), turns)
    assert ways == [NOWHERE]


def test_ways_keep_what_both_need() -> None:
    first = ops.where(ops.where(Value(0.0), 1.0, Value(1.0)), 1.0, 0.0)
    second = ops.where(ops.where(first, 1.0, Value(1.0)), 1.0, 0.0)
    third = ops.where(ops.where(second, 1.0, Value(1.0)), 1.0, 0.0)
    turns, (a, b, c) = Turns(), [(0, id(x)) for x in (first, second, third)]
    for x in (third, second, first):
        turns.meet(x, 2)
    idle = turns.turned(NOWHERE, a, 0)
    ways = [turns.turned(idle, b, 1)]
    add_way(ways, turns.turned(turns.turned(NOWHERE, b, 0), c, 1), turns)
    assert ways == [{(a, 0), (c, 1)}]


def test_a_test_that_two_others_follow_from_in_two_ways_keeps_them_apart() -> None:
    """If `b` is true, so is `a`; if `c` is false, so is `b`: nothing follows for `c` from a `b` that is false."""
    a = ops.where(ops.where(Value(0.0), 1.0, Value(1.0)), 1.0, 0.0)
    b = ops.where(ops.where(a, Value(2.0), 0.0), 1.0, 0.0)
    c = ops.where(ops.where(b, 1.0, Value(3.0)), 1.0, 0.0)
    turns, (first, second, third) = Turns(), [(0, id(x)) for x in (a, b, c)]
    for x in (c, b, a):
        turns.meet(x, 2)
    idle = turns.turned(NOWHERE, third, 0)
    assert idle == {(third, 0), (second, 0)}
    assert turns.turned(idle, second, 0) == idle
    assert turns.known(idle, first, (1, 0)) == [1, 0]
    done = turns.turned(NOWHERE, second, 1)
    assert done == {(second, 1), (first, 1)}
    assert turns.known(done, third, (1, 0)) == [1]
    assert turns.followed(NOWHERE, second, 1) == {(first, 1), (second, 1), (third, 1)}
    assert turns.without(turns.followed(NOWHERE, second, 0), (second, 0)) == NOWHERE
