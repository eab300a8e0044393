"""Traces with a few rounds of long loops: where the parameters of the function with all rounds lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, repeat
from operator import is_not

import numpy as np

from macrograd.compiler.program.stretch import Point, Uneven, on_lines, points
from macrograd.compiler.recorder import Recorded
from macrograd.value import Value

_BEYOND = 20  # rounds more, or twice as many, by which a program that is told from few is verified
_ALONE = 4  # parameters at either end of an array that need not follow the pattern of the others


class Order:
    """Collects `count` parameters at their places."""

    def __init__(self, count: int) -> None:
        self._found: list[Value | None] = [None] * count

    def put(self, parameter: Value, place: int) -> None:
        if not 0 <= place < len(self._found) or self._found[place] not in (None, parameter):
            raise Uneven("two parameters would have the same place")
        self._found[place] = parameter

    def array(self, array: Sequence[Value], rows: list[list[int]], whole: Callable[[list[int]], int]) -> None:
        """Put the elements that loops read in sequence, forwards or backwards: `rows` are their places in traces of a
        few rounds, -1 for those that are not read."""
        if min(row[-1] for row in rows) >= 0 > max(row[0] for row in rows):
            array, rows = array[::-1], [row[::-1] for row in rows]
        read = [len(row) - row.count(-1) for row in rows]
        if any(min(row[:many], default=-1) < 0 for row, many in zip(rows, read, strict=True)):
            raise Uneven("an array of parameters is read in another order than its own")
        if min(read) < 3 * _ALONE or (total := whole(read)) > len(array):
            raise Uneven("too few parameters are read")
        starts = [row[_ALONE] for row in rows]
        steps = {b - a for row, many in zip(rows, read, strict=True) for a, b in pairwise(row[_ALONE : many - _ALONE])}
        if len(steps) > 1:
            raise Uneven("the parameters of an array do not follow each other evenly")
        begin, step = whole(starts), steps.pop()
        for k in range(_ALONE):  # the first and the last rounds may differ
            self.put(array[k], whole([row[k] for row in rows]))
            ends = [row[many - 1 - k] for row, many in zip(rows, read, strict=True)]
            self.put(array[total - 1 - k], whole(ends))
        self._put_evenly(array[_ALONE : total - _ALONE], begin, step)

    def _put_evenly(self, parameters: Sequence[Value], begin: int, step: int) -> None:
        places = range(begin, begin + step * len(parameters), step) if step else range(0)
        if places and min(places[0], places[-1]) >= 0 and max(places[0], places[-1]) < len(self._found):
            there = slice(begin, places.stop if places.stop >= 0 else None, step)
            if not any(map(is_not, self._found[there], repeat(None))):
                self._found[there] = parameters
                return
        for k, parameter in enumerate(parameters):
            self.put(parameter, begin + step * k)

    def complete(self) -> list[Value]:
        found = [p for p in self._found if p is not None]
        if len(found) < len(self._found):
            raise Uneven("a parameter has no place")
        return found


class Probes:
    """Traces with a few rounds of the loops in `families`, counts that change together."""

    def __init__(self, families: list[list[int]], least: int, step: int) -> None:
        self.families = families
        self.least, self.step = least, step
        self.begin = [self.least + (family[0] - self.least) % self.step for family in families]
        self.at = points(len(families))
        self.wanted: Point = tuple(
            [(family[0] - begin) // self.step for family, begin in zip(families, self.begin, strict=True)]
        )
        self.beyond: Point = tuple([max(_BEYOND, begin) // self.step for begin in self.begin])
        self.found: list[Recorded] = []

    def plans(self) -> list[dict[int, int]]:
        """For each trace, the number of rounds that are written by the count of the loop."""
        return [
            {
                count: begin + steps * self.step + count - family[0]
                for family, begin, steps in zip(self.families, self.begin, point, strict=True)
                for count in family
            }
            for point in self.at
        ]

    def whole(self, numbers: list[int]) -> int:
        """Extrapolate a number, given for each trace, to all rounds. Raises Uneven."""
        return int(on_lines(np.array(numbers, dtype=np.int64)[:, None], self.at, self.wanted)[0])

    def recorded(self) -> int:
        """The number of operations with all rounds. It is only shown to people, and may be approximate."""
        numbers = [x.recorded for x in self.found]
        try:
            return self.whole(numbers)
        except Uneven:
            corners = [k for k, point in enumerate(self.at) if max(point) <= 1]
            some = np.array([[numbers[k]] for k in corners])
            return int(on_lines(some, [self.at[k] for k in corners], self.wanted)[0])

    def parameters(self) -> list[Value]:
        """The parameters in the order in which the function with all rounds first uses them. Raises Uneven."""
        places = [{id(p): k for k, p in enumerate(x.parameters)} for x in self.found]
        same = all(place == places[0] for place in places)
        found = self.found[0].parameters if same else self._ordered(places)
        place = {id(p): k for k, p in enumerate(found)}
        fixed = {p for p, k in places[0].items() if all(at.get(p) == k for at in places)}
        if not self.found[0].even.placed(place, fixed, _ALONE):
            raise Uneven("the parameters of an array do not follow each other evenly")
        return found

    def _ordered(self, places: list[dict[int, int]]) -> list[Value]:
        """The parameters, from their places in each trace."""
        first = self.found[0].parameters
        order = Order(self.whole([len(x.parameters) for x in self.found]))
        inside: set[int] = set()
        for array in self.found[0].arrays:
            if not all(isinstance(x, Value) for x in array):
                raise Uneven("an array holds numbers and parameters")
            ids = [*map(id, array)]
            rows = [[*map(at.get, ids, repeat(-1))] for at in places]
            inside.update(ids)
            order.array(array, rows, self.whole)
        for p in first:
            if id(p) not in inside:
                order.put(p, self.whole([at.get(id(p), -1) for at in places]))
        return order.complete()
