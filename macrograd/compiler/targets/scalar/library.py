"""Sums of products of a block by functions that are compiled before (`Library`), in rolled code.

They are written to where they belong: uniform numbers first, such as a bias, to which products are added. So no vector
is in the text of a layer of a net.
"""

from __future__ import annotations

from macrograd.compiler.program.program import Index, Instruction
from macrograd.compiler.targets.scalar.access import SCALAR, Member, Operands, SimdVector
from macrograd.compiler.targets.scalar.fuse import span
from macrograd.compiler.targets.scalar.inside import Computed
from macrograd.compiler.targets.scalar.values import Values

Products = tuple[Index, Index, int]  # the uniform and the varying operand, and how many


def library_products(at: Operands, instruction: Instruction) -> list[Products]:
    """The last products of the sums of a block, if the library knows them and all before them are uniform; none if it
    does not."""
    known: list[Products] = []
    if at.library is None or at.axis != "lane":
        return known
    for segment in instruction.segments:
        found = {x.space: x for x in (segment.left, segment.right) if isinstance(x, Index)}
        products = len(found) == 2 and all(x.affine and not isinstance(x, Computed) for x in found.values())
        if not products and (known or "v" in found or segment.count > 1):
            return []
        if products:
            known.append((found["u"], found["v"], segment.count))
    if not _apart(instruction, known):
        return []
    return known


def _apart(instruction: Instruction, known: list[Products]) -> bool:
    """Whether none of the results is in the place of an operand."""
    once = (1,) * len(instruction.out.shifts)  # the loops around run in step
    low, high, shifts, *_ = span(instruction.out, instruction.dims, 1, once)
    for _, x, count in known:
        first, last, moves, *_ = span(x, instruction.dims, count, once)
        if moves != shifts or (first <= high and low <= last):
            return False
    return True


def by_library(
    values: Values, instruction: Instruction, known: list[Products], member: Member, vectors: list[SimdVector]
) -> None:
    """The sums of a member, written where they belong: those of uniform numbers, and products that are added."""
    code, library, start = values.code, values.at.library, vectors[0].start
    assert library is not None
    place = values.at.address(instruction.out, member, 0, 1, start)
    total: str | None = None
    for segment in instruction.segments[: len(instruction.segments) - len(known)]:
        total = values.accumulate(total, *values.pair(segment, member, 0, SCALAR), 1)
    # −0 and a product are the product, whatever its sign.
    library.fill(place, code.splat(-0.0, 1) if total is None else total, len(vectors))
    for numbers, varying, count in known:
        a = values.at.address(numbers, member, 0, count, None)
        b = values.at.address(varying, member, 0, count, start)
        stride = varying.term * values.machine.lanes
        library.add_products(place, a, numbers.term, b, stride, count, len(vectors))
    values.at.cache = {}
