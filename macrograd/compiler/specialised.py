"""A compiled function for arguments of given shapes: its trace, its programs, and their executables."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import field, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd._forks import free_in_child
from macrograd._numbers import check_unmasked
from macrograd.compiler import pipeline
from macrograd.compiler.gather import Gather
from macrograd.compiler.program.compact import with_few_slots
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.walk import counted
from macrograd.compiler.settings import Settings
from macrograd.compiler.tape import indices
from macrograd.compiler.targets.target import Executable, Request, State, narrowing
from macrograd.compiler.targets.training import Parts, Steps
from macrograd.compiler.trace.recording import FIRST_CHECK
from macrograd.value import Value, numbers_of

if TYPE_CHECKING:
    from macrograd.ranks.own import OwnRows

FEW_SIZES = 8  # of batches, whose buffers wait
_SHOWN = 8  # numbers of a sample, in messages
_MOST_CALLS = 300_000  # of NumPy, to find an invalid index


@dataclass
class Prepared:
    """One program, its executable, and buffers by batch size that wait for the next call."""

    program: Program
    executable: Executable
    waiting: dict[int, list[State]]
    instead: Callable[[RuntimeError], Executable]
    differentiated: bool = False  # whether the results are a value and its gradient
    direct: dict[int, tuple[Callable[[], Any] | None, Callable[..., Any]] | None] = field(
        default_factory=dict
    )  # by batch size

    gathers: list[Gather] | None = None  # how the arrays of the results are gathered, in their order

    def __post_init__(self) -> None:
        program = self.program
        self.slots = program.slots
        self.places = _run(self.slots)
        self.varying = program.varies
        self.uniform = not self.varying.any()
        in_place = self.slots == program.first_output + np.arange(len(self.slots))
        self.is_output = bool(len(self.slots)) and bool((self.varying & in_place).all())

    def take(self, samples: int) -> State:
        waiting = self.waiting.get(samples)
        if waiting:
            try:
                return waiting.pop()
            except IndexError:  # another thread was faster
                pass
        return self.state(samples)

    def state(self, samples: int, own: OwnRows | None = None) -> State:
        """New buffers. LLVM compiles code for each batch size, so it may still fail here."""
        try:
            return self.executable.state(samples, own=own)
        except RuntimeError as error:
            self.executable = self.instead(error)
            self.waiting.clear()
            return self.executable.state(samples, own=own)

    def steps(self, parts: Parts, samples: int) -> Steps:
        """Training steps of this program; like `state`, this is where native code may fail."""
        try:
            return self.executable.steps(parts, samples)
        except RuntimeError as error:
            self.executable = self.instead(error)
            self.waiting.clear()
            return self.executable.steps(parts, samples)

    def give(self, samples: int, state: State) -> None:
        if samples not in self.waiting and len(self.waiting) >= FEW_SIZES:
            self.waiting.pop(next(iter(self.waiting)), None)
        self.waiting.setdefault(samples, []).append(state)


class Specialised:
    """A compiled function for arguments of given shapes: its trace, and its programs, made on demand."""

    def __init__(self, settings: Settings, shapes: tuple[tuple[int, ...], ...]) -> None:
        self.settings, self.shapes = settings, shapes
        uniform = settings.uniform
        sizes = [int(np.prod(shape, dtype=int)) for shape in shapes]
        self.varying = [k for k in range(len(shapes)) if k not in uniform]
        self.sizes = [sizes[k] for k in self.varying]  # of the arguments that vary
        self.same: list[tuple[int, int, int]] = []  # (position, begin, end) of each uniform argument
        for k in sorted(uniform & set(range(len(shapes)))):
            begin = self.same[-1][2] if self.same else 0
            self.same.append((k, begin, begin + sizes[k]))
        self.source = pipeline.record(
            settings.fn, shapes, strict=settings.strict, single=settings.strict and settings.dtype == np.float32,
            name=settings.name, uniform=uniform, epsilon=float(np.finfo(settings.dtype).eps),
        )  # fmt: skip
        self.parameters = self.source.parameters
        self.nesting = _nesting(self.source.structure)
        self.row = _run(self.nesting.ravel()) if isinstance(self.nesting, np.ndarray) else None
        self._prepared: dict[tuple[str, bool], Prepared] = {}  # by name, and whether it is of one sample
        self._lock = free_in_child(threading.RLock())

    def like(self, settings: Settings, parameters: list[Value]) -> Specialised:
        """The same programs, also those made later, for a function that is equal but for its parameters."""
        found = copy.copy(self)
        found.settings, found.parameters = settings, parameters
        found.source = replace(self.source, parameters=parameters)
        return found

    def prepared(self, what: str, samples: int = 1, *, one: bool = False) -> Prepared:
        """`values`, `bound` (the values, each in its own place) or `gradient`; made for a first batch of `samples`.
        With `one`, the program of a single sample: without a batch, vectors are filled with the members of groups."""
        prepared = self._prepared.get((what, one))
        if prepared is None:
            with self._lock:
                if (what, one) not in self._prepared:
                    self._prepared[what, one] = self._make(what, samples, batch=self.settings.batch and not one)
                prepared = self._prepared[what, one]
        return prepared

    def _make(self, what: str, samples: int, *, batch: bool) -> Prepared:
        settings = self.settings.anonymous()  # others may share the result, and outlive the function
        if what == "gradient":
            self.check_scalar()
            program = pipeline.gradient_program(self.source, batch=batch, strict=settings.strict)
            outputs = 0
        else:
            program = pipeline.value_program(self.source, batch=batch, strict=settings.strict, own=what == "bound")
            outputs = program.outputs
        program = with_few_slots(program)
        request = Request(
            program, tuple(self.sizes), outputs, settings.dtype, settings.strict, settings.threads, samples,
            settings.ranks,
        )  # fmt: skip
        return Prepared(
            program,
            pipeline.prepare(request, settings),
            {},
            lambda error: pipeline.instead(error, request, settings),
            what == "gradient",
        )

    @property
    def is_scalar(self) -> bool:
        return isinstance(self.source.structure, int)

    def check_scalar(self) -> None:
        if not self.is_scalar:
            raise TypeError(
                f"{self.settings.name} returns {_describe(self.source.structure)}, and only one scalar has a "
                "gradient: return a single Value, for example the sum or mean of these"
            )

    # --- running ----------------------------------------------------------------------------------------------------

    def check_theta(self, theta: Any) -> NDArray[Any]:
        check_unmasked("theta", theta)
        try:
            array = np.asarray(theta)
            got = f"shape {array.shape}, dtype {array.dtype}"
        except ValueError:
            array, got = np.empty(0, dtype=object), "rows of different lengths"
        if array.shape != (len(self.parameters),) or array.dtype.kind not in "biuf":
            raise ValueError(
                f"theta is one array of {len(self.parameters)} numbers, one for each parameter of "
                f"{self.settings.name}; got {got}"
            )
        return array

    def fill(self, state: State, theta: Any = None) -> None:
        """Write the parameters' numbers into a state: theta, or the Values' current numbers."""
        n = len(self.parameters)
        if theta is None:
            theta = numbers_of(self.parameters)
        elif theta.__class__ is not np.ndarray or theta.shape != (n,) or theta.dtype.kind != "f":
            theta = self.check_theta(theta)
        with narrowing(self.settings.dtype):
            state.u[:n] = theta

    def samples(self, arrays: list[NDArray[Any]]) -> int:
        """The number of samples in these arguments."""
        return len(arrays[self.varying[0]]) if self.settings.batch else 1

    def own(self, arrays: list[NDArray[Any]]) -> OwnRows:
        """Which rows of a batch the ranks have, of which these are this one's; they call it together."""
        from macrograd.ranks.own import OwnRows

        assert self.settings.ranks is not None
        return OwnRows.of(self.settings.ranks, self.samples(arrays), self.shapes, self.settings.name)

    def load(self, state: State, arrays: list[NDArray[Any]], own: OwnRows | None = None) -> None:
        """Write the arguments' numbers into a state: of `own` rows those that this rank computes."""
        if own is not None and not own.stays:
            varying = set(self.varying)
            with narrowing(self.settings.dtype):
                arrays = [
                    own.inward(np.asarray(x, dtype=self.settings.dtype)) if k in varying else x
                    for k, x in enumerate(arrays)
                ]
        if not self.same:
            state.load(arrays)
            return
        state.load([arrays[k] for k in self.varying])
        with narrowing(self.settings.dtype):
            for k, buffer in self.uniform_buffers(state).items():
                np.copyto(buffer, arrays[k], casting="unsafe")

    def uniform_buffers(self, state: State) -> dict[int, NDArray[Any]]:
        """The memory of the uniform arguments by position, in their shapes."""
        first = state.executable.program.first_uniform_input
        return {k: state.u[first + begin : first + end].reshape(self.shapes[k]) for k, begin, end in self.same}

    def table(self, prepared: Prepared, state: State, own: OwnRows | None = None) -> NDArray[Any]:
        """All results as (samples, results): of `own` rows those that this rank has."""
        if own is not None:
            if not prepared.uniform:
                return own.outward(self.table(prepared, state))
            return np.broadcast_to(state.u[prepared.places], (len(own.rows), len(prepared.slots)))
        if prepared.uniform:
            found = state.u[prepared.places].copy().reshape(1, -1)
            return found if state.samples == 1 else np.broadcast_to(found, (state.samples, len(prepared.slots)))
        if prepared.is_output:
            return state.out.copy()
        return self.gather(prepared, np.arange(len(prepared.slots))).rows(state)

    def gather(self, prepared: Prepared, which: NDArray[np.int64]) -> Gather:
        return Gather(prepared.program, which, self.sizes)

    def results(self, prepared: Prepared, state: State) -> Any:
        """All results in their nesting, in new arrays of (samples, …), or without a batch of (…)."""
        if prepared.uniform or prepared.is_output:
            table = self.table(prepared, state)
            return self.map_results(lambda which: picked(self, which, table))
        if prepared.gathers is None:
            gathers: list[Gather] = []
            self.map_results(lambda which: gathers.append(self.gather(prepared, which)))
            prepared.gathers = gathers
        following = iter(prepared.gathers)
        return self.map_results(lambda which: self.shaped(next(following).rows(state), which))

    def shaped(self, rows: NDArray[Any], which: NDArray[np.int64]) -> Any:
        """The results in the shape of their numbers, from rows of one sample each."""
        found = rows.reshape(len(rows), *which.shape)
        return found if self.settings.batch else found[0]

    def check_indices(self, prepared: Prepared, state: State) -> None:
        """Raise IndexError if a `take` had an invalid index, and RuntimeError for a check that failed; a second pass
        over the arguments finds which."""
        if not (prepared.executable.takes and state.flagged()):
            return
        error, found = self._invalid(prepared, state)
        own = None if state.shared is None else state.shared.own
        raise error if own is None else own.agreed(error, found=found)

    def _invalid(self, prepared: Prepared, state: State) -> tuple[Exception, bool]:
        """(the error for a run that raised the flag, whether its cause was found)."""
        samples, program, checks = state.samples, prepared.program, self.source.checks
        inputs = [array.reshape(samples, size) for array, size in zip(state.arguments, self.sizes, strict=True)]
        sample: int | None = 0
        found: tuple[float, int] | None = None
        if not samples:
            sample = None  # the rows of all samples are those of other ranks
        elif self.source.loops or self.source.sections:  # of a loop not all rounds are on the tape
            sample = state.first_flagged() if program.batch else 0
            row = 0 if sample is None else sample
            found = invalid_index(prepared.executable, state, [array[row : row + 1] for array in inputs])
        else:
            same = state.u[program.first_uniform_input : program.held]
            first = indices.find(self.source.tape, state.u[: len(self.parameters)], np.hstack(inputs), same)
            sample, found = (None, None) if first is None else (first[0], first[1:])
        name = self.settings.name
        if self.settings.batch and sample is not None:
            before = 0 if state.shared is None or state.shared.own is None else state.shared.own.computed.start
            name = f"{name}, sample {before + sample}"
        if found is None and checks.messages:
            takes = "" if not checks.lines else f"; or a take() got an index outside of its values{checks.where()}"
            return RuntimeError(f"{name}: {'; or '.join(checks.messages)}{takes}"), False
        if found is None:
            wrong = "take() got an index outside of its values, or one that is not an integer"
            return IndexError(f"{name}: {wrong}{checks.where()}"), False
        index, count = found
        if checks.messages and index <= FIRST_CHECK:
            given = "" if sample is None else _shown([x for array in inputs for x in array[sample].tolist()])
            return RuntimeError(f"{name}: {checks.messages[int(FIRST_CHECK - index)]}{given}"), True
        if not index.is_integer():
            return IndexError(f"{name}: take() needs an integer index, got {index!r}{checks.where(count)}"), True
        return IndexError(f"{name}: take() index {index:.15g} is outside 0 … {count - 1}{checks.where(count)}"), True

    def map_results(self, array: Callable[[NDArray[np.int64]], Any]) -> Any:
        """The function's nested result with `array(numbers)` in place of each array, where `numbers` index the
        results."""

        def walk(x: Any) -> Any:
            if isinstance(x, np.ndarray):
                return array(x)
            if isinstance(x, tuple):
                return tuple([walk(item) for item in x])
            if isinstance(x, dict):
                return {key: walk(item) for key, item in x.items()}
            return [walk(item) for item in x]

        return walk(self.nesting)


def invalid_index(executable: Executable, state: State, sample: list[NDArray[Any]]) -> tuple[float, int] | None:
    """The first invalid index in a run of this sample, and the number of values to choose from; None if it would take
    long to find, or there is none."""
    program = executable.program
    placed = [x for step in program.steps() for x in counted(step)]
    if sum(prod(counts) for _, counts in placed) > _MOST_CALLS:
        return None
    request = Request(program, executable.sizes, executable.outputs, executable.dtype, executable.strict)
    one = pipeline.FALLBACK.prepare(request).state(1)
    one.u[: program.held] = state.u[: program.held]
    one.load(sample)
    one.run()
    return one.invalid if one.flagged() else None


def _shown(numbers: list[float]) -> str:
    return f". The arguments are {', '.join([f'{x:.6g}' for x in numbers])}" if 0 < len(numbers) <= _SHOWN else ""


def _run(numbers: NDArray[np.int64]) -> Any:
    """An index of these places: a slice, which is copied much faster, if they follow each other."""
    if len(numbers) and (np.diff(numbers) == 1).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def _nesting(x: Any) -> Any:
    """A nested result with every rectangular nest of lists replaced by one array of result indices."""
    if isinstance(x, int):
        return np.array(x)
    if isinstance(x, tuple):
        return tuple(_nesting(item) for item in x)
    if isinstance(x, dict):
        return {key: _nesting(item) for key, item in x.items()}
    parts = [_nesting(item) for item in x]
    if all(isinstance(part, np.ndarray) and part.shape == parts[0].shape for part in parts):
        return np.stack(parts) if parts else np.empty(0, dtype=np.int64)
    return parts


def results(program: Program, state: State) -> tuple[Any, NDArray[Any]]:
    """The value and the gradient of a differentiated program, from a state that has run; they are contiguous."""
    first = program.results[0][1]
    return state.u[first], state.u[first + 1 : first + len(program.results)]


def picked(special: Specialised, which: NDArray[np.int64], table: NDArray[Any]) -> Any:
    """The results in the shape of their numbers, from a table of (samples, results)."""
    if which is special.nesting and isinstance(special.row, slice) and table.flags.writeable:
        return special.shaped(table[:, special.row], which)  # the table is its own
    return special.shaped(np.take(table, which.ravel(), axis=1), which)


def _describe(structure: Any) -> str:
    if isinstance(structure, (list, tuple)):
        return f"a {type(structure).__name__} of {len(structure)}"
    return f"a {type(structure).__name__}"
