"""Sample weights."""

from __future__ import annotations

from collections.abc import Sequence
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
                   as much as its weight. Classes not named have weight 1. Of several yes-or-no labels "balanced", or a
                   dict of the weights of 0 and 1 for each: those of all labels of a sample are multiplied

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
    found = each if weights is None else weights * each
    if not found.any():
        with_ = "" if weights is None else " with sample_weight"
        raise ValueError(f"class_weight{with_} is 0 for every sample: there is nothing to learn from")
    return found


def _of_labels(class_weight: Any, y: Array, weights: Array | None) -> Array:
    """As scikit-learn has it for y with several columns: the product over the labels of what each one's answer gets."""
    count = y.shape[1]
    each = [class_weight] * count if isinstance(class_weight, str) else class_weight
    if isinstance(each, dict) or not isinstance(each, Sequence) or len(each) != count:
        raise ValueError(
            f"class_weight is for {count} labels: give 'balanced', or a list with a dict of the weights of 0 and 1 for "
            f"each of them, got {class_weight!r}"
        )
    found = np.ones(len(y))
    for column, one in zip(y.T.astype(np.int64), each, strict=True):
        # A label that all samples have, or none, tells nothing apart.
        same = one == "balanced" and (column == column[0]).all()
        found *= _by_class(one, column, column[:1] if same else np.arange(2), weights)
    return found


def _of_classes(class_weight: Any, y: Array, targets: Targets, weights: Array | None) -> Array:
    if targets.kind == "labels":
        return _of_labels(class_weight, y, weights)
    classes = targets.counted
    if classes is None:
        what = f"rows of {targets.kind}: give their labels" if targets.kind == "classes" else targets.kind
        raise ValueError(f"class_weight is for targets that are classes, but y holds {what}")
    return _by_class(class_weight, y, classes, weights)


def _by_class(class_weight: Any, y: Array, classes: Array, weights: Array | None) -> Array:
    index = np.searchsorted(classes, y)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight must be 'balanced' or a dict of weights by label, got {class_weight!r}")
        counts = np.bincount(index, weights, minlength=len(classes))
        # A class without rows here, or whose rows have no weight, gets none: 0 times infinity is not a number.
        by_class = np.divide(counts.sum(), len(classes) * counts, out=np.zeros(len(classes)), where=counts > 0.0)
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
