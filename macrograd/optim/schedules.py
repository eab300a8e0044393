"""Learning-rate schedules: functions from the step, which counts from 0, to a rate.

They run in Python, one number a step; only the rate goes into an update rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable


class Schedule:
    """A learning rate that depends on the step, which counts from 0: `schedule(step)` → float.

    function  what to compute, from an integer
    text      what it prints as
    """

    def __init__(self, function: Callable[[int], float], text: str) -> None:
        self._function = function
        self._text = text

    def __call__(self, step: int) -> float:
        return float(self._function(step))

    def __repr__(self) -> str:
        return self._text


def constant(rate: float) -> Schedule:
    """The same rate at every step. Raises ValueError for a rate that is negative or not finite."""
    if not 0.0 <= rate < math.inf:
        raise ValueError(f"a learning rate must be 0 or more and finite, got {rate}")
    return Schedule(lambda k: rate, f"{rate}")


def linear(start: float, end: float, steps: int) -> Schedule:
    """From `start` at step 0 in a straight line to `end` at step `steps`, and `end` from there on.

    micrograd's demo, 1 − 0.9·k/100, is `linear(1.0, 0.1, 100)`.
    """
    _check_steps("linear", steps)
    return Schedule(
        lambda k: start + (end - start) * k / steps if k < steps else end, f"linear({start}, {end}, {steps})"
    )


def step(start: float, factor: float, every: int) -> Schedule:
    """`start`, multiplied by `factor` once in `every` steps."""
    _check_steps("step", every)
    return Schedule(lambda k: start * factor ** (k // every), f"step({start}, {factor}, {every})")


def exponential(start: float, factor: float) -> Schedule:
    """`start`, multiplied by `factor` at every step."""
    return Schedule(lambda k: start * factor**k, f"exponential({start}, {factor})")


def cosine(start: float, end: float, steps: int) -> Schedule:
    """From `start` at step 0 along half a cosine wave to `end` at step `steps`, and `end` from there on.

    Source: Loshchilov & Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR 2017, eq. 5, one cycle.
    """
    _check_steps("cosine", steps)
    return Schedule(
        lambda k: end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * k / steps)) if k < steps else end,
        f"cosine({start}, {end}, {steps})",
    )


def warm_up(then: float | Callable[[int], float], steps: int) -> Schedule:
    """`steps` steps that rise in a straight line to the first rate of `then`, which follows from its own step 0.

    Step 0 already moves, by 1/steps of that rate.
    """
    _check_steps("warm_up", steps)
    after = as_schedule(then)
    return Schedule(
        lambda k: after(0) * (k + 1) / steps if k < steps else after(k - steps), f"warm_up({after!r}, {steps})"
    )


def as_schedule(rate: float | Callable[[int], float]) -> Callable[[int], float]:
    """A schedule as it is, a number as a constant one."""
    return rate if callable(rate) else constant(rate)


def _check_steps(name: str, steps: int) -> None:
    if steps < 1:
        raise ValueError(f"{name}() takes 1 step or more, got {steps}")
