"""One training step, by the engine that is asked for. An engine is one entry in `ENGINES` and nothing elsewhere.

A step is a function from the indices of a batch to (loss, predictions): it computes both, adds the penalty
l2·Σ parameter², and lets the optimiser move the parameters. It moves them by a finite gradient or not at all.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from macrograd import functions
from macrograd.nn import Module, losses
from macrograd.optim import Optimizer
from macrograd.train.task import Task

Step: TypeAlias = Callable[[Sequence[int]], tuple[float, list[Any]]]


class Engine(Protocol):
    def __call__(
        self, model: Module, X: NDArray[np.float64], task: Task, optimizer: Optimizer, l2: float, /
    ) -> Step: ...


class DivergedError(ArithmeticError):
    """A loss or a gradient was not finite; the parameters are those before the step."""


def eager(model: Module, X: NDArray[np.float64], task: Task, optimizer: Optimizer, l2: float, /) -> Step:
    """Plain Values: one graph of the whole batch a step, gone when the step returns."""
    samples, targets, loss = X.tolist(), task.targets, losses.get(task.loss)
    parameters = model.parameters()

    def step(rows: Sequence[int]) -> tuple[float, list[Any]]:
        with no_collection():
            return computed(rows)

    def computed(rows: Sequence[int]) -> tuple[float, list[Any]]:
        outputs = [model(samples[i]) for i in rows]  # type: ignore[operator]  # a Module that is trained can be called
        total = functions.mean(loss(output, targets[i]) for output, i in zip(outputs, rows, strict=True))
        if l2:
            total = total + l2 * functions.dot(parameters, parameters)
        model.zero_grad()
        total.backward()
        check_finite(total.data, [p.grad for p in parameters], optimizer)
        optimizer.step(parameters)
        return total.data, [plain(output) for output in outputs]

    return step


def compiled(model: Module, X: NDArray[np.float64], task: Task, optimizer: Optimizer, l2: float, /) -> Step:
    """The same in native code; the compiler is loaded here, so that the eager engine does not wait for it."""
    from macrograd.train.compiled import CompiledStep

    gradient = CompiledStep(model, X, task, l2)
    parameters = gradient.parameters

    def step(rows: Sequence[int]) -> tuple[float, list[Any]]:
        loss, predictions = gradient(rows)
        check_finite(loss, [p.grad for p in parameters], optimizer)
        optimizer.step(parameters)
        return loss, predictions

    return step


ENGINES: dict[str, Engine] = {"compiled": compiled, "eager": eager}


def make_step(engine: str, model: Module, X: NDArray[np.float64], task: Task, optimizer: Optimizer, l2: float) -> Step:
    """The step of the engine of that name. Raises ValueError for a name that is not known."""
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not known: use {' or '.join(ENGINES)}")
    return ENGINES[engine](model, X, task, optimizer, l2)


def predict(model: Module, X: NDArray[np.float64], engine: str = "compiled") -> list[Any]:
    """The model's outputs for all samples X of shape (n, features): floats, or lists of floats."""
    if engine == "compiled":
        from macrograd.train.compiled import predictor

        found: list[Any] = predictor(model)(X).tolist()
        return found
    return [plain(model(row)) for row in X.tolist()]  # type: ignore[operator]  # a Module that is trained can be called


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Without the cyclic garbage collector: graphs of Values have no cycles, and looking for them is a third of a step.

    Reference counts free a step's graph as its last name goes; whatever else has cycles is collected between the steps.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def plain(output: Any) -> Any:
    """A net's output as a float, or a list of floats."""
    return [float(x) for x in output] if isinstance(output, list) else float(output)


def check_finite(loss: float, gradients: Sequence[float], optimizer: Optimizer) -> None:
    """Raises DivergedError if the loss or a gradient is NaN or infinite."""
    if math.isfinite(loss) and all(map(math.isfinite, gradients)):
        return
    what = "a gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
    raise DivergedError(
        f"{what} at step {optimizer.steps}, with the learning rate {optimizer.learning_rate:.6g}: "
        "a smaller learning rate or features of the size of 1 usually help"
    )
