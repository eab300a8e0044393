"""The compiled engine: one sample's loss is compiled, and a step is one native call and the optimiser's rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import functions
from macrograd.compiler import compile as compile_
from macrograd.compiler.compiled import Compiled
from macrograd.nn import Module, losses
from macrograd.train.task import Task


def sample_loss(model: Module, task: Task, l2: float) -> Compiled:
    """The loss of one sample, penalty included: its mean over a batch is the batch's loss."""
    loss, parameters = losses.get(task.loss), model.parameters()

    def sample(x: Any, target: Any) -> Any:
        value = loss(model(x), target)  # type: ignore[operator]  # a Module that is trained can be called
        return value + l2 * functions.dot(parameters, parameters) if l2 else value

    return compile_(sample, batch=True)


def predictor(model: Module) -> Compiled:
    """The model's output, for many samples at once."""

    def predict(x: Any) -> Any:
        return model(x)  # type: ignore[operator]  # as above

    return compile_(predict, batch=True)


class CompiledStep:
    """Loss, gradient and predictions of a batch in native code."""

    def __init__(self, model: Module, X: NDArray[np.float64], task: Task, l2: float) -> None:
        self.parameters, self.X, self.targets = model.parameters(), X, np.asarray(task.targets, dtype=np.float64)
        self.loss, self.predict = sample_loss(model, task, l2), predictor(model)

    def __call__(self, rows: Sequence[int]) -> tuple[float, list[Any]]:
        """The loss of these rows and the model's outputs for them; the gradient is in the parameters' `.grad`."""
        X, targets = self.X[rows], self.targets[rows]
        for parameter in self.parameters:
            parameter.grad = 0.0
        loss, outputs = self.loss.backward(X, targets), self.predict(X)
        return loss, outputs.tolist()
