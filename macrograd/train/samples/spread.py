"""Samples whose rows are spread over the ranks of a communicator, each of which passed those that it has.

Together they are the rows of rank 0, then those of rank 1, and so on. The rows of a step are sent to the ranks that
compute with them, so that a run has the bits that it would have if every rank had all rows. What needs the same rows
everywhere, such as the measuring of scales, gets them everywhere. Targets and weights, a few numbers a row, are on all
ranks.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import tables
from macrograd.ranks.ranks import Ranks
from macrograd.train.samples.data import Samples

Array = NDArray[Any]
Places = NDArray[np.int64]


class Spread(Samples):
    """The rows `own` of this rank, and those of the others. All ranks must call its methods together, except `first`
    and `examples`. Raises ValueError, on all, if the rows of one are of another shape.

    counts  the number of rows of each rank, if known
    """

    def __init__(self, own: Samples, ranks: Ranks, counts: Sequence[int] | None = None) -> None:
        self.own, self.ranks = own, ranks
        self.name, self.dtype, self.shape = own.name, own.dtype, own.shape
        self.streamed, self.in_file = True, own.in_file
        self._starts = np.cumsum([0, *(self._counts() if counts is None else counts)])
        self.count = int(self._starts[-1])
        self._begin, self._end = self._starts[ranks.rank : ranks.rank + 2].tolist()

    def _counts(self) -> list[int]:
        own, ranks = self.own, self.ranks
        counts, other = ranks.counted("samples", own.count, (own.shape, own.columns))
        if other is not None:
            raise ValueError(
                f"{own.name} of rank {other} has rows of another shape or other columns than that of rank 0: with "
                f"own_rows=True each rank passes some rows of one table; here a row has the shape {own.shape}"
            )
        return counts

    def scaled(self, middle: Sequence[float], unit: Sequence[float]) -> Spread:
        return Spread(self.own.scaled(middle, unit), self.ranks, np.diff(self._starts).tolist())

    def subset(self, rows: Places) -> Spread:
        """Some of the rows, in order: each rank keeps those that it has."""
        ends = np.searchsorted(rows, self._starts)
        mine = rows[ends[self.ranks.rank] : ends[self.ranks.rank + 1]] - self._begin
        return Spread(self.own.subset(mine), self.ranks, np.diff(ends).tolist())

    def first(self) -> Array:
        return self.own.first()

    def examples(self, most: int) -> tuple[Places, Array]:
        places, rows = self.own.examples(most)
        return places + self._begin, rows

    def rows(self, order: Places) -> Array:
        """The rows at these places, on all ranks."""
        return self.sent([order] * self.ranks.size)

    def sent(self, wanted: Sequence[Places]) -> Array:
        """The rows at the places `wanted[r]` on rank r; each rank knows the places of all. Raises KeyboardInterrupt if
        a rank asks to stop."""
        ranks = self.ranks
        leaving = [places[(places >= self._begin) & (places < self._end)] - self._begin for places in wanted]
        owner = np.searchsorted(self._starts, wanted[ranks.rank], side="right") - 1
        coming = np.bincount(owner, minlength=ranks.size).tolist()
        rows = ranks.exchanged(self.own.rows(np.concatenate(leaving)), [len(places) for places in leaving], coming)
        found = np.empty_like(rows)
        found[np.argsort(owner, kind="stable")] = rows
        return found

    def blocks(self, size: int | None = None, which: range | None = None) -> Iterator[tuple[int, Array]]:
        """All blocks on all ranks; or, if `which` is this rank's share of their numbers, the share of each."""
        ranks, size = self.ranks, size or self.block
        count = -(-self.count // size)
        shares = [range(count) if which is None else ranks.share(count, rank) for rank in range(ranks.size)]
        assert which is None or which == shares[ranks.rank]
        at_once = max(1, self.block // size)
        for k in range(0, max(map(len, shares)), at_once):
            parts = [share[k : k + at_once] for share in shares]
            rows = self.sent([np.arange(part.start * size, min(part.stop * size, self.count)) for part in parts])
            for i, block in enumerate(parts[ranks.rank]):
                yield block * size, rows[i * size : (i + 1) * size]

    def checksum(self, before: int = 0) -> int:
        found = before
        for rank in range(self.ranks.size):
            mine = self.own.checksum(found) if rank == self.ranks.rank else 0
            found = int(self.ranks.gathered("checksum", np.array([mine]), [1] * self.ranks.size)[rank])
        return found


def column(ranks: Ranks, mine: Any, name: str) -> Array:
    """The targets or weights of all ranks, one after the other, on all. Raises ValueError if they are of different
    kinds, or neither numbers nor text."""
    array = np.asarray(mine)
    if array.dtype.kind == "O":
        if not all(isinstance(item, str) for item in array.reshape(-1).tolist()):
            raise ValueError(f"{name} holds objects: with own_rows=True give an array of numbers or of text")
        array = array.astype(str)
    head = json.dumps([array.dtype.str, array.shape]).encode()
    parts = []
    for content in ranks.contents(head + b"\n" + np.ascontiguousarray(array).tobytes()):
        head, _, numbers = content.partition(b"\n")
        dtype, shape = json.loads(head)
        parts.append(np.frombuffer(numbers, dtype).reshape(shape))
    kinds = [(part.dtype.kind in "US", part.shape[1:]) for part in parts]
    other = next((k for k, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None:
        told = [f"{'text' if text else 'numbers'} of shape {shape or 'one a row'}" for text, shape in kinds]
        raise ValueError(f"{name} of rank {other} holds {told[other]}, that of rank 0 {told[0]}")
    return np.concatenate(parts)


def gathered(
    ranks: Ranks, own: Samples, y: Any, weights: Any, plan: tables.Plan | None
) -> tuple[Samples, Array, Array | None]:
    """(samples, targets, weights) of all ranks from this one's. Raises ValueError for different numbers of them, for
    what does not fit together, and for tables that need the `plan` of a whole table."""
    if plan is not None:
        raise ValueError(
            "with own_rows=True the columns of a table must be finite numbers: what becomes of text, dates and gaps is "
            "found in whole tables. Encode them before, or pass the whole table on every rank"
        )
    for name, given in (("y", y), ("sample_weight", weights)):
        _check_count(ranks, own.name, own.count, name, given)
    ranks.meet(program=zlib.crc32(b"weights" if weights is not None else b"no weights"))
    samples = Spread(own, ranks)
    return samples, column(ranks, y, "y"), None if weights is None else column(ranks, weights, "sample_weight")


def _check_count(ranks: Ranks, samples: str, count: int, name: str, given: Any) -> None:
    """Raise ValueError unless there is a target or weight for each sample of this rank, or none at all."""
    if given is not None and np.shape(given)[:1] != (count,):
        raise ValueError(
            f"{samples} has {count} samples on rank {ranks.rank} and {name} the shape {np.shape(given)}: there must be "
            "one for each"
        )


def validation(ranks: Ranks, given: Any) -> Any:
    """Validation data with the targets and weights of all ranks. Raises ValueError for different numbers of them."""
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
        return given  # a fraction, or what is refused elsewhere
    Xv, *columns = given
    named = list(zip(("yv", "sample_weight of Xv"), columns, strict=False))
    for name, one in named:
        _check_count(ranks, "Xv", len(Xv), name, one)
    return (Xv, *[None if one is None else column(ranks, one, name) for name, one in named])


def seen(ranks: Ranks, scaled: Callable[[Samples], Samples], own: Samples) -> Samples:
    """Samples of this rank as the model sees those of all."""
    return scaled(Spread(own, ranks))
