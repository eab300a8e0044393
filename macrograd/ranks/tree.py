"""The tree in which sums over a batch are added, the same for any number of ranks.

A batch is cut into leaves, runs of consecutive samples. Their number and length depend only on the size of the batch,
not on the ranks or the processor. A node (level, place) is the sum of the nodes (level − 1, 2·place)
and (level − 1, 2·place + 1), and a leaf is a node of level 0; where the second does not exist, the first moves up
unchanged. Each rank computes consecutive leaves and adds those that meet within its own; the ranks exchange the nodes
that are left, and each adds them. Floating-point addition is commutative but not associative: since the tree is fixed,
so is every bit of the root.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass

Node = tuple[int, int]
Nodes = dict[Node, NDArray[Any]]

_MOST = 64  # leaves: more ranks than that do not help
_LEAST = 32  # samples of a leaf: adding the sums of shorter ones takes longer than computing them


@dataclass(frozen=True)
class Leaves:
    """The leaves of a batch.

    samples  of the batch
    length   samples of a leaf, a power of two, the last leaf may have fewer
    """

    samples: int
    length: int

    @classmethod
    def of(cls, samples: int) -> Leaves:
        length = _LEAST  # a whole number of vectors on any processor
        while samples > length * _MOST:
            length *= 2
        return cls(samples, length)

    @property
    def count(self) -> int:
        return -(-self.samples // self.length)

    def share(self, rank: int, size: int) -> range:
        """The leaves of one of `size` ranks."""
        return range(self.count * rank // size, self.count * (rank + 1) // size)

    def owned(self, counts: Sequence[int]) -> list[range]:
        """The leaves of each rank if these have so many consecutive rows: a leaf is that one's which has its first."""
        ends = [-(-end // self.length) for end in np.cumsum([0, *counts]).tolist()]
        return [range(a, b) for a, b in pairwise(ends)]

    def rows(self, leaves: range) -> slice:
        """The samples of consecutive leaves."""
        return slice(min(leaves.start * self.length, self.samples), min(leaves.stop * self.length, self.samples))

    def nodes(self, leaves: range) -> list[Node]:
        """The nodes that are left of consecutive leaves once those that meet are added."""
        marks: Nodes = {(0, k): np.zeros(0) for k in leaves}
        return sorted(self.added(marks), key=lambda node: node[1] << node[0])

    def added(self, nodes: Nodes) -> Nodes:
        """Add nodes that meet, level by level, until none do. Their arrays are overwritten."""
        found, level, width = dict(nodes), 0, self.count
        with np.errstate(all="ignore"):  # NaN and infinities are ordinary results
            while width > 1:
                for node in [node for node in found if node[0] == level]:
                    place = node[1]
                    if place % 2 and (level, place - 1) in found:
                        left, right = found.pop((level, place - 1)), found.pop(node)
                        found[level + 1, place // 2] = np.add(left, right, out=left)
                    elif place % 2 == 0 and place == width - 1:
                        found[level + 1, place // 2] = found.pop(node)
                level, width = level + 1, -(-width // 2)
        return found

    def root(self, nodes: Nodes) -> NDArray[Any]:
        """The sum of all leaves, from nodes that cover them. Their arrays are overwritten."""
        (root,) = self.added(nodes).values()
        return root
