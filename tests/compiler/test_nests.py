"""Nests and indices: whatever the slots are, the index that is made of them names exactly these."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from macrograd.compiler.roll import nests
from macrograd.compiler.roll.nests import affine, alone, in_rows, index_of, nest_of, prefix, repeated, separable, tabled


def grid(dims: tuple[int, ...], strides: tuple[int, ...], base: int = 0) -> np.ndarray:
    """The slots base + Σ stride·counter, the last counter moving fastest."""
    counters = np.indices(dims).reshape(len(dims), -1)
    return base + np.asarray(strides) @ counters


@given(st.data())
def test_slots_over_counters_are_found_as_counters(data: st.DataObject) -> None:
    dims = tuple(data.draw(st.lists(st.integers(2, 6), min_size=1, max_size=3)))
    columns = data.draw(st.integers(1, 3))
    strides = [
        tuple(data.draw(st.lists(st.integers(-20, 20), min_size=len(dims), max_size=len(dims)))) for _ in range(columns)
    ]
    vectors = np.stack([np.arange(np.prod(dims)), *(grid(dims, s, 500) for s in strides)])
    nest = affine(vectors)
    assert nest is not None
    assert int(np.prod(nest.dims)) == vectors.shape[1]
    assert len(nest.dims) <= nests.MOST_DIMS
    for vector, found in zip(vectors, nest.strides, strict=True):
        np.testing.assert_array_equal(grid(nest.dims, found, vector[0]), vector)


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_one_member_follows_a_counter_alone(columns: int) -> None:
    assert alone(columns) == affine(np.arange(columns)[:, None] * 7)


def test_counters_that_differ_between_columns_are_shared() -> None:
    """The second column turns where the first goes straight on: both follow the finer counters."""
    vectors = np.stack([np.arange(12), grid((3, 4), (1, 10))])
    nest = affine(vectors)
    assert nest is not None
    assert nest.dims == (3, 4)
    assert nest.strides == [(4, 1), (1, 10)]


def test_more_counters_than_there_may_be_are_none() -> None:
    vectors = grid((2, 3, 2, 3), (1000, 100, 10, 1))[None]
    assert affine(vectors) is None
    assert affine(vectors, most=4) is not None


def test_rows_at_any_distance_are_a_table_over_the_outer_counter_alone() -> None:
    heads = np.array([0, 50, 7, 90])
    vectors = np.stack([np.arange(20), (heads[:, None] + np.arange(5)).ravel()])
    assert affine(vectors) is None
    nest = in_rows(vectors)
    assert nest is not None
    assert nest.dims == (4, 5)
    assert nest.rows[0] is None
    np.testing.assert_array_equal(nest.rows[1], heads[:, None])
    assert in_rows(np.stack([np.arange(8), np.repeat([0, 9, 4, 1], 2) + np.tile([0, 1], 4)])) is None  # rows too short


@given(
    arrays.arrays(np.int64, st.tuples(st.integers(1, 3), st.integers(8, 20)), elements=st.integers(0, 9)),
    st.integers(4, 6),
    st.integers(-50, 50),
)
def test_rows_that_are_alike_are_tables_over_the_inner_counter_alone(row: np.ndarray, count: int, step: int) -> None:
    vectors = np.concatenate([row + k * step for k in range(count)], axis=1)
    nest = repeated(vectors)
    assert nest is not None
    for which, vector in enumerate(vectors):
        index = index_of("v", vector[:, None], nest, which, ())
        assert index.members is None or index.members.shape == (1, nest.dims[1])
        np.testing.assert_array_equal(index.slots(nest.dims)[:, 0], vector)
    vectors[0, -1] += 1
    assert repeated(vectors) is None


@given(
    arrays.arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.integers(0, 40)),
    st.tuples(st.integers(-3, 3)),
)
def test_an_index_names_the_slots_it_was_made_of(slots: np.ndarray, shifts: tuple[int, ...]) -> None:
    for nest in (nest_of(slots[:, :1].T, 3), tabled(slots[:, :1].T)):
        index = index_of("v", slots, nest, 0, shifts)
        np.testing.assert_array_equal(index.slots(nest.dims, slots.shape[1], (0,)), slots)
        np.testing.assert_array_equal(index.slots(nest.dims, slots.shape[1], (2,)), slots + 2 * shifts[0])


@given(arrays.arrays(np.int64, st.tuples(st.integers(1, 3), st.integers(1, 24)), elements=st.integers(0, 3)))
def test_a_prefix_is_affine_and_as_long_as_it_says(vectors: np.ndarray) -> None:
    for nested in (False, True):
        found = prefix(vectors, nested=nested)
        assert 1 <= found <= vectors.shape[1]
        assert affine(vectors[:, :found], most=2 if nested else 1) is not None


@pytest.mark.parametrize(
    ("slots", "expected"),
    [([[1, 4, 2]], True), ([[1, 4, 2], [11, 14, 12]], True), ([[1, 4, 2], [11, 14, 13]], False)],
)
def test_terms_are_separable_if_all_members_have_the_same_distances(slots: list[list[int]], expected: bool) -> None:
    assert separable(np.array(slots)) == expected
