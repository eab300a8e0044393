"""Ways: on which of the ways through a program's choices something is so, as alternatives of tests and their turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from macrograd import ops
from macrograd.compiler.trace.eager_graph import NOWHERE, TAKEN, Flag, Path, Turns, add_way, together
from macrograd.rules import contributions

Ways = tuple[Path, ...]  # any of these
ALWAYS: Ways = (NOWHERE,)
NEVER: Ways = ()
_MOST = 3  # alternatives; more are one test
_MANY = 500  # choices
_COMPARES = (ops.less, ops.less_equal)


def within(a: Ways, b: Ways) -> bool:
    """Whether all of these ways are among those; False if it cannot be told."""
    return all(any(q <= p for q in b) for p in a)


class Tests:
    """The tests of a derivative's choices, and Values chosen by them.

    turns   the tests and indices of the walk
    masks   the ways on which Values are 1 that were made for them, by their ids
    test    makes a test of a number, `index` an index: Values that are part of no graph
    choice  notes that a Value chooses
    """

    def __init__(
        self,
        turns: Turns,
        masks: Mapping[int, Path],
        test: Callable[[Any], Any],
        index: Callable[[Any], Any],
        choice: Callable[[Any], None],
    ) -> None:
        self._turns, self._masks = turns, masks
        self._test, self._index, self._choice = test, index, choice
        self._made: dict[Any, Any] = {}  # what stands for a number where it is a test or an index
        self._kept: list[Any] = []  # whose ids are used
        self._numbers: dict[Ways, Any] = {}
        self._ones: dict[Ways, Ways] = {}
        self._count = 0  # of choices

    def _joined(self, paths: Iterable[Path]) -> Ways:
        found: list[Path] = []
        for path in paths:
            add_way(found, path, self._turns)
        return tuple(found)

    def both(self, a: Ways, b: Ways) -> Ways:
        """Where a way of each is taken."""
        if a in (ALWAYS, b) or b == ALWAYS:
            return b if a == ALWAYS else a
        found = self._joined(p | q for p in a for q in b if together(p, q))
        if len(found) <= _MOST:
            return found
        return self._one_test(ops.where(self.number(a), self.number(b), 0.0))

    def either(self, a: Ways, b: Ways) -> Ways:
        """Where a way of one of them is taken."""
        found = self._joined([*a, *b])
        if len(found) <= _MOST:
            return found
        return self._one_test(ops.where(self.number(a), 1.0, self.number(b)))

    def _one_test(self, number: Any) -> Ways:
        """Where a number is not 0."""
        return (frozenset({(self._flag(self._test(number), 2), 1)}),)

    def turned(self, test: Any, turn: int) -> Ways:
        """Where a test turns out so: a known one, as choices of the graph have them."""
        way = self._masks.get(id(test))
        if way is None:
            return (self._turns.turned(NOWHERE, self._flag(self._as("test", test), 2), turn),)
        return (way,) if turn else self._other(way)

    def taken(self, index: Any, k: int, many: int) -> Ways:
        """Where an index, of a take of so many, is k."""
        return (frozenset({(self._flag(self._as("index", index), many), TAKEN + k)}),)

    def _other(self, way: Path) -> Ways:
        """Where a way is not taken."""
        found: Ways = NEVER
        for flag, turn in sorted(self._turns.shortest(way), key=lambda turned: self._number(turned[0])):
            others = range(TAKEN, TAKEN + self._turns.met[flag[1]][2]) if turn >= TAKEN else (0, 1)
            found = self.either(found, tuple([self._turns.turned(NOWHERE, flag, k) for k in others if k != turn]))
        return found

    def _flag(self, test: Any, turns: int) -> Flag:
        self._turns.meet(test, turns)
        return 0, id(test)

    def _number(self, flag: Flag) -> int:
        return self._turns.met[flag[1]][0]

    def shares(self, op: Any, out: Any, operands: list[Any]) -> list[list[tuple[Ways, float]]]:
        """For each operand of an operation that chooses, the ways on which it gets a share of the gradient, and which.
        What rules say about it is where its gradient would be 1."""
        return [self._told(x) for x in contributions(op, 1.0, out, operands)]

    def _told(self, share: Any) -> list[tuple[Ways, float]]:
        found, waiting = [], [(share, ALWAYS)]
        while waiting:
            x, ways = waiting.pop()
            if x is None or x.__class__ is float or x.op is ops.CONSTANT:
                number = x if x is None or x.__class__ is float else x._data
                if number:
                    found.append((ways, float(number)))
            elif x.op is ops.where:
                test, a, b = x.inputs
                waiting += [(b, self.both(ways, self.turned(test, 0))), (a, self.both(ways, self.turned(test, 1)))]
            else:  # 1 or 0
                found.append((self.both(ways, self.turned(x, 1)), 1.0))
        return found

    def _as(self, what: str, x: Any) -> Any:
        """The test or the index that stands for a number: one for all comparisons of the same."""
        if id(x) in self._turns.met:
            return x
        key = what, *((x.op.code, *map(id, x.inputs)) if x.op in _COMPARES else (id(x),))
        if key not in self._made:
            self._kept.append(x)
            self._made[key] = self._test(x) if what == "test" else self._index(x)
        return self._made[key]

    def many(self) -> bool:
        """Whether there are more choices than a second derivative can follow."""
        return self._count > _MANY

    def _simple(self, ways: Ways) -> Ways:
        """The same ways, or one test that tells them if there are many choices."""
        if not self.many() or sum(map(len, ways)) == 1:
            return ways
        if ways not in self._ones:
            self._ones[ways] = self._one_test(self.number(ways))
        return self._ones[ways]

    def chosen(self, ways: Ways, then: Any, otherwise: Any) -> Any:
        """`then` on these ways, elsewhere `otherwise`: eagerly that Value itself."""
        return self.select(self._simple(ways), lambda _: then, lambda _: otherwise)

    def select(
        self, ways: Ways, then: Callable[[Path], Any], otherwise: Callable[[Path], Any], way: Path = NOWHERE
    ) -> Any:
        """`chosen` of what these give on the way there."""
        left = self._joined(path - way for path in ways if together(path, way))
        if not left or NOWHERE in left:
            return then(way) if left else otherwise(way)
        flag = min({flag for path in left for flag, _ in path}, key=self._number)
        _, test, turns = self._turns.met[flag[1]]
        if {turn for path in left for f, turn in path if f == flag} & {0, 1}:
            sides = [self.select(ways, then, otherwise, self._turns.followed(way, flag, turn)) for turn in (1, 0)]
            made = sides[0] if sides[0] is sides[1] else ops.where(test, *sides)
        else:
            sides = [self.select(ways, then, otherwise, way | {(flag, TAKEN + k)}) for k in range(turns)]
            made = sides[0] if all(x is sides[0] for x in sides) else ops.take(test, *sides)
        if made is not sides[0]:
            self._count += 1
            self._choice(made)
        return made

    def number(self, ways: Ways) -> Any:
        """A Value that is 1 on these ways and 0 elsewhere."""
        if ways not in self._numbers:
            self._numbers[ways] = self._test(self.select(ways, lambda _: 1.0, lambda _: 0.0))
        return self._numbers[ways]
