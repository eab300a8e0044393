"""Metrics, computed from all predictions and targets at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.train.samples.targets import Targets

Array = NDArray[Any]
Metric = Callable[[Any, Any], float]


def accuracy(predictions: Array, targets: Array) -> float:
    """The fraction of correct predictions, or of correct yes-or-no labels: from 0 to 1."""
    return float(np.mean(predictions == targets))


def mean_absolute_error(predictions: Array, targets: Array) -> float:
    """The mean absolute error."""
    return float(np.mean(np.abs(predictions - targets)))


def mean_squared_error(predictions: Array, targets: Array) -> float:
    """The mean squared error."""
    return float(np.mean((predictions - targets) ** 2))


def r2(predictions: Array, targets: Array) -> float:
    """The explained fraction of the targets' variance: 1 for perfect predictions, 0 for predicting the mean."""
    rest = np.sum((predictions - targets) ** 2)
    return float(1.0 - rest / np.sum((targets - np.mean(targets, axis=0)) ** 2))


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "mean_absolute_error": mean_absolute_error,
    "mean_squared_error": mean_squared_error,
    "r2": r2,
}


def get(metric: str | Metric, targets: Targets) -> tuple[str, Metric]:
    """(name, function) of a metric given by name or as a function (predictions, targets) → number.

    Raises ValueError for a name that is unknown or does not fit the targets.
    """
    if callable(metric):
        return getattr(metric, "__name__", type(metric).__name__), metric
    if metric not in METRICS:
        raise ValueError(
            f"unknown metric {metric!r}: use one of {', '.join(METRICS)}, or a function (predictions, targets) → number"
        )
    if targets.kind == "own":
        raise ValueError(
            f"metric {metric!r} cannot interpret the outputs of a custom loss: give a "
            "function (outputs, targets) → number"
        )
    counts = targets.classes is not None or targets.kind == "labels"
    if (metric == "accuracy") != counts:
        fits = "accuracy" if counts else ", ".join(name for name in METRICS if name != "accuracy")
        raise ValueError(f"metric {metric!r} does not apply to targets that are {targets.kind}: use {fits}")
    return metric, METRICS[metric]


def all_of(metrics: str | Sequence[str | Metric], targets: Targets) -> list[tuple[str, Metric]]:
    """(name, function) of each metric that was given, or of the only one, given by its name. Raises as `get` does."""
    return [get(metric, targets) for metric in ([metrics] if isinstance(metrics, str) else metrics)]
