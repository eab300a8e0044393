"""Recognising real numbers, and the errors for anything else."""

from __future__ import annotations

import sys
from numbers import Real
from typing import Any, NoReturn

from macrograd.rows.op import too_large


def is_number(x: Any) -> bool:
    """Whether x is a real number: of Python, or a scalar of NumPy, which is not imported for this."""
    return isinstance(x, (float, Real)) or _is_scalar_array(x)


def _is_scalar_array(x: Any) -> bool:
    if getattr(x, "shape", None) != () or getattr(getattr(x, "dtype", None), "kind", "") not in "biuf":
        return False
    return not getattr(x, "mask", False)  # NumPy's `masked` is no number, and float() makes NaN of it


def real(where: str, number: Any) -> float:
    """A real number as a float. Raises TypeError for anything else and OverflowError for an integer beyond the floats,
    naming `where` it was given."""
    if not is_number(number):
        raise TypeError(f"{where} takes one real number, got {number!r} of type {type(number).__name__}")
    try:
        return float(number)
    except OverflowError:
        raise too_large(where, number) from None


def check_unmasked(name: str, x: Any) -> None:
    """Raise ValueError for a masked array of NumPy with elements that are masked: they are missing, and what is stored
    in their places, which `np.asarray` would take, is no number of the caller's. A list may have such rows."""
    masked = sys.modules.get("numpy.ma")  # loading it takes long, and without it there are none
    if masked is None:
        return
    if x.__class__ is list or x.__class__ is tuple:
        if x and hasattr(x[0], "dtype") and x[0].shape:  # rows of arrays: among numbers, masked ones become NaN
            for row, each in enumerate(x):
                check_unmasked(f"{name}[{row}]", each)
        return
    if not isinstance(x, masked.MaskedArray) or x.dtype.names or not masked.is_masked(x):
        return
    place = [int(axis[0]) for axis in masked.getmaskarray(x).nonzero()]
    raise ValueError(
        f"{name} is masked at {place}, so there is no number: fill it in, as in array.filled(0.0), or leave its row out"
    )


def not_mine(x: Any) -> Any:
    """NotImplemented, so that Python names both types; a TypeError with the remedy for an array or a list."""
    if getattr(x, "shape", ()):
        raise TypeError(
            f"a Value is one number and has no arithmetic with an array of shape {tuple(x.shape)}: "
            "loop over the elements, as in [value * x for x in array.tolist()]"
        )
    if x.__class__ is list or x.__class__ is tuple:  # a class derived from them may know what to do
        raise TypeError(
            f"a Value is one number and has no arithmetic with a {type(x).__name__} of {len(x)}: "
            "loop over the elements, as in [value * x for x in xs]"
        )
    return NotImplemented


def refuse_step(name: str, example: str) -> NoReturn:
    """Raise TypeError for an operator that jumps, such as //."""
    raise TypeError(
        f"{name} is not supported on Value: it is not differentiable; apply it to plain numbers, as in {example}, or "
        "write the pieces with mg.where(condition, a, b)"
    )
