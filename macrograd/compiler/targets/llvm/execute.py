"""Run a program through LLVM: code for each batch size, buffers for each call in flight.

The number of lanes in a block depends only on the batch size, and so does the grouping of blocks into chunks, whose
sums are added in order: a result depends neither on the threads nor on earlier calls.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.jit import builtin, native
from macrograd.compiler.jit.buffers import Buffer
from macrograd.compiler.program.program import Loop, counted
from macrograd.compiler.targets.llvm import threads
from macrograd.compiler.targets.llvm.context import Context
from macrograd.compiler.targets.llvm.machine_code import CHUNK, kernels, native_code, support
from macrograd.compiler.targets.llvm.steps import NativeSteps, entry
from macrograd.compiler.targets.llvm.stopping import LONG, Interruptible, work_of
from macrograd.compiler.targets.llvm.team import Crew
from macrograd.compiler.targets.profile import Profile
from macrograd.compiler.targets.scalar.machine import Machine, kind_of
from macrograd.compiler.targets.steps import StepByStep
from macrograd.compiler.targets.target import Executable, Request, State, aligned, narrowing
from macrograd.compiler.targets.training import Parts, Steps
from macrograd.ranks.tree import Leaves

if TYPE_CHECKING:
    from macrograd.ranks.own import OwnRows

_MOST_VECTORS = 16  # of one slot in a block
FEW_VECTORS = 4  # of one slot, if not even one of each fits into the cache
BLOCK_BYTES = 1 << 20  # of all varying slots of a block: about a core's private cache
# A program of large matrix products reads its matrices once a block, and a slot many times while it is in the cache:
# there fewer, larger blocks are better. It is one if slots have this many products on average.
PRODUCTS, PRODUCT_BYTES = 64, 1 << 26
_BRIEF = 10_000  # vectors of numbers that a brief run computes
TEAM_PRODUCTS = 1 << 20  # products of a run that a team of threads shares: ten or twenty times as long as its meetings
_TOGETHER = 8  # leaves, or more if their sums are so few numbers, whose sums are in memory before they are added
_TOGETHER_NUMBERS = 1 << 16


class LlvmExecutable(Executable):
    """A program as native code."""

    profiles = True

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.kind = kind_of(self.dtype)
        self._variants: dict[tuple[int, bool, bool], native.Native] = {}
        self.variant(request.samples)  # so that LLVM's failures show at once

    def lanes(self, samples: int) -> tuple[int, bool]:
        """The number of lanes in a block for this many samples, and whether one block is enough."""
        width = native.machine().vector_bytes // self.dtype.itemsize
        if not self.program.batch:
            return width, True
        room = PRODUCT_BYTES if self.products >= PRODUCTS else BLOCK_BYTES
        fit = room // (self.program.varying * self.dtype.itemsize * width)
        if not fit:  # the slots are not in the cache anyway, and every block reads all uniform numbers
            fit = min(FEW_VECTORS, self.program.uniform // self.program.varying)
        most = width * max(1, min(_MOST_VECTORS, fit))
        if self.ranks is not None:  # leaves are whole blocks: both are powers of two
            return min(Leaves.of(samples).length, 1 << (most.bit_length() - 1)), False
        blocks = -(-samples // most)
        return width * -(-samples // (blocks * width)), blocks == 1

    def variant(self, samples: int) -> tuple[native.Native, int, bool]:
        """The code for this many samples, its lanes, and whether it has only one block."""
        lanes, single = self.lanes(samples)
        key = lanes, single, self.together(samples)
        with self._lock:
            if key not in self._variants:
                self._variants[key] = native_code(self.program, self.machine(*key), self.sizes, self.outputs)
            return self._variants[key], lanes, single

    def machine(self, lanes: int, single: bool, team: bool = False) -> Machine:
        vector_bytes = native.machine().vector_bytes
        return Machine(self.kind, vector_bytes, lanes, single, self.strict, in_order=self.strict, team=team)

    def together(self, samples: int) -> bool:
        """Whether threads share the instructions of a run: one of few blocks, with large sums of products."""
        if self.threads < 2 or self.ranks is not None or not self.program.batch:
            return False
        return samples <= CHUNK * self.lanes(samples)[0] and self._sums * samples >= TEAM_PRODUCTS

    def settled(self, samples: int) -> bool:
        return self.variant(samples)[0].improved

    def state(self, samples: int, like: State | None = None, own: OwnRows | None = None) -> LlvmState:
        return LlvmState(self, samples, like, own)

    def steps(self, parts: Parts, samples: int) -> Steps:
        if self.ranks is not None:  # every step meets the other ranks
            return StepByStep(self, parts, samples)
        return NativeSteps(self, lambda n: (*self.lanes(n), self.together(n)), parts, samples)

    @cached_property
    def products(self) -> float:
        """The products of a sample's sums for each of its slots."""
        return self._sums / max(1, self.program.varying)

    @cached_property
    def _sums(self) -> int:
        steps = [placed for step in self.program.block for placed in counted(step)]
        return sum(x.members * x.terms * prod(counts) for x, counts in steps if x.kind in ("dot", "reduce"))

    @cached_property
    def who(self) -> str:
        host = native.machine()
        processor = "" if self.strict else f"{host.cpu} {host.features}"
        return f"llvm {self.program.fingerprint().hex()} {self.dtype} {self.strict} {processor}"

    def profile(self, state: State) -> Profile:
        from macrograd.compiler.targets.llvm.profile import profile

        assert isinstance(state, LlvmState)
        return profile(self.program, self.machine(state.lanes, state.single), state)


class LlvmState(State):
    """The buffers of one call, and the context that leads native code to them."""

    executable: LlvmExecutable

    def __init__(
        self, executable: LlvmExecutable, samples: int, like: State | None = None, own: OwnRows | None = None
    ) -> None:
        super().__init__(executable, samples, own)
        program, dtype = executable.program, executable.dtype
        self.native, self.lanes, self.single = executable.variant(self.total)
        if like is None:
            self.u = aligned(program.uniform, dtype)
            with narrowing(dtype):
                self.u[program.parameters : program.first_uniform_input] = program.constants
        else:
            self.u = like.u
        self.v = aligned(program.varying * self.lanes, dtype)
        self._pointers = (ctypes.c_void_p * max(1, len(executable.sizes)))()
        self.context = Context(
            u=self.u.ctypes.data,
            v=self.v.ctypes.data,
            tables=self.native.tables.ctypes.data,
            samples=samples,
            arguments=ctypes.addressof(self._pointers),
            scale=1.0 / self.total,
            out=self.out.ctypes.data,
            support=support(self.native, program, executable.machine(self.lanes, self.single)),
            **kernels(program, executable.machine(self.lanes, self.single)),
        )
        self.context.held = self.u, self.v, self.out, self._pointers, self.arguments, self.native
        self.address = ctypes.addressof(self.context)
        self.blocks = -(-samples // self.lanes) if program.batch else 1
        self.chunk, self.team, self._builtin = CHUNK, executable.together(samples), False
        self.others: list[Context] = []
        one = self.blocks <= CHUNK or (executable.strict and len(executable.reduced))  # sums sample by sample
        if self.shared is not None:
            self.chunk = self.shared.leaves.length // self.lanes
            self.run = _weakly(self._run_leaves)
        elif self.team:
            self.crew = Crew(executable.kind, executable.threads)
            self.others = self.crew.contexts(self.context)
            self.run = _weakly(self._run_team)
        elif one:
            brief = self._brief()
            self._builtin = brief and builtin.available()
            quick = self._builtin and builtin.made(executable.kind)
            self.run = self.runner(0) if quick else self.native.call("run", self.context, brief=brief)
        else:
            self.run = _weakly(self._run_chunks)
        self._workers: list[_Worker] = []
        if self.shared is None and work_of(program, samples) >= LONG:
            self.run = Interruptible(self.run, _weakly(self.stop))
        self._leaf_sums: NDArray[Any] | None = None

    def point(self, k: int, array: NDArray[Any]) -> None:
        super().point(k, array)
        self._pointers[k] = array.ctypes.data

    def weigh(self, weights: NDArray[Any] | None, order: NDArray[np.int64] | None = None) -> None:
        super().weigh(weights, order)
        self.context.weights = None if weights is None else weights.ctypes.data
        self.context.order = None if order is None else order.ctypes.data

    def runner(self, slot: int) -> Callable[[], float]:
        if not self._builtin:
            return super().runner(slot)
        number = self.u.ctypes.data + slot * self.u.itemsize
        return builtin.builtin(self.native.address("run"), self.address, number, self.executable.kind, self.context)

    def taker(self, slot: int, buffers: Sequence[Buffer], place: int = 0) -> Callable[..., float | None] | None:
        if not self._builtin or not all(builtin.describes(array) for array, _ in buffers):
            return None
        number, flag = self.u.ctypes.data + slot * self.u.itemsize, self.address + Context.flag.offset
        code, kind = self.native.address("run"), self.executable.kind
        return builtin.builtin(code, self.address, number, kind, self.context, flag, buffers, place)

    def flagged(self) -> bool:
        raised = bool(self.context.flag)
        self.context.flag = 0
        return raised

    def stop(self, whether: int) -> None:
        """Let the run that is under way on another thread end early, or the next one be whole again."""
        self.context.stop = whether
        for context in (*(worker.context for worker in self._workers), *self.others):
            context.stop = whether

    def _brief(self) -> bool:
        """Whether a run takes a few microseconds at most."""
        program = self.executable.program
        vectors = self.blocks * self.lanes * self.u.itemsize // native.machine().vector_bytes
        if any(isinstance(step, Loop) for step in program.steps()):
            return False
        return program.uniform + program.varying * vectors <= _BRIEF

    def _run_team(self) -> None:
        """Run one block or a few, instruction by instruction, on threads."""
        self.renew_others()
        self.crew.run(entry(self.native), [ctypes.addressof(x) for x in self.others], self.address)

    def renew_others(self) -> None:
        """Let the contexts of the other threads be what this one's is."""
        for rank, other in enumerate(self.others, 1):
            Crew.renewed(other, self.context, rank)

    def _run_chunks(self) -> None:
        """Run many blocks, chunk by chunk, on threads if there are any; the sums are added in the order of the
        chunks."""
        count = -(-self.blocks // self.chunk)
        self.native.functions["before"](self.address)
        sums = self._sums(range(count))
        total = sums[0]
        with np.errstate(all="ignore"):  # NaN and infinities are ordinary results
            for k in range(1, count):
                total += sums[k]
        self.u[self.executable.reduced] = total
        self.native.functions["after"](self.address)

    def _run_leaves(self) -> None:
        """Run this rank's leaves, which are chunks, and exchange their sums."""
        shared, executable = self.shared, self.executable
        assert shared is not None
        self.native.functions["before"](self.address)
        some = max(_TOGETHER, executable.threads, _TOGETHER_NUMBERS // max(1, len(executable.reduced)))
        some = max(1, min(some, len(shared.mine)))
        # Kept: new memory of that size would come from the system, page by page, at every run.
        if self._leaf_sums is None:
            self._leaf_sums = np.empty((some, len(executable.reduced)), dtype=executable.dtype)
        for first in range(shared.mine.start, shared.mine.stop, some):
            chunks = range(first, min(first + some, shared.mine.stop))
            here = range(chunks.start - shared.first, chunks.stop - shared.first)
            shared.add(first, self._sums(here, self._leaf_sums[: len(chunks)]))
        self.context.flag = int(self.exchange(bool(self.context.flag)))
        self.native.functions["after"](self.address)

    def _sums(self, chunks: range, sums: NDArray[Any] | None = None) -> NDArray[Any]:
        """The sums over the batch of each of these chunks, computed on threads if there are any, in new memory or in
        `sums`."""
        executable, count = self.executable, len(chunks)
        workers = max(1, min(executable.threads, count))
        while len(self._workers) < workers:
            self._workers.append(_Worker(self, helper=bool(self._workers)))
        if sums is None:
            sums = np.empty((count, len(executable.reduced)), dtype=executable.dtype)
        rows = sums

        def run() -> None:
            for w in range(workers - 1, -1, -1):  # the last one, w = 0, is this thread itself
                mine = chunks[count * w // workers : count * (w + 1) // workers]
                self._workers[w].start(self.address, mine, rows, chunks.start)

        threads.together([w.helper for w in self._workers[1:workers] if w.helper is not None], run)
        if any(worker.context.flag for worker in self._workers[:workers]):
            self.context.flag = 1
        return sums


def _weakly(method: Callable[..., object]) -> Callable[..., None]:
    """A method that its own object can hold: the buffers and threads of a state go when it does, not when Python next
    looks for circles, of which arrays count as small as any object."""
    held = weakref.WeakMethod(method)

    def run(*arguments: Any) -> None:
        found = held()
        assert found is not None, "the state is gone"
        found(*arguments)

    return run


class _Worker:
    """Separate buffers for a share of a state's chunks, and the thread that runs it, unless it is the caller's."""

    def __init__(self, whole: LlvmState, *, helper: bool) -> None:
        executable = whole.executable
        self.u, self.v = aligned(len(whole.u), whole.u.dtype), aligned(len(whole.v), whole.v.dtype)
        self.context = Context()
        self.helper = threads.Helper(executable.kind) if helper else None
        self.share, self.run = threads.new_share(executable.kind)
        if self.helper is not None:
            self.share = self.helper.share
        share = self.share
        share.context = ctypes.addressof(self.context)
        share.blocks = ctypes.cast(whole.native.functions["blocks"], ctypes.c_void_p).value
        share.whole, share.own, share.size = whole.u.ctypes.data, self.u.ctypes.data, len(self.u)
        reduced = executable.reduced
        share.count, share.begin = len(reduced), int(reduced[0]) if len(reduced) else 0
        side_by_side = bool((np.diff(reduced) == 1).all())
        share.reduced = None if side_by_side else reduced.ctypes.data
        share.chunk, share.total = whole.chunk, whole.blocks

    def start(self, whole: int, chunks: range, sums: NDArray[Any], first: int) -> None:
        """Run these chunks of the context at `whole`, each into its row of `sums`, whose first row is that of the chunk
        `first`; with a helper thread this returns at once."""
        ctypes.memmove(ctypes.addressof(self.context), whole, ctypes.sizeof(Context))
        self.context.u, self.context.v, self.context.flag = self.u.ctypes.data, self.v.ctypes.data, 0
        self.share.sums = sums.ctypes.data - first * sums.shape[1] * sums.itemsize
        self.share.first, self.share.last = chunks.start, chunks.stop
        if self.helper is None:
            self.run(ctypes.addressof(self.share))
        else:
            self.helper.start()
