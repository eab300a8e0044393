"""`macrograd train`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from macrograd import nn, optim
from macrograd import train as training
from macrograd.cli import picture
from macrograd.cli.data import Data, load
from macrograd.cli.progress import progress

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
    """Train as the options say, print what happens, save the picture; 0.

    Everything that can be wrong with the options, the data and the picture's file is found before the first step.
    """
    if chosen.plot is not None:
        picture.check(chosen.plot)
    data, task, model = made(chosen)
    rate = FIRST_RATE[task.loss] if chosen.lr is None else chosen.lr
    optimizer = optim.SGD(optim.linear(rate, FINAL_RATE * rate, chosen.steps))
    batch = chosen.batch_size
    if batch is not None and batch > len(data.X):
        raise ValueError(f"--batch-size {batch} is more than the {len(data.X)} samples of {data.name}")

    if not chosen.quiet:
        print(data)
        print(net_line(data, task, chosen))
        print(f"number of parameters {len(model.parameters())}", flush=True)
    history = training.History()
    try:
        with progress(chosen.steps, chosen.quiet) as show:

            def on_step(so_far: training.History) -> None:
                nonlocal history
                history = so_far
                show(step_line(so_far), f"loss {so_far.losses[-1]:.4g}, {metric(so_far)}")

            history = training.fit(
                model,
                data.X,
                task,
                optimizer=optimizer,
                steps=chosen.steps,
                batch_size=batch,
                l2=chosen.l2,
                seed=chosen.seed,
                engine=chosen.engine,
                on_step=on_step,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"after {len(history)} of {chosen.steps} steps") from None
    finish(model, data, task, history, chosen)
    return 0


def made(chosen: argparse.Namespace) -> tuple[Data, training.Task, nn.MLP]:
    """The data, what is to be learned from them, and the net that the options name."""
    data = load(chosen)
    task = training.Task.of(data.y, chosen.loss, unit=float(data.target_scale.unit))
    init = chosen.init or ("he_normal" if chosen.target else "uniform")
    sizes = [*chosen.hidden, task.outputs]
    return data, task, nn.MLP(data.X.shape[1], sizes, activation=chosen.activation, init=init, seed=chosen.seed)


def net_line(data: Data, task: training.Task, chosen: argparse.Namespace) -> str:
    """The net in a line."""
    sizes = [data.X.shape[1], *chosen.hidden, task.outputs]
    return f"{'-'.join(map(str, sizes))} net, {chosen.activation}, loss {task.loss}"


def finish(
    model: nn.MLP, data: Data, task: training.Task, history: training.History, chosen: argparse.Namespace
) -> None:
    """Print the result over all samples, and save the picture."""
    predictions = training.predict(model, data.X, chosen.engine)
    result = {task.metric: task.judge(predictions, range(len(predictions)))}
    text = written(result)
    print(f"trained {len(history)} steps in {history.seconds[-1]:.2f} s: {text} on all {len(predictions)} samples")
    if chosen.plot is not None:
        saved = picture.save(chosen.plot, model, data, task, history, predictions, text)
        print(f"saved the picture {os.path.relpath(saved) if saved.is_relative_to(Path.cwd()) else saved}")


def step_line(history: training.History) -> str:
    """micrograd's line for the last step, the loss to the last bit."""
    return f"step {len(history) - 1} loss {history.losses[-1]!r}, {metric(history)}"


def metric(history: training.History) -> str:
    """The metric of the last step in words."""
    return written({name: values[-1] for name, values in history.metrics.items()})


def written(metrics: dict[str, Any]) -> str:
    """Metrics in words: accuracies in percent."""
    return ", ".join(
        f"accuracy {100 * value:.1f}%" if name == "accuracy" else f"{name.replace('_', ' ')} {value:.6g}"
        for name, value in metrics.items()
    )
