"""Which samples each step sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from macrograd.train.samples.order import Order
from macrograd.train.samples.shuffle import shuffle_into


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
    native = data.draw(st.booleans())
    some, some_lengths = Order(samples, size, shuffle=shuffle, seed=seed, native=native).steps(first, count)
    begin = lengths[:first].sum()
    np.testing.assert_array_equal(some, rows[begin : begin + lengths[first : first + count].sum()])
    np.testing.assert_array_equal(some_lengths, lengths[first : first + count])


@pytest.mark.parametrize("native", [True, False])
def test_one_call_after_the_other_gives_what_one_gives(native: bool) -> None:
    whole, _ = Order(10, 3, shuffle=True, seed=1).steps(0, 40)
    order = Order(10, 3, shuffle=True, seed=1, native=native)
    parts, at = [], 0
    for count in (1, 1, 1, 1, 2, 4, 9, 1, 0, 20):
        parts.append(order.steps(at, count)[0].copy())
        at += count
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("samples", [1, 2, 17, 1000, 70_000])
def test_native_code_shuffles_as_python_does(samples: int) -> None:
    for seed, first in ((0, 0), (123, 5), (2**40, 2**33)):
        native, plain = np.empty((2, samples), np.int64), np.empty((2, samples), np.int64)
        shuffle_into(native, first, seed, native=True)
        shuffle_into(plain, first, seed, native=False)
        np.testing.assert_array_equal(native, plain)


def test_pieces_of_an_epoch_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pieces = np.empty((3, 1000), np.int64), np.empty((3, 1000), np.int64)
    shuffle_into(whole, 4, 9, native=True)
    monkeypatch.setattr("macrograd.train.samples.shuffle.PIECE", 64)
    shuffle_into(pieces, 4, 9, native=True)
    np.testing.assert_array_equal(pieces, whole)


def test_what_broke_off_is_not_taken_for_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    order = Order(100, 10, shuffle=True, seed=1)
    expected = [order.steps(first, 10)[0].copy() for first in (0, 10)]

    def breaks(out: np.ndarray, *rest: object, **more: object) -> None:
        out[:, :50] = 0
        raise KeyboardInterrupt

    order = Order(100, 10, shuffle=True, seed=1)
    order.steps(0, 10)
    with monkeypatch.context() as context:
        context.setattr("macrograd.train.samples.order.shuffle_into", breaks)
        with pytest.raises(KeyboardInterrupt):
            order.steps(10, 10)
    for first in (0, 10):
        np.testing.assert_array_equal(order.steps(first, 10)[0], expected[first // 10])
    assert len(order.steps(20, 0)[0]) == 0


def test_more_samples_than_can_be_shuffled() -> None:
    with pytest.raises(ValueError, match="4294967296 samples are too many to shuffle: give fewer than 4294967296, or"):
        shuffle_into(np.empty((0, 2**32), np.int64), 0, 0, native=True)


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
    # A run that is resumed relies on it.
    assert Order(10, 10, shuffle=True, seed=0).steps(0, 1)[0].tolist() == [5, 2, 1, 8, 4, 9, 6, 3, 0, 7]
