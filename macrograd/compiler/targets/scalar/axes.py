"""The SIMD axis of instructions outside of blocks."""

from __future__ import annotations

from macrograd.compiler.program.program import Index, Instruction
from macrograd.compiler.targets.scalar.machine import Machine

FEW = 8  # up to this many terms or members are unrolled


def axis_of(instruction: Instruction, machine: Machine) -> str:
    """The axis of a vector: member, term, or none."""
    operands = [x for x, _ in instruction.operands() if isinstance(x, Index)]
    strides = (0, 1) if machine.scalable else (-1, 0, 1)
    along = [instruction.out, *operands]
    if (
        instruction.dims[-1] > 1
        and instruction.out.member[-1] == 1
        and all(x.full is None and x.member[-1] in strides for x in along)
        and all(x.members is None or x.members.shape[-1] == 1 for x in along)
    ):
        return "member"
    if (
        instruction.kind == "dot"
        and not machine.strict
        and max(segment.count for segment in instruction.segments) >= FEW
        and all(x.terms is None and x.full is None for x in operands)
        and all(
            segment.count == 1 or x.term in (0, 1)
            for segment in instruction.segments
            for x in (segment.left, segment.right)
            if isinstance(x, Index)
        )
    ):
        return "term"
    return "none"
