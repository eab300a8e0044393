"""What `compile` returns: a function that traces itself when it first sees arguments of some shape, and then runs as
native code."""

from __future__ import annotations

import inspect
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Program
from macrograd.compiler.tape import indices
from macrograd.compiler.targets.numpy.execute import NumpyExecutable
from macrograd.copying import check_importable
from macrograd.value import Value, parameter_writes

if TYPE_CHECKING:
    from macrograd.compiler.targets.llvm.profile import Profile

_DTYPES = {"float64": np.float64, "float32": np.float32}
_BACKENDS = ("auto", "llvm", "numpy")
_ARGUMENTS = "an argument of shape () is one value, and one of another shape nested lists of values"
_said: set[str] = set()  # what has been said once


class CompileWarning(UserWarning):
    """Something was done another, slower way."""


class Compiled:
    """A compiled function; see `macrograd.compile`."""

    def __init__(
        self, fn: Callable[..., Any], *, batch: bool, dtype: str, backend: str, threads: int, strict: bool
    ) -> None:
        name = dtype if isinstance(dtype, str) else _name(dtype)
        if name not in _DTYPES:
            raise ValueError(f"compile(dtype={dtype!r}): dtype is one of {', '.join(map(repr, _DTYPES))}")
        if backend not in _BACKENDS:
            raise ValueError(f"compile(backend={backend!r}): backend is one of {', '.join(map(repr, _BACKENDS))}")
        for setting, given in (("batch", batch), ("strict", strict)):
            if not isinstance(given, (bool, np.bool_)):
                raise ValueError(f"compile({setting}={given!r}): {setting} is True or False")
        if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
            raise ValueError(f"compile(threads={threads!r}): threads is a whole number from 1 on")
        if not callable(fn):
            raise TypeError(f"compile() takes a function, got {fn!r} of type {type(fn).__name__}")
        self.fn, self.batch, self.strict, self.threads = fn, batch, strict, threads
        self.dtype = np.dtype(_DTYPES[name])
        self.backend = backend
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)
        self.__doc__ = getattr(fn, "__doc__", None)
        self.__module__ = getattr(fn, "__module__", __name__)
        self._signature = _signature(fn)
        self._shapes: dict[tuple[tuple[int, ...], ...], Specialised] = {}
        self._latest: Specialised | None = None
        self._remembered: tuple[tuple[int, ...], ...] | None = None  # of the latest call before it was pickled
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        seen = ", ".join(str(shapes) for shapes in self._shapes) or "not yet called"
        return f"<compiled {self.__name__}, {self.dtype.name}{', batch' if self.batch else ''}: {seen}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickled as the function and the settings, and compiled again where it is used; where the function was
        decorated, as its name."""
        name = getattr(self.fn, "__qualname__", "")
        found: Any = sys.modules.get(self.__module__)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is self:
            return name
        check_importable(f"the compiled {self.__name__}", "function", self.fn)
        return again, (self.fn, self.batch, self.dtype.name, self.backend, self.threads, self.strict, self._known())

    def _known(self) -> tuple[tuple[int, ...], ...] | None:
        """The shapes of the latest call."""
        return self._remembered if self._latest is None else self._latest.shapes

    # --- values -----------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's value, with the batch axis in front of every result."""
        arrays, special = self._prepare(args, kwargs)
        return special.values(arrays)

    # --- gradients --------------------------------------------------------------------------------------------------

    def backward(self, *args: Any, **kwargs: Any) -> float:
        """Add the gradient of the (mean) value to `.grad` of every parameter; returns that value.

        Raises TypeError if the function's result is not one scalar.
        """
        arrays, special = self._prepare(args, kwargs)
        value, gradient = special.value_and_grad(None, arrays)
        for parameter, g in zip(special.parameters, gradient.tolist(), strict=True):
            parameter.grad += g
        return value

    def value_and_grad(self, theta: Any, *args: Any, **kwargs: Any) -> tuple[float, NDArray[Any]]:
        """The (mean) value and its gradient at parameters `theta`, an array in the order of `parameters`.

        No Value is read or written. Raises ValueError for a theta of the wrong size.
        """
        arrays, special = self._prepare(args, kwargs)
        return special.value_and_grad(theta, arrays)

    def bind(self, *args: Any, **kwargs: Any) -> Bound:
        """Buffers for these arguments, checked once: the cheapest call there is. See `Bound`."""
        arrays, special = self._prepare(args, kwargs)
        return Bound(special, arrays)

    # --- parameters -------------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> list[Value]:
        """The leaf Values that the function closed over, in the order in which its sums of products first use them.

        Known once the function has been traced: raises RuntimeError before its first call.
        """
        return list(self._traced().parameters)

    def theta(self) -> NDArray[np.float64]:
        """The parameters' numbers as one array."""
        return np.array([p.data for p in self._traced().parameters])

    def assign(self, theta: Any) -> None:
        """Write one array back into the parameters. Raises ValueError for a wrong size, and then writes nothing."""
        special = self._traced()
        numbers = special.check_theta(theta).tolist()
        for parameter, number in zip(special.parameters, numbers, strict=True):
            parameter.data = float(number)
        parameter_writes[0] += 1

    def _traced(self) -> Specialised:
        if self._latest is None and self._signature is not None and not self._signature.parameters:
            self._prepare((), {})  # without arguments there is only one shape that they can have
        if self._latest is None and self._remembered is not None:
            self._latest = self._specialise(self._remembered)
        if self._latest is None:
            raise RuntimeError(
                f"{self.__name__} has not been traced yet, so its parameters are not known: "
                "call it, or its backward() or bind(), with arguments first"
            )
        return self._latest

    # --- inspection -------------------------------------------------------------------------------------------------

    def explain(self, *args: Any, names: dict[str, Value] | None = None, **kwargs: Any) -> str:
        """What the compiler found, in words: array instructions with shapes, and what did not roll.

        With arguments, for their shapes; else for the latest call. `names` (as from `named_parameters()`) are used for
        the parameters where given, else their labels.
        """
        from macrograd.compiler.explain.explain import explain

        if names is not None and not (
            isinstance(names, dict) and all(isinstance(value, Value) for value in names.values())
        ):
            raise TypeError(
                f"explain(names={names!r}): names is a dict of names and their Values, as from model.named_parameters()"
            )
        if args or kwargs:
            _, special = self._prepare(args, kwargs)
        else:
            special = self._traced()
        return explain(special, names)

    def profile(self, *args: Any, **kwargs: Any) -> Profile:
        """The time of each array instruction of the gradient (of the values, if the result is not one scalar) on these
        arguments, its share, and its arithmetic rate against the machine's peak. Print it.

        Raises RuntimeError if the program does not run on LLVM.
        """
        from macrograd.compiler.targets.llvm.profile import profile

        arrays, special = self._prepare(args, kwargs)
        samples = len(arrays[0]) if self.batch else 1
        scalar = isinstance(special.source.structure, int)
        plan = special.plan("gradient" if scalar else "one" if samples == 1 else "values", samples)
        if not hasattr(plan.executable, "target"):
            raise RuntimeError(f"{self.__name__} runs on NumPy, and profile() times native code: it needs LLVM")
        state = plan.state(samples)
        special.fill(state)
        state.load(arrays)
        return profile(plan.executable, state)

    # --- arguments --------------------------------------------------------------------------------------------------

    def _prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[NDArray[Any]], Specialised]:
        if kwargs:
            args = self._positional(args, kwargs)
        arrays = [
            x if x.__class__ is np.ndarray and x.dtype == self.dtype else self._array(k, x) for k, x in enumerate(args)
        ]
        if self.batch:
            self._check_batch(arrays)
            shapes = tuple([x.shape[1:] for x in arrays])
        else:
            shapes = tuple([x.shape for x in arrays])
        special = self._shapes.get(shapes)
        if special is None:
            special = self._specialise(shapes)
        self._latest = special
        return arrays, special

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        if self._signature is None:
            raise TypeError(f"{self.__name__} has no signature to place {', '.join(kwargs)} in: pass it by position")
        bound = self._signature.bind(*args, **kwargs)
        if bound.kwargs:
            raise TypeError(
                f"{self.__name__}: {', '.join(bound.kwargs)} can only be passed by name; "
                "a compiled function takes arguments by position"
            )
        return bound.args

    def argument(self, k: int) -> str:
        """How messages call argument k."""
        names = list(self._signature.parameters) if self._signature is not None else []
        return f"argument {names[k]!r}" if k < len(names) else f"argument {k + 1}"

    def _array(self, k: int, x: Any) -> NDArray[Any]:
        try:
            array = np.asarray(x)
        except ValueError:
            raise ValueError(
                f"{self.__name__}: {self.argument(k)} is ragged: its rows must all have the same length"
            ) from None
        if array.dtype.kind not in "biuf":
            held = "Values" if isinstance(array.flat[0] if array.size else None, Value) else f"dtype {array.dtype}"
            raise TypeError(
                f"{self.__name__}: {self.argument(k)} must hold real numbers, got {held}; "
                "Values that a function should learn are closed over, not passed"
            )
        return array

    def _check_batch(self, arrays: list[NDArray[Any]]) -> None:
        for k, array in enumerate(arrays):
            if not array.ndim:
                raise ValueError(
                    f"{self.__name__}: {self.argument(k)} is a single number, but compiled with batch=True every "
                    "argument has the batch as its first axis"
                )
            if len(array) != len(arrays[0]):
                raise ValueError(
                    f"{self.__name__}: {self.argument(0)} has {len(arrays[0])} samples (shape {arrays[0].shape}), "
                    f"{self.argument(k)} has {len(array)} (shape {array.shape}); they must be as many"
                )
        if not arrays:
            raise ValueError(f"{self.__name__}: compiled with batch=True it needs at least one argument to batch over")
        if not len(arrays[0]):
            raise ValueError(f"{self.__name__}: the batch is empty (shape {arrays[0].shape}): give at least one sample")

    def _specialise(self, shapes: tuple[tuple[int, ...], ...]) -> Specialised:
        with self._lock:
            if shapes not in self._shapes:
                try:
                    self._shapes[shapes] = Specialised(self, shapes)
                except Exception as error:
                    error.add_note(self._history(shapes))
                    if isinstance(error, (TypeError, IndexError, AttributeError)):
                        error.add_note(_ARGUMENTS)
                    raise
            return self._shapes[shapes]

    def _history(self, shapes: tuple[tuple[int, ...], ...]) -> str:
        per = " for one sample" if self.batch else ""
        now = ", ".join(f"{self.argument(k)} of shape {shape}" for k, shape in enumerate(shapes))
        text = f"while {self.__name__} was traced with {now or 'no arguments'}{per}"
        for earlier in self._shapes:
            text += "; it was traced before with " + ", ".join(
                f"{self.argument(k)} of shape {shape}" for k, shape in enumerate(earlier)
            )
        return text


def again(
    fn: Callable[..., Any],
    batch: bool,
    dtype: str,
    backend: str,
    threads: int,
    strict: bool,
    shapes: tuple[tuple[int, ...], ...] | None,
) -> Compiled:
    """The compiled function that was pickled; it is traced when it is first asked."""
    made = Compiled(fn, batch=batch, dtype=dtype, backend=backend, threads=threads, strict=strict)
    made._remembered = shapes
    return made


@dataclass
class _Plan:
    """One program and how it is run: an executable, and buffers that wait for the next call by batch size."""

    program: Program
    executable: Any
    waiting: dict[int, list[Any]]
    instead: Callable[[RuntimeError], Any]

    def __post_init__(self) -> None:
        program = self.program
        self.slots = np.array([slot for _, slot in program.results], dtype=np.int64)
        self.varying = np.array([space == "v" for space, _ in program.results], dtype=bool)
        self.uniform = not self.varying.any()
        in_place = self.slots == program.first_output + np.arange(len(self.slots))
        self.is_output = bool(len(self.slots)) and bool((self.varying & in_place).all())

    def take(self, samples: int) -> Any:
        waiting = self.waiting.get(samples)
        if waiting:
            try:
                return waiting.pop()
            except IndexError:  # another thread was faster
                pass
        return self.state(samples)

    def state(self, samples: int) -> Any:
        """New buffers. LLVM makes code for each size of a batch, so this is where it may fail later on."""
        try:
            return self.executable.state(samples)
        except RuntimeError as error:
            self.executable = self.instead(error)
            self.waiting.clear()
            return self.executable.state(samples)

    def give(self, samples: int, state: Any) -> None:
        if samples not in self.waiting and len(self.waiting) >= 8:
            self.waiting.pop(next(iter(self.waiting)), None)
        self.waiting.setdefault(samples, []).append(state)


class Specialised:
    """A compiled function for arguments of given shapes: its trace, and its programs as they are asked for."""

    def __init__(self, owner: Compiled, shapes: tuple[tuple[int, ...], ...]) -> None:
        self.owner, self.shapes = owner, shapes
        self.sizes = [int(np.prod(shape, dtype=int)) for shape in shapes]
        self.source = pipeline.record(owner.fn, shapes, strict=owner.strict, name=owner.__name__)
        self.parameters = self.source.parameters
        self.nesting = _nesting(self.source.structure)
        self._plans: dict[str, _Plan] = {}
        self._lock = threading.RLock()

    def plan(self, what: str, samples: int = 1) -> _Plan:
        """`values`, `one` (the values of a single sample) or `gradient`; made for a first batch of `samples`."""
        plan = self._plans.get(what)
        if plan is None:
            with self._lock:
                if what not in self._plans:
                    self._plans[what] = self._make(what, samples)
                plan = self._plans[what]
        return plan

    def _make(self, what: str, samples: int) -> _Plan:
        owner = self.owner
        batch = owner.batch and what != "one"
        if what == "gradient":
            self._check_scalar()
            program = pipeline.gradient_program(self.source, batch=batch, strict=owner.strict)
            outputs = 0
        else:
            program = pipeline.value_program(self.source, batch=batch, strict=owner.strict)
            # An input that is returned as it is, is none.
            outputs = sum(space == "v" and slot >= program.first_output for space, slot in set(program.results))
        return _Plan(
            program,
            self._executable(program, outputs, samples),
            {},
            lambda error: self._instead(error, program, outputs),
        )

    def _check_scalar(self) -> None:
        if not isinstance(self.source.structure, int):
            raise TypeError(
                f"{self.owner.__name__} returns {_describe(self.source.structure)}, and only one scalar has a "
                "gradient: return a single Value, for example the sum or mean of these"
            )

    def _executable(self, program: Program, outputs: int, samples: int) -> Any:
        owner = self.owner
        settings: dict[str, Any] = {"dtype": owner.dtype, "strict": owner.strict, "threads": owner.threads}
        if owner.backend != "numpy":
            try:
                from macrograd.compiler.targets.llvm.execute import LlvmExecutable

                return LlvmExecutable(program, self.sizes, outputs, samples=samples, **settings)
            except ImportError as error:
                if owner.backend == "llvm":
                    raise ImportError(
                        f"backend='llvm' needs llvmlite, which does not load here ({error}); "
                        "install it, or use backend='numpy'"
                    ) from error
                _say_once(f"llvmlite does not load here ({error}): programs run on NumPy, which is slower")
            except RuntimeError as error:  # what LLVM raises when it cannot compile or link
                return self._instead(error, program, outputs)
        return NumpyExecutable(program, self.sizes, outputs, **settings)

    def _instead(self, error: RuntimeError, program: Program, outputs: int) -> Any:
        """What runs a program on which LLVM failed."""
        owner = self.owner
        warnings.warn(
            f"LLVM failed on {owner.__name__} ({error}); it runs on NumPy instead, which is slower",
            CompileWarning,
            stacklevel=7,
        )
        return NumpyExecutable(
            program, self.sizes, outputs, dtype=owner.dtype, strict=owner.strict, threads=owner.threads
        )

    # --- running ----------------------------------------------------------------------------------------------------

    def check_theta(self, theta: Any) -> NDArray[Any]:
        try:
            array = np.asarray(theta)
            got = f"shape {array.shape}, dtype {array.dtype}"
        except ValueError:
            array, got = np.empty(0, dtype=object), "rows of different lengths"
        if array.shape != (len(self.parameters),) or array.dtype.kind not in "biuf":
            raise ValueError(
                f"theta is one array of {len(self.parameters)} numbers, one for each parameter of "
                f"{self.owner.__name__}; got {got}"
            )
        return array

    def fill(self, state: Any, theta: Any = None) -> None:
        """Put the parameters' numbers into a state: theta's, or those that the Values hold now."""
        n = len(self.parameters)
        if theta is None:
            state.u[:n] = [p.data for p in self.parameters]
        elif theta.__class__ is np.ndarray and theta.shape == (n,) and theta.dtype.kind == "f":
            state.u[:n] = theta
        else:
            state.u[:n] = self.check_theta(theta)

    def value_and_grad(self, theta: Any, arrays: list[NDArray[Any]]) -> tuple[float, NDArray[Any]]:
        samples = len(arrays[0]) if self.owner.batch else 1
        plan = self.plan("gradient", samples)
        state = plan.take(samples)
        try:
            self.fill(state, theta)
            state.load(arrays)
            state.execute()
            self.check_indices(plan, state)
            value, gradient = results(plan.program, state)
            return float(value), gradient.copy()
        finally:
            plan.give(samples, state)

    def values(self, arrays: list[NDArray[Any]]) -> Any:
        samples = len(arrays[0]) if self.owner.batch else 1
        plan = self.plan("one" if samples == 1 else "values", samples)
        state = plan.take(samples)
        try:
            self.fill(state)
            state.load(arrays)
            state.execute()
            self.check_indices(plan, state)
            table = self._table(plan, state, samples)
        finally:
            plan.give(samples, state)
        return self._build(self.nesting, table)

    def _table(self, plan: _Plan, state: Any, samples: int) -> NDArray[Any]:
        """All results as (samples, results)."""
        slots, varying = plan.slots, plan.varying
        if plan.uniform:
            return np.broadcast_to(state.u[slots], (samples, len(slots)))
        if plan.is_output:
            return state.out.copy()  # type: ignore[no-any-return]  # the executables are not typed further
        outputs = slots - plan.program.first_output
        table = np.empty((samples, len(slots)), self.owner.dtype)
        table[:, ~varying] = state.u[slots[~varying]]
        computed = varying & (outputs >= 0)
        table[:, computed] = state.out[:, outputs[computed]]
        for k in np.flatnonzero(varying & (outputs < 0)).tolist():  # an input that is returned as it is
            argument = int(np.searchsorted(np.cumsum(self.sizes), slots[k], side="right"))
            begin = sum(self.sizes[:argument])
            table[:, k] = state.arguments[argument].reshape(samples, -1)[:, slots[k] - begin]
        return table

    def check_indices(self, plan: _Plan, state: Any) -> None:
        """Raise IndexError if a `take` had an index that is none, which a second look at the arguments finds."""
        if not (plan.executable.takes and state.flagged()):
            return
        samples = state.samples
        inputs = [array.reshape(samples, size) for array, size in zip(state.arguments, self.sizes, strict=True)]
        found = indices.find(self.source.tape, state.u[: len(self.parameters)], np.hstack(inputs))
        name = self.owner.__name__
        if found is None:
            raise IndexError(f"{name}: take() got an index outside of its values, or one that is not an integer")
        sample, index, count = found
        at = f", sample {sample}" if self.owner.batch else ""
        if not index.is_integer():
            raise IndexError(f"{name}{at}: take() needs an integer index, got {index!r}")
        raise IndexError(f"{name}{at}: take() index {index:.15g} is outside 0 … {count - 1}")

    def _build(self, x: Any, table: NDArray[Any]) -> Any:
        """The results in the nesting of what the function returned."""
        if isinstance(x, np.ndarray):
            found = table[:, x.ravel()].reshape(len(table), *x.shape)
            return found if self.owner.batch else found[0]
        if isinstance(x, tuple):
            return tuple(self._build(item, table) for item in x)
        if isinstance(x, dict):
            return {key: self._build(item, table) for key, item in x.items()}
        return [self._build(item, table) for item in x]


def _nesting(x: Any) -> Any:
    """A result's nesting with every rectangular nest of lists as one array of result numbers."""
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


def results(program: Program, state: Any) -> tuple[Any, NDArray[Any]]:
    """The value and the gradient of a differentiated program, from a state that has run: they stand side by side."""
    first = program.results[0][1]
    return state.u[first], state.u[first + 1 : first + len(program.results)]


class Bound:
    """A compiled scalar function on buffers that stay: `step()` computes value and gradient from whatever they hold.

    theta      the parameters, to read and to write; as the Values held them when this was bound
    arguments  the arguments' own buffers, in order, to write new samples into
    gradient   of the latest step, in the order of `theta`
    value      of the latest step; also what `step()` returns

    Not for several threads at once. Raises IndexError as the function does.
    """

    def __init__(self, special: Specialised, arrays: list[NDArray[Any]]) -> None:
        samples = len(arrays[0]) if special.owner.batch else 1
        plan = special.plan("gradient", samples)
        state = plan.state(samples)
        special.fill(state)
        self.arguments = []
        for k, array in enumerate(arrays):
            buffer = state.buffer(k).reshape(array.shape)
            np.copyto(buffer, array, casting="unsafe")
            self.arguments.append(buffer)
        self._special, self._plan, self._state = special, plan, state
        self._run, self._address = state.run, state.address
        self._takes = plan.executable.takes
        self.theta = state.u[: len(special.parameters)]
        first = plan.program.results[0][1]
        self._value = memoryview(state.u)[first : first + 1]
        self.gradient = results(plan.program, state)[1]

    @property
    def value(self) -> float:
        return float(self._value[0])

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a bound call of {self._special.owner.__name__} holds memory of this process and cannot be pickled or "
            "copied: pickle the compiled function, and bind() it again there"
        )

    def __call__(self) -> float:
        self._run(self._address)
        if self._takes:
            self._special.check_indices(self._plan, self._state)
        found: float = self._value[0]
        return found


def _name(dtype: Any) -> str:
    """The name of one of NumPy's types, '' for what is none."""
    try:
        return str(np.dtype(dtype).name) if dtype is not None else ""  # which NumPy takes for float64
    except TypeError:
        return ""


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):
        return None


def _describe(structure: Any) -> str:
    if isinstance(structure, (list, tuple)):
        return f"a {type(structure).__name__} of {len(structure)}"
    return f"a {type(structure).__name__}"


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        warnings.warn(text, CompileWarning, stacklevel=7)
