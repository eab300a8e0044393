"""Functions with calls: the programs of sections of loops, and of branches.

The function's own tape calls them (`trace/calls.py`, `rewrite/calls.py`). Each call becomes a loop of the program over
all sections of its loop, whose body is the program of one section, or of its derivative (`program/link.py`). The
program of a section of K rounds is told from those of a few rounds, as that of a long loop is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from macrograd import ops
from macrograd.compiler.program.calls import Call, Read, Row
from macrograd.compiler.program.link import linked
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stretch import Uneven, stretched, with_held
from macrograd.compiler.rewrite.differentiate import differentiate
from macrograd.compiler.rewrite.simplify import own_results, simplify
from macrograd.compiler.roll.roll import roll
from macrograd.compiler.stretched import Recorded, Recorder
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CONSTANT, INPUT, PARAMETER, UNIFORM, Tape
from macrograd.compiler.trace.calls import Derivative, Shape, filled
from macrograd.compiler.trace.rounds import Rounds
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

    def digest(self) -> str:
        """A key of all that the program depends on besides the function's tape."""
        found = hashlib.sha256(self.numbers.tobytes())
        found.update(repr([x for x in self.calls.made if isinstance(x, Derivative)]).encode())
        rounds = any(section.section.counters for section in self._trace(0, 0).values())
        for k in range(_TRACES if rounds else 1):
            for number, section in self._trace(0, k).items():
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
            own, order = self.calls.origin(number)
            first = self._trace(0, 0)[own]
            section, plan = first.section, first.section.plan
            if strict and varies is not None and order and self._has_shared(first, varies):
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
                tuple(self._widths(number)),
                bool(order % 2),
                bool(section.counters),
                None if section.stops is None else (order - 1, section.stops),
            )

        return linked(program, call, self._rows, lambda number: self.calls.shape(number).inner)

    def _rows(self, number: int) -> tuple[Row, ...]:
        widths = self.calls.shape(number).rows
        return tuple([Row(width, *filled(self.calls, number, k)) for k, width in enumerate(widths)])

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
        if not self._trace(0, 0)[number].section.counters:
            return make(0, 0)
        for attempt in range(len(ATTEMPTS)):
            plans = [self._trace(attempt, k)[number].section.plan for k in range(_TRACES)]
            plan = plans[0]
            wanted = (plan.rounds - plan.written) // plan.step
            if wanted < 0:
                break
            try:
                programs = [make(attempt, k) for k in range(_TRACES)]
                return stretched(programs, [(0,), (1,), (2,)], (wanted,), (plan.written,))
            except Uneven:
                continue
        section = self._trace(0, 0)[number].section
        if section.plan.rounds * len(section.made[0]) <= _MOST_WRITTEN:
            return make(len(ATTEMPTS), 0)
        raise self.recorder.refused(
            section.plan.head + section.plan.rounds * section.plan.count + section.plan.tail,
            f"its rounds differ once compiled, {section.where}, and with memory= they must not: leave it out, give "
            "the state fewer numbers, or write the difference with mg.where",
        )

    def _trace(self, attempt: int, index: int) -> dict[int, SectionTape]:
        if (attempt, index) not in self._traces:
            rounds = Rounds(self.rounds.least, self.rounds.out, probe=(attempt, index), stops=self.rounds.stops)
            self._traces[attempt, index] = self.recorder.at(rounds).sections
        return self._traces[attempt, index]

    # --- tapes ------------------------------------------------------------------------------------------------------

    def _program(self, number: int, attempt: int, index: int, varies: list[bool] | None, strict: bool) -> Program:
        """The program of one section. `varies` tells which of its operands in the carry and from outside vary over the
        samples; None if the call does not.

        Its parameters are what comes from outside and does not vary, its inputs everything else.
        """
        tape = self._tape(number, attempt, index, strict, varies is None)
        tape = _with_kinds(tape, self.calls.shape(number), self._leaves(number, attempt, index), varies)
        tape = own_results(simplify(tape, strict=strict))
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
        """The tape of one section, with the inputs

            carry, outside, rows, the numbers of its rounds, the elements that it reads (round by round for each read)

        and the results: the carry after it, what it puts out, the rows that it fills besides the carry before it. The
        derivative is that of the sum of all results times their adjoints, and of the operands from outside times the
        sums so far.
        """
        made = self.calls.made[number]
        if not isinstance(made, Derivative):
            tape = self._trace(attempt, index)[number].tape
            return tape if strict else simplify(tape, final=False)
        tape = self._tape(made.of, attempt, index, strict, scatter)
        of, shape = self.calls.shape(made.of), self.calls.shape(number)
        written, counters = self._written(number, attempt, index)
        # Where the leaves begin: those of the call that is differentiated, and those of the derivative.
        old_rows = of.inner
        old_counters = old_rows + sum(of.rows)
        old_reads = old_counters + counters
        rows = shape.inner
        numbers = rows + sum(shape.rows)
        reads = numbers + counters
        place: dict[int, int] = {}  # of an old leaf among the new ones
        for k in range(of.carry):
            place[k] = rows + k  # the carry before the section is a row now
        for k in range(of.outside):
            place[of.carry + k] = shape.carry + k
        for k in range(sum(of.rows)):
            place[old_rows + k] = rows + of.carry + k
        for k in range(counters + written * len(of.reads)):
            place[old_counters + k] = numbers + k
        builder = tapes.TapeBuilder()
        builder.code, builder.operand = tape.code.tolist(), tape.operand.tolist()
        given = tape.code == INPUT
        leaf = tape.leaf.copy()
        leaf[given] = [place[int(k)] for k in tape.leaf[given]]
        builder.leaf, builder.end = leaf.tolist(), tape.start.tolist()
        at = {int(k): i for i, k in enumerate(tape.leaf) if given[i]}
        for k in sorted(place.keys() - at.keys()):
            at[k] = builder.add(INPUT, leaf=float(place[k]))
        terms: list[int] = []

        def term(what: int, adjoint: int) -> None:
            terms.append(builder.add(ops.mul.code, [what, builder.add(INPUT, leaf=float(adjoint))]))

        results = tape.results.tolist()
        for k in range(of.carry):
            term(results[k], k)
        sums = self.calls.sums(made)
        for k, p in enumerate(sums):
            term(at[p], of.carry + k)
        for k in range(written * len(of.outs)):
            term(results[of.carry + k], reads + written * len(of.reads) + k)
        first = rows + of.carry + sum(of.rows)
        filled_at = np.cumsum([of.carry + written * len(of.outs), *self._widths(made.of)]).tolist()
        for row, *_ in made.added:
            width = self.calls.width(made.of, row)
            for k in range(width):
                term(at[k] if not row else results[filled_at[row - 1] + k], first + k)
            first += width
        wrt = [*range(of.carry), *sums]
        for read in self.calls.wanted_reads(made):
            wrt += range(old_reads + read * written, old_reads + (read + 1) * written)
        begin = np.cumsum([old_rows, *of.rows]).tolist()
        for row in made.rows:
            wrt += range(begin[row], begin[row + 1])
        total = builder.add(ops.sum_.code, terms)
        whole = differentiate(
            builder.build([total]),
            batch=False,
            strict=strict,
            wrt=np.array([at[p] for p in wrt], dtype=np.int64),
            calls=self.calls,
            scatter=scatter,
        )
        found = replace(whole, results=whole.results[1:])
        if made.masked:
            found = _masked(found, len(wrt) - sum(of.rows[row] for row in made.rows), shape.carry + of.outside)
        found = tapes.select(found, tapes.reached(found) | tapes.given(found))
        return found if strict else simplify(found, final=False)

    def _widths(self, number: int) -> list[int]:
        """The widths of the rows that a call fills besides the carry."""
        made = self.calls.made[number]
        return [self.calls.width(number, 1 + k) for k in range(len(made.rows))] if isinstance(made, Derivative) else []

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


def _masked(tape: Tape, first: int, mask: int) -> Tape:
    """The tape whose results from the first of some on are 0 where the input `mask` is 0."""
    n, many = len(tape), len(tape.results) - first
    taken, zero = n, n + 1
    operands = np.array([[taken, x, zero] for x in tape.results[first:].tolist()], dtype=np.int64).ravel()
    return tapes.make(
        np.concatenate([tape.code, [INPUT, CONSTANT], np.full(many, ops.where.code)]),
        np.concatenate([tape.start, [tape.start[-1]] * 2, tape.start[-1] + 3 * np.arange(1, many + 1)]),
        np.concatenate([tape.operand, operands]),
        np.concatenate([tape.leaf, [mask, 0.0], np.zeros(many)]),
        np.concatenate([tape.results[:first], n + 2 + np.arange(many)]),
    )


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
