"""llsq: a polynomial of degree 127 fitted to a step, by least squares: the sum over n points, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from benchmarks.gradbench.slopes import Slopes


def half_square(coefficients: Any, t: Any) -> Any:
    """What one point adds."""
    left, power = mg.sign(t), 1.0
    for c in coefficients:
        left = left - c * power
        power = power * t
    return 0.5 * left * left


def _points(n: int) -> NDArray[np.float64]:
    return -1.0 + np.arange(n) * 2.0 / (n - 1)


def primal(given: dict[str, Any]) -> Callable[[], float]:
    n, x = given["n"], np.array(given["x"])
    f = mg.compile(half_square, batch=True, uniform="coefficients")
    return lambda: float(f(x, _points(n)).sum())


def gradient(given: dict[str, Any]) -> Callable[[], NDArray[np.float64]]:
    n = given["n"]
    slopes = Slopes(half_square, given["x"], batch=True)
    return lambda: slopes(_points(n))


FUNCTIONS = {"primal": primal, "gradient": gradient}
