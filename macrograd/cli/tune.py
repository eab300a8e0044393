"""`macrograd tune`."""

from __future__ import annotations

import argparse
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from macrograd import __version__, nn, optim, show
from macrograd import train as training
from macrograd.cli import facts, picture, places
from macrograd.cli.data import Data, load
from macrograd.cli.job import written
from macrograd.cli.recipe import FINAL_RATE
from macrograd.cli.train import guess_line
from macrograd.tables import show as show_table
from macrograd.train.samples.outputs import answered
from macrograd.tuning import LogUniform, Sweep, sweep

# The search space; a batch is at most half of the rows of a fit.
_SPACE: dict[str, Any] = {
    "hidden": [[16], [64], [16, 16], [64, 64]],
    "activation": ["relu", "silu", "tanh"],
    "rate": LogUniform(5e-4, 5e-2),
    "l2": LogUniform(1e-6, 1e-2),
    "batch_size": [16, 32, 64, 128, 256],
}


def tune(arguments: argparse.Namespace) -> int:
    """Search as the options say, print the best settings, write the requested files, and return 0."""
    check(arguments)
    data = load(arguments)
    task = training.Task.of(data.y, arguments.loss, unit=float(data.target_scale.unit))
    if not arguments.quiet:
        print(data)
        if data.table is not None and data.plan is not None:
            print(guess_line(data))
            show_table.understood(data.table, data.learned, data.plan)
    targets = task.written(data.y)
    make = partial(net, inputs=data.X.shape[1], outputs=task.outputs, loss=task.loss, rows=len(data.X))
    least = max(1, len(data.X) // 2)  # rows in the smallest fit, that of 2 folds
    space = _SPACE | {"batch_size": [b for b in _SPACE["batch_size"] if 2 * b <= least] or [least]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", training.TrainingWarning)  # an error below
        found = sweep(
            make, data.X, targets, space, n=arguments.tries, folds=arguments.folds, seeds=arguments.seeds,
            epochs=arguments.epochs, halving=arguments.halving or None, seed=arguments.seed, workers=arguments.workers,
            folder=arguments.folder, progress="none" if arguments.quiet else "auto",
        )  # fmt: skip
    print(found, flush=True)
    if found.failure:
        if arguments.csv is not None:
            print(f"saved the settings {places.shown(found.to_csv(arguments.csv))}", flush=True)
        raise ValueError(found.failure)
    finish(arguments, data, task, found, make)
    return 0


def check(arguments: argparse.Namespace) -> None:
    """Raise ValueError or ImportError for files that cannot be written, before any fit."""
    if arguments.plot is not None:
        picture.check(arguments.plot)
    for option in ("save", "csv"):
        if getattr(arguments, option) is not None:
            places.check(f"--{option}", getattr(arguments, option))
    if arguments.folder is not None and Path(arguments.folder).is_file():
        raise ValueError(f"--folder {arguments.folder}: there is a file of that name; give a directory")
    if arguments.halving == 1:
        raise ValueError("--halving 1: the best one of N go on, so N is 2 or more, or 0 for none")


def net(
    *, seed: int, epochs: int, inputs: int, outputs: int, loss: str, rows: int, hidden: list[int], activation: str,
    rate: float, l2: float, batch_size: int,
) -> Any:  # fmt: skip
    """A Trainer with these settings, and the options of its fit."""
    model = nn.MLP(inputs, [*hidden, outputs], activation=activation, init="he_normal", seed=seed)
    falling = optim.linear(rate, FINAL_RATE * rate, epochs * -(-rows // batch_size))
    return training.Trainer(model, loss, optim.Adam(falling), l2=l2), {"batch_size": batch_size}


def finish(arguments: argparse.Namespace, data: Data, task: training.Task, found: Sweep, make: Any) -> None:
    """Train the best net on all rows of the search, judge it on the others, and write the files, those that cannot be
    made again first."""
    trainer, options = make(seed=0, epochs=arguments.epochs, **found.best)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", training.TrainingWarning)  # printed below
        history = trainer.fit(
            data.X, task.written(data.y), epochs=arguments.epochs, seed=0, progress=False, **options
        )  # fmt: skip
    told = f"{score(trainer, task, data.X, data.y)} on the {len(data.X)} rows of the search"
    if data.held is not None:
        told += f", {score(trainer, task, *data.held)} on {len(data.held[0])} that it has not seen"
    if arguments.save is not None:
        text = {
            "trained on": str(data),
            "found by": f"macrograd tune: {len(found.lines)} settings, seed {arguments.seed}",
            "settings": ", ".join(f"{name} {value}" for name, value in found.best.items()),
            "steps": str(len(history)),
            "result": told,
            "written by": f"macrograd {__version__}",
        }
        saved = training.save(facts.model_for(trainer.model, data, task.loss, text), arguments.save)
        print(f"saved the model {places.shown(saved)}", flush=True)
    print(f"the best, trained on all {len(data.X)} rows: {told}", flush=True)
    if trainer.remark:
        print(f"macrograd: note: {trainer.remark}", file=sys.stderr, flush=True)
    if arguments.csv is not None:
        print(f"saved the settings {places.shown(found.to_csv(arguments.csv))}", flush=True)
    if arguments.plot is not None:
        print(f"saved the picture {places.shown(show.save(show.sweep(found), arguments.plot))}", flush=True)


def score(trainer: training.Trainer, task: training.Task, X: Any, y: Any) -> str:
    """The metric over these samples, in words."""
    return written({task.metric: task.score_of(answered(trainer.outputs, X, task.answers), y)})
