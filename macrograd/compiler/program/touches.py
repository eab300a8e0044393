"""Which slots a program touches, over all rounds of its loops, without listing them where they are many."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.program.instruction import Index, Loop
from macrograd.compiler.program.program import Program, counted
from macrograd.compiler.tape.tape import Ints, distinct

MOST_SLOTS = 50_000  # that are listed
_EXACT = 4096  # slots of an operand that are looked at one by one


@dataclass(frozen=True)
class Touch:
    """The slots that an operand touches in all rounds: some slots, moved by multiples of strides."""

    slots: Ints
    moves: tuple[tuple[int, int], ...]  # (stride, how many)

    @staticmethod
    def of(x: Index, dims: tuple[int, ...], count: int, rounds: tuple[int, ...]) -> Touch:
        moves = list(zip(x.shifts, rounds, strict=True))
        slots = np.array([x.base])
        if x.affine:
            moves += [*zip(x.member, dims, strict=False), (x.term, count)]
        else:
            slots = x.slots(dims, count).ravel()
        return Touch(slots, tuple((stride, n) for stride, n in moves if stride and n > 1))

    @property
    def low(self) -> int:
        return int(self.slots.min()) + sum(min(0, stride * (n - 1)) for stride, n in self.moves)

    @property
    def high(self) -> int:
        return int(self.slots.max()) + sum(max(0, stride * (n - 1)) for stride, n in self.moves)

    def size(self, modulo: int = 0) -> int:
        return self.slots.size * prod(n for stride, n in self.moves if not modulo or stride % modulo)

    def all(self, modulo: int = 0) -> Ints:
        """All slots, or all but those that are another one moved by a multiple of `modulo`."""
        slots = self.slots
        for stride, n in self.moves:
            if not modulo or stride % modulo:
                slots = (slots[:, None] + stride * np.arange(n)).ravel()
        return slots


class Touches:
    """Everything that a program touches, by the step that does."""

    def __init__(self, program: Program) -> None:
        self.found: list[tuple[int, str, Touch]] = []
        for step in program.steps():
            for instruction, rounds in counted(step):
                for x, count in (*instruction.operands(), (instruction.out, 1)):
                    if isinstance(x, Index):
                        self.found.append((id(step), x.space, Touch.of(x, instruction.dims, count, rounds)))
        for space in ("u", "v"):
            slots = program.results_in(space)
            if slots.size:
                self.found.append((0, space, Touch(slots, ())))

    def of(self, loop: Loop, space: str) -> list[Touch]:
        """What the other steps touch."""
        return [touch for step, where, touch in self.found if step != id(loop) and where == space]


def touched(touches: Iterable[Touch], columns: Ints, shift: int, count: int) -> tuple[Ints, Ints]:
    """Of each column, a slot that moves by `shift` in each of `count` rounds: whether any round but the last is
    touched, and whether the last one may be."""
    before, last = np.zeros(len(columns), dtype=bool), np.zeros(len(columns), dtype=bool)
    end = columns + shift * (count - 1)
    low, high = np.minimum(columns, end), np.maximum(columns, end)
    for touch in touches:
        near = (low <= touch.high) & (high >= touch.low)
        if not near.any():
            continue
        if touch.size() <= _EXACT:
            rounds, rest = np.divmod(distinct(touch.all().ravel()) - columns[near][:, None], shift)
            hit = (rest == 0) & (rounds >= 0)
            before[near] |= (hit & (rounds < count - 1)).any(axis=1)
            last[near] |= (hit & (rounds == count - 1)).any(axis=1)
            continue
        if touch.size(shift) > MOST_SLOTS:
            before |= near
            continue
        before |= near & np.isin(columns % shift, distinct((touch.all(shift) % shift).ravel()))
    return before, last
