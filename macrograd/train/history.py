"""What happened in a training run, step by step."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from macrograd.show._files import write_whole


@dataclass
class History:
    """One entry a step in every list.

    losses          the loss of the step's batch, penalties included, before the step's update
    metrics         by name, of the step's batch, before the step's update; accuracies are from 0 to 1
    learning_rates  the rate of the step's update
    seconds         from the start of the run to the end of the step
    """

    losses: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    learning_rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.losses)

    def record(self, loss: float, metrics: dict[str, float], learning_rate: float, seconds: float) -> None:
        """Add one step. Raises ValueError if its metrics are not those of the steps before."""
        if not self.losses and not self.metrics:
            self.metrics = {name: [] for name in metrics}
        if metrics.keys() != self.metrics.keys():
            raise ValueError(
                f"step {len(self)} has the metrics {sorted(metrics)}, the steps before have {sorted(self.metrics)}: "
                "every step needs the same ones"
            )
        self.losses.append(loss)
        for name, value in metrics.items():
            self.metrics[name].append(value)
        self.learning_rates.append(learning_rate)
        self.seconds.append(seconds)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, by column: step, loss, each metric, learning_rate, seconds. JSON can hold them."""
        return {
            "step": list(range(len(self))),
            "loss": list(self.losses),
            **{name: list(values) for name, values in self.metrics.items()},
            "learning_rate": list(self.learning_rates),
            "seconds": list(self.seconds),
        }

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the columns of `to_dict` with a header, the file whole or not at all; the path.

        Numbers are written so that they read back bit for bit. Raises OSError if the file cannot be written.
        """
        columns = self.to_dict()
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return write_whole(path, text.getvalue().encode("utf-8"))

    def __repr__(self) -> str:
        if not self.losses:
            return "History(no steps)"
        last = "".join(f", {name} {values[-1]:.6g}" for name, values in self.metrics.items())
        return f"History({len(self)} steps, last loss {self.losses[-1]:.6g}{last}, {self.seconds[-1]:.3g} s)"
