"""Whether derivatives are added up as the eager engine does it where choices are operations, whatever they choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from macrograd import ops
from macrograd.compiler.trace.eager_graph import Flag, Graph, Path, Placed, TooMany, together
from macrograd.compiler.trace.traced import Traced
from macrograd.rules import reaches
from macrograd.value import Value

_MOST_USES = 100_000


def adds_up_as_eager(graph: Graph, results: Sequence[Value], order: Sequence[Value]) -> bool:
    """Whether a derivative that goes back through the operations in this `order`, in which the choices of the graph are
    operations, adds up the contributions to each number in the order of the eager engine, on all ways through the
    choices. False if there are too many to tell.

    A choice adds up the contributions of its uses before it hands them on. That makes no difference if there is one, or
    if they are the first ones.
    """
    rank = {id(x): k for k, x in enumerate(order)}
    try:
        uses = _found_uses(graph, graph.walk(results))
    except TooMany:
        return False
    for some in uses.values():
        if len(some) < 3:  # a + b is b + a
            continue
        ways = [way for _, _, way in some]
        places = [tuple([rank.get(id(x), -1) for x in (*reversed(through), user)]) for user, through, _ in some]
        if not rising(places, ways) or not _first(some, ways):
            return False
    return True


def _found_uses(graph: Graph, order: Sequence[Placed]) -> dict[Flag, list[tuple[Any, tuple[Any, ...], Path]]]:
    """The uses of each number through which a derivative flows, in the order of the eager engine: each with the choices
    between, and the way."""
    found: dict[Flag, list[tuple[Any, tuple[Any, ...], Path]]] = {}
    count = 0
    for instance, x, operand, path in flowing(order):
        for at, y, way, through in _through(graph, instance, operand, path):
            if is_added_to(y):
                found.setdefault((at, id(y)), []).append((x, through, way))
            if (count := count + 1) > _MOST_USES:
                raise TooMany
    return found


def flowing(order: Sequence[Placed]) -> Iterator[tuple[int, Any, Any, Path]]:
    """The operands through which a derivative flows: of each the instance, who uses it, the operand and the way. Who
    comes last contributes first, and of the operands of one user the first does."""
    reached_by: dict[Any, tuple[bool, ...]] = {}
    for instance, x, ways in order:
        op: Any = x.op
        if op not in reached_by:
            reached_by[op] = reaches(op)
        reached = reached_by[op]
        for k in reversed(range(len(x.inputs))):
            if reached[op.slot(k)]:
                for path in ways:
                    yield instance, x, x.inputs[k], path


def is_added_to(x: Any) -> bool:
    """Whether the derivative by a Value is added up: of constants, and of leaves that the trace made, it is not."""
    return x.op is not ops.CONSTANT and not (x._a is None and isinstance(x, Traced))


def _through(graph: Graph, instance: int, x: Any, path: Path) -> Iterator[tuple[int, Any, Path, tuple[Any, ...]]]:
    """What a Value may be on this way, and the choices on it."""
    stack: list[tuple[int, Any, Path, tuple[Any, ...]]] = [(instance, x, path, ())]
    while stack:
        instance, x, path, through = stack.pop()
        instance, x = graph.resolved(instance, x)
        if id(x) in graph.stop:
            continue
        if id(x) not in graph.choices:
            yield instance, x, path, through
            continue
        stack.extend((*side, (*through, x)) for side in reversed(graph.chosen(instance, x, path)))


def rising(places: Sequence[tuple[int, ...]], ways: Sequence[Path]) -> bool:
    """Whether these places come one after the other, of those that can be met in one run."""
    if all(a <= b for a, b in pairwise(places)):
        return True
    return not any(
        b < a and together(ways[j], ways[k]) for j, a in enumerate(places) for k, b in enumerate(places[j + 1 :], j + 1)
    )


def _first(uses: Sequence[tuple[Any, tuple[Any, ...], Path]], ways: Sequence[Path]) -> bool:
    """Whether of uses that a choice adds up there is one in each run, or they are the last ones, which come first."""
    groups: dict[int, list[int]] = {}
    for k, (_, through, _) in enumerate(uses):
        for choice in through:
            groups.setdefault(id(choice), []).append(k)
    for group in groups.values():
        if len(group) < 2 or len(group) == len(uses) or not _several(group, ways):
            continue
        among = set(group)
        if any(
            k not in among and any(together(ways[k], ways[j]) for j in group if j < k)
            for k in range(group[0] + 1, len(ways))
        ):
            return False
    return True


def _several(group: Sequence[int], ways: Sequence[Path]) -> bool:
    """Whether two of these are met in one run."""
    return any(together(ways[j], ways[k]) for n, j in enumerate(group) for k in group[n + 1 :])
