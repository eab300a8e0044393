"""Repeated rows merged into one row with a weight, so that a weight of k equals k repetitions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def distinct(X: Array, y: Array, sample_weight: Array | None = None) -> tuple[Array, Array, Array]:
    """(X, y, weights) with each distinct pair of a row of X and a target once, weighted by the sum of its weights.

    X              (n, d) finite numbers
    y              (n,) or (n, k) finite numbers, such as class indices
    sample_weight  (n,) finite numbers of 0 or more; None for 1 each. Rows of weight 0 are left out

    The order of the rows depends on their numbers alone. So a run on the result is the same, bit for bit, for rows in
    another order, and for a row of weight 3 as for three of weight 1 (sums of integral weights are exact).
    """
    X, y = np.asarray(X), np.asarray(y)
    weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    there = weights > 0.0
    X, y, weights = X[there], y[there], weights[there]
    # 0.0 is added because −0.0 and 0.0 are one number with two bit patterns.
    rows = np.ascontiguousarray(np.column_stack([X, y]) + 0.0)
    if not len(rows):
        return X, y, weights
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).reshape(-1)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    # Sorted by weight within equal rows, so that the sum does not depend on their order.
    order = np.lexsort((weights, group.reshape(-1)))
    starts = np.flatnonzero(np.diff(group.reshape(-1)[order], prepend=-1))
    return X[first], y[first], np.add.reduceat(weights[order], starts)
