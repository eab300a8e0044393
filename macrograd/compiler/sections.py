"""Functions with calls: the programs of sections of loops, and of branches.

The function's own tape calls them (`trace/calls.py`, `rewrite/calls.py`). Each call becomes a loop of the program over
all sections of its loop, whose body is the program of one section, or of its derivative (`program/link.py`). The
program of a section of K rounds is told from those of a few rounds, as that of a long loop is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from macrograd.compiler.program.calls import Call, Read, Row
from macrograd.compiler.program.link import linked
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stretch import Uneven, stretched, with_held
from macrograd.compiler.recorder import Recorded, Recorder
from macrograd.compiler.rewrite.sections import derived
from macrograd.compiler.rewrite.simplify import own_results, simplify
from macrograd.compiler.roll.roll import roll
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import INPUT, PARAMETER, UNIFORM, Tape
from macrograd.compiler.trace.calls import Derived, Shape
from macrograd.compiler.trace.rounds import KeepsAll, NoSections, Rounds
from macrograd.compiler.trace.sections import ATTEMPTS, Section, SectionTape

_TRACES = 3
_MOST_WRITTEN = 60_000  # operations of a section that is written out whole


class Sections:
    """The sections of a function, by the number of their calls, and the derivatives of these.

    numbers  those that the sections read, which the program holds as its first uniform inputs
    """

    def __init__(self, recorder: Recorder, rounds: Rounds, first: Recorded) -> None:
        self.recorder, self.rounds, self.calls = recorder, rounds, first.calls
        self._traces: dict[tuple[int, int], dict[int, SectionTape]] = {(0, 0): first.sections}
        self._programs: dict[tuple[int, tuple[bool, ...] | None, bool], Program] = {}
        reads = [r for s in first.sections.values() for r in s.section.reads.values()]
        self.numbers = np.concatenate([np.empty(0), *(np.array(r.numbers) for r in reads if r.numbers is not None)])
        self._before = len(first.held)  # uniform inputs of the program before those of the caller
        self._held: dict[int, int] = {}
        held = 0
        for read in reads:
            if read.numbers is not None:
                self._held[id(read)] = held
                held += len(read.numbers)

    def with_numbers(self, tape: Tape) -> Tape:
        """The tape with the held numbers among its uniform inputs: the first of them."""
        count = len(self.numbers)
        if not count:
            return tape
        leaf = tape.leaf + np.where(tape.code == UNIFORM, count, 0)
        return tapes.make(
            np.append(UNIFORM, tape.code),
            np.append(0, tape.start),
            tape.operand + 1,
            np.append(count - 1.0, leaf),
            tape.results + 1,
        )

    def first_traces(self) -> list[dict[int, SectionTape]]:
        """The sections in the traces that programs are told from, if they can be told from few rounds. Raises
        NoSections or KeepsAll if those of a strict program, which copies what its branches share, grow too large."""
        rounds = any(section.section.plan.told for section in self._trace(0, 0).values())
        return [self._trace(0, k) for k in range(_TRACES if rounds else 1)]

    def digest(self) -> str:
        """A key of all that the program depends on besides the function's tape."""
        found = hashlib.sha256(self.numbers.tobytes())
        found.update(repr([x for x in self.calls.made if isinstance(x, Derived)]).encode())
        for trace in self.first_traces():
            for number, section in trace.items():
                known = section.section
                found.update(repr((number, known.plan, known.shape(), known.stops)).encode())
                tape = section.tape
                for array in (tape.code, tape.start, tape.operand, tape.leaf, tape.results):
                    found.update(array.tobytes())
                for read in known.reads.values():
                    found.update(repr((read.given, len(read.operands))).encode())
        return found.hexdigest()

    # --- programs ---------------------------------------------------------------------------------------------------

    def linked(self, program: Program, *, strict: bool) -> Program:
        """The program with loops over the sections in place of the calls."""
        found = self._linked(program, strict)
        return with_held(found, self.numbers) if len(self.numbers) else found

    def _linked(self, program: Program, strict: bool) -> Program:
        def call(number: int, varies: list[bool] | None) -> Call:
            """What is called by a number, if its operands vary over the samples, or do not at all."""
            own, order, reverse = self.calls.origin(number)
            first = self._trace(0, 0)[own]
            section, plan = first.section, first.section.plan
            loop = section.stops is None
            if strict and varies is not None and reverse and loop and self._has_shared(first, varies):
                raise ValueError(
                    f"strict=True, batch=True and memory= of the loop of {section.where}: it computes numbers "
                    "that are the same for all samples, and their derivatives would be rounded in another order. Leave "
                    "out one of the three"
                )
            shape = self.calls.shape(number)
            return Call(
                self._program_of(number, own, varies, strict),
                number,
                shape.carry,
                shape.outside,
                plan.rounds,
                plan.count,
                plan.head,
                self._reads(number, section),
                self._rows(number),
                len(shape.outs),
                tuple(self.calls.fills(number)),
                bool(reverse % 2),
                bool(section.counters),
                None if section.stops is None else (order - 1, section.stops),
                self._groups(section, order, reverse),
            )

        return linked(program, call, self._rows, lambda number: self.calls.shape(number).inner)

    def _groups(self, section: Section, order: int, reverse: int) -> tuple[int, ...]:
        """The groups of the sections. Raises ValueError for derivatives that need all sections' states at once."""
        if section.plan.groups and (order != reverse or order > 1):
            raise ValueError(
                f"the loop of {section.where} has too few bytes of memory= for more than its first derivatives: write "
                'memory="sqrt", which takes the least for these'
            )
        return section.plan.groups

    def _rows(self, number: int) -> tuple[Row, ...]:
        widths = self.calls.shape(number).rows
        return tuple([Row(width, *self.calls.filled(number, k)) for k, width in enumerate(widths)])

    def _reads(self, number: int, section: Section) -> tuple[Read, ...]:
        """What each section reads; the uniform inputs follow the held numbers."""
        found = []
        for read in section.reads.values():
            if read.numbers is not None:
                found.append(Read(1, 0, numbers=self._held[id(read)]))
            elif read.given is not None:
                same, place, step = read.given
                found.append(Read(step, 1, given=place + (len(self.numbers) + self._before) * same, same=same))
            else:
                found.append(Read(1, len(read.operands)))
        shape = self.calls.shape(number)
        return (*found, *(Read(1, many) for many in shape.reads[len(found) :]))

    def _program_of(self, number: int, own: int, varies: list[bool] | None, strict: bool) -> Program:
        key = number, None if varies is None else tuple(varies), strict
        if key not in self._programs:

            def make(attempt: int, index: int) -> Program:
                return self._program(number, attempt, index, varies, strict)

            self._programs[key] = self._told(own, make)
        return self._programs[key]

    def _told(self, number: int, make: Callable[[int, int], Program]) -> Program:
        if not self._trace(0, 0)[number].section.plan.told:
            return make(0, 0)
        for attempt in range(len(ATTEMPTS)):
            try:
                plans = [self._trace(attempt, k)[number].section.plan for k in range(_TRACES)]
                plan = plans[0]
                wanted = (plan.rounds - plan.written) // plan.step
                if wanted < 0:
                    break
                programs = [make(attempt, k) for k in range(_TRACES)]
                return stretched(programs, [(0,), (1,), (2,)], (wanted,), (plan.written,))
            except Uneven:
                continue
        section = self._trace(0, 0)[number].section
        if section.plan.rounds * len(section.made[0]) <= _MOST_WRITTEN:
            with suppress(Uneven):
                return make(len(ATTEMPTS), 0)
        raise self.recorder.refused(
            section.plan.head + section.plan.rounds * section.plan.count + section.plan.tail,
            f"its rounds differ once compiled, {section.where}, and with memory= they must not: leave it out, give "
            "the state fewer numbers, or write the difference with mg.where",
        )

    def _trace(self, attempt: int, index: int) -> dict[int, SectionTape]:
        if (attempt, index) not in self._traces:
            rounds = self.rounds.other(probe=(attempt, index))
            try:
                self._traces[attempt, index] = self.recorder.at(rounds).sections
            except (NoSections, KeepsAll):
                if not attempt:
                    raise
                raise Uneven("with more rounds the order of sums is another") from None
        return self._traces[attempt, index]

    # --- tapes ------------------------------------------------------------------------------------------------------

    def _program(self, number: int, attempt: int, index: int, varies: list[bool] | None, strict: bool) -> Program:
        """The program of one section. `varies` tells which of its operands in the carry and from outside vary over the
        samples; None if the call does not.

        Its parameters are what comes from outside and does not vary, its inputs everything else.
        """
        tape = self._tape(number, attempt, index, strict, varies is None)
        tape = _with_kinds(tape, self.calls.shape(number), self._leaves(number, attempt, index), varies)
        tape = own_results(simplify(tape, strict=strict, single=self.recorder.single))
        return self._linked(roll(tape, batch=varies is not None, strict=strict, whole=True), strict)

    def _written(self, number: int, attempt: int, index: int) -> tuple[int, int]:
        """The rounds that are written of a section, and how many of them have leaves for their numbers."""
        section = self._trace(attempt, index)[self.calls.origin(number)[0]].section
        return section.plan.written, len(section.counters)

    def _leaves(self, number: int, attempt: int, index: int) -> int:
        """How many inputs a section's tape has."""
        shape, (written, counters) = self.calls.shape(number), self._written(number, attempt, index)
        return shape.inner + sum(shape.rows) + counters + written * len(shape.reads)

    def _tape(self, number: int, attempt: int, index: int, strict: bool, scatter: bool) -> Tape:
        """The tape of one section (`rewrite/sections.py`)."""
        made = self.calls.made[number]
        if not isinstance(made, Derived):
            tape = self._trace(attempt, index)[number].tape
            return tape if strict else simplify(tape, final=False)
        tape = self._tape(made.of, attempt, index, strict, False)  # a scatter has no derivative
        written, counters = self._written(number, attempt, index)
        found = derived(tape, self.calls, made, written, counters, strict=strict, scatter=scatter)
        return found if strict else simplify(found, final=False)

    def _has_shared(self, section: SectionTape, varies: list[bool]) -> bool:
        """Whether the rounds of a section compute a number from outside, or a state, that is the same for all
        samples."""
        tape, known = section.tape, section.section
        state, inner = len(known.carry), len(known.carry) + len(known.outside)
        moves = np.zeros(len(tape), dtype=np.int64)
        shared = np.zeros(len(tape), dtype=np.int64)
        leaf = np.flatnonzero(tape.code == INPUT)
        moves[leaf[: len(varies)]] = varies
        shared[leaf[:inner]] = 1
        at = inner + len(known.counters)
        for read in known.reads.values():
            which = leaf[at : at + len(read.leaves)]
            moves[which] = read.given is not None and not read.given[0]
            shared[which] = bool(read.operands)
            at += len(read.leaves)
        nothing = np.zeros(len(tape), dtype=np.int64)
        for _ in range(state + 1):
            found = walks.longest(tape.start, tape.operand, moves, nothing) > 0
            if (moves[leaf[:state]] == np.maximum(moves[leaf[:state]], found[tape.results[:state]])).all():
                break
            moves[leaf[:state]] = np.maximum(moves[leaf[:state]], found[tape.results[:state]])
        uses = walks.longest(tape.start, tape.operand, shared, nothing) > 0
        return bool((~found & uses & (tape.arity > 0)).any() or not moves[leaf[:state]].all())


def _with_kinds(tape: Tape, shape: Shape, leaves: int, varies: list[bool] | None) -> Tape:
    """The tape with its inputs numbered by kind, all of them on it."""
    given = tape.code == INPUT
    old = tape.leaf[given].astype(np.int64)
    kind = np.full(leaves, INPUT)
    for p in range(shape.carry, shape.inner):
        if varies is None or not varies[p]:
            kind[p] = PARAMETER
    number = np.full(leaves, -1)
    for which in (INPUT, PARAMETER):
        mine = np.flatnonzero(kind == which)
        number[mine] = np.arange(len(mine))
    missing = np.setdiff1d(np.arange(leaves), old)
    code, leaf = tape.code.copy(), tape.leaf.copy()
    code[given], leaf[given] = kind[old], number[old]
    shift = len(missing)
    return tapes.make(
        np.concatenate([kind[missing], code]),
        np.concatenate([np.zeros(shift, dtype=np.int64), tape.start]),
        tape.operand + shift,
        np.concatenate([number[missing], leaf]),
        tape.results + shift,
    )
