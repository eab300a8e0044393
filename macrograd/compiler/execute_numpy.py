"""Run a program on NumPy: the reference, and the fallback where llvmlite has no wheel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.lower_numpy import Call, Memory, calls_of
from macrograd.compiler.program import Program

_BLOCK_BYTES = 1 << 24  # of all varying slots of a block


class NumpyExecutable:
    """A program as calls of NumPy, with the interface of `LlvmExecutable`. Threads are NumPy's own business."""

    def __init__(
        self,
        program: Program,
        sizes: Sequence[int],
        outputs: int,
        *,
        dtype: Any,
        strict: bool = False,
        threads: int = 1,
        samples: int = 1,
    ) -> None:
        self.program, self.sizes, self.outputs = program, tuple(sizes), outputs
        self.dtype, self.strict = np.dtype(dtype), strict
        self.takes = any(i.kind == "take" for i in program.instructions())

    def state(self, samples: int) -> NumpyState:
        return NumpyState(self, samples)


class NumpyState:
    """The buffers of one call, and the calls on them."""

    def __init__(self, executable: NumpyExecutable, samples: int) -> None:
        self.executable, self.samples, self.address = executable, samples, 0
        program, dtype = executable.program, executable.dtype
        slot = max(1, program.varying) * dtype.itemsize
        self.lanes = max(1, min(samples, _BLOCK_BYTES // slot)) if program.batch else 1
        self.u = np.zeros(program.uniform, dtype)
        self.u[program.parameters : program.parameters + len(program.constants)] = program.constants
        self.v = np.zeros((program.varying, self.lanes), dtype)
        self.out = np.zeros((samples, executable.outputs), dtype)
        self.arguments: list[Any] = [None] * len(executable.sizes)
        self._weights: NDArray[Any] | None = None
        self._order: NDArray[np.int64] | None = None
        self._memory = Memory(self.u, self.v, strict=executable.strict)
        self._before = calls_of(program.before, self._memory)
        self._after = calls_of(program.after, self._memory)
        self._blocks: dict[int, tuple[Memory, list[Call]]] = {}

    def buffer(self, k: int) -> NDArray[Any]:
        """The argument k's own memory, to write into."""
        if self.arguments[k] is None:
            rows = self.samples if self.executable.program.batch else 1
            self.arguments[k] = np.zeros(rows * self.executable.sizes[k], self.executable.dtype)
        found: NDArray[Any] = self.arguments[k]
        return found

    def load(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Take the arguments' numbers."""
        for k, array in enumerate(arrays):
            np.copyto(self.buffer(k).reshape(array.shape), array, casting="unsafe")

    def weigh(self, weights: NDArray[Any] | None, order: NDArray[np.int64] | None = None) -> None:
        """Weights by row of the arguments, which multiply 1/n, and which rows to use."""
        self._weights, self._order = weights, order

    def run(self, address: int) -> None:
        # NaN and infinities are results here as in the eager engine, not accidents to warn of.
        with np.errstate(all="ignore"):
            self._run()

    def execute(self) -> None:
        self.run(self.address)

    def flagged(self) -> bool:
        """Whether an index was out of range since the last time this was asked."""
        memories = [self._memory, *(memory for memory, _ in self._blocks.values())]
        raised = any(memory.flagged for memory in memories)
        for memory in memories:
            memory.flagged = False
        return raised

    def _run(self) -> None:
        program = self.executable.program
        first = program.first_input
        if not program.batch:
            for k, size in enumerate(self.executable.sizes):
                self.u[first : first + size] = self.buffer(k)
                first += size
            self._each(self._before)
            self._each(self._after)
            return
        self.u[program.parameters + len(program.constants) :] = 0  # the sums over the batch start from 0
        self._each(self._before)
        for begin in range(0, self.samples, self.lanes):
            self._block(begin, min(begin + self.lanes, self.samples))
        self._each(self._after)

    @staticmethod
    def _each(calls: list[Call]) -> None:
        for call in calls:
            call()

    def _block(self, begin: int, end: int) -> None:
        """The samples begin … end - 1."""
        program, width = self.executable.program, end - begin
        if width not in self._blocks:
            memory = Memory(self.u, self.v[:, :width], strict=self.executable.strict)
            self._blocks[width] = memory, calls_of(program.block, memory)
        memory, calls = self._blocks[width]
        rows: Any = slice(begin, end) if self._order is None else self._order[begin:end]
        slot = 0
        for k, size in enumerate(self.executable.sizes):
            memory.v[slot : slot + size] = self.buffer(k).reshape(-1, size)[rows].T
            slot += size
        if program.weight is not None:
            weights = 1.0 if self._weights is None else self._weights[rows]
            memory.v[program.weight] = weights / self.samples
        self._each(calls)
        if self.executable.outputs:
            first = program.first_output
            self.out[begin:end] = memory.v[first : first + self.executable.outputs].T
