"""Scalars of a loop that live in registers alone: nothing reads them from memory, so they are not written to it.

Only slots that a loop writes again in every round are looked at (`Program.reused`); any others may be read by whoever
asks for results.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from macrograd.compiler.program.program import Index, Instruction, Loop, Program, counted
from macrograd.compiler.tape.tape import distinct

_FEW_TERMS, _FEW_ROLLED = 4, 2  # of a sum: up to this many are written out, in any code and in rolled code

Readers = dict[int, set[int]]  # by slot of u, the steps of the program that read it


def readers_of_reused(program: Program) -> Readers:
    """The steps, by id, that read each slot of u that a loop writes again."""
    found: Readers = {slot: set() for space, a, b in program.reused if space == "u" for slot in range(a, b)}
    low, high = min(found, default=0), max(found, default=-1)
    if not found:
        return found
    for slot in program.results_in("u").tolist():
        if slot in found:
            found[slot].add(0)
    for step in program.steps():
        for instruction, rounds in counted(step):
            for x, count in instruction.operands():
                if not isinstance(x, Index) or x.space != "u":
                    continue
                for slot in _slots(x, instruction.dims, count, rounds, low, high):
                    if slot in found:
                        found[slot].add(id(step))
    return found


def held(loop: Loop, readers: Readers, single: Callable[[Instruction], bool], *, rolled: bool = False) -> set[int]:
    """The slots that only instructions of one of the outermost loops touch in it, each written by one of them, and all
    `single`: written out scalar by scalar, and so in registers. Of sums, `rolled` code writes out fewer terms."""
    if not readers:
        return set()
    few = _FEW_ROLLED if rolled else _FEW_TERMS
    low, high = min(readers), max(readers)
    writers: dict[int, int] = {}
    other: set[int] = set()
    for instruction, rounds in counted(loop):
        inside = len(rounds) == 1 and single(instruction)
        for x, count in (*instruction.operands(), (instruction.out, 1)):
            if not isinstance(x, Index) or x.space != "u":
                continue
            alone = inside and count <= few and not any(x.shifts)
            if alone and x is not instruction.out:
                continue
            slots = [slot for slot in _slots(x, instruction.dims, count, rounds, low, high) if slot in readers]
            if not alone:
                other.update(slots)
                continue
            for slot in slots:
                writers[slot] = writers.get(slot, 0) + 1
    return {slot for slot, n in writers.items() if n == 1 and slot not in other}


def _slots(x: Index, dims: tuple[int, ...], count: int, rounds: tuple[int, ...], low: int, high: int) -> list[int]:
    """The slots from `low` to `high` that an operand touches in all rounds."""
    slots = x.slots(dims, count).ravel()
    reach = sum(abs(shift) * (n - 1) for shift, n in zip(x.shifts, rounds, strict=True))
    if slots.max() + reach < low or slots.min() - reach > high:
        return []
    for shift, n in zip(x.shifts, rounds, strict=True):
        slots = (slots[:, None] + shift * np.arange(n if shift else 1)).ravel()
    found: list[int] = distinct(slots[(slots >= low) & (slots <= high)]).tolist()
    return found
