"""Random programs: `backward`, walked in two ways, against a naive oracle that computes with dual numbers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import macrograd as mg
from macrograd import Value, ops
from macrograd.graph import interior
from macrograd.value import CONSTANT, topological

# --- random programs against a naive oracle -------------------------------------------------------------------------

# The rules for dual numbers (value, derivative), written here independently of the op table.
Dual = tuple[float, float]


def _half(a: Dual, b: Dual, larger: bool) -> Dual:
    if a[0] == b[0]:
        return (a[0], (a[1] + b[1]) / 2)
    return a if (a[0] > b[0]) == larger else b


DUAL: dict[str, tuple[int, Callable[..., Any], Callable[..., Dual]]] = {
    "+": (2, operator.add, lambda a, b: (a[0] + b[0], a[1] + b[1])),
    "-": (2, operator.sub, lambda a, b: (a[0] - b[0], a[1] - b[1])),
    "*": (2, operator.mul, lambda a, b: (a[0] * b[0], a[0] * b[1] + b[0] * a[1])),
    "/": (
        2,
        lambda a, b: a / (b * b + 1.0),
        lambda a, b: (a[0] / (b[0] ** 2 + 1), (a[1] * (b[0] ** 2 + 1) - a[0] * 2 * b[0] * b[1]) / (b[0] ** 2 + 1) ** 2),
    ),
    "neg": (1, operator.neg, lambda a: (-a[0], -a[1])),
    "abs": (1, abs, lambda a: (abs(a[0]), a[1] * ((a[0] > 0) - (a[0] < 0)))),
    "square": (1, lambda a: a**2, lambda a: (a[0] ** 2, 2 * a[0] * a[1])),
    "tanh": (1, mg.tanh, lambda a: (math.tanh(a[0]), a[1] / math.cosh(a[0]) ** 2)),
    "sin": (1, mg.sin, lambda a: (math.sin(a[0]), a[1] * math.cos(a[0]))),
    "cos": (1, mg.cos, lambda a: (math.cos(a[0]), -a[1] * math.sin(a[0]))),
    "sigmoid": (
        1,
        mg.sigmoid,
        lambda a: (0.5 + 0.5 * math.tanh(a[0] / 2), a[1] * 0.25 / math.cosh(a[0] / 2) ** 2),
    ),
    "softplus": (
        1,
        mg.softplus,
        lambda a: (math.log1p(math.exp(a[0])), a[1] * (0.5 + 0.5 * math.tanh(a[0] / 2))),
    ),
    "relu": (1, mg.relu, lambda a: a if a[0] > 0 else (0.0, 0.0)),
    "leaky": (1, lambda a: mg.leaky_relu(a, 0.125), lambda a: a if a[0] > 0 else (0.125 * a[0], 0.125 * a[1])),
    "maximum": (2, mg.maximum, lambda a, b: _half(a, b, True)),
    "minimum": (2, mg.minimum, lambda a, b: _half(a, b, False)),
    "where": (3, lambda c, a, b: mg.where(c > 0, a, b), lambda c, a, b: a if c[0] > 0 else b),
    "sum": (3, lambda *x: mg.sum(x), lambda *x: (sum(a for a, _ in x), sum(d for _, d in x))),
    "dot": (
        4,
        lambda a, b, c, d: mg.dot([a, b], [c, d]),
        lambda a, b, c, d: (a[0] * c[0] + b[0] * d[0], a[1] * c[0] + a[0] * c[1] + b[1] * d[0] + b[0] * d[1]),
    ),
    "+=1": (1, lambda a: 1 + a, lambda a: (1 + a[0], a[1])),
    "*0.5": (1, lambda a: a * 0.5, lambda a: (0.5 * a[0], 0.5 * a[1])),
}
NAMES = list(DUAL)
LEAVES = 3

number = st.integers(-16, 16).map(lambda k: k / 8)  # on a grid, so that ties and zeros really come up
instruction = st.tuples(st.sampled_from(NAMES), st.lists(st.integers(0, 10**6), min_size=4, max_size=4))
program = st.lists(instruction, min_size=1, max_size=12)


def build(lines: list[tuple[str, list[int]]], leaves: list[Value]) -> Value:
    values: list[Any] = list(leaves)
    for name, picks in lines:
        arity, apply, _ = DUAL[name]
        values.append(apply(*[values[pick % len(values)] for pick in picks[:arity]]))
    return values[-1]


def oracle(lines: list[tuple[str, list[int]]], data: list[float], leaf: int) -> Dual:
    """The last line's value and its derivative by one leaf: forward mode, by recursion, nothing remembered."""

    def dual(position: int) -> Dual:
        if position < LEAVES:
            return (data[position], float(position == leaf))
        name, picks = lines[position - LEAVES]
        arity, _, rule = DUAL[name]
        return rule(*[dual(pick % position) for pick in picks[:arity]])

    return dual(LEAVES + len(lines) - 1)


@given(program, st.lists(number, min_size=LEAVES, max_size=LEAVES))
def test_random_programs_agree_with_a_naive_oracle(lines: list[tuple[str, list[int]]], data: list[float]) -> None:
    leaves = [Value(x) for x in data]
    out = build(lines, leaves)
    if abs(out.data) > 1e9:  # a tower of squares: the comparison would be one of rounding errors
        return
    out.backward()
    for k, leaf in enumerate(leaves):
        value, derivative = oracle(lines, data, k)
        assert out.data == pytest.approx(value, rel=1e-9, abs=1e-9)
        assert leaf.grad == pytest.approx(derivative, rel=1e-7, abs=1e-7 * max(1.0, abs(value)))


@given(program, st.lists(number, min_size=LEAVES, max_size=LEAVES))
def test_both_ways_to_walk_a_graph_agree(lines: list[tuple[str, list[int]]], data: list[float]) -> None:
    """`backward` on numbers and with create_graph: the same order, and the same bits."""
    leaves = [Value(x) for x in data]
    out = build(lines, leaves)
    order = topological(out)
    position = {id(node): k for k, node in enumerate(order)}
    assert len(position) == len(order)
    assert all(position[id(x)] < position[id(node)] for node in order for x in node.inputs)
    walked, again = interior(out, (Value(0.0) + 0.0).grad)
    assert not again
    assert [id(x) for x in walked] == [id(x) for x in order if x.op is not None and x.op is not CONSTANT]
    if not math.isfinite(out.data):
        return
    out.backward()
    numbers = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = 0.0
    out.backward(create_graph=True)
    assert [getattr(leaf.grad, "data", leaf.grad) for leaf in leaves] == numbers


@given(program, st.lists(number, min_size=LEAVES, max_size=LEAVES))
def test_backward_twice_doubles(lines: list[tuple[str, list[int]]], data: list[float]) -> None:
    leaves = [Value(x) for x in data]
    out = build(lines, leaves)
    out.backward()
    once = {id(node): node.grad for node in topological(out)}
    out.backward()
    for node in topological(out):
        expected = once[id(node)] * (2.0 if node.op is None else 1.0)
        # The leaf's second share is added to the first term by term, so the last bits may differ.
        assert node.grad == pytest.approx(expected, rel=1e-12, abs=1e-9, nan_ok=True)


def test_the_oracle_would_see_a_wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [("tanh", [0, 0, 0, 0]), ("*", [3, 1, 0, 0])]
    monkeypatch.setattr(ops.tanh, "derivative", (lambda g, out, a: g * (1.001 - out * out),))
    leaves = [Value(0.5), Value(-1.5), Value(0.0)]
    build(lines, leaves).backward()
    assert leaves[0].grad != pytest.approx(oracle(lines, [0.5, -1.5, 0.0], 0)[1], rel=1e-7)
