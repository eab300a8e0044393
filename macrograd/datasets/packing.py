"""Sequences of different lengths in rows of one length, several in a row, so that little is computed on padding."""

from __future__ import annotations

import operator
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass


@dataclass(frozen=True)
class Packed:
    """Where every position of every row comes from; each array is (rows, room).

    sequence   the number of the sequence, and -1 for padding at the end of a row
    place      the position in the sequence, 0 for padding
    begin      the position in the row where the sequence begins; padding begins again at each position, so that
               a computation that looks back to `begin` sees only itself there
    """

    sequence: NDArray[np.int64]
    place: NDArray[np.int64]
    begin: NDArray[np.int64]


def packed(lengths: Iterable[int], room: int) -> Packed:
    """Put sequences of these lengths into few rows of `room` positions, one behind the other.

    The longest goes first, each into the fullest row where it fits (best fit decreasing). The same lengths give the
    same rows.

    Raises ValueError if there are no lengths, or one is not in 1 … room, and TypeError for what is not an integer.
    """
    room = _integer("room", room)
    sizes = [_integer(f"lengths[{k}]", length) for k, length in enumerate(lengths)]
    if not sizes:
        raise ValueError("packed() needs at least one length, got none")
    for k, size in enumerate(sizes):
        if not 1 <= size <= room:
            raise ValueError(f"packed(): lengths[{k}] is {size}, and must be in 1 … {room}, the room of a row; cut it")
    rows: list[list[int]] = []
    free: list[list[int]] = [[] for _ in range(room + 1)]  # the rows with so much room left
    for k in sorted(range(len(sizes)), key=lambda k: -sizes[k]):
        left = next((left for left in range(sizes[k], room) if free[left]), room)
        if left == room:
            rows.append([])
            free[room].append(len(rows) - 1)
        row = free[left].pop()
        rows[row].append(k)
        free[left - sizes[k]].append(row)
    sequence, place, begin = np.zeros((3, len(rows), room), np.int64)
    sequence[:], begin[:] = -1, np.arange(room)
    for row, members in enumerate(rows):
        end = 0
        for k in members:
            start, end = end, end + sizes[k]
            sequence[row, start:end], place[row, start:end], begin[row, start:end] = k, range(sizes[k]), start
    return Packed(sequence, place, begin)


def _integer(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"packed(): {name} must be an integer, got {value!r}") from None
