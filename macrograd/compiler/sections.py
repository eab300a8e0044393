"""Functions with loops that compute their rounds again for the derivative: the programs of their sections.

The function's own tape calls the sections (`trace/cut.py`, `rewrite/calls.py`). Each call becomes a loop of the program
over all sections of its loop, whose body is the program of one section, or of its derivative
(`program/link.py`). The program of a section of K rounds is told from those of a few rounds, as that of a long loop is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from macrograd import ops
from macrograd.compiler.program.link import Call, Read, linked
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stretch import Uneven, stretched, with_held
from macrograd.compiler.rewrite.differentiate import differentiate
from macrograd.compiler.rewrite.simplify import own_results, simplify
from macrograd.compiler.roll.roll import roll
from macrograd.compiler.stretched import Recorded, Recorder
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import INPUT, PARAMETER, UNIFORM, Tape
from macrograd.compiler.trace.cut import SectionTape
from macrograd.compiler.trace.rounds import Rounds
from macrograd.compiler.trace.sections import ATTEMPTS

_TRACES = 3
_MOST_WRITTEN = 60_000  # operations of a section that is written out whole


@dataclass(frozen=True)
class _Derivative:
    """A call that differentiates another, with respect to its operands at these positions."""

    of: int
    wanted: tuple[int, ...]


class Sections:
    """The sections of a function, by number, and the derivatives of their calls, which have the numbers after those.

    numbers  those that the sections read, which the program holds as its first uniform inputs
    """

    def __init__(self, recorder: Recorder, rounds: Rounds, first: Recorded) -> None:
        self.recorder, self.rounds = recorder, rounds
        self._traces: dict[tuple[int, int], list[SectionTape]] = {(0, 0): first.sections}
        self._derivatives: list[_Derivative] = []
        parts = [np.array(r.numbers) for s in first.sections for r in s.section.reads.values() if r.numbers is not None]
        self.numbers = np.concatenate([np.empty(0), *parts])

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
        rounds = any(section.section.counters for section in self._trace(0, 0))
        for k in range(_TRACES if rounds else 1):
            for section in self._trace(0, k):
                found.update(repr((section.section.plan, section.outside, section.section.stops)).encode())
                tape = section.tape
                for array in (tape.code, tape.start, tape.operand, tape.leaf, tape.results):
                    found.update(array.tobytes())
                for read in section.section.reads.values():
                    found.update(repr((read.first, read.step, read.given, len(read.operands))).encode())
        return found.hexdigest()

    # --- derivatives of calls (`rewrite.calls.Derivatives`) ----------------------------------------------------------

    def shape(self, number: int) -> tuple[int, int]:
        section = self._trace(0, 0)[number]
        return section.state, section.outside

    def derivative(self, number: int, wanted: tuple[int, ...]) -> int:
        made = _Derivative(number, wanted)
        if made not in self._derivatives:
            self._derivatives.append(made)
        return len(self._trace(0, 0)) + self._derivatives.index(made)

    # --- programs ---------------------------------------------------------------------------------------------------

    def linked(self, program: Program, *, strict: bool) -> Program:
        """The program with loops over the sections in place of the calls."""
        count = len(self._trace(0, 0))
        reads = self._reads()

        def call(number: int, varies: list[bool] | None) -> Call:
            """What is called by a number, if its operands vary over the samples, or do not at all."""
            derivative = self._derivatives[number - count] if number >= count else None
            own = number if derivative is None else derivative.of
            first = self._trace(0, 0)[own]
            if strict and varies is not None and derivative is not None and _has_shared(first, varies):
                raise ValueError(
                    f"strict=True, batch=True and memory= of the loop of {first.section.where}: it computes numbers "
                    "that are the same for all samples, and their derivatives would be rounded in another order. Leave "
                    "out one of the three"
                )
            made = self._told(own, lambda section: _program(section, derivative, varies, strict))
            plan = first.section.plan
            return Call(
                made,
                own,
                first.state,
                first.outside,
                plan.rounds,
                plan.count,
                plan.head,
                reads[own],
                bool(first.section.counters),
                first.section.stops,
                None if derivative is None else derivative.wanted,
            )

        def shape(number: int) -> tuple[int, int]:
            return self.shape(self._derivatives[number - count].of if number >= count else number)

        found = linked(program, call, shape)
        return with_held(found, self.numbers) if len(self.numbers) else found

    def _reads(self) -> list[tuple[Read, ...]]:
        """What each section reads; the uniform inputs follow the held numbers."""
        found, held = [], 0
        for section in self._trace(0, 0):
            row = []
            for read in section.section.reads.values():
                if read.numbers is not None:
                    row.append(Read(1, 0, numbers=held))
                    held += len(read.numbers)
                elif read.given is not None:
                    same, place, step = read.given
                    row.append(Read(step, 1, given=place + len(self.numbers) * same, same=same))
                else:
                    row.append(Read(1, len(read.operands)))
            found.append(tuple(row))
        return found

    def _told(self, number: int, make: Callable[[SectionTape], Program]) -> Program:
        if not self._trace(0, 0)[number].section.counters:
            return make(self._trace(0, 0)[number])
        for attempt in range(len(ATTEMPTS)):
            sections = [self._trace(attempt, k)[number] for k in range(_TRACES)]
            plan = sections[0].section.plan
            wanted = (plan.rounds - plan.written) // plan.step
            if wanted < 0:
                break
            try:
                return stretched(
                    [make(section) for section in sections], [(0,), (1,), (2,)], (wanted,), (plan.written,)
                )
            except Uneven:
                continue
        section = self._trace(0, 0)[number].section
        if section.plan.rounds * len(section.made[0]) <= _MOST_WRITTEN:
            return make(self._trace(len(ATTEMPTS), 0)[number])
        raise self.recorder.refused(
            section.plan.head + section.plan.rounds * section.plan.count + section.plan.tail,
            f"its rounds differ once compiled, {section.where}, and with memory= they must not: leave it out, give "
            "the state fewer numbers, or write the difference with mg.where",
        )

    def _trace(self, attempt: int, index: int) -> list[SectionTape]:
        if (attempt, index) not in self._traces:
            rounds = Rounds(self.rounds.least, self.rounds.out, probe=(attempt, index))
            self._traces[attempt, index] = self.recorder.at(rounds).sections
        return self._traces[attempt, index]


def _has_shared(section: SectionTape, varies: list[bool]) -> bool:
    """Whether the rounds of a section compute a number from outside, or a state, that is the same for all samples."""
    tape, state = section.tape, section.state
    moves = np.zeros(len(tape), dtype=np.int64)
    shared = np.zeros(len(tape), dtype=np.int64)
    leaf = np.flatnonzero(tape.code == INPUT)
    counted = state + section.outside + len(section.section.counters)
    moves[leaf[: len(varies)]] = varies
    shared[leaf[: state + section.outside]] = 1
    at = counted
    for read in section.section.reads.values():
        which = leaf[at : at + len(read.leaves)]
        moves[which] = read.given is not None and not read.given[0]
        shared[which] = bool(read.operands)
        at += len(read.leaves)
    nothing = np.zeros(len(tape), dtype=np.int64)
    for _ in range(state + 1):
        found = walks.longest(tape.start, tape.operand, moves, nothing) > 0
        if (moves[leaf[:state]] == np.maximum(moves[leaf[:state]], found[tape.results])).all():
            break
        moves[leaf[:state]] = np.maximum(moves[leaf[:state]], found[tape.results])
    uses = walks.longest(tape.start, tape.operand, shared, nothing) > 0
    return bool((~found & uses & (tape.arity > 0)).any() or not moves[leaf[:state]].all())


def _program(section: SectionTape, derivative: _Derivative | None, varies: list[bool] | None, strict: bool) -> Program:
    """The program of one section, or of its derivative. `varies` tells which of its operands vary over the samples;
    None if the call does not.

    Its parameters are what comes from outside and does not vary, its inputs everything else: the state, what varies
    from outside, then for a derivative the adjoints and sums, and last the numbers of the rounds and the elements read.
    """
    tape = section.tape
    if not strict:
        tape = simplify(tape, final=False)
    if derivative is not None:
        tape = _differentiated(tape, section, derivative, strict, varies is None)
    tape = _with_kinds(tape, section, varies)
    tape = own_results(simplify(tape, strict=strict))
    return roll(tape, batch=varies is not None, strict=strict, whole=True)


def _differentiated(tape: Tape, section: SectionTape, derivative: _Derivative, strict: bool, scatter: bool) -> Tape:
    """The tape of the adjoints of the state before the section, the sums for the wanted operands from outside, and the
    adjoints of the elements read, if these are wanted.

    It is the derivative of Σ yᵢ·ȳᵢ + Σ x·x̄: the results times their adjoints, the operands times the sums so far.
    """
    state, outside = section.state, section.outside
    sums = [p for p in derivative.wanted if state <= p < state + outside]
    leaves = tapes.count_given(tape, INPUT)
    builder = tapes.TapeBuilder()
    builder.code, builder.operand, builder.leaf = tape.code.tolist(), tape.operand.tolist(), tape.leaf.tolist()
    builder.end = tape.start.tolist()
    at = {int(k): i for i, k in enumerate(tape.leaf) if tape.code[i] == INPUT}
    terms = []
    for j, y in enumerate([*tape.results.tolist(), *(at[p] for p in sums)]):
        given = builder.add(INPUT, leaf=float(leaves + j))
        terms.append(builder.add(ops.mul.code, [y, given]))
    total = builder.add(ops.sum_.code, terms)
    wrt = [*range(state), *sums, *wanted_reads(section, derivative.wanted)]
    whole = differentiate(
        builder.build([total]),
        batch=False,
        strict=strict,
        wrt=np.array([at[p] for p in wrt], dtype=np.int64),
        scatter=scatter,
    )
    found = replace(whole, results=whole.results[1:])
    return tapes.select(found, tapes.reached(found) | tapes.given(found))


def wanted_reads(section: SectionTape, wanted: tuple[int, ...]) -> list[int]:
    """The inputs of a section's tape that are elements of arrays among the wanted operands."""
    found: list[int] = []
    operand = section.state + section.outside
    leaf = operand + len(section.section.counters)
    for read in section.section.reads.values():
        if any(p in wanted for p in range(operand, operand + len(read.operands))):
            found += range(leaf, leaf + len(read.leaves))
        operand += len(read.operands)
        leaf += len(read.leaves)
    return found


def _with_kinds(tape: Tape, section: SectionTape, varies: list[bool] | None) -> Tape:
    """The tape with its inputs numbered by kind, all of them on it."""
    given = tape.code == INPUT
    old = tape.leaf[given].astype(np.int64)
    state, outside = section.state, section.outside
    leaves = state + outside + len(section.section.leaves())
    total = max(leaves, int(old.max(initial=-1)) + 1)
    kind = np.full(total, INPUT)
    for p in range(state, state + outside):
        if varies is None or not varies[p]:
            kind[p] = PARAMETER
    order = np.concatenate([np.arange(state + outside), np.arange(leaves, total), np.arange(state + outside, leaves)])
    number = np.full(total, -1)
    for which in (INPUT, PARAMETER):
        mine = order[kind[order] == which]
        number[mine] = np.arange(len(mine))
    missing = np.setdiff1d(np.arange(total), old)
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
