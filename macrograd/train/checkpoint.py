"""Checkpoints: all that a run needs to go on bit for bit, in one file that is whole at every moment."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd.train import files
from macrograd.train.history import History

if TYPE_CHECKING:
    from concurrent.futures import Future

Tensors = dict[str, NDArray[Any]]


# Where a checkpoint takes long, as with the history of many million steps, those by seconds come less often: writing
# them is to cost about so large a share of the time.
_SHARE = 0.01


@dataclass(frozen=True)
class Every:
    """How often a checkpoint is written: after so many seconds or steps."""

    seconds: float = float("inf")
    steps: float = float("inf")

    @classmethod
    def of(cls, every: float | str, steps_per_epoch: int) -> Every:
        """A number of seconds, or a text: "30 seconds", "500 steps", "2 epochs". Raises ValueError for others."""
        if isinstance(every, (int, float)) and not isinstance(every, bool):
            amount, unit = float(every), "second"
        else:
            found = re.fullmatch(r"\s*([0-9.]+)\s*(second|step|epoch)s?\s*", every) if isinstance(every, str) else None
            if found is None or found[1].count(".") > 1 or found[1] == ".":
                raise ValueError(
                    f"every={every!r} is no distance between checkpoints: give seconds, or a text such as "
                    "'30 seconds', '500 steps' or '2 epochs'"
                )
            amount, unit = float(found[1]), found[2]
        if not amount > 0:
            raise ValueError(f"every={every!r}: the distance between checkpoints must be above 0")
        if unit == "second":
            return cls(seconds=amount)
        return cls(steps=max(1, round(amount * (steps_per_epoch if unit == "epoch" else 1))))


class Writer:
    """Writes checkpoints of a run to one file, on a thread of its own: training goes on meanwhile.

    The file on disk is always a whole one. Raises OSError, from a later call, where one could not be written.
    """

    def __init__(self, path: Path, every: Every, header: dict[str, Any]) -> None:
        from concurrent.futures import ThreadPoolExecutor  # costs some ms that a run without checkpoints does not need

        self.path, self._every, self._header = path, every, header
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="macrograd-checkpoint")
        self._running: Future[Any] | None = None
        self._time, self._step = time.perf_counter(), 0
        self._cost = 0.0  # of the latest, in seconds of a processor

    def started(self, step: int) -> None:
        """Distances count from here."""
        self._time, self._step = time.perf_counter(), step

    def next_step(self) -> float:
        """The step after which a checkpoint is due by steps."""
        return self._step + self._every.steps

    def due(self, step: int) -> bool:
        """Whether to write now. A checkpoint by seconds waits for the one before it, and longer where that was dear."""
        if step - self._step >= self._every.steps:
            return True
        late = time.perf_counter() - self._time >= max(self._every.seconds, self._cost / _SHARE)
        return late and step > self._step and (self._running is None or self._running.done())

    def write(self, step: int, tensors: Tensors, history: History, state: dict[str, Any]) -> None:
        """Begin to write: `tensors` must not change afterwards; what the history holds by now is written."""
        self._finish()
        self.started(step)
        pieces = history.snapshot()
        header = {**self._header, "step": step, **state}

        def write() -> None:
            begun = time.thread_time()
            files.write(self.path, "checkpoint", {**tensors, **pieces.tensors()}, header)
            self._cost = time.thread_time() - begun

        self._running = self._pool.submit(write)

    def _finish(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            running.result()

    def close(self) -> None:
        """Wait for the file."""
        try:
            self._finish()
        finally:
            self._pool.shutdown()


def prepare(path: str | os.PathLike[str], resume: bool) -> tuple[Path, tuple[Tensors, dict[str, Any]] | None]:
    """The file's path, and what is in it if a run is to go on from it. Nothing is ever overwritten unasked.

    Raises FileExistsError for a file that exists when not resuming, ValueError for one that is no checkpoint.
    """
    place = files.check_place(path)
    if not place.exists():
        return place, None
    if not resume:
        raise FileExistsError(
            f"the checkpoint {place} exists already: go on from it with resume=True, or remove it to start anew"
        )
    return place, files.read(place, "checkpoint")


def check_same(path: Path, saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ValueError if a checkpoint's run was another one than this; names what differs."""
    for name, value in now.items():
        if saved.get(name) != value:
            raise ValueError(
                f"{path} is of another run: its {name.replace('_', ' ')} was {saved.get(name)!r}, now it is {value!r}; "
                "go on with the same, or start anew with another file"
            )


def array_of(tensors: Tensors, name: str, shape: tuple[int, ...], path: Path) -> NDArray[Any]:
    """A tensor of a checkpoint, which must have this shape."""
    found = tensors.get(name)
    if found is None or found.shape != shape or found.dtype.kind != "f" or not np.isfinite(found).all():
        has = "is missing" if found is None else f"has shape {found.shape}, dtype {found.dtype}"
        raise ValueError(f"{path} is damaged: {name} {has}, it must be finite numbers of shape {shape}")
    return found
