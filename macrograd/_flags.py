"""The check of switches in public calls."""

from __future__ import annotations

from typing import Any


def flag(call: str, name: str, given: Any) -> bool:
    """A switch, as given in a call. Raises ValueError for what is not True or False: "no" would count as true."""
    scalar = getattr(given, "shape", None) == () and getattr(getattr(given, "dtype", None), "kind", "") == "b"
    if isinstance(given, bool) or scalar:  # of Python or of NumPy, which is not imported for this
        return bool(given)
    raise ValueError(f"{call}({name}={given!r}): {name} must be True or False")
