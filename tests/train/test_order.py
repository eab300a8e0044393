"""Which samples each step sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from macrograd.train.order import Order


@settings(max_examples=30)
@given(samples=st.integers(1, 50), data=st.data(), seed=st.integers(0, 2**40), shuffle=st.booleans())
def test_any_steps_are_a_part_of_the_whole(samples: int, data: st.DataObject, seed: int, shuffle: bool) -> None:
    size = data.draw(st.integers(1, samples))
    order = Order(samples, size, shuffle=shuffle, seed=seed)
    total = 4 * order.steps_per_epoch
    rows, lengths = order.steps(0, total)
    assert lengths.sum() == len(rows) == 4 * samples
    for epoch in np.split(rows, 4):
        assert sorted(epoch.tolist()) == list(range(samples))
    first = data.draw(st.integers(0, total - 1))
    count = data.draw(st.integers(0, total - first))
    some, some_lengths = Order(samples, size, shuffle=shuffle, seed=seed).steps(first, count)
    begin = lengths[:first].sum()
    np.testing.assert_array_equal(some, rows[begin : begin + lengths[first : first + count].sum()])
    np.testing.assert_array_equal(some_lengths, lengths[first : first + count])


def test_epochs_across_the_groups_in_which_they_are_made() -> None:
    order = Order(30_000, 30_000, shuffle=True, seed=1)
    together, _ = order.steps(0, 6)
    alone = np.concatenate([Order(30_000, 30_000, shuffle=True, seed=1).steps(k, 1)[0] for k in range(6)])
    np.testing.assert_array_equal(together, alone)


def test_epochs_and_seeds_differ() -> None:
    first, second = np.split(Order(100, 10, shuffle=True, seed=1).steps(0, 20)[0], 2)
    other = Order(100, 10, shuffle=True, seed=2).steps(0, 10)[0]
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_without_shuffling_the_order_is_the_datas_own() -> None:
    rows, lengths = Order(5, 2, shuffle=False, seed=1).steps(1, 4)
    assert rows.tolist() == [2, 3, 4, 0, 1, 2, 3]
    assert lengths.tolist() == [2, 1, 2, 2]


def test_every_place_is_as_likely() -> None:
    rows = Order(4, 4, shuffle=True, seed=7).steps(0, 8000)[0].reshape(8000, 4)
    counts = np.array([[np.count_nonzero(rows[:, place] == row) for row in range(4)] for place in range(4)])
    assert counts == pytest.approx(np.full((4, 4), 2000), abs=5 * np.sqrt(8000 * 3 / 16))


def test_the_orders_are_frozen() -> None:
    # A resumed run relies on it, also under another version of NumPy.
    assert Order(10, 10, shuffle=True, seed=0).steps(0, 1)[0].tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
