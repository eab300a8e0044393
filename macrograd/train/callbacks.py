"""What a training run calls as it goes, and `EarlyStopping`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from macrograd.nn import Module
from macrograd.train.history import History


class Trains(Protocol):
    """A `Trainer`, as far as the runs of it know it."""

    history: History

    def predict(self, X: Any) -> NDArray[Any]: ...
    def outputs(self, X: Any) -> NDArray[Any]: ...
    def probabilities(self, X: Any) -> NDArray[Any]: ...
    def predict_one(self, x: Any) -> Any: ...
    def evaluate(self, X: Any, y: Any) -> dict[str, float]: ...


class Run:
    """A training run as callbacks see it: to look at, and to stop.

    trainer, model, history
    step             how many steps have been made, of `steps`
    epoch            how many epochs are complete
    gradient         of the latest step, an array in the order of `parameters` (whose numbers the model's Values hold)
    """

    def __init__(self, trainer: Trains, model: Module, history: History, steps: int, engine: Any) -> None:
        self.trainer, self.model, self.history, self.steps = trainer, model, history, steps
        self.step = self.epoch = 0
        self._engine = engine
        self.reason = ""

    @property
    def loss(self) -> float:
        """Of the latest step."""
        return self.history.last_loss

    @property
    def parameters(self) -> Sequence[Any]:
        return list(self._engine.parameters)

    @property
    def gradient(self) -> NDArray[Any]:
        return np.array(self._engine.gradient)

    def stop(self, reason: str = "callback") -> None:
        """End the run after this step; `reason` becomes the history's `stopped`."""
        self.reason = reason or "callback"


class Callback:
    """Override what is of interest. A plain function (run) is called at the end of every epoch."""

    def on_step(self, run: Run) -> None:
        """After every step. Steps then run one by one, which costs most of the compiled engine's speed."""

    def on_epoch(self, run: Run) -> None:
        """After every epoch, when its metrics have been taken."""

    def on_end(self, run: Run) -> None:
        """After the last step, also of a run that was interrupted; not of one that failed."""


class Callbacks:
    """All callbacks of a run, sorted by what they want to see."""

    def __init__(self, given: Callback | Callable[[Run], None] | Sequence[Callback | Callable[[Run], None]]) -> None:
        one = isinstance(given, Callback) or callable(given)
        self.step: list[Callable[[Run], None]] = []
        self.epoch: list[Callable[[Run], None]] = []
        self.end: list[Callable[[Run], None]] = []
        for callback in [given] if one else given:  # type: ignore[union-attr]  # one or a sequence of them
            if Callback in getattr(callback, "__mro__", ()):
                name = getattr(callback, "__name__", "Callback")
                raise TypeError(f"callbacks are objects, and this is a class: give {name}()")
            if not isinstance(callback, Callback):
                if not callable(callback):
                    raise TypeError(f"a callback is a Callback or a function (run), got {callback!r}")
                self.epoch.append(callback)
                continue
            for name, found in (("step", self.step), ("epoch", self.epoch), ("end", self.end)):
                if getattr(type(callback), f"on_{name}") is not getattr(Callback, f"on_{name}"):
                    found.append(getattr(callback, f"on_{name}"))


@dataclass
class EarlyStopping:
    """End a run when a metric has not improved for some epochs, and go back to the parameters that were best.

    patience  how many epochs without improvement are endured
    monitor   the metric: "validation_loss", or another of the history's
    least     what counts as an improvement
    restore   whether to go back to the best parameters; "always" does so, too, where the run ends by its length
    """

    patience: int = 10
    monitor: str = "validation_loss"
    least: float = 0.0
    restore: bool | str = True

    def __post_init__(self) -> None:
        if isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 1:
            raise ValueError(f"EarlyStopping takes a patience of 1 epoch or more, got {self.patience!r}")
        if self.restore not in (True, False, "always"):
            raise ValueError(f"restore is True, False or 'always', got {self.restore!r}")


def stopping_of(given: Any, judged: list[str], held: bool) -> EarlyStopping | None:
    """The rule that `early_stopping` means, which must watch something that will be taken: metrics `judged`, of
    validation data too if some are `held` back. Raises ValueError for others."""
    if given is None:
        return None
    rule = given if isinstance(given, EarlyStopping) else EarlyStopping(given)
    there = [*judged, *(f"validation_{name}" for name in (["loss", *judged] if held else []))]
    if rule.monitor.startswith("validation_") and not held:
        raise ValueError(
            f"early stopping watches {rule.monitor!r}, and there is no validation data: give validation=, or another "
            "monitor"
        )
    if rule.monitor not in there:
        raise ValueError(
            f"early stopping watches {rule.monitor!r}, which is not taken: there are "
            f"{', '.join(there) or 'no metrics'}; give validation data or another monitor"
        )
    return rule


class Watch:
    """What early stopping knows in the middle of a run."""

    def __init__(self, rule: EarlyStopping) -> None:
        self.rule = rule
        self.best, self.since = math.nan, 0
        self.theta: NDArray[Any] | None = None

    def sees(self, metrics: dict[str, float], theta: NDArray[Any]) -> bool:
        """Whether to stop, after an epoch with these metrics and parameters."""
        value = metrics[self.rule.monitor]
        # Of losses and errors less is better, of the others more.
        name = self.rule.monitor.removeprefix("validation_")
        sign = -1.0 if name in ("accuracy", "r2") else 1.0
        if math.isnan(self.best) or sign * value < sign * self.best - self.rule.least:
            self.best, self.since, self.theta = value, 0, np.array(theta)
        else:
            self.since += 1
        return self.since >= self.rule.patience
