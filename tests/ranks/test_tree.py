"""The tree in which sums are added: its leaves, and that shares of any size have the same root."""

from __future__ import annotations

import numpy as np
import pytest

from macrograd.ranks.tree import Leaves


@pytest.mark.parametrize(
    ("samples", "length", "count"),
    [(1, 32, 1), (32, 32, 1), (33, 32, 2), (2048, 32, 64), (2049, 64, 33), (10**6, 16384, 62)],
)
def test_leaves(samples: int, length: int, count: int) -> None:
    leaves = Leaves.of(samples)
    assert (leaves.length, leaves.count) == (length, count)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 64, 100])
@pytest.mark.parametrize("samples", [1, 32, 33, 2000, 2049, 10_000])
def test_shares_cover_all_rows_once(samples: int, size: int) -> None:
    leaves = Leaves.of(samples)
    shares = [leaves.share(rank, size) for rank in range(size)]
    assert [k for share in shares for k in share] == list(range(leaves.count))
    rows = [leaves.rows(share) for share in shares]
    assert [i for some in rows for i in range(some.start, some.stop)] == list(range(samples))


def added(leaves: Leaves, sums: np.ndarray, size: int) -> np.ndarray:
    """The root, added by `size` ranks."""
    everything = {}
    for rank in range(size):
        share = leaves.share(rank, size)
        nodes = leaves.added({(0, k): sums[k].copy() for k in share})
        assert list(leaves.nodes(share)) == sorted(nodes, key=lambda node: node[1] << node[0])
        everything |= nodes
    return leaves.root(everything)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 33, 62, 64])
def test_the_root_has_the_same_bits_for_any_number_of_ranks(count: int) -> None:
    leaves = Leaves(samples=count, length=1)
    # Of sizes so different that every other order of adding rounds differently.
    rng = np.random.default_rng(count)
    sums = rng.normal(size=(count, 50)) * 10.0 ** rng.integers(-8, 8, size=(count, 50))
    one = added(leaves, sums, 1)
    for size in (2, 3, 4, 5, 8, 64):
        assert added(leaves, sums, size).tobytes() == one.tobytes(), size
    assert np.allclose(one, sums.sum(axis=0))
    if count > 4:
        in_order = sums[0].copy()
        for row in sums[1:]:
            in_order += row
        assert in_order.tobytes() != one.tobytes()  # or the test could not fail


def test_few_nodes_are_left_of_a_share() -> None:
    leaves = Leaves.of(64 * 32)
    for size in (2, 4, 8):
        assert [len(leaves.nodes(leaves.share(rank, size))) for rank in range(size)] == [1] * size
    assert max(len(leaves.nodes(range(a, b))) for a in range(64) for b in range(a + 1, 65)) <= 10
