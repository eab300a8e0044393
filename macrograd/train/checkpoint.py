"""Checkpoints: everything a run needs to resume bit for bit, in one file that is complete at every moment."""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd._files import check_place, remove_remains
from macrograd._workers import Job, Worker
from macrograd.ranks.ranks import Ranks
from macrograd.train import files, fingerprint
from macrograd.train.history import History

Tensors = dict[str, NDArray[Any]]


# If checkpoints take long to write, as with a history of millions of steps, timed checkpoints become less frequent, so
# that writing takes about this share of the time.
SHARE = 0.01


@dataclass(frozen=True)
class Every:
    """The interval between checkpoints, in seconds or steps."""

    seconds: float = float("inf")
    steps: float = float("inf")

    @classmethod
    def of(cls, every: float | str, steps_per_epoch: int) -> Every:
        """From a number of seconds, or a string: "30 seconds", "500 steps", "2 epochs". Raises ValueError otherwise."""
        if isinstance(every, (int, float)) and not isinstance(every, bool):
            amount, unit = float(every), "second"
        else:
            found = re.fullmatch(r"\s*([0-9.]+)\s*(second|step|epoch)s?\s*", every) if isinstance(every, str) else None
            if found is None or found[1].count(".") > 1 or found[1] == ".":
                raise ValueError(
                    f"every={every!r} is not a checkpoint interval: give seconds, or a string such as "
                    "'30 seconds', '500 steps' or '2 epochs'"
                )
            amount, unit = float(found[1]), found[2]
        if not amount > 0:
            raise ValueError(f"every={every!r}: the checkpoint interval must be positive")
        if unit == "second":
            return cls(seconds=amount)
        return cls(steps=max(1, round(amount * (steps_per_epoch if unit == "epoch" else 1))))


class Writer:
    """Writes checkpoints of a run to one file, in a separate thread while training continues.

    The file on disk is always complete. Raises OSError, from a later call, if one could not be written.
    """

    def __init__(self, path: Path, every: Every, header: dict[str, Any]) -> None:
        self.path, self._every, self._header = path, every, header
        self._worker = Worker()
        self._running: Job | None = None
        self._time, self._step = time.perf_counter(), 0
        self._cost = 0.0  # of the latest checkpoint, in CPU seconds

    def started(self, step: int) -> None:
        """Start counting intervals now."""
        self._time, self._step = time.perf_counter(), step

    def next_step(self) -> float:
        """The step after which a checkpoint is due by steps."""
        return self._step + self._every.steps

    def due(self, step: int) -> bool:
        """Whether to write now. A timed checkpoint waits for the previous one, longer if that one was slow."""
        if step - self._step >= self._every.steps:
            return True
        late = time.perf_counter() - self._time >= max(self._every.seconds, self._cost / SHARE)
        return late and step > self._step and (self._running is None or self._running.done)

    def write(self, step: int, tensors: Tensors, history: History, state: dict[str, Any]) -> None:
        """Start writing: `tensors` must not change afterwards; the history is written as it is now."""
        self.finish()
        self.started(step)
        pieces = history.snapshot()
        header = {**self._header, "step": step, "metrics": list(pieces.metrics), **state}

        def write() -> None:
            begun = time.thread_time()
            files.write(self.path, "checkpoint", {**tensors, **pieces.tensors()}, header)
            self._cost = time.thread_time() - begun

        self._running = job = Job(write)
        self._worker.begin(job)

    def finish(self) -> None:
        if (running := self._running) is not None:
            self._worker.wait(running)
            self._running = None
            if running.error is not None:
                raise running.error

    def close(self) -> None:
        """Wait until the file is written."""
        try:
            self.finish()
        finally:
            remove_remains(self.path)


@dataclass(frozen=True)
class Saved:
    """The contents of a checkpoint, checked against its schema."""

    path: Path
    tensors: Tensors
    header: dict[str, Any]

    def check_run(self, now: dict[str, Any]) -> None:
        """Raise ValueError, naming the difference, if this is not the run that wrote the checkpoint."""
        saved = self.header["run"]
        for name, value in now.items():
            if saved.get(name) != value:
                self._another(f"its {name.replace('_', ' ')} was {saved.get(name)!r}, now it is {value!r}")

    def check_programs(self, now: dict[str, Any]) -> None:
        """Raise ValueError, naming the difference, if the run that wrote the checkpoint computed something else."""
        difference = fingerprint.difference(self.header["programs"], now)
        if difference:
            self._another(difference)

    def _another(self, difference: str) -> NoReturn:
        raise ValueError(
            f"{self.path} is from a different run: {difference}; resume with the same settings, or start again with "
            "another file"
        )

    def places(self, mine: NDArray[np.int64], states: int) -> NDArray[np.int64]:
        """For each parameter, its index in the file: `mine` are the parameters' places in the model, `states` the
        number of state numbers of each. Raises ValueError for a file with other parameters."""
        saved, count = self.tensors["order"], len(mine)
        if saved.shape != mine.shape or not np.array_equal(np.sort(saved), np.sort(mine)):
            raise ValueError(f"{self.path} is from a different model: it trained other parameters")
        shapes = {"parameters": (count,), "state": (states, count), "best": (count,)}
        for name, shape in shapes.items():
            if name in self.tensors and self.tensors[name].shape != shape:
                self.damaged(f"the tensor {name!r} has shape {self.tensors[name].shape}, it must have {shape}")
        if ("best" in self.tensors) != ({"best", "since"} <= self.header.keys()):
            self.damaged("its early-stopping state is incomplete")
        place: NDArray[np.int64] = np.argsort(saved)[np.argsort(np.argsort(mine))]
        return place

    def history(self) -> History:
        """The saved history. Raises ValueError if it does not match the step in the file's header."""
        try:
            found = History.from_tensors(self.tensors, self.header["metrics"])
        except ValueError as error:
            self.damaged(str(error))
        if len(found) != self.header["step"]:
            self.damaged(f"its history has {len(found)} of {self.header['step']} steps")
        return found

    def damaged(self, how: str) -> NoReturn:
        raise ValueError(f"{self.path} is damaged: {how}")


def prepare(path: str | os.PathLike[str], resume: bool, ranks: Ranks | None = None) -> tuple[Path, Saved | None]:
    """The file's path, and its contents if a run is to resume from it. Nothing is overwritten unasked; temporary files
    left behind by killed writes are removed. With `ranks`, only rank 0 looks at the disk, and tells the others.

    Raises FileExistsError if the file exists and the run does not resume, ValueError if it is not a checkpoint.
    """
    if ranks is not None and ranks.rank:
        return Path(path), _received(Path(path), ranks.contents(b"")[0])
    place = check_place(path)
    if place.exists() and not resume:
        raise FileExistsError(
            f"the checkpoint {place} already exists: resume from it with resume=True, or remove it to start again"
        )
    remove_remains(place)
    saved = Saved(place, *files.read(place, "checkpoint")) if place.exists() else None
    if ranks is not None:
        ranks.contents(b"" if saved is None else place.read_bytes())
    return place, saved


def _received(place: Path, content: bytes) -> Saved | None:
    """The checkpoint that rank 0 read at this place."""
    if not content:
        return None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkpoint"
        copy.write_bytes(content)
        return Saved(place, *files.read(copy, "checkpoint"))
