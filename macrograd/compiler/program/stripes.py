"""Stripes: long arrays that are computed one after the other are computed piece by piece together.

A loop whose rounds do not depend on each other becomes instructions over all rounds. One after the other, each reads
its operands from memory and writes its result there, although the next instruction reads it and nothing else does. In
stripes, all of them run for a few hundred members before the next few hundred, as the rounds of a loop, and `compact`
then gives their results one place for all rounds, in the cache.

Where an instruction reads ahead of the member that it computes, those before it are ahead in every round. The first
members of each, which other instructions may read as single scalars, are computed before the loop, and the last after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand, Segment, Step
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.walk import in_rows

LEAST = 1 << 16  # numbers that stripes must keep from memory
_LONG = 4096  # members
_FEW = 8  # terms of a sum, which are written apart
_ENDS = 128  # members at either end that are not in stripes
_CACHE = 1 << 11  # numbers of all results of a stripe, if it is not one of the shortest
_SHORTEST, _LONGEST = 32, 1024  # members of a stripe
_LEAST_ROUNDS = 8


def in_stripes(program: Program, least: int = LEAST) -> Program:
    """The program with its long instructions in stripes wherever these keep at least `least` numbers from memory."""
    if program.batch or program.streams() or program.reused:
        return program
    results = set(program.slots.tolist())
    found: list[Step] = []
    changed = False
    for row, step in in_rows(program.before):
        striped = _row([part for x in row for part in _rows(x)], results, least)
        some = any(isinstance(x, Loop) for x in striped)
        changed |= some
        found += [*(striped if some else row), *([] if step is None else [step])]
    return replace(program, before=tuple(found)) if changed else program


def _row(row: Sequence[Instruction], results: set[int], least: int) -> list[Step]:
    if sum(_is_long(instruction) for instruction in row) < 2:
        return list(row)
    found: list[Step] = []
    group = _Group()
    for instruction in row:
        if not group.add(instruction):
            found += group.steps(results, least)
            group = _Group()
            if not group.add(instruction):
                found.append(instruction)
    return [*found, *group.steps(results, least)]


def _rows(x: Instruction) -> list[Instruction]:
    """The rows of an instruction that has a few long ones."""
    operands = [x.out, *(y for y, _ in x.operands() if isinstance(y, Index))]
    if len(x.dims) != 2 or x.dims[0] > _FEW or x.dims[1] < _LONG or not all(y.affine for y in operands):
        return [x]

    def row(k: int) -> Callable[[Index, int], Index]:
        return lambda y, _: replace(y, base=y.base + k * y.member[0], member=y.member[1:])

    return [replace(x, dims=x.dims[1:]).mapped(row(k)) for k in range(x.dims[0])]


def _is_long(x: Instruction) -> bool:
    """Whether it may run in stripes: its members, and those of every operand, follow each other in memory."""
    if x.kind not in ("map", "dot") or len(x.dims) != 1 or x.members < _LONG:
        return False
    if not x.out.affine or x.out.member != (1,) or x.out.shifts:
        return False
    return all(
        isinstance(operand, float) or (operand.affine and count <= _FEW and operand.member[0] in (0, 1))
        for operand, count in x.operands()
    )


@dataclass
class _Long:
    """A long instruction, whose results are the slots `first` … `end` - 1; `ahead` is by how many members it runs ahead
    of a stripe."""

    instruction: Instruction
    first: int
    end: int
    reads: list[tuple[_Long, int]] = field(default_factory=list)  # and by how many members ahead
    ahead: int = 0


class _Group:
    """Instructions that run in stripes, and short ones among them, which run before or after those."""

    def __init__(self) -> None:
        self.items: list[_Long | tuple[Instruction, bool]] = []  # in order; whether a short one runs after
        self.longs: list[_Long] = []
        self.after: set[int] = set()  # slots of short ones that run after the stripes

    def add(self, x: Instruction) -> bool:
        """Add the next instruction, if it can run in this order."""
        return self._add_long(x) if _is_long(x) else self._add_short(x)

    def _add_long(self, x: Instruction) -> bool:
        long = _Long(x, x.out.base, x.out.base + x.members)
        for operand, count in x.operands():
            if not isinstance(operand, Index):
                continue
            begins = {operand.base + operand.term * t for t in range(count)}
            if not all(self._reads(long, begin, operand.member[0]) for begin in sorted(begins)):
                return False
        self.items.append(long)
        self.longs.append(long)
        return True

    def _reads(self, long: _Long, begin: int, stride: int) -> bool:
        """Note what an operand reads. Whether it is there in time."""
        end = begin + stride * (long.instruction.members - 1) + 1
        for other in self.longs:
            if other.first < end and begin < other.end:
                if stride:
                    long.reads.append((other, begin - other.first))
                elif begin - other.first >= _ENDS:
                    return False
        late = [slot for slot in self.after if begin <= slot < end]
        return not late or (bool(stride) and end - min(late) <= _ENDS)

    def _add_short(self, x: Instruction) -> bool:
        if x.members * max(1, x.count, x.terms) > _ENDS or x.out.space != "u" or x.kind not in ("map", "dot", "take"):
            return False
        after = False
        for operand, count in x.operands():
            if isinstance(operand, Index):
                for slot in operand.slots(x.dims, count).ravel().tolist():
                    late = any(long.first + _ENDS <= slot < long.end for long in self.longs)
                    after |= late or slot in self.after
        if after:
            self.after.update(x.out.slots(x.dims).ravel().tolist())
        self.items.append((x, after))
        return True

    def _plain(self) -> list[Step]:
        return [item.instruction if isinstance(item, _Long) else item[0] for item in self.items]

    def steps(self, results: set[int], least: int) -> list[Step]:
        """The instructions in stripes, or as they were if that is of no use."""
        for long in reversed(self.longs):
            for other, ahead in long.reads:
                other.ahead = max(other.ahead, long.ahead + ahead)
        inner = [long for long in self.longs if not {long.first, long.end - 1} & results]
        if len(self.longs) < 2 or sum(long.end - long.first for long in inner) < least:
            return self._plain()
        stripe = max(_SHORTEST, min(_LONGEST, _CACHE // len(self.longs) // _SHORTEST * _SHORTEST))
        rounds = min((x.end - x.first - 2 * _ENDS - x.ahead) // stripe for x in self.longs)
        if rounds < _LEAST_ROUNDS:
            return self._plain()
        before: list[Step] = []
        body: list[Instruction | Loop] = []
        after: list[Step] = []
        for item in self.items:
            if not isinstance(item, _Long):
                (after if item[1] else before).extend(_members(apart(item[0])))
                continue
            begin, whole = _ENDS + item.ahead, apart(item.instruction)
            before.append(part(whole, 0, begin))
            body.append(part(whole, begin, begin + stripe, stripe))
            after.append(part(whole, begin + rounds * stripe, whole.members))
        return [*before, Loop(rounds, tuple(body)), *after]


def _members(x: Instruction) -> list[Instruction]:
    """The members of a short instruction, so that none reads from arrays that lie apart."""
    if x.members == 1 or x.members > _FEW or any(isinstance(y, Index) and y.full is not None for y, _ in x.operands()):
        return [x]

    def member(at: tuple[int, ...]) -> Callable[[Index, int], Index]:
        def index(y: Index, _: int) -> Index:
            base = y.base + sum(stride * k for stride, k in zip(y.member, at, strict=True))
            if y.members is not None:
                base += int(np.broadcast_to(y.members, x.dims)[at])
            return replace(y, base=base, member=(0,), members=None)

        return index

    return [replace(x, dims=(1,)).mapped(member(at)) for at in np.ndindex(*x.dims)]


def part(x: Instruction, begin: int, end: int, stripe: int = 0) -> Instruction:
    """Some members of an instruction; those of the next round of a loop begin a stripe later."""

    def index(y: Index, _: int) -> Index:
        stride = y.member[0]
        return replace(y, base=y.base + stride * begin, shifts=(stride * stripe,) if stripe else ())

    return replace(x, dims=(end - begin,)).mapped(index)


def apart(x: Instruction) -> Instruction:
    """The same sum, with a segment for each term: their operands may be in arrays that lie apart."""
    if x.terms > _FEW:
        return x

    def term(y: Operand, t: int) -> Operand:
        return replace(y, base=y.base + t * y.term, term=0) if isinstance(y, Index) else y

    return replace(
        x, segments=tuple([Segment(1, term(s.left, t), term(s.right, t)) for s in x.segments for t in range(s.count)])
    )
