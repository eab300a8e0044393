"""lse: the logarithm of a sum of exponentials, of up to 1,280,000 numbers, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from benchmarks.gradbench.slopes import Slopes


def logsumexp(x: Any) -> Any:
    largest = mg.loop(len(x), lambda i, most: mg.maximum(most, mg.take(x, i)), -float("inf"))
    largest = mg.detach(largest)  # it only keeps the exponentials finite: the sum does not depend on it
    total = mg.loop(len(x), lambda i, total: total + mg.exp(mg.take(x, i) - largest), 0.0)
    return largest + mg.log(total)


def primal(given: dict[str, Any]) -> Callable[[], float]:
    x = np.array(given["x"])
    f = mg.compile(logsumexp)
    return lambda: float(f(x))


def gradient(given: dict[str, Any]) -> Callable[[], NDArray[np.float64]]:
    return Slopes(logsumexp, given["x"])


FUNCTIONS = {"primal": primal, "gradient": gradient}
