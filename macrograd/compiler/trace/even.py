"""Arrays of computed values that loops read by the round number.

A program that is derived from a few rounds reads the other elements where a line through those of these rounds leads.
That is where they are if each is made like the one before, or the one two or three before, and is used like it. An
element that is not, as one that is a result of the function, or one that was replaced, lies elsewhere, and so do all
behind it: such a loop is written out. Parameters lie where the function first uses them, which may be before the loop
and in another order (`placed`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import field
from functools import cache
from typing import Any

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.tape.tape import SINGLE_ENDS
from macrograd.compiler.trace.rounds import Unrolled
from macrograd.graph import topological
from macrograd.ops import CONSTANT
from macrograd.value import Value

_PERIODS = (1, 2, 3)
_MARGIN = 5  # elements of the rounds written that are compared with the next ones
_NEAR = 4  # elements next to these that show whether the array is there as a whole
_SPECIAL = 4.0  # up to this size, integers and halves may be simplified in another way than other constants

_WHY = "an array that it reads holds values that are not all computed, or not all used, in the same way"


@dataclass
class _Array:
    """What is read of an array: elements `low` to `high` in all rounds, those at `at` in the rounds written; `counts`
    are those of the loops."""

    values: Sequence[Any]
    low: int
    high: int
    counts: set[int]
    at: set[int] = field(default_factory=set)

    def made(self) -> bool:
        """Whether something in it is neither a number nor a parameter."""
        return any(
            isinstance(x, Value) and (x.op is not None or x._traced) for x in self.values[self.low : self.high + 1]
        )

    def bounds(self, low: int, high: int) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)

    def told(self) -> list[int]:
        """The elements that the rounds written do not tell about: those that are not read, and some next to them."""
        inside = range(self.low, self.high + 1)
        unread = [k for k in inside if k not in self.at]
        near = {k + d for k in unread for d in range(-_MARGIN, max(_PERIODS) + 1)}
        return [k for k in inside if k in near]


class Evenness:
    """Checks the arrays of one trace."""

    def __init__(self) -> None:
        self._arrays: dict[int, _Array] = {}
        self._number: Callable[[], dict[int, int]] = dict

    def add(self, values: Sequence[Any], bounds: tuple[int, int], counts: Iterable[int]) -> None:
        """Note that loops of these counts read an array from one element to another."""
        found = self._arrays.setdefault(id(values), _Array(values, *bounds, set()))
        found.bounds(*bounds)
        found.counts.update(counts)

    def read(self, values: Sequence[Any], k: int) -> None:
        """Note that a round that is written reads element k."""
        if id(values) in self._arrays:
            self._arrays[id(values)].at.add(k)

    def check(self, results: Sequence[Any], number: Callable[[], dict[int, int]]) -> None:
        """Raise Unrolled for a loop that reads an array with an element that is not like the others. `number` gives the
        places of the function's arguments, by id."""
        self._number = number
        arrays = [x for x in self._arrays.values() if x.at and x.made()]
        if not arrays:
            return
        used, numbers = _Uses(results, {id(x) for array in arrays for x in array.values}), number()
        for array in arrays:
            told = array.told()
            if told and not any(
                _alike(array, told, period, numbers) and used.alike(array, period) for period in _PERIODS
            ):
                raise Unrolled(max(array.counts), _WHY)

    def placed(self, place: Mapping[int, int], fixed: Container[int], alone: int) -> bool:
        """Whether the parameters that these arrays hold or are made of follow each other evenly where the rounds
        written do not tell about them; `place` has the places of the program's parameters, by id. In an array of
        parameters whose places are not `fixed`, those of the first and the last rounds, `alone` of each, may differ."""
        number = cache(self._number)
        for array in self._arrays.values():
            told = array.told() if array.at and any(isinstance(x, Value) for x in array.values) else []
            if not told:
                continue
            if not array.made():
                ids = [*map(id, array.values[told[0] : told[-1] + 1])]
                ids = ids if all(x in fixed for x in ids) else ids[alone:-alone]
                even = _evenly([place.get(x, -1) for x in ids])
            else:
                even = any(_alike(array, told, period, number(), place) for period in _PERIODS)
            if not even:
                return False
        return True


def _evenly(places: Sequence[int]) -> bool:
    """Whether places, of which -1 is none, move by constants from each element to the one a period later."""
    if min(places, default=0) < 0:
        return False
    at = np.array(places)
    steps = [(at[period:] - at[:-period], period) for period in _PERIODS]
    return any(bool((step[period:] == step[:-period]).all()) for step, period in steps)


def _alike(
    array: _Array, told: Sequence[int], period: int, number: dict[int, int], placed: Mapping[int, int] | None = None
) -> bool:
    """Whether each element is made from the one a period before as that is from its predecessor. The parameters are
    numbered as they are `placed`, or in the order in which elements use them."""
    values, low = array.values, array.low
    place = dict(zip(map(id, values), range(len(values)), strict=True))
    known: set[tuple[int, int]] = set()
    parameters: dict[int, int] = {}  # and whatever else is no argument
    steps = {
        k: _steps(values[k - period], values[k], place, number, parameters, known, placed)
        for k in range(low + period, array.high + 1)
    }
    return all(steps.get(k) is not None and steps.get(k - period) == steps[k] for k in told if k - 2 * period >= low)


def _steps(
    first: Any,
    other: Any,
    place: dict[int, int],
    number: dict[int, int],
    parameters: dict[int, int],
    known: set[Any],
    placed: Mapping[int, int] | None,
) -> list[Any] | None:
    """How the expression of one element differs from that of another, which has the same operations; None if it has
    others. Pairs of operands that were compared for an earlier element are `known`."""
    found: list[Any] = []
    waiting = [(first, other)]
    while waiting:
        x, y = waiting.pop()
        if x is y:
            found.append("same")
        elif not isinstance(x, Value) or not isinstance(y, Value):
            if isinstance(x, Value) or isinstance(y, Value) or float(x).hex() != float(y).hex():
                return None
            found.append("number")
        elif x.op is not y.op:
            return None
        elif x.op is None:
            if (id(x) in number) != (id(y) in number):
                return None
            if placed is not None and not x._traced:
                if id(x) not in placed or id(y) not in placed:
                    return None
                found.append(placed[id(y)] - placed[id(x)])
                continue
            order = number if id(x) in number else parameters
            begin = order.setdefault(id(x), len(order))
            found.append(order.setdefault(id(y), len(order)) - begin)
        elif x.op is CONSTANT:
            found.append((_kind(x._data), _kind(y._data)))
        elif x is not first and id(x) in place and id(y) in place:
            found.append(("element", place[id(y)] - place[id(x)]))
        elif (id(x), id(y)) in known:
            found.append("known")
        elif len(x.inputs) != len(y.inputs):
            return None
        else:
            known.add((id(x), id(y)))
            waiting += zip(x.inputs, y.inputs, strict=True)
    return found


def _kind(number: float) -> float | None:
    """A constant that may be simplified in another way than others; None for any other."""
    special = not SINGLE_ENDS[0] < abs(number) < SINGLE_ENDS[1] or (
        abs(number) <= _SPECIAL and (2.0 * number).is_integer()
    )
    return number if special else None


class _Uses:
    """What uses the elements of arrays, besides the loops: the operations, and the places among the results."""

    def __init__(self, results: Sequence[Any], elements: set[int]) -> None:
        self._place: dict[int, int] = {}
        for k, x in enumerate(results):
            self._place.setdefault(id(x), k)
        self._users: dict[int, list[Value]] = {}
        self._live: set[int] = set()
        for node in topological(*[x for x in results if isinstance(x, Value)]):
            if id(node) in elements:
                self._live.add(id(node))
            for x in node.inputs:
                if id(x) in elements:
                    self._users.setdefault(id(x), []).append(node)

    def alike(self, array: _Array, period: int) -> bool:
        """Whether the elements that the rounds written do not read are used alike. If nothing uses those next to the
        ones read, they come into being with more rounds."""
        values, inside = array.values, range(array.low, array.high + 1)
        unread = [k for k in inside if k not in array.at]
        live = [id(values[k]) in self._live for k in unread]
        near = {k + d for k in array.at for d in range(-_NEAR, _NEAR + 1)}
        if not any(alive for k, alive in zip(unread, live, strict=True) if k in near):
            return True
        rows = [(k, k - period) for k in unread if k - period in inside and k - period not in array.at]
        return all(live) and any(
            all(self._row(values, k, moves) == self._row(values, j, moves) for k, j in rows) for moves in (False, True)
        )

    def _row(self, values: Sequence[Any], k: int, moves: bool) -> Any:
        """The operations that use element k, and the places of them and of itself among the results, counted from k if
        they move with it."""

        def place(x: Any) -> int | None:
            found = self._place.get(id(x))
            return None if found is None else found - k * moves

        users = [(id(x.op), place(x) or 0, place(x) is None) for x in self._users.get(id(values[k]), [])]
        return place(values[k]), sorted(users)
