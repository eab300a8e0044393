"""Stripes: long arrays that are computed one after the other are computed piece by piece together.

A loop whose rounds do not depend on each other becomes instructions over all rounds. One after the other, each reads
its operands from memory and writes its result there, although the next instruction reads it and nothing else does. In
stripes, all of them run for a few hundred members before the next few hundred, as the rounds of a loop, and `compact`
then gives their results one place for all rounds, in the cache.

Where an instruction reads ahead of the member that it computes, those before it are ahead in every round. The first
members of each, which other instructions may read as single scalars, are computed before the loop, and the last after.

A long sum of what is in stripes is added up in the same rounds, each of which adds its terms to what the round before
has left. So its terms are added in the order of the sum, and if nothing else reads them, they are never in memory:

    u[9+i] = exp u[i] for 5000                     loop 4:
    u[6000] = dot + 5000×(1.0 u[9+t])      →         u[137+i+1024r] = exp u[128+i+1024r] for 1024
                                                     u[6002+r] = dot + 1×(1.0 u[6001+r]) + 1024×(1.0 u[137+t+1024r])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace

import numpy as np

from macrograd import ops
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
    stripes = _Stripes(program, least)
    found: list[Step] = []
    changed = False
    for row, step in in_rows(program.before):
        striped = stripes.row([part for x in row for part in _rows(x)])
        some = any(isinstance(x, Loop) for x in striped)
        changed |= some
        found += [*(striped if some else row), *([] if step is None else [step])]
    return replace(program, before=tuple(found), uniform=stripes.uniform) if changed else program


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


def _is_long_sum(x: Instruction) -> bool:
    """Whether it may be added up in stripes: it has one long row of terms, which follow each other in memory."""
    if x.kind != "dot" or x.members > _FEW or x.out.space != "u" or not all(y.affine for y in _indices(x)):
        return False
    long = [segment for segment in x.segments if segment.count >= _LONG]
    if len(long) != 1 or x.terms - long[0].count > _FEW:
        return False
    return all(isinstance(y, float) or y.term in (0, 1) for y in (long[0].left, long[0].right))


def _indices(x: Instruction) -> list[Index]:
    return [x.out, *(y for y, _ in x.operands() if isinstance(y, Index))]


@dataclass
class _Long:
    """A long instruction, whose results are the slots `first` … `end` - 1; `ahead` is by how many members it runs ahead
    of a stripe."""

    instruction: Instruction
    first: int
    end: int
    reads: list[tuple[_Long, int]] = field(default_factory=list)  # and by how many members ahead
    ahead: int = 0

    @property
    def members(self) -> int:
        return self.end - self.first

    @property
    def costly(self) -> bool:
        return self.instruction.kind == "map" and ops.TABLE[self.instruction.code].costly

    def parts(self, stripe: int, rounds: int) -> tuple[Instruction, Instruction, Instruction]:
        """What is computed before the rounds, in each of them, and after them."""
        begin, whole = _ENDS + self.ahead, apart(self.instruction)
        inside = part(whole, begin, begin + stripe, stripe)
        return part(whole, 0, begin), inside, part(whole, begin + rounds * stripe, whole.members)


@dataclass
class _LongSum:
    """A long sum of one member: its terms stand where the members of a long instruction do. `sums` is the slot of the
    sum before the first round, and those after each round follow."""

    instruction: Instruction
    sums: int = 0
    reads: list[tuple[_Long, int]] = field(default_factory=list)
    ahead: int = 0

    @property
    def number(self) -> int:
        """The number of its long segment."""
        return next(k for k, segment in enumerate(self.instruction.segments) if segment.count >= _LONG)

    @property
    def members(self) -> int:
        return self.instruction.segments[self.number].count

    def parts(self, stripe: int, rounds: int) -> tuple[Instruction, Instruction, Instruction]:
        x, k = self.instruction, self.number
        long, end = x.segments[k], _ENDS + rounds * stripe
        sums = replace(x.out, base=self.sums)
        last = Segment(1, 1.0, sums.displaced(rounds))
        one = replace(sums, shifts=(1,))
        return (
            replace(x, out=sums, segments=(*x.segments[:k], _terms(long, 0, _ENDS))),
            replace(
                x,
                out=one.displaced(1),
                segments=(Segment(1, 1.0, one), _terms(long, _ENDS, _ENDS + stripe, stripe)),
            ),
            replace(x, segments=(last, _terms(long, end, long.count), *x.segments[k + 1 :])),
        )


class _Group:
    """Instructions that run in stripes, and short ones among them, which run before or after those."""

    def __init__(self) -> None:
        self.items: list[_Long | _LongSum | tuple[Instruction, bool]] = []  # whether a short one runs after
        self.longs: list[_Long] = []
        self.sums: list[_LongSum] = []
        self.after: set[int] = set()  # slots of short ones and sums, which are there after the stripes

    def add(self, x: Instruction) -> bool:
        """Add the next instruction, if it can run in this order."""
        if _is_long_sum(x):
            return self._add_sums(x)
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

    def _add_sums(self, x: Instruction) -> bool:
        """Add a sum that reads what is in stripes. One that only reads what it may as well compute itself is better
        left alone."""
        if len(self.longs) < 2 and not any(long.costly for long in self.longs):
            return False
        sums = [_LongSum(one) for one in _members(x)]
        if not all(map(self._begins, sums)):
            return False
        self.items += sums
        self.sums += sums
        self.after.update(x.out.slots(x.dims).ravel().tolist())
        return True

    def _begins(self, total: _LongSum) -> bool:
        """Whether a sum reads what is in stripes, and all that it adds up before the last round is there in time."""
        x, k = total.instruction, total.number
        starts = [(y, s.count) for s in x.segments[:k] for y in (s.left, s.right) if isinstance(y, Index)]
        if any(map(self._is_late, [slot for y, n in starts for slot in y.slots((1,), n).ravel().tolist()])):
            return False
        sides = [y for y in (x.segments[k].left, x.segments[k].right) if isinstance(y, Index)]
        return all(self._reads(total, y.base, y.term) for y in sides) and bool(total.reads)

    def _is_late(self, slot: int) -> bool:
        """Whether a slot is computed in the stripes, or after them."""
        return slot in self.after or any(long.first + _ENDS <= slot < long.end for long in self.longs)

    def _reads(self, long: _Long | _LongSum, begin: int, stride: int) -> bool:
        """Note what an operand reads. Whether it is there in time."""
        end = begin + stride * (long.members - 1) + 1
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
                after |= any(map(self._is_late, operand.slots(x.dims, count).ravel().tolist()))
        if after:
            self.after.update(x.out.slots(x.dims).ravel().tolist())
        self.items.append((x, after))
        return True

    def plan(self) -> None:
        """Find by how many members each runs ahead of a stripe."""
        readers: list[_Long | _LongSum] = [*self.sums, *reversed(self.longs)]
        for long in readers:
            for other, ahead in long.reads:
                other.ahead = max(other.ahead, long.ahead + ahead)


class _Stripes:
    """Puts rows of instructions in stripes. `uniform` are the slots of u, to which sums add."""

    def __init__(self, program: Program, least: int) -> None:
        self.results, self.least, self.uniform = set(program.slots.tolist()), least, program.uniform

    def row(self, row: Sequence[Instruction]) -> list[Step]:
        if sum(_is_long(x) or _is_long_sum(x) for x in row) < 2:
            return list(row)
        found: list[Step] = []
        group = _Group()
        for instruction in row:
            if not group.add(instruction):
                found += self._steps(group)
                group = _Group()
                if not group.add(instruction):
                    found.append(instruction)
        return [*found, *self._steps(group)]

    def _steps(self, group: _Group) -> list[Step]:
        """The instructions in stripes, or as they were if that is of no use."""
        group.plan()
        both: list[_Long | _LongSum] = [*group.longs, *group.sums]
        inner = [long for long in group.longs if not {long.first, long.end - 1} & self.results]
        rounds = 0
        if len(both) >= 2 and sum(long.members for long in inner) >= self.least:
            stripe = max(_SHORTEST, min(_LONGEST, _CACHE // len(group.longs) // _SHORTEST * _SHORTEST))
            rounds = min((x.members - 2 * _ENDS - x.ahead) // stripe for x in both)
        if rounds < _LEAST_ROUNDS:
            return [item[0] if isinstance(item, tuple) else item.instruction for item in group.items]
        for total in group.sums:
            total.sums = self.uniform
            self.uniform += rounds + 1
        return _in_rounds(group, stripe, rounds)


def _in_rounds(group: _Group, stripe: int, rounds: int) -> list[Step]:
    before: list[Step] = []
    body: list[Instruction | Loop] = []
    after: list[Step] = []
    for item in group.items:
        if isinstance(item, tuple):
            (after if item[1] else before).extend(_members(apart(item[0])))
            continue
        first, inside, last = item.parts(stripe, rounds)
        before.append(first)
        body.append(inside)
        after.append(last)
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


def _terms(segment: Segment, begin: int, end: int, stripe: int = 0) -> Segment:
    """Some terms of a sum; those of the next round of a loop begin a stripe later."""

    def some(y: Operand) -> Operand:
        if isinstance(y, float):
            return y
        return replace(y, base=y.base + y.term * begin, shifts=(y.term * stripe,) if stripe else ())

    return Segment(end - begin, some(segment.left), some(segment.right))


def apart(x: Instruction) -> Instruction:
    """The same sum, with a segment for each term: their operands may be in arrays that lie apart."""
    if x.terms > _FEW:
        return x

    def term(y: Operand, t: int) -> Operand:
        return replace(y, base=y.base + t * y.term, term=0) if isinstance(y, Index) else y

    return replace(
        x, segments=tuple([Segment(1, term(s.left, t), term(s.right, t)) for s in x.segments for t in range(s.count)])
    )
