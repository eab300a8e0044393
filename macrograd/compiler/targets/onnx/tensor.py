"""Axes of values: a value of space u is [slots], one of space v [samples, slots]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.targets.onnx.graph import Graph

Slots = NDArray[Any]  # integers


def slot_axis(space: str) -> int:
    return 1 if space == "v" else 0


def slice_axis(graph: Graph, name: str, first: int, last: int, step: int, axis: int) -> str:
    """The elements from `first` to `last` of an axis."""
    end = last + 1 if step > 0 else last - 1 if last else np.iinfo(np.int64).min
    return graph.call("Slice", name, *map(graph.integers, (first, end, axis, step)))
