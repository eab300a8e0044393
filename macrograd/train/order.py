"""Which samples each step sees, known for any step without the ones before it: a run that is resumed needs no state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

# Epochs are shuffled this many samples at a time: small epochs in one call, large ones each in its own.
_TOGETHER = 1 << 16


class Order:
    """The rows of every step: an epoch deals out every sample once, in batches of which the last may be smaller.

    samples     how many there are
    batch_size  of all batches but perhaps an epoch's last
    shuffle     a new random order in every epoch; else the samples' own order
    seed        of the orders, a whole number from 0

    The order is that of random 64-bit keys from Philox (Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3*,
    SC 2011), whose numbers depend on the seed and the epoch alone and are the same in every version of NumPy.
    """

    def __init__(self, samples: int, batch_size: int, *, shuffle: bool, seed: int) -> None:
        self.samples, self.batch_size, self.shuffle, self.seed = samples, batch_size, shuffle, seed
        self.steps_per_epoch = -(-samples // batch_size)
        self._together = max(1, _TOGETHER // samples)
        self._groups: dict[int, Rows] = {}
        lengths = np.full(self.steps_per_epoch, batch_size, dtype=np.int64)
        lengths[-1] = samples - batch_size * (self.steps_per_epoch - 1)
        self._lengths = lengths

    def steps(self, first: int, count: int) -> tuple[Rows, Rows]:
        """(rows, lengths) of `count` steps from step `first` on, counted from 0: the rows one step after the other."""
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
        per = self._together
        groups = range(begin // per, -(-end // per))
        parts = [self._group(g) for g in groups]
        self._groups = {g: part for g, part in zip(groups, parts, strict=True) if (g + 1) * per >= end}
        if not parts:
            return np.empty(0, dtype=np.int64)
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        skipped = begin - groups[0] * per
        return whole[skipped : skipped + end - begin].reshape(-1)

    def _group(self, g: int) -> Rows:
        """The orders of `_together` epochs, one a row."""
        if g not in self._groups:
            keys = np.random.Philox(key=[self.seed, g]).random_raw(self._together * self.samples)
            self._groups[g] = np.argsort(keys.reshape(self._together, self.samples), axis=1).astype(np.int64)
        return self._groups[g]
