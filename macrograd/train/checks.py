"""Checks of arguments that several classes share."""

from __future__ import annotations

from typing import Any


def integer(name: str, given: Any, least: int, also: str = "") -> int:
    """The argument as an int. Raises ValueError if it is not an integer of at least `least`; `also` is what else the
    argument may be, for the message: "'auto' or "."""
    if isinstance(given, bool) or not hasattr(given, "__index__") or given.__index__() < least:
        raise ValueError(f"{name} must be {also}an integer of at least {least}, got {given!r}")
    return int(given.__index__())
