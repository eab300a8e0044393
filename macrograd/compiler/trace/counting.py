"""The round number of a loop while its body is traced: it stands for all rounds, and so is not an integer.

Python asks an integer for more than arithmetic: a list for its index, a dict for its hash, an f-string for its digits.
An answer would be that of one round. Each of these is refused, and the error names what to write instead.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from macrograd.compiler.trace.refusals import PACKAGE, refuse

_INSTEAD = """the body is traced once for all rounds, and its round number has no value then. Write
    mg.take(values, i)              for values[i], of a list, an array or a Vector; values.get(i, …) likewise
    mg.mod(i, 7), mg.floor(i / 7)   for i % 7 and i // 7
    mg.where(i < 10, a, b)          for a if i < 10 else b, and for any other choice by the round"""


class Counting:
    """Everything by which Python would treat a round number as an integer; mixed into a traced value. Raises
    TraceError."""

    __slots__ = ()

    def _not(self, what: str, *_: Any) -> NoReturn:
        refuse(f"the round number of a loop was used as an integer ({what})", _INSTEAD)

    def __index__(self) -> int:
        self._not("values[i], range(i) or a slice")

    def __int__(self) -> int:
        self._not("int(i)")

    def __float__(self) -> float:
        self._not("float(i)")

    def __bool__(self) -> bool:
        self._not("a branch: if, while, and, or, not, max, min, sorted")

    def __round__(self, ndigits: int | None = None) -> int:
        self._not("round(i)")

    def __str__(self) -> str:
        self._not("str(i); repr(i) describes it")

    def __format__(self, spec: str) -> str:
        self._not("an f-string or format()")

    def __eq__(self, other: object) -> bool:
        if other is self or not isinstance(other, (int, float)):
            return other is self
        self._not("i == … or i in …")

    def __hash__(self) -> int:
        if not sys._getframe(1).f_code.co_filename.startswith(PACKAGE):  # a set of this package is one of objects
            self._not("the key of a dict, or an element of a set")
        return object.__hash__(self)

    def __mod__(self, other: Any) -> NoReturn:
        self._not("i % …")

    def __floordiv__(self, other: Any) -> NoReturn:
        self._not("i // …")

    def __and__(self, other: Any) -> NoReturn:
        self._not("i & …, i | …, i ^ …, i << … or i >> …")

    __divmod__ = __rmod__ = __rdivmod__ = __mod__
    __rfloordiv__ = __floordiv__
    __or__ = __xor__ = __lshift__ = __rshift__ = __rand__ = __ror__ = __rxor__ = __rlshift__ = __rrshift__ = __and__
