"""Which samples a step sees."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from macrograd.train import batches


@given(samples=st.integers(1, 60), data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_a_round_holds_every_sample_at_most_once_and_leaves_out_less_than_a_batch(
    samples: int, data: st.DataObject, seed: int
) -> None:
    size = data.draw(st.integers(1, samples))
    per_round = samples // size
    stream = batches(samples, size, seed)
    for _ in range(3):
        drawn = np.concatenate(list(islice(stream, per_round)))
        assert len(drawn) == per_round * size
        assert len(set(drawn.tolist())) == len(drawn)
        assert set(drawn.tolist()) <= set(range(samples))


def test_rounds_differ_and_the_seed_decides() -> None:
    first, again, other = (np.array(list(islice(batches(100, 20, seed), 10))) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[:5], first[5:])


def test_a_batch_stays_what_it_was_when_the_samples_are_shuffled_anew() -> None:
    stream = batches(10, 5, 0)
    first = next(stream)
    before = first.copy()
    list(islice(stream, 4))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("size", [None, 7])
def test_all_samples_come_in_their_own_order(size: int | None) -> None:
    for batch in islice(batches(7, size, 3), 3):
        np.testing.assert_array_equal(batch, np.arange(7))


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    list(islice(batches(10, 3, 0), 5))
    assert np.random.random() == expected


@pytest.mark.parametrize(
    ("samples", "size", "message"),
    [
        (0, None, "there are no samples to make batches of"),
        (5, 6, "a batch size of 6 does not fit 5 samples: choose one from 1 to 5"),
        (5, 0, "a batch size of 0 does not fit 5 samples: choose one from 1 to 5"),
    ],
)
def test_wrong_sizes_at_once(samples: int, size: int | None, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        batches(samples, size, 0)
    assert str(caught.value) == message
