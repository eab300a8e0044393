"""The programs of many nets as their code needs them: what is told before a text is written, without what writes it.

With one sample the gradient of a weight is one product of an input and an adjoint. Keeping those of all parameters
takes as much memory as the parameters, and both together are more than the nearest cache holds; computing a product
takes no longer than loading it. So no gradient is stored then: all are computed once to see whether they are finite,
and again for the update.
"""

from __future__ import annotations

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Index, Instruction, Program, Step

_FEW_VALUES = 128  # of an update rule, all in registers
_FEW_TERMS = 4  # of a segment at most: they are unrolled
_MOST_TERMS = 2  # with the 0 at which strict sums begin


def update_fits(program: Program) -> bool:
    """Whether an update rule is short and plain enough to run with all its values in registers."""
    steps = (*program.before, *program.block)
    return (
        program.batch
        and not program.after
        and all(isinstance(step, Instruction) and step.kind in ("map", "dot") for step in steps)
        and all(s.count <= _FEW_TERMS for i in program.instructions() for s in i.segments)
        and sum(i.members * max(1, i.terms) for i in program.instructions()) <= _FEW_VALUES
    )


@dataclass(frozen=True)
class Clip:
    """How to clip gradients: the program that measures them (see `Parts`), and the largest norm."""

    measure: Program
    norm: float


@dataclass(frozen=True, eq=False)  # the same only if it is the same object
class Products:
    """A program over nets without its gradients, and the instructions that compute these, the first in slot `first`."""

    steps: tuple[Step, ...]
    gradients: tuple[Instruction, ...]
    first: int

    def __str__(self) -> str:
        return "\n".join(map(str, self.gradients))


def products(over: Program, first: int, count: int) -> Products | None:
    """The parts of a program over nets whose parameters are the first `count` slots, if each gradient is a product that
    does not read a parameter, and nothing but the update reads it; otherwise None."""
    steps: list[Step] = []
    gradients: list[Instruction] = []
    for step in over.block:
        (gradients if _makes(step, first, count) else steps).append(step)  # type: ignore[arg-type]  # `_makes` knows
    made = [gradient.out.slots(gradient.dims, 1).ravel() for gradient in gradients]
    if not made or not np.array_equal(np.sort(np.concatenate(made)), np.arange(first, first + count)):
        return None
    if not all(_simple(gradient, first, count) for gradient in gradients):
        return None
    return Products(tuple(steps), tuple(gradients), first)


def _makes(step: Step, first: int, count: int) -> bool:
    if not isinstance(step, Instruction) or step.kind != "dot":
        return False
    slots = step.out.slots(step.dims, 1)
    return bool(slots.min() >= first and slots.max() < first + count)


def _simple(gradient: Instruction, first: int, count: int) -> bool:
    """Whether it is a product of slots in a pattern, none of which is a parameter or a gradient."""
    if sum(segment.count for segment in gradient.segments) > _MOST_TERMS or not gradient.out.affine:
        return False
    for x, terms in gradient.operands():
        if isinstance(x, Index):
            slots = x.slots(gradient.dims, terms)
            if not x.affine or slots.min() < count or bool(((slots >= first) & (slots < first + count)).any()):
                return False
    return True
