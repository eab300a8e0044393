"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from macrograd.nn import Module
from macrograd.optim import Optimizer
from macrograd.train.batches import batches
from macrograd.train.history import History
from macrograd.train.steps import make_step
from macrograd.train.task import Task


def fit(
    model: Module,
    X: ArrayLike,
    task: Task,
    *,
    optimizer: Optimizer,
    steps: int,
    batch_size: int | None = None,
    l2: float = 0.0,
    seed: int = 0,
    engine: str = "eager",
    on_step: Callable[[History], None] | None = None,
) -> History:
    """Train `model` for a number of steps and return what happened.

    X           the samples, of shape (n, features), finite numbers
    task        their targets, and the loss to make small
    optimizer   what moves the parameters; its schedule counts the steps
    batch_size  how many random samples a step sees; None for all of them, in order
    l2          this times the sum of the squared parameters is added to the loss
    seed        of the batches
    engine      a name from `ENGINES`
    on_step     called after each step with the history so far

    Raises ValueError for data, sizes and names that do not fit, before any work is done, and DivergedError when a loss
    or gradient is not finite, with the parameters as they were before that step.
    """
    samples = _checked(X, task)
    if steps < 0:
        raise ValueError(f"the number of steps must be 0 or more, got {steps}")
    if not 0 <= l2 < float("inf"):
        raise ValueError(f"l2 must be 0 or more and finite, got {l2}")
    order = batches(len(samples), batch_size, seed)
    step = make_step(engine, model, samples, task, optimizer, l2)
    history = History()
    start = time.perf_counter()
    for _ in range(steps):
        rows = next(order).tolist()
        rate = optimizer.learning_rate
        loss, predictions = step(rows)
        history.record(loss, {task.metric: task.judge(predictions, rows)}, rate, time.perf_counter() - start)
        if on_step is not None:
            on_step(history)
    return history


def _checked(X: ArrayLike, task: Task) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    samples = np.asarray(X, dtype=np.float64)
    if samples.ndim != 2:
        raise ValueError(f"samples must be of shape (n, features), got {samples.shape}")
    if len(samples) != len(task.targets):
        raise ValueError(
            f"there are {len(samples)} samples but {len(task.targets)} targets: there must be one for each"
        )
    if not np.isfinite(samples).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(samples))[0])
        raise ValueError(f"feature {column} of sample {row} is {samples[row, column]}: samples must be finite numbers")
    return samples
