"""Functions with long loops: their programs are derived from those of a few rounds (`program/stretch.py`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import lcm
from typing import Any

import numpy as np

from macrograd.compiler.probes import Probes
from macrograd.compiler.program.compact import with_few_slots
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stretch import Uneven, stretched, with_held
from macrograd.compiler.recorder import LEAST_TIMES, Recorded, Recorder
from macrograd.compiler.tape.tape import PARAMETER, Tape
from macrograd.compiler.trace.refusals import TraceError
from macrograd.compiler.trace.rounds import (
    FEWEST,
    MOST_NUMBERS,
    KeepsAll,
    MoreRounds,
    NoSections,
    Rounds,
    Unrolled,
    families,
    refuse_numbers,
)
from macrograd.compiler.trace.trace import Span
from macrograd.value import Value

# The number of rounds that each attempt writes first, and the step by which it adds more. Later attempts are for
# patterns that repeat every two or three rounds, and for loops in loops that need more rounds.
_ATTEMPTS = ((FEWEST, 1), (24, 2), (66, 12))
_MOST_FAMILIES = 3
_MOST_TRIED = 60_000  # operations in a trace of a later attempt


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
        if (told := self._told(make)) is not None:
            return told
        if (other := self._without_copies()) is not None:
            told = other._told(lambda tape, one=None: make(_numbered(tape, other.order, self.order), one=one))
            if told is not None:
                self.digested = False
                self._say(other._first)
                return told
        if (masked := self._masked()) is not None:
            self.digested = False
            return masked.program(lambda tape, one=None: make(_numbered(tape, masked.order, self.order), one=one))
        found = self.written_out()
        self.digested = self._order is None
        if self._order is None:
            return make(found.tape)
        if set(map(id, found.parameters)) != set(map(id, self._order)):
            raise self.recorder.refused(max(self.rounds.counts), "its parameters change after many rounds")
        return make(_numbered(found.tape, found.parameters, self._order))

    def _told(self, make: Callable[..., Program]) -> Program | None:
        """`program`, if it can be told from those of a few rounds."""
        for attempt in range(len(_ATTEMPTS) if self._order is not None else 0):
            try:
                probes = self._at(attempt)
                if attempt and list(map(id, probes.parameters())) != list(map(id, self._order or [])):
                    continue
                programs = [make(probe.tape, one=probe.one) for probe in probes.found]
                told = stretched(programs, probes.at, probes.wanted, probes.beyond)
            except Uneven:
                continue
            told = with_held(told, probes.found[0].held)
            if (numbers := max(told.uniform, told.varying)) > MOST_NUMBERS:  # without what compact leaves out
                small = with_few_slots(told)
                numbers = max(small.uniform, small.varying)
            if numbers > MOST_NUMBERS:
                refuse_numbers(f"{self.recorder.name}, with a loop of {max(self.rounds.counts)} rounds,", numbers)
            self.digested = attempt == 0
            return told
        return None

    def _say(self, used: Recorded) -> None:
        """What is said of the first trace is also said of the one that is used."""
        self._first.untold.extend(x for x in used.untold if x not in self._first.untold)

    def _masked(self) -> Stretched | None:
        """The same function with all branches computed, if that is one whose program can be told: it has fewer things
        that may differ from round to round."""
        if not self.rounds.stops or not self._first.calls.made:
            return None
        return self._again(stops=False)

    def _without_copies(self) -> Stretched | None:
        """The same strict function with choices as operations, if it has copies of them: then its rounds may differ."""
        return self._again(copies=False) if self.rounds.together else None

    def _again(self, *, stops: bool = True, copies: bool = True) -> Stretched | None:
        """The function recorded in another way, if it is one whose program can be told."""
        if self._order is None:
            return None
        try:
            found, rounds = self.recorder.record(stops=stops and self.rounds.stops, copies=copies)
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
        long = [family for family in self._families if family[0] >= LEAST_TIMES * (least + 3 * step)]
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
            except (NoSections, KeepsAll):
                if not attempt:
                    raise
                raise Uneven("with more rounds the order of sums is another") from None
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
            self._say(self._all)
            return self._all
        except Unrolled as error:
            raise self.recorder.refused(error.count, error.why) from None
        except (NoSections, KeepsAll):
            if self._order is None:
                raise
            why = "strict=True, and its branches, written out, would be rounded in another order"
            raise self.recorder.refused(max(self.rounds.counts), why) from None


def _numbered(tape: Tape, parameters: Sequence[Value], wanted: Sequence[Value]) -> Tape:
    """The tape of these parameters, with them numbered in the wanted order."""
    number = {id(p): k for k, p in enumerate(wanted)}
    places = np.array([number[id(p)] for p in parameters], dtype=np.int64)
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
