"""The net, data and arithmetic that the jobs moons, demo, one and eager share: 2-16-16-1, ReLU, hinge + 1e-4·Σp²."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import data

SIZES = (2, 16, 16, 1)
BATCH, STEPS, DECAY = 32, 100, 1e-4

X, Y = data.moons()
START = data.flat(data.layers(SIZES, seed=1337, scale=1.0))
INDEX = np.stack([np.random.default_rng(k).choice(100, BATCH, replace=False) for k in range(STEPS)]).astype(np.int32)
RATES = 1.0 - 0.9 * np.arange(STEPS) / STEPS


def loss_and_gradient(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    (W1, b1), (W2, b2), (W3, b3) = data.split(theta, SIZES)
    h1 = np.maximum(x @ W1 + b1, 0.0)
    h2 = np.maximum(h1 @ W2 + b2, 0.0)
    margin = 1.0 - y * (h2 @ W3 + b3)[:, 0]
    d3 = (np.where(margin > 0, -y, 0.0) / len(y))[:, None]
    d2 = (d3 @ W3.T) * (h2 > 0)
    d1 = (d2 @ W2.T) * (h1 > 0)
    gradient = data.flat([(x.T @ d1, d1.sum(0)), (h1.T @ d2, d2.sum(0)), (h2.T @ d3, d3.sum(0))])
    return np.maximum(margin, 0.0).mean() + DECAY * theta @ theta, gradient + 2.0 * DECAY * theta


def train(step: Any) -> dict[str, np.ndarray]:
    """The hundred steps with any (theta, x, y) → (loss, gradient)."""
    theta, losses = START.copy(), []
    for rate, index in zip(RATES, INDEX, strict=True):
        loss, gradient = step(theta, X[index], Y[index])
        losses.append(loss)
        theta = theta - rate * gradient
    return {"losses": np.array(losses), "theta": theta}
