"""Callbacks that a training run calls, and `EarlyStopping`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.nn import Module
from macrograd.train.history import History

Examples = Callable[[int], tuple[NDArray[Any], NDArray[Any]]]


class Trains(Protocol):
    """The part of a `Trainer` that its runs know."""

    history: History

    def predict(self, X: Any) -> NDArray[Any]: ...
    def outputs(self, X: Any) -> NDArray[Any]: ...
    def probabilities(self, X: Any) -> NDArray[Any]: ...
    def predict_one(self, x: Any) -> Any: ...
    def evaluate(self, X: Any, y: Any) -> dict[str, float]: ...


class Run:
    """The training run passed to callbacks, which may inspect it and stop it.

    trainer, model   the Trainer that runs, and the model that it trains
    history          the History so far
    step             the number of steps made so far, of `steps`
    epoch            the number of complete epochs
    gradient         the gradient of the latest step, an array in the order of `parameters` (whose current numbers are
                     in the model's Values)
    """

    def __init__(
        self, trainer: Trains, model: Module, history: History, steps: int, engine: Any, examples: Examples
    ) -> None:
        self.trainer, self.model, self.history, self.steps = trainer, model, history, steps
        self.step = self.epoch = 0
        self._engine, self._examples = engine, examples
        self.reason = ""

    @property
    def loss(self) -> float:
        """The loss of the latest step."""
        return self.history.last_loss

    @property
    def parameters(self) -> Sequence[Any]:
        """The Values that are trained."""
        return list(self._engine.parameters)

    @property
    def gradient(self) -> NDArray[Any]:
        """A copy of the latest step's gradient, one number for each of `parameters`."""
        return np.array(self._engine.gradient)

    def examples(self, most: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Up to `most` training samples as the model takes them, evenly spaced in the data, and their targets."""
        return self._examples(most)

    def stop(self, reason: str = "callback") -> None:
        """End the run after this step; `reason` becomes the history's `stopped`."""
        self.reason = str(reason) or "callback"  # a plain string, even if it is the `stopped` of another history


class Callback:
    """The base class of callbacks: override what you need. A plain function (run) is called after every epoch."""

    def on_step(self, run: Run) -> None:
        """Called after every step. If overridden, steps run one by one, which costs most of the compiled engine's
        speed."""

    def on_epoch(self, run: Run) -> None:
        """Called after every epoch, once its metrics have been computed."""

    def on_pause(self, run: Run) -> None:
        """Called some twenty times a second, between runs of steps in native code; costs no speed."""

    def on_end(self, run: Run) -> None:
        """Called after the last step, also if the run was interrupted, but not if it failed."""


class Callbacks:
    """All callbacks of a run, sorted by the events that they handle."""

    def __init__(
        self,
        given: Callback | Callable[[Run], None] | Sequence[Callback | Callable[[Run], None]],
        also: Sequence[Callback] = (),
    ) -> None:
        one = isinstance(given, Callback) or callable(given)
        if not one and not isinstance(given, Iterable):
            raise TypeError(f"callbacks must be a Callback, a function (run), or a list of them, got {given!r}")
        self.step: list[Callable[[Run], None]] = []
        self.epoch: list[Callable[[Run], None]] = []
        self.pause: list[Callable[[Run], None]] = []
        self.end: list[Callable[[Run], None]] = []
        for callback in [*also, *([given] if one else given)]:  # type: ignore[misc]  # one or a sequence of them
            if Callback in getattr(callback, "__mro__", ()):
                name = getattr(callback, "__name__", "Callback")
                raise TypeError(f"a callback must be an object, not the class itself: pass {name}()")
            if not isinstance(callback, Callback):
                if not callable(callback):
                    raise TypeError(f"a callback must be a Callback or a function (run), got {callback!r}")
                self.epoch.append(callback)
                continue
            for name, found in (("step", self.step), ("epoch", self.epoch), ("pause", self.pause), ("end", self.end)):
                if getattr(type(callback), f"on_{name}") is not getattr(Callback, f"on_{name}"):
                    found.append(getattr(callback, f"on_{name}"))


@dataclass
class EarlyStopping:
    """Stop a run when a metric has not improved for some epochs, and restore the best parameters.

    patience   epochs without improvement before stopping
    monitor    the metric to watch: "validation_loss", or any other in the history
    min_delta  the smallest change that counts as an improvement
    restore    whether to restore the best parameters; "always" also does so if the run reaches its full length

    Raises ValueError for a patience below 1 and for any other `restore`; `fit` raises it for a monitor that is not
    computed.
    """

    patience: int = 10
    monitor: str = "validation_loss"
    min_delta: float = 0.0
    restore: bool | str = True

    def __post_init__(self) -> None:
        if isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 1:
            raise ValueError(f"EarlyStopping patience must be a positive integer, got {self.patience!r}")
        if self.restore not in (True, False, "always"):
            raise ValueError(f"restore must be True, False or 'always', got {self.restore!r}")


def stopping_of(given: Any, judged: list[str], held: bool) -> EarlyStopping | None:
    """The rule given by `early_stopping`. It must watch a metric that will be computed: one of `judged`, or, if
    validation data are `held` out, one of theirs. Raises ValueError for any other."""
    if given is None:
        return None
    rule = given if isinstance(given, EarlyStopping) else EarlyStopping(given)
    there = [*judged, *(f"validation_{name}" for name in (["loss", *judged] if held else []))]
    if rule.monitor.startswith("validation_") and not held:
        raise ValueError(
            f"early stopping watches {rule.monitor!r}, but there is no validation data: give validation=, or another "
            "monitor"
        )
    if rule.monitor not in there:
        raise ValueError(
            f"early stopping watches {rule.monitor!r}, which is not computed: there are "
            f"{', '.join(there) or 'no metrics'}; give validation data or another monitor"
        )
    return rule


class Watch:
    """The state of early stopping during a run."""

    def __init__(self, rule: EarlyStopping) -> None:
        self.rule = rule
        self.best, self.since = math.nan, 0
        self.theta: NDArray[Any] | None = None

    def sees(self, metrics: dict[str, float], theta: NDArray[Any]) -> bool:
        """Whether to stop, after an epoch with these metrics and parameters."""
        value = metrics[self.rule.monitor]
        # For losses and errors lower is better, for the others higher.
        name = self.rule.monitor.removeprefix("validation_")
        sign = -1.0 if name in ("accuracy", "r2") else 1.0
        if math.isnan(self.best) or sign * value < sign * self.best - self.rule.min_delta:
            self.best, self.since, self.theta = value, 0, np.array(theta)
        else:
            self.since += 1
        return self.since >= self.rule.patience
