"""Hashing: pairs of integers get 64 bits in which every bit of both shows."""

from __future__ import annotations

import numpy as np
import pytest

from macrograd.compiler.tape.hashing import mix


def test_it_is_the_finaliser_of_splitmix64() -> None:
    """The first numbers of the generator with the seeds 0 and 1, as the reference code in C prints them."""
    found = mix(np.array([1, 2]), np.array([0, 0])).astype(np.uint64)
    assert [hex(x) for x in found.tolist()] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]
    (other,) = mix(np.array([1]), np.array([1])).astype(np.uint64).tolist()
    assert hex(other) == "0x910a2dec89025cc1"


def test_small_pairs_do_not_collide_and_their_order_counts() -> None:
    a, b = (x.ravel() for x in np.meshgrid(np.arange(-200, 200), np.arange(-200, 200)))
    assert len(np.unique(mix(a, b))) == len(a)
    assert (mix(a, b) != mix(b, a))[a != b].all()


@pytest.mark.parametrize("which", [0, 1])
def test_each_bit_turns_about_half_of_all(which: int) -> None:
    pairs = np.random.default_rng(0).integers(0, 2**40, (2, 500))
    for bit in (0, 7, 31, 50):
        turned = pairs.copy()
        turned[which] ^= 1 << bit
        changed = (mix(*pairs) ^ mix(*turned)).astype(np.uint64)
        bits = np.unpackbits(changed.view(np.uint8)).mean()
        assert 0.48 < bits < 0.52  # of 32,000 bits: the standard deviation is 0.003


def test_long_arrays_hash_as_their_parts() -> None:
    a, b = np.random.default_rng(0).integers(0, 2**40, (2, 40_000))
    parts = [mix(a[k : k + 1000], b[k : k + 1000]) for k in range(0, 40_000, 1000)]
    assert (mix(a, b) == np.concatenate(parts)).all()
