"""What an argument of a native function is to it: numbers that it reads, numbers that it writes, or the addresses of
objects that hold floats."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

GIVEN, RESULT, OBJECTS = range(3)
Buffer = tuple[NDArray[Any], int]  # where the numbers of an argument go, or come from; and what it is
