"""Walks over graphs: operands before results, from left to right, each Value once, without recursion."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from macrograd import Value, where
from macrograd.graph import interior, topological


def test_operands_come_first_and_from_left_to_right() -> None:
    a, b, c = Value(1.0), Value(2.0), Value(3.0)
    left, right = a * b, b * c
    out = where(c, left, right)
    assert topological(out) == [c, a, b, left, right, out]
    assert topological(right, left) == [b, c, right, a, left]


def test_what_stops_a_walk_is_left_out_with_all_below_it() -> None:
    a, b = Value(1.0), Value(2.0)
    below = a * a
    out = below + b
    assert topological(out, stop=[below]) == [b, out]
    seen: set[int] = set()
    assert topological(below, seen=seen) == [a, below]
    assert topological(out, seen=seen) == [b, out]
    assert topological(out, within={id(out), id(b)}) == [b, out]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=60))
def test_interior_is_the_same_walk_without_the_leaves(operands: list[tuple[int, int, int]]) -> None:
    nodes = [Value(0.5), Value(0.25)]
    for i, j, k in operands:
        x, y, z = (nodes[n % len(nodes)] for n in (i, j, k))
        nodes.append(where(x, y, z) if i % 3 == 0 else x + y if i % 3 == 1 else -x)
    out = nodes[-1]
    fresh = out.grad  # that of all operations since a number was set last, by whatever test
    walked, again = interior(out, fresh)
    assert [id(x) for x in walked] == [id(x) for x in topological(out) if x.inputs]
    assert not again
    assert interior(out, fresh)[1] == bool(walked)  # the marks of the first walk


def test_an_operand_may_be_deep_on_both_sides() -> None:
    x = Value(1.0)
    left = right = x
    for _ in range(50):
        left, right = left + right, right + left
    (left * right).backward()
    assert x.grad == 2 * 2.0**50 * 2.0**50


def test_a_walk_that_was_broken_off_leaves_numbers_and_the_next_is_right() -> None:
    x = Value(2.0)
    y = x.tanh()
    broken = (x * y) * Value(1.0)
    broken.inputs = (broken.inputs[0], "no operand")
    with pytest.raises(AttributeError):
        broken.backward()
    assert isinstance(y.grad, float)
    (x * y).backward()
    assert x.grad == pytest.approx(math.tanh(2.0) + 2.0 * (1 - math.tanh(2.0) ** 2), rel=1e-15)
