"""What an argument of a native function is to it: numbers that it reads, numbers that it writes, or the addresses of
objects that hold floats."""

from __future__ import annotations

import ctypes
from typing import Any

from numpy.typing import NDArray

GIVEN, RESULT, OBJECTS = range(3)
Buffer = tuple[NDArray[Any], int]  # where the numbers of an argument go, or come from; and what it is


def address_of(array: Any) -> int:
    """The address of an array's numbers. `array.ctypes` takes five times as long, and is used only for read-only
    arrays."""
    if array.flags.writeable and array.size:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    address: int = array.ctypes.data
    return address
