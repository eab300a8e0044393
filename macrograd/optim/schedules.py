"""Learning-rate schedules: functions that map the step, counted from 0, to a learning rate.

An update rule sees only the rate. The schedules defined here are computed for many steps at once, since a native step
takes little longer than a Python call; custom functions are called once per step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.copying import checked_state

Floats = NDArray[np.float64]

# Rates are computed in blocks of this many steps, aligned to multiples of it, so that a step's rate has the same bits
# whoever asks for it: NumPy's cosines and powers may depend on the position in the array.
_BLOCK = 512
_AT_ONCE = 16 * _BLOCK  # steps whose rates are computed together, in the nearest cache


class Schedule:
    """A learning rate that depends on the step, counted from 0: `schedule(step)` → float.

    function  maps an integer step to the rate
    text      the schedule's repr
    many      the vectorised form, if any: maps an array of steps (integers in float64) to an array of rates; used
              instead of `function` where it is given
    fixed     the rate, if it is the same at every step
    """

    def __init__(
        self,
        function: Callable[[int], float],
        text: str,
        *,
        many: Callable[[Floats], Any] | None = None,
        fixed: float | None = None,
    ) -> None:
        self._function, self._text, self._many, self.fixed = function, text, many, fixed
        self._at, self._held = -1, [0.0]  # the latest block of a single step

    def __call__(self, step: int) -> float:
        if self._many is None:
            return float(self._function(step))
        block, place = divmod(step, _BLOCK)
        if block != self._at:
            self._at, self._held = block, self.rates(block * _BLOCK, _BLOCK).tolist()
        return self._held[place]

    def rates(self, first: int, count: int) -> Floats:
        """The rates of `count` steps, starting at step `first`."""
        if self._many is None:
            return np.array([float(self._function(k)) for k in range(first, first + count)], dtype=np.float64)
        begin, end = first // _BLOCK * _BLOCK, -(-(first + count) // _BLOCK) * _BLOCK
        found = np.empty(end - begin)
        # The block also holds steps that were not asked for, whose rates may overflow.
        with np.errstate(all="ignore"):
            for at in range(begin, end, _AT_ONCE):
                steps = np.arange(at, min(at + _AT_ONCE, end), dtype=np.float64)
                found[at - begin : at - begin + len(steps)] = self._many(steps)
        return found[first - begin : first - begin + count]

    def __getstate__(self) -> dict[str, Any]:
        return checked_state(self)

    def __repr__(self) -> str:
        return self._text


# The formulas are module-level functions that get their settings by `partial`, so that pickle finds them.


def constant(rate: float) -> Schedule:
    """The same rate at every step. Raises ValueError if the rate is negative or not finite."""
    if not 0.0 <= rate < math.inf:
        raise ValueError(f"a learning rate must be 0 or more and finite, got {rate}")
    return Schedule(partial(_constant, float(rate)), f"{rate}", fixed=float(rate))


def _constant(rate: float, k: int) -> float:
    return rate


def linear(start: float, end: float, steps: int) -> Schedule:
    """Linear from `start` at step 0 to `end` at step `steps`, then constant at `end`.

    micrograd's demo, 1 − 0.9·k/100, is `linear(1.0, 0.1, 100)`.
    """
    _check_steps("linear", steps)
    return _named(partial(_linear, start, end, steps), f"linear({start}, {end}, {steps})")


def _linear(start: float, end: float, steps: int, k: Floats) -> Any:
    found = (end - start) * k
    found /= steps
    found += start
    return found if k[-1] < steps else np.where(k < steps, found, end)  # k rises


def step(start: float, factor: float, every: int) -> Schedule:
    """`start`, multiplied by `factor` after every `every` steps. Raises ValueError if `every` is below 1."""
    _check_steps("step", every)
    return _named(partial(_step, start, factor, every), f"step({start}, {factor}, {every})")


def _step(start: float, factor: float, every: int, k: Floats) -> Any:
    return start * np.power(float(factor), k // every)


def exponential(start: float, factor: float) -> Schedule:
    """start·factorᵏ at step k: multiplied by `factor` at every step."""
    return _named(partial(_exponential, start, factor), f"exponential({start}, {factor})")


def _exponential(start: float, factor: float, k: Floats) -> Any:
    return start * np.power(float(factor), k)


def cosine(start: float, end: float, steps: int) -> Schedule:
    """Half a cosine wave from `start` at step 0 to `end` at step `steps`, then constant at `end`.

    Source: Loshchilov & Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR 2017, eq. 5, one cycle.
    """
    _check_steps("cosine", steps)
    return _named(partial(_cosine, start, end, steps), f"cosine({start}, {end}, {steps})")


def _cosine(start: float, end: float, steps: int, k: Floats) -> Any:
    return np.where(k < steps, end + 0.5 * (start - end) * (1.0 + np.cos(np.pi * k / steps)), end)


def coslog(peak: float, cycles: int, steps: int) -> Schedule:
    """peak·½(1 − cos(2π·log₂(1 + (2^cycles − 1)·t))), with t from 0 to 1 over the steps: `cycles` waves, each twice as
    long as the one before, from 0 to `peak` and back. Source: Holzmüller, Grinsztajn & Steinwart, arXiv:2407.04491,
    section 3, where cycles is 4. Raises ValueError for fewer than one step or cycle."""
    _check_steps("coslog", steps)
    _check_steps("coslog", cycles)
    many = partial(_coslog, float(peak), cycles, steps)
    return _named(many, f"coslog({peak:g}, {cycles}, {steps})")


def _coslog(peak: float, cycles: int, steps: int, k: Floats) -> Any:
    # Between the ends: a step at a rate of 0 would be one in vain.
    t = np.minimum((k + 0.5) / steps, 1.0)
    return peak * 0.5 * (1.0 - np.cos(2.0 * math.pi * np.log2(1.0 + (2.0**cycles - 1.0) * t)))


def warm_up(then: float | Callable[[int], float], steps: int) -> Schedule:
    """A linear warm-up over `steps` steps to the first rate of `then`, followed by `then` from its step 0.

    Step 0 has 1/steps of that rate, not 0.
    """
    _check_steps("warm_up", steps)
    after = as_schedule(then)
    text = f"warm_up({after!r}, {steps})"
    if not (isinstance(after, Schedule) and (after._many is not None or after.fixed is not None)):
        return Schedule(partial(_rising_by_one, after, steps), text)
    return _named(partial(_rising, after, steps), text)


def _rising_by_one(after: Callable[[int], float], steps: int, k: int) -> float:
    return after(0) * (k + 1) / steps if k < steps else after(k - steps)


def _rising(after: Schedule, steps: int, k: Floats) -> Floats:
    first = int(k[0])
    later = after.rates(max(first - steps, 0), len(k))
    before = min(max(steps - first, 0), len(k))
    return np.concatenate([after(0) * (k[:before] + 1) / steps, later[: len(k) - before]])


def _named(many: Callable[[Floats], Any], text: str) -> Schedule:
    return Schedule(partial(_one, many), text, many=many)


def _one(many: Callable[[Floats], Any], k: int) -> float:
    return float(many(np.array([float(k)]))[0])


NOT_PARAMETERS = (
    "an optimiser takes the learning rate first, and the parameters in every step: optimizer = optim.SGD(0.1), then "
    "optimizer.step(model.parameters())"
)


def as_schedule(rate: float | Callable[[int], float]) -> Callable[[int], float]:
    """Return a schedule unchanged and a number as a constant schedule. Raises TypeError for anything else."""
    if callable(rate):
        return rate
    if isinstance(rate, (list, tuple, Iterator)):
        raise TypeError(NOT_PARAMETERS)
    if isinstance(rate, bool) or not hasattr(rate, "__float__"):
        raise TypeError(
            f"a learning rate must be a number or a schedule, as in optim.cosine(0.1, 0.0, 1000), got {rate!r}"
        )
    return constant(rate)


def _check_steps(name: str, steps: int) -> None:
    if not isinstance(steps, Integral):
        raise TypeError(f"{name}() takes an integer number of steps, got {steps!r}")
    if steps < 1:
        raise ValueError(f"{name}() needs at least 1 step, got {steps}")
