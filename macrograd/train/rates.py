"""The learning rates of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.optim import Optimizer, Schedule


class Rates:
    """The rates by the optimiser's own schedule, which counts all steps that it has ever made, or by the `schedule` of
    this run, which counts those of the run. `fixed` is the rate if it never changes.

    The methods take the number of steps that the optimiser had made before the run as `before`.
    """

    def __init__(self, optimizer: Optimizer, schedule: Callable[[int], float] | None) -> None:
        self._own = schedule is None
        self._schedule = optimizer.schedule if schedule is None else schedule
        self.fixed = self._schedule.fixed if isinstance(self._schedule, Schedule) else None

    def of(self, step: int, count: int, before: int) -> NDArray[Any]:
        """The rates of `count` steps from this one. Raises ValueError if one is not finite."""
        if self.fixed is not None:
            return np.full(count, self.fixed)
        first = step + (before if self._own else 0)
        if type(self._schedule) is Schedule:  # a subclass may override __call__
            rates = self._schedule.rates(first, count)
        else:
            rates = np.array([_number(self._schedule(k), k) for k in range(first, first + count)], dtype=np.float64)
        if not np.isfinite(rates).all():
            k = int(np.flatnonzero(~np.isfinite(rates))[0])
            raise ValueError(f"the schedule gives the rate {rates[k]} at step {step + k}: rates must be finite")
        return rates

    def noted(self, total: int, before: int, more: Sequence[int] = ()) -> list[list[float]]:
        """[step, rate] of some steps of a run of `total`: the first ones, then fewer and fewer, and `more`."""
        some = [k for k in [*range(4), *(1 << n for n in range(2, 40)), total - 1] if 0 <= k < total]
        return [[k, float(self._schedule(k + (before if self._own else 0)))] for k in sorted({*more, *some})]


def _number(rate: Any, step: int) -> float:
    try:
        return float(rate)
    except (TypeError, ValueError):
        raise TypeError(f"the schedule gives the rate {rate!r} at step {step}: a rate is a number") from None
