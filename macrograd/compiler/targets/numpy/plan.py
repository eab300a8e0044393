"""A program prepared for the NumPy target: the part that all its buffers share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Index, Instruction, Loop, Operand, Program, Segment, Step
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.program.walk import Walker, loop_of
from macrograd.compiler.tape.tape import Ints

_FEW = 3  # up to this many segments of a kind are kept; more become one with a table


@dataclass
class NumpyPlan(Walker[Step]):
    """A program's steps, with the pieces of long sums merged if their order is free.

    pool    the numbers among the operands, each with a slot after those of `u`
    widest  the most slots that an instruction in a block gathers
    """

    program: Program
    strict: bool
    pool: dict[str, int] = field(default_factory=dict)
    widest: int = 0
    _slots: dict[tuple[int, tuple[int, ...], int], tuple[Index, Ints]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        program = self.program
        self.before, self.block, self.after = (
            tuple(map(self.step, steps)) for steps in (program.before, program.block, program.after)
        )

    def numbers(self) -> list[float]:
        """The pool's numbers in order."""
        return [float.fromhex(text) for text in self.pool]

    def index(self, x: Operand) -> Index:
        """An operand as slots, even if it is a number."""
        if isinstance(x, Index):
            return x
        # By its digits, which distinguish 0.0 from -0.0 and treat every NaN as equal.
        return Index("u", self.pool.setdefault(float(x).hex(), self.program.uniform + len(self.pool)), ())

    def slots(self, x: Index, dims: tuple[int, ...], count: int) -> Ints:
        """An operand's slots as an array [counters..., terms], of length 1 along axes without movement."""
        key = (id(x), dims, count)
        if key not in self._slots:
            slots = x.slots(dims, count)
            slots = np.broadcast_to(slots, (len(slots), count)).reshape(*dims, count)
            for axis in range(slots.ndim):
                first = slots.take([0], axis)
                if (slots == first).all():
                    slots = first
            self._slots[key] = x, np.ascontiguousarray(slots)  # x is kept alive, so that no other index gets its id
        return self._slots[key][1]

    def stream(self, stream: Stream, around: tuple[int, ...]) -> Stream:
        if stream.block:
            self.widest = max([self.widest, *(out.size + rows.size for code, out, rows in stream.plain() if out.size)])
        return stream

    def loop(self, loop: Loop, around: tuple[int, ...]) -> Loop:
        return loop_of(loop.count, [self.step(step) for step in loop.body], loop.guard)

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> Instruction:
        for x, _ in instruction.operands():
            self.index(x)
        if not self.strict:
            instruction = replace(instruction, segments=tuple(self._merged(instruction)))
        for x, count in (*instruction.operands(), (instruction.out, 1)):
            if isinstance(x, Index) and x.space == "v" and not x.affine:
                self.widest = max(self.widest, self.slots(x, instruction.dims, count).size)
        return instruction

    def _merged(self, instruction: Instruction) -> Iterator[Segment]:
        """The segments, with many of one kind merged into one by a table."""
        kinds: dict[tuple[object, ...], list[tuple[int, Index, Index, Segment]]] = {}
        for segment in instruction.segments:
            left, right = self.index(segment.left), self.index(segment.right)
            if left.space == "v" and right.space == "u":
                left, right = right, left
            key = (left.space, left.shifts, right.space, right.shifts)
            kinds.setdefault(key, []).append((segment.count, left, right, segment))
        for same in kinds.values():
            if len(same) <= _FEW:
                yield from (segment for *_, segment in same)
                continue
            sides: list[Operand] = []
            for side in ([(n, left) for n, left, _, _ in same], [(n, right) for n, _, right, _ in same]):
                full = np.concatenate(
                    [np.broadcast_to(x.slots(instruction.dims, n), (instruction.members, n)) for n, x in side], axis=1
                )
                like = side[0][1]
                sides.append(Index(like.space, 0, (0,) * len(instruction.dims), full=full, shifts=like.shifts))
            yield Segment(sum(n for n, *_ in same), *sides)
