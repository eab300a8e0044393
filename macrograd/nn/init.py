"""Initialisers: the distributions from which initial weights are drawn.

An initialiser is a function `(rng, fan_in, fan_out) → float` that draws one weight from a `random.Random`, for a neuron
with `fan_in` inputs in a layer of `fan_out` neurons. Biases start at 0.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

Initialiser = Callable[[random.Random, int, int], float]

# The bound of the uniform ones, by fan_in and fan_out.
_BOUNDS: dict[Any, Callable[[int, int], float]] = {
    "uniform": lambda fan_in, fan_out: 1.0,
    "he_uniform": lambda fan_in, fan_out: math.sqrt(6.0 / fan_in),
    "glorot_uniform": lambda fan_in, fan_out: math.sqrt(6.0 / (fan_in + fan_out)),
}


def uniform(rng: random.Random, fan_in: int, fan_out: int) -> float:
    """Uniform in [−1, 1] for every shape, as in micrograd."""
    return _between(rng, "uniform", fan_in, fan_out)


def he_normal(rng: random.Random, fan_in: int, fan_out: int) -> float:
    """Normal with variance 2 / fan_in, for relu.

    Source: He, Zhang, Ren & Sun, *Delving Deep into Rectifiers*, ICCV 2015, eq. 10.
    """
    return rng.gauss(0.0, math.sqrt(2.0 / fan_in))


def he_uniform(rng: random.Random, fan_in: int, fan_out: int) -> float:
    """Uniform with the variance of `he_normal`: in ±√(6 / fan_in)."""
    return _between(rng, "he_uniform", fan_in, fan_out)


def glorot_normal(rng: random.Random, fan_in: int, fan_out: int) -> float:
    """Normal with variance 2 / (fan_in + fan_out), for tanh and sigmoid.

    Source: Glorot & Bengio, *Understanding the difficulty of training deep feedforward neural networks*, AISTATS 2010,
    eq. 12.
    """
    return rng.gauss(0.0, math.sqrt(2.0 / (fan_in + fan_out)))


def glorot_uniform(rng: random.Random, fan_in: int, fan_out: int) -> float:
    """Uniform with the variance of `glorot_normal`: in ±√(6 / (fan_in + fan_out)). Source: the same paper, eq. 16."""
    return _between(rng, "glorot_uniform", fan_in, fan_out)


INITIALISERS: dict[str, Initialiser] = {
    "uniform": uniform,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "glorot_normal": glorot_normal,
    "glorot_uniform": glorot_uniform,
}


def bound_of(init: str | Initialiser, fan_in: int, fan_out: int) -> float | None:
    """The largest weight of a uniform initialiser; None for any other."""
    name = next((name for name, function in INITIALISERS.items() if function is init), init)
    return _BOUNDS[name](fan_in, fan_out) if name in _BOUNDS else None


def _between(rng: random.Random, name: str, fan_in: int, fan_out: int) -> float:
    bound = _BOUNDS[name](fan_in, fan_out)
    return rng.uniform(-bound, bound)


def get(init: str | Initialiser) -> Initialiser:
    """Look up an initialiser by name; a function is returned unchanged. Raises ValueError for an unknown name."""
    if callable(init):
        return init
    if init not in INITIALISERS:
        raise ValueError(
            f"unknown init {init!r}: use one of {', '.join(INITIALISERS)}, or a function (rng, fan_in, fan_out) → float"
        )
    return INITIALISERS[init]
