"""Lists of scalars from any kind of input."""

from __future__ import annotations

from typing import Any

from macrograd.vector import Vector


def as_list(x: Any) -> list[Any]:
    """The scalars of `x` in order; x is a list, a tuple, a NumPy row or a single scalar."""
    if isinstance(x, list):
        return x
    if isinstance(x, Vector):
        return x._items
    if hasattr(x, "tolist"):  # NumPy arrays and scalars: Python floats compute faster than NumPy scalars
        x = x.tolist()
    try:
        return list(x)
    except TypeError:
        return [x]
