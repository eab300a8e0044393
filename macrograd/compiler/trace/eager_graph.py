"""The eager graph of a trace, which has more: for strict programs, whose sums follow the eager engine's `backward`.

The comparisons by Python's operators, the tests of branches and the indices of takes are numbers eagerly, and part of
no graph. A choice between two branches is eagerly one of them: whatever uses the choice, uses that branch, and what
both branches use comes in the order of the one that was taken. So is a take one of its values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping, MutableMapping, Sequence
from itertools import pairwise
from typing import Any

from macrograd import ops
from macrograd.value import Value

# Of a choice, by its id, whether it is that of a round of a loop that may be done: between the new state and the old.
Choices = MutableMapping[int, bool]
Flag = tuple[int, int]  # a test or an index: the instance of a section, and its id
Path = frozenset[tuple[Flag, int]]  # the tests on the way to a Value, and how they turned out
Side = tuple[int, Any, Path]  # an instance of a section, a Value in it, and the way to it
Placed = tuple[int, Any, list[Path]]  # … and the ways to it
NOWHERE: Path = frozenset()
TAKEN = 2  # how an index of 0 turned out: a test has 0 or 1
_MOST_SIDES = 64  # of a choice between choices
_MOST_STEPS = 100_000  # of a walk, where branches meet what others have met
_LISTED = 20  # operations that are looked through in a step


class Turns:
    """How tests turn out together: a round of a loop that may be done is done only if all before it are.

    Of a way that some round is done the turns of all rounds before it are part, and of one that it is not none of those
    after it. So the ways of two numbers of rounds that follow each other are one without the test between them.

    met  tests and indices by their ids, each with a number, in the order in which they were met, and its turns
    """

    def __init__(self) -> None:
        self.met: dict[int, tuple[int, Any, int]] = {}
        self._chains: dict[Flag, tuple[int, tuple[Flag, ...]]] = {}
        self._after: dict[tuple[Flag, int], list[Flag]] = {}  # the tests that turn out so, too, if this one does

    def meet(self, test: Any, turns: int) -> None:
        self.met.setdefault(id(test), (len(self.met), test, turns))

    def chain(self, flag: Flag) -> tuple[int, tuple[Flag, ...]]:
        """A turn of a test, and the tests that turn out so, too, if it does: those of the rounds before. Of rounds that
        begin together it is 1; of those that end together 0, since those before the first are not done."""
        if flag not in self._chains:
            at, test, found = flag[0], self.met[flag[1]][1], list[Flag]()
            turn: int | None = None
            while (implied := _implied(test)) is not None and turn in (None, implied[0]):
                turn, test = implied
                if test is None:
                    break
                self.meet(test, 2)
                found.append((at, id(test)))
            self._chains[flag] = 1 if turn is None else turn, tuple(found)
            for other in found:
                self._after.setdefault((other, 1 - self._chains[flag][0]), []).append(flag)
        return self._chains[flag]

    def known(self, path: Path, flag: Flag, turns: Collection[int]) -> list[int]:
        """Which of these turns a test may have on a way."""
        if TAKEN in turns:
            found = [turn for other, turn in path if other == flag]
            return [turn for turn in turns if turn in found] if found else [*turns]
        turn, before = self.chain(flag)
        if (flag, turn) in path:
            return [turn]
        if (flag, 1 - turn) in path or any((other, 1 - turn) in path for other in before):
            return [1 - turn]
        return [*turns]

    def turned(self, path: Path, flag: Flag, turn: int) -> Path:
        """The way on which a test turns out so, too."""
        if turn >= TAKEN:
            return path | {(flag, turn)}
        implies, before = self.chain(flag)
        if after := self._after.get((flag, turn)):
            path = path.difference([(other, turn) for other in after])
        return path.union([(flag, turn)], [(other, turn) for other in before] if turn == implies else ())

    def followed(self, path: Path, flag: Flag, turn: int) -> Path:
        """The way on which a test turns out so, too, with the turns of all others that follow."""
        if turn >= TAKEN:
            return path | {(flag, turn)}
        return path.union([(flag, turn)], [(other, turn) for other in self._others(flag, turn)])

    def without(self, path: Path, turned: tuple[Flag, int]) -> Path:
        """A way without the turn of a test, and without what follows from that."""
        flag, turn = turned
        return path.difference([turned], [(other, turn) for other in self._others(flag, turn)])

    def _others(self, flag: Flag, turn: int) -> list[Flag]:
        """The tests that turn out so, too, if this one does."""
        implies, before = self.chain(flag)
        return [*(before if turn == implies else ()), *self._after.get((flag, turn), ())]

    def follows(self, path: Path, flag: Flag, turn: int) -> bool:
        """Whether a test turns out so on a way."""
        return self.known(path, flag, (turn, 1 - turn)) == [turn] if turn < TAKEN else (flag, turn) in path

    def shortest(self, path: Path) -> Path:
        """The turns of which the others follow."""
        follow = set[tuple[Flag, int]]()
        for flag, turn in path:
            if turn < TAKEN and turn == (chain := self.chain(flag))[0]:
                follow.update((other, turn) for other in chain[1])
        return path - follow if follow else path


def _implied(test: Any) -> tuple[int, Any] | None:
    """The turn of a test with which another turns out so, too, and that one: the test of the round before, as
    `while_loop` writes it. None instead of a test that is none."""
    if not _of_truth(test) or (inner := test.inputs[0]).op is not ops.where:
        return None
    before, yes, no = inner.inputs
    if no.op is ops.CONSTANT and no._data == 0.0:
        return (1, before) if _of_truth(before) else None
    if yes.op is ops.CONSTANT and yes._data == 1.0 and not _of_truth(inner):
        return 0, before if _of_truth(before) else None
    return None


def _of_truth(test: Any) -> bool:
    """Whether a test is 1 where what it reads is not 0, and 0 elsewhere."""
    if test.__class__ is float or test.op is not ops.where:
        return False
    _, yes, no = test.inputs
    return yes.op is no.op is ops.CONSTANT and (yes._data, no._data) == (1.0, 0.0)


class TooMany(Exception):  # noqa: N818 - a request, not an error
    """There are too many ways through the branches to look at."""


class Graph:
    """The eager graph of a trace, for all ways through its branches; only a `part` of it, if that is given. `stop` are
    the ids of comparisons, tests and indices."""

    def __init__(self, stop: Container[int], choices: Choices, part: Callable[[Any], bool] | None = None) -> None:
        self.stop, self.choices = stop, choices
        self._part = part
        self.tests = Turns()
        self.carried: Flag | None = None
        self.turns: Mapping[int, Sequence[int]] = {}  # of calls, by id, the order in which their operands are visited

    def resolved(self, instance: int, x: Any) -> tuple[int, Any]:
        """The Value that this one stands for. If it comes into a call as part of its state, `carried` says so."""
        return instance, x

    def ends(self, x: Any) -> bool:
        """Whether the graph does not go beyond a Value: a leaf, or outside of the part that is looked at."""
        return x._a is None or (self._part is not None and not self._part(x))

    def sides(self, instance: int, x: Value, path: Path) -> Iterator[Side]:
        """What a Value may be on this way: no choice."""
        for side, _ in self.through(instance, x, path, {}):
            yield side

    def through(
        self, instance: int, x: Value, path: Path, apart: Mapping[int, bool]
    ) -> Iterator[tuple[Side, Flag | None]]:
        """What a Value may be on this way, and the first on it that adds up all uses that come through it: a call's
        state, or a choice of which there is no copy for each use, as in the same instance there is of those that are
        `apart`."""
        start, count = instance, 0
        stack: list[tuple[int, Any, Path, Flag | None]] = [(instance, x, path, None)]
        while stack:
            instance, x, path, first = stack.pop()
            instance, x = self.resolved(instance, x)
            if id(x) in self.stop:
                continue
            first = self.carried if first is None else first
            if id(x) not in self.choices:
                yield (instance, x, path), first
                continue
            if (count := count + 1) > _MOST_SIDES:
                raise TooMany
            if first is None and (instance != start or apart.get(id(x), True)):
                first = instance, id(x)
            stack.extend((*side, first) for side in reversed(self.chosen(instance, x, path)))

    def chosen(self, instance: int, x: Value, path: Path) -> list[Side]:
        """Between what a choice chooses on this way. Rounds of a loop that may be done are done."""
        test, *sides = x.inputs
        if self.choices[id(x)]:
            return [(instance, sides[0], path)]
        if len(sides) == 1:  # it passes on what it has: a take that only checks, a gate
            return [(instance, sides[0], path)]
        at, test = self.resolved(instance, test)
        flag = at, id(test)
        turns = range(TAKEN, TAKEN + len(sides)) if x.op is ops.take else (1, 0)
        self.tests.meet(test, len(turns))
        possible = self.tests.known(path, flag, turns)
        found = zip(sides, turns, strict=True)
        some = [(instance, side, self.tests.turned(path, flag, turn)) for side, turn in found if turn in possible]
        return some or [(instance, sides[0], path)]  # the index is out of range here

    def walk(self, results: Sequence[Value], *, once: bool = False) -> list[Placed]:
        """The operations in the order of the eager graph, each with the ways to it. One that different branches visit
        first is listed for each, or only `once`."""
        walk = _Walk(self, once)
        walk.through(results)
        return walk.order


class _Walk:
    """A walk of a graph: `visited` are the ways that have led to a Value, and `last` where it is listed last."""

    def __init__(self, graph: Graph, once: bool) -> None:
        self.graph, self.once = graph, once
        self.order: list[Placed] = []
        self.visited: dict[Flag, list[Path]] = {}
        self.last: dict[Flag, int] = {}
        self.steps = 0

    def through(self, results: Sequence[Value]) -> None:
        graph = self.graph
        stack = [(0, x, NOWHERE, False) for x in reversed(results)]
        while stack:
            instance, x, path, ready = stack.pop()
            if ready:
                self.last[instance, id(x)] = len(self.order)
                self.order.append((instance, x, [path]))
                continue
            instance, x = graph.resolved(instance, x)
            if id(x) in graph.stop or graph.ends(x):
                continue
            ways = self.visited.setdefault((instance, id(x)), [])
            self._count(len(ways))
            if any(way <= path for way in ways) or (ways and not self.once and self._same(instance, x, ways[-1], path)):
                continue
            add_way(ways, path, graph.tests)
            if id(x) in graph.choices:
                sides = graph.chosen(instance, x, path)
                stack.extend((at, y, NOWHERE if self.once else way, False) for at, y, way in reversed(sides))
                continue
            stack.append((instance, x, path, True))
            turn = graph.turns.get(id(x))
            operands = x.inputs if turn is None else [x.inputs[k] for k in turn]
            stack.extend((instance, y, path, False) for y in reversed(operands))

    def _count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > _MOST_STEPS and not self.once:
            raise TooMany

    def _same(self, instance: int, x: Any, before: Path, path: Path) -> bool:
        """Whether what this way leads to is listed already, as the way `before` has met it, in the order in which it
        would be met now, with nothing of this way in between; it is then listed for this way, too."""
        if self._listed(range(self.last.get((instance, id(x)), len(self.order)) + 1, len(self.order)), path):
            return False
        found = self._needed(instance, x, before, path)
        if found is None:
            return False
        places = [self.last.get(key, -1) for key, node, _ in found if id(node) not in self.graph.choices]
        if any(b < a for a, b in pairwise([0, *places])):
            return False
        among = set(places)
        if places and self._listed([k for k in range(places[0], len(self.order)) if k not in among], path):
            return False
        for key, node, ways in found:
            for way in ways:
                add_way(self.visited[key], way, self.graph.tests)
                if id(node) not in self.graph.choices:
                    add_way(self.order[self.last[key]][2], way, self.graph.tests)
        return True

    def _listed(self, places: Collection[int], path: Path) -> bool:
        """Whether at one of these places something of this way is listed. Those of a round have the same way."""
        self._count(len(places) // _LISTED)
        told: dict[Path, bool] = {}
        for k in places:
            for way in self.order[k][2]:
                if way not in told:
                    self._count(1)
                    told[way] = together(way, path)
                if told[way]:
                    return True
        return False

    def _needed(self, instance: int, x: Any, before: Path, path: Path) -> list[tuple[Flag, Any, list[Path]]] | None:
        """What this way leads to that has not been met on it, operands first, each with the ways to it; None if some of
        it has not been met on the same ways from `before`."""
        below = self._below(instance, x, path)
        needed: dict[Flag, list[Path]] = {(below[-1][0], id(below[-1][1])): [NOWHERE]} if below else {}
        found = []
        for at, node in reversed(below):
            key = at, id(node)
            visited = self.visited.get(key, [])
            self._count(1 + len(visited))
            mine = [way for way in needed.get(key, ()) if not any(some <= path | way for some in visited)]
            if not all(any(some <= before | way for some in visited) for way in mine):
                return None
            if not mine:
                continue
            found.append((key, node, [path | way for way in mine]))
            for way in mine:
                if id(node) in self.graph.choices:
                    sides = [(k, y, whole - path) for k, y, whole in self.graph.chosen(at, node, path | way)]
                else:
                    sides = [(at, y, way) for y in node.inputs]
                for k, y, whole in sides:
                    k, y = self.graph.resolved(k, y)
                    add_way(needed.setdefault((k, id(y)), []), whole, self.graph.tests)
        return found[::-1]

    def _below(self, instance: int, x: Any, path: Path) -> list[tuple[int, Any]]:
        """What a way leads to, operands first, as far as it has not been met on it."""
        graph, found = self.graph, list[tuple[int, Any]]()
        seen: set[Flag] = set()
        stack = [(instance, x, False)]
        while stack:
            instance, x, ready = stack.pop()
            if ready:
                found.append((instance, x))
                continue
            instance, x = graph.resolved(instance, x)
            key = instance, id(x)
            if id(x) in graph.stop or graph.ends(x) or key in seen:
                continue
            ways = self.visited.get(key, [])
            self._count(1 + len(ways))
            if any(way <= path for way in ways):
                continue
            seen.add(key)
            stack.append((instance, x, True))
            if id(x) in graph.choices:
                stack.extend((at, y, False) for at, y, _ in reversed(graph.chosen(instance, x, path)))
            else:
                stack.extend((instance, y, False) for y in reversed(x.inputs))
        return found


def add_way(ways: list[Path], path: Path, tests: Turns) -> None:
    """Add a way to those that have led to a Value: two that differ in how one test turned out are one without it."""
    if any(way <= path for way in ways):
        return
    while True:
        for way in ways:
            if (both := _either(way, path, tests)) is not None:
                ways.remove(way)
                path = both
                break
        else:
            ways.append(path)
            return


def _either(a: Path, b: Path, tests: Turns) -> Path | None:
    """The way that is one of these two; None if it needs two."""
    mine, other = a - b, b - a
    if len(mine) > 1:
        mine, other, a, b = other, mine, b, a
    if len(mine) != 1:
        return None
    ((flag, turn),) = mine
    against = flag, 1 - turn
    if turn >= TAKEN or against not in other:
        return None
    if len(other) == 1:
        return a & b
    # What follows from one turn of the test does not matter beside it, and what from the other holds in both.
    left = tests.without(b, against) | (a & b)
    return left if all(tests.follows(a, *x) for x in left - a) else None


def together(a: Path, b: Path) -> bool:
    """Whether both ways can be taken in one run."""
    if not (other := b - a):
        return True
    turned = dict(a - b)
    return all(turned.get(flag, side) == side for flag, side in other)
