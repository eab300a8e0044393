"""One run of a Trainer against the reference, number by number."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from macrograd.train import DivergedError, TrainingWarning

from . import reference
from .cases import Case, options

Array = NDArray[Any]
# Relative to 1 or the number itself, if larger: a range this wide decides nothing.
WIDE = {"float64": 2.0**-12, "float32": 2.0**-5}


@contextmanager
def quiet() -> Iterator[None]:
    """That random nets learn little is not what is looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        yield


def numbers(trainer: mg.Trainer) -> Array:
    """The trained parameters."""
    return np.array([p.data for p in trainer.model.parameters()])


def fitted(case: Case, number: int, trainer: mg.Trainer, **more: Any) -> bool:
    """One call of `fit`; whether it diverged."""
    try:
        with quiet():
            trainer.fit(case.X, case.y, **{**options(case.fits[number]), **more})
    except DivergedError:
        return True
    return False


def run(case: Case, **more: Any) -> str:
    """What is wrong with the runs of this case; "" if nothing is, and "?" where rounding decides."""
    trainer = case.made(**more)
    training = reference.Training(case)
    for number in range(len(case.fits)):
        diverged = fitted(case, number, trainer)
        try:
            answer = training.fit(number)
        except reference.UndecidableError:
            return "?"
        if diverged != (answer.diverged >= 0):
            return f"fit {number}: diverged {diverged}, expected at step {answer.diverged}"
        if text := compared(answer, trainer, case.trainer.get("dtype", "float64")):
            return text if text == "?" else f"fit {number}: {text}"
        if diverged:
            break
    return ""


def compared(answer: reference.Answer, trainer: Any, dtype: str) -> str:
    """The difference between a trained Trainer and the reference."""
    history = trainer.history
    steps = len(answer.losses)
    if len(history) != steps or not len(history.losses) == len(history.learning_rates) == len(history.seconds) == steps:
        return f"{len(history)} steps, expected {steps}"
    if history.learning_rates != answer.rates:
        return f"rates {history.learning_rates}, expected {answer.rates}"
    if answer.diverged < 0 and history.stopped != answer.stopped:
        return f"stopped {history.stopped!r}, expected {answer.stopped!r}"
    if history.metric_steps != answer.metric_steps:
        return f"metrics at {history.metric_steps}, expected {answer.metric_steps}"
    parts = [("loss", history.losses, answer.losses)]
    if answer.metrics:
        parts.append(("validation_loss", history.metrics["validation_loss"], answer.metrics))
    parts.append(("parameter", numbers(trainer), list(answer.theta.T)))
    for name, got, wanted in parts:
        if wanted and (text := near(np.array(got), np.stack(wanted, axis=1), dtype)):
            return text if text == "?" else f"{name} {text}"
    return ""


def near(got: Array, wanted: Array, dtype: str) -> str:
    """The first number outside the range of the replicas; "?" if that is too wide to tell."""
    whole = np.isfinite(wanted).all(axis=0)
    if not whole.all():  # a loss that is no number, or one of none
        if (np.isfinite(wanted).any(axis=0) & ~whole).any():
            return "?"
        if np.isfinite(got[~whole]).any():
            return f"{got}, expected {wanted[0]}"
        got, wanted = got[whole], wanted[:, whole]
    low, high = wanted.min(axis=0).astype(float), wanted.max(axis=0).astype(float)
    epsilon, width = float(np.finfo(dtype).eps), high - low
    room = width + 16.0 * epsilon * np.maximum(np.abs(low), np.abs(high)) + 4.0 * float(np.finfo(dtype).tiny)
    if (width > WIDE[dtype] * np.maximum(1.0, np.abs(high))).any():
        return "?"
    wrong = ~((got >= low - room) & (got <= high + room))
    if not wrong.any():
        return ""
    k = int(np.flatnonzero(wrong)[0])
    return f"{k}: {got[k]!r}, expected {float(wanted[0, k])!r} ± {room[k]:.2g}; {int(wrong.sum())} of {len(got)}"
