"""`macrograd explain`."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from macrograd.cli.train import made, net_line
from macrograd.compiler import compile as compile_
from macrograd.nn import losses


def explain(arguments: argparse.Namespace) -> int:
    """Print what the compiler finds in the loss of one sample of the net given by the options; return 0."""
    data, task, model = made(arguments)
    measure = losses.get(task.loss)

    def loss(x: Any, target: Any) -> Any:
        return measure(model(x), target)

    print(data)
    print(net_line(data, task, arguments))
    print()
    compiled = compile_(loss, batch=True)
    targets = np.asarray(task.targets, dtype=float)
    print(compiled.explain(data.X, targets, names=model.named_parameters()))
    return 0
