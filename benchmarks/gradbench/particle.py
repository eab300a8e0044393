"""particle: the position w of a charge that makes a particle, moving between two charges, cross the x axis at 0.

The force is the gradient of a potential, taken at every step of Euler's method, and descent needs the derivative of
where the particle crosses by w: derivatives of derivatives through a loop whose rounds the numbers decide.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import macrograd as mg
from benchmarks.gradbench.descent import argmin, slope_of

STEP = 0.1
MOST = 500  # steps of a path: w = 0 takes 353
DESCENT = 10_000


def squared_miss(w: Any, mode: str) -> Any:
    """The square of x where the path crosses the axis."""

    def potential(at: Any) -> Any:
        x, y = at
        charges = ((10.0, 10.0 - w[0]), (10.0, 0.0))
        return mg.sum([1.0 / mg.sqrt((x - a) * (x - a) + (y - b) * (y - b)) for a, b in charges])

    def step(state: Any) -> Any:
        x, speed = state[1:3]
        force = slope_of(potential, mode)(x)
        moved = [a + STEP * v for a, v in zip(x, speed, strict=True)]
        return x, moved, [v - STEP * f for v, f in zip(speed, force, strict=True)], speed

    start, speed = [0.0, 8.0], [0.75, 0.0]
    before, _, _, speed = mg.while_loop(lambda state: state[1][1] > 0.0, step, (start, start, speed, speed), most=MOST)
    x, y = before
    crossing = x - y / speed[1] * speed[0]
    return crossing * crossing


def _solved(outer: str, inner: str, given: dict[str, Any]) -> Callable[[], float]:
    def miss(w: Any) -> Any:
        return squared_miss(w, inner)

    value, slope = mg.compile(miss), mg.compile(slope_of(miss, outer))
    return lambda: float(argmin(lambda w: float(value(w)), lambda w: [float(slope(w)[0])], [given["w"]], DESCENT)[0])


FUNCTIONS = {outer + inner: partial(_solved, outer, inner) for outer in "rf" for inner in "rf"}
