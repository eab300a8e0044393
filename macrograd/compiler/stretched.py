"""Functions with long loops: their programs are derived from those of a few rounds (`program/stretch.py`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Sequence
from dataclasses import field, replace
from itertools import pairwise, repeat
from math import lcm
from operator import is_not
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.program.compact import with_few_slots
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stretch import Point, Uneven, on_lines, points, stretched, with_held
from macrograd.compiler.rewrite.simplify import simplify
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import PARAMETER, Tape
from macrograd.compiler.trace.calls import Calls
from macrograd.compiler.trace.even import Evenness
from macrograd.compiler.trace.refusals import TraceError
from macrograd.compiler.trace.rounds import (
    FEWEST,
    MOST_NUMBERS,
    KeepsAll,
    MoreRounds,
    NoSections,
    Rounds,
    Sectioned,
    Unrolled,
    families,
    refuse_numbers,
)
from macrograd.compiler.trace.sections import SectionTape
from macrograd.compiler.trace.trace import Arguments, Span, trace
from macrograd.value import Value

# The number of rounds that each attempt writes first, and the step by which it adds more. Later attempts are for
# patterns that repeat every two or three rounds, and for loops in loops that need more rounds.
_ATTEMPTS = ((FEWEST, 1), (24, 2), (66, 12))
_MOST_FAMILIES = 3
_BEYOND = 20  # rounds more, or twice as many, by which a program that is told from few is verified
_MOST_TRIED = 60_000  # operations in a trace of a later attempt
_ALONE = 4  # parameters at either end of an array that need not follow the pattern of the others
_LEAST = 4  # a loop that is not written out has at least this many times the rounds written


@dataclass(frozen=True)
class Recorded:
    """One trace of the function, simplified and numbered."""

    tape: Tape
    parameters: list[Value]
    structure: Any
    recorded: int
    held: NDArray[np.float64]
    one: int | None
    checks: list[str]
    arrays: list[Sequence[Any]]
    even: Evenness
    calls: Calls
    sections: dict[int, SectionTape]

    def calls_alike(self, other: Recorded) -> bool:
        """Whether the numbers of calls mean the same in both."""
        return self.calls.outline() == other.calls.outline()


@dataclass(frozen=True)
class Recorder:
    """Records a function with a given number of rounds."""

    fn: Callable[..., Any]
    shapes: Sequence[tuple[int, ...]]
    strict: bool
    name: str
    uniform: Container[int]
    seen: Callable[[str, Any], None]
    given: list[Arguments] = field(default_factory=list)  # the arguments that several traces share

    def record(self, out: frozenset[int] = frozenset(), stops: bool = True) -> tuple[Recorded, Rounds]:
        """The function with some rounds of its long loops, and all rounds of those that must be written out."""
        why: dict[int, str] = {}
        least, keeps, sectioned = _ATTEMPTS[0][0], False, frozenset[int]()
        while True:
            rounds = Rounds(least, out, stops=stops, keeps=keeps, sectioned=sectioned)
            try:
                return self.at(rounds), rounds
            except KeepsAll:
                if keeps:
                    raise
                keeps = True
            except Sectioned as error:
                sectioned |= {error.count}
            except NoSections:
                stops = False
            except MoreRounds as more:
                if more.least * _LEAST > more.count:
                    out |= {more.count}
                else:
                    least = more.least
            except Unrolled as error:
                if error.count in out:
                    raise self.refused(error.count, why.get(error.count, error.why)) from None
                out, why[error.count] = out | {error.count}, error.why

    def at(self, rounds: Rounds) -> Recorded:
        """One trace. Raises Unrolled."""
        given = self.given[0] if self.given else None
        traced = trace(self.fn, self.shapes, as_eager=self.strict, uniform=self.uniform, rounds=rounds, given=given)
        self.given[:] = [traced.arguments]
        self.seen("trace", traced.tape)
        recorded = int((traced.tape.arity > 0).sum())
        if not len(traced.tape.results):
            raise ValueError(f"the result of {self.name} holds no numbers: return at least one number or Value")
        # In strict mode sums are chained only after the derivative, whose roundings follow the program as it was
        # written.
        tape = traced.tape
        tape = tape if self.strict else simplify(tape, final=False)
        tape, old = tapes.number_parameters(tape)
        self.seen("simplify", tape)
        return Recorded(
            tape,
            [traced.parameters[k] for k in old],
            traced.structure,
            recorded,
            traced.held,
            traced.one,
            traced.checks,
            traced.arrays,
            traced.even,
            traced.calls,
            traced.sections,
        )

    def refused(self, count: int, why: str) -> TraceError:
        return TraceError(
            f"a loop of {count} rounds in {self.name} cannot be compiled as a loop, and is too long to be written out: "
            f"{why}"
        )


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


class Stretched:
    """The programs of a function with loops that have more rounds than its tapes."""

    def __init__(self, recorder: Recorder, rounds: Rounds, first: Recorded) -> None:
        self.recorder, self.rounds, self._first = recorder, rounds, first
        self._families = families(rounds.counts)
        self._probes: dict[int, Probes] = {}
        self._all: Recorded | None = None
        self._order: list[Value] | None = None  # of the parameters; None if it is that of all rounds written out
        self.digested = True  # whether the digest covers all that the last program was made from

    def whole(self) -> tuple[list[Value], Any, int]:
        """The parameters, the structure of the result, and the number of operations, with all rounds."""
        try:
            probes = self._at(0)
            self._order = probes.parameters()
        except Uneven:
            found = self.written_out()
            return found.parameters, found.structure, found.recorded
        return self._order, _whole_structure(probes.found[0].structure), probes.recorded()

    @property
    def order(self) -> list[Value]:
        """The parameters, in the order of the program."""
        return self._order if self._order is not None else self.written_out().parameters

    def digest(self) -> str:
        """A key of everything that the program depends on besides the first tape."""
        found = hashlib.sha256(repr((self._families, self.rounds.least, self._order is None)).encode())
        for probe in self._at(0).found if self._order is not None else [self.written_out()]:
            for array in (probe.tape.code, probe.tape.operand, probe.tape.leaf, probe.tape.results, probe.held):
                found.update(array.tobytes())
        return found.hexdigest()

    def program(self, make: Callable[..., Program]) -> Program:
        """The program that `make` makes from a tape, for all rounds."""
        for attempt in range(len(_ATTEMPTS) if self._order is not None else 0):
            try:
                probes = self._at(attempt)
                if attempt and list(map(id, probes.parameters())) != list(map(id, self._order or [])):
                    continue
                programs = [make(probe.tape, one=probe.one) for probe in probes.found]
                told = stretched(programs, probes.at, probes.wanted, probes.beyond)
                told = with_held(told, probes.found[0].held)
                if (numbers := max(told.uniform, told.varying)) > MOST_NUMBERS:  # without what compact leaves out
                    small = with_few_slots(told)
                    numbers = max(small.uniform, small.varying)
                if numbers > MOST_NUMBERS:
                    refuse_numbers(f"{self.recorder.name}, with a loop of {max(self.rounds.counts)} rounds,", numbers)
                self.digested = attempt == 0
                return told
            except Uneven:
                continue
        if (masked := self._masked()) is not None:
            self.digested = False
            return masked.program(lambda tape, one=None: make(_numbered(tape, masked, self._order or []), one=one))
        found = self.written_out()
        self.digested = self._order is None
        if self._order is not None and list(map(id, found.parameters)) != list(map(id, self._order)):
            raise self.recorder.refused(max(self.rounds.counts), "its parameters change after many rounds")
        return make(found.tape)

    def _masked(self) -> Stretched | None:
        """The same function with all branches computed, if that is one whose program can be told: it has fewer things
        that may differ from round to round."""
        if not self.rounds.stops or not self._first.calls.made or self._order is None:
            return None
        try:
            found, rounds = self.recorder.record(stops=False)
        except TraceError:
            return None
        if found.calls.made or not rounds.counts:
            return None
        made = Stretched(self.recorder, rounds, found)
        parameters, *_ = made.whole()
        if made._order is None or set(map(id, parameters)) != set(map(id, self._order)):
            return None
        probes = made._at(0)
        if any(list(map(id, x.parameters)) != list(map(id, parameters)) for x in probes.found):
            return None
        return made

    def _at(self, attempt: int) -> Probes:
        """The traces of one attempt, in which loops that are too short for it are written out. Raises Uneven if all are
        too short, or if the others have too many different counts."""
        if attempt in self._probes:
            return self._probes[attempt]
        least, step = _ATTEMPTS[attempt]
        step = lcm(step, self.rounds.period)
        least = max(least, self.rounds.least + attempt)
        long = [family for family in self._families if family[0] >= _LEAST * (least + 3 * step)]
        if not 0 < len(long) <= _MOST_FAMILIES or (not attempt and len(long) < len(self._families)):
            raise Uneven("loops of too many counts, or too few rounds")
        probes = Probes(long, least, step)
        short = self.rounds.counts - {count for family in long for count in family}
        for plan in probes.plans():
            if attempt == 0 and set(plan.values()) == {least}:
                probes.found.append(self._first)
                continue
            try:
                out = self.rounds.out | short
                probes.found.append(self.recorder.at(self.rounds.other(least=least, out=out, plan=plan)))
            except Unrolled as error:
                raise Uneven(error.why) from None
            except MoreRounds as more:
                raise Uneven(str(more)) from None
            if not probes.found[-1].calls_alike(self._first):
                raise Uneven("the calls of sections differ")
            if attempt and probes.found[-1].recorded > _MOST_TRIED:
                raise Uneven("another attempt would take too long")
        self._probes[attempt] = probes
        return probes

    def written_out(self) -> Recorded:
        """The function with all rounds of all loops."""
        if self._all is not None:
            return self._all
        try:
            self._all = self.recorder.at(self.rounds.other(least=FEWEST, out=self.rounds.out | self.rounds.counts))
            return self._all
        except Unrolled as error:
            raise self.recorder.refused(error.count, error.why) from None


def _numbered(tape: Tape, source: Stretched, wanted: Sequence[Value]) -> Tape:
    """The tape of a source, with its parameters numbered in the wanted order."""
    number = {id(p): k for k, p in enumerate(wanted)}
    places = np.array([number[id(p)] for p in source.order], dtype=np.int64)
    leaf, mine = tape.leaf.copy(), tape.code == PARAMETER
    leaf[mine] = places[leaf[mine].astype(np.int64)]
    return replace(tape, leaf=leaf)


def _whole_structure(structure: Any) -> Any:
    """The structure of a result, with all rounds of the values that loops kept."""
    position = 0

    def walk(x: Any) -> Any:
        nonlocal position
        if isinstance(x, Span):
            position += x.rounds
            return list(range(position - x.rounds, position))
        if isinstance(x, tuple):
            return tuple([walk(item) for item in x])
        if isinstance(x, dict):
            return {key: walk(item) for key, item in x.items()}
        if isinstance(x, list):
            return [walk(item) for item in x]
        position += 1
        return position - 1

    return walk(structure)
