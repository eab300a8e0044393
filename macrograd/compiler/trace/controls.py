"""What became of the loops and branches of a function, and of what it calls of this package."""

from __future__ import annotations

from macrograd._dataclass import dataclass
from macrograd.compiler.trace.sections import Plan


@dataclass(frozen=True)
class Control:
    """A loop or a branch.

    what     "loop", "while_loop", "implicit" or "branch"; one that is done again, with its rounds at the end, "… again"
    where    the function that it calls
    written  how many of its `count` rounds stand on the tape, if it has no `plan` for sections
    """

    what: str
    where: str
    count: int
    written: int
    plan: Plan | None


@dataclass(frozen=True)
class Written:
    """A call of `linalg`, `random` or `custom`, whose operations were recorded like the function's own.

    what     the call and what it was given
    where    the line that calls it; empty if `what` says it
    scalars  how many there are, constants included, before any derivative; 0 if, as for constants, nothing is left to
             compute
    """

    what: str
    where: str
    scalars: int
