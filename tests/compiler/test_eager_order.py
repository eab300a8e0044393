"""The order of the eager engine: operands first, and comparisons read copies, which its walk does not visit."""

from __future__ import annotations

from macrograd import Value, ops
from macrograd.compiler.trace.eager_order import as_eager_walks
from macrograd.graph import topological


def test_without_comparisons_it_is_the_walk_of_backward() -> None:
    x, y = Value(2.0), Value(3.0)
    out = x * y + y * x - x
    assert as_eager_walks([out], []) == topological(out)


def test_a_comparison_reads_copies_of_what_the_walk_meets_later() -> None:
    x, y = Value(2.0), Value(3.0)
    a = x * y
    test = ops.less(a, 5.0)
    choice = ops.where(test, x, y)
    out = choice * a
    order = as_eager_walks([out], [test])
    assert [node for node in order if node in {x, y, a, choice, out}] == [x, y, choice, a, out]  # as without the test
    assert test not in order
    copy = choice.inputs[0]
    assert copy.op is ops.less
    assert copy.inputs[0] is not a
    assert copy.inputs[0].inputs == a.inputs
    assert a in out.inputs
    place = {node: k for k, node in enumerate(order)}
    for node in order:
        assert all(place[x] < place[node] for x in node.inputs if x.inputs)


def test_what_the_walk_has_met_is_read_without_a_copy() -> None:
    x = Value(2.0)
    a = x * x
    test = ops.less(a, 5.0)
    choice = ops.where(test, x, 0.5)
    order = as_eager_walks([(a + 1.0) * choice], [test])
    assert choice.inputs[0].inputs[0] is a
    assert order.count(a) == 1
