"""gmm: the logarithm of a posterior of Gaussian mixtures with a Wishart prior, and its gradient.

One sample of the batch is one observation; what does not depend on an observation is a second program.
"""

from __future__ import annotations

from collections.abc import Callable
from math import lgamma, log, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from benchmarks.gradbench.slopes import Slopes


class Mixture:
    """The sizes and numbers of one input, and the two parts of its posterior."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.d, self.k, self.n, self.m, self.gamma = (given[name] for name in ("d", "k", "n", "m", "gamma"))
        self.x = np.array(given["x"])
        self.parts = [np.array(given[name], dtype=float) for name in ("alpha", "mu", "q", "l")]
        self.numbers = np.concatenate([part.ravel() for part in self.parts])

    def _rows(self, values: Any) -> tuple[Any, Any, Any, Any]:
        """alpha, and mu, q and l as rows of one component each."""
        found, start = [], 0
        for part in self.parts:
            rows = [values[start + k * part[0].size : start + (k + 1) * part[0].size] for k in range(self.k)]
            start += part.size
            found.append(rows)
        return [row[0] for row in found[0]], found[1], found[2], found[3]

    def observed(self, values: Any, x: Any) -> Any:
        """The log-likelihood of one observation, up to what does not depend on it."""
        return mg.logsumexp([self._weighted(*part, x) for part in zip(*self._rows(values), strict=True)])

    def _weighted(self, alpha: Any, mu: Any, q: Any, low: Any, x: Any) -> Any:
        """The logarithm of one component's weighted density."""
        centred = [a - b for a, b in zip(x, mu, strict=True)]
        total = alpha + mg.sum(q)
        for i in range(self.d):
            # `low` holds the triangle below the diagonal column by column
            below = [low[j * self.d - j * (j + 1) // 2 + i - j - 1] for j in range(i)]
            y = mg.exp(q[i]) * centred[i] + mg.dot(below, centred[:i])
            total = total - 0.5 * y * y
        return total

    def prior(self, values: Any) -> Any:
        """The part that depends on parameters alone."""
        alpha, _, q, low = self._rows(values)
        squares = mg.sum([mg.exp(2.0 * x) for row in q for x in row]) + mg.sum([x * x for row in low for x in row])
        sums = mg.sum([x for row in q for x in row])
        return -self.n * mg.logsumexp(alpha) - 0.5 * self.gamma**2 * squares + self.m * sums

    def constant(self) -> float:
        freedom = self.d + self.m + 1
        gammas = sum(lgamma(0.5 * (freedom - j)) for j in range(self.d)) + self.d * (self.d - 1) / 4 * log(pi)
        wishart = freedom * self.d * log(self.gamma / 2**0.5) - gammas
        return float(self.k * wishart - self.n * self.d * 0.5 * log(2 * pi))


def objective(given: dict[str, Any]) -> Callable[[], float]:
    mixture = Mixture(given)
    observed = mg.compile(mixture.observed, batch=True, uniform="values")
    prior = mg.compile(mixture.prior)
    constant = mixture.constant()
    return lambda: constant + float(observed(mixture.numbers, mixture.x).sum()) + float(prior(mixture.numbers))


def jacobian(given: dict[str, Any]) -> Callable[[], dict[str, NDArray[np.float64]]]:
    mixture = Mixture(given)
    observed = Slopes(mixture.observed, mixture.numbers, batch=True)
    prior = Slopes(mixture.prior, mixture.numbers)
    ends = np.cumsum([part.size for part in mixture.parts])[:-1]

    def run() -> dict[str, NDArray[np.float64]]:
        found = np.split(observed(mixture.x) + prior(), ends)
        shaped = [slopes.reshape(part.shape) for slopes, part in zip(found, mixture.parts, strict=True)]
        return dict(zip(("alpha", "mu", "q", "l"), shaped, strict=True))

    return run


FUNCTIONS = {"objective": objective, "jacobian": jacobian}
