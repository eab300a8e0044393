"""Sections of a loop with `memory=`: its rounds in the middle, which the program runs again for the derivative.

The first rounds (the head) and the last ones (the tail) are written out. Those between are `count` sections of `rounds`
rounds each, and every section is the same program of the state before it, the arrays that it reads, and whatever its
body uses from outside. Only the state before each section is kept; the derivative runs the sections backwards, and
computes the numbers of each from its first state again. For N rounds that keep k numbers each, and a state of m, that
is m·N/rounds + k·rounds numbers instead of k·N, least at rounds = √(m·N/k): the two-level case of Griewank & Walther,
*Evaluating Derivatives*, 2nd ed., 2008, §12.1. With less memory, sections are in groups, and these again, of which only
the first state is kept: the multi-level case of the same chapter, where each level takes one more run through all
rounds. (Binomial checkpoints take 1/√2 of the memory for two runs, but groups of unequal sizes, and so more code.)

A trace writes one section, of as few rounds as tell the others, on new leaves in place of what differs from section to
section.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import field
from itertools import combinations_with_replacement
from math import lcm, prod, sqrt
from operator import is_
from typing import Any

import numpy as np

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.tape.tape import Tape
from macrograd.compiler.trace.calling import known
from macrograd.compiler.trace.calls import Shape
from macrograd.compiler.trace.linearise import tape_of
from macrograd.compiler.trace.rounds import Rounds
from macrograd.control import KEPT, NUMBER, SHORTEST
from macrograd.rules import reaches
from macrograd.value import Value

LEAST = 1_000  # rounds; a shorter loop keeps everything
LEAST_STOPPED = 200  # rounds; of a shorter loop all are done, whenever it could stop
# Rounds more than the least that a trace writes of a section, and the step to the next trace: later attempts are for
# patterns that repeat after several rounds, as in a delay line. One more attempt writes whole sections.
ATTEMPTS = ((0, 1), (8, 2), (48, 12))
_WIDER = 1.3  # sections may be that much longer, if then fewer rounds are left over
_MOST_LEVELS = 6  # of groups
_NEAR = 3  # a group may have that many more or fewer parts, if then fewer rounds are left over


@dataclass(frozen=True)
class Plan:
    """head + count · rounds + tail rounds, of which `written` stand for those of a section in this trace."""

    head: int
    rounds: int
    count: int
    tail: int
    written: int
    index: int  # of the trace
    step: int  # by which traces differ in `written`
    groups: tuple[int, ...] = ()  # sections in a group, groups in a group …: only these are kept

    @property
    def told(self) -> bool:
        """Whether the program of a section is told from those of fewer rounds."""
        return self.written < self.rounds


@dataclass
class SectionRead:
    """Reads of an array by the round: element k of all sections' rounds is `elements[k]`. In the section there is a
    leaf for each round written.

    numbers   the elements, if they are numbers that the program holds
    given     where they are among the scalars of the arguments: whether they are the same for all samples, the first
              place among those of their kind, and the step from round to round
    operands  otherwise the elements, as operands of the call; of the arguments' scalars only the first
    """

    elements: Sequence[Any]
    leaves: list[Value] = field(default_factory=list)
    numbers: list[float] | None = None
    given: tuple[bool, int, int] | None = None
    operands: list[Value] = field(default_factory=list)

    def find(self, inputs: Sequence[Any], place: Mapping[int, int], same: Sequence[bool], held: bool) -> None:
        """Find where the elements are; without `held` they are operands in any case. `place` has those of the inputs by
        their ids."""
        if held and all(not isinstance(x, Value) or x.op is ops.CONSTANT for x in self.elements):
            self.numbers = [x._data if isinstance(x, Value) else ops.as_float("take", x) for x in self.elements]
            return
        first, *others = [place.get(id(x), -1) if held else -1 for x in self.elements[:2]]
        if first >= 0 and others and others[0] >= 0 and (step := others[0] - first):
            end = first + step * len(self.elements)
            there = slice(first, end if end >= 0 else None, step)
            some, kinds = inputs[there], same[there]
            if len(some) == len(self.elements) and all(map(is_, self.elements, some)) and len(set(kinds)) == 1:
                before = sum(x == kinds[0] for x in same[:first])
                self.given, self.operands = (bool(kinds[0]), before, step), [self.elements[0]]
                return
        self.operands = [known(x) for x in self.elements]


@dataclass
class Section:
    """A section of a loop, or a branch: a graph of its own.

    where     the body's name, file and line
    carry     leaves for the state before it
    leaves    those for the numbers from `outside`
    made      what the rounds made, round by round
    counters  the leaves that stand for the numbers of the rounds
    results   the state after it
    outs      what the rounds put out, for each kind a Value from each round
    stops     the number of the state that is 0 once the rounds change nothing more, if there is one
    call      the first call of it
    """

    plan: Plan
    where: str
    carry: list[Any] = field(default_factory=list)
    outside: list[Any] = field(default_factory=list)
    leaves: list[Any] = field(default_factory=list)
    made: list[list[Any]] = field(default_factory=list)
    counters: list[Any] = field(default_factory=list)
    reads: dict[int, SectionRead] = field(default_factory=dict)
    results: list[Any] = field(default_factory=list)
    outs: list[list[Any]] = field(default_factory=list)
    stops: int | None = None
    call: Any = None

    def shape(self) -> Shape:
        rounds = self.plan.rounds * self.plan.count
        reads = tuple([len(read.operands) for read in self.reads.values()])
        return Shape(len(self.carry), len(self.outside), reads, outs=(rounds,) * len(self.outs))

    def inputs(self) -> list[Any]:
        """All leaves: carry, outside, the numbers of the rounds, and the elements read (round by round for each
        read)."""
        return [*self.carry, *self.leaves, *self.counters, *(x for read in self.reads.values() for x in read.leaves)]

    def roots(self) -> list[Any]:
        return [*self.results, *(x for column in self.outs for x in column)]

    def changing(self, wanted: Container[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The positions in the carry, and the kinds of what the rounds put out, that change with these operands in some
        section."""
        shape = self.shape()
        moves = {id(x) for p, x in enumerate([*self.carry, *self.leaves]) if p in wanted}
        for k, read in enumerate(self.reads.values()):
            if any(p in wanted for p in shape.positions(k)):
                moves.update(map(id, read.leaves))
        reached: dict[Any, tuple[bool, ...]] = {}
        order = [x for row in self.made for x in row]
        ways = []
        for x in order:
            if x.op not in reached:
                reached[x.op] = reaches(x.op)
            through = reached[x.op]
            ways.append((id(x), [id(y) for k, y in enumerate(x.inputs) if through[x.op.slot(k)]]))
        begin, more = set[int](), moves
        while more - begin:
            begin |= more
            found = set(begin)
            for x, inner in ways:
                if not found.isdisjoint(inner):
                    found.add(x)
            more = {id(leaf) for leaf, x in zip(self.carry, self.results, strict=True) if id(x) in found}
        carry = tuple([k for k, x in enumerate(self.carry) if id(x) in begin])
        return carry, tuple([k for k, column in enumerate(self.outs) if any(id(x) in found for x in column)])


@dataclass(frozen=True)
class SectionTape:
    """The tape of a section: its inputs are `Section.inputs`, its results the state after it and what its rounds put
    out."""

    tape: Tape
    section: Section


def section_tape(section: Section, constants: set[int], order: Sequence[Value] | None = None) -> SectionTape:
    """The tape of a section, with its operations in this order, if there is one."""
    made = [x for row in section.made for x in row] if order is None else list(order)
    tape, parameters = tape_of(made, section.roots(), section.inputs(), constants)
    assert not parameters
    return SectionTape(tape, section)


def planned(
    count: int,
    numbers: int,
    operations: int,
    memory: str | int,
    least: int,
    traced: Rounds,
    where: str,
    shortest: int = LEAST,
    alone: bool = False,
) -> Plan | None:
    """The sections of a loop of `count` rounds and a state of `numbers`, or None to keep everything. `least` rounds
    tell the others; a loop that is `alone` may have groups of sections. Raises ValueError if no sections fit into
    `memory` bytes."""
    if not numbers:
        return None
    kept = KEPT * (operations + numbers)
    rounds = max(SHORTEST, 2 * least, round(sqrt(count * numbers / kept)))
    inner = count - 2 * least
    if isinstance(memory, int) and NUMBER * kept * count <= memory:
        return None
    if count < shortest or inner < 2 * rounds:
        if isinstance(memory, int):
            raise ValueError(_too_small(where, count, memory, NUMBER * kept * count))
        return None
    rounds, groups = min(range(rounds, int(_WIDER * rounds) + 1), key=lambda k: inner % k), tuple[int, ...]()
    needed = NUMBER * (numbers * (inner // rounds) + kept * rounds)
    if isinstance(memory, int) and needed > memory:
        if alone:
            rounds, groups, needed = _in_groups(inner, numbers, kept, max(SHORTEST, 2 * least), memory)
        if needed > memory:
            raise ValueError(_too_small(where, count, memory, needed))
    sections = inner // (rounds * prod(groups)) * prod(groups)
    attempt, index = traced.probe
    more, step = ATTEMPTS[attempt] if attempt < len(ATTEMPTS) else (rounds - least, 1)
    step = lcm(step, traced.period) if attempt < len(ATTEMPTS) else step
    written = least + more + (rounds - least - more) % step + step * index
    return Plan(least, rounds, sections, count - least - sections * rounds, written, index, step, groups)


def _in_groups(inner: int, numbers: int, kept: int, fewest: int, memory: int) -> tuple[int, tuple[int, ...], int]:
    """How many rounds a section has, how many sections a group, how many groups one of these …, and how many bytes that
    takes: with as few levels as fit into `memory`, because a derivative goes once more through all rounds for each.
    Without a fit, those that take the least."""
    best = fewest, tuple[int, ...](), NUMBER * (numbers * (inner // fewest) + kept * fewest)
    for levels in range(1, _MOST_LEVELS + 1):
        part = (float(inner) * numbers ** (levels + 1) * kept) ** (1 / (levels + 2))
        rounds = max(fewest, round(part / kept))
        each = max(2, round((inner / rounds) ** (1 / (levels + 1))))
        around = range(max(2, each - _NEAR), each + _NEAR + 1)
        sizes = np.array([*combinations_with_replacement(around, levels)])
        longer = np.arange(rounds, int(_WIDER * rounds) + 1)
        size = sizes.prod(axis=1)[:, None] * longer
        takes = NUMBER * (numbers * (inner // size + sizes.sum(axis=1)[:, None]) + kept * longer)
        left = np.where(2 * size <= inner, inner % size, inner)
        few = max(SHORTEST, int(left.min()))
        if few >= inner:
            break
        which, more = divmod(int(np.where(left <= few, takes, takes.max() + 1).argmin()), len(longer))
        if takes[which, more] < best[2]:
            best = int(longer[more]), tuple(sizes[which].tolist()), int(takes[which, more])
        if best[2] <= memory:
            break
    return best


def _too_small(where: str, count: int, memory: int, needed: int) -> str:
    return (
        f"memory={memory} bytes is too little for the loop of {where}: its {count} rounds need about {needed:,} bytes "
        f"for each sample. Write memory={needed:_} or more"
    )
