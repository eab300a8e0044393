"""Who interprets the operations of a program on Values.

Most often nobody does but the Values themselves: each computes its number as it is made. That is the eager engine. For
a while an interpreter can be in charge beside it (`macrograd.value.interpreted`), which is told of every Value that is
made and of every number that is taken out of one or written to one:

    a trace     lists the operations for the compiler, and forbids to look at numbers that each call has its own of
                (`macrograd.compiler.trace`)
    a replay    notes the line that asked for each operation, to name the one that gave the first NaN
                (`macrograd.replay`; `macrograd.train.diagnose`, `macrograd.reasons`)

No interpreter writes Python's operators again. What has no number at all, as the arguments of a trace, is a class of
Values that says what an operation on it makes: `_apply`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Interpreter:
    """What is asked of an interpreter; this one lets everything happen and notes nothing."""

    #: (class) → an empty Value for the result of an operation, or for a number that took part in one
    new: Callable[[Any], Any] = staticmethod(object.__new__)

    def leaf(self, value: Any) -> None:
        """A leaf was made."""

    def depends(self, value: Any) -> bool:
        """Whether the number of the Value is another in each run of the program."""
        return False

    def known(self, value: Any) -> float | None:
        """The number of the Value, for the rules of choices; None where a program must not keep it."""
        number: float = value._data
        return number

    def look(self, value: Any, what: str) -> None:
        """Its number is about to become Python's; `what` says by what, with {} for the Value. May raise."""

    def write(self, value: Any) -> None:
        """Its number is about to be set. May raise."""
