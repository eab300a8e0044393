"""The samples of each step, computed for any step independently of earlier ones: a resumed run needs no state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from macrograd.train.samples.shuffle import shuffle_into

Rows = NDArray[np.int64]


class Order:
    """The rows of every step: each epoch uses every sample once, in batches, the last of which may be smaller.

    samples     the number of samples
    batch_size  the size of all batches except perhaps the last of an epoch
    shuffle     whether to use a new random order in every epoch
    seed        of the shuffles, a non-negative integer
    native      whether to shuffle in native code; the order is the same
    """

    def __init__(self, samples: int, batch_size: int, *, shuffle: bool, seed: int, native: bool = False) -> None:
        self.samples, self.batch_size, self.shuffle, self.seed = samples, batch_size, shuffle, seed
        self.native = native
        self.steps_per_epoch = -(-samples // batch_size)
        self._known, self._kept = -1, np.empty(0, dtype=np.int64)  # the latest epoch that was shuffled, and its rows
        self._space = np.empty(0, dtype=np.int64)
        lengths = np.full(self.steps_per_epoch, batch_size, dtype=np.int64)
        lengths[-1] = samples - batch_size * (self.steps_per_epoch - 1)
        self._lengths = self._repeated = lengths  # of the steps of one epoch, and of several

    def steps(self, first: int, count: int) -> tuple[Rows, Rows]:
        """(rows, lengths) of `count` steps from step `first`, counted from 0: the rows of one step after the other.

        They are valid until the next call, which may reuse their memory.
        """
        begin, skipped = divmod(first, self.steps_per_epoch)
        end = -(-(first + count) // self.steps_per_epoch)
        start = skipped * self.batch_size
        if end - begin <= 1:
            lengths = self._lengths[skipped : skipped + count]
            stop = min(start + count * self.batch_size, self.samples)
            if not self.shuffle:  # not the whole of an epoch, which may be long
                return np.arange(start, stop, dtype=np.int64), lengths
            return self._epochs(begin, end)[start:stop], lengths
        if len(self._repeated) < (end - begin) * self.steps_per_epoch:
            self._repeated = np.tile(self._lengths, end - begin)
        lengths = self._repeated[skipped : skipped + count]
        # Whole epochs, and those of the last one's steps that are among these.
        last = (first + count) % self.steps_per_epoch * self.batch_size
        stop = (end - begin - bool(last)) * self.samples + last
        return self._epochs(begin, end)[start:stop], lengths

    def _epochs(self, begin: int, end: int) -> Rows:
        """The rows of the epochs begin … end - 1, one after the other."""
        if not self.shuffle:
            return np.tile(np.arange(self.samples, dtype=np.int64), end - begin)
        if end - begin == 1:
            return self._one(begin)
        size = (end - begin) * self.samples
        if len(self._space) < size:
            self._space = np.empty(size, dtype=np.int64)
        out = self._space[:size].reshape(end - begin, self.samples)
        known = int(begin < end and self._known == begin)
        if known:
            out[0] = self._kept
        shuffle_into(out[known:], begin + known, self.seed, native=self.native)
        if end > begin:
            self._keep()[:] = out[-1]
            self._known = end - 1
        return out.reshape(-1)

    def _one(self, epoch: int) -> Rows:
        kept = self._keep()
        if self._known != epoch:
            self._known = -1  # an interrupt may leave it half done
            shuffle_into(kept.reshape(1, -1), epoch, self.seed, native=self.native)
            self._known = epoch
        return kept

    def _keep(self) -> Rows:
        if not len(self._kept):
            self._kept = np.empty(self.samples, dtype=np.int64)
        return self._kept


class Orders:
    """The rows of every step of many runs that differ in their seeds alone; see `Order`."""

    def __init__(self, like: Order, seeds: Sequence[int]) -> None:
        self._like, self._seeds = like, seeds
        self._begin = self._end = 0  # the epochs that are held
        self._rows = np.empty((len(seeds), 0, like.samples), dtype=np.int64)

    def steps(self, first: int, count: int) -> tuple[Rows, Rows]:
        """(rows of each run, lengths) of `count` steps from step `first`, counted from 0; the lengths are the same for
        all. They are valid until the next call."""
        like = self._like
        rows, lengths = like.steps(first, count)
        if not like.shuffle:
            return np.broadcast_to(rows, (len(self._seeds), len(rows))), lengths
        begin, skipped = divmod(first, like.steps_per_epoch)
        self._hold(begin, -(-(first + count) // like.steps_per_epoch))
        start = skipped * like.batch_size
        return self._rows.reshape(len(self._seeds), -1)[:, start : start + len(rows)], lengths

    def _hold(self, begin: int, end: int) -> None:
        """Shuffle the epochs begin … end − 1, except those that are held."""
        if self._begin <= begin and end <= self._end:
            self._rows = self._rows[:, begin - self._begin : end - self._begin]
            self._begin, self._end = begin, end
            return
        new = np.empty((len(self._seeds), end - begin, self._like.samples), dtype=np.int64)
        known = max(0, self._end - begin) if self._begin <= begin else 0
        new[:, :known] = self._rows[:, self._rows.shape[1] - known :]
        for rows, seed in zip(new[:, known:], self._seeds, strict=True):
            shuffle_into(rows, begin + known, seed, native=self._like.native)
        self._begin, self._end, self._rows = begin, end, new
