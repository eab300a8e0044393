"""The numbers that a program runs on: a few distinct samples, from which batches of any size are made."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

SPECIAL = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 5e-324, -1e-310, 1e-200, 1e200, -1e308]
CHOICES = 3  # an index is below it


@dataclass(frozen=True)
class Data:
    """parameters   the numbers of P
    samples      the different rows of x
    indices      the index of each"""

    parameters: list[float]
    samples: list[list[float]]
    indices: list[int]

    def some(self, rows: Sequence[int]) -> Data:
        return replace(self, samples=[self.samples[k] for k in rows], indices=[self.indices[k] for k in rows])

    def finite(self) -> bool:
        return all(math.isfinite(a) for row in [self.parameters, *self.samples] for a in row)

    def with_odd_one(self, rng: random.Random) -> Data:
        """The numbers with one of them replaced by a special number."""
        parameters, samples = list(self.parameters), [list(row) for row in self.samples]
        row = rng.choice([parameters, *samples])
        row[rng.randrange(len(row))] = rng.choice(SPECIAL)
        return replace(self, parameters=parameters, samples=samples)

    def rounded(self) -> Data:
        """The numbers rounded to float32."""
        with np.errstate(over="ignore"):
            near = [[float(np.float32(a)) for a in row] for row in [self.parameters, *self.samples]]
        return Data(near[0], near[1:], self.indices)


def draw(rng: random.Random, features: frozenset[str], rows: int, inputs: int, parameters: int) -> Data:
    def one() -> float:
        if "special" in features and rng.random() < 0.25:
            return rng.choice(SPECIAL)
        if "ties" in features and rng.random() < 0.6:
            return rng.choice([-1.0, -0.5, -0.0, 0.0, 0.5, 1.0])
        if "fractions" in features:
            return rng.gauss(0.0, 1.0)
        return rng.randint(-32, 32) / 16

    return Data(
        [one() for _ in range(parameters)],
        [[one() for _ in range(inputs)] for _ in range(rows)],
        [rng.randrange(CHOICES) for _ in range(rows)],
    )
