"""`macrograd train`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from macrograd import __version__, nn, tables
from macrograd import train as training
from macrograd.cli import facts, picture, places
from macrograd.cli.data import Data, load
from macrograd.cli.job import Job, net, started, written
from macrograd.cli.recipe import FINAL_RATE, Recipe
from macrograd.tables import show as show_table
from macrograd.train.endings import INTERRUPTED


def train(arguments: argparse.Namespace) -> int:
    """Train as the options say, print the progress, write the requested files, and return 0.

    All errors in the options, the data and the files are found before the first step.
    """
    check(arguments)
    data, task, model = made(arguments)
    seed = started(arguments)
    job = Job(arguments, data, task, model if seed == arguments.seed else net(arguments, data, task, seed), seed)
    history = training.History()
    try:
        history = job.prepare()
        introduce(job, history)
        history = job.through(history)
        while job.dead() and job.restarts():
            job = job.again()
            print(f"the net is dead, every row gets the same answer: starting again with seed {job.seed}", flush=True)
            history = job.through(job.prepare())
    except KeyboardInterrupt:
        history.stopped = INTERRUPTED
    if INTERRUPTED.ended(history.stopped):
        kept = (
            "; go on with --resume" if arguments.checkpoint is not None and Path(arguments.checkpoint).exists() else ""
        )
        raise KeyboardInterrupt(f"after {len(history)} of {job.recipe.steps} steps{kept}")
    finish(job, history)
    return 0


def introduce(job: Job, history: training.History) -> None:
    """Print the data, the target and the net."""
    arguments, data = job.arguments, job.data
    if arguments.quiet:
        return
    print(data)
    if data.table is not None and data.plan is not None:
        print(guess_line(data))
        show_table.understood(data.table, data.learned, data.plan)
    print(net_line(data, job.task, arguments))
    print(f"number of parameters {len(job.model.parameters())}", flush=True)
    if data.table is not None:
        print(recipe_line(job.recipe), flush=True)
    if history:
        print(f"going on after step {len(history) - 1}", flush=True)


def guess_line(data: Data) -> str:
    """A line telling whether the target is classes or a number, and how to change that."""
    target, other = data.learned, "regression" if data.classes is not None else "classification"
    assert target is not None
    if target.labels:
        return f"{tables.listed(target.labels)} are treated as {len(target.labels)} labels, each of them yes or no"
    what = f"{len(data.classes)} classes" if data.classes is not None else "a number"
    if not target.guessed:
        return f"{data.target!r} is treated as {what}, as requested"
    hint = f": change that with --task {other}" if target.numeric else ""
    return f"{data.target!r} is treated as {what}, since {target.guessed}{hint}"


def recipe_line(recipe: Recipe) -> str:
    """The training in a line."""
    batch = "all rows" if recipe.batch_size is None else f"batches of {recipe.batch_size}"
    epochs = -(-recipe.steps // recipe.steps_per_epoch)
    ends = f"at most {epochs} epochs" if recipe.patience else f"{epochs} epoch{'s' * (epochs != 1)}"
    until = f", ends when the held-out loss is no better for {recipe.patience}" if recipe.patience else ""
    return f"{recipe.optimizer}, rate {recipe.rate:.3g} to {FINAL_RATE * recipe.rate:.3g}, {batch}, {ends}{until}"


def check(arguments: argparse.Namespace) -> None:
    """Raise ValueError or ImportError for options that contradict each other, and for files that cannot be written."""
    if arguments.plot is not None:
        picture.check(arguments.plot)
    for option in ("save", "checkpoint"):
        if getattr(arguments, option) is not None:
            places.check(f"--{option}", getattr(arguments, option))
    places.check_apart(
        {
            "the data": None if tables.is_address(arguments.data) else arguments.data,
            "--plot": arguments.plot,
            "--save": arguments.save,
            "--checkpoint": arguments.checkpoint,
        }
    )
    if arguments.resume and arguments.checkpoint is None:
        raise ValueError("--resume needs a checkpoint to resume from: give --checkpoint FILE")
    if arguments.checkpoint is not None and not arguments.resume and Path(arguments.checkpoint).exists():
        raise ValueError(
            f"the checkpoint {arguments.checkpoint} already exists: resume from it with --resume, or remove it"
        )
    if arguments.live and arguments.quiet:
        raise ValueError("--live draws the progress that --quiet leaves out: give one of them")
    if arguments.profile and arguments.engine != "compiled":
        raise ValueError(f"--profile times native code: it does not go with --engine {arguments.engine}")


def made(arguments: argparse.Namespace) -> tuple[Data, training.Task, nn.MLP]:
    """The data, the task and the net that the options name."""
    data = load(arguments)
    loss = arguments.loss
    if loss is None and data.table is None and data.classes is not None and len(data.classes) == 2:
        loss = "hinge"  # micrograd's, for its demo
    task = training.Task.of(data.y, loss, unit=float(data.target_scale.unit))
    return data, task, net(arguments, data, task, arguments.seed)


def net_line(data: Data, task: training.Task, arguments: argparse.Namespace) -> str:
    """The net in a line."""
    sizes = [data.X.shape[1], *arguments.hidden, task.outputs]
    return f"{'-'.join(map(str, sizes))} net, {arguments.activation}, loss {task.loss}"


def finish(job: Job, history: training.History) -> None:
    """Print the result, save the model and then the picture, and print the profile.

    Results that cannot be remade come first: a failing picture must not cost the model.
    """
    arguments, data, task = job.arguments, job.data, job.task
    answers = job.answers(data.X)
    result = written({task.metric: task.score(answers, range(len(answers)))})
    everything = job.scores()
    print(f"trained {len(history)} steps in {history.last_second:.2f} s: {everything}", flush=True)
    if job.trainer.remark:
        print(f"macrograd: note: {job.trainer.remark}", file=sys.stderr, flush=True)
    if arguments.save is not None:
        model = facts.model_for(job.model, data, task.loss, told(job, history, everything))
        saved = training.save(model, arguments.save)
        print(f"saved the model {places.shown(saved)}", flush=True)
    if arguments.plot is not None:
        drawn = picture.save(arguments.plot, job.model, data, history, answers, result)
        print(f"saved the picture {places.shown(drawn)}", flush=True)
    if arguments.profile:
        print()
        print(profile(job))


def told(job: Job, history: training.History, result: str) -> dict[str, str]:
    """A description of the training."""
    arguments = job.arguments
    recipe = job.recipe
    batch = "all samples" if recipe.batch_size is None else f"{recipe.batch_size} random samples"
    how = "" if recipe.optimizer == "sgd" and data_is_made(job) else f"{recipe.optimizer}, "
    return {
        "trained on": str(job.data),
        "loss": f"{job.task.loss}, plus {arguments.l2:g} times the sum of squared parameters",
        "steps": f"{len(history)} of {batch}, {how}rate {recipe.rate:g} to {FINAL_RATE * recipe.rate:g}, "
        f"seed {job.seed}",
        "last loss": repr(history.last_loss),
        "result": result,
        "written by": f"macrograd {__version__}, engine {arguments.engine}",
    }


def data_is_made(job: Job) -> bool:
    return job.data.table is None


def profile(job: Job) -> str:
    """The time of a training step by instruction."""
    from macrograd.compiler import compile as compiled
    from macrograd.nn import losses
    from macrograd.train.objective import Objective

    objective = Objective(job.model, losses.get(job.task.loss), job.model.parameters(), l2=job.arguments.l2)
    rows, _ = job.order.steps(0, 1)
    try:
        return str(compiled(objective, batch=True).profile(job.data.X[rows], job.targets[rows]))
    except RuntimeError as error:
        raise ValueError(f"--profile: {error}") from error
