"""Copies between slots, and steps moved to other slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from macrograd import ops
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand, ProgramError, Step
from macrograd.compiler.program.walk import Walker, loop_of
from macrograd.compiler.tape.tape import Ints


class Moved(Walker[Step]):
    """Steps with other slots, `by` space, in the loops `around` them, in which they do not move."""

    def __init__(self, by: dict[str, int], around: tuple[int, ...]) -> None:
        self.by, self.outer = by, around

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> Instruction:
        return instruction.mapped(self._index)

    def _index(self, x: Index, count: int = 1) -> Index:
        return replace(x.displaced(self.by[x.space]), shifts=(*self.outer, *x.shifts))

    def loop(self, loop: Loop, around: tuple[int, ...]) -> Loop:
        guard = None if loop.guard is None else self._index(loop.guard)
        return loop_of(loop.count, [self.step(step) for step in loop.body], guard)

    def stream(self, stream: object, around: tuple[int, ...]) -> Step:
        raise ProgramError(f"a section has a stream: {stream}")


def copy(dims: tuple[int, ...], out: Index, source: Operand) -> Instruction:
    return Instruction("map", ops.detach.code, dims, out, args=(source,))


def copies(outs: Sequence[Index], sources: Sequence[Operand]) -> list[Instruction]:
    """Copies of single slots and of numbers, as few as there are runs of constant steps and of equal numbers."""
    found: list[Instruction] = []
    rows: list[tuple[Index, Operand]] = []

    def flush() -> None:
        if not rows:
            return
        numbers = np.array([(out.base, source.base if isinstance(source, Index) else 0) for out, source in rows])
        begin = 0
        while begin < len(rows):
            end = begin + _run(numbers[begin:])
            out, source = rows[begin]
            strides = numbers[begin + 1] - numbers[begin] if end - begin > 1 else np.zeros(2, dtype=np.int64)
            if isinstance(source, Index):
                source = replace(source, member=(int(strides[1]),))
            found.append(copy((end - begin,), replace(out, member=(int(strides[0]),)), source))
            begin = end
        rows.clear()

    for out, source in zip(outs, sources, strict=True):
        if rows and (_kind(rows[-1][0]), _kind(rows[-1][1])) != (_kind(out), _kind(source)):
            flush()
        rows.append((out, source))
    flush()
    return found


def _kind(x: Operand) -> tuple[str, tuple[int, ...]]:
    return (x.space, x.shifts) if isinstance(x, Index) else (x.hex(), ())


def _run(numbers: Ints) -> int:
    """The length of the first run of pairs with a constant step."""
    steps = np.diff(numbers, axis=0)
    bends = np.flatnonzero((steps != steps[:1]).any(axis=1))
    return int(bends[0]) + 1 if len(bends) else len(numbers)
