"""The operations on NumPy arrays, if they take more than one NumPy function.

The first argument is NumPy itself, which `import macrograd` does not load.
"""

from __future__ import annotations

from typing import Any

from macrograd.rows.floats import INF, RANDOM_KEYS, RANDOM_MIX


def dot(np: Any, *pairs: Any) -> Any:
    total = pairs[0] * pairs[1]
    for i in range(2, len(pairs), 2):
        total = total + pairs[i] * pairs[i + 1]
    return total


def sum_(np: Any, *terms: Any) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def take(np: Any, index: Any, *values: Any) -> Any:
    return np.choose(index.astype(int), values)


def maximum(np: Any, a: Any, b: Any) -> Any:
    # np.maximum returns the second of two zeros; here +0.0 is larger than -0.0.
    return np.where(np.logical_and(a == 0.0, b == 0.0), a + b, np.maximum(a, b))


def power(np: Any, a: Any, b: Any) -> Any:
    # For a single exponent of 0.5 NumPy takes the square root: NaN for -∞ and -0.0 for -0.0.
    return np.where((b == 0.5) & ((a == 0.0) | (a == -INF)), np.abs(a), np.power(a, b))


def sigmoid(np: Any, a: Any) -> Any:
    e = np.exp(-np.abs(a))
    return np.where(a < 0, e, 1.0) / (1.0 + e)


def random(np: Any, a: Any, b: Any, c: Any) -> Any:
    a, b, c = np.broadcast_arrays(*(np.atleast_1d(x) for x in (a, b, c)))
    good = (np.abs(a) < 2.0**53) & (np.abs(b) < 2.0**53) & (np.abs(c) < 2.0**53)
    z = np.zeros(a.shape, dtype=np.uint64)
    for x, key in zip((a, b, c), RANDOM_KEYS, strict=True):
        z = z + np.where(good, x, 0.0).astype(np.int64).astype(np.uint64) * np.uint64(key)
    for shift, factor in zip((30, 27), RANDOM_MIX, strict=True):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return np.where(good, ((z ^ (z >> np.uint64(31))) >> np.uint64(40)) * 2.0**-24, np.nan).astype(a.dtype)


def softplus(np: Any, a: Any) -> Any:
    return np.maximum(a, 0.0) + np.log1p(np.exp(-np.abs(a)))
