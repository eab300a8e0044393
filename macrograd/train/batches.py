"""Which samples a step sees."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def batches(samples: int, batch_size: int | None, seed: int) -> Iterator[NDArray[np.int64]]:
    """Endlessly: the indices of the next step's batch, `batch_size` of the numbers below `samples`.

    Without a batch size, or with one of all samples, every batch is all of them in their own order. Otherwise the
    samples are shuffled and dealt out batch after batch; when fewer than a batch are left, they are shuffled anew. So
    no sample comes twice in a batch, and all come equally often but for chance. The generator is the loop's own, seeded
    with `seed`: NumPy's legacy one, whose stream is frozen.

    Raises ValueError for a batch size below 1 or above the number of samples.
    """
    if samples < 1:
        raise ValueError("there are no samples to make batches of")
    size = samples if batch_size is None else batch_size
    if not 1 <= size <= samples:
        raise ValueError(f"a batch size of {size} does not fit {samples} samples: choose one from 1 to {samples}")
    return _deal(samples, size, seed)


def _deal(samples: int, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    order = np.arange(samples, dtype=np.int64)
    if size == samples:
        while True:
            yield order
    random = np.random.RandomState(seed)
    while True:
        random.shuffle(order)
        for start in range(0, samples - size + 1, size):
            yield order[start : start + size].copy()
