"""ode: y₀' = x₀ and yᵢ' = xᵢ·yᵢ₋₁, by s steps of the fourth-order method of Runge and Kutta from y = 0 to t = 2.

A component needs only the one before it, at the same stage of the same step. So the loop goes over the components, and
its state is the component before at every stage of a few steps: the same operations as step by step, in another order.
The derivative of the last component goes step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from benchmarks.gradbench.slopes import Slopes

END = 2.0
AT_ONCE = 5  # the most steps in one program


def component(x: Any, before: Any, h: float, y: Any) -> tuple[list[Any], Any]:
    """A component at the four stages of every step, and at the end, from the component before it and its start y."""
    stages, half, sixth = [], h / 2.0, h / 6.0
    for first, second, third, fourth in before:
        k1, k2, k3, k4 = x * first, x * second, x * third, x * fourth
        stages.append((y, y + half * k1, y + half * k2, y + h * k3))
        y = y + sixth * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return stages, y


def solution(x: Any, s: int, h: float, start: Any) -> Any:
    """All components s steps after the start. The one before the first is 1, which makes y₀' = x₀ · 1."""

    def step(i: Any, before: Any) -> Any:
        return component(mg.take(x, i), before, h, mg.take(start, i))

    return mg.loop(len(x), step, [(1.0,) * 4] * s, collect=True)[1]


def reach(n: int, s: int) -> int:
    """How many of the last components can change the last one: each of the 4 s stages brings in one more."""
    return min(n, 4 * s)


def last(x: Any, s: int, first: bool) -> Any:
    """The last component alone, from it and those that it depends on; `first` if none are before these. Step by step:
    all components are next to each other in the program of one step, and so are their adjoints."""
    h = END / s

    def rates(y: Any) -> list[Any]:
        return [a * b for a, b in zip(x, [float(first), *y[:-1]], strict=True)]

    def moved(y: Any, by: float, rates: Any) -> list[Any]:
        return [a + by * rate for a, rate in zip(y, rates, strict=True)]

    def step(_: Any, y: Any) -> list[Any]:
        k1 = rates(y)
        k2 = rates(moved(y, h / 2.0, k1))
        k3 = rates(moved(y, h / 2.0, k2))
        k4 = rates(moved(y, h, k3))
        sums = [a + 2.0 * b + 2.0 * c + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True)]
        return moved(y, h / 6.0, sums)

    return mg.loop(s, step, [0.0] * len(x))[-1]


def primal(given: dict[str, Any]) -> Callable[[], NDArray[np.float64]]:
    """A few steps at once: a round of their loop is the same program, however many follow."""
    x, h = np.array(given["x"]), END / given["s"]
    few = max(k for k in range(1, AT_ONCE + 1) if given["s"] % k == 0)
    several = mg.compile(lambda x, start: solution(x, few, h, start))
    step: Any = None

    def run() -> NDArray[np.float64]:
        nonlocal step
        step = step or several.bind(x, np.zeros(len(x)))
        start = step.arguments[1]
        start[:] = 0.0
        for _ in range(given["s"] // few):
            start[:] = step()
        return start.copy()

    return run


def gradient(given: dict[str, Any]) -> Callable[[], NDArray[np.float64]]:
    x, s = given["x"], given["s"]
    near = reach(len(x), s)
    slopes = Slopes(lambda values: last(values, s, near == len(x)), x[-near:])
    return lambda: np.concatenate([np.zeros(len(x) - near), slopes()])


FUNCTIONS = {"primal": primal, "gradient": gradient}
