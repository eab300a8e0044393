"""The result of `compile`: a function that is traced when it first sees arguments of a given shape, and then runs as
native code."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd._forks import free_in_child
from macrograd.compiler import arguments, parameters
from macrograd.compiler.bound import Bound, BoundResults
from macrograd.compiler.calls import Call, Calls, Direct
from macrograd.compiler.recordings import Recordings, shareable
from macrograd.compiler.settings import settings_of
from macrograd.compiler.specialised import Specialised
from macrograd.copying import check_importable
from macrograd.value import Value, is_interpreted, numbers_of, write_numbers

if TYPE_CHECKING:
    from macrograd.compiler.own_calls import OwnCalls
    from macrograd.compiler.targets.profile import Profile


class Compiled:
    """A compiled function; see `macrograd.compile`."""

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        batch: bool,
        dtype: str,
        backend: str,
        threads: int,
        strict: bool,
        uniform: str | int | Iterable[str | int] = (),
        comm: Any = None,
        own_rows: bool = False,
    ) -> None:
        settings = settings_of(
            fn, batch=batch, dtype=dtype, backend=backend, threads=threads, strict=strict, uniform=uniform, comm=comm,
            own_rows=own_rows,
        )  # fmt: skip
        self.settings, self.fn, self.batch, self.strict, self.threads = settings, fn, batch, strict, threads
        self.dtype, self.backend = settings.dtype, settings.backend
        self.__name__ = settings.name
        self.__doc__ = getattr(fn, "__doc__", None)
        self.__module__ = getattr(fn, "__module__", __name__)
        self._signature = settings.signature
        self.argument = settings.argument
        self._shapes: dict[tuple[tuple[int, ...], ...], Specialised] = {}
        self._latest: Specialised | None = None
        # Calls with arrays like those of a call before.
        self._direct: Direct | None = None
        self._values: Direct | None = None
        self._calls: Calls | OwnCalls = Calls(settings.dtype)
        if settings.own_rows:
            from macrograd.compiler.own_calls import OwnCalls

            self._calls = OwnCalls()
        self._remembered: tuple[tuple[int, ...], ...] | None = None  # of the latest call before pickling
        self._lock = free_in_child(threading.RLock())
        self._shared: tuple[Recordings, Sequence[Value]] | None = None

    def __repr__(self) -> str:
        seen = ", ".join(str(shapes) for shapes in self._shapes) or "not yet called"
        return f"<compiled {self.__name__}, {self.dtype.name}{', batch' if self.batch else ''}: {seen}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickled as the function and its settings, and recompiled where it is used; if the function was decorated,
        pickled as its name."""
        name = getattr(self.fn, "__qualname__", "")
        found: Any = sys.modules.get(self.__module__)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is self:
            return name
        check_importable(f"the compiled {self.__name__}", "function", self.fn)
        if self.settings.ranks is not None:
            self.settings.ranks.__reduce__()
        uniform = tuple(sorted(self.settings.uniform))
        return again, (
            self.fn, self.batch, self.dtype.name, self.backend, self.threads, self.strict, self._seen(), uniform,
        )  # fmt: skip

    def _seen(self) -> tuple[tuple[int, ...], ...] | None:
        """The shapes of the latest call."""
        return self._remembered if self._latest is None else self._latest.shapes

    # --- values -----------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's value; with a batch, every result has a leading batch axis.

        Arguments are real numbers, or nested lists or arrays of them; a bool counts as 0 or 1. Raises TypeError for
        anything else, such as a Value, None or a string.
        """
        known = self._values  # read once: another thread may replace it
        if known is not None and not kwargs and not is_interpreted():
            self._latest, empty, run = known
            if empty is None:
                value = run(*args)
                if value is not None:
                    return self.dtype.type(value)
            elif run(result := empty(), *args) is not None:
                return result
        if (call := self._known("values", args)) is not None and not kwargs:
            self._values = None if is_interpreted() else call.direct()
            return call.values(None, args)
        arrays, special = self._given(args, kwargs)
        return self._calls.of("values", special, arrays).values(None, arrays)

    def value(self, theta: Any, *args: Any, **kwargs: Any) -> Any:
        """The function's value at parameters `theta`, an array in the order of `parameters`, as `value_and_grad` takes
        it: no Value is read or written. Raises ValueError for a theta of the wrong size, and TypeError if theta or an
        argument is missing."""
        if theta is None:
            raise arguments.no_theta(self.settings, "value")
        if (call := self._known("values", args)) is not None and not kwargs:
            return call.values(theta, args)
        try:
            arrays, special = self._given(args, kwargs)
        except TypeError:
            arguments.check_with_theta(self.settings, "value", args, kwargs)
            raise
        return self._calls.of("values", special, arrays).values(theta, arrays)

    # --- gradients --------------------------------------------------------------------------------------------------

    def backward(self, *args: Any, **kwargs: Any) -> float:
        """Add the gradient of the (mean) value to `.grad` of every parameter; returns that value.

        Raises TypeError if the function's result is not one scalar.
        """
        arrays, special = self._given(args, kwargs)
        value, gradient = self._calls.of("gradient", special, arrays).value_and_grad(None, arrays)
        for parameter, g in zip(special.parameters, gradient.tolist(), strict=True):
            parameter._grad += g
        return value

    def value_and_grad(self, theta: Any, *args: Any, **kwargs: Any) -> tuple[float, NDArray[Any]]:
        """The (mean) value and its gradient at parameters `theta`, an array in the order of `parameters`.

        Reads and writes no Values. Raises ValueError for a theta of the wrong size, and TypeError if theta or an
        argument is missing.
        """
        known = self._direct  # read once: another thread may replace it
        if known is not None and not kwargs:
            self._latest, empty, run = known
            assert empty is not None
            value = run(theta, gradient := empty(), *args)
            if value is not None:
                return value, gradient
        if theta is None:
            raise arguments.no_theta(self.settings, "value_and_grad")
        if (call := self._known("gradient", args)) is not None and not kwargs:
            self._direct = call.direct()
            return call.value_and_grad(theta, args)
        try:
            arrays, special = self._given(args, kwargs)
        except TypeError:
            arguments.check_with_theta(self.settings, "value_and_grad", args, kwargs)
            raise
        return self._calls.of("gradient", special, arrays).value_and_grad(theta, arrays)

    def bind(self, *args: Any, **kwargs: Any) -> Bound | BoundResults:
        """Fixed buffers for these arguments, checked once, for calls with the least overhead.

        For a function that returns one scalar, a `Bound`, which computes the value and its gradient with respect to the
        parameters; for several results, such as `mg.compile(mg.grad(f))`, a `BoundResults`, which computes these.
        """
        arrays, special = self._given(args, kwargs)
        return Bound(special, arrays) if special.is_scalar else BoundResults(special, arrays)

    # --- parameters -------------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> list[Value]:
        """The leaf Values that the function closed over, in the order in which its sums of products first use them: the
        order of `theta`, of `value_and_grad`'s gradient and of bound calls.

        This is not the order of `model.parameters()`: a `Neuron`, which adds its weights' products to its bias, has the
        bias first, and unused parameters are missing. `names` and `places` tell which is which.

        Known once the function has been traced: raises RuntimeError before its first call.
        """
        return list(self._traced().parameters)

    def names(self, named: dict[str, Value] | None = None) -> list[str]:
        """The name of each of `parameters`: its name in `named` (as from `model.named_parameters()`), else its label,
        else its position, as in "theta[3]"."""
        return parameters.names(self._traced().parameters, named)

    def places(self, values: Iterable[Value]) -> NDArray[np.int64]:
        """The index of each of these Values in `parameters`: with `at = f.places(model.parameters())`, `theta[at]` is
        in the model's order, and `theta[at] = numbers` writes it.

        Raises ValueError for a Value that the function does not use.
        """
        return parameters.places(self._traced().parameters, values, self.__name__)

    def theta(self) -> NDArray[np.float64]:
        """The parameters' numbers as one array."""
        return np.array(numbers_of(self._traced().parameters))

    def assign(self, theta: Any) -> None:
        """Write one array back into the parameters. Raises ValueError, and writes nothing, if the size is wrong."""
        special = self._traced()
        write_numbers(special.parameters, map(float, special.check_theta(theta).tolist()))

    def _traced(self) -> Specialised:
        if self._latest is None and self._signature is not None and not self._signature.parameters:
            self._prepare((), {})  # without arguments there is only one set of shapes
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
        """Describe in words what the compiler found: array instructions with shapes, and scalars that did not roll.

        With arguments, for their shapes; otherwise for the latest call. `names` (as from `named_parameters()`) name the
        parameters; otherwise their labels do.
        """
        from macrograd.compiler.explain.explain import explain

        if names is not None:
            parameters.check_names(f"explain(names={names!r})", names)
        if args or kwargs:
            _, special = self._prepare(args, kwargs)
        else:
            special = self._traced()
        return explain(special.source, special.shapes, self.settings, names)

    def profile(self, *args: Any, **kwargs: Any) -> Profile:
        """The time of each array instruction of the gradient (of the values, if the result is not one scalar) on these
        arguments, its share, and its arithmetic rate against the machine's peak. Print it.

        Raises RuntimeError if the program does not run on LLVM.
        """
        arrays, special = self._prepare(args, kwargs)
        samples = special.samples(arrays)
        what = "gradient" if special.is_scalar else "values"
        prepared = special.prepared(what, samples, one=samples == 1)
        if not prepared.executable.profiles:
            raise RuntimeError(f"{self.__name__} runs on NumPy, but profile() times native code: it needs LLVM")
        state = prepared.state(samples)
        special.fill(state)
        special.load(state, arrays)
        return prepared.executable.profile(state)

    # --- arguments --------------------------------------------------------------------------------------------------

    def _known(self, what: str, args: tuple[Any, ...]) -> Call | None:
        """The program of an earlier call with such arguments, which need no closer look."""
        call = self._calls.find(what, args)
        if call is not None:
            self._latest = call.special
        return call

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[NDArray[Any]], Specialised]:
        """`_prepare` for a call, which tells the other ranks of an error if each passes its own rows."""
        if not self.settings.own_rows:
            return self._prepare(args, kwargs)
        try:
            return self._prepare(args, kwargs)
        except BaseException as error:
            assert self.settings.ranks is not None
            self.settings.ranks.leave(error)
            raise

    def _prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[NDArray[Any]], Specialised]:
        arrays, shapes = arguments.read(self.settings, args, kwargs)
        special = self._shapes.get(shapes)
        if special is None:
            special = self._specialise(shapes)
        self._latest = special
        return arrays, special

    def _specialise(self, shapes: tuple[tuple[int, ...], ...]) -> Specialised:
        with self._lock:
            if shapes not in self._shapes:
                try:
                    self._shapes[shapes] = self._recorded(shapes)
                except Exception as error:
                    error.add_note(arguments.history(self.settings, shapes, self._shapes))
                    if isinstance(error, (TypeError, IndexError, AttributeError)):
                        error.add_note(arguments.SHAPES)
                    raise
            return self._shapes[shapes]

    def share(self, recordings: Recordings, parameters: Sequence[Value]) -> None:
        """Take what functions that are equal but for their parameters have recorded, and leave them what this one will.
        `parameters` are all that this function may use, in the order of theirs."""
        if shareable(self.settings):
            self._shared = recordings, parameters

    def _recorded(self, shapes: tuple[tuple[int, ...], ...]) -> Specialised:
        if self._shared is None:
            return Specialised(self.settings, shapes)
        recordings, parameters = self._shared
        known = recordings.find(self.settings, shapes, parameters)
        return recordings.keep(Specialised(self.settings, shapes), parameters) if known is None else known


def again(
    fn: Callable[..., Any],
    batch: bool,
    dtype: str,
    backend: str,
    threads: int,
    strict: bool,
    shapes: tuple[tuple[int, ...], ...] | None,
    uniform: tuple[int, ...] = (),
) -> Compiled:
    """The compiled function that was pickled; it is traced at its first call."""
    made = Compiled(
        fn, batch=batch, dtype=dtype, backend=backend, threads=threads, strict=strict, uniform=uniform
    )  # fmt: skip
    made._remembered = shapes
    return made
