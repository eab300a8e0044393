"""The defaults of training on a table, and the checks of an estimator's parameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import nn, optim
from macrograd._flags import flag
from macrograd.nn import losses
from macrograd.train.checks import integer

Array = NDArray[Any]

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "adam": lambda rate: optim.Adam(rate, betas=(0.9, 0.95)),
    "adamw": lambda rate: optim.AdamW(rate),
    "sgd": lambda rate: optim.SGD(rate),
    "momentum": lambda rate: optim.SGD(rate, momentum=0.9),
    "rmsprop": lambda rate: optim.RMSProp(rate),
}
# The peak of the rates for nets in the parametrisation of `nn.Tabular`; custom nets use a fraction of it. RealMLP has
# 0.04 for Adam and layers of 256 neurons. This, the members and the lengths below were chosen by two to five
# splits of the eighteen sets `CHOSEN_BY` of benchmarks/sets.py, of which none is reported.
_RATES = {"adam": 0.02, "adamw": 0.02, "sgd": 0.5, "momentum": 0.1, "rmsprop": 0.01}
_OWN_NET = 0.25
CYCLES = 4
_MEMBERS, _MOST_PARAMETERS = 4, 100_000
# The mean of fewer losses does not tell the best epoch: with 10 to 40 rows held out, the sets tae, hprice1, bupa and
# movement_libras were learned better by fits of full length on all rows; with 52 and more (saheart, pima), worse.
_TELLING = 50
# Batches of a 32nd of the rows, within bounds; and this many steps, within bounds of epochs, of which the upper one is
# a tenth of the rows if that is more: nets memorise a small table in the time that a larger one needs.
_BATCHES, _STEPS, _EPOCHS, _ROWS_AN_EPOCH = (16, 256), 3000, (15, 60), 10


def batch_size(given: Any, rows: int) -> int:
    """The rows per step; "auto" by the number of rows. Raises ValueError for an invalid size."""
    if isinstance(given, str) and given == "auto":
        low, high = _BATCHES
        return min(rows, max(low, min(high, 1 << max(0, round(math.log2(rows / 32))))))
    return min(rows, integer("batch_size", given, 1, "'auto' or "))


def members(given: Any, sizes: Sequence[int]) -> int:
    """How many nets of these sizes; "auto" fewer where a table is so wide that four have too many parameters. Raises
    ValueError for an invalid number of nets."""
    if isinstance(given, str) and given == "auto":
        return max(1, min(_MEMBERS, _MOST_PARAMETERS // nn.Tabular.count(sizes, 1)))
    return integer("members", given, 1, "'auto' or ")


def epochs(given: Any, rows: int, size: int) -> int:
    """The epochs of a fit; "auto" by the number of steps in one. Raises ValueError for an invalid number."""
    if isinstance(given, str) and given == "auto":
        low, high = _EPOCHS
        return min(max(high, rows // _ROWS_AN_EPOCH), max(low, round(_STEPS / -(-rows // size))))
    return integer("epochs", given, 1, "'auto' or ")


def optimizer(given: Any, rate: Any, steps: int, *, own_net: bool, steady: bool = False) -> optim.Optimizer:
    """The optimiser of a run: one by name with its rates, or a copy of the one given. `steady` is for single steps,
    whose total number is unknown. Raises ValueError and TypeError for anything else."""
    if isinstance(given, optim.Optimizer):
        if not (isinstance(rate, str) and rate == "auto"):
            raise ValueError("the optimizer has a rate already: leave learning_rate='auto', or name the optimizer")
        found = copy.deepcopy(given)
        found.load_state_dict({"steps": 0, "state": []})
        return found
    if given not in OPTIMIZERS:
        raise ValueError(
            f"optimizer {given!r} is not known: use one of {', '.join(OPTIMIZERS)}, or one of macrograd.optim"
        )
    if isinstance(rate, str):
        if rate != "auto":
            raise ValueError(f"learning_rate must be 'auto', a number above 0 or a schedule, got {rate!r}")
        peak = _RATES[given] * (_OWN_NET if own_net else 1.0)
        rate = peak / CYCLES if steady else optim.coslog(peak, CYCLES, steps)
    elif isinstance(rate, Real) and not 0.0 < float(rate) < math.inf:
        raise ValueError(f"learning_rate must be 'auto', a number above 0 or a schedule, got {rate!r}")
    return OPTIMIZERS[given](rate)


def early_stopping(given: Any, rows: int, share: float) -> bool | int:
    """Whether the best epoch is looked for on that share of these rows, held out; "auto" only if they are enough to
    tell. Raises ValueError for invalid numbers."""
    if isinstance(given, str) and given == "auto":
        return round(share * rows) >= _TELLING
    return given if given is True or given is False else integer("early_stopping", given, 1, "'auto', True, False or ")


def held_out(y: Array, fraction: float, rng: np.random.RandomState, *, by_class: bool) -> tuple[Array, Array]:
    """(training places, held-out places), in order; the same share of each class, and always one training row per
    class."""
    held = np.zeros(len(y), dtype=bool)
    for label in np.unique(y) if by_class else [None]:
        places = np.arange(len(y)) if label is None else np.flatnonzero(y == label)
        held[rng.permutation(places)[: min(len(places) - 1, round(fraction * len(places)))]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def fraction(name: str, given: Any, *, zero: bool = False) -> float:
    number = float(given) if isinstance(given, Real) and not isinstance(given, bool) else -1.0
    if not (0.0 < number < 1.0 or (zero and number == 0.0)):
        raise ValueError(f"{name} must be {'0 or ' * zero}between 0 and 1, got {given!r}")
    return number


def check(estimator: Any, fitting: Sequence[str]) -> None:
    """Raise ValueError or TypeError for parameters that are invalid for any data. `fitting` are the names of the losses
    that the estimator takes."""
    for size in estimator.hidden:
        integer("a size in hidden", size, 1)
    members(estimator.members, (1, 1))
    loss = estimator.loss
    loss = next((name for name, function in losses.LOSSES.items() if function is loss), loss)
    if not callable(loss) and loss not in ("auto", *fitting):
        raise ValueError(f"loss {loss!r} does not fit: use 'auto', one of {', '.join(fitting)}, or a function")
    fraction("validation_fraction", estimator.validation_fraction)
    early_stopping(estimator.early_stopping, 1, 0.5)
    flag(type(estimator).__name__, "warm_start", estimator.warm_start)
    if estimator.scale not in ("robust", "standard", None):
        raise ValueError(f"scale must be 'robust', 'standard' or None, got {estimator.scale!r}")
    if estimator.make_net is not None and not callable(estimator.make_net):
        raise TypeError(f"make_net must be a function (inputs, outputs, seed) → Module, got {estimator.make_net!r}")
