"""Fusion: instructions of a block that run together, tile by tile, so that values pass between them in registers.

A member of one instruction often reads only the same member of those before it: an activation after a sum of products,
its derivative's mask after the transposed product, the sum over the batch of either. If the members have the same
counters and an operand is an earlier result of the group, all of them are computed for one tile before the next tile
starts. Results that only the group itself reads are never written to memory.

An activation of a matrix product has the counters of the product in another order, or only one for all of them: it is
given those of the product where its operands stay affine.

A group starts with any map or sum of products. Later maps, sums of single products and reductions join it if nothing
that they read is computed in between; that is safe because every slot is written once (`program.verify`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Index, Instruction, Program, Step, counted
from macrograd.compiler.program.walk import in_rows, streams_of
from macrograd.compiler.targets.scalar.access import all_rounds, key_of
from macrograd.compiler.targets.scalar.inside import digits_of, with_computed
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.outer import split
from macrograd.compiler.targets.scalar.tiles import covers

WINDOW = 32  # up to this many instructions may join the first one of a group

# The slots that it may touch: the first and last in the first rounds, their movement per round of each loop, and the
# most that they move down and up over all rounds.
Span = tuple[int, int, tuple[int, ...], int, int]


@dataclass(frozen=True)
class Fusion:
    """Instructions that run together, led by the first, and for each whether its results go to memory."""

    instructions: tuple[Instruction, ...]
    stored: tuple[bool, ...]

    def __str__(self) -> str:
        return "; ".join(map(str, self.instructions))


def readers(program: Program) -> NDArray[np.int64]:
    """The number of operands of the block that read each slot of v, counting equal ones of an instruction once, and a
    result as one more."""
    found = np.zeros(program.varying, dtype=np.int64)
    np.add.at(found, program.results_in("v"), 1)
    found += len(streams_of(program.block))  # a loop or stream, which may read anything
    for step in program.block:
        for instruction, counts in counted(step):
            met = set[tuple[object, ...]]()
            for x, count in instruction.operands():
                if isinstance(x, Index) and x.space == "v":
                    same = (key_of(x, instruction.dims), x.term if count > 1 else 0, count) if x.affine else (id(x),)
                    if same not in met:
                        met.add(same)  # of a slot that the operand has twice, only one addition stays
                        found[all_rounds(x, _slots_of(x, instruction.dims, count), counts)] += 1
    return found


def groups(
    instructions: Sequence[Instruction], read: NDArray[np.int64], machine: Machine, counts: tuple[int, ...] = ()
) -> list[Fusion]:
    """The instructions in groups, in a valid order of execution. `read` comes from `readers`; `counts` are those of the
    loops around the instructions, outermost first."""
    found: list[Fusion] = []
    done: set[int] = set()
    lines = [_Line(instruction, counts) for instruction in instructions]
    for k, leader in enumerate(lines):
        if k in done:
            continue
        group = _Growing(leader, machine)
        if leader.leads:
            for j in range(k + 1, min(k + 1 + WINDOW, len(lines))):
                if j not in done and group.join(lines[j]):
                    done.add(j)
        members = tuple(group.members)
        found.append(Fusion(tuple(m.instruction for m in members), tuple(_stored(m, members, read) for m in members)))
    return found


def grouped(
    steps: Sequence[Step], read: NDArray[np.int64], machine: Machine, counts: tuple[int, ...] = ()
) -> Iterator[Step | Fusion]:
    """The steps of a block, or of a loop in it, with groups in place of their instructions."""
    for row, step in in_rows(steps):
        for group in groups(with_computed(row, read, counts), read, machine, counts):
            yield group if len(group.instructions) > 1 else group.instructions[0]
        if step is not None:
            yield step


class _Line:
    """An instruction and the facts needed to group it."""

    def __init__(self, instruction: Instruction, counts: tuple[int, ...]) -> None:
        self.instruction, self.counts = instruction, counts
        dims = instruction.dims
        self.varying = [(x, n) for x, n in instruction.operands() if isinstance(x, Index) and x.space == "v"]
        self.leads = instruction.kind in ("map", "dot") and instruction.out.affine
        self.out = key_of(instruction.out, dims) if instruction.out.space == "v" else None
        self.made = span(instruction.out, dims, 1, counts) if instruction.out.space == "v" else None
        keys = [key_of(x, dims) for x, _ in self.varying]
        self.reads = {key for key, (x, n) in zip(keys, self.varying, strict=True) if x.affine and n == 1}
        self.spans = [(span(x, dims, n, counts), key) for key, (x, n) in zip(keys, self.varying, strict=True)]
        self.single = all(segment.count == 1 for segment in instruction.segments)
        self.costly = instruction.kind == "map" and ops.TABLE[instruction.code].costly


class _Growing:
    """A group in the making, and the results of the instructions that did not join it."""

    def __init__(self, leader: _Line, machine: Machine) -> None:
        self.machine, self.members, self.dims = machine, [leader], leader.instruction.dims
        self.known = set(leader.reads)
        self.outs = {leader.out} if leader.out is not None else set()
        self.made = [leader.made] if leader.made is not None else []
        self.behind: list[Span] = []

    def join(self, line: _Line) -> bool:
        """Add an instruction to the group if possible; otherwise remember its results."""
        line = self._along(line)
        if not self._fits(line):
            if line.made is not None:
                self.behind.append(line.made)
            return False
        self.members.append(line)
        self.known |= line.reads
        if line.out is not None and line.made is not None:
            self.outs.add(line.out)
            self.made.append(line.made)
        return True

    def _along(self, line: _Line) -> _Line:
        """The instruction with the counters of the group, if they lead one of its operands along results of it."""
        instruction = line.instruction
        if not line.leads or not line.single or instruction.members != prod(self.dims):
            return line
        if instruction.dims == self.dims and not line.reads.isdisjoint(self.outs):
            return line
        for (x, _), ((low, high, *_), _) in zip(line.varying, line.spans, strict=True):
            for base, shifts, strides in [member.out for member in self.members if member.out is not None]:
                if not low <= base <= high or shifts != x.shifts:
                    continue
                if (moved := led(instruction, x, base, strides, self.dims)) is not None:
                    return _Line(moved, line.counts)
        return line

    def _fits(self, line: _Line) -> bool:
        instruction = line.instruction
        if instruction.dims != self.dims or not instruction.out.affine or not line.single:
            return False
        if instruction.kind not in ("map", "dot", "reduce") or line.reads.isdisjoint(self.known | self.outs):
            return False
        if instruction.kind == "reduce" and (
            self.machine.in_order
            or not covers(self.machine)
            or split(instruction, self.machine) is not None
            or self.machine.width < 2
        ):
            return False
        if line.costly and not self.members[0].single:
            return False  # its constants would push the sums out of registers
        elsewhere = [span for span, key in line.spans if key not in self.outs]
        return not any(_meet(span, other) for span in elsewhere for other in (*self.made, *self.behind))


def led(
    instruction: Instruction, x: Index, base: int, strides: tuple[int, ...], dims: tuple[int, ...]
) -> Instruction | None:
    """A map or a sum of single products with other counters, as many members in another order, by which its operand x
    is at `base` first and moves by `strides`; None if they cannot be or an operand is not affine."""
    if not all(y.affine for y in (instruction.out, *(y for y, _ in instruction.operands() if isinstance(y, Index)))):
        return None
    back = [stride < 0 for stride in x.member]  # counters that have to run backwards

    def forwards(y: Index) -> Index:
        at = sum(s * (n - 1) for s, n, turn in zip(y.member, instruction.dims, back, strict=True) if turn)
        member = tuple([-s if turn else s for s, turn in zip(y.member, back, strict=True)])
        return replace(y, base=y.base + at, member=member)

    risen = forwards(x)
    found = [digits_of(by, risen, instruction.dims) for by in (base - risen.base, *strides)]
    places = [place for place in found if place is not None]
    if len(places) < len(found):
        return None
    begin, *moves = places
    last = [
        first + sum(step * (count - 1) for step, count in zip(steps, dims, strict=True))
        for first, *steps in zip(begin, *moves, strict=True)
    ]
    if not all(place < count for place, count in zip(last, instruction.dims, strict=True)):
        return None

    def along(y: Index, _: int) -> Index:
        y = forwards(y)
        start, *member = [sum(map(int.__mul__, y.member, place)) for place in (begin, *moves)]
        return replace(y, base=y.base + start, member=tuple(member))

    return replace(instruction.mapped(along), dims=dims)


def _stored(line: _Line, members: Sequence[_Line], read: NDArray[np.int64]) -> bool:
    """Whether anything outside the group reads this line's results."""
    if line.out is None:
        return True
    inside = sum(line.out in other.reads for other in members)
    slots = all_rounds(line.instruction.out, _slots_of(line.instruction.out, line.instruction.dims, 1), line.counts)
    return bool((read[slots] != inside).any())


def _slots_of(x: Index, dims: tuple[int, ...], count: int) -> NDArray[np.int64]:
    """The slots of an operand in the first rounds, each at least once, without counters that do not move it."""
    if x.affine:
        dims = tuple(dim if stride else 1 for dim, stride in zip(dims, x.member, strict=True))
        count = count if x.term else 1
    return x.slots(dims, count).ravel()


def span(x: Index, dims: tuple[int, ...], count: int, counts: tuple[int, ...]) -> Span:
    """The slots that an operand may touch."""
    low, high = x.base, x.base
    if x.affine:
        for stride, size in zip((*x.member, x.term), (*dims, count), strict=True):
            if stride < 0:
                low += stride * (size - 1)
            else:
                high += stride * (size - 1)
    else:
        slots = x.slots(dims, count)
        low, high = int(slots.min()), int(slots.max())
    moves = [shift * (count - 1) for shift, count in zip(x.shifts, counts, strict=True)]
    return low, high, x.shifts, sum([m for m in moves if m < 0]), sum([m for m in moves if m > 0])


def _meet(a: Span, b: Span) -> bool:
    """Whether two operands may touch the same slot in the same round."""
    if a[2] == b[2]:
        return a[0] <= b[1] and b[0] <= a[1]
    return a[0] + a[3] <= b[1] + b[4] and b[0] + b[3] <= a[1] + a[4]
