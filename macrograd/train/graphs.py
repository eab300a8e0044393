"""Graphs of Values in a training run: without the garbage collector, and their numbers."""

from __future__ import annotations

from typing import Any

from macrograd._collector import no_collection as no_collection
from macrograd.vector import Vector


def plain(output: Any) -> Any:
    """A net's output as a float, or a list of floats."""
    return [float(x) for x in output] if isinstance(output, (list, Vector)) else float(output)
