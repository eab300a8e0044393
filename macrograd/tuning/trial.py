"""One fit of a sweep: settings, a fold and a seed in, a score out. It depends on nothing else, wherever it runs."""

from __future__ import annotations

import inspect
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.train import Trainer, TrainingWarning

Array = NDArray[Any]

HIGHER_IS_BETTER = ("accuracy", "r2", "score")


@dataclass(frozen=True)
class Trial:
    """Settings number `config`, trained for `epochs` without the rows of `fold`, from `seed`; `rung` of halving."""

    config: int
    rung: int
    fold: int
    seed: int
    epochs: int | None

    @property
    def key(self) -> tuple[int, int, int, int]:
        return self.config, self.rung, self.fold, self.seed


@dataclass(frozen=True)
class Outcome:
    """The score on the held-out rows; NaN, with the reason, if the fit diverged."""

    trial: Trial
    score: float
    seconds: float
    error: str = ""


@dataclass(frozen=True, eq=False)  # hashable, as joblib's dask backend requires of the function it calls
class Work:
    """The data shared by all trials, callable to run a Trial; it can be sent to another process.

    fold_of  (n,) the fold that each row belongs to
    configs  the settings, by number
    """

    make: Callable[..., Any]
    X: Any
    y: Any
    fold_of: Array
    configs: list[dict[str, Any]]
    metric: str

    def __call__(self, trial: Trial) -> Outcome:
        begun = time.perf_counter()
        held = self.fold_of == trial.fold
        score, error = math.nan, ""
        try:
            score = self._score(trial, np.flatnonzero(~held), np.flatnonzero(held))
            error = "" if math.isfinite(score) else f"the {self.metric} is {score}"
        except ArithmeticError as failed:  # it diverged, as settings may
            error = f"{type(failed).__name__}: {failed}"
        return Outcome(trial, score if not error else math.nan, time.perf_counter() - begun, error)

    def _score(self, trial: Trial, learned: Array, held: Array) -> float:
        X, y = self.X, self.y
        net, options = self._made(trial)
        with warnings.catch_warnings():
            # Some settings are bad, and the score shows it.
            warnings.simplefilter("ignore", TrainingWarning)
            if isinstance(net, Trainer):
                if trial.epochs is not None:
                    options = {"epochs": trial.epochs, **options}
                options = {"seed": trial.seed, "progress": False, **options}
                net.fit(rows_of(X, learned), rows_of(y, learned), **options)
                names = [] if self.metric == "loss" else [self.metric]
                return net.evaluate(rows_of(X, held), rows_of(y, held), metrics=names)[self.metric]
            if trial.epochs is not None:
                net.set_params(epochs=trial.epochs)
            net.fit(rows_of(X, learned), rows_of(y, learned), **options)
            return float(net.score(rows_of(X, held), rows_of(y, held)))

    def _made(self, trial: Trial) -> tuple[Any, dict[str, Any]]:
        settings = self.configs[trial.config]
        length = {"epochs": trial.epochs} if self._takes_epochs and "epochs" not in settings else {}
        made = self.make(seed=trial.seed, **length, **settings)
        net, options = made if isinstance(made, tuple) and len(made) == 2 else (made, {})
        if not isinstance(net, Trainer) and not (hasattr(net, "fit") and hasattr(net, "score")):
            raise TypeError(
                f"make must return a Trainer or a scikit-learn estimator, or a pair of one and the options of its fit, "
                f"as in (trainer, {{'batch_size': 32}}); it returned {made!r}"
            )
        return net, options

    @property
    def _takes_epochs(self) -> bool:
        return "epochs" in inspect.signature(self.make).parameters

    def checked(self, epochs: int | None) -> Work:
        """The same with a metric. Tries the first settings, and raises TypeError and ValueError for errors that do not
        depend on the settings."""
        if not callable(self.make):
            raise TypeError(f"make must be a function (seed=…, **settings) → Trainer or estimator, got {self.make!r}")
        try:
            length = {"epochs": 1} if self._takes_epochs and "epochs" not in self.configs[0] else {}
            inspect.signature(self.make).bind(seed=0, **length, **self.configs[0])
        except TypeError as error:
            names = ", ".join(f"{name}=…" for name in self.configs[0])
            raise TypeError(f"make is called as make(seed=…, {names}), which it does not take: {error}") from None
        trainer = isinstance(self._made(Trial(0, 0, 0, 0, epochs))[0], Trainer)
        metric = self.metric or ("loss" if trainer else "score")
        if trainer and metric == "score":
            raise ValueError("metric 'score' is for scikit-learn estimators: for a Trainer, use 'loss' or a metric")
        if not trainer and metric != "score":
            raise ValueError(f"metric {metric!r} is for Trainers: an estimator is judged by its score()")
        return replace(self, metric=metric)


def folds_of(y: Any, folds: int, seed: int) -> Array:
    """(n,) the fold of each row, at random, stratified by labels. A single fold is a quarter of the rows; the others
    are in no fold, −1."""
    labels, order = np.asarray(y), np.random.RandomState(seed).permutation(len(y))
    if labels.ndim == 1 and labels.dtype.kind not in "f":
        _, codes = np.unique(labels.astype(str), return_inverse=True)
        order = order[np.argsort(codes[order], kind="stable")]
    found = np.empty(len(y), dtype=np.int64)
    found[order] = np.arange(len(y)) % (folds if folds > 1 else 4)
    return found if folds > 1 else np.where(found == 0, 0, -1)


def rows_of(data: Any, rows: Array) -> Any:
    """Some rows of an array, a list or a frame of pandas, polars or Arrow."""
    if hasattr(data, "iloc"):
        return data.iloc[rows]
    if hasattr(data, "take") and hasattr(data, "schema"):
        return data.take(rows)
    return data[rows] if hasattr(data, "shape") else np.asarray(data)[rows]
