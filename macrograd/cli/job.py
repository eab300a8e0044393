"""A training run of the command line, and what it shows while it runs."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from macrograd import nn
from macrograd import train as training
from macrograd.cli import live
from macrograd.cli import recipe as recipes
from macrograd.cli.data import Data
from macrograd.cli.progress import Print, progress
from macrograd.train import files
from macrograd.train.predictor import Predictor
from macrograd.train.samples.data import Samples
from macrograd.train.samples.order import Order

# A net that predicts the same for every row is dead; this many others are tried instead.
MOST_STARTS = 4
# Lines that report the training on a table.
MOST_LINES = 20
# Up to as many, `--live` stops after every epoch, which costs most of the speed.
MOST_EPOCHS = 1000
# Every parameter is a separate Value: this many take a minute to create and compile.
MOST_PARAMETERS = 1_000_000


def net(arguments: argparse.Namespace, data: Data, task: training.Task, seed: int) -> nn.MLP:
    """The net that the options name."""
    init = arguments.init or ("uniform" if data.table is None else "he_normal")
    sizes, nin = [*arguments.hidden, task.outputs], data.X.shape[1]
    parameters = sum((a + 1) * b for a, b in itertools.pairwise([nin, *sizes]))
    if parameters > MOST_PARAMETERS:
        raise ValueError(
            f"a net of {nin:,} inputs and {arguments.hidden or 'no'} hidden neurons has {parameters:,} parameters, and "
            f"the command takes at most {MOST_PARAMETERS:,}: choose columns with --features or --drop, or fewer "
            "neurons with --hidden"
        )
    return nn.MLP(nin, sizes, activation=arguments.activation, init=init, seed=seed)


def planned(arguments: argparse.Namespace) -> int | None:
    """The planned number of steps of the run that is resumed here, over which its rates are scheduled. None for a new
    run."""
    if not (arguments.resume and Path(arguments.checkpoint).exists()):
        return None
    _, header = files.read(arguments.checkpoint, "checkpoint")
    schedule = re.search(r"linear\([^()]*, (\d+)\)", str(header["run"]["optimizer"]))
    return None if schedule is None else int(schedule[1])


def started(arguments: argparse.Namespace) -> int:
    """The seed of the start that a run resumes from: a later one, where the net of the first was dead."""
    if not (arguments.resume and Path(arguments.checkpoint).exists()):
        return int(arguments.seed)
    _, header = files.read(arguments.checkpoint, "checkpoint")
    seed = int(header["run"]["seed"])
    return seed if 0 < seed - arguments.seed < MOST_STARTS else int(arguments.seed)


class Job:
    """One training run of the command line."""

    def __init__(
        self, arguments: argparse.Namespace, data: Data, task: training.Task, model: nn.MLP, seed: int | None = None
    ) -> None:
        self.arguments, self.data, self.task, self.model = arguments, data, task, model
        self.seed = arguments.seed if seed is None else seed
        self.recipe = recipes.of(arguments, data, task.loss)
        optimizer = self.recipe.made(planned(arguments))
        self.trainer = training.Trainer(model, task.loss, optimizer, l2=arguments.l2, engine=arguments.engine)
        self.targets = np.asarray(task.targets)
        self.outputs = Predictor(model, arguments.engine, "float64", 1)
        # All samples come in order, as in micrograd's demo.
        self.fitting: dict[str, Any] = {
            "batch_size": self.recipe.batch_size,
            "shuffle": self.recipe.batch_size is not None,
            "seed": self.seed,
            "progress": "none",
        }
        if data.table is not None and data.held is not None:
            self.fitting["validation"] = (data.held[0], task.written(data.held[1]))
            if self.recipe.patience:
                self.fitting["early_stopping"] = self.recipe.patience
        size = self.recipe.batch_size or len(data.X)
        self.order = Order(len(data.X), size, shuffle=self.fitting["shuffle"], seed=self.seed)

    def prepare(self) -> training.History:
        """Compile, and read the checkpoint to resume from; returns the history before it."""
        resume = self.arguments.resume and Path(self.arguments.checkpoint).exists()
        again: dict[str, Any] = {"checkpoint": self.arguments.checkpoint, "resume": True} if resume else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", training.TrainingWarning)
            return self.trainer.fit(self.data.X, self.targets, steps=0, **self.fitting, **again)

    def through(self, history: training.History) -> training.History:
        """Run the steps that are left after those of `history`, with a bar on a terminal."""
        if self.arguments.live and live.possible(sys.stdout):
            with live.Screen(sys.stdout) as screen:
                short = self.recipe.steps <= MOST_EPOCHS * self.recipe.steps_per_epoch
                kind = live.DrawnByEpoch if short else live.Drawn
                drawn = kind(screen, (self.task.metric.replace("_", " "), self.latest))
                if self.data.table is not None or self.arguments.plot is None:
                    return self.run(drawn)
                return self.run(drawn, ProgressLines(self, lambda line, short: None))  # for its metric of every step
        # Shows steps for synthetic data and epochs for tables.
        each = 1 if self.data.table is None else self.recipe.steps_per_epoch
        with progress(-(-self.recipe.steps // each), len(history) // each, self.arguments.quiet) as show:
            # With nothing to show between steps, many run in one native call.
            if self.data.table is None and (self.arguments.plot is not None or not self.arguments.quiet):
                return self.run(ProgressLines(self, show))
            if self.data.table is not None and not self.arguments.quiet:
                return self.run(Epochs(self, show))
            return self.run()

    def run(self, *callbacks: training.Callback) -> training.History:
        """Run all steps that are left."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", training.TrainingWarning)  # `finish` prints it in its place
            return self.trainer.fit(
                self.data.X,
                self.targets,
                steps=self.recipe.steps,
                callbacks=callbacks,
                checkpoint=self.arguments.checkpoint,
                resume=self.arguments.resume,
                **self.fitting,
            )

    def dead(self) -> bool:
        """Whether every sample gets the same answer, up to a few bits."""
        ends = [(block.min(axis=0), block.max(axis=0)) for _, block in self.outputs.blocks(Samples(self.data.X))]
        low, high = np.min([low for low, _ in ends], axis=0), np.max([high for _, high in ends], axis=0)
        return bool(np.all(high - low <= 1e-12 * max(np.abs(low).max(), np.abs(high).max())))

    def answers(self, X: Any) -> Any:
        """The task's answers for these samples."""
        return self.outputs.each(Samples(X), self.task.answers)

    def restarts(self) -> bool:
        """Whether another start is possible, as it is on a table."""
        return self.data.table is not None and self.seed - self.arguments.seed + 1 < MOST_STARTS

    def again(self) -> Job:
        """The same run with the weights and the order of the next seed."""
        model = net(self.arguments, self.data, self.task, self.seed + 1)
        if self.arguments.checkpoint is not None:  # of a run that is over, and has come to nothing
            Path(self.arguments.checkpoint).unlink(missing_ok=True)
        return Job(self.arguments, self.data, self.task, model, self.seed + 1)

    def scores(self) -> str:
        """The scores of the model on training and held-out data."""
        data = self.data
        trained = self.score(data.X, data.y)
        if data.held is None:
            return f"{trained} on all {len(data.X)} samples, none held out"
        held = f"{self.score(*data.held)} on {len(data.held[0])}"
        if data.table is None:
            return f"{trained} on all {len(data.X)} samples, {held} new ones"
        chose = ", which also decided when to stop" if self.recipe.patience else ""
        return f"{trained} on the {len(data.X)} rows it was trained on, {held} held out{chose}"

    def score(self, X: Any, y: Any) -> str:
        """The metric over these samples in words: for numbers with the explained fraction of their variance, for
        classes with what one answer for every row has, where the net has no more."""
        answers, task = self.answers(X), self.task
        value = task.score_of(answers, y)
        text = written({task.metric: value})
        if len(np.unique(y)) < 2:
            return text
        if task.kind == "number":
            return f"{text} (R² {1.0 - np.sum((answers - y) ** 2) / np.sum((y - np.mean(y)) ** 2):.3f})"
        same = share_of_one_answer(y)
        return text if value > same else f"{text} (one answer for every row has {100 * same:.1f}%)"

    def latest(self) -> float:
        """The metric of the current model over held-out samples, or over all if none are held out."""
        X, y = self.data.held or (self.data.X, self.data.y)
        return self.task.score_of(self.answers(X), y)

    def judge(self, step: int) -> float:
        """The metric of the current model over the samples of a step."""
        rows, _ = self.order.steps(step, 1)
        return self.task.score(self.answers(self.data.X[rows]), rows.tolist())


class ProgressLines(training.Callback):
    """Shows every step with its loss and its metric, both from before the update, and keeps the metric."""

    def __init__(self, job: Job, show: Print) -> None:
        self.job, self.show = job, show
        self.steps = len(job.trainer.history)  # shown
        self.value = job.judge(self.steps)

    def on_step(self, run: training.Run) -> None:
        run.history.measured({self.job.task.metric: self.value})
        self.line(run)
        if run.step < run.steps:
            self.value = self.job.judge(run.step)

    def on_end(self, run: training.Run) -> None:
        if self.steps < len(run.history):  # Ctrl-C came during a step, which was completed but not shown
            self.line(run)

    def line(self, run: training.Run) -> None:
        step, text = self.steps, written({self.job.task.metric: self.value})
        self.steps += 1  # before it is shown: Ctrl-C usually comes just after the line was written
        self.show(f"step {step} loss {run.loss!r}, {text}", f"loss {run.loss:.4g}, {text}")


class Epochs(training.Callback):
    """Shows the losses at the end of some epochs."""

    def __init__(self, job: Job, show: Print) -> None:
        self.show = show
        epochs = -(-job.recipe.steps // job.recipe.steps_per_epoch)
        self.every = max(1, -(-epochs // MOST_LINES))

    def on_epoch(self, run: training.Run) -> None:
        held = run.history.metrics.get("validation_loss", [])
        text = f"loss {run.loss:.4g}" + (f", held-out loss {held[-1]:.4g}" if held else "")
        line = f"epoch {run.epoch} {text}" if run.epoch % self.every == 0 or run.epoch == 1 else ""
        self.show(line, text)


def share_of_one_answer(y: Any) -> float:
    """The accuracy of the most frequent class as the answer for every row, or of the most frequent of each label."""
    y = np.asarray(y)
    if y.ndim == 1:
        return float(np.unique(y, return_counts=True)[1].max() / len(y))
    yes = np.mean(y, axis=0)
    return float(np.mean(np.maximum(yes, 1.0 - yes)))


def written(metrics: dict[str, Any]) -> str:
    """Metrics in words: accuracies in percent."""
    return ", ".join(
        f"accuracy {100 * value:.1f}%" if name == "accuracy" else f"{name.replace('_', ' ')} {value:.6g}"
        for name, value in metrics.items()
    )
