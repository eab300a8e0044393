"""The order in which the eager engine's `backward` walks a graph, for strict programs, whose sums follow it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.trace.calling import known
from macrograd.compiler.trace.eager_graph import NOWHERE, TAKEN, Choices, Graph, Path, Placed, TooMany, Turns, together
from macrograd.graph import topological
from macrograd.value import Value

_MOST_COPIES = 4_000  # of choices: each takes time to differentiate
_DEEPEST = 6  # choices between choices, if rounds must be alike


@dataclass
class Walk:
    """The order of a graph in which the eager engine goes back through it, operands first, with copies of some Values:
    what reads a copy in its place gives its gradient to that.

    reads    what a Value reads where that is not its operands, by its id
    origin   the Value that a copy stands for, by the copy's id
    choices  choices between branches, and takes, by their ids: eagerly they are what they choose
    tests    their tests and indices
    masks    the ways on which Values are 1, by their ids
    """

    order: list[Any]
    reads: Mapping[int, Sequence[Any]]
    origin: Mapping[int, Any]
    choices: Mapping[int, bool]
    tests: Turns
    masks: Mapping[int, Path]

    def inputs(self, x: Any) -> Sequence[Any]:
        return self.reads.get(id(x), x.inputs)

    def value(self, x: Any) -> Any:
        return self.origin.get(id(x), x)


def as_eager_walks(
    results: Sequence[Value],
    comparisons: Sequence[Value],
    choices: Choices | None = None,
    *,
    once: bool = True,
    turns: Mapping[int, Sequence[int]] | None = None,
    alike: bool = False,
) -> list[Value]:
    """The Values that the results depend on, operands first, in the order of the eager graph.

    `comparisons` are those made by Python's operators, and tests. Eagerly each is a bool, so the walk does not visit
    its operands; on a tape they must come before it. It therefore reads copies, which no derivative reaches and which
    are merged with the originals once the program has been differentiated.

    Each use of a choice between branches likewise reads a copy of it, which comes right before: so what was chosen gets
    the contribution of each use, and not their sum. Unless `once`, there is also a copy of a Value for each branch that
    may visit it first. The operands of calls are visited in the
    order of their `turns`. If the rounds of loops must be `alike`, there are as many copies for each; TooMany is raised
    where there would be more, or copies of other Values.
    """
    choices = {} if choices is None else choices
    apart = {number: False for number, rounds in choices.items() if not rounds}
    reads: dict[int, tuple[Any, ...]] = {}  # what a Value reads from now on
    partial: set[int] = set()
    if not apart and not turns:
        order: Sequence[Any] = topological(*results, stop=comparisons)
    else:
        graph = Graph(set(map(id, comparisons)), apart)
        graph.turns = turns or {}
        some = _Instances(graph, choices, alike=alike)
        order, reads = some.listed(results, graph.walk(results, once=once))
        partial = some.partial
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
        if id(node) not in partial:
            seen.add(id(node))  # later comparisons can read it without a copy
    for node in order:
        if id(node) in reads:
            node.inputs = reads[id(node)]
    return found


def derivative_walk(
    results: Sequence[Value],
    leaves: Sequence[Value],
    within: set[int] | None,
    compared: set[int],
    choices: Choices,
    note: Callable[[Value], None],
    *,
    once: bool,
) -> Walk | None:
    """The walk of a derivative that is taken inside the function, of the results with respect to the leaves: that of
    `as_eager_walks`, but all Values stay as they are. None if there are too many ways through the choices.

    It does not go beyond the leaves, nor beyond the Values whose ids are `within`, if given. `compared` are the ids of
    comparisons, and `note` is told of new ones.
    """
    ends = set(map(id, leaves))
    graph = Graph(compared, choices, lambda x: id(x) not in ends and (within is None or id(x) in within))
    some = _Instances(graph, dict(choices), note)
    try:
        order, reads = some.listed(results, graph.walk(results, once=once))
    except TooMany:
        return None
    return Walk(order, reads, some.origin, some.choices, graph.tests, some.masks)


def plain_walk(
    results: Sequence[Value], leaves: Sequence[Value], within: set[int] | None, compared: set[int]
) -> list[Value]:
    """The graph that `derivative_walk` walks, with choices as operations of it."""
    stop = compared if within is None else within & compared
    return topological(*results, seen=stop | set(map(id, leaves)), within=within)


def _made(like: Value, op: Any, inputs: tuple[Any, ...]) -> Value:
    made: Value = object.__new__(Value)
    made.__class__ = like.__class__
    made.op, made.label, made.inputs = op, "", inputs
    return made


class _Instances:
    """Lists Values as a walk of the graph places them, with copies of choices, and of Values that are placed twice. If
    the copies are not to become part of the program, `note` is told of the comparisons that do."""

    def __init__(
        self, graph: Graph, choices: Choices, note: Callable[[Value], None] | None = None, *, alike: bool = False
    ) -> None:
        self.graph, self.choices, self.note, self.alike = graph, choices, note, alike
        self.origin: dict[int, Any] = {}  # the Value that a copy stands for, by the copy's id
        self.made: dict[int, list[tuple[list[Path], Value]]] = {}  # the instances of a Value so far
        self.order: list[Value] = []
        self.partial: set[int] = set()  # the ids of Values that read what is right on some ways only
        self.masks: dict[int, Path] = {}  # the ways on which Values are 1 that were made for `note`
        self.count = 0  # of copies
        self.deep = 0  # choices between choices that are being copied

    def listed(
        self, results: Sequence[Value], placed: Sequence[Placed]
    ) -> tuple[list[Value], dict[int, tuple[Value, ...]]]:
        """The Values, and what those of them that are no copies read in this order, by their ids."""
        reads: dict[int, tuple[Value, ...]] = {}
        whole = set(map(id, results))  # what is a result is right on all ways
        for _, x, ways in placed:
            inputs = self._read(x, ways)
            some = self.made.setdefault(id(x), [])
            node = x if id(x) not in reads and (NOWHERE in ways or id(x) not in whole) else _made(x, x.op, inputs)
            if self.alike and node is not x:
                raise TooMany
            if node is x:
                reads[id(x)] = inputs
                if NOWHERE not in ways:
                    self.partial.add(id(x))
            else:
                self.origin[id(node)] = x
            some.append((ways, node))
            self.order.append(node)
        roots = [x for x in {id(x): x for x in results}.values() if id(x) in self.graph.choices]
        for x in roots:
            reads[id(x)] = self._chosen(x, [NOWHERE])
            self.order.append(x)
        return self.order, reads

    def _read(self, x: Value, ways: list[Path]) -> tuple[Value, ...]:
        """What an operation reads on these ways. Copies of its last operand come first: of the contributions to one
        Value that of the first operand is then the first."""
        inputs = list(x.inputs)
        among = [id(y) in self.graph.choices for y in inputs]
        if any(among):
            inside = {
                id(side)
                for k, y in enumerate(inputs)
                if among[k]
                for w in ways
                for _, side, _ in self.graph.sides(0, y, w)
            }
            test = inputs[among.index(True)].inputs[0]
        for k in reversed(range(len(inputs))):
            y = inputs[k]
            inputs[k] = self._way(y, ways)
            if any(among) and not among[k] and id(y) in inside:
                inputs[k] = self._choice(y, ops.where, test, inputs[k], inputs[k])
        return tuple(inputs)

    def _way(self, x: Value, ways: list[Path]) -> Value:
        """A Value as it is read on these ways."""
        if id(x) in self.graph.choices:
            self.deep += 1
            if self.alike and self.deep > _DEEPEST:
                raise TooMany
            test, *sides = self._chosen(x, ways)
            self.deep -= 1
            if x.op is ops.where and sides[0] is sides[1]:
                return sides[0]
            return self._choice(x, x.op, test, *sides)
        some = [(theirs, node) for theirs, node in self.made.get(id(x), []) if _meet(theirs, ways)]
        if not some:
            return x
        for k, (theirs, _) in enumerate(some):  # beyond one that was visited for certain there is none
            if all(any(way <= mine for way in theirs) for mine in ways):
                some = some[: k + 1]
                break
        *others, (_, found) = some
        known = frozenset.intersection(*ways)
        for theirs, node in reversed(others):
            for way in theirs:
                if _meet([way], ways):
                    found = self._choice(x, ops.where, self._mask(x, way - known), node, found)
        return found

    def _chosen(self, x: Value, ways: list[Path]) -> tuple[Value, ...]:
        """What a choice reads on these ways; another side in place of those that it does not choose. A take still has
        to check its index."""
        test, *sides = x.inputs
        sided: dict[int, list[Path]] = {}
        for mine in ways:
            for _, side, way in self.graph.chosen(0, x, mine):
                sided.setdefault(id(side), []).append(way)
        found = {id(y): self._way(y, sided[id(y)]) for y in {id(y): y for y in sides}.values() if id(y) in sided}
        other = next(iter(found.values()))
        return test, *[found.get(id(y), other) for y in sides]

    def _mask(self, like: Value, way: Path) -> Value:
        """A Value that is 1 on this way and 0 elsewhere."""
        found, no = known(1.0), known(0.0)
        turns, met = self.graph.tests.shortest(way), self.graph.tests.met
        for _, test, _, side in sorted([(*met[number], side) for (_, number), side in turns], key=_turn):
            if side >= TAKEN:
                found = self._number(like, ops.onehot, test, known(float(side - TAKEN)), found)
            else:
                found = self._number(like, ops.where, test, found if side else no, no if side else found)
        if self.note is not None and way:
            self.note(found)
            self.masks[id(found)] = way
        return found

    def _number(self, like: Value, op: Any, *inputs: Value) -> Value:
        return self._listed(like, op, *inputs) if self.note is None else op(*inputs)

    def _choice(self, like: Value, op: Any, *inputs: Value) -> Value:
        made = self._listed(like, op, *inputs)
        self.choices[id(made)] = False
        self.origin[id(made)] = like
        return made

    def _listed(self, like: Value, op: Any, *inputs: Value) -> Value:
        if (count := self.count + 1) > _MOST_COPIES:
            raise TooMany
        self.count = count
        self.order.append(_made(like, op, inputs))
        return self.order[-1]


def _turn(found: tuple[int, Value, int, int]) -> int:
    return found[0]


def _meet(some: Sequence[Path], others: Sequence[Path]) -> bool:
    """Whether one of these ways can be taken in one run with one of the others."""
    return any(together(a, b) for a in some for b in others)
