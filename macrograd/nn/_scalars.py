"""Lists of scalars from whatever a caller has at hand."""

from __future__ import annotations

from typing import Any

from macrograd.vector import Vector


def as_list(x: Any) -> list[Any]:
    """The scalars of `x` in order: of a list, a tuple, a NumPy row, or of one single scalar."""
    if isinstance(x, list):
        return x
    if isinstance(x, Vector):
        return x._items
    if hasattr(x, "tolist"):  # of NumPy's arrays and scalars: Python floats compute faster than NumPy's scalars
        x = x.tolist()
    try:
        return list(x)
    except TypeError:
        return [x]
