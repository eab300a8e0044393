"""`sweep`: random and successive-halving search."""

from __future__ import annotations

import csv
import io
import math
import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from macrograd import _files
from macrograd._dataclass import dataclass
from macrograd.train.samples.metrics import METRICS
from macrograd.train.verdict import TrainingWarning
from macrograd.tuning import space as spaces
from macrograd.tuning import workers as pools
from macrograd.tuning.ledger import Ledger, Memory, missing
from macrograd.tuning.progress import Shown
from macrograd.tuning.trial import HIGHER_IS_BETTER, Outcome, Trial, Work, folds_of

_SHOWN = 10  # rows in the printed table


@dataclass(frozen=True)
class Line:
    """Settings and their score: mean and standard deviation over folds and seeds in their last rung; NaN, with the
    reason, if a fit diverged."""

    values: dict[str, Any]
    score: float
    deviation: float
    rung: int
    epochs: int | None
    fits: int
    seconds: float
    error: str


class Sweep:
    """The results of a sweep, the best settings first. Print it for a table.

    metric   the measure on held-out rows; `higher` says whether more is better
    lines    one for each tuple of settings
    """

    def __init__(self, metric: str, names: list[str], lines: list[Line]) -> None:
        self.metric, self.names, self.higher = metric, names, metric in HIGHER_IS_BETTER
        sign = -1.0 if self.higher else 1.0
        self.lines = sorted(
            lines, key=lambda x: (0, -x.rung, sign * x.score) if math.isfinite(x.score) else (1, -x.rung, 0.0)
        )

    @property
    def best(self) -> dict[str, Any]:
        """The best settings. Raises ValueError if none has a score."""
        return self._first().values

    @property
    def score(self) -> float:
        """Their score. Raises ValueError if no settings have one."""
        return self._first().score

    @property
    def failure(self) -> str:
        """What is wrong, and the remedy, if no settings have a score; otherwise ""."""
        if math.isfinite(self.lines[0].score):
            return ""
        fits, line = sum(x.fits for x in self.lines), self.lines[0]
        return (
            f"none of the {len(self.lines)} settings has a score, since fits of each failed ({fits} fits in all); with "
            f"{described(line.values)}: {line.error}. Try smaller learning rates, or features and targets that are "
            "scaled"
        )

    def _first(self) -> Line:
        if self.failure:
            raise ValueError(self.failure)
        return self.lines[0]

    def __repr__(self) -> str:
        if self.failure:
            return f"Sweep({len(self.lines)} settings, none with a score)"
        return f"Sweep({len(self.lines)} settings, best {self.metric} {self.score:.6g} with {described(self.best)})"

    def __str__(self) -> str:
        rows = [["", *self.names, self.metric, "±", "epochs", "fits"]]
        for k, x in enumerate(self.lines[:_SHOWN], 1):
            score = [f"{x.score:.5g}", f"{x.deviation:.2g}"] if math.isfinite(x.score) else ["diverged", ""]
            epochs = "auto" if x.epochs is None else str(x.epochs)
            rows.append([str(k), *(_short(x.values[name]) for name in self.names), *score, epochs, str(x.fits)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        more = len(self.lines) - _SHOWN
        return "\n".join([*lines, *([f"… and {more} more"] if more > 0 else [])])

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write all settings with their scores as CSV, whole or not at all."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*self.names, self.metric, "deviation", "epochs", "fits", "seconds", "error"])
        for x in self.lines:
            told = ["" if math.isnan(n) else repr(n) for n in (x.score, x.deviation)]
            epochs = "" if x.epochs is None else x.epochs
            writer.writerow([*x.values.values(), *told, epochs, x.fits, f"{x.seconds:.3f}", x.error])
        return _files.write_whole(path, text.getvalue().encode())


def sweep(
    make: Callable[..., Any],
    X: Any,
    y: Any,
    space: Mapping[str, Any],
    *,
    n: int = 20,
    folds: int = 3,
    seeds: int = 1,
    epochs: int | None = None,
    metric: str | None = None,
    halving: int | None = None,
    seed: int = 0,
    workers: int = 1,
    on: Any = None,
    folder: str | os.PathLike[str] | None = None,
    progress: str | bool = "auto",
) -> Sweep:
    """Try settings of hyperparameters, and score each on held-out rows.

    make      (seed=…, **settings) → a `Trainer` or a scikit-learn estimator, or a pair of one of them and the options
              of its fit, as in (trainer, {"batch_size": 64}). If it also takes `epochs`, it gets the length of the fit,
              for its schedule. For workers in other processes it must be picklable, or joblib installed, which can also
              send functions of a script or a notebook
    X, y      arrays or frames, as its `fit` takes them
    space     for each argument of make, a list of values, or a `tuning.Uniform`, `LogUniform` or `Integers`
    n         how many settings are drawn at random; all of them if the space has fewer
    folds     of cross-validation: every row is held out once; 1 holds out a quarter of the rows, once
    seeds     how many times each fit is repeated, with the seeds 0, 1, … for the weights and the order of samples
    epochs    of a fit; None for the fit's default
    metric    "loss" (lower is better), a metric of `Trainer.fit`, or "score" of an estimator; by default "loss" for a
              Trainer and "score" for an estimator
    halving   successive halving: all settings are trained for part of the epochs, one in `halving` of them, the best,
              for `halving` times as many, and so on up to `epochs`. None trains all for `epochs`
    seed      of the draws and the folds
    workers   the number of processes, this one included. A fit that crashes Python in another process is tried again
              in another one; here it ends the sweep, whose `folder` the same call resumes. With on="loky" no fit runs
              here
    on        a dask.distributed.Client, whose workers then run the fits, or the name of a joblib backend
    folder    where every result is saved as it arrives: the same call resumes an interrupted sweep there. None saves
              nothing
    progress  as in `Trainer.fit`

    The scores do not depend on where the fits run, on the number of workers, or on interruptions. A fit that diverges
    is a result, and its settings rank last; warns (TrainingWarning) if no settings have a score. Source of successive
    halving: Jamieson & Talwalkar, *Non-stochastic Best Arm Identification and Hyperparameter Optimization*, AISTATS
    2016. Raises TypeError and ValueError for bad input before any fit, and whatever else a fit raises.
    """
    space = spaces.check(space)
    _check(n, folds, seeds, epochs, halving, seed, len(y))
    if hasattr(X, "__len__") and len(X) != len(y):
        raise ValueError(f"X has {len(X)} samples and y {len(y)} targets: there must be one for each")
    pools.check(workers, on)
    work = Work(make, X, y, folds_of(y, folds, seed), spaces.drawn(space, n, seed), metric or "")
    if metric not in (None, "loss", "score", *METRICS):
        raise ValueError(f"unknown metric {metric!r}: use loss, score, {', '.join(METRICS)}")
    work = work.checked(epochs)
    rungs = _rungs(len(work.configs), epochs, halving)
    identity = {
        "settings": [repr(one) for one in work.configs],  # to the last digit
        "folds": folds,
        "seeds": seeds,
        "rungs": [list(rung) for rung in rungs],
        "metric": work.metric,
        "seed": seed,
        "data": _checksum(X, y),
    }
    ledger: Ledger | Memory = Memory() if folder is None else Ledger(Path(folder), identity)
    total = sum(count * folds * seeds for count, _ in rungs)
    shown = Shown(progress, total, len(ledger.known))
    try:
        with pools.Workers(work, workers, on) as pool:
            _search(work, rungs, folds, seeds, ledger, shown, pool)
    finally:
        shown.close()
        ledger.close()
    found = _result(work, list(space), ledger.known)
    if found.failure:
        warnings.warn(found.failure, TrainingWarning, stacklevel=2)
    return found


def described(values: Mapping[str, Any]) -> str:
    """Settings on one line."""
    return ", ".join(f"{name}={_short(value)}" for name, value in values.items())


def _search(
    work: Work,
    rungs: list[tuple[int, int | None]],
    folds: int,
    seeds: int,
    ledger: Ledger | Memory,
    shown: Shown,
    pool: pools.Workers,
) -> None:
    """Run all rungs in order. Promotion depends on all scores of a rung; ties go by the order of the settings."""
    alive = list(range(len(work.configs)))
    for rung, (count, epochs) in enumerate(rungs):
        alive = alive[:count]
        trials = [Trial(k, rung, f, s, epochs) for k in sorted(alive) for f in range(folds) for s in range(seeds)]
        for outcomes in pool.run(missing(ledger.known, trials)):
            ledger.add(outcomes)
            shown.show(len(outcomes), partial(_best, work, ledger.known))
        scored: dict[int, list[Outcome]] = {}
        for trial in trials:
            scored.setdefault(trial.config, []).append(ledger.known[trial.key])
        means = {k: _mean(scored[k]) for k in alive}
        sign = -1.0 if work.metric in HIGHER_IS_BETTER else 1.0
        alive.sort(key=lambda k: (sign * means[k] if math.isfinite(means[k]) else math.inf, k))


def _rungs(n: int, epochs: int | None, halving: int | None) -> list[tuple[int, int | None]]:
    """(number of settings, epochs) for each rung."""
    if halving is None or epochs is None:
        return [(n, epochs)]
    last = int(min(math.log(n + 0.5, halving), math.log(epochs + 0.5, halving)))
    return [(-(-n // halving**r), max(1, round(epochs / halving ** (last - r)))) for r in range(last + 1)]


def _result(work: Work, names: list[str], known: Mapping[Any, Outcome]) -> Sweep:
    by_config: dict[int, list[Outcome]] = {}
    for key in sorted(known):
        by_config.setdefault(key[0], []).append(known[key])
    lines = []
    for k, outcomes in by_config.items():
        rung = max(outcome.trial.rung for outcome in outcomes)
        last = [outcome for outcome in outcomes if outcome.trial.rung == rung]
        errors = [outcome.error for outcome in last if outcome.error]
        deviation = math.nan if errors else float(np.std([outcome.score for outcome in last]))
        lines.append(
            Line(
                work.configs[k], _mean(last), deviation, rung, last[0].trial.epochs, len(outcomes),
                sum(outcome.seconds for outcome in outcomes), errors[0] if errors else "",
            )
        )  # fmt: skip
    return Sweep(work.metric, names, lines)


def _mean(outcomes: list[Outcome]) -> float:
    return float(np.mean([outcome.score for outcome in outcomes]))  # NaN if one diverged


def _best(work: Work, known: Mapping[Any, Outcome]) -> str:
    """The best settings with a result in the current rung, for the bar."""
    rung = max(key[1] for key in known)
    scores: dict[int, list[float]] = {}
    for key, outcome in known.items():
        if key[1] == rung and math.isfinite(outcome.score):
            scores.setdefault(key[0], []).append(outcome.score)
    if not scores:
        return f"{work.metric}: none yet"
    means = {k: sum(found) / len(found) for k, found in sorted(scores.items())}
    k = (max if work.metric in HIGHER_IS_BETTER else min)(means, key=lambda k: means[k])
    return f"{work.metric} {means[k]:.4g}: {described(work.configs[k])}"


def _checksum(*data: Any) -> int:
    """A digest of the data, to tell one sweep's folder from another's."""
    found = 0
    for part in data:
        for text in _texts(part):
            found = zlib.crc32(text, found)
    return found


def _texts(data: Any) -> Iterator[bytes]:
    names = list(getattr(data, "column_names", getattr(data, "columns", ())))
    if names and hasattr(data, "__getitem__"):
        for name in names:
            yield str(name).encode()
            yield from _texts(np.asarray(data[name]))
        return
    array = np.asarray(data)
    yield str(array.shape).encode()
    yield repr(array.tolist()).encode() if array.dtype.kind == "O" else np.ascontiguousarray(array).tobytes()


def _check(n: int, folds: int, seeds: int, epochs: int | None, halving: int | None, seed: int, rows: int) -> None:
    given = {"n": (n, 1), "folds": (folds, 1), "seeds": (seeds, 1), "seed": (seed, 0)}
    if epochs is not None:
        given["epochs"] = (epochs, 1)
    if halving is not None:
        given["halving"] = (halving, 2)
    for name, (number, least) in given.items():
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {number!r}")
    if halving is not None and epochs is None:
        raise ValueError("halving needs epochs, the length of the last rung: give epochs")
    if rows < max(2, folds if folds > 1 else 4):
        raise ValueError(f"{rows} rows cannot be cut into {folds} folds: give more rows or fewer folds")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
