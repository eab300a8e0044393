"""What is to be learned: which loss fits the targets, how they are written for it, and how a prediction is judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrograd.nn import losses
from macrograd.train.targets import DEFAULT

# The losses that fit each kind of target; which of them is the default is the same as for a Trainer.
FITTING = {
    "two classes": ("hinge", "binary_cross_entropy", "cross_entropy", "squared_error", "absolute_error", "huber"),
    "classes": ("cross_entropy",),
    "number": ("squared_error", "absolute_error", "huber"),
}


@dataclass(frozen=True)
class Task:
    """Targets as a loss wants them.

    kind     "two classes", "classes" or "number"
    loss     the name of the loss, from `nn.losses`
    outputs  how many outputs the net needs
    targets  one a sample: −1.0 or +1.0, 0.0 or 1.0, a class index, or a number
    unit     what 1 of a number target stands for, in which the metric is given
    """

    kind: str
    loss: str
    outputs: int
    targets: list[Any]
    unit: float = 1.0

    @classmethod
    def of(cls, y: ArrayLike, loss: str | None = None, *, unit: float = 1.0) -> Task:
        """The task of learning `y`, of shape (n,): integers are classes 0 … k − 1, other numbers are numbers.

        Two classes are learned with one output, more with one each, numbers with one, by the loss that a Trainer takes
        for such targets, unless `loss` names another that fits. Raises ValueError for a loss that
        does not fit, and for targets of another shape, of a single class, or not finite.
        """
        array = np.asarray(y)
        if array.ndim != 1 or not len(array) or array.dtype.kind not in "biuf":
            raise ValueError(f"targets must be numbers of shape (n,), got {array.dtype} of shape {array.shape}")
        if array.dtype.kind == "f":
            if not np.isfinite(array).all():
                row = int(np.flatnonzero(~np.isfinite(array))[0])
                raise ValueError(f"the target of sample {row} is {array[row]}: targets must be finite")
            return cls("number", _fitting("number", loss), 1, array.astype(float).tolist(), unit)
        classes, found = int(array.max()) + 1, len(np.unique(array))
        if array.min() < 0 or found < classes:
            raise ValueError(f"classes must be numbered 0 … k − 1 with none left out, got {np.unique(array).tolist()}")
        if found < 2:
            raise ValueError("all targets are of one class: there is nothing to tell apart")
        if classes > 2:
            return cls("classes", _fitting("classes", loss), classes, array.tolist())
        name = _fitting("two classes", loss)
        task = cls("two classes", name, 2 if name == "cross_entropy" else 1, [])
        return replace(task, targets=task.written(array).tolist())

    def written(self, y: ArrayLike) -> NDArray[Any]:
        """Class indices, or numbers, as the loss wants them."""
        array = np.asarray(y)
        if self.kind != "two classes" or self.outputs > 1:
            return array
        return np.where(array > 0, 1.0, 0.0 if self.loss == "binary_cross_entropy" else -1.0)

    @property
    def metric(self) -> str:
        """The name of the number that people judge a prediction by."""
        return "mean_absolute_error" if self.kind == "number" else "accuracy"

    def judge(self, predictions: Sequence[Any], rows: Sequence[int]) -> float:
        """The metric over some samples: the share of right classes, or the mean distance in units.

        `predictions` are the net's outputs for them, floats, or lists of floats where there are several outputs.
        """
        pairs = [(p, self.targets[i]) for p, i in zip(predictions, rows, strict=True)]
        if self.kind == "number":
            return self.unit * math.fsum(abs(p - t) for p, t in pairs) / len(pairs)
        # With one output the targets of the classes are on both sides of a score of 0, or are 0 and 1.
        right: int = sum(self.decide(p) == (t if self.outputs > 1 else t > 0) for p, t in pairs)
        return right / len(pairs)

    def decide(self, prediction: Any) -> int:
        """The class that a prediction means: that of the largest output, or with one output class 1 above 0.

        0 is the middle for every loss with one output: of the targets −1 and +1, and the logit of one half.
        """
        return int(prediction.index(max(prediction)) if self.outputs > 1 else prediction > 0)


def _fitting(kind: str, loss: str | None) -> str:
    if loss is None:
        return DEFAULT["numbers" if kind == "number" else kind]
    losses.get(loss)
    if loss not in FITTING[kind]:
        what = {"two classes": "two classes", "classes": "more than two classes", "number": "a number"}[kind]
        raise ValueError(f"the loss {loss!r} does not fit a target of {what}: use {' or '.join(FITTING[kind])}")
    return loss
