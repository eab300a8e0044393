"""Folds: the largest or the least of many numbers is found in columns.

The largest of n numbers is a loop whose every round waits for the one before. Any order of these operations gives the
same number, to the bit, and so does an operand that comes twice (`Op.unordered`). So there are as many columns as fill
some vectors, each is the largest of every so many numbers, and a short loop finds the largest of them:

    loop 10000:                                  u[9000+i] = maximum u[i] u[64+i] for 64
      u[20001+r] = maximum u[20000+r] u[r]   →   loop 154:
                                                   u[9000+i] = maximum u[9000+i] u[128+i+64r] for 64
                                                 u[9000+i] = maximum u[9000+i] u[9936+i] for 64
                                                 u[29937] = maximum u[20000] u[9000]
                                                 loop 63:
                                                   u[29938+r] = maximum u[29937+r] u[9001+r]

Nothing else may read what a round leaves for the next, but for the last. A derivative by the numbers does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from macrograd import ops
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Step
from macrograd.compiler.program.program import Program, counted
from macrograd.compiler.program.touches import Touch, Touches, touched
from macrograd.compiler.program.walk import loop_of, loops_of

COLUMNS = 64
_LEAST = 4 * COLUMNS  # rounds


def in_columns(program: Program) -> Program:
    """The program with long folds in columns, wherever nothing reads their intermediate results."""
    if program.streams() or program.reused:
        return program
    if not any(_folds(loop) for step in program.steps() for loop in loops_of(step)):
        return program
    folds = _Folds(program)
    before, block, after = (folds.steps(steps) for _, steps in program.phases())
    if not folds.reused:
        return program
    uniform, reused = folds.uniform, tuple(folds.reused)
    return replace(program, before=before, block=block, after=after, uniform=uniform, reused=reused)


def _folds(loop: Loop) -> list[tuple[Instruction, Index]]:
    """The instructions of a loop that combine their result of the round before with a number, and these numbers."""
    if loop.guard is not None or loop.count < _LEAST:
        return []
    found = [(x, _numbers(x)) for x in loop.body if isinstance(x, Instruction)]
    return [(x, numbers) for x, numbers in found if numbers is not None]


def _numbers(x: Instruction) -> Index | None:
    out, shift = x.out, x.out.shift
    if x.kind != "map" or x.members != 1 or not ops.TABLE[x.code].unordered or out.space != "u" or not shift:
        return None
    operands = [y for y in (out, *x.args) if isinstance(y, Index) and y.affine and y.space == "u" and y.shift]
    if len(operands) < 3:
        return None
    _, *args = operands
    others = [y for y in args if (y.base, y.shift) != (out.base - shift, shift)]
    return others[0] if len(others) == 1 else None


class _Folds:
    """The folds of a program, and the slots that it has with them."""

    def __init__(self, program: Program) -> None:
        self.outside = Touches(program)
        self.uniform = program.uniform
        self.reused: list[tuple[str, int, int]] = []

    def steps(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        found: list[Step] = []
        for step in steps:
            found += self._apart(step) if isinstance(step, Loop) else [step]
        return tuple(found)

    def _apart(self, loop: Loop) -> list[Step]:
        """The folds of a loop in columns, and what else it does."""
        alone = [(x, numbers) for x, numbers in _folds(loop) if self._alone(loop, x, numbers)]
        if not alone:
            return [loop]
        found = [step for x, numbers in alone for step in self._columns(x, numbers, loop.count)]
        rest = [step for step in loop.body if not any(step is x for x, _ in alone)]
        return [*found, *([loop_of(loop.count, rest)] if rest else [])]

    def _alone(self, loop: Loop, x: Instruction, numbers: Index) -> bool:
        """Whether nothing else touches a fold's results before the last, and none of its numbers is computed there."""
        read, made = Touch.of(numbers, (1,), 1, (loop.count,)), []
        inside = []
        for y, rounds in counted(loop):
            for z, count in (*y.operands(), (y.out, 1)):
                if isinstance(z, Index) and z.space == "u" and y is not x:
                    inside.append(Touch.of(z, y.dims, count, rounds))
            if y.out.space == "u":
                made.append(Touch.of(y.out, y.dims, 1, rounds))
        if any(touch.low <= read.high and touch.high >= read.low for touch in made):
            return False
        column = np.array([x.out.base])
        before, _ = touched(self.outside.of(loop, "u"), column, x.out.shift, loop.count)
        in_body = touched(inside, column, x.out.shift, loop.count)
        return not (before | in_body[0] | in_body[1]).any()

    def _columns(self, x: Instruction, numbers: Index, count: int) -> list[Step]:
        place, shift, move = self.uniform, x.out.shift, numbers.shift
        self.uniform += COLUMNS
        self.reused.append(("u", place, self.uniform))
        columns = Index("u", place, (1,))

        def some(first: int) -> Index:
            """The numbers of as many rounds as there are columns."""
            return Index("u", numbers.base + move * first, (move,))

        wide = replace(x, dims=(COLUMNS,), out=columns)
        found: list[Step] = [replace(wide, args=(some(0), some(COLUMNS)))]
        again, next_ = _moving(columns, 0), _moving(some(2 * COLUMNS), move * COLUMNS)
        found.append(loop_of(count // COLUMNS - 2, [replace(wide, out=again, args=(again, next_))]))
        if count % COLUMNS:  # those at the end, some of them once more
            found.append(replace(wide, args=(columns, some(count - COLUMNS))))
        start, result = Index("u", x.out.base - shift, (0,)), Index("u", x.out.base + shift * (count - COLUMNS), (0,))
        one = replace(x, dims=(1,), out=result, args=(start, replace(columns, member=(0,))))
        rest = _moving(replace(columns, base=place + 1, member=(0,)), 1)
        both = _moving(result, shift), rest
        more = replace(one, out=_moving(result.displaced(shift), shift), args=both)
        return [*found, one, loop_of(COLUMNS - 1, [more])]


def _moving(x: Index, shift: int) -> Index:
    return replace(x, shifts=(shift,))
