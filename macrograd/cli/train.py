"""`macrograd train`."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from macrograd import __version__, nn, optim
from macrograd import train as training
from macrograd.cli import picture, places
from macrograd.cli.data import Data, load
from macrograd.cli.facts import Facts
from macrograd.cli.options import DATASETS
from macrograd.cli.progress import Print, progress
from macrograd.train.data import Samples
from macrograd.train.order import Order
from macrograd.train.predictor import Predictor

# The rate falls in a straight line to this share of its first value, as in micrograd's demo.
FINAL_RATE = 0.1


# Losses whose slope is never above 1 take large steps; the square's grows with the error.
FIRST_RATE = {
    "hinge": 1.0,
    "binary_cross_entropy": 1.0,
    "cross_entropy": 1.0,
    "squared_error": 0.05,
    "absolute_error": 0.3,
    "huber": 0.3,
}


def train(chosen: argparse.Namespace) -> int:
    """Train as the options say, print what happens, save what is to be saved; 0.

    Everything that can be wrong with the options, the data and the files is found before the first step.
    """
    check(chosen)
    data, task, model = made(chosen)
    if chosen.batch_size is not None and chosen.batch_size > len(data.X):
        raise ValueError(f"--batch-size {chosen.batch_size} is more than the {len(data.X)} samples of {data.name}")
    job = Job(chosen, data, task, model)
    history = training.History()
    try:
        history = job.prepare()
        if not chosen.quiet:
            print(data)
            print(net_line(data, task, chosen))
            print(f"number of parameters {len(model.parameters())}", flush=True)
            if history:
                print(f"going on after step {len(history) - 1}", flush=True)
        with progress(chosen.steps, len(history), chosen.quiet) as show:
            history = job.run(show)
    except KeyboardInterrupt:
        history.stopped = "interrupted"
    if history.stopped == "interrupted":
        kept = "; go on with --resume" if chosen.checkpoint is not None and Path(chosen.checkpoint).exists() else ""
        raise KeyboardInterrupt(f"after {len(history)} of {chosen.steps} steps{kept}")
    finish(job, history)
    return 0


def check(chosen: argparse.Namespace) -> None:
    """Raise ValueError or ImportError for options that contradict each other, and for files that cannot be written."""
    if chosen.plot is not None:
        picture.check(chosen.plot)
    for option in ("save", "checkpoint"):
        if getattr(chosen, option) is not None:
            places.check(f"--{option}", getattr(chosen, option))
    places.check_apart(
        {"the data": chosen.data, "--plot": chosen.plot, "--save": chosen.save, "--checkpoint": chosen.checkpoint}
    )
    if chosen.resume and chosen.checkpoint is None:
        raise ValueError("--resume needs the checkpoint to go on from: give --checkpoint FILE")
    if chosen.checkpoint is not None and not chosen.resume and Path(chosen.checkpoint).exists():
        raise ValueError(
            f"the checkpoint {chosen.checkpoint} exists already: go on from it with --resume, or remove it"
        )
    if chosen.profile and chosen.engine != "compiled":
        raise ValueError(f"--profile times native code: it does not go with --engine {chosen.engine}")


def made(chosen: argparse.Namespace) -> tuple[Data, training.Task, nn.MLP]:
    """The data, what is to be learned from them, and the net that the options name."""
    data = load(chosen)
    loss = chosen.loss
    if loss is None and chosen.data in DATASETS and data.classes is not None and len(data.classes) == 2:
        loss = "hinge"  # micrograd's, for its demo
    task = training.Task.of(data.y, loss, unit=float(data.target_scale.unit))
    init = chosen.init or ("he_normal" if chosen.target else "uniform")
    sizes = [*chosen.hidden, task.outputs]
    return data, task, nn.MLP(data.X.shape[1], sizes, activation=chosen.activation, init=init, seed=chosen.seed)


def net_line(data: Data, task: training.Task, chosen: argparse.Namespace) -> str:
    """The net in a line."""
    sizes = [data.X.shape[1], *chosen.hidden, task.outputs]
    return f"{'-'.join(map(str, sizes))} net, {chosen.activation}, loss {task.loss}"


class Job:
    """One training run of the command line."""

    def __init__(self, chosen: argparse.Namespace, data: Data, task: training.Task, model: nn.MLP) -> None:
        self.chosen, self.data, self.task, self.model = chosen, data, task, model
        self.rate = FIRST_RATE[task.loss] if chosen.lr is None else chosen.lr
        optimizer = optim.SGD(optim.linear(self.rate, FINAL_RATE * self.rate, chosen.steps))
        self.trainer = training.Trainer(model, task.loss, optimizer, l2=chosen.l2, engine=chosen.engine)
        self.targets = np.asarray(task.targets)
        self.outputs = Predictor(model, chosen.engine, "float64", 1)
        # All samples come in their own order, as in micrograd's demo.
        self.fitting: dict[str, Any] = {
            "batch_size": chosen.batch_size,
            "shuffle": chosen.batch_size is not None,
            "seed": chosen.seed,
            "progress": "none",
        }
        size = chosen.batch_size or len(data.X)
        self.order = Order(len(data.X), size, shuffle=self.fitting["shuffle"], seed=chosen.seed)

    def prepare(self) -> training.History:
        """Compile, and read the checkpoint to go on from; what happened before it."""
        resume = self.chosen.resume and Path(self.chosen.checkpoint).exists()
        again: dict[str, Any] = {"checkpoint": self.chosen.checkpoint, "resume": True} if resume else {}
        return self.trainer.fit(self.data.X, self.targets, steps=0, **self.fitting, **again)

    def run(self, show: Print) -> training.History:
        """All steps that are left."""
        # Without anything to show between the steps they run in native code, many in one call.
        watched = self.chosen.plot is not None or not self.chosen.quiet
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", training.TrainingWarning)  # `finish` prints it in its place
            return self.trainer.fit(
                self.data.X,
                self.targets,
                steps=self.chosen.steps,
                callbacks=[Lines(self, show)] if watched else [],
                checkpoint=self.chosen.checkpoint,
                resume=self.chosen.resume,
                **self.fitting,
            )

    def judge(self, step: int) -> float:
        """The metric over the samples of a step, as the model is now."""
        rows, _ = self.order.steps(step, 1)
        return self.task.judge(self.outputs(Samples(self.data.X[rows])).tolist(), rows.tolist())


class Lines(training.Callback):
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
        if self.steps < len(run.history):  # Ctrl-C came in the middle of a step, which was finished, and unseen
            self.line(run)

    def line(self, run: training.Run) -> None:
        step, text = self.steps, written({self.job.task.metric: self.value})
        self.steps += 1  # before it is shown: Ctrl-C comes most often just after the line was written
        self.show(f"step {step} loss {run.loss!r}, {text}", f"loss {run.loss:.4g}, {text}")


def finish(job: Job, history: training.History) -> None:
    """Print the result over all samples, save the picture and the model, and print the profile."""
    chosen, data, task = job.chosen, job.data, job.task
    predictions = job.outputs(Samples(data.X)).tolist()
    result = written({task.metric: task.judge(predictions, range(len(predictions)))})
    everything = f"{result} on all {len(predictions)} samples"
    print(f"trained {len(history)} steps in {history.last_second:.2f} s: {everything}", flush=True)
    if job.trainer.remark:
        print(f"macrograd: note: {job.trainer.remark}", file=sys.stderr, flush=True)
    if chosen.plot is not None:
        drawn = picture.save(chosen.plot, job.model, data, task, history, predictions, result)
        print(f"saved the picture {places.shown(drawn)}")
    if chosen.save is not None:
        facts = Facts.of(data, told(job, history, everything))
        saved = training.save(job.model, chosen.save, extra=facts.extra())
        print(f"saved the model {places.shown(saved)}")
    if chosen.profile:
        print()
        print(profile(job))


def told(job: Job, history: training.History, result: str) -> dict[str, str]:
    """How the net was trained, for people."""
    chosen = job.chosen
    batch = "all samples" if chosen.batch_size is None else f"{chosen.batch_size} random samples"
    return {
        "trained on": str(job.data),
        "loss": f"{job.task.loss}, plus {chosen.l2:g} times the sum of squared parameters",
        "steps": f"{len(history)} of {batch}, rate {job.rate:g} to {FINAL_RATE * job.rate:g}, seed {chosen.seed}",
        "last loss": repr(history.last_loss),
        "result": result,
        "written by": f"macrograd {__version__}, engine {chosen.engine}",
    }


def profile(job: Job) -> str:
    """Where the time of a training step goes, instruction by instruction."""
    from macrograd.compiler import compile as compiled
    from macrograd.nn import losses
    from macrograd.train.objective import Objective

    objective = Objective(job.model, losses.get(job.task.loss), job.model.parameters(), l2=job.chosen.l2)
    rows, _ = job.order.steps(0, 1)
    try:
        return str(compiled(objective, batch=True).profile(job.data.X[rows], job.targets[rows]))
    except RuntimeError as error:
        raise ValueError(f"--profile: {error}") from error


def written(metrics: dict[str, Any]) -> str:
    """Metrics in words: accuracies in percent."""
    return ", ".join(
        f"accuracy {100 * value:.1f}%" if name == "accuracy" else f"{name.replace('_', ' ')} {value:.6g}"
        for name, value in metrics.items()
    )
