"""The compiled engine where there is no LLVM: a call of the compiled loss a step, and one of the compiled rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler import compile as compiled
from macrograd.compiler.compiled import Compiled
from macrograd.value import Value

Array = NDArray[Any]


@dataclass(frozen=True)
class CallOutcome:
    losses: NDArray[np.float64]
    done: int
    why: str


class CallLoop:
    """Training steps through calls from Python. From outside it is the compiler's `TrainingLoop`."""

    def __init__(
        self,
        sample: Compiled,
        arrays: Sequence[Array],
        rule: Callable[..., tuple[Any, Any]],
        initial_state: Sequence[float] = (),
        *,
        clip_norm: float | None = None,
    ) -> None:
        self._sample = sample
        self._arrays: list[Array] = []
        self.load(arrays)
        sample(*[array[:1] for array in self._arrays])  # what it closes over is known once it was traced
        self.parameters = sample.parameters
        count = len(self.parameters)
        self.theta = np.array([p.data for p in self.parameters], dtype=sample.dtype)
        self.state = np.repeat(np.array([initial_state], dtype=sample.dtype).T, count, axis=1)
        self.gradient = np.zeros(count, sample.dtype)
        self._clip = math.inf if clip_norm is None else float(clip_norm)
        self._rate, self._step = Value(0.0, "learning rate"), Value(0.0, "step")

        def update(p: Any, g: Any, *state: Any) -> list[Any]:
            new, following = rule(p, g, tuple(state), self._rate, self._step)
            return [new, *following]

        self._update = compiled(update, batch=True, dtype=sample.dtype.name, backend=sample.backend)

    def load(self, arrays: Sequence[Array]) -> None:
        """Other data of the same widths."""
        self._arrays = [np.ascontiguousarray(x, dtype=self._sample.dtype) for x in arrays]

    def run(
        self, order: NDArray[np.int64], lengths: NDArray[np.int64], rates: NDArray[np.float64], step: int = 1
    ) -> CallOutcome:
        """As `Engine.run` says."""
        losses: list[float] = []
        at = 0
        for k, (length, rate) in enumerate(zip(lengths.tolist(), rates.tolist(), strict=True)):
            rows = order[at : at + length]
            try:
                loss, gradient = self._sample.value_and_grad(self.theta, *[array[rows] for array in self._arrays])
            except IndexError:
                return CallOutcome(np.array([*losses, math.nan]), k, "index")
            losses.append(loss)
            with np.errstate(all="ignore"):  # what is beyond the range is found below
                norm = float(np.sqrt(gradient @ gradient))
                self.gradient = gradient * gradient.dtype.type(self._clip / norm) if norm > self._clip else gradient
            if not (math.isfinite(loss) and np.isfinite(gradient).all()):
                return CallOutcome(np.array(losses), k, "non-finite")
            self._move(rate, step + k)
            at += length
        return CallOutcome(np.array(losses), len(losses), "")

    def _move(self, rate: float, step: int) -> None:
        self._rate.data, self._step.data = rate, float(step)
        found = np.asarray(self._update(self.theta, self.gradient, *self.state))
        self.theta[:], self.state[:] = found[:, 0], found[:, 1:].T
