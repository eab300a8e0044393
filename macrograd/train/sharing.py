"""A training run that several processes share."""

from __future__ import annotations

import zlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.ranks.ranks import Ranks, checksum
from macrograd.train.endings import EARLY_STOPPING
from macrograd.train.engines import Engine
from macrograd.train.samples.data import Samples
from macrograd.train.samples.order import Order
from macrograd.train.samples.split import Part
from macrograd.train.samples.spread import Spread

Places = NDArray[np.int64]

_FEW = 16  # rows of the data that are compared


def together(ranks: Ranks | None) -> AbstractContextManager[None]:
    """All ranks complete the block, or none: an error on one is an error on all."""
    if ranks is None:
        return nullcontext()
    ranks.stopped = None
    return ranks.together()


def compare(ranks: Ranks | None, part: Part, held: Part | None, order: Order, total: int, engine: Engine) -> None:
    """Raise OtherRankError, on all ranks, if they do not begin the same run."""
    if ranks is None:
        return
    program = (len(engine.theta), part.samples.shape, order.batch_size, order.shuffle, order.seed, total)
    data = _digest(part) if held is None else (_digest(part), _digest(held))
    ranks.meet(
        part.samples.count, zlib.crc32(repr(program).encode()), checksum(engine.theta), zlib.crc32(repr(data).encode())
    )


def stop(ranks: Ranks | None, stopped: str) -> None:
    """Tell the others, which may be about to make another step, if this rank has stopped on its own."""
    if ranks is not None and ranks.stopped is None and stopped and not EARLY_STOPPING.ended(stopped):
        ranks.meet(stop=True)


def agreed(samples: Samples, count: int) -> int:
    """The number of steps of the next run, at most `count`: the same for all ranks that send each other rows. Raises
    KeyboardInterrupt if one asks to stop."""
    if not isinstance(samples, Spread):
        return count
    ranks = samples.ranks
    return int(ranks.gathered("steps", np.array([count]), [1] * ranks.size).min())


def fetched(samples: Samples, rows: Places, lengths: Places, engine: Engine) -> tuple[Places, Places, NDArray[Any]]:
    """(the rows that are read for steps of these lengths, the place of each row among them, their numbers)."""
    read, places = _read(rows, engine.used(lengths))
    if not isinstance(samples, Spread):
        return read, places, samples.rows(read)
    me, size = samples.ranks.rank, samples.ranks.size
    wanted = [read if rank == me else _read(rows, engine.used(lengths, rank))[0] for rank in range(size)]
    return read, places, samples.sent(wanted)


def _read(rows: Places, used: NDArray[np.bool_] | None) -> tuple[Places, Places]:
    """(the rows that are read, the place of each row among them); `used` tells which, None for all."""
    if used is None:
        return rows, np.arange(len(rows), dtype=np.int64)
    return rows[used] if used.any() else rows[:1], np.maximum(np.cumsum(used) - 1, 0)


def _digest(part: Part) -> tuple[int, ...]:
    weights = () if part.weights is None else (_crc(part.weights),)
    return _crc(_some(part.samples)), _crc(part.targets), *weights


def _some(samples: Samples) -> Any:
    """Some rows: reading all would undo what sharing them saves."""
    return samples.rows(np.unique(np.linspace(0, samples.count - 1, _FEW).astype(np.int64)))


def _crc(array: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
