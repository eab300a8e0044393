"""A warning after a run that learned nothing: its loss grew, or its outputs are no better than a constant."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.train.endings import INTERRUPTED
from macrograd.train.history import History
from macrograd.train.samples.targets import Targets

Array = NDArray[Any]

_GREW = 10.0  # times as large as at the start
_LEAST_STEPS, _LONG = 20, 100  # before a loss counts as grown, and as stagnant
_MOST = 1000  # steps that are averaged at either end


class TrainingWarning(UserWarning):
    """A run completed, but its net learned nothing."""


def verdict(
    history: History,
    targets: Targets,
    encoded: Array | None,
    window: int,
    best: Callable[[], float],
    loss: Callable[[], float],
) -> str:
    """The warning about a finished run in a sentence; "" if its loss fell.

    encoded  the training targets as encoded for the loss; None if samples have weights
    window   steps of an epoch: losses are averaged over as many at both ends
    best     the mean loss of the best constant prediction, NaN if unknown
    loss     the mean loss over the training data now, without penalties; called only if the run looks bad
    """
    steps = len(history)
    if steps < _LEAST_STEPS or INTERRUPTED.ended(history.stopped):
        return ""
    window = window_of(steps, window)
    first, last = _mean(history.first_losses(window)), _mean(history.last_losses(window))
    rate = history.first_rate
    constant = best()
    reference = first if math.isnan(constant) else max(first, constant)
    if last > _GREW * reference and last > first:
        return (
            f"the loss grew from {first:.4g} to {last:.4g} in {steps} steps: the learning rate {rate:g} is most likely "
            f"too large, try {rate / 10:g}"
        )
    if encoded is None or steps < _LONG or not last >= 0.98 * constant:  # also if no constant is known
        return ""
    now = loss()
    if now < 0.98 * constant:
        return ""
    share = f"{100.0 * _share(targets, encoded):.1f}% " if targets.classes is not None else ""
    better = f"of the most frequent class ({share}of the samples)" if share else "of their mean"
    return (
        f"the loss over the training data is {now:.4g} after {steps} steps, no better than the constant answer "
        f"{better}: try another learning rate than {rate:g}, scale the inputs, or start from other weights (seed, init)"
    )


def window_of(steps: int, epoch: int) -> int:
    """Over how many steps at each end losses are averaged, in a run with epochs of so many."""
    return max(1, min(epoch, steps // 2, _MOST))


def suspicious(steps: int, first: Array, last: Array, constant: float) -> NDArray[np.bool_]:
    """Which of several runs `verdict` has to look at, by their mean losses at both ends: all that it might find
    something about, whatever the order of a sum."""
    if steps < _LEAST_STEPS:
        return np.zeros(len(first), dtype=bool)
    constant = math.inf if math.isnan(constant) else constant
    return ~((last < 0.97 * constant) & (last < 0.99 * _GREW * first))


def constant_loss(targets: Targets, encoded: Array | None) -> float:
    """`best_constant` of a run; NaN for one with weights."""
    return math.nan if encoded is None else best_constant(targets, encoded)


def best_constant(targets: Targets, encoded: Array) -> float:
    """The mean loss of the best constant prediction; NaN if unknown.

    For cross-entropies it is the entropy of the classes' shares, for the hinge twice the smaller share, for squares
    the variance.
    """
    if targets.loss == "squared_error":
        return float(np.mean(np.var(encoded, axis=0)))
    if targets.kind not in ("two classes", "classes") or targets.shape:
        return math.nan
    shares = np.unique(encoded, return_counts=True)[1] / len(encoded)
    if targets.loss == "hinge":
        return float(2.0 * shares.min())
    return float(-np.sum(shares * np.log(shares)))


def _share(targets: Targets, encoded: Array) -> float:
    return float(np.unique(encoded, return_counts=True)[1].max() / len(encoded))


def _mean(losses: Array) -> float:
    with np.errstate(over="ignore"):  # for losses near the end of the range
        return float(np.mean(losses))
