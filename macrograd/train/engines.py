"""The engines that make training steps. `EagerLoop` and the compiler's `TrainingLoop` have the same interface, and
nothing else in this package knows which of them runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.targets.training import Outcome
from macrograd.graph import topological
from macrograd.nn.dropout import PERIOD
from macrograd.optim import Optimizer
from macrograd.train.graphs import no_collection
from macrograd.train.known import update
from macrograd.train.objective import Objective
from macrograd.value import Value
from macrograd.vector import as_argument

if TYPE_CHECKING:
    from macrograd.compiler.compiled import Compiled

ENGINES = ("compiled", "eager")


class Engine(Protocol):
    """Training steps on data loaded before.

    parameters  the Values that are trained, in the engine's order
    stop        asked between samples or steps; if it returns True, the current step is dropped, and is the last
    theta       their numbers, (P,), and `state` the optimiser's, (S, P); both may be written between runs
    gradient    the gradient of the latest step, (P,), as the update saw it
    """

    stop: Callable[[], bool]

    @property
    def parameters(self) -> list[Value]: ...
    @property
    def gradient(self) -> NDArray[Any]: ...

    @property
    def theta(self) -> NDArray[Any]: ...
    @property
    def state(self) -> NDArray[Any]: ...

    def load(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Use other data of the same widths."""

    def used(self, lengths: NDArray[np.int64], rank: int | None = None) -> NDArray[np.bool_] | None:
        """Which of the rows of steps of these lengths are read here, or on another rank; None for all."""

    def run(
        self,
        order: NDArray[np.int64],
        lengths: NDArray[np.int64],
        rates: NDArray[np.float64],
        step: int = 1,
        *,
        below: int | None = None,
        brief: bool = False,
    ) -> Outcome:
        """Run steps on the rows `order`, which may be known to be `below` a number: `lengths[k]` of them in step k, at
        the rate `rates[k]`; `step` is the number of the first, counted from 1. A step whose loss or gradient is not
        finite is not applied, and is the last. A run that is known to be `brief` need not be interrupted."""


def make_engine(
    engine: str,
    objective: Objective,
    sample: Compiled,
    arrays: Sequence[NDArray[Any]],
    optimizer: Optimizer,
    *,
    clip_norm: float | None,
    batch_size: int,
) -> Engine:
    """The engine of that name, one of `ENGINES`, ready to run; `sample` is the compiled objective, for the compiled
    engine."""
    rule, state = optimizer.rule, optimizer.initial_state
    if engine == "eager":
        return EagerLoop(objective, arrays, rule, state, clip_norm=clip_norm)
    from macrograd.compiler.step import TrainingLoop  # not before it is needed

    recorded = update(optimizer, strict=sample.strict, clips=clip_norm is not None)
    return TrainingLoop(sample, arrays, recorded, state, clip_norm=clip_norm, batch_size=batch_size, period=PERIOD)


class EagerLoop:
    """Training steps in plain Values, one graph per sample: the reference for the compiled loop.

    A parameter that no loss of a step depends on is not changed, whatever the rule does to the others (weight decay,
    momentum): as in PyTorch, and as in compiled code, where it does not exist.

    stop  asked between samples; if it returns True, the current step is dropped
    """

    def __init__(
        self,
        objective: Objective,
        arrays: Sequence[NDArray[Any]],
        rule: Callable[..., tuple[Any, Any]],
        initial_state: Sequence[float] = (),
        *,
        clip_norm: float | None = None,
    ) -> None:
        self.parameters = objective.parameters
        self._objective, self._rule = objective, rule
        self._clip = math.inf if clip_norm is None else clip_norm
        self.stop: Callable[[], bool] = lambda: False
        self._arrays: list[NDArray[Any]] = []
        self.load(arrays)
        self.theta = np.array([p.data for p in self.parameters])
        self.state = np.repeat(np.array([initial_state], dtype=np.float64).T, len(self.parameters), axis=1)
        self.gradient = np.zeros(len(self.parameters))
        self._unused: set[int] = set()  # the ids of the parameters that the step has not used

    def load(self, arrays: Sequence[NDArray[Any]]) -> None:
        self._arrays = list(arrays)

    def used(self, lengths: NDArray[np.int64], rank: int | None = None) -> None:
        return None

    def run(
        self,
        order: NDArray[np.int64],
        lengths: NDArray[np.int64],
        rates: NDArray[np.float64],
        step: int = 1,
        *,
        below: int | None = None,
        brief: bool = False,
    ) -> Outcome:
        for p, number in zip(self.parameters, self.theta.tolist(), strict=True):
            p.data = number
        losses: list[float] = []
        at = 0
        for k, (length, rate) in enumerate(zip(lengths.tolist(), rates.tolist(), strict=True)):
            try:
                with no_collection():
                    loss = self._gradient(order[at : at + length].tolist(), float((step + k) % PERIOD))
            except (IndexError, RuntimeError, ValueError):  # also a loop that reaches its `most`, a singular matrix
                return Outcome(np.array([*losses, math.nan]), k, "index")
            if loss is None:
                return Outcome(np.array(losses), k, "interrupted")
            losses.append(loss)
            if not (math.isfinite(loss) and np.isfinite(self.gradient).all()):
                return Outcome(np.array(losses), k, "non-finite")
            self._update(rate, step + k)
            at += length
        return Outcome(np.array(losses), len(losses), "")

    def _gradient(self, rows: list[int], number: float) -> float | None:
        """The batch's loss, with its clipped gradient in `gradient`; None if told to stop."""
        share, losses = 1.0 / len(rows), []
        step = [number] if self._objective.draws else []
        self._unused = set(map(id, self.parameters))
        for p in self.parameters:
            p.grad = 0.0
        for i in rows:
            if self.stop():
                return None
            loss = self._objective.sample(*[as_argument(array[i]) for array in self._arrays], *step)
            losses.append(float(loss))
            self._back(loss * share)
        penalty = self._objective.penalty()
        self._back(penalty)
        self.gradient = np.array([p.grad for p in self.parameters], dtype=np.float64)
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # a norm beyond the range is an infinity, found by the caller
            norm = math.sqrt(float(self.gradient @ self.gradient))
        if norm > self._clip:
            self.gradient *= self._clip / norm
        total = ops.sum_.forward(*losses)  # Python's own sum has other bits from 3.12 on
        return total * share + float(penalty)

    def _back(self, loss: Any) -> None:
        """Add the loss's gradient, and note which parameters are in its graph."""
        if not isinstance(loss, Value):
            return
        loss.backward()
        if self._unused:  # once all parameters have been used, there is nothing left to note
            self._unused.difference_update(map(id, topological(loss)))

    def _update(self, rate: float, step: int) -> None:
        theta, state = [], []
        numbers = zip(self.parameters, self.theta.tolist(), self.gradient.tolist(), *self.state.tolist(), strict=True)
        for parameter, p, g, *old in numbers:
            if id(parameter) in self._unused:
                theta.append(p)
                state.append(old)
                continue
            new, after = self._rule(p, g, tuple(old), rate, step)
            theta.append(float(new))
            state.append([float(s) for s in after])
        self.theta[:] = theta
        self.state[:] = np.array(state, dtype=np.float64).reshape(len(theta), -1).T
        for p, number in zip(self.parameters, theta, strict=True):
            p.data = number
