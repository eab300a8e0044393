"""The parts of a training step, and the interface of a target that runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Program

Array = NDArray[Any]
REASONS = ("", "non-finite", "index", "interrupted")  # why a run of steps ended


@dataclass(frozen=True)
class Parts:
    """The parts of a training step besides the program of value and gradient. The samples of these programs are the
    parameters.

    measure    takes an element of the gradient; uniform: the loss and the largest norm. Two results: 0, or NaN if the
               loss or an element is not finite; and the factor that scales the gradient to that norm
    update     takes a parameter, its gradient and its state; uniform: the learning rate, the step number and, with
               clipping, the factor. Results: the new parameter and state and, with clipping, the scaled gradient
    numbers    the numbers of the Values that the update rule closed over
    start      the initial state of each parameter
    clip_norm  the largest norm of the gradient; infinite for no clipping
    period     a power of two: the sample's argument for the step number is taken modulo it
    """

    measure: Program
    update: Program
    numbers: Sequence[float]
    start: Sequence[float]
    clip_norm: float
    period: int

    @property
    def clips(self) -> bool:
        return self.clip_norm != np.inf


@dataclass(frozen=True)
class Outcome:
    """The result of a run of steps, on any engine.

    losses  the loss of each step begun, before its update
    done    the number of steps completed
    why     "" if all were; "non-finite" if a loss or gradient was not finite, "index" if a `take` was out of range,
            "interrupted" if the run was told to stop: the step after the last completed one was then not applied
    """

    losses: Array
    done: int
    why: str


class Steps(ABC):
    """Steps on fixed buffers.

    native    whether many steps are one call of native code
    stop      asked before every step, on every rank, or in native code during long steps; once it returns True, the
              current step is dropped, and is the last

    theta     the parameters, (P,), and `gradient`, (P,): views of the buffers of the program of value and gradient
    state     of the update rule, (S, P)
    data      the samples, one array for each argument, rows first
    """

    native = False
    stop: Callable[[], bool] = staticmethod(lambda: False)

    theta: Array
    gradient: Array
    state: Array
    data: list[Array]

    @abstractmethod
    def run(
        self,
        order: NDArray[np.int64],
        lengths: NDArray[np.int64],
        rates: NDArray[np.float64],
        losses: NDArray[np.float64],
        first: int,
        weights: Array | None,
        *,
        brief: bool = False,
    ) -> tuple[int, int]:
        """Run steps on rows of the data: `lengths[k]` of them in step k, whose loss is written to `losses[k]`; `first`
        is the number of the first step. Steps that are known to be `brief` are not interrupted. Returns the number of
        steps completed and the index in `REASONS` of what ended them."""
