"""Shared by the pictures that look into a model: what they are given, and its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._numbers import check_unmasked
from macrograd.nn import Module, losses

Array = NDArray[Any]


def model_of(subject: Any, function: str) -> Any:
    """The model of a Trainer, or the Module itself. Raises TypeError for anything else."""
    model = getattr(subject, "model", subject)
    if not isinstance(model, Module):
        raise TypeError(
            f"{function}() takes a Trainer or an nn.Module, got {subject!r} of type {type(subject).__name__}"
        )
    return model


def samples_of(subject: Any, X: Any, function: str) -> Array:
    """Samples (n, …) as numbers that the model takes. Raises ValueError if there are none, or not all are finite."""
    numbers = getattr(subject, "numbers", None)
    check_unmasked(f"{function}(): X", X)
    found = np.asarray(X if numbers is None else numbers(X), dtype=np.float64)
    if found.ndim < 1 or not len(found):
        raise ValueError(f"{function}() takes samples X, a row for each, got an array of shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{function}() takes samples of finite numbers, and X has some that are not")
    return found


def loss_of(
    subject: Any, X: Any, y: Any, loss: str | Callable[..., Any] | None, function: str
) -> tuple[Any, tuple[Array, Array]]:
    """(the compiled loss of a sample, its arguments for all samples) of a Trainer, or of a Module and a loss.

    Raises ValueError if a Module comes without a loss, or a Trainer with one.
    """
    model = model_of(subject, function)
    of_trainer = getattr(subject, "objective", None)
    if of_trainer is not None:
        if loss is not None:
            raise ValueError(f"{function}() of a Trainer shows its own loss: give a Module and a loss for another")
        sample, arguments = of_trainer(X, y)
    else:
        if loss is None:
            raise ValueError(
                f"{function}() of a Module needs a loss: give one by name, such as loss='hinge', or a Trainer"
            )
        judge = losses.get(loss)
        check_unmasked(f"{function}(): y", y)
        arguments = samples_of(subject, X, function), np.asarray(y)
        if len(arguments[0]) != len(arguments[1]):
            raise ValueError(f"{function}() got {len(arguments[0])} samples and {len(arguments[1])} targets")

        def sample(x: Any, target: Any) -> Any:
            return judge(model(x), target)

    from macrograd.compiler import compile as compiled  # imported when needed

    return compiled(sample, batch=True), arguments


def grid_of(figure: Any, count: int, columns: int, widths: list[float] | None = None) -> list[Any]:
    """Axes for `count` panels in rows of at most `columns`, equally wide or with these widths."""
    across = min(count, columns)
    down = -(-count // across)
    axes = figure.subplots(down, across, squeeze=False, width_ratios=widths).ravel().tolist()
    for ax in axes[count:]:
        ax.set_axis_off()
    return list(axes[:count])


def few(count: int) -> list[int]:
    """A few of the indices below `count`, for ticks."""
    return list(range(count)) if count <= 4 else [0, count // 2, count - 1]
