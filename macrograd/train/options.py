"""The options of a Trainer, checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from macrograd.nn import Module
from macrograd.nn import losses as named_losses
from macrograd.optim import Optimizer
from macrograd.train.checks import is_number
from macrograd.train.engines import ENGINES
from macrograd.train.objective import takes_model


def check_options(
    model: Module,
    loss: str | Callable[..., Any] | None,
    optimizer: Optimizer | None,
    l2: float,
    penalty: Callable[[Module], Any] | None,
    engine: str,
    dtype: str,
    threads: int,
) -> None:
    """Raise TypeError or ValueError for options of a Trainer that do not fit."""
    _check_model(model, loss)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one of optim, as in optim.Adam(1e-2), got {optimizer!r}")
    if not (is_number(l2) and 0 <= l2 < math.inf):
        raise ValueError(f"l2 must be finite and not negative, got {l2!r}")
    if penalty is not None and not callable(penalty):
        raise TypeError(f"penalty must be a function (model) → scalar, got {penalty!r}")
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: use {' or '.join(ENGINES)}")
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a positive integer, got {threads!r}")


def _check_model(model: Module, loss: str | Callable[..., Any] | None) -> None:
    if isinstance(model, type):
        raise TypeError(f"Trainer() takes a Module, got the class {model.__name__}: make one, as in nn.MLP(2, [16, 1])")
    if not isinstance(model, Module):
        raise TypeError(f"Trainer() takes a Module, got {model!r} of type {type(model).__name__}")
    if isinstance(loss, Optimizer):
        raise TypeError(f"Trainer(model, loss) got {loss!r} as the loss: give it by name, optimizer={loss!r}")
    if loss is not None:
        named_losses.get(loss)
    if callable(loss):
        takes_model(loss)
    if not callable(model) and not (callable(loss) and takes_model(loss)):
        raise TypeError(
            f"a {type(model).__name__} cannot be called with a sample: define __call__(self, x), or give a loss "
            "(model, x, y)"
        )
