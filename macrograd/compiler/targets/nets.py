"""Training steps of many nets that share a program: the interface of a target that runs them together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass

Array = NDArray[Any]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class NetSteps:
    """The steps of one net in a run: `rows` of its data for one step after the other, the learning rate of each step,
    and the number of the first, counted from 1."""

    net: int
    rows: Rows
    rates: NDArray[np.float64]
    first: int


@dataclass(frozen=True)
class NetsOutcome:
    """The result of a run for one net.

    losses  the losses of the steps that were completed
    done    their number
    why     "" if all were; "non-finite" if the next step's loss or gradient is not finite in this net, "index" if a
            `take` was out of range in it or in one that runs beside it, "beside" if it was stopped by another
    """

    losses: Array
    done: int
    why: str


@dataclass(frozen=True)
class Own:
    """Numbers that programs of all nets read from slots of u and each has for itself: (nets, slots)."""

    slots: tuple[int, ...]
    numbers: Array


class Nets(ABC):
    """Nets that share a program, each with its own numbers.

    theta    the parameters, (nets, P), and `state` the update rule's, (nets, S, P): write with `set`, read with `get`
    lanes    the number of nets that run side by side
    """

    lanes: int

    seconds = 0.0  # that the steps of the last run took, without what is done for each net before and after them

    @abstractmethod
    def set(self, net: int, theta: Array, state: Array) -> None:
        """Set a net's parameters (P,) and state (S, P)."""

    @abstractmethod
    def get(self, net: int) -> tuple[Array, Array]:
        """A net's parameters (P,) and state (S, P)."""

    @abstractmethod
    def point(self, net: int, data: Sequence[Array]) -> None:
        """Use these samples for a net, one array for each argument, contiguous and of the right type, rows first."""

    @abstractmethod
    def set_all(self, theta: Array, state: Array) -> None:
        """Set the parameters of all nets, (nets, P), and their state, (nets, S, P) or (S, P) if it is the same."""

    @abstractmethod
    def get_all(self) -> tuple[Array, Array]:
        """The parameters of all nets, (nets, P), and their state, (nets, S, P), in float64."""

    @abstractmethod
    def point_all(self, data: Sequence[Array]) -> None:
        """Use the same samples for all nets, as `point` does for one."""

    @abstractmethod
    def run(self, steps: Sequence[NetSteps], lengths: Rows) -> list[NetsOutcome]:
        """Run steps of some nets, of `lengths[k]` rows in step k for all of them. Every net stops before a step that
        cannot be applied to it; those beside it stop there too, and are run on by calling again."""
