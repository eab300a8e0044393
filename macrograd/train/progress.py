"""Progress of a run: a bar on a terminal, plain lines in a pipe, nothing on request."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

MODES = ("auto", "bar", "plain", "none")
_EVERY = {"bar": 0.1, "plain": 2.0}  # seconds


class Shown(Protocol):
    def show(self, step: int, loss: float, metrics: dict[str, float], *, last: bool = False) -> None:
        """May be called at any rate; shows something now and then, and always the `last` call."""

    def close(self) -> None: ...


def check(mode: str | bool) -> str:
    """The mode by name; True means "auto", False "none". Raises ValueError for others."""
    if mode is True or mode is False:
        return "auto" if mode else "none"
    if mode not in MODES:
        raise ValueError(f"progress must be one of {', '.join(map(repr, MODES))}, got {mode!r}")
    return mode


def make(mode: str, steps: int, steps_per_epoch: int, done: int = 0) -> Shown:
    """The display of a run of the given number of steps, `done` of which were made earlier."""
    if mode == "auto":
        mode = "bar" if stream().isatty() else "plain"
    kinds: dict[str, Callable[[int, int, int], Shown]] = {"bar": _Bar, "plain": _Plain, "none": Silent}
    return kinds[mode](steps, steps_per_epoch, done)


def stream() -> TextIO:
    """Where progress goes: standard error, but in a notebook standard output, since Jupyter shows the other on red."""
    return sys.stdout if type(sys.stderr).__module__.startswith("ipykernel") else sys.stderr


class Silent:
    def __init__(self, steps: int, steps_per_epoch: int, done: int) -> None:
        pass

    def show(self, step: int, loss: float, metrics: dict[str, float], *, last: bool = False) -> None:
        pass

    def close(self) -> None:
        pass


class _Plain:
    def __init__(self, steps: int, steps_per_epoch: int, done: int) -> None:
        self._steps, self._per_epoch, self._first = steps, steps_per_epoch, done
        self._start = self._shown = time.perf_counter()

    def show(self, step: int, loss: float, metrics: dict[str, float], *, last: bool = False) -> None:
        now = time.perf_counter()
        if now - self._shown >= _EVERY["plain"] or last:
            self._shown = now
            rate = (step - self._first) / max(now - self._start, 1e-9)
            print(
                f"step {step:,} of {self._steps:,} (epoch {-(-step // self._per_epoch):,}), loss {loss:.4g}"
                f"{words(metrics)}, {pace(rate)} steps/s, {clock((self._steps - step) / max(rate, 1e-9))} left",
                file=stream(),
                flush=True,
            )

    def close(self) -> None:
        pass


class _Bar:
    def __init__(self, steps: int, steps_per_epoch: int, done: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            TimeRemainingColumn(compact=True),
        )
        self._console = Console(file=stream(), highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._bar: Any = Progress(*columns, console=self._console, auto_refresh=False)
        self._task = self._bar.add_task("", total=steps, completed=done)
        self._first, self._start, self._shown = done, time.perf_counter(), 0.0
        self._bar.start()

    def show(self, step: int, loss: float, metrics: dict[str, float], *, last: bool = False) -> None:
        now = time.perf_counter()
        if now - self._shown >= _EVERY["bar"] or last:
            self._shown = now
            rate = (step - self._first) / max(now - self._start, 1e-9)
            text = f"loss {loss:.4g}{words(metrics)}, {pace(rate)} steps/s"
            self._bar.update(self._task, completed=step, description=text, refresh=True)

    def close(self) -> None:
        self._bar.stop()


def words(metrics: dict[str, float]) -> str:
    """Metrics, each after a comma; accuracies in percent."""
    return "".join(
        f", {name.replace('_', ' ')} {100 * value:.1f}%"
        if name.endswith("accuracy")
        else f", {name.replace('_', ' ')} {value:.4g}"
        for name, value in metrics.items()
    )


def pace(rate: float) -> str:
    """A number per second, to three digits: 0.125, 85.2, 109,000."""
    return f"{float(f'{rate:.3g}'):,.0f}" if rate >= 100.0 else f"{rate:.3g}"


def clock(seconds: float) -> str:
    """A time in words: 0:05, 1:02:03."""
    whole = round(seconds) if seconds < 1e8 else 0
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
