"""Nests: counters over which the slots of a group's columns follow strides."""

from __future__ import annotations

from functools import cache

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Index
from macrograd.compiler.tape.tape import Ints

MOST_DIMS = 3
LEAST_ROW = 4  # members


@dataclass(frozen=True)
class Nest:
    """Counters, outermost first, and how vectors follow them: the strides of each, None for one that does not; and, for
    a vector that follows some counters only, what it moves by along the others, with an axis for each counter."""

    dims: tuple[int, ...]
    strides: list[tuple[int, ...] | None]
    rows: list[Ints | None]


def nest_of(vectors: Ints, most: int) -> Nest:
    """Counters, at most `most`, over which all vectors are affine; or one counter, with tables for the vectors that are
    not."""
    return affine(vectors, most) or tabled(vectors)


def affine(vectors: Ints, most: int = MOST_DIMS) -> Nest | None:
    """Counters over which all vectors are affine, if there are any."""
    dims, strides, heads = _unnested(vectors, most)
    if heads.shape[1] > 1:
        return None
    return Nest(dims, [tuple(s) for s in strides], [None] * len(vectors))


@cache
def alone(vectors: int) -> Nest:
    """The counter of one member, which so many vectors follow."""
    return Nest((1,), [(0,)] * vectors, [None] * vectors)


def in_rows(vectors: Ints) -> Nest | None:
    """Counters over which all vectors are affine except the outermost, if the rows are long enough."""
    dims, strides, heads = _unnested(vectors, MOST_DIMS - 1)
    if not dims or dims[-1] < LEAST_ROW:
        return None
    found, rows = [], []
    for head, inner in zip(heads, strides, strict=True):
        step = np.diff(head)
        even = bool((step == step[0]).all())
        found.append((int(step[0]) if even else 0, *inner))
        rows.append(None if even else (head - head[0]).reshape(-1, *(1,) * len(dims)))
    return Nest((heads.shape[1], *dims), list(found), list(rows))


def repeated(vectors: Ints) -> Nest | None:
    """Two counters: all vectors are affine in the outer one, and one row after the other alike, if not affine."""
    n = vectors.shape[1]
    step = vectors[:, 1:] - vectors[:, :-1]
    for row in range(2 * LEAST_ROW, n // LEAST_ROW + 1):
        if n % row or (step[:, 0] != step[:, row]).any():
            continue
        if (step[:, :-row] == step[:, row:]).all():
            break
    else:
        return None
    strides, rows = [], []
    for vector in vectors:
        places = vector[:row] - vector[0]
        even = bool((places == places[1] * np.arange(row)).all())
        strides.append((int(vector[row] - vector[0]), int(places[1]) if even else 0))
        rows.append(None if even else places[None])
    return Nest((n // row, row), list(strides), list(rows))


def _unnested(vectors: Ints, most: int) -> tuple[tuple[int, ...], list[list[int]], Ints]:
    """Up to `most` inner counters, with the strides of each vector, and the vectors that remain at their zeros."""
    dims: list[int] = []
    strides: list[Ints] = []
    while len(dims) < most and (n := vectors.shape[1]) > 1:
        step = vectors[:, 1:] - vectors[:, :-1]
        uneven = (step != step[:, :1]).any(axis=0)
        first = int(uneven.argmax())
        inner = first + 1 if uneven[first] else n
        move = step[:, 0].copy()
        del step, uneven  # each may be as long as the tape
        if n % inner:
            break
        grid = vectors.reshape(len(vectors), n // inner, inner)
        if inner < n and not (grid - grid[:, :, :1] == grid[:, :1] - grid[:, :1, :1]).all():
            break
        dims.append(inner)
        strides.append(move)
        vectors = grid[:, :, 0]
    if not dims and vectors.shape[1] == 1:
        dims, strides = [1], [np.zeros(len(vectors), dtype=np.int64)]
    return tuple(dims[::-1]), [[int(s[k]) for s in strides[::-1]] for k in range(len(vectors))], vectors


def tabled(vectors: Ints) -> Nest:
    """One counter; a vector that is not affine in it gets a table."""
    strides: list[tuple[int, ...] | None] = []
    for vector in vectors:
        step = np.diff(vector)
        strides.append((int(step[0]) if len(step) else 0,) if (step == step[:1]).all() else None)
    return Nest((vectors.shape[1],), strides, [None] * len(vectors))


def index_of(space: str, slots: Ints, nest: Nest, which: int, shifts: tuple[int, ...]) -> Index:
    """The map with these (n, T) slots, where the members follow vector `which` of the nest, or else a table."""
    base = int(slots[0, 0])
    dims, strides, rows = nest.dims, nest.strides[which], nest.rows[which]
    zeros = (0,) * len(dims)
    step, offsets = 0, None
    if slots.shape[1] > 1:
        if not separable(slots):
            return Index(space, 0, zeros, full=slots.astype(np.int64), shifts=shifts)
        offsets = slots[0] - base
        step = int(offsets[1])
        if (offsets == step * np.arange(len(offsets))).all():
            offsets = None
        else:
            step = 0
    table = None
    if strides is None:
        table = (slots[:, 0] - base).reshape(dims).astype(np.int64)
    elif rows is not None:
        table = rows.astype(np.int64)
    return Index(
        space,
        base,
        strides if strides is not None else zeros,
        step,
        members=table,
        terms=None if offsets is None else offsets.astype(np.int64),
        shifts=shifts,
    )


def separable(slots: Ints) -> bool:
    """Whether the terms of all members are equally spaced."""
    return len(slots) == 1 or bool((slots == slots[:, :1] + (slots[0] - slots[0, 0])).all())


def prefix(vectors: Ints, *, nested: bool, ahead: bool = True) -> int:
    """The number of leading members that follow one pattern: a run, or equal runs at a constant distance."""
    n: int = vectors.shape[1]
    if n <= 2:
        return n
    step = vectors[:, 1:] - vectors[:, :-1]
    breaks = np.flatnonzero((step != step[:, :1]).any(axis=0))
    if not len(breaks):
        return n
    inner = int(breaks[0]) + 1
    if ahead and inner == 2 and prefix(vectors[:, 1:], nested=nested, ahead=False) > 2:
        return 1  # two members are always a run; the second may belong to a longer one
    if not nested:
        return inner
    rows = n // inner
    grid = vectors[:, : rows * inner].reshape(len(vectors), rows, inner)
    alike = (grid - grid[:, :, :1] == grid[:, :1] - grid[:, :1, :1]).all(axis=(0, 2))
    heads = grid[:, :, 0]
    good = int(np.argmin(np.append(alike, False)))
    if good < 2:
        return inner
    return inner * prefix(heads[:, :good], nested=False)
