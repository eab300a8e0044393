"""Strict loops whose number of rounds the data decide: how many are done decides in which order sums are added up."""

from __future__ import annotations

from typing import Any

import pytest

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler.trace.eager_graph import NOWHERE, Turns

P, Q = Value(0.37), Value(-1.3)


def seen_before(x: Any) -> Any:
    """One number of the last state is what another was made of, and both are used several times."""
    a, b = mg.while_loop(lambda s: s[0] < x, lambda s: (s[0] + 0.55, s[0]), (x / (1.0 + x * x), P), most=9)
    return b / (1.0 + b * b) * 0.9 - 0.6 * x / (1.0 + x * x) + 0.3 * b / (1.0 + b * b) - 0.6 * a + P * x


def in_turns(x: Any) -> Any:
    """What comes from P reaches the one or the other number of the state after an even or odd number of rounds."""

    def body(s: Any) -> Any:
        return s[0] + 1.0, s[2] * 0.9, s[1] * P + s[0] * Q

    _, a, b = mg.while_loop(lambda s: s[0] < 2.0 * x, body, (0.3 * x, P * Q, P + Q), most=6)
    return a * b * 0.3 + b * P + 0.7 * a + b * Q + a * b + x * P


def in_rounds(x: Any) -> Any:
    """A loop in the rounds of another, each round with its own number."""

    def body(s: Any) -> Any:
        u, v = mg.while_loop(lambda t: t[0] < s[0], lambda t: (t[0] + 1.5, t[0] * P), (s[1] * Q, s[1]), most=3)
        return s[0] + 0.7, (u * v + v * P) / (1.0 + v * v)

    a, b = mg.while_loop(lambda s: s[0] < x, body, (0.2 * x, P), most=4)
    return a * b + b * P - 0.3 * b * b


def by_count(x: Any) -> Any:
    count = mg.where(x < 0.5, 0.0, mg.where(x < 1.5, 1.0, 3.0))
    a, b = mg.loop(count, lambda _, s: (s[0] * P + s[1] * x, s[0]), (x * P, Q * x), most=5)
    return a * b * 0.3 + a * P + b * b * x + 0.7 * b * x


def beside_branches(x: Any) -> Any:
    """Among branches that are sections."""

    def long(s: Any) -> Any:
        for _ in range(20):
            s = mg.sqrt(0.3 + s * s * P) - 0.1 * Q * s
        return s

    def body(s: Any) -> Any:
        return s[0] + 1.0, s[2] * 0.9, s[1] * P + s[0] * Q

    _, a, b = mg.while_loop(lambda s: s[0] < 2.0 * x, body, (0.3 * x, P * Q, P + Q), most=6)
    c = mg.cond(x > 0.8, long, lambda s: s * P, x)
    return a * b * 0.3 + b * P + 0.7 * a + b * Q + a * b + x * P + c * P


def taken_by_one(x: Any) -> Any:
    """One operation reads a number through three takes: of its operands the first contributes first."""
    some = [x / 1.7, 0.3 * P * Q]
    a, b, c = (mg.take(some, mg.mod(mg.floor(3.0 * abs(x)), 2.0)) for _ in range(3))
    first = mg.dot([a, b, c], [0.3, Q, 1.1])
    last, _ = mg.while_loop(lambda s: s[1] < x, lambda s: (first * 0.4, s[1] + 1.0), (first, 0.0), most=4)
    return last


FUNCTIONS = [taken_by_one, seen_before, in_turns, in_rounds, by_count, beside_branches]
POINTS = (-0.4, -0.27, 0.3, 0.8, 1.3, 2.0, 2.9)


@pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: fn.__name__)
def test_gradients_have_the_bits_of_the_eager_engine(fn: Any) -> None:
    f = mg.compile(fn, strict=True, backend="numpy")
    for x in POINTS:
        P.grad = Q.grad = 0.0
        value = fn(x)
        value.backward()
        expected = [value.data, P.grad, Q.grad]
        P.grad = Q.grad = 0.0
        assert [f.backward(x), P.grad, Q.grad] == expected, x


@pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: fn.__name__)
def test_so_have_derivatives_inside_the_function(fn: Any) -> None:
    f = mg.compile(mg.grad(fn), strict=True, backend="numpy")
    for x in POINTS:
        assert f(x) == mg.grad(fn)(x).data, x


def test_a_round_is_done_only_if_those_before_it_are() -> None:
    test = ops.where(Value(1.0), 1.0, 0.0)
    turns, rounds = Turns(), [test]
    for _ in range(3):
        rounds.append(ops.where(ops.where(rounds[-1], Value(1.0), 0.0), 1.0, 0.0))
    flags = [(0, id(x)) for x in rounds]
    for x in reversed(rounds):
        turns.meet(x, 2)
    done = turns.turned(NOWHERE, flags[2], 1)
    assert done == {(flag, 1) for flag in flags[:3]}
    assert turns.shortest(done) == {(flags[2], 1)}
    assert turns.known(done, flags[1], (1, 0)) == [1]
    assert turns.known(turns.turned(NOWHERE, flags[1], 0), flags[2], (1, 0)) == [0]
    assert turns.turned(turns.turned(NOWHERE, flags[3], 0), flags[2], 0) == {(flags[2], 0)}
    assert turns.followed(NOWHERE, flags[1], 0) == {(flag, 0) for flag in flags[1:]}


def test_a_choice_hands_on_products_of_sums_as_they_are() -> None:
    """Eagerly a sum of products uses what was chosen, so that its derivative is one sum of products again."""

    def fn(x: Any) -> Any:
        chosen = mg.cond(P <= Q, lambda: x, lambda: x)
        return -0.4 * chosen / (1.0 + chosen * chosen) + 1.1 * mg.dot([chosen, chosen], [x, 0.9])

    second = mg.grad(lambda x: 0.7 * mg.grad(fn)(x))
    f = mg.compile(second, strict=True, backend="numpy")
    for k in range(12):
        x = 0.31 * k - 1.7
        expected = second(x)
        assert f(x) == (expected.data if isinstance(expected, Value) else expected), x
