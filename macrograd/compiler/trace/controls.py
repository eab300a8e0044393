"""What became of the loops and branches of a function."""

from __future__ import annotations

from macrograd._dataclass import dataclass
from macrograd.compiler.trace.sections import Plan


@dataclass(frozen=True)
class Control:
    """A loop or a branch.

    what     "loop", "while_loop", "implicit" or "branch"
    where    the function that it calls
    written  how many of its `count` rounds stand on the tape, if it has no `plan` for sections
    """

    what: str
    where: str
    count: int
    written: int
    plan: Plan | None
