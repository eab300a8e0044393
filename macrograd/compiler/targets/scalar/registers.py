"""Update rules in registers: a block of a few operations, whose varying slots are names instead of memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from macrograd.compiler.program.program import SUMS_OF_BATCH, Index, Instruction, Operand, Program
from macrograd.compiler.program.walk import in_rows
from macrograd.compiler.targets.scalar.access import AffineCounter, Member, Operands, SimdVector, Tables
from macrograd.compiler.targets.scalar.code import Code, Counter
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.maps import Maps

_FEW_TERMS = 4  # of a segment: up to this many are unrolled
_FEW_VALUES = 96


def fits(program: Program) -> bool:
    """Whether the block is short enough to keep all its values in registers."""
    return (
        program.batch
        and len(plain(program)) == len(program.block)
        and all(i.kind in ("map", "dot", "reduce") for i in plain(program))
        and all(s.count <= _FEW_TERMS for i in program.instructions() for s in i.segments)
        and sum(i.members * max(1, i.terms) for i in program.instructions()) <= _FEW_VALUES
    )


def plain(program: Program) -> tuple[Instruction, ...]:
    """The instructions of the block before its first loop or stream."""
    return next((row for row, _ in in_rows(program.block)), ())


class Registers(Operands):
    """Slots as names. Only uniform numbers are in memory, and these are read once."""

    def __init__(self, code: Code, machine: Machine, program: Program, results: Iterable[tuple[str, int]]) -> None:
        super().__init__(code, machine, Tables())
        self.axis = "lane"
        self.values: dict[int, str] = {}
        self.sums: dict[int, str] = {}  # of this vector's samples, element by element
        self.uniform = {
            slot: code.broadcast(code.load(code.element("%u", str(slot)), 1), machine.width)
            for slot in _uniform(program, results)
        }
        self.instructions = plain(program)

    def load(self, x: Operand, member: Member, term: Counter, count: int, vector: SimdVector) -> str:
        if isinstance(x, float):
            return self.code.splat(x, vector.width)
        slot, moving = self.slot(x, member, term, count)
        assert not moving
        return self.uniform[slot] if x.space == "u" else self.values[slot]

    def result(self, value: str, instruction: Instruction, member: Member, vector: SimdVector) -> None:
        slot, _ = self.slot(instruction.out, member, 0, 1)
        (self.sums if instruction.kind in SUMS_OF_BATCH else self.values)[slot] = value

    def run(self, inputs: Sequence[str]) -> None:
        """Write the block for one vector of samples."""
        width, maps = self.machine.width, Maps(self, np.zeros(0, dtype=np.int64))
        self.values = dict(enumerate(inputs))
        vector = SimdVector(AffineCounter(0, 0, 0), width, width)
        for instruction in self.instructions:
            self.dims = instruction.dims
            members = [tuple(AffineCounter(0, 0, c) for c in counters) for counters in np.ndindex(*instruction.dims)]
            body = maps.map if instruction.kind == "map" else maps.sums.dot
            body(instruction, members, [vector])

    def value(self, space: str, slot: int) -> str:
        """The name of a result."""
        return self.uniform[slot] if space == "u" else self.values[slot]


def _uniform(program: Program, results: Iterable[tuple[str, int]]) -> list[int]:
    """The slots of u that the block reads or that are results."""
    found = {slot for space, slot in results if space == "u"}
    for instruction in plain(program):
        for x, count in instruction.operands():
            if isinstance(x, Index) and x.space == "u":
                found |= set(x.slots(instruction.dims, count).ravel().tolist())
    return sorted(found)
