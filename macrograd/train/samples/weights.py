"""Sample weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._numbers import check_unmasked
from macrograd.train.samples.targets import Targets

Array = NDArray[Any]


def of(sample_weight: Any, class_weight: Any, y: Array, targets: Targets) -> Array | None:
    """One weight per sample, the product of its sample weight and its class weight; None if there are no weights.

    sample_weight  (n,) non-negative numbers
    class_weight   by label, or "balanced": n / (k·count) for each of k classes, where a sample counts
                   as much as its weight. Classes not named have weight 1

    Source of "balanced": King & Zeng, *Logistic Regression in Rare Events Data*, Political Analysis 9, 2001. Raises
    ValueError for weights that are negative, not finite, all 0, or not one per sample.
    """
    weights = None
    if sample_weight is not None:
        check_unmasked("sample_weight", sample_weight)
        weights = np.array(sample_weight, dtype=np.float64)
        if weights.shape != (len(y),):
            raise ValueError(
                f"sample_weight has shape {weights.shape}, but there are {len(y)} samples: give one for each"
            )
        wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
        if len(wrong):
            raise ValueError(
                f"sample_weight is {weights[wrong[0]]} in row {wrong[0]}: weights must be finite and not negative"
            )
        if not weights.any():
            raise ValueError("sample_weight is 0 for every sample: there is nothing to learn from")
    if class_weight is None:
        return weights
    each = _of_classes(class_weight, y, targets, weights)
    return each if weights is None else weights * each


def _of_classes(class_weight: Any, y: Array, targets: Targets, weights: Array | None) -> Array:
    classes = targets.counted
    if classes is None:
        raise ValueError(f"class_weight is for targets that are classes, but y holds {targets.kind}")
    index = np.searchsorted(classes, y)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight must be 'balanced' or a dict of weights by label, got {class_weight!r}")
        counts = np.bincount(index, weights, minlength=len(classes))
        with np.errstate(divide="ignore"):  # of a class without rows here
            by_class = counts.sum() / (len(classes) * counts)
        return np.asarray(by_class[index])
    known = {label: k for k, label in enumerate(classes.tolist())}
    by_class = np.ones(len(classes))
    for label, weight in dict(class_weight).items():
        if label not in known:
            raise ValueError(
                f"class_weight names the label {label!r}, which y does not have: it has {', '.join(map(str, known))}"
            )
        if not 0 <= weight < float("inf"):
            raise ValueError(f"class_weight of {label!r} is {weight}: weights must be finite and not negative")
        by_class[known[label]] = weight
    return np.asarray(by_class[index])
