"""saddle: min over x of max over y of (x₁² + y₁²) − (x₂² + y₂²), descent in descent: the maximum is differentiated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import macrograd as mg
from benchmarks.gradbench.descent import argmin, slope_of

INNER, OUTER = 400, 10_000  # the most steps


def height(x: Any, y: Any) -> Any:
    return (x[0] * x[0] + x[1] * x[1]) - (y[0] * y[0] + y[1] * y[1])


def summit(x: Any, start: Any, mode: str) -> Any:
    """The y that maximises the height."""

    def depth(y: Any) -> Any:
        return -height(x, y)

    return argmin(depth, slope_of(depth, mode), start, INNER)


def _solved(outer: str, inner: str, given: dict[str, Any]) -> Callable[[], list[float]]:
    start = [float(x) for x in given["start"]]

    def largest(x: Any) -> Any:
        return height(x, summit(x, start, inner))

    value, slope = mg.compile(largest), mg.compile(slope_of(largest, outer))
    top = mg.compile(lambda x: summit(x, start, outer))

    def run() -> list[float]:
        x = argmin(lambda x: float(value(x)), lambda x: [float(s) for s in slope(x)], start, OUTER)
        return [*x, *(float(y) for y in top(x))]

    return run


FUNCTIONS = {outer + inner: partial(_solved, outer, inner) for outer in "rf" for inner in "rf"}
