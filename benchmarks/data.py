"""Data and starting parameters that several jobs share; NumPy only, the same numbers on every machine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def moons(n: int = 100, noise: float = 0.1, seed: int = 1337) -> tuple[np.ndarray, np.ndarray]:
    """Two interleaved half circles: X (n, 2) and y (n,) in {−1, 1}."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0.0, np.pi, n // 2)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1.0 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    X = np.concatenate([upper, lower]) + rng.normal(scale=noise, size=(n, 2))
    y = np.repeat([-1.0, 1.0], n // 2)
    order = rng.permutation(n)
    return np.ascontiguousarray(X[order]), y[order]


def layers(sizes: tuple[int, ...], seed: int, scale: float | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per layer W (in, out), uniform in ±scale (±1/√in by default), and b (out,) of zeros."""
    rng = np.random.default_rng(seed)
    made = []
    for n_in, n_out in pairwise(sizes):
        bound = n_in**-0.5 if scale is None else scale
        made.append((rng.uniform(-bound, bound, size=(n_in, n_out)), np.zeros(n_out)))
    return made


def flat(pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """W, b, W, b … as one array: the order in which every job compares parameters and gradients."""
    return np.concatenate([np.concatenate([np.ravel(W), np.ravel(b)]) for W, b in pairs])


def split(theta: np.ndarray, sizes: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The inverse of `flat`."""
    pairs, start = [], 0
    for n_in, n_out in pairwise(sizes):
        middle, end = start + n_in * n_out, start + n_in * n_out + n_out
        pairs.append((theta[start:middle].reshape(n_in, n_out), theta[middle:end]))
        start = end
    return pairs


def digits() -> tuple[np.ndarray, np.ndarray, str]:
    """X (1797, 64) float32 in [0, 1], y (1797,), and their source.

    scikit-learn's bundled digits; if it is not installed, synthetic ones of the same shape: ten random pictures with
    noise, good for speed but not for accuracy.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        rng = np.random.default_rng(0)
        y = rng.integers(0, 10, size=1797)
        X = np.clip(rng.random((10, 64))[y] + 0.3 * rng.normal(size=(1797, 64)), 0.0, 1.0)
        return X.astype(np.float32), y.astype(np.int32), "synthetic (scikit-learn is not installed)"
    bundle = load_digits()
    return (bundle.data / 16.0).astype(np.float32), bundle.target.astype(np.int32), "scikit-learn's bundled digits"
