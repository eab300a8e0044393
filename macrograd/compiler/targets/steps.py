"""Training steps: value and gradient, their measure, and the update, one program after the other.

This runs them from Python, on any target.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.target import Array, Executable, Request, State, aligned, narrowing
from macrograd.compiler.targets.training import Parts, Steps


class Along(Protocol):
    """A program that runs over the parameters as its samples: its uniform slots `u`, and `given`, the uniform inputs
    among them."""

    u: Array
    given: Array

    def point(self, arrays: Sequence[Array]) -> None:
        """Work on these arrays, one for each parameter."""


Run = TypeVar("Run", bound=Along)


class OnBuffers(Steps, Generic[Run]):
    """Common to all targets: the buffers of the first program, whose uniform slots the others share, and the two
    programs that run over the parameters, made by `_along`."""

    _measure: Run
    _update: Run

    def __init__(self, executable: Executable, parts: Parts, samples: int) -> None:
        self.executable, self.parts = executable, parts
        program, dtype = executable.program, executable.dtype
        self.whole = executable.state(samples)
        self.count, self.value = program.parameters, program.results[0][1]
        u = self.whole.u
        self.theta, self.gradient = u[: self.count], u[self.value + 1 : self.value + 1 + self.count]
        self.number = u[program.first_uniform_input : program.held]  # the step number, if the sample wants it
        self.state = np.empty((0, self.count), dtype)
        if parts.start:
            self.state = np.stack([aligned(self.count, dtype) + dtype.type(s) for s in parts.start])
        self.data: list[Array] = []
        self._measure, self._update = self._along(parts.measure), self._along(parts.update)
        self._measure.point([self.gradient])
        self._update.point([self.theta, self.gradient, *self.state])
        with narrowing(dtype):
            self._measure.given[1] = parts.clip_norm
            self._update.u[: len(parts.numbers)] = parts.numbers

    @abstractmethod
    def _along(self, program: Program) -> Run:
        """The program, ready to run over the parameters."""


class StepByStep(OnBuffers["_Along"]):
    """Steps that are called from Python, program by program."""

    def __init__(self, executable: Executable, parts: Parts, samples: int) -> None:
        super().__init__(executable, parts, samples)
        self.made: dict[int, State] = {}

    def _along(self, program: Program) -> _Along:
        return _Along(self.executable, program, self.count)

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
        at = 0
        shared = self.whole.shared is not None  # all ranks must end before the same step
        for k, (length, rate) in enumerate(zip(lengths.tolist(), rates.tolist(), strict=True)):
            if not shared and self.stop():
                return k, 3
            rows, at = order[at : at + length], at + length
            self.number[:] = (first + k) % self.parts.period
            reason = self._gradient(rows, weights)
            losses[k] = self.whole.u[self.value]
            if reason:
                return k, reason
            self._measure.given[0] = losses[k]
            self._measure.run()
            odd, factor = self._measure.columns
            if odd != 0:
                return k, 1
            self._update.given[:2] = rate, first + k
            if self.parts.clips:
                self._update.given[2] = factor[()]
            self._update.run()
            self._write()
        return len(lengths), 0

    def _gradient(self, rows: NDArray[np.int64], weights: Array | None) -> int:
        state = self.made.get(len(rows))
        if state is None:
            if len(self.made) >= 4:
                self.made.pop(next(iter(self.made)))
            state = self.made[len(rows)] = self.executable.state(len(rows), like=self.whole)
        mine = slice(None) if state.shared is None else state.shared.rows
        for k, array in enumerate(self.data):
            into = state.buffer(k).reshape(len(rows), *array.shape[1:])[mine]
            np.take(array, rows[mine], axis=0, out=into, mode="clip")  # else NumPy copies; the rows were checked
        if weights is not None or state.weighted:
            state.weigh(None if weights is None else weights[rows])
        if state.shared is not None:
            state.shared.stop = self.stop()
        state.run()
        if state.shared is not None and state.shared.ranks.stopped is not None:
            return 3
        return 2 if state.flagged() else 0

    def _write(self) -> None:
        new, *rest = self._update.columns
        state = rest[: len(self.state)]
        # Written only now, because a result may be one of the arguments unchanged.
        kept = [np.array(column) for column in state]
        self.theta[:] = new
        for row, column in zip(self.state, kept, strict=True):
            row[:] = column
        if self.parts.clips:
            self.gradient[:] = rest[-1]


class _Along:
    """A program that runs over the parameters in a state of its target."""

    def __init__(self, like: Executable, program: Program, count: int) -> None:
        request = Request(program, (1,) * program.inputs, program.outputs, like.dtype, like.strict)
        self.program = program
        self.state = type(like)(request).state(count)
        self.u = self.state.u
        self.given = self.u[program.first_uniform_input : program.held]

    def point(self, arrays: Sequence[Array]) -> None:
        for k, array in enumerate(arrays):
            self.state.point(k, array)

    def run(self) -> None:
        self.state.run()

    @property
    def columns(self) -> list[Any]:
        """The results: a number if it is the same for all parameters, otherwise one for each."""
        program, state = self.program, self.state
        found: list[Any] = []
        for space, slot in program.results:
            if space == "u":
                found.append(state.u[slot])
            elif slot >= program.first_output:
                found.append(state.out[:, slot - program.first_output])
            else:
                found.append(state.arguments[slot])
        return found
