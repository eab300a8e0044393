"""Where the numbers of a result are, and how they come into an array of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.target import State


class Gather:
    """Some results of a program, as rows of one sample each.

    Most vary and are columns of the state's outputs. In a Jacobian some are constants, and a function may return an
    argument unchanged. The outputs are read by rows: their columns are in the order in which the program computes them,
    and NumPy's indexing would go through the samples once for each.
    """

    def __init__(self, program: Program, which: NDArray[np.int64], sizes: Sequence[int]) -> None:
        slots, varying = program.slots[which].ravel(), program.varies[which].ravel()
        columns = slots - program.first_output
        outputs = varying & (columns >= 0)
        self.width, self._sizes = len(slots), sizes
        self._outputs = bool(outputs.any())
        self._columns = _run(np.where(outputs, columns, 0))
        self._same = np.flatnonzero(~varying)
        self._slots = slots[self._same]
        self._inputs: list[tuple[int, int, int]] = []  # the result, the argument, and its column
        for k in np.flatnonzero(varying & ~outputs).tolist():
            argument = int(np.searchsorted(np.cumsum(sizes), slots[k], side="right"))
            self._inputs.append((k, argument, int(slots[k]) - sum(sizes[:argument])))

    def rows(self, state: State) -> NDArray[Any]:
        """The results as a new array of (samples, results)."""
        found: NDArray[Any] = np.empty((state.samples, self.width), state.u.dtype)
        self.into(found, state)
        return found

    def into(self, rows: NDArray[Any], state: State) -> None:
        """Write the results into an array of (samples, results)."""
        if self._columns.__class__ is slice and self._outputs:
            rows[:] = state.out[:, self._columns]
        elif self._outputs:  # no index is clipped, but to raise for one NumPy would copy everything once more
            np.take(state.out, self._columns, axis=1, out=rows, mode="clip")
        if len(self._same):
            rows[:, self._same] = state.u[self._slots]
        for k, argument, column in self._inputs:
            rows[:, k] = state.arguments[argument].reshape(len(rows), self._sizes[argument])[:, column]


def _run(numbers: NDArray[np.int64]) -> Any:
    """An index of these columns: a slice, which is copied faster, if they follow each other."""
    if len(numbers) and (np.diff(numbers) == 1).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers
