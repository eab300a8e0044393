"""Which samples each step sees, known for any step without the ones before it: a run that is resumed needs no state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from macrograd.train.shuffle import shuffle_into

Rows = NDArray[np.int64]


class Order:
    """The rows of every step: an epoch deals out every sample once, in batches of which the last may be smaller.

    samples     how many there are
    batch_size  of all batches but perhaps an epoch's last
    shuffle     a new random order in every epoch; else the samples' own order
    seed        of the orders, a whole number from 0
    native      whether to shuffle in native code; the order is the same
    """

    def __init__(self, samples: int, batch_size: int, *, shuffle: bool, seed: int, native: bool = False) -> None:
        self.samples, self.batch_size, self.shuffle, self.seed = samples, batch_size, shuffle, seed
        self._native = native
        self.steps_per_epoch = -(-samples // batch_size)
        self._kept: tuple[int, Rows] = (-1, np.empty(0, dtype=np.int64))  # the latest epoch that was shuffled
        self._space = np.empty(0, dtype=np.int64)
        lengths = np.full(self.steps_per_epoch, batch_size, dtype=np.int64)
        lengths[-1] = samples - batch_size * (self.steps_per_epoch - 1)
        self._lengths = lengths

    def steps(self, first: int, count: int) -> tuple[Rows, Rows]:
        """(rows, lengths) of `count` steps from step `first` on, counted from 0: the rows one step after the other.

        They are good until the next call, which may use their memory again.
        """
        begin, skipped = divmod(first, self.steps_per_epoch)
        end = -(-(first + count) // self.steps_per_epoch)
        rows = self._epochs(begin, end)
        lengths = np.tile(self._lengths, end - begin)[skipped : skipped + count]
        start = skipped * self.batch_size
        return rows[start : start + int(lengths.sum())], lengths

    def _epochs(self, begin: int, end: int) -> Rows:
        """The rows of the epochs from `begin` up to `end`, one after the other."""
        if not self.shuffle:
            return np.tile(np.arange(self.samples, dtype=np.int64), end - begin)
        kept, order = self._kept
        if (kept, kept + 1) == (begin, end):
            return order
        size = (end - begin) * self.samples
        if len(self._space) < size:
            self._space = np.empty(size, dtype=np.int64)
        out = self._space[:size].reshape(end - begin, self.samples)
        known = int(kept == begin)
        if known:
            out[0] = order
        shuffle_into(out[known:], begin + known, self.seed, native=self._native)
        if end > begin:
            self._kept = (end - 1, out[-1].copy())
        return out.reshape(-1)
