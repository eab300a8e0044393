"""kmeans: the sum of squared distances to the nearest centroid, and Newton's step by its gradient and the diagonal of
its Hessian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from benchmarks.gradbench.slopes import Slopes


def nearest(centroids: Any, point: Any) -> Any:
    """The squared distance of one point to the nearest centroid, of which alone it depends."""
    least, at = float("inf"), 0
    for k, centroid in enumerate(centroids):
        distance = mg.detach(_squared(centroid, point))
        at, least = mg.where(distance < least, k, at), mg.minimum(distance, least)
    return _squared(mg.take(centroids, at), point)


def _squared(centroid: Any, point: Any) -> Any:
    return mg.sum([(a - b) * (a - b) for a, b in zip(centroid, point, strict=True)])


def _all_slopes(centroids: Any, point: Any) -> Any:
    """The derivative along (1, …, 1): its gradient is the sum of each row of the Hessian, which is diagonal."""
    return mg.jvp(lambda c: nearest(c, point), centroids, [[1.0] * len(c) for c in centroids])[1]


def cost(given: dict[str, Any]) -> Callable[[], float]:
    points, centroids = np.array(given["points"]), np.array(given["centroids"])
    f = mg.compile(nearest, batch=True, uniform="centroids")
    return lambda: float(f(centroids, points).sum())


def direction(given: dict[str, Any]) -> Callable[[], NDArray[np.float64]]:
    points, centroids = np.array(given["points"]), np.array(given["centroids"])
    width = centroids.shape[1]

    def by_rows(fn: Callable[..., Any]) -> Callable[..., Any]:
        return lambda values, point: fn([values[k : k + width] for k in range(0, len(values), width)], point)

    first = Slopes(by_rows(nearest), centroids.ravel(), batch=True)
    second = Slopes(by_rows(_all_slopes), centroids.ravel(), batch=True)
    return lambda: (first(points) / second(points)).reshape(centroids.shape)


FUNCTIONS = {"cost": cost, "dir": direction}
