"""Initialisers: the distributions from which initial weights are drawn.

An initialiser is a function `(rng, fan_in, fan_out) → float` that draws one weight from a `random.Random`, for a neuron
with `fan_in` inputs in a layer of `fan_out` neurons. Biases start at 0.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

Initialiser = Callable[[random.Random, int, int], float]


def uniform(rng: random.Random, fan_in: int, fan_out: int) -> float:
    """Uniform in [−1, 1] for every shape, as in micrograd."""
    return rng.uniform(-1.0, 1.0)


def he_normal(rng: random.Random, fan_in: int, fan_out: int) -> float:
    """Normal with variance 2 / fan_in, for relu.

    Source: He, Zhang, Ren & Sun, *Delving Deep into Rectifiers*, ICCV 2015, eq. 10.
    """
    return rng.gauss(0.0, math.sqrt(2.0 / fan_in))


def he_uniform(rng: random.Random, fan_in: int, fan_out: int) -> float:
    """Uniform with the variance of `he_normal`: in ±√(6 / fan_in)."""
    bound = math.sqrt(6.0 / fan_in)
    return rng.uniform(-bound, bound)


def glorot_normal(rng: random.Random, fan_in: int, fan_out: int) -> float:
    """Normal with variance 2 / (fan_in + fan_out), for tanh and sigmoid.

    Source: Glorot & Bengio, *Understanding the difficulty of training deep feedforward neural networks*, AISTATS 2010,
    eq. 12.
    """
    return rng.gauss(0.0, math.sqrt(2.0 / (fan_in + fan_out)))


def glorot_uniform(rng: random.Random, fan_in: int, fan_out: int) -> float:
    """Uniform with the variance of `glorot_normal`: in ±√(6 / (fan_in + fan_out)). Source: the same paper, eq. 16."""
    bound = math.sqrt(6.0 / (fan_in + fan_out))
    return rng.uniform(-bound, bound)


INITIALISERS: dict[str, Initialiser] = {
    "uniform": uniform,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "glorot_normal": glorot_normal,
    "glorot_uniform": glorot_uniform,
}


def get(init: str | Initialiser) -> Initialiser:
    """Look up an initialiser by name; a function is returned unchanged. Raises ValueError for an unknown name."""
    if callable(init):
        return init
    if init not in INITIALISERS:
        raise ValueError(
            f"unknown init {init!r}: use one of {', '.join(INITIALISERS)}, or a function (rng, fan_in, fan_out) → float"
        )
    return INITIALISERS[init]
