"""Checkpoints: all that a run needs to go on bit for bit, in one file that is whole at every moment."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from macrograd.train import files, fingerprint
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
        header = {**self._header, "step": step, "metrics": list(pieces.metrics), **state}

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
            files.remove_remains(self.path)


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds; its schema has been checked."""

    path: Path
    tensors: Tensors
    header: dict[str, Any]

    def check_run(self, now: dict[str, Any]) -> None:
        """Raise ValueError if the run was another one than this; names what differs."""
        saved = self.header["run"]
        for name, value in now.items():
            if saved.get(name) != value:
                self._another(f"its {name.replace('_', ' ')} was {saved.get(name)!r}, now it is {value!r}")

    def check_programs(self, now: dict[str, Any]) -> None:
        """Raise ValueError if the run computed something else than this; says what differs."""
        difference = fingerprint.difference(self.header["programs"], now)
        if difference:
            self._another(difference)

    def _another(self, difference: str) -> NoReturn:
        raise ValueError(
            f"{self.path} is of another run: {difference}; go on with the same, or start again with another file"
        )

    def places(self, mine: NDArray[np.int64], states: int) -> NDArray[np.int64]:
        """For each parameter the place in the file that holds its numbers: `mine` says where the parameters stand in
        the model, `states` how many numbers of state each has. Raises ValueError for a file of other parameters."""
        saved, count = self.tensors["order"], len(mine)
        if saved.shape != mine.shape or not np.array_equal(np.sort(saved), np.sort(mine)):
            raise ValueError(f"{self.path} is of another model: it trained other parameters")
        shapes = {"parameters": (count,), "state": (states, count), "best": (count,)}
        for name, shape in shapes.items():
            if name in self.tensors and self.tensors[name].shape != shape:
                self.damaged(f"the tensor {name!r} has shape {self.tensors[name].shape}, it must have {shape}")
        if ("best" in self.tensors) != ({"best", "since"} <= self.header.keys()):
            self.damaged("what it says of early stopping is incomplete")
        place: NDArray[np.int64] = np.argsort(saved)[np.argsort(np.argsort(mine))]
        return place

    def history(self) -> History:
        """Raises ValueError where it does not fit the step that the file says it reached."""
        try:
            found = History.from_tensors(self.tensors, self.header["metrics"])
        except ValueError as error:
            self.damaged(str(error))
        if len(found) != self.header["step"]:
            self.damaged(f"its history has {len(found)} of {self.header['step']} steps")
        return found

    def damaged(self, how: str) -> NoReturn:
        raise ValueError(f"{self.path} is damaged: {how}")


def prepare(path: str | os.PathLike[str], resume: bool) -> tuple[Path, Saved | None]:
    """The file's path, and what is in it if a run is to go on from it. Nothing is ever overwritten unasked; what killed
    writes of this file left behind is removed.

    Raises FileExistsError for a file that exists when not resuming, ValueError for one that is no checkpoint.
    """
    place = files.check_place(path)
    if place.exists() and not resume:
        raise FileExistsError(
            f"the checkpoint {place} exists already: go on from it with resume=True, or remove it to start again"
        )
    files.remove_remains(place)
    return place, Saved(place, *files.read(place, "checkpoint")) if place.exists() else None
