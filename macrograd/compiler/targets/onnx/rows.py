"""Slots that move by a constant along an axis, such as the rounds of a loop or the terms of a sum: read as rows.

A table of places would grow with the axis. If the places move by a constant, too, the source is cut into rows of that
length, and the same elements are taken from each row.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.targets.onnx.graph import Graph
from macrograd.compiler.targets.onnx.tensor import Slots, slice_axis, slot_axis

_LEAST = 16  # rows that make it worthwhile
_MOST = 8  # pieces in a set of rows


@dataclass(frozen=True)
class Piece:
    """`count` rows of elements of one source: which elements, their places in the first row, and how far these move
    from row to row."""

    source: int
    which: Slots
    at: Slots
    step: int
    count: int

    def windows(self, length: int) -> list[tuple[Slots, int]] | None:
        """The elements grouped by the row of `step` numbers that they lie in, and where the lowest row begins; None if
        these rows reach outside the source."""
        size = abs(self.step)
        if not size:
            return None
        low = self.at if self.step > 0 else self.at + (self.count - 1) * self.step
        found = []
        number = (low - low.min()) // size
        for k in sorted(set(number.tolist())):
            which = np.flatnonzero(number == k)
            start = int(low.min()) + k * size
            back = max(0, start + self.count * size - length)
            if back > start or int(low[which].max()) - start + back >= size:
                return None
            found.append((which, start - back))
        return found if len(found) <= _MOST else None


def axes_of(slots: Slots) -> Iterator[int]:
    """Axes along which slots move by a constant, the longest first."""
    for axis in sorted(range(slots.ndim), key=lambda k: -slots.shape[k]):
        if slots.shape[axis] < _LEAST:
            return
        steps = np.diff(slots, axis=axis)
        if (steps == steps.flat[0]).all():
            yield axis


def pieces_of(source: Slots, at: Slots) -> list[list[Piece] | int] | None:
    """Rows of elements, whose places are `source` and `at`, as pieces: for each run of rows its pieces, or the number
    of its rows if they have no such form. None if there are too many of these."""
    joined = (source[1:] == source[:-1]).all(axis=1)
    steps = np.diff(at, axis=0)
    breaks = np.flatnonzero((steps[1:] != steps[:-1]).any(axis=1) | (joined[1:] != joined[:-1])) + 1
    edges = [0, *breaks.tolist(), len(joined)]
    if len(edges) > 4 * _MOST:
        return None
    found: list[list[Piece] | int] = []
    row = 0
    for first, end in pairwise(edges):
        count = end + 1 - row
        if not joined[first] or count < _LEAST:
            continue
        if row < first:
            found.append(first - row)
            row, count = first, end + 1 - first
        step = steps[first]
        keys = sorted({(int(s), int(d)) for s, d in zip(source[row], step, strict=True)})
        if len(keys) > _MOST:
            return None
        groups = [np.flatnonzero((source[row] == s) & (step == d)) for s, d in keys]
        found.append([Piece(s, which, at[row][which], d, count) for (s, d), which in zip(keys, groups, strict=True)])
        row = end + 1
    if row < len(source):
        found.append(len(source) - row)
    return found if any(not isinstance(part, int) for part in found) and len(found) <= _MOST else None


def cut(graph: Graph, name: str, piece: Piece, windows: list[tuple[Slots, int]], space: str) -> str:
    """The piece as [rows, elements]."""
    axis, size, count = slot_axis(space), abs(piece.step), piece.count
    parts, order = [], []
    for which, start in windows:
        rows = slice_axis(graph, name, start, start + count * size - 1, 1, axis)
        rows = graph.reshape(rows, *[-1] * axis, count, size)
        if piece.step < 0:
            rows = slice_axis(graph, rows, count - 1, 0, -1, axis)
        lowest = start + (0 if piece.step > 0 else (count - 1) * size)
        parts.append(take(graph, rows, size, piece.at[which] - lowest, axis + 1))
        order.append(which)
    return in_order(graph, parts, order, axis + 1)


def take(graph: Graph, name: str, length: int, at: Slots, axis: int) -> str:
    """Elements `at` along an axis of that length."""
    n = len(at)
    if n == length and (at == np.arange(n)).all():
        return name
    step = int(at[1] - at[0]) if n > 1 else 1
    if step and (at == at[0] + step * np.arange(n)).all():
        return slice_axis(graph, name, int(at[0]), int(at[-1]), step, axis)
    return graph.call("Gather", name, graph.constant(at, np.int64), axis=axis)


def in_order(graph: Graph, parts: list[str], which: list[Slots], axis: int) -> str:
    """The parts, which hold the elements `which`, joined into one value that holds all of them in order."""
    if len(parts) == 1:
        return parts[0]
    order = np.concatenate(which)
    return take(graph, graph.call("Concat", *parts, axis=axis), len(order), np.argsort(order), axis)
