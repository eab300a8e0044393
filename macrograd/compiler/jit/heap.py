"""Memory that the C library keeps of freed arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


def give_back() -> None:
    """Give the system the pages that are free between what is in use; only the GNU C library can. It would otherwise
    keep the most that a long tape's passes ever took, beside what the program then takes to run."""
    if (trim := trimmer()) is not None:
        trim(0)


@cache
def trimmer() -> Callable[[int], Any] | None:
    try:
        import ctypes

        return ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, AttributeError, TypeError):
        return None
