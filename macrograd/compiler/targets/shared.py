"""The part of a batch that this rank computes, of those that share it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd.ranks.ranks import Ranks, checksum, sampled
from macrograd.ranks.tree import Leaves, Nodes

if TYPE_CHECKING:
    from macrograd.ranks.own import OwnRows

Array = NDArray[Any]


class Shared:
    """One batch, its leaves, and which of them are this rank's.

    mine   this rank's leaves, and `rows` their samples
    first  the first leaf in this rank's buffers: these have the whole batch, or only the rows that it computes if
           the ranks have each their own
    """

    def __init__(self, ranks: Ranks, samples: int, own: OwnRows | None = None) -> None:
        self.ranks, self.own = ranks, own
        self.leaves = Leaves.of(samples) if own is None else own.leaves
        self._shares = [self.leaves.share(r, ranks.size) for r in range(ranks.size)] if own is None else own.shares
        self.mine = self._shares[ranks.rank]
        self.first = 0 if own is None else self.mine.start
        self.rows = self.leaves.rows(self.mine) if own is None else slice(0, len(own.computed))
        self.stop = False  # whether this rank asks all to stop
        self._arguments = 0
        self._nodes: Nodes = {}

    def given(self, arrays: Sequence[Array]) -> None:
        """Note the arguments, if they are whole on every rank, for the comparison."""
        self._arguments = sampled(arrays) if self.own is None else 0

    def add(self, first: int, sums: Array) -> None:
        """Add the sums of leaves first, first + 1, …, one row for each, whose memory is free afterwards."""
        level = 0
        with np.errstate(all="ignore"):  # NaN and infinities are ordinary results
            while len(sums) > 1 and not (first | len(sums)) % 2:  # whole pairs, all at once
                np.add(sums[::2], sums[1::2], out=sums[::2])
                sums, first, level = sums[::2], first // 2, level + 1
        self._nodes |= {(level, first + k): row for k, row in enumerate(sums)}
        added = self.leaves.added(self._nodes)
        self._nodes = {node: np.array(row) if row.base is not None else row for node, row in added.items()}

    def finish(self, who: str, held: Array, flag: bool, reduced: int, out: Array) -> tuple[bool, Array | None]:
        """Meet the other ranks once this one has added its leaves, and fill the rows of `out` that are theirs, if it
        has any.

        who      describes the program, and the processor where results depend on it
        held     the numbers that a run starts from, which must be the same on all ranks
        flag     whether something went wrong
        reduced  the number of sums

        Returns (whether a rank raised its flag, the sums). If one asks to stop, there are none, and `out` is left.
        """
        ranks, leaves, nodes = self.ranks, self.leaves, self._nodes
        self._nodes = {}
        raised = ranks.meet(
            leaves.samples, zlib.crc32(who.encode()), checksum(held), self._arguments, flag=flag, stop=self.stop
        )
        if ranks.stopped is not None:
            return raised, None
        if out.shape[1] and self.own is None:
            parts = [leaves.rows(share) for share in self._shares]
            out[:] = ranks.rows(out[self.rows], [rows.stop - rows.start for rows in parts])
        return raised, ranks.total(leaves, self._shares, nodes, reduced, held.dtype) if reduced else None
