"""The order in which the eager engine's `backward` walks a graph, for strict programs, whose sums follow it."""

from __future__ import annotations

from collections.abc import Sequence

from macrograd.graph import topological
from macrograd.value import Value


def as_eager_walks(results: Sequence[Value], comparisons: Sequence[Value]) -> list[Value]:
    """The Values that the results depend on, operands first, in the order of the eager graph.

    `comparisons` are those made by Python's operators. Eagerly each is a bool, so the walk does not visit its operands;
    on a tape they must come before it. It therefore reads copies, which no derivative reaches and which are merged with
    the originals once the program has been differentiated.
    """
    order = topological(*results, stop=comparisons)
    if not comparisons:
        return order
    bools = set(comparisons)
    copies: dict[Value, Value] = {}
    found: list[Value] = []
    seen: set[int] = set()
    for node in order:
        operands = node.inputs
        read = [x for x in operands if x in bools]
        for original in topological(*read, seen=seen):
            if original._a is not None:
                copies[original] = _copied(original, copies)
                found.append(copies[original])
        if read:
            node.inputs = tuple([copies[x] if x in bools else x for x in operands])
        found.append(node)
        seen.add(id(node))  # later comparisons can read it without a copy
    return found


def _copied(node: Value, copies: dict[Value, Value]) -> Value:
    made: Value = object.__new__(Value)
    made.__class__ = node.__class__
    made.op, made.label = node.op, ""
    made.inputs = tuple([copies.get(x, x) for x in node.inputs])
    return made
