"""`macrograd train --live`: the loss and the metric as lines in the terminal, which move while the net trains.

A line is drawn in Braille characters, which hold 2 × 4 dots each. It always spans all steps so far.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import train as training

Floats = NDArray[np.float64]
Curve = tuple[Sequence[float] | Floats, Sequence[float] | Floats]  # the steps, and a number for each

# If numbers span more than this factor, a linear scale shows only the first steps and a flat line.
_LOG_FROM = 30.0
_LABEL, _HEIGHT, _WIDEST = 9, 7, 100  # characters
_PAUSE = 0.1  # seconds between pictures
_STYLES = ("cyan", "yellow")

# The bit of each of the 2 × 4 dots of a Braille character, from the top. Source: Unicode, Braille Patterns, U+2800.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def chart(curves: Sequence[Curve], width: int, height: int) -> tuple[list[list[tuple[str, int]]], float, float]:
    """(rows of (character, number of its curve), the largest number, the smallest) of curves over the same steps.

    The scale is logarithmic if the numbers are positive and span more than a factor of 30. Numbers that are not finite
    are left out; without any number the rows are blank and the limits NaN.
    """
    across, up = 2 * width, 4 * height
    cells = np.zeros((height, width), dtype=np.int64)
    owner = np.full((height, width), -1)
    numbers = [np.asarray(values, dtype=np.float64) for _, values in curves]
    finite = np.concatenate([values[np.isfinite(values)] for values in numbers])
    if not len(finite):
        return [[(" ", -1)] * width for _ in range(height)], math.nan, math.nan
    low, high = float(finite.min()), float(finite.max())
    scale: Callable[[Any], Any] = np.log if low > 0.0 and high > _LOG_FROM * low else np.asarray
    span = float(scale(high) - scale(low)) or 1.0
    end = max(float(steps[-1]) for steps, _ in curves if len(steps))
    start = min(float(steps[0]) for steps, _ in curves if len(steps))
    for k, ((steps, _), values) in enumerate(zip(curves, numbers, strict=True)):
        known = np.isfinite(values)
        if not known.any():
            continue
        heights = (scale(values[known]) - scale(low)) / span * (up - 1)
        places = np.asarray(steps, dtype=np.float64)[known]
        columns = (places - start) / max(end - start, 1e-12) * (across - 1)
        line = np.rint(_sampled(columns, heights, across)).astype(np.int64)
        first, last = math.ceil(columns[0]), math.floor(columns[-1])
        for column in range(first, last + 1):
            before = line[max(column - 1, first)]
            step = 1 if before <= line[column] else -1
            for dot in range(before + step * (before != line[column]), line[column] + step, step):
                row = up - 1 - dot
                cells[row // 4, column // 2] |= _DOTS[row % 4][column % 2]
                owner[row // 4, column // 2] = k
    rows = [
        [(chr(0x2800 + c) if c else " ", int(k)) for c, k in zip(*row, strict=True)]
        for row in zip(cells, owner, strict=True)
    ]
    return rows, high, low


def _sampled(columns: Floats, heights: Floats, across: int) -> Floats:
    """The height at each column: the mean of the numbers there, or what lies between their neighbours."""
    at = np.rint(columns).astype(np.int64)
    counts = np.bincount(at, minlength=across)
    means = np.bincount(at, weights=heights, minlength=across) / np.maximum(counts, 1)
    there = np.flatnonzero(counts)
    found: Floats = np.interp(np.arange(across), there, means[there])
    return found


def possible(file: Any) -> bool:
    """Whether a file is a terminal that has Braille characters."""
    try:
        "⣿".encode(file.encoding or "ascii")
    except (AttributeError, LookupError, UnicodeEncodeError):
        return False
    return bool(file.isatty())


class Screen:
    """The place in the terminal where the lines are drawn; a context that leaves the last picture there."""

    def __init__(self, file: Any) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=file, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def draw(self, panels: Sequence[tuple[str, Sequence[tuple[str, Curve]]]]) -> None:
        """Draw panels below each other: the title of each, and its curves with their names."""
        from rich.text import Text

        width = min(self._console.width, _WIDEST) - _LABEL - 2
        text = Text(no_wrap=True)
        last = 0.0
        for title, curves in panels:
            text.append(f"{title:>{_LABEL}} ")
            for k, (name, (steps, values)) in enumerate(curves):
                text.append(f" {name} {values[-1]:.4g} ", style=_STYLES[k % len(_STYLES)])
                last = max(last, float(steps[-1]))
            text.append("\n")
            rows, high, low = chart([curve for _, curve in curves], max(width, 8), _HEIGHT)
            for k, row in enumerate(rows):
                limit = high if k == 0 else low if k == len(rows) - 1 else math.nan
                text.append(f"{'' if math.isnan(limit) else f'{limit:.3g}':>{_LABEL}} ")
                for curve, cells in itertools.groupby(row, lambda cell: cell[1]):
                    style = _STYLES[curve % len(_STYLES)] if curve >= 0 else ""
                    text.append("".join(character for character, _ in cells), style=style)
                text.append("\n")
        text.append(f"{'step':>{_LABEL}} {last:.0f}")
        self._live.update(text, refresh=True)


class Drawn(training.Callback):
    """Draws the losses of a run, and a metric of the current model, a few times a second.

    metric  (its name, a function that computes it), called between runs of steps

    Measuring takes a tenth of the time at most, and so does drawing.
    """

    def __init__(self, screen: Screen, metric: tuple[str, Callable[[], float]]) -> None:
        self.screen, self.metric = screen, metric
        self.next = self.due = 0.0  # when to draw, and when to measure
        self.at: list[float] = []
        self.values: list[float] = []

    def on_pause(self, run: training.Run) -> None:
        if time.perf_counter() >= self.due:
            self.measure(run)
        if time.perf_counter() >= self.next:
            self.draw(run)

    def on_end(self, run: training.Run) -> None:
        if len(run.history):
            self.measure(run)
            self.draw(run)

    def measure(self, run: training.Run) -> None:
        if self.at and self.at[-1] == len(run.history):
            return
        start = time.perf_counter()
        self.at.append(float(len(run.history)))
        self.values.append(self.metric[1]())
        now = time.perf_counter()
        self.due = now + 9.0 * (now - start) * (len(self.values) > 1)  # the first time it is compiled

    def draw(self, run: training.Run) -> None:
        history, start = run.history, time.perf_counter()
        steps = np.arange(1.0, len(history) + 1.0)
        losses: list[tuple[str, Curve]] = [("training", (steps, history.first_losses(len(history))))]
        held = history.metrics.get("validation_loss")
        if held:
            losses.append(("held out", (history.metric_steps, held)))
        self.screen.draw([("loss", losses), (self.metric[0], [("", (self.at, self.values))])])
        now = time.perf_counter()
        self.next = now + max(_PAUSE, 9.0 * (now - start))


class DrawnByEpoch(Drawn):
    """Measures after every epoch: a short run has only a few pauses, and its line would have as few points."""

    def on_epoch(self, run: training.Run) -> None:
        self.on_pause(run)
