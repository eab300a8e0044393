"""The interface of a target, which programs are lowered to, and the parts common to all of them.

    Target      knows whether it is available and which operations it has
    Runner      a target that prepares programs to run in this process
    Writer      a target that writes programs as source text
    Request     the program and how it will be used
    Executable  a program that is ready to run, for batches of any size
    State       the buffers of one call, and the call itself

`pipeline.prepare` decides which target runs a program; nothing else in the compiler names one.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd._forks import free_in_child
from macrograd.compiler.jit.buffers import Buffer
from macrograd.compiler.program.nets import NetsError
from macrograd.compiler.program.program import SUMS_OF_BATCH, Program, counted
from macrograd.compiler.program.stream import TOTAL
from macrograd.compiler.program.touches import Touch
from macrograd.compiler.program.walk import streams_of
from macrograd.compiler.tape.tape import distinct
from macrograd.compiler.targets.nets import Nets, Own
from macrograd.compiler.targets.profile import Profile
from macrograd.compiler.targets.shared import Shared
from macrograd.compiler.targets.training import Parts, Steps
from macrograd.ops import Op
from macrograd.ranks.ranks import Ranks

if TYPE_CHECKING:
    from macrograd.ranks.own import OwnRows

Array = NDArray[Any]
Text = TypeVar("Text", covariant=True)
_WIDE = nullcontext()
COPY_BYTES = 1 << 20  # larger arguments are read in place if their type and layout allow it


@dataclass(frozen=True)
class Request:
    """A request to a target.

    sizes    the numbers of scalars of each argument, for one sample
    outputs  the number of results that vary from sample to sample
    dtype    of all numbers, and of the arithmetic
    strict   round as the eager engine does
    threads  the number that may share a large batch
    samples  the batch to expect
    ranks    the processes that share every batch, if there are any
    """

    program: Program
    sizes: tuple[int, ...]
    outputs: int
    dtype: np.dtype[Any]
    strict: bool = False
    threads: int = 1
    samples: int = 1
    ranks: Ranks | None = None


class Target(ABC):
    """A form that programs can be lowered to. `name` is its name in `compile(backend=...)`, `needs` the package that it
    requires."""

    name: str
    needs: str

    def missing(self) -> ImportError | None:
        """Why the target cannot be used on this machine; None if it can."""
        return None

    def has(self, row: Op) -> bool:
        """Whether the target has a form of the operation: in the column of its name. One without a form is composed by
        its formula, if it has one; operations with any number of operands are instructions."""
        return not row.arity or getattr(row, self.name) is not None

    def lacks(self, program: Program) -> list[str]:
        """The operations of a program that the target neither has nor can compose, by name."""
        rows = (ops.TABLE[code] for code in sorted(program.operations()))
        return [row.name for row in rows if row.formula is None and not self.has(row)]

    def supports(self, program: Program) -> bool:
        return not self.lacks(program)


class Runner(Target):
    """A target that runs programs in this process."""

    @abstractmethod
    def prepare(self, request: Request) -> Executable:
        """Prepare the program to run. Raises RuntimeError if the target's own tools fail on it."""

    def nets(self, request: Request, parts: Parts, own: Own, rule: Own) -> Nets:
        """Training steps of many nets with this program of value and gradient; `own` are the numbers that each has for
        itself in it, and `rule` those in the update. Raises NetsError if the target has no form of it, RuntimeError as
        `prepare` does."""
        raise NetsError(f"the target {self.name}, which runs one net at a time")


class Writer(Target, Generic[Text]):
    """A target that writes programs as source text, in whatever parts its language has."""

    @abstractmethod
    def write(self, request: Request, prefix: str, *, lanes: int = 1) -> Text:
        """The program as text in which all names start with `prefix`; a batch is computed `lanes` samples at a time.

        Raises LookupError for an operation that the target neither has nor can compose.
        """


class Executable(ABC):
    """A program that is ready to run. `profiles` tells whether its steps can be timed separately."""

    profiles = False

    def __init__(self, request: Request) -> None:
        self.program, self.sizes, self.outputs = request.program, request.sizes, request.outputs
        self.dtype, self.strict, self.threads = request.dtype, request.strict, request.threads
        self.ranks = request.ranks if request.program.batch else None
        self.takes = self.program.takes()
        self.reduced = _reduced(self.program)
        self._lock = free_in_child(threading.Lock())

    @property
    @abstractmethod
    def who(self) -> str:
        """The program, and the processor where roundings depend on it: equal on all ranks that share a batch."""

    def settled(self, samples: int) -> bool:
        """Whether the code for that batch size is the best that it will get."""
        return True

    @abstractmethod
    def state(self, samples: int, like: State | None = None, own: OwnRows | None = None) -> State:
        """New buffers for a batch of that size, with the uniform slots of another state if one is given. If the ranks
        have `own` rows, it is the number of those that this one computes. Raises RuntimeError as `Runner.prepare`
        does."""

    @abstractmethod
    def steps(self, parts: Parts, samples: int) -> Steps:
        """Training steps of this program, which is one of a value and its gradient; `samples` is the batch to expect.
        Raises RuntimeError as `Runner.prepare` does."""

    def profile(self, state: State) -> Profile:
        """The time of every step, on a state with parameters and arguments set. Only if `profiles` is true."""
        raise NotImplementedError(f"{type(self).__name__} does not time steps separately")


class State(ABC):
    """The buffers of one call: uniform slots, arguments, outputs.

    u          the uniform slots: parameters, constants, and numbers computed from them
    out        the results that vary, (samples, outputs)
    arguments  the arguments' numbers, None until loaded
    samples    in the buffers, and `total` those of the batch: more if ranks have each their own rows
    shared     the part of the batch that is this rank's, if ranks share it
    run        computes everything from the current contents of the buffers, with the least overhead
    views      of the buffers, for whoever makes calls with them
    """

    run: Callable[[], object]
    u: Array

    def __init__(self, executable: Executable, samples: int, own: OwnRows | None = None) -> None:
        self.executable, self.samples, self.total = executable, samples, samples if own is None else own.samples
        self.out = aligned(samples * executable.outputs, executable.dtype).reshape(samples, executable.outputs)
        self.arguments: list[Any] = [None] * len(executable.sizes)
        self.shared: Shared | None = None
        if executable.ranks is not None:
            self.shared = Shared(executable.ranks, samples, own)
        self.views: Any = None
        self._borrowed: set[int] = set()  # arguments that are read from a caller's array
        self._weights: Array | None = None
        self._order: NDArray[np.int64] | None = None

    @property
    def weighted(self) -> bool:
        return self._weights is not None

    def buffer(self, k: int) -> Array:
        """Argument k's own memory, to write into."""
        if self.arguments[k] is None:
            rows = self.samples if self.executable.program.batch else 1
            self.point(k, aligned(rows * self.executable.sizes[k], self.executable.dtype))
            self._borrowed.discard(k)
        found: Array = self.arguments[k]
        return found

    def point(self, k: int, array: Array) -> None:
        """Read argument k from this array, which must be contiguous and of the right type."""
        self.arguments[k] = array
        self._borrowed.add(k)

    def load(self, arrays: Sequence[Array]) -> None:
        """Load the arguments; large ones are read in place."""
        if self.shared is not None:
            self.shared.given(arrays)
        with narrowing(self.executable.dtype):
            for k, array in enumerate(arrays):
                if array.nbytes > COPY_BYTES and array.dtype == self.executable.dtype and array.flags.c_contiguous:
                    self.point(k, array)
                    continue
                if k in self._borrowed:
                    self.arguments[k] = None
                np.copyto(self.buffer(k).reshape(array.shape), array, casting="unsafe")

    def weigh(self, weights: Array | None, order: NDArray[np.int64] | None = None) -> None:
        """Set weights by row of the arguments, which multiply 1/n, and the rows to use instead of all."""
        self._weights, self._order = weights, order

    @property
    def invalid(self) -> tuple[float, int] | None:
        """The first invalid index of a run that raised the flag, and the number of values to choose from; None if the
        target does not know."""
        return None

    def first_flagged(self) -> int | None:
        """The first sample that raises the flag, found by running ever smaller parts of the batch; None if it cannot be
        told. The outputs are overwritten."""
        if self.shared is not None or not self.executable.program.batch:
            return None
        weights, order = self._weights, self._order
        rows = np.arange(self.samples) if order is None else order
        begin, end = 0, self.samples
        try:
            while begin < end:
                middle = (begin + end + 1) // 2
                self.weigh(None, np.resize(rows[begin:middle], self.samples))
                self.run()
                if not self.flagged():
                    begin = middle
                elif middle - begin == 1:
                    return int(rows[begin])
                else:
                    end = middle
        finally:
            self.weigh(weights, order)
        return None

    def exchange(self, flag: bool) -> bool:
        """Exchange what the ranks have computed of this batch; returns whether one of them raised its flag."""
        assert self.shared is not None
        executable = self.executable
        held, count = self.u[: executable.program.held], len(executable.reduced)
        raised, sums = self.shared.finish(executable.who, held, flag, count, self.out)
        if sums is not None:
            self.u[executable.reduced] = sums
        return raised

    def runner(self, slot: int) -> Callable[[], float]:
        """`run` that returns the number in a slot of u."""
        run, numbers = self.run, self.u.data

        def runs() -> float:
            run()
            found: float = numbers[slot]
            return found

        return runs

    def taker(self, slot: int, buffers: Sequence[Buffer], place: int = 0) -> Callable[..., float | None] | None:
        """A function that takes arrays, copies them to these buffers, or from those of results, and runs like `runner`,
        all without letting another thread in; it returns None if an array is of another shape or type, or if an index
        was out of range. None if this state has no such function. OBJECTS have their floats at `place`."""
        return None

    @abstractmethod
    def flagged(self) -> bool:
        """Whether an index was out of range since the last call."""


def _reduced(program: Program) -> NDArray[np.int64]:
    """The slots of u that hold sums over the batch."""
    found = [np.empty(0, dtype=np.int64)]
    for stream in streams_of(program.block):
        found += [out.astype(np.int64) for code, out, _ in stream.records() if code == TOTAL]
    for step in program.block:
        found += [Touch.of(i.out, i.dims, 1, n).all() for i, n in counted(step) if i.kind in SUMS_OF_BATCH]
    return distinct(np.concatenate(found))


def narrowing(dtype: np.dtype[Any]) -> AbstractContextManager[None]:
    """Where numbers become those of a program: beyond float32 they are infinite in it, without a warning from NumPy, as
    they are where native code takes them. In float64 no number is beyond, and nothing is done: a call from Python would
    notice it."""
    return np.errstate(over="ignore") if dtype.itemsize < 8 else _WIDE


def aligned(count: int, dtype: DTypeLike) -> Array:
    """Zeros aligned to 64 bytes, with room for a vector after them."""
    dtype = np.dtype(dtype)
    raw = np.zeros((count + 16) * dtype.itemsize + 64, dtype=np.uint8)
    begin = -raw.ctypes.data % 64
    return raw[begin : begin + count * dtype.itemsize].view(dtype)
