"""The checkpoints of many members: a folder with the checkpoint of each, of the kind that its run alone would write."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from macrograd.train import checkpoint, files
from macrograd.train.checkpoint import SHARE, Every, Saved, Tensors
from macrograd.train.history import History


class Folder:
    """The folder, which is made if it is not there.

    every    the interval between checkpoints, as for `Trainer.fit`
    resume   whether members resume from the files in it

    Raises FileExistsError if there are files and no resuming, NotADirectoryError for a file, ValueError for an interval
    that is none.
    """

    def __init__(self, path: str | os.PathLike[str], every: float | str, *, resume: bool) -> None:
        Every.of(every, 1)  # raises before there is a folder
        self.path, self.every, self.resume = Path(path), every, resume
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"the checkpoint of many members is a folder, and {self.path} is a file")
        if self.path.is_dir() and any(self.path.iterdir()) and not resume:
            raise FileExistsError(
                f"the checkpoint {self.path} already exists: resume from it with resume=True, or remove it to start "
                "again"
            )
        self.path.mkdir(parents=True, exist_ok=True)

    def file(self, k: int) -> Path:
        """The file of member k."""
        return self.path / f"{k:04}.safetensors"

    def prepare(self, k: int) -> tuple[Path, Saved | None]:
        """The file of member k, and its contents if there are some."""
        return checkpoint.prepare(self.file(k), self.resume)


class Clock:
    """When the members of a group are due."""

    def __init__(self, every: Every) -> None:
        self._every = every
        self._time, self._step, self._cost = time.perf_counter(), 0, 0.0

    def next_step(self) -> float:
        """The step after which checkpoints are due by steps."""
        return self._step + self._every.steps

    def due(self, step: int) -> bool:
        """Whether to write now; less often if the latest ones took long."""
        late = time.perf_counter() - self._time >= max(self._every.seconds, self._cost / SHARE)
        return step >= self.next_step() or (late and step > self._step)

    def wrote(self, step: int, begun: float) -> None:
        """Note that writing, which began at that time, is over."""
        self._time, self._step = time.perf_counter(), step
        self._cost = self._time - begun


class MemberWriter:
    """Writes the checkpoints of one member, at once."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._path, self._header = path, header

    def write(self, step: int, tensors: Tensors, history: History, state: dict[str, Any]) -> None:
        """Write one."""
        header = {**self._header, "step": step, "metrics": list(history.metrics), **state}
        files.write(self._path, "checkpoint", {**tensors, **history.tensors()}, header)
