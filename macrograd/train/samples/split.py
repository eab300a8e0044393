"""Validation data: given, or a fraction held out of the training data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.train.samples import weights as weighting
from macrograd.train.samples.data import Samples
from macrograd.train.samples.targets import Targets

Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """Samples with their targets encoded for the loss, the targets as given, and weights if there are any."""

    samples: Samples
    targets: Array
    y: Array
    weights: Array | None

    def subset(self, rows: Array) -> Part:
        """Some of the rows, copied."""
        weights = None if self.weights is None else self.weights[rows]
        return Part(self.samples.subset(rows), self.targets[rows], self.y[rows], weights)


def validation_of(
    validation: Any,
    whole: Part,
    targets: Targets,
    seed: int,
    ordered: Callable[..., Any] | None = None,
    encode: Callable[[Any, str], Array] | None = None,
    seen: Callable[[Samples], Samples] = lambda samples: samples,
) -> tuple[Part, Part | None]:
    """(the training part, the validation part).

    validation  None, (Xv, yv), (Xv, yv, weights), or a fraction between 0 and 1 of the samples, drawn at random with
                `seed`
    ordered     (data, name=) → the columns that the model takes, in its order; None where they have no names
    encode      (targets, their name in messages) → encoded for the loss; None for `targets.encode`
    seen        samples as given → as the model sees them

    Raises ValueError for data of another width, labels that training does not have, and for a fraction that leaves a
    part without samples or without one of the classes.
    """
    if validation is None:
        return whole, None
    if isinstance(validation, (int, float)):
        return _split(float(validation), whole, targets, seed)
    try:
        Xv, yv, *more = validation
        (given,) = more or [None]
    except (TypeError, ValueError):
        raise ValueError(
            f"validation must be (Xv, yv), (Xv, yv, weights) or a fraction of the data, got {type(validation).__name__}"
        ) from None
    samples = Samples(Xv if ordered is None else ordered(Xv, name="Xv"), name="Xv", dtype=whole.samples.dtype.name)
    if samples.shape != whole.samples.shape:
        raise ValueError(
            f"Xv has samples of shape {samples.shape}, but X of shape {whole.samples.shape}: they must match"
        )
    samples, encoded = seen(samples), (encode or targets.encode)(yv, "yv")
    if len(encoded) != samples.count:
        raise ValueError(f"Xv has {samples.count} samples and yv {len(encoded)} targets: there must be one for each")
    weights = weighting.of(given, None, np.asarray(yv).reshape(encoded.shape), targets)
    if weights is not None:
        weights = weights / weights.mean()
    return whole, Part(samples, encoded, np.asarray(yv), weights)


def _split(fraction: float, whole: Part, targets: Targets, seed: int) -> tuple[Part, Part]:
    n = whole.samples.count
    if not 0 < fraction < 1:
        raise ValueError(f"the validation fraction must be between 0 and 1, got {fraction}")
    if whole.samples.in_file:
        raise ValueError(
            "a validation fraction would be copied out of the data, but X stays in its file: give (Xv, yv)"
        )
    held = round(n * fraction)
    if not 0 < held < n:
        raise ValueError(
            f"a fraction of {fraction} of {n} samples leaves {held} for validation and {n - held} for training: both "
            "need at least one"
        )
    order = np.random.RandomState(seed).permutation(n)
    training, validation = whole.subset(np.sort(order[held:])), whole.subset(np.sort(order[:held]))
    if targets.kind in ("two classes", "classes") and targets.classes is not None and not targets.shape:
        for part, what in ((training, "training"), (validation, "validation")):
            missing = sorted(set(whole.targets.tolist()) - set(part.targets.tolist()))
            if missing:
                label = targets.classes[np.flatnonzero(np.unique(whole.targets) == missing[0])[0]]
                raise ValueError(
                    f"the split leaves no sample of the class {label} for {what}: take another seed or fraction, or "
                    "give (Xv, yv)"
                )
    # Weights are for training only; validation counts every row the same.
    return training, Part(validation.samples, validation.targets, validation.y, None)
