"""Output while a sweep runs: progress, and the best settings so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from macrograd.train.progress import check, stream

_EVERY = 2.0  # seconds between plain lines


class Shown:
    """A bar on a terminal, plain lines elsewhere, or nothing; `mode` as in `Trainer.fit`."""

    def __init__(self, mode: str | bool, total: int, done: int) -> None:
        mode = check(mode)
        if mode == "auto":
            mode = "bar" if stream().isatty() else "plain"
        self._mode, self.total, self._done, self._shown = mode, total, done, time.perf_counter()
        self._bar: Any = None
        if mode == "bar":
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            console = Console(file=stream(), highlight=False, markup=False, emoji=False, soft_wrap=True)
            text = TextColumn("{task.description}", markup=False)
            self._bar = Progress(
                MofNCompleteColumn(), BarColumn(), text, TimeRemainingColumn(compact=True), console=console
            )
            self._task = self._bar.add_task("", total=total, completed=done)
            self._bar.start()

    def show(self, count: int, best: Callable[[], str]) -> None:
        """Count more finished fits; `best` describes the best settings, if that is shown now."""
        self._done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=best())
        elif self._mode == "plain" and (time.perf_counter() - self._shown >= _EVERY or self._done == self.total):
            self._shown = time.perf_counter()
            print(f"fit {self._done:,} of {self.total:,}, best {best()}", file=stream(), flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
