"""Run a program through LLVM: code for each size of batch that is asked for, buffers for each call in flight.

The number of lanes of a block is a function of the batch size alone, and so is how blocks are put together to chunks,
whose sums are added in their order: a result depends on neither the threads nor what was called before.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.jit import native
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.targets.llvm import threads
from macrograd.compiler.targets.llvm.context import Context
from macrograd.compiler.targets.llvm.kernel import kernel
from macrograd.compiler.targets.llvm.lower import lower
from macrograd.compiler.targets.profile import Profile
from macrograd.compiler.targets.scalar.machine import Machine, kind_of
from macrograd.compiler.targets.target import Executable, Request, State, aligned

_MOST_VECTORS = 16  # of one slot in a block
_BLOCK_BYTES = 1 << 20  # of all varying slots of a block: about a core's own cache
_CHUNK = 8  # blocks whose sums are added up one after the other
_FUNCTIONS = ("before", "after", "blocks", "run")


class LlvmExecutable(Executable):
    """A program as native code."""

    profiles = True

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.kind = kind_of(self.dtype)
        self._variants: dict[tuple[int, bool], native.Native] = {}
        self.variant(request.samples)  # what LLVM cannot do is known at once

    def lanes(self, samples: int) -> tuple[int, bool]:
        """Lanes of a block for a number of samples, and whether one block is enough."""
        width = native.machine().vector_bytes // self.dtype.itemsize
        if not self.program.batch:
            return width, True
        fit = _BLOCK_BYTES // (self.program.varying * self.dtype.itemsize * width)
        most = width * max(1, min(_MOST_VECTORS, fit))
        blocks = -(-samples // most)
        return width * -(-samples // (blocks * width)), blocks == 1

    def variant(self, samples: int) -> tuple[native.Native, int, bool]:
        """The code for a number of samples, its lanes, and whether one block is all."""
        lanes, single = self.lanes(samples)
        with self._lock:
            if (lanes, single) not in self._variants:
                machine = self.machine(lanes, single)
                self._variants[lanes, single] = native_code(self.program, machine, self.sizes, self.outputs)
            return self._variants[lanes, single], lanes, single

    def machine(self, lanes: int, single: bool) -> Machine:
        return Machine(self.kind, native.machine().vector_bytes, lanes, single, self.strict)

    def state(self, samples: int) -> LlvmState:
        return LlvmState(self, samples)

    def profile(self, state: State) -> Profile:
        from macrograd.compiler.targets.llvm.profile import profile

        assert isinstance(state, LlvmState)
        return profile(self.program, self.machine(state.lanes, state.single), state)


def native_code(program: Program, machine: Machine, sizes: Sequence[int], outputs: int) -> native.Native:
    """The machine code of a program for a machine: from the disk cache, or made now."""
    stream = _only_stream(program)
    if stream is None:
        return _own_code(program, machine, sizes, outputs)
    code = _all_data(machine, tuple(sizes), outputs, program.first_input, program.inputs)
    return code.with_tables(stream.table())


def kernels(program: Program, machine: Machine) -> dict[str, int | None]:
    """The context's fields for the kernels of streams that the program has; every context of native code needs them."""
    streams = program.streams()
    found: dict[str, int | None] = {}
    for block in {stream.block for stream in streams}:
        composed = {code for stream in streams if stream.block == block for code in stream.composed}
        code = kernel(machine, block=block, composed=tuple(sorted(composed)))
        address = ctypes.cast(code.functions["stream"], ctypes.c_void_p).value
        found["stream_block" if block else "stream_uniform"] = address
    return found


def _only_stream(program: Program) -> Stream | None:
    """The stream that is all of the program. With a batch there are blocks around it, whose frame is another."""
    if program.batch or len(program.steps()) != 1:
        return None
    (step,) = program.steps()
    return step if isinstance(step, Stream) else None


def _own_code(program: Program, machine: Machine, sizes: Sequence[int], outputs: int) -> native.Native:
    key = repr((program.fingerprint(), machine, tuple(sizes), outputs)).encode()
    write = lambda: lower(program, machine, sizes, outputs)  # noqa: E731 - only written if it is needed
    return native.Native(key, _FUNCTIONS, write, tiers=True, scalars=program.scalars)


@lru_cache(maxsize=16)
def _all_data(machine: Machine, sizes: tuple[int, ...], outputs: int, first_input: int, inputs: int) -> native.Native:
    """The code of all programs without a batch that are one stream and nothing else: it reads the arguments and calls
    the kernel, whatever the records are."""
    stream = Stream(np.empty(0, dtype=np.int32), 0, block=False)
    program = Program((stream,), (), (), first_input, inputs, np.empty(0), first_input + inputs, 0, (), batch=False)
    return _own_code(program, machine, sizes, outputs)


class LlvmState(State):
    """The buffers of one call, and the context in which native code finds them."""

    executable: LlvmExecutable

    def __init__(self, executable: LlvmExecutable, samples: int) -> None:
        super().__init__(executable, samples)
        program, dtype = executable.program, executable.dtype
        self.native, self.lanes, self.single = executable.variant(samples)
        self.u = aligned(program.uniform, dtype)
        constants = slice(program.parameters, program.parameters + len(program.constants))
        self.u[constants] = program.constants
        self.v = aligned(program.varying * self.lanes, dtype)
        self._pointers = (ctypes.c_void_p * max(1, len(executable.sizes)))()
        self.context = Context(
            u=self.u.ctypes.data,
            v=self.v.ctypes.data,
            tables=self.native.tables.ctypes.data,
            samples=samples,
            arguments=ctypes.addressof(self._pointers),
            scale=1.0 / samples,
            out=self.out.ctypes.data,
            **kernels(program, executable.machine(self.lanes, self.single)),
        )
        self.address = ctypes.addressof(self.context)
        self.blocks = -(-samples // self.lanes) if program.batch else 1
        whole = self.native.functions["run"] if self.blocks <= _CHUNK else self._run_chunks
        self.run = partial(whole, self.address)
        self._workers: list[_Worker] = []

    def point(self, k: int, array: NDArray[Any]) -> None:
        super().point(k, array)
        self._pointers[k] = array.ctypes.data

    def weigh(self, weights: NDArray[Any] | None, order: NDArray[np.int64] | None = None) -> None:
        super().weigh(weights, order)
        self.context.weights = None if weights is None else weights.ctypes.data
        self.context.order = None if order is None else order.ctypes.data

    def flagged(self) -> bool:
        raised = bool(self.context.flag)
        self.context.flag = 0
        return raised

    def _run_chunks(self, address: int) -> None:
        """Many blocks, chunk by chunk, on threads if there are any; the sums are added in the order of the chunks."""
        executable = self.executable
        count = -(-self.blocks // _CHUNK)
        self.native.functions["before"](address)
        workers = max(1, min(executable.threads, count))
        while len(self._workers) < workers:
            self._workers.append(_Worker(self, helper=bool(self._workers)))
        sums = np.empty((count, len(executable.reduced)), dtype=executable.dtype)
        for w in range(workers - 1, -1, -1):  # the last of them, w = 0, is this thread itself
            self._workers[w].start(range(count * w // workers, count * (w + 1) // workers), sums)
        for worker in self._workers[1:workers]:
            worker.wait()
        if any(worker.context.flag for worker in self._workers[:workers]):
            self.context.flag = 1
        total = sums[0]
        for k in range(1, count):
            total += sums[k]
        self.u[executable.reduced] = total
        self.native.functions["after"](address)


class _Worker:
    """Buffers of its own for a share of a state's chunks, and the thread that does it, if not the caller's."""

    def __init__(self, whole: LlvmState, *, helper: bool) -> None:
        executable = whole.executable
        self.whole, self.chunks = whole, range(0)
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
        share.reduced, share.count = executable.reduced.ctypes.data, len(executable.reduced)
        share.chunk, share.total = _CHUNK, whole.blocks

    def start(self, chunks: range, sums: NDArray[Any]) -> None:
        """Do these chunks, each into its row of `sums`; a helper begins and this returns at once."""
        ctypes.memmove(ctypes.addressof(self.context), self.whole.address, ctypes.sizeof(Context))
        self.context.u, self.context.v, self.context.flag = self.u.ctypes.data, self.v.ctypes.data, 0
        self.share.sums, self.share.first, self.share.last = sums.ctypes.data, chunks.start, chunks.stop
        if self.helper is None:
            self.run(ctypes.addressof(self.share))
        else:
            self.helper.start()

    def wait(self) -> None:
        assert self.helper is not None
        self.helper.wait()
