"""Batches of which each rank has some rows: the rows of rank 0, then those of rank 1, and so on.

A leaf is computed by the rank that has its first row, so that a rank sends and gets only the rows of leaves that begin
on one and end on another: fewer than a leaf's for each rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.ranks.ranks import Ranks
from macrograd.ranks.tree import Leaves

Array = NDArray[Any]


class OwnRows:
    """The rows of a batch that each rank has, and those that it computes.

    counts  how many rows each rank has
    leaves  of the whole batch, and `shares` those that each rank computes
    rows    those that this rank has, and `computed` those that it computes
    """

    def __init__(self, ranks: Ranks, counts: Sequence[int]) -> None:
        self.ranks, self.counts = ranks, tuple(counts)
        ends = np.cumsum([0, *counts]).tolist()
        self._had = [range(a, b) for a, b in pairwise(ends)]
        self.samples = ends[-1]
        self.leaves = Leaves.of(self.samples)
        self.shares = self.leaves.owned(counts)
        parts = [self.leaves.rows(share) for share in self.shares]
        self._computed = [range(part.start, part.stop) for part in parts]
        if self.samples == 1:  # a batch of one sample has no sum: every rank computes it, as it does without own rows
            self._computed = [range(1)] * ranks.size
        self.rows, self.computed = self._had[ranks.rank], self._computed[ranks.rank]

    @classmethod
    def of(cls, ranks: Ranks, count: int, form: object, what: str) -> OwnRows:
        """Those of a batch of which this rank has `count` rows; all ranks call it together. Raises ValueError, on all,
        if a row has another `form` on another rank, or none has a row."""
        counts, other = ranks.counted("own rows", count, form)
        if other is not None:
            raise ValueError(
                f"{what}: the arguments of rank {other} have rows of other shapes than those of rank 0; with "
                f"own_rows=True each rank passes some rows of one batch, and here a row has the shapes {form}"
            )
        if not any(counts):
            raise ValueError(f"{what}: the batch is empty: no rank passed a row")
        return cls(ranks, counts)

    def inward(self, rows: Array) -> Array:
        """The rows that this rank computes, from those that each has."""
        if self.samples == 1:
            return self.ranks.rows(rows, self.counts)
        return self._moved(rows, self._had, self._computed)

    def outward(self, rows: Array) -> Array:
        """The rows that this rank has, from those that each computes."""
        if self.samples == 1:
            return rows[: len(self.rows)]
        return self._moved(rows, self._computed, self._had)

    def agreed(self, error: Exception, *, found: bool) -> Exception:
        """The error that all ranks raise, from that of each, after a meeting: that of the first rank that has `found`
        the cause among its rows."""
        mine = f"{type(error).__name__} {error}".encode() if found else b""
        told = next((content.decode() for content in self.ranks.contents(mine) if content), None)
        if told is None:
            return error
        kind, _, message = told.partition(" ")
        return (IndexError if kind == "IndexError" else RuntimeError)(message)

    @cached_property
    def stays(self) -> bool:
        """Whether every rank computes the rows that it has."""
        return self._had == self._computed

    def _moved(self, rows: Array, before: list[range], after: list[range]) -> Array:
        if self.stays:
            return rows
        me = self.ranks.rank
        leaving = [_common(before[me], other) for other in after]
        coming = [_common(other, after[me]) for other in before]
        kept = leaving[me]
        leaving[me] = coming[me] = range(0)
        begin = before[me].start
        sent = [rows[part.start - begin : part.stop - begin] for part in leaving if part]
        found = self.ranks.exchanged(
            np.concatenate(sent) if sent else rows[:0], [len(part) for part in leaving], [len(part) for part in coming]
        )
        # Ranks have and compute consecutive rows: what comes from earlier ranks stands before the rest.
        earlier = sum(len(part) for part in coming[:me])
        own = rows[kept.start - begin : kept.stop - begin]
        return np.concatenate([found[:earlier], own, found[earlier:]]) if len(found) else own


def _common(a: range, b: range) -> range:
    return range(max(a.start, b.start), max(min(a.stop, b.stop), a.start, b.start))
