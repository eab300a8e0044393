"""The record of a training run, step by step."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._files import write_whole

Floats = NDArray[np.float64]
Pieces = list[Floats]
Tensors = dict[str, NDArray[Any] | Sequence[NDArray[Any]]]

HEALTH = "health."  # how the names of metrics begin that `fit(watch="health")` adds


class Column:
    """Numbers that arrive in bulk and become a list only on demand.

    A piece is an array, or a line (count, start, end), which stands for `count` evenly spaced numbers ending at `end`:
    a native run makes a million steps per second, and most of its record is such lines.
    """

    def __init__(self) -> None:
        self.pieces: list[Floats | tuple[int, float, float]] = []
        self._list: list[float] = []
        self._seen = 0  # the number of pieces already in the list

    def add(self, numbers: Floats) -> None:
        self.pieces.append(numbers)

    def line(self, count: int, start: float, end: float) -> None:
        last = self.pieces[-1] if self._seen < len(self.pieces) else None
        if isinstance(last, tuple) and last[1] == last[2] == start == end:
            self.pieces[-1] = (last[0] + count, start, end)
        else:
            self.pieces.append((count, start, end))

    def __len__(self) -> int:
        return len(self._list) + sum(_count(piece) for piece in self.pieces[self._seen :])

    def list(self) -> list[float]:
        """All numbers; the same list every time, read-only."""
        for piece in self.pieces[self._seen :]:
            self._list.extend(_numbers(piece).tolist())
        self._seen = len(self.pieces)
        return self._list

    def first(self, count: int) -> Floats:
        """The first numbers, without a list of all."""
        return self._some(self.pieces, count)[:count]

    def last_ones(self, count: int) -> Floats:
        """The last numbers, in order."""
        found = self._some(self.pieces[::-1], count, backwards=True)
        return found[len(found) - min(count, len(found)) :]

    def _some(self, pieces: Sequence[Floats | tuple[int, float, float]], count: int, backwards: bool = False) -> Floats:
        """Enough whole pieces, in chronological order."""
        found: Pieces = []
        held = 0
        for piece in pieces:
            if held >= count:
                break
            found.append(_numbers(piece))
            held += len(found[-1])
        return np.concatenate([np.empty(0), *(found[::-1] if backwards else found)])

    def packed(self) -> tuple[Floats, Pieces]:
        """(one row per piece: count, start, end, with NaN as an array's start; the arrays)."""
        rows = [piece if isinstance(piece, tuple) else (len(piece), np.nan, np.nan) for piece in self.pieces]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 3)
        return table, [piece for piece in self.pieces if not isinstance(piece, tuple)]

    def snapshot(self) -> Column:
        """A copy that does not change when numbers are added to this one."""
        copy = Column()
        copy.pieces = list(self.pieces)
        return copy

    @classmethod
    def unpacked(cls, table: Floats, numbers: Floats) -> Column:
        """The column that `packed` describes, with its arrays concatenated. Raises ValueError for an invalid table."""
        if (
            table.ndim != 2
            or table.shape[1] != 3
            or numbers.ndim != 1
            or {table.dtype.kind, numbers.dtype.kind} != {"f"}
        ):
            raise ValueError("a column of the history has another shape")
        counts, arrays = table[:, 0], np.isnan(table[:, 1])
        # A float64 counts up to 2⁵³.
        if not ((counts >= 1) & (counts < 2.0**53) & (counts == np.floor(counts))).all():
            raise ValueError("a column of the history has an invalid count")
        if counts[arrays].sum() != len(numbers):
            raise ValueError("a column of the history lacks numbers")
        column, at = cls(), 0
        for count, start, end in table.tolist():
            if np.isnan(start):
                column.add(numbers[at : at + int(count)])
                at += int(count)
            else:
                column.pieces.append((int(count), start, end))
        return column

    @property
    def last(self) -> float:
        piece = self.pieces[-1]
        return piece[2] if isinstance(piece, tuple) else float(piece[-1])


def _count(piece: Floats | tuple[int, float, float]) -> int:
    return piece[0] if isinstance(piece, tuple) else len(piece)


def _numbers(piece: Floats | tuple[int, float, float]) -> Floats:
    if not isinstance(piece, tuple):
        return piece
    count, start, end = piece
    if start == end:
        return np.full(count, end)
    numbers: Floats = np.linspace(start, end, count + 1)[1:]
    return numbers


class History:
    """Losses, learning rates and seconds of every step, and metrics at the steps where they were taken.

    losses          the loss of the step's batch, penalties included, before the step's update
    metrics         by name: one number for each entry of `metric_steps`; accuracies are from 0 to 1
    metric_steps    the number of steps made when the metrics were computed
    learning_rates  the learning rate of the step's update
    seconds         from the start of the run to the end of the step; steps of one native call share its time evenly
    stopped         why the run ended early: "interrupted", "early stopping", or the reason given by a callback; "" if
                    it did not
    """

    def __init__(self) -> None:
        self._losses, self._rates, self._seconds = Column(), Column(), Column()
        self.metrics: dict[str, list[float]] = {}
        self.metric_steps: list[int] = []
        self.stopped = ""
        self._last_loss = float("nan")
        self._last_second = 0.0
        self._length = 0

    @property
    def losses(self) -> list[float]:
        """The loss of every step."""
        return self._losses.list()

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate of every step."""
        return self._rates.list()

    @property
    def seconds(self) -> list[float]:
        """The end of every step, in seconds from the start of the run."""
        return self._seconds.list()

    @property
    def last_loss(self) -> float:
        """The loss of the last step; NaN if there is none. Takes constant time."""
        return self._last_loss

    @property
    def last_second(self) -> float:
        """The end of the last step, in seconds from the start; 0.0 if there is none."""
        return self._last_second

    @property
    def health(self) -> dict[str, dict[str, list[float]]]:
        """By layer, and then by name, what `fit(watch="health")` measured: one number for each of `metric_steps`.

        dead       the number of units through which no sample had a gradient
        saturated  the share of units and samples where the activation is flat, from 0 to 1; for activations that are
                   flat on both sides, such as tanh
        gradient   the norm of the gradient in the latest step
        update     the norm of the latest step's change, divided by that of the parameters before it
        """
        found: dict[str, dict[str, list[float]]] = {}
        for name, values in self.metrics.items():
            if name.startswith(HEALTH):
                layer, _, what = name.removeprefix(HEALTH).rpartition(".")
                found.setdefault(layer, {})[what] = values
        return found

    def first_losses(self, count: int) -> Floats:
        """The losses of the first steps, at most `count`. Fast, however long the history is."""
        return self._losses.first(count)

    def last_losses(self, count: int) -> Floats:
        """The losses of the last steps, at most `count`."""
        return self._losses.last_ones(count)

    @property
    def first_rate(self) -> float:
        """The learning rate of the first step; NaN if there is none."""
        return float(self._rates.first(1)[0]) if self._length else math.nan

    def __len__(self) -> int:
        return self._length

    def record(self, loss: float, metrics: dict[str, float], learning_rate: float, seconds: float) -> None:
        """Add one step. Raises ValueError if its metrics differ from those of earlier steps."""
        if not self._length and not self.metrics:
            self.metrics = {name: [] for name in metrics}
        if metrics.keys() != self.metrics.keys():
            raise ValueError(
                f"step {len(self)} has the metrics {sorted(metrics)}, but earlier steps have {sorted(self.metrics)}: "
                "every step must have the same metrics"
            )
        self.extend(np.array([loss]), learning_rate, seconds)
        if metrics:
            self.measured(metrics)

    def extend(self, losses: Floats, learning_rates: Floats | float, seconds: float) -> None:
        """Add steps, the last of which ended `seconds` after the start."""
        count = len(losses)
        if not count:
            return
        self._losses.add(losses)
        if isinstance(learning_rates, np.ndarray):
            self._rates.add(learning_rates)
        else:
            self._rates.line(count, learning_rates, learning_rates)
        self._seconds.line(count, self._last_second, seconds)
        self._last_loss, self._last_second = float(losses[-1]), seconds
        self._length += count

    def measured(self, metrics: dict[str, float]) -> None:
        """Add metrics computed after the last step; a second call at the same step adds to the first.

        A metric that was not computed where others were is NaN there.
        """
        if not self.metric_steps or self.metric_steps[-1] != self._length:
            self.metric_steps.append(self._length)
            for values in self.metrics.values():
                values.append(math.nan)
        for name, value in metrics.items():
            values = self.metrics.setdefault(name, [])
            values += [math.nan] * (len(self.metric_steps) - len(values))
            values[-1] = float(value)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists by column: step, loss, each metric, learning_rate, seconds. They can be written as JSON.

        A metric that was not computed at a step is None there.
        """
        return {
            "step": list(range(len(self))),
            "loss": list(self.losses),
            **{name: self._at_steps(values) for name, values in self.metrics.items()},
            "learning_rate": list(self.learning_rates),
            "seconds": list(self.seconds),
        }

    def _at_steps(self, values: Sequence[float]) -> list[float | None]:
        column: list[float | None] = [None] * len(self)
        for step, value in zip(self.metric_steps, values, strict=True):
            if step:
                column[step - 1] = value
        return column

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the columns of `to_dict` as CSV with a header, the file whole or not at all, and return the path.

        Numbers are written so that they read back bit for bit. Raises OSError if the file cannot be written.
        """
        columns = self.to_dict()
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return write_whole(path, text.getvalue().encode("utf-8"))

    def snapshot(self) -> History:
        """A copy that shares the numbers recorded so far."""
        copy = History()
        copy._losses, copy._rates, copy._seconds = (
            column.snapshot() for column in (self._losses, self._rates, self._seconds)
        )
        copy.metrics = {name: list(values) for name, values in self.metrics.items()}
        copy.metric_steps, copy.stopped = list(self.metric_steps), self.stopped
        copy._last_loss, copy._last_second, copy._length = self._last_loss, self._last_second, self._length
        return copy

    def tensors(self) -> Tensors:
        """Everything except `stopped` as arrays, for a file; a list of arrays stands for their concatenation."""
        found: dict[str, NDArray[Any] | Sequence[NDArray[Any]]] = {
            "history.metric_steps": np.array(self.metric_steps, dtype=np.int64)
        }
        for name, column in (("losses", self._losses), ("rates", self._rates), ("seconds", self._seconds)):
            found[f"history.{name}.pieces"], found[f"history.{name}.numbers"] = column.packed()
        for name, values in self.metrics.items():
            found[f"history.metrics.{name}"] = np.array(values, dtype=np.float64)
        return found

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]], names: Sequence[str]) -> History:
        """The history in a file's `tensors`, with the metrics of these names in order. Raises ValueError if the tensors
        contradict each other."""
        history = cls()
        history._losses, history._rates, history._seconds = (
            Column.unpacked(tensors[f"history.{name}.pieces"], tensors[f"history.{name}.numbers"])
            for name in ("losses", "rates", "seconds")
        )
        history._length = len(history._losses)
        if {len(history._rates), len(history._seconds)} != {history._length}:
            raise ValueError("its history has columns of different lengths")
        steps, prefix = tensors["history.metric_steps"].tolist(), "history.metrics."
        if any(a >= b for a, b in pairwise([-1, *steps, history._length + 1])):
            raise ValueError("its history has metrics that were taken at no step")
        metrics = {k.removeprefix(prefix): v.tolist() for k, v in tensors.items() if k.startswith(prefix)}
        if sorted(metrics) != sorted(names) or any(len(values) != len(steps) for values in metrics.values()):
            raise ValueError("its history has other metrics than its header says")
        history.metrics, history.metric_steps = {name: metrics[name] for name in names}, steps
        if history._length:
            history._last_loss, history._last_second = history._losses.last, history._seconds.last
        return history

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return (self.to_dict(), self.metrics, self.stopped) == (other.to_dict(), other.metrics, other.stopped)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        if not len(self):
            return "History(no steps)"
        shown = {name: values for name, values in self.metrics.items() if not name.startswith(HEALTH)}
        last = "".join(f", {name} {values[-1]:.6g}" for name, values in shown.items() if values)
        stopped = f", stopped: {self.stopped}" if self.stopped else ""
        return f"History({len(self)} steps, last loss {self.last_loss:.6g}{last}, {self.last_second:.3g} s{stopped})"
