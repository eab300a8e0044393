"""Programs that are equal but for numbers: one program that reads these, and the numbers of each.

A constant that differs keeps its slot of u. A number that stands in an instruction gets a slot of its own, after all
others of u.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand, Step
from macrograd.compiler.program.nets import Different
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.program.walk import Walker, loop_of


@dataclass(frozen=True)
class Merged:
    """The program, the slots of u that each reads for itself, and their numbers, (programs, slots)."""

    program: Program
    slots: tuple[int, ...]
    numbers: NDArray[np.float64]


def merged(programs: Sequence[Program]) -> Merged:
    """One program for all of these. Raises Different if they differ in more than numbers."""
    first = programs[0]
    if len(programs) == 1:
        return Merged(first, (), np.empty((1, 0)))
    found = [_numbers(program) for program in programs]
    if any(len(x) != len(found[0]) for x in found) or any(
        (p.uniform, len(p.constants)) != (first.uniform, len(first.constants)) for p in programs
    ):
        raise Different("programs that differ in more than numbers")
    literals, constants = np.array(found), np.array([program.constants for program in programs])
    chosen, own = _differing(literals), _differing(constants)
    slots = {int(k): first.uniform + j for j, k in enumerate(chosen)}
    blank = [
        replace(_Replacing(slots).program(program), constants=first.constants, uniform=first.uniform + len(slots))
        for program in programs
    ]
    if len({program.fingerprint() for program in blank}) > 1:
        raise Different("programs that differ in more than numbers")
    return Merged(
        blank[0],
        (*(first.parameters + int(k) for k in own), *slots.values()),
        np.hstack([constants[:, own], literals[:, chosen]]),
    )


def _differing(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """The columns that are not the same in all rows, bit for bit."""
    bits = rows.view(np.int64) if rows.size else np.zeros(rows.shape, np.int64)
    return np.flatnonzero((bits != bits[:1]).any(axis=0))


def _numbers(program: Program) -> list[float]:
    """The numbers that stand in the instructions, in the order of the walk."""
    seen: list[float] = []

    def note(x: float) -> float:
        seen.append(x)
        return x

    _Renumbering(note).program(program)
    return seen


class _Renumbering(Walker[Step]):
    """Puts another operand in the place of every number that stands in an instruction."""

    def __init__(self, put: Callable[[float], Operand]) -> None:
        self.put = put
        self.dims: tuple[int, ...] = ()
        self.rounds = 0

    def program(self, program: Program) -> Program:
        """The program with other operands."""
        phases = {name: tuple(self.step(step) for step in steps) for name, steps in program.phases()}
        return replace(program, before=phases["before"], block=phases["block"], after=phases["after"])

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> Step:
        self.dims, self.rounds = instruction.dims, len(around)
        return instruction.mapped(lambda x, _: x, self.put)

    def loop(self, loop: Loop, around: tuple[int, ...]) -> Step:
        body = [self.step(step, (*around, loop.count)) for step in loop.body]
        return loop_of(loop.count, body, loop.guard)

    def stream(self, stream: Stream, around: tuple[int, ...]) -> Step:
        return stream


class _Replacing(_Renumbering):
    """Puts slots of u in the places of some numbers, counted in the order of the walk."""

    def __init__(self, slots: dict[int, int]) -> None:
        super().__init__(self._slot)
        self._slots, self._count = slots, 0

    def _slot(self, x: float) -> Operand:
        slot = self._slots.get(self._count)
        self._count += 1
        return x if slot is None else Index("u", slot, (0,) * len(self.dims), shifts=(0,) * self.rounds)
