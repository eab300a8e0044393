"""The command's learning task: the targets of a Trainer, and the metric of a prediction.

`targets` decides which loss learns which targets and how they are encoded, for the command as for a Trainer. The two
differ only where the user tells one of them more:

- `--task`, or a guess from its name and cells (`tables.target`), turns a table's column into classes or a number; so
integers that reach a task are classes, and other numbers are numbers. A Trainer, which has only the array and the
model, takes floats such as 0.0 and 1.0 for classes if the model's outputs fit them.
- With a loss for numbers, such as `squared_error`, a Trainer learns integers as numbers. The command still learns two
classes if its column holds classes: as −1 and +1, like hinge, so that 0 is between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrograd._dataclass import dataclass
from macrograd.nn import losses
from macrograd.train.samples.outputs import predicted
from macrograd.train.samples.targets import NUMBERS, Targets
from macrograd.train.samples.targets import of as targets_of

# The losses that can be named for each kind of target.
FITTING = {
    "two classes": ("hinge", "binary_cross_entropy", "cross_entropy", "squared_error", "absolute_error", "huber"),
    "classes": ("cross_entropy",),
    "number": ("squared_error", "absolute_error", "huber"),
    "labels": ("binary_cross_entropy",),
}


@dataclass(frozen=True)
class Task:
    """Targets encoded for a loss.

    kind     "two classes", "classes", "labels" (several yes-or-no labels) or "number"
    loss     the name of the loss, from `nn.losses`
    outputs  the number of outputs that the net needs
    targets  one per sample: −1.0 or +1.0, 0.0 or 1.0, a class index, a number, or a list of 0.0 and 1.0
    meaning  their encoding
    unit     the unit of a number target, in which the metric is given
    """

    kind: str
    loss: str
    outputs: int
    targets: list[Any]
    meaning: Targets
    unit: float = 1.0

    @classmethod
    def of(cls, y: ArrayLike, loss: str | None = None, *, unit: float = 1.0) -> Task:
        """The task of learning `y`, of shape (n,): integers are classes 0 … k − 1, other numbers are numbers; or of
        shape (n, k): yes-or-no labels, 0 and 1.

        Two classes are learned with one output, more with one each, numbers with one, by the loss that a Trainer takes
        for such targets, unless `loss` names another that fits. Raises ValueError for a loss that
        does not fit, and for targets of another shape, of a single class, or not finite.
        """
        array = np.asarray(y)
        if array.ndim == 2 and array.shape[1] > 1 and np.isin(array, (0, 1)).all():
            _check_fits("labels", loss or "binary_cross_entropy")
            labels = targets_of(array, "binary_cross_entropy", 0)
            return cls("labels", "binary_cross_entropy", array.shape[1], labels.encode(array).tolist(), labels)
        if array.ndim != 1 or not len(array) or array.dtype.kind not in "biuf":
            raise ValueError(f"targets must be numbers of shape (n,), got {array.dtype} of shape {array.shape}")
        if array.dtype.kind == "f":
            if not np.isfinite(array).all():
                row = int(np.flatnonzero(~np.isfinite(array))[0])
                raise ValueError(f"the target of sample {row} is {array[row]}: targets must be finite")
            kind = "number"
        else:
            classes, found = int(array.max()) + 1, len(np.unique(array))
            if array.min() < 0 or found < classes:
                raise ValueError(
                    f"classes must be numbered 0 … k − 1 with none left out, got {np.unique(array).tolist()}"
                )
            if found < 2:
                raise ValueError("all targets are of one class: there is nothing to tell apart")
            kind, unit = "two classes" if classes == 2 else "classes", 1.0
        if loss is not None:
            _check_fits(kind, loss)
        named = "hinge" if kind == "two classes" and loss in NUMBERS else loss
        meaning = targets_of(array, named, 0)
        name = str(meaning.loss) if loss is None else loss
        return cls(kind, name, meaning.outputs, meaning.encode(array).tolist(), meaning, unit)

    def written(self, y: ArrayLike) -> NDArray[Any]:
        """Class indices or numbers, encoded for the loss."""
        return self.meaning.encode(y)

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return "mean_absolute_error" if self.kind == "number" else "accuracy"

    def answers(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """What the net's outputs say of each sample: its class, whether each of its labels holds, or its number.

        outputs  (n,), or (n, k) if there are several

        With one output, a class is decided by 0, the midpoint for every loss: between the targets −1 and +1, and the
        logit of ½.
        """
        if self.kind == "number":
            return outputs
        return outputs > 0 if self.kind == "labels" else predicted(outputs)

    def score(self, answers: Sequence[Any] | NDArray[Any], rows: Sequence[int]) -> float:
        """The metric of the answers for some samples: the fraction of correct classes or labels, or the mean absolute
        error in units. Raises ValueError for another number of answers than rows."""
        if len(answers) != len(rows):
            raise ValueError(f"there are {len(answers)} answers for {len(rows)} rows")
        targets = [self.targets[i] for i in rows]
        if self.kind == "number":
            given = np.asarray(answers).tolist()
            return self.unit * math.fsum(abs(p - t) for p, t in zip(given, targets, strict=True)) / len(rows)
        right = np.asarray(targets) if self.kind == "classes" or self.outputs > 1 else np.asarray(targets) > 0
        return float(np.mean(np.asarray(answers) == right))

    def score_of(self, answers: Sequence[Any] | NDArray[Any], y: ArrayLike) -> float:
        """`score` of the answers for other samples, whose targets are `y`, as `of` takes them."""
        return replace(self, targets=self.written(y).tolist()).score(answers, range(len(answers)))


def _check_fits(kind: str, loss: str) -> None:
    losses.get(loss)
    if loss not in FITTING[kind]:
        what = {"two classes": "two classes", "classes": "more than two classes", "number": "a number"}.get(kind, kind)
        raise ValueError(f"the loss {loss!r} does not fit a target of {what}: use {' or '.join(FITTING[kind])}")
