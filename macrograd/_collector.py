"""Work without Python's cyclic garbage collector."""

from __future__ import annotations

import contextlib
import gc
import os
from _thread import get_ident
from collections.abc import Iterator

_off_for: int | None = None  # the thread that disabled it


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Disables the collector: graphs of Values and traces have no cycles, and searching for them takes a third of a
    step.

    Reference counting frees what is made with its last reference; other cycles are collected afterwards.
    """
    global _off_for
    was_on = gc.isenabled()
    gc.disable()
    if was_on:
        _off_for = get_ident()
    try:
        yield
    finally:
        if was_on:
            _off_for = None
            gc.enable()


def _forked() -> None:
    """A child has only the thread that forked: no other would enable the collector again."""
    global _off_for
    if _off_for is not None and _off_for != get_ident():
        _off_for = None
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
