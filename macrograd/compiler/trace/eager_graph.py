"""The eager graph of a trace, which has more: for strict programs, whose sums follow the eager engine's `backward`.

The comparisons by Python's operators, the tests of branches and the indices of takes are numbers eagerly, and part of
no graph. A choice between two branches is eagerly one of them: whatever uses the choice, uses that branch, and what
both branches use comes in the order of the one that was taken. So is a take one of its values.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, MutableMapping, Sequence
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


class TooMany(Exception):  # noqa: N818 - a request, not an error
    """There are too many ways through the branches to look at."""


class Graph:
    """The eager graph of a trace, for all ways through its branches; only a `part` of it, if that is given. `stop` are
    the ids of comparisons, tests and indices."""

    def __init__(self, stop: Container[int], choices: Choices, part: Callable[[Any], bool] | None = None) -> None:
        self.stop, self.choices = stop, choices
        self._part = part
        # By id, in the order of their numbers, and how many turns they have.
        self.tests: dict[int, tuple[int, Value, int]] = {}
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
        self.tests.setdefault(id(test), (len(self.tests), test, len(turns)))
        known = [turn for other, turn in path if other == flag]
        found = [(instance, side, path | {(flag, turn)}) for side, turn in zip(sides, turns, strict=True)]
        possible = [side for side, turn in zip(found, turns, strict=True) if not known or turn in known]
        return possible or [(instance, sides[0], path)]  # the index is out of range here

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
            add_way(ways, path)
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
        for k in range(len(self.order) - 1, self.last.get((instance, id(x)), len(self.order)), -1):
            self._count(1)
            if any(together(way, path) for way in self.order[k][2]):
                return False
        found = self._needed(instance, x, before, path)
        if found is None:
            return False
        places = [self.last.get(key, -1) for key, node, _ in found if id(node) not in self.graph.choices]
        if any(b < a for a, b in pairwise([0, *places])):
            return False
        among = set(places)
        for k in range(places[0], len(self.order)) if places else ():
            self._count(1)
            if k not in among and any(together(way, path) for way in self.order[k][2]):
                return False
        for key, node, ways in found:
            for way in ways:
                add_way(self.visited[key], way)
                if id(node) not in self.graph.choices:
                    add_way(self.order[self.last[key]][2], way)
        return True

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
                    add_way(needed.setdefault((k, id(y)), []), whole)
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


def add_way(ways: list[Path], path: Path) -> None:
    """Add a way to those that have led to a Value: two that differ in how one test turned out are one without it."""
    if any(way <= path for way in ways):
        return
    while True:
        for way in ways:
            differ = way ^ path
            if len(differ) == 2 and len({flag for flag, _ in differ}) == 1 and {turn for _, turn in differ} == {0, 1}:
                ways.remove(way)
                path = way & path
                break
        else:
            ways.append(path)
            return


def together(a: Path, b: Path) -> bool:
    """Whether both ways can be taken in one run."""
    turned = dict(a)
    return all(turned.get(flag, side) == side for flag, side in b)
