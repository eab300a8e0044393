"""Scalars of a loop that live in registers alone: nothing reads them from memory, so they are not written to it.

Only slots that a loop writes again in every round are looked at (`Program.reused`); any others may be read by whoever
asks for results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.program.program import Index, Instruction, Loop, Program, counted
from macrograd.compiler.tape.tape import Ints, distinct

_FEW_TERMS, _FEW_ROLLED = 4, 2  # of a sum: up to this many are written out, in any code and in rolled code
_NOBODY, _SEVERAL, _RESULT = 0, -1, -2


class Readers:
    """Which steps of a program read the slots of u that a loop writes again; there may be millions of these."""

    def __init__(self, program: Program) -> None:
        ranges = [(a, b) for space, a, b in program.reused if space == "u"]
        self.first, self.end = min([a for a, _ in ranges], default=0), max([b for _, b in ranges], default=0)
        self._again = np.zeros(self.end - self.first, dtype=bool)
        self._by = np.zeros(self.end - self.first, dtype=np.int32)  # _NOBODY, the number of a step, or _SEVERAL
        for a, b in ranges:
            self._again[a - self.first : b - self.first] = True
        self._number = {id(step): k for k, step in enumerate(program.steps(), 1)}
        if not ranges:
            return
        results = program.results_in("u")
        self._note(results[(results >= self.first) & (results < self.end)], _RESULT)
        for step in program.steps():
            for instruction, rounds in counted(step):
                for x, count in instruction.operands():
                    if isinstance(x, Index) and x.space == "u":
                        self._note(self.touched(x, instruction.dims, count, rounds), self._number[id(step)])

    def __bool__(self) -> bool:
        return self.end > self.first

    def _note(self, slots: Ints, reader: int) -> None:
        at = slots - self.first
        before = self._by[at]
        self._by[at] = np.where((before == _NOBODY) | (before == reader), reader, _SEVERAL)

    def beside(self, slot: int, step: Any) -> bool:
        """Whether anything but this step reads one of these slots."""
        by = int(self._by[slot - self.first])
        return by not in (_NOBODY, self._number.get(id(step)))

    def touched(self, x: Index, dims: tuple[int, ...], count: int, rounds: tuple[int, ...]) -> Ints:
        """The slots among these that an operand touches in all rounds, each once."""
        slots = x.slots(dims, count).ravel()
        if len(slots) == 1 and not any(x.shifts):
            return slots if self.first <= slots[0] < self.end and self._again[slots[0] - self.first] else slots[:0]
        reach = sum(abs(shift) * (n - 1) for shift, n in zip(x.shifts, rounds, strict=True))
        if slots.max() + reach < self.first or slots.min() - reach >= self.end:
            return np.empty(0, dtype=np.int64)
        for shift, n in zip(x.shifts, rounds, strict=True):
            slots = (slots[:, None] + shift * np.arange(n if shift else 1)).ravel()
        slots = slots[(slots >= self.first) & (slots < self.end)]
        found: NDArray[np.int64] = distinct(slots[self._again[slots - self.first]])
        return found


def held(loop: Loop, readers: Readers, single: Callable[[Instruction], bool], *, rolled: bool = False) -> set[int]:
    """The slots that only instructions of one of the outermost loops touch in it, each written by one of them, and all
    `single`: written out scalar by scalar, and so in registers. Of sums, `rolled` code writes out fewer terms."""
    if not readers:
        return set()
    few = _FEW_ROLLED if rolled else _FEW_TERMS
    written: list[Ints] = []
    other: list[Ints] = []
    for instruction, rounds in counted(loop):
        inside = len(rounds) == 1 and single(instruction)
        for x, count in (*instruction.operands(), (instruction.out, 1)):
            if not isinstance(x, Index) or x.space != "u":
                continue
            alone = inside and count <= few and not any(x.shifts)
            if not alone:
                other.append(readers.touched(x, instruction.dims, count, rounds))
            elif x is instruction.out:
                written.append(readers.touched(x, instruction.dims, count, rounds))
    if not written:
        return set()
    slots, times = np.unique(np.concatenate(written), return_counts=True)
    slots = slots[times == 1]
    return set(np.setdiff1d(slots, np.concatenate(other)).tolist() if other else slots.tolist())
