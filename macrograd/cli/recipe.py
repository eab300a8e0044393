"""The defaults of training: micrograd's own for synthetic data, with all samples in every step, and otherwise Adam with
settings that suit the data."""

from __future__ import annotations

import argparse
import math

from macrograd import optim
from macrograd._dataclass import dataclass
from macrograd.cli.data import Data

# The rate falls linearly to this fraction of its first value, as in micrograd's demo.
FINAL_RATE = 0.1

# For plain gradient descent on synthetic data. Losses with slopes of at most 1 allow large steps; that of the square
# grows with the error.
FIRST_RATE = {
    "hinge": 1.0,
    "binary_cross_entropy": 1.0,
    "cross_entropy": 1.0,
    "squared_error": 0.05,
    "absolute_error": 0.3,
    "huber": 0.3,
}

# For the others. An Adam step moves every weight by the rate, and an output by the rate times the number of inputs:
# with more inputs than this, the rate falls with their square root.
RATES = {"sgd": 0.05, "momentum": 0.01, "rmsprop": 0.003, "adam": 0.01, "adamw": 0.01}
_INPUTS = 64

# A table is trained for at most this many steps, or epochs if it is large, and at least this many.
_STEPS, _LEAST_EPOCHS, _MOST_EPOCHS = 6000, 20, 400
_BATCHES = (32, 256)
# The patience of early stopping: this fraction of all epochs, but at least this many.
_PATIENCE, _LEAST_PATIENCE = 0.15, 10

MADE_STEPS = 100


@dataclass(frozen=True)
class Recipe:
    """Everything about a run except the net.

    optimizer   its name, and `rate` its first learning rate
    steps       the steps of the whole run, and `epochs` their equivalent
    batch_size  None for all samples in order, as in micrograd's demo
    patience    of early stopping, in epochs; None for a run of fixed length
    """

    optimizer: str
    rate: float
    steps: int
    batch_size: int | None
    patience: int | None
    samples: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.samples // (self.batch_size or self.samples))

    def made(self, planned: int | None = None) -> optim.Optimizer:
        """The optimiser, with its schedule over all steps; or over the `planned` ones of a resumed run, and the last
        rate after them."""
        schedule = optim.linear(self.rate, FINAL_RATE * self.rate, planned or self.steps)
        if self.optimizer in ("sgd", "momentum"):
            return optim.SGD(schedule, momentum=0.9 if self.optimizer == "momentum" else 0.0)
        kinds: dict[str, type[optim.RMSProp | optim.Adam]] = {
            "rmsprop": optim.RMSProp,
            "adam": optim.Adam,
            "adamw": optim.AdamW,
        }
        return kinds[self.optimizer](schedule)


def of(arguments: argparse.Namespace, data: Data, loss: str) -> Recipe:
    """The recipe for a command line. Raises ValueError for options that contradict each other."""
    n, features = data.X.shape
    made = data.table is None
    if arguments.batch_size is not None and arguments.batch_size > n:
        raise ValueError(f"--batch-size {arguments.batch_size} is more than the {n} samples of {data.name}")
    if arguments.steps is not None and arguments.epochs is not None:
        raise ValueError("--steps and --epochs say the same thing: give one of them")
    batch = arguments.batch_size
    if batch is None and not made:
        low, high = _BATCHES
        batch = min(n, max(low, min(high, 1 << max(0, round(math.log2(n / 64))))))
    per_epoch = -(-n // (batch or n))
    steps = arguments.steps if arguments.steps is not None else arguments.epochs and arguments.epochs * per_epoch
    fixed = steps is not None
    if steps is None:
        epochs = min(_MOST_EPOCHS, max(_LEAST_EPOCHS, _STEPS // per_epoch))
        steps = MADE_STEPS if made else epochs * per_epoch
    plain = made and batch is None and arguments.optimizer in (None, "sgd")
    name = arguments.optimizer or ("sgd" if plain else "adam")
    usual = FIRST_RATE[loss] if plain else RATES[name] * min(1.0, math.sqrt(_INPUTS / features))
    patience = None
    if not made and not fixed and data.held is not None:
        patience = max(_LEAST_PATIENCE, round(_PATIENCE * steps / per_epoch))
    return Recipe(name, usual if arguments.lr is None else arguments.lr, steps, batch, patience, n)
