"""Hashing of arrays of integers, by which several stages recognise equal entries."""

from __future__ import annotations

import numpy as np

from macrograd.compiler.tape.tape import Ints

_AT_ONCE = 1 << 14  # pairs


def mix(a: Ints, b: Ints) -> Ints:
    """A 64-bit hash of pairs (the finaliser of splitmix64; Steele, Lea & Flood, OOPSLA 2014)."""
    if a.shape != b.shape or len(a) <= _AT_ONCE:
        return _mixed(a, b)
    found: Ints = np.empty(len(a), dtype=np.int64)
    for begin in range(0, len(a), _AT_ONCE):  # the work stays in the cache
        some = slice(begin, begin + _AT_ONCE)
        found[some] = _mixed(a[some], b[some])
    return found


def _mixed(a: Ints, b: Ints) -> Ints:
    with np.errstate(over="ignore"):
        x = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + b.astype(np.uint64)
        x ^= x >> np.uint64(30)
        x *= np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> np.uint64(27)
        x *= np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    found: Ints = x.astype(np.int64)
    return found
