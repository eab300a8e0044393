"""Run a program on NumPy: the reference, and the fallback where llvmlite has no wheel.

The number of lanes in a block depends only on the program and the batch size, and the sums of the blocks are added in
order: a result depends neither on the threads nor on earlier calls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd._workers import Worker, together
from macrograd.compiler.targets.numpy.calls import Flag
from macrograd.compiler.targets.numpy.lower import Lowering
from macrograd.compiler.targets.numpy.plan import NumpyPlan
from macrograd.compiler.targets.shared import Shared
from macrograd.compiler.targets.steps import StepByStep
from macrograd.compiler.targets.target import Array, Executable, Request, State, narrowing
from macrograd.compiler.targets.training import Parts, Steps
from macrograd.ranks.tree import Leaves

if TYPE_CHECKING:
    from macrograd.ranks.own import OwnRows

BLOCK_BYTES = 1 << 20  # of all varying slots of a block: about a core's private cache
_FEWEST_LANES = 8


class NumpyExecutable(Executable):
    """A program as calls of NumPy."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.plan = NumpyPlan(request.program, request.strict)
        self._helpers: list[Worker] = []

    def lanes(self, samples: int) -> int:
        """The number of lanes in a block for this many samples."""
        if not self.program.batch:
            return 1
        if self.ranks is not None:
            samples = Leaves.of(samples).length
        bytes_: int = max(1, self.program.varying + self.plan.widest) * self.dtype.itemsize
        blocks = -(-samples // max(_FEWEST_LANES, BLOCK_BYTES // bytes_))
        return -(-samples // blocks)

    def state(self, samples: int, like: State | None = None, own: OwnRows | None = None) -> NumpyState:
        assert like is None or isinstance(like, NumpyState)
        return NumpyState(self, samples, like, own)

    @cached_property
    def who(self) -> str:
        return f"numpy {self.program.fingerprint().hex()} {self.dtype} {self.strict}"

    def steps(self, parts: Parts, samples: int) -> Steps:
        return StepByStep(self, parts, samples)

    def helpers(self, count: int) -> list[Worker]:
        """Threads beside the calling one."""
        while len(self._helpers) < count:
            self._helpers.append(Worker())
        return self._helpers[:count]


class NumpyState(State):
    """The buffers of one call, and of each thread's block."""

    executable: NumpyExecutable

    def __init__(
        self, executable: NumpyExecutable, samples: int, like: NumpyState | None = None, own: OwnRows | None = None
    ) -> None:
        super().__init__(executable, samples, own)
        program, dtype, plan = executable.program, executable.dtype, executable.plan
        self.lanes = executable.lanes(self.total)
        self.flag: Flag = [False]
        if like is None:
            self._whole = np.zeros(program.uniform + len(plan.pool), dtype)
            with narrowing(dtype):
                self._whole[program.parameters : program.first_uniform_input] = program.constants
                self._whole[program.uniform :] = plan.numbers()
        else:
            self._whole = like._whole
        self.u = self._whole[: program.uniform]
        worker = _Worker(self, self._whole)
        self.workers = [worker]
        self._before = worker.lowering(1).lower(plan.before, block=False)
        self._after = worker.lowering(1).lower(plan.after, block=False)

    def point(self, k: int, array: Array) -> None:
        super().point(k, array)
        self._forget()

    def weigh(self, weights: Array | None, order: NDArray[np.int64] | None = None) -> None:
        super().weigh(weights, order)
        self._forget()

    def _forget(self) -> None:
        for worker in self.workers:
            worker.forget()

    def run(self) -> None:
        # NaN and infinities are ordinary results, here as in the eager engine.
        with np.errstate(all="ignore"):
            if not self.executable.program.batch:
                self._copy_in()
            for call in self._before:
                call()
            if self.executable.program.batch:
                if self.shared is not None:
                    self._run_leaves(self.shared)
                elif self.lanes == self.samples:
                    self.workers[0].run(0, self.samples)
                else:
                    self._run_blocks()
            for call in self._after:
                call()

    def flagged(self) -> bool:
        raised, self.flag[0] = bool(self.flag[0]), False
        return raised

    @property
    def invalid(self) -> tuple[float, int]:
        _, index, count = self.flag
        return index, int(count)

    @property
    def selects(self) -> bool:
        """Whether rows are selected or weighted."""
        return self._order is not None or self._weights is not None

    def _copy_in(self) -> None:
        slot = self.executable.program.first_input
        for k, size in enumerate(self.executable.sizes):
            self.u[slot : slot + size] = self.buffer(k).reshape(-1)
            slot += size

    def _run_leaves(self, shared: Shared) -> None:
        """Run this rank's leaves, and exchange their sums."""
        leaves = shared.leaves
        for leaf in shared.mine:
            rows, before = leaves.rows(range(leaf, leaf + 1)), shared.first * leaves.length
            shared.add(leaf, self._sums(range(rows.start - before, rows.stop - before, self.lanes))[None])
        self.flag[0] = self.exchange(bool(self.flag[0]))

    def _run_blocks(self) -> None:
        """Run block by block; the sums are added in the order of the blocks."""
        self.u[self.executable.reduced] = self._sums(range(0, self.samples, self.lanes))

    def _sums(self, starts: range) -> Array:
        """The sums over these blocks, which run on threads if there are any."""
        executable, reduced = self.executable, self.executable.reduced
        count = min(executable.threads, len(starts))
        while len(self.workers) < count:
            self.workers.append(_Worker(self, self._whole.copy()))
        for worker in self.workers[1:]:
            worker.u[: len(self.u)] = self.u
        total = np.zeros(len(reduced), executable.dtype)
        for first in range(0, len(starts), count):  # at most as many at a time as there are buffers
            some = list(zip(self.workers, starts[first : first + count], strict=False))
            mine, *others = [
                partial(worker.run_beside, start, min(start + self.lanes, starts.stop)) for worker, start in some
            ]
            together(executable.helpers(len(others)), others, mine)
            for worker, _ in some:
                total += worker.u[reduced]
        return total


class _Worker:
    """Varying slots for one block at a time, and the calls on them."""

    def __init__(self, state: NumpyState, u: Array) -> None:
        self.state, self.u = state, u
        self.v = np.zeros(state.executable.program.varying * state.lanes, u.dtype)
        self._calls: dict[int, list[Callable[[], Any]]] = {}
        self._ends: dict[int, tuple[list[tuple[Array, Array]], list[tuple[Array, Array]]]] = {}

    def lowering(self, lanes: int) -> Lowering:
        return Lowering(self.state.executable.plan, self.u, self.v, lanes, self.state.flag)

    def forget(self) -> None:
        """Drop views: other arguments, rows or weights will be read."""
        self._ends.clear()

    def run_beside(self, first: int, last: int) -> None:
        # Another thread has its own error state; for the reason see `NumpyState.run`.
        with np.errstate(all="ignore"):
            self.run(first, last)

    def run(self, first: int, last: int) -> None:
        """Run the samples first … last - 1."""
        state = self.state
        lanes = last - first
        if lanes not in self._calls:
            self._calls[lanes] = self.lowering(lanes).lower(state.executable.plan.block, block=True)
        if first not in self._ends:
            self._ends.clear()  # with many blocks, the views are made again in every run
            self._ends[first] = self._inputs(first, last), self._outputs(first, last)
        inputs, outputs = self._ends[first]
        if state.selects:
            self._ends.clear()  # selected rows are copies
        for target, source in inputs:
            np.copyto(target, source)
        for call in self._calls[lanes]:
            call()
        for target, source in outputs:
            np.copyto(target, source)

    def _buffer(self, lanes: int) -> Array:
        return self.v[: self.state.executable.program.varying * lanes].reshape(-1, lanes)

    def _inputs(self, first: int, last: int) -> list[tuple[Array, Array]]:
        """The rows of the arguments, and their destinations."""
        state, slots = self.state, self._buffer(last - first)
        program, sizes = state.executable.program, state.executable.sizes
        order, weights = state._order, state._weights
        rows: Any = slice(first, last) if order is None else order[first:last]
        found, slot = [], 0
        for k, size in enumerate(sizes):
            found.append((slots[slot : slot + size], state.buffer(k).reshape(-1, size)[rows].T))
            slot += size
        if program.weight is not None:
            scale = np.full(1, 1.0 / state.total, self.v.dtype)
            found.append((slots[program.weight], scale if weights is None else weights[rows] * scale))
        return found

    def _outputs(self, first: int, last: int) -> list[tuple[Array, Array]]:
        state = self.state
        # Inputs that are also results count as outputs but are not stored there.
        slots = self._buffer(last - first)[state.executable.program.first_output :][: state.executable.outputs]
        return [(state.out[first:last, : len(slots)], slots.T)] if len(slots) else []
