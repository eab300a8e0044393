"""Graphs of Values in a training run: without the garbage collector, and their numbers."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from macrograd.vector import Vector


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Disables the cyclic garbage collector: graphs of Values have no cycles, and searching for them takes a third of a
    step.

    Reference counting frees a step's graph with its last reference; other cycles are collected between steps.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def plain(output: Any) -> Any:
    """A net's output as a float, or a list of floats."""
    return [float(x) for x in output] if isinstance(output, (list, Vector)) else float(output)
