"""Patterns of zeros, and the colourings that say which columns one sweep can find."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from macrograd.gradients import sparsity

patterns = st.integers(1, 9).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.integers(0, 2**n - 1), min_size=1, max_size=9))
)


@given(patterns)
def test_no_two_columns_of_a_colour_share_a_row(drawn: tuple[int, list[int]]) -> None:
    n, rows = drawn
    groups = sparsity.colours(rows, n)
    used = 0
    for bits in rows:
        used |= bits
    assert sum(groups) & used == used
    assert all(not a & b for k, a in enumerate(groups) for b in groups[:k])
    assert all((bits & group).bit_count() <= 1 for bits in rows for group in groups)


@given(st.integers(1, 9).flatmap(lambda n: st.lists(st.booleans(), min_size=n * n, max_size=n * n)))
def test_each_entry_of_a_symmetric_pattern_can_be_read_or_mirrored(drawn: list[bool]) -> None:
    n = math.isqrt(len(drawn))
    dense = np.array(drawn).reshape(n, n)
    dense |= dense.T
    rows = [sum(1 << j for j in range(n) if dense[i, j]) for i in range(n)]
    assert sparsity.transposed(rows, n) == rows
    groups = sparsity.star_colours(rows)
    alone = {
        (i, (bits & g).bit_length() - 1) for i, bits in enumerate(rows) for g in groups if (bits & g).bit_count() == 1
    }
    assert all((i, j) in alone or (j, i) in alone for i in range(n) for j in range(n) if dense[i, j])
