"""One fit of a sweep: settings, a fold and a seed in, a score out. It depends on nothing else, wherever it runs."""

from __future__ import annotations

import inspect
import math
import re
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.train import Trainer, TrainingWarning, train_many
from macrograd.train.diagnose import DivergedError
from macrograd.train.endings import DIVERGED, FAILED, INTERRUPTED
from macrograd.train.nets.many import WHOLE
from macrograd.train.samples.data import rows_of

Array = NDArray[Any]

_MOST_AT_ONCE = 2_000_000  # parameters: Values of some 200 MB

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


# The models of this process's fits that are still alive, by id.
_models: WeakValueDictionary[int, Any] = WeakValueDictionary()


def _check_new(model: Any) -> None:
    """Raise ValueError for the model of an earlier fit, which would go on from there, and may know held-out rows."""
    if _models.get(id(model)) is model:
        raise ValueError("make returned the model of an earlier fit: make a new one at every call")
    _models[id(model)] = model


@dataclass(frozen=True, eq=False)  # hashable, as joblib's dask backend requires of the function it calls
class Work:
    """The data shared by all trials, callable to run some of them; it can be sent to another process.

    Trainers run together (`train_many`), always with members on lanes, so that a score does not depend on which others
    run beside it.

    fold_of   (n,) the fold that each row belongs to
    configs   the settings, by number
    together  how many of its nets are made at once, at most: large ones fill the memory
    """

    make: Callable[..., Any]
    X: Any
    y: Any
    fold_of: Array
    configs: list[dict[str, Any]]
    metric: str
    together: int = sys.maxsize

    def __call__(self, trials: Sequence[Trial]) -> list[Outcome]:
        with warnings.catch_warnings():
            # Some settings are bad, and the score shows it.
            warnings.simplefilter("ignore", TrainingWarning)
            made = [(trial, *self._made(trial)) for trial in trials]
            together = [one for one in made if isinstance(one[1], Trainer) and not WHOLE & one[2].keys()]
            found = self._together(together) if together else {}
            for one in made:
                if one[0] not in found:
                    found[one[0]] = self._alone(*one)
        return [found[trial] for trial in trials]

    def _together(self, made: list[tuple[Trial, Trainer, dict[str, Any]]]) -> dict[Trial, Outcome]:
        """Train these in one run, and score each."""
        begun = time.perf_counter()
        trainers = [trainer for _, trainer, _ in made]
        rows = {trial.fold: self._learned(trial) for trial, _, _ in made}  # one array for all of a fold: one plan
        each = [
            {"rows": rows[trial.fold], "seed": trial.seed, **_length(trial), **options} for trial, _, options in made
        ]
        try:
            many = train_many(trainers, self.X, self.y, each=each, lanes="members")
        except (TypeError, ValueError, IndexError) as error:
            member = re.fullmatch(r"member (\d+)(?:: | )(.*)", str(error), re.DOTALL)
            if member is None:
                raise
            trial = made[int(member[1])][0]  # which of these run together tells a user nothing
            raise type(error)(f"with {self.configs[trial.config]}, fold {trial.fold}: {member[2]}") from error
        if self.metric == "loss":
            scores = many.losses(self.X, self.y, [self._held(trial) for trial, _, _ in made])
        else:
            scores = [self._evaluated(trial, trainer) for trial, trainer, _ in made]
        seconds = (time.perf_counter() - begun) / len(made)
        found = {}
        for (trial, trainer, _), score, verdict in zip(made, scores, many.verdicts, strict=True):
            stopped = trainer.history.stopped
            if FAILED.ended(stopped):
                raise RuntimeError(f"with {self.configs[trial.config]}: {verdict}")
            if INTERRUPTED.ended(stopped):
                raise KeyboardInterrupt
            found[trial] = self._outcome(trial, score, seconds, f"DivergedError: {verdict}" * DIVERGED.ended(stopped))
        return found

    def _alone(self, trial: Trial, net: Any, options: dict[str, Any]) -> Outcome:
        begun = time.perf_counter()
        score, error = math.nan, ""
        learned, held = self._learned(trial), self._held(trial)
        try:
            if isinstance(net, Trainer):
                options = {"seed": trial.seed, "progress": False, **_length(trial), **options}
                net.fit(rows_of(self.X, learned), rows_of(self.y, learned), **options)
                if INTERRUPTED.ended(net.history.stopped):
                    raise KeyboardInterrupt
                score = self._evaluated(trial, net)
            else:
                if trial.epochs is not None:
                    net.set_params(epochs=trial.epochs)
                net.fit(rows_of(self.X, learned), rows_of(self.y, learned), **options)
                score = float(net.score(rows_of(self.X, held), rows_of(self.y, held)))
        except ArithmeticError as failed:  # it diverged, as settings may
            if isinstance(net, Trainer) and not isinstance(failed, DivergedError):
                raise  # an error of a callback or a metric
            error = f"{type(failed).__name__}: {failed}"
        return self._outcome(trial, score, time.perf_counter() - begun, error)

    def _outcome(self, trial: Trial, score: float, seconds: float, error: str) -> Outcome:
        if not error and not math.isfinite(score):
            error = f"the {self.metric} is {score}"
        return Outcome(trial, math.nan if error else score, seconds, error)

    def _evaluated(self, trial: Trial, trainer: Trainer) -> float:
        held = self._held(trial)
        names = [] if self.metric == "loss" else [self.metric]
        return trainer.evaluate(rows_of(self.X, held), rows_of(self.y, held), metrics=names)[self.metric]

    def _learned(self, trial: Trial) -> Array:
        return np.flatnonzero(self.fold_of != trial.fold)

    def _held(self, trial: Trial) -> Array:
        return np.flatnonzero(self.fold_of == trial.fold)

    def alike(self, trials: Sequence[Trial]) -> list[list[Trial]]:
        """The trials in groups that may share a program: settings that are fractions, such as rates, are numbers in it,
        and any other may change it."""
        groups: dict[tuple[str, ...], list[Trial]] = {}
        for trial in trials:
            settings = self.configs[trial.config].items()
            key = tuple(f"{name}={value!r}" for name, value in settings if not isinstance(value, float))
            groups.setdefault(key, []).append(trial)
        return list(groups.values())

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
        self._check_options(options, trial.epochs)
        if isinstance(net, Trainer):
            _check_new(net.model)
        return net, options

    def _check_options(self, options: dict[str, Any], epochs: int | None) -> None:
        """Raise ValueError for options of a fit that would undo what the sweep sets."""
        if "rows" in options:
            raise ValueError("make returned the option rows, but the sweep holds out rows itself: leave rows out")
        for name in ("epochs", "steps"):
            if epochs is not None and name in options:
                raise ValueError(
                    f"make returned the option {name}={options[name]!r}, but the sweep sets the length of a fit, "
                    f"epochs={epochs}: leave one of them out"
                )

    @cached_property
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
        first = self._made(Trial(0, 0, 0, 0, epochs))[0]
        trainer = isinstance(first, Trainer)
        metric = self.metric or ("loss" if trainer else "score")
        if trainer and metric == "score":
            raise ValueError("metric 'score' is for scikit-learn estimators: for a Trainer, use 'loss' or a metric")
        if not trainer and metric != "score":
            raise ValueError(f"metric {metric!r} is for Trainers: an estimator is evaluated by its score()")
        together = max(1, _MOST_AT_ONCE // max(1, len(first.model.parameters()))) if trainer else self.together
        return replace(self, metric=metric, together=together)


def _length(trial: Trial) -> dict[str, Any]:
    return {} if trial.epochs is None else {"epochs": trial.epochs}


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
