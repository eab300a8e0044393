"""What the calls of a program call, as `macrograd.compiler.sections` describes it.

An instruction whose code is `CALLS - k` makes call k, which stands for all sections of a loop; one with the code `OUT`
is a result of it. `link.py` puts loops in their place, so no target ever sees a call.
"""

from __future__ import annotations

from collections.abc import Callable

from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Program

CALLS = -1000  # the code of the instruction that makes call k is CALLS - k


@dataclass(frozen=True)
class Read:
    """Elements read by the sections: numbers that the program holds from `numbers`, scalars of arguments from place
    `given`, of those that are the same for all samples or not (`same`), or `operands` of the call."""

    step: int
    operands: int
    numbers: int | None = None
    given: int | None = None
    same: bool = False


@dataclass(frozen=True)
class Row:
    """Numbers that a section has a row of: their width, the call that fills the rows, and their number there."""

    width: int
    call: int
    number: int


@dataclass(frozen=True)
class Call:
    """A call, as all its sections: `count` of `rounds` rounds, the first of which is number `head` of its loop.

    program    of one section, with the inputs: carry, what varies from outside, rows, the numbers of the rounds, the
               elements read. What does not vary from outside are its parameters. Its results: carry, what its rounds
               put out, and the rows that it fills besides the carry before each section
    carry      how many numbers the sections hand on; `outside` how many come from outside
    outs       kinds of numbers that its rounds put out
    fills      the widths of the rows that it fills
    backwards  whether the sections run from the last to the first
    counted    whether its rounds have numbers; a branch is one round without
    guard      where the number is that is 0 if a section changes nothing: a row, or -1 for the carry, and its place
               there
    groups     the sizes of groups of sections, the innermost first: only the first section of an outermost one
               keeps its carry
    """

    program: Program
    number: int
    carry: int
    outside: int
    rounds: int
    count: int
    head: int
    reads: tuple[Read, ...]
    rows: tuple[Row, ...]
    outs: int
    fills: tuple[int, ...]
    backwards: bool
    counted: bool
    guard: tuple[int, int] | None
    groups: tuple[int, ...] = ()

    @property
    def results(self) -> int:
        return self.carry + self.outs * self.rounds * self.count


Find = Callable[[int, list[bool] | None], Call]
