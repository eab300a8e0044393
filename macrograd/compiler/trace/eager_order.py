"""The order in which the eager engine's `backward` walks a graph, for strict programs, whose sums follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from macrograd import ops
from macrograd.compiler.trace.calling import known
from macrograd.compiler.trace.eager_graph import NOWHERE, Choices, Graph, Path, Placed, TooMany, together
from macrograd.graph import topological
from macrograd.value import Value

_MOST_COPIES = 1_000  # of choices: each takes time to differentiate
Changed = list[tuple[Any, tuple[Any, ...]]]  # Values, and what they read before


def as_eager_walks(
    results: Sequence[Value],
    comparisons: Sequence[Value],
    choices: Choices | None = None,
    *,
    once: bool = True,
    changed: Changed | None = None,
    turns: Mapping[int, Sequence[int]] | None = None,
) -> list[Value]:
    """The Values that the results depend on, operands first, in the order of the eager graph.

    `comparisons` are those made by Python's operators, and tests. Eagerly each is a bool, so the walk does not visit
    its operands; on a tape they must come before it. It therefore reads copies, which no derivative reaches and which
    are merged with the originals once the program has been differentiated.

    Each use of a choice between branches likewise reads a copy of it, which comes right before: so what was chosen gets
    the contribution of each use, and not their sum. Unless `once`, there is also a copy of a Value for each branch that
    may visit it first. Values that read copies now are listed in `changed`. The operands of calls are visited in the
    order of their `turns`.
    """
    choices = {} if choices is None else choices
    apart = {number: False for number, rounds in choices.items() if not rounds}
    reads: dict[int, tuple[Any, ...]] = {}  # what a Value reads from now on
    if not apart and not turns:
        order: Sequence[Any] = topological(*results, stop=comparisons)
    else:
        graph = Graph(comparisons, apart)
        graph.turns = turns or {}
        order, reads = _Instances(graph, choices).listed(results, graph.walk(results, once=once))
    if not comparisons and not reads:
        return [*order]
    bools = set(comparisons)
    copies: dict[Value, Value] = {}
    found: list[Value] = []
    seen: set[int] = set()
    for node in order:
        operands = reads.get(id(node), node.inputs)
        read = [x for x in operands if x in bools]
        # A test reads what it read before, too: what an operation reads from now on may depend on the test.
        for original in topological(*read, seen=seen):
            if original._a is not None:
                inputs = tuple([copies.get(x, x) for x in original.inputs])
                copies[original] = made = _made(original, original.op, inputs)
                found.append(made)
        if read:
            reads[id(node)] = tuple([copies[x] if x in bools else x for x in operands])
        found.append(node)
        seen.add(id(node))  # later comparisons can read it without a copy
    for node in order:
        if id(node) in reads:
            if changed is not None:
                changed.append((node, node.inputs))
            node.inputs = reads[id(node)]
    return found


def _made(like: Value, op: Any, inputs: tuple[Any, ...]) -> Value:
    made: Value = object.__new__(Value)
    made.__class__ = like.__class__
    made.op, made.label, made.inputs = op, "", inputs
    return made


class _Instances:
    """Lists Values as a walk of the graph places them, with copies of choices, and of Values that are placed twice."""

    def __init__(self, graph: Graph, choices: Choices) -> None:
        self.graph, self.choices = graph, choices
        self.made: dict[int, list[tuple[list[Path], Value]]] = {}  # the instances of a Value so far
        self.order: list[Value] = []
        self.count = 0  # of copies

    def listed(
        self, results: Sequence[Value], placed: Sequence[Placed]
    ) -> tuple[list[Value], dict[int, tuple[Value, ...]]]:
        """The Values, and what those of them that are no copies read in this order, by their ids."""
        reads: dict[int, tuple[Value, ...]] = {}
        for _, x, ways in placed:
            inputs = self._read(x, frozenset.intersection(*ways))
            some = self.made.setdefault(id(x), [])
            node = x if not some else _made(x, x.op, inputs)
            if node is x:
                reads[id(x)] = inputs
            some.append((ways, node))
            self.order.append(node)
        roots = [x for x in {id(x): x for x in results}.values() if id(x) in self.graph.choices]
        for x in roots:
            sides = [self._way(side, way) for _, side, way in self.graph.chosen(0, x, NOWHERE)]
            reads[id(x)] = x.inputs[0], *sides
            self.order.append(x)
        return self.order, reads

    def _read(self, x: Value, path: Path) -> tuple[Value, ...]:
        """What an operation reads on this way. Copies of its last operand come first: of the contributions to one Value
        that of the first operand is then the first."""
        inputs = list(x.inputs)
        among = [id(y) in self.graph.choices for y in inputs]
        if any(among):
            inside = {id(y) for k, y in enumerate(inputs) if among[k] for _, y, _ in self.graph.sides(0, y, path)}
            test = inputs[among.index(True)].inputs[0]
        for k in reversed(range(len(inputs))):
            y = inputs[k]
            inputs[k] = self._way(y, path)
            if any(among) and not among[k] and id(y) in inside:
                inputs[k] = self._choice(y, test, inputs[k], inputs[k])
        return tuple(inputs)

    def _way(self, x: Value, path: Path) -> Value:
        """A Value as it is read on this way."""
        if id(x) in self.graph.choices:
            sides = self.graph.chosen(0, x, path)
            if len(sides) == 1:
                return self._way(sides[0][1], sides[0][2])
            first, second = [self._way(side, way) for _, side, way in sides]
            return self._choice(x, x.inputs[0], first, second)
        some = [(ways, node) for ways, node in self.made.get(id(x), []) if any(together(way, path) for way in ways)]
        if not some:
            return x
        for k, (ways, _) in enumerate(some):  # beyond one that was visited for certain there is none
            if any(way <= path for way in ways):
                some = some[: k + 1]
                break
        *others, (_, found) = some
        for ways, node in reversed(others):
            for way in ways:
                if together(way, path):
                    found = self._choice(x, self._mask(x, way - path), node, found)
        return found

    def _mask(self, like: Value, way: Path) -> Value:
        """A Value that is 1 on this way and 0 elsewhere."""
        found, no = known(1.0), known(0.0)
        for (_, number), side in sorted(way):
            test = self.graph.tests[number]
            found = self._listed(like, test, found if side else no, no if side else found)
        return found

    def _choice(self, like: Value, test: Value, a: Value, b: Value) -> Value:
        made = self._listed(like, test, a, b)
        self.choices[id(made)] = False
        return made

    def _listed(self, like: Value, *inputs: Value) -> Value:
        if (count := self.count + 1) > _MOST_COPIES:
            raise TooMany
        self.count = count
        self.order.append(_made(like, ops.where, inputs))
        return self.order[-1]
