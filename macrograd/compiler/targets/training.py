"""What training steps are made of, and what a target makes of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.program.program import Program

Array = NDArray[Any]
REASONS = ("", "non-finite", "index")  # why a run of steps ended


@dataclass(frozen=True)
class Parts:
    """What a training step is made of, besides the program of value and gradient. The samples of these programs are the
    parameters.

    measure    of an element of the gradient; uniform: the loss and the largest norm. Two results: 0, or NaN if the loss
               or an element is not finite; and the factor that scales the gradient to that norm
    update     of a parameter, its gradient and its state; uniform: the learning rate, the number of the step, and with
               clipping the factor. The new parameter and state, and with clipping the scaled gradient
    numbers    of the Values that the update rule closed over
    start      what each parameter's state starts from
    clip_norm  the largest norm of the gradient; infinite for no clipping
    period     a power of two: the sample's own argument for the step's number is counted modulo it
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
    """What came of a run of steps, on any engine.

    losses  the loss of each step begun, before its update
    done    the number of steps completed
    why     "" if all were; "non-finite" if a loss or gradient was not finite, "index" if a `take` was out of range,
            "interrupted" if the run was told to stop: the step after the last completed one was then not applied
    """

    losses: Array
    done: int
    why: str


class Steps(ABC):
    """Steps on buffers that stay.

    native    whether many steps are one call of native code

    theta     the parameters, (P,), and `gradient`, (P,): where the program of value and gradient has them
    state     of the update rule, (S, P)
    data      what the samples are read from, one array for each argument, rows first
    """

    native = False

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
    ) -> tuple[int, int]:
        """Steps on rows of the data, `lengths[k]` of them in step k, whose loss is written to `losses[k]`; `first`
        numbers the first. How many were done whole, and which of `REASONS` ended them."""
