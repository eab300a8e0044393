"""How many steps the engine runs before Python looks at the run again."""

from __future__ import annotations

import math

from macrograd.train.samples.data import Samples
from macrograd.train.samples.order import Order

# A run of steps takes about this many seconds: long enough that Python between the runs costs nothing, short enough for
# Ctrl-C, progress and checkpoints.
RUN_SECONDS = 0.05
_MOST_STEPS = 1 << 18
_MOST_BYTES = 1 << 25  # of rows copied from a file for one run


class Pace:
    """The number of steps of each run of the engine, which adapts to how long they take.

    total       the steps of the whole
    each_epoch  whether something happens at the end of every epoch
    each_step   … after every step
    last_apart  whether the last step of an epoch runs alone, since its update is measured
    """

    def __init__(
        self, samples: Samples, order: Order, total: int, *, each_epoch: bool, each_step: bool, last_apart: bool
    ) -> None:
        self._epoch, self._total = order.steps_per_epoch, total
        self._each_epoch, self._each_step, self._last_apart = each_epoch, each_step, last_apart
        self._per_run, self._limit = 1, _MOST_STEPS
        if samples.streamed:
            row = samples.dtype.itemsize * max(1, math.prod(samples.shape))
            self._limit = max(1, _MOST_BYTES // (row * order.batch_size))

    def count(self, step: int, due: float, most: int | None = None) -> int:
        """The number of steps to run after `step` of them before something else must happen, up to `most`; `due` is the
        step after which a checkpoint is."""
        if self._each_step:
            return 1
        most = min(self._per_run if most is None else most, self._total - step)
        left = self._epoch - step % self._epoch
        # A run across the end of a long epoch would have to concatenate its rows.
        if self._each_epoch or self._epoch > most:
            most = min(most, left)
        left = min(left, self._total - step)
        if self._last_apart and left > 1:
            most = min(most, left - 1)
        return int(min(most, max(1, due - step)))

    def adapt(self, count: int, seconds: float) -> None:
        """So many steps took so long: the next runs take the intended time, but are never many more steps at once than
        are known to fit."""
        wanted = count * RUN_SECONDS / max(seconds, 1e-7)
        self._per_run = int(max(1, min(wanted, 8 * self._per_run, self._limit)))
