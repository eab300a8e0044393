"""Data sets: scikit-learn's bits for the same seed, macrograd's own sets, and CSV files with every way to be wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import macrograd as mg
from macrograd import datasets

REFERENCE = np.load(Path(__file__).parents[1] / "references" / "datasets.npz", allow_pickle=False)
CASES = [json.loads(str(case)) for case in REFERENCE["cases"]]


def same_sines() -> bool:
    """Whether NumPy's sine and cosine have the last bits here that they had where the reference was made.

    They come from the vector unit that NumPy finds; on another one scikit-learn's own data sets differ in the last bit
    too, and there is nothing to be bit-equal to.
    """
    angles = np.linspace(0, 2 * np.pi, 500)
    return np.array_equal(np.stack([np.sin(angles), np.cos(angles)]), REFERENCE["probe"])


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{i}-{CASES[i][0]}")
def test_the_bits_of_scikit_learn(number: int) -> None:
    name, arguments = CASES[number]
    X, y = getattr(datasets, name)(**arguments)
    expected = REFERENCE[f"X{number}"]
    assert X.dtype == np.float64
    assert X.shape == expected.shape
    if same_sines() or name == "make_blobs":  # blobs have no sines in them
        assert X.tobytes() == np.ascontiguousarray(expected).tobytes()
    else:
        np.testing.assert_allclose(X, expected, rtol=0, atol=4 * np.finfo(float).eps)
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y, REFERENCE[f"y{number}"])


def test_the_reference_has_every_function_of_scikit_learn() -> None:
    assert {name for name, _ in CASES} == {"make_moons", "make_circles", "make_blobs"}


@pytest.mark.parametrize("make", ["make_moons", "make_circles", "make_blobs", "make_spirals", "make_xor"])
def test_a_seed_means_the_same_samples_and_leaves_the_global_generator_alone(make: str) -> None:
    function = getattr(mg.datasets, make)
    before = np.random.get_state()[1].tobytes()
    X, y = function(60, seed=3)
    again, labels = function(60, seed=3)
    other, _ = function(60, seed=4)
    assert X.tobytes() == again.tobytes()
    assert y.tobytes() == labels.tobytes()
    assert X.tobytes() != other.tobytes()
    assert X.shape == (60, 2)
    assert y.shape == (60,)
    assert np.random.get_state()[1].tobytes() == before


@given(n=st.integers(1, 200), arms=st.integers(1, 6), turns=st.floats(0.1, 4))
def test_spirals_lie_on_their_arms(n: int, arms: int, turns: float) -> None:
    X, y = datasets.make_spirals(n, arms=arms, turns=turns, seed=1)
    radius = np.hypot(X[:, 0], X[:, 1])
    angle = 2 * np.pi * (turns * (radius - 0.1) / 0.9 + y / arms)
    np.testing.assert_allclose(X, np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), atol=1e-9)
    counts = np.bincount(y, minlength=arms)
    assert counts.sum() == n
    assert counts.max() - counts.min() <= 1


def test_spirals_are_shuffled_unless_asked_not_to_be() -> None:
    assert np.any(np.diff(datasets.make_spirals(50)[1]) < 0)
    assert np.all(np.diff(datasets.make_spirals(50, shuffle=False)[1]) >= 0)


def test_xor_is_the_exclusive_or_of_the_signs() -> None:
    X, y = datasets.make_xor(500, seed=2)
    assert np.abs(X).max() <= 1
    np.testing.assert_array_equal(y, (X[:, 0] * X[:, 1] < 0).astype(int))
    noisy, labels = datasets.make_xor(500, noise=0.1, seed=2)
    np.testing.assert_array_equal(labels, y)
    assert 0.08 < (noisy - X).std() < 0.12


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: datasets.make_moons(0), ValueError, "make_moons() n_samples must be at least 1, got 0"),
    (
        lambda: datasets.make_moons(2.5),
        TypeError,
        "make_moons() n_samples must be an integer or a sequence of integers, got 2.5",
    ),
    (
        lambda: datasets.make_moons((1, 2, 3)),
        ValueError,
        "make_moons() makes two classes: n_samples must be one number or two, got (1, 2, 3)",
    ),
    (
        lambda: datasets.make_moons("ab"),
        ValueError,
        "make_moons() makes two classes: n_samples must be one number or two, got 'ab'",
    ),
    (
        lambda: datasets.make_moons((1, 2.5)),
        TypeError,
        "make_moons() n_samples must be an integer, got 2.5",
    ),
    (
        lambda: datasets.make_moons(noise=-0.1),
        ValueError,
        "make_moons() noise (a standard deviation) must be finite and not negative, got -0.1",
    ),
    (
        lambda: datasets.make_xor(noise=float("nan")),
        ValueError,
        "make_xor() noise (a standard deviation) must be finite and not negative, got nan",
    ),
    (lambda: datasets.make_moons(seed=-1), ValueError, "make_moons() seed must be at least 0, got -1"),
    (
        lambda: datasets.make_xor(seed=2**32),
        ValueError,
        "make_xor() seed must be less than 2**32 (the limit of NumPy's legacy generator), got 4294967296",
    ),
    (
        lambda: datasets.make_moons(seed=None),
        TypeError,
        "make_moons() seed must be an integer, got None",
    ),
    (
        lambda: datasets.make_circles(factor=1.0),
        ValueError,
        "make_circles() factor must be at least 0 and less than 1, got 1.0",
    ),
    (lambda: datasets.make_spirals(arms=0), ValueError, "make_spirals() arms must be at least 1, got 0"),
    (lambda: datasets.make_blobs(centers=0), ValueError, "make_blobs() centers must be at least 1, got 0"),
    (lambda: datasets.make_blobs(10, 0), ValueError, "make_blobs() n_features must be at least 1, got 0"),
    (
        lambda: datasets.make_blobs(centers=[1.0, 2.0]),
        ValueError,
        "make_blobs() centers must be a number or an array of shape (k, features), got shape (2,)",
    ),
    (
        lambda: datasets.make_blobs([5, 5], centers=3),
        ValueError,
        "make_blobs() has 3 centers but 2 numbers in n_samples: give one per center",
    ),
    (
        lambda: datasets.make_blobs(cluster_std=[1.0]),
        ValueError,
        "make_blobs() has 3 centers but 1 numbers in cluster_std: give one per center",
    ),
    (
        lambda: datasets.make_blobs(cluster_std=-1.0),
        ValueError,
        "make_blobs() cluster_std must not be negative, got -1.0",
    ),
    (
        lambda: datasets.make_blobs(None),
        TypeError,
        "make_blobs() n_samples must be an integer or a sequence of integers, got None",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[m for *_, m in WRONG])
def test_wrong_arguments_are_named(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


# --- packing ------------------------------------------------------------------------------------------------


def test_rows_hold_every_sequence_once_and_whole() -> None:
    lengths = np.random.default_rng(0).integers(1, 17, 300)
    packed = datasets.packed(lengths, 16)
    real = packed.sequence >= 0
    assert real.sum() == lengths.sum()
    assert real.mean() > 0.97
    for k, length in enumerate(lengths):
        rows, columns = np.nonzero(packed.sequence == k)
        assert (rows == rows[0]).all()
        assert columns.tolist() == list(range(columns[0], columns[0] + length))
        assert packed.place[rows, columns].tolist() == list(range(length))
        assert (packed.begin[rows, columns] == columns[0]).all()
    assert (packed.begin[~real] == np.nonzero(~real)[1]).all()
    assert not packed.place[~real].any()


def test_a_row_may_hold_one_sequence_or_many() -> None:
    assert datasets.packed([3, 3], 3).sequence.tolist() == [[0, 0, 0], [1, 1, 1]]
    found = datasets.packed([1, 2], 4)
    assert found.sequence.tolist() == [[1, 1, 0, -1]]
    assert found.place.tolist() == [[0, 1, 0, 0]]
    assert found.begin.tolist() == [[0, 0, 2, 3]]


@pytest.mark.parametrize(
    ("lengths", "room", "error", "said"),
    [
        ([], 4, ValueError, "packed() needs at least one length, got none"),
        ([2, 5], 4, ValueError, "packed(): lengths[1] is 5, and must be in 1 … 4, the room of a row; cut it"),
        ([0], 4, ValueError, "packed(): lengths[0] is 0, and must be in 1 … 4"),
        ([1.5], 4, TypeError, "packed(): lengths[0] must be an integer, got 1.5"),
        ([1], "4", TypeError, "packed(): room must be an integer, got '4'"),
    ],
)
def test_lengths_that_cannot_be_packed(lengths: Any, room: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        datasets.packed(lengths, room)
