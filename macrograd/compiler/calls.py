"""Calls of a compiled function: numbers into buffers, run, results out, with little in Python.

The first call with arguments of some shapes makes a `Call`, and views of its buffers in these shapes; later ones find
them. From the second on, one array of results, or a value and its gradient, is computed by a function in native code
that takes the arrays and the parameters themselves (`Direct`), if the target has one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.jit.buffers import GIVEN, OBJECTS, RESULT
from macrograd.compiler.specialised import FEW_SIZES, Prepared, Specialised, results
from macrograd.compiler.targets.target import COPY_BYTES, State, narrowing
from macrograd.value import Value

_MOST_KNOWN = 16
_EXACT = 2**53  # integers up to this are floats

# A compiled function's programs; what makes an array for the results, if they are not one number; and what computes
# them. It takes theta, unless the parameters are the Values' own numbers, then the array, then the arguments, and
# returns the first number, or None if an argument needs a closer look.
Direct = tuple[Specialised, Callable[[], NDArray[Any]] | None, Callable[..., float | None]]


@dataclass(slots=True)
class Views:
    """Views of the buffers of a call.

    theta      the parameters' memory, which takes arrays of their number and type only
    arguments  the arguments in the caller's shapes; None if the state reads some in place, or shares a batch
    run        computes everything, and returns the value of a differentiated program
    gradient   of such a program
    result     the results in the caller's shape, if they are one array in one piece of a buffer
    narrow     whether the caller's numbers may be beyond those of the buffers
    """

    theta: Any
    arguments: list[NDArray[Any]] | None
    run: Callable[[], Any]
    gradient: Any = None
    result: NDArray[Any] | None = None
    narrow: bool = False


@cache
def place_of_number() -> int:
    """Where a Value has its number; 0, which no float is at, if it is not found."""
    some = Value(0.1)
    places = range(object.__basicsize__, Value.__basicsize__, ctypes.sizeof(ctypes.c_size_t))
    return next((k for k in places if ctypes.c_size_t.from_address(id(some) + k).value == id(some.data)), 0)


class Call:
    """A program for calls with arguments of given shapes and a number of samples; `what` as `Specialised.prepared` has
    it."""

    __slots__ = "prepared", "samples", "special", "takes"

    def __init__(self, special: Specialised, what: str, samples: int) -> None:
        self.special, self.samples = special, samples
        self.prepared = special.prepared(what, samples, one=samples == 1)
        self.takes = self.prepared.program.takes()

    def value_and_grad(self, theta: Any, arrays: Sequence[Any]) -> tuple[float, NDArray[Any]]:
        """The value and its gradient; `theta` is None for the Values' own numbers."""
        prepared, samples = self.prepared, self.samples
        state = prepared.take(samples)
        try:
            views = self._loaded(state, theta, arrays)
            value = views.run()
            if self.takes:
                self.special.check_indices(prepared, state)
            return value, views.gradient.copy()
        finally:
            prepared.give(samples, state)

    def direct(self) -> Direct | None:
        """Calls without copies in Python, and with Python's lock as their only one; None if there are none for these
        arguments, or not yet."""
        prepared, samples = self.prepared, self.samples
        # Other threads may empty these tables at any time.
        found = prepared.direct.get(samples, ...)
        if found is ...:
            # Baseline code calls Python at times, which would let another thread in.
            if not prepared.executable.settled(samples):
                return None
            if len(prepared.direct) >= FEW_SIZES:
                prepared.direct.clear()
            found = prepared.direct[samples] = self._direct()
        if found is None:
            return None
        empty, run = found
        if not prepared.differentiated:
            run = partial(run, np.array([id(p) for p in self.special.parameters], dtype=np.int64))
        return self.special, empty, run

    def _direct(self) -> tuple[Callable[[], Any] | None, Callable[..., Any]] | None:
        prepared = self.prepared
        state = prepared.state(self.samples)
        views = _views(self.special, prepared, state)
        result = views.gradient if prepared.differentiated else views.result
        if views.arguments is None or result is None:
            return None
        theta = state.u[: len(self.special.parameters)], GIVEN if prepared.differentiated else OBJECTS
        results = [(result, RESULT)] if result.ndim else []
        space, slot = prepared.program.results[0]
        buffers = [theta, *results, *[(view, GIVEN) for view in views.arguments]]
        run = state.taker(slot if space == "u" else 0, buffers, place_of_number())
        empty = partial(np.empty, result.shape, result.dtype) if result.ndim else None
        return None if run is None else (empty, run)

    def values(self, theta: Any, arrays: Sequence[Any]) -> Any:
        """The results in their nesting."""
        prepared, samples, special = self.prepared, self.samples, self.special
        state = prepared.take(samples)
        try:
            views = self._loaded(state, theta, arrays)
            views.run()
            if self.takes:
                special.check_indices(prepared, state)
            result = views.result
            if result is not None:
                return result.copy() if result.ndim else result[()]
            return special.results(prepared, state)
        finally:
            prepared.give(samples, state)

    def _loaded(self, state: State, theta: Any, arrays: Sequence[Any]) -> Views:
        """Write the numbers of a call into a state."""
        views: Views = state.views
        if views is None:
            views = state.views = _views(self.special, self.prepared, state)
        if views.narrow:
            with narrowing(self.special.settings.dtype):
                self._write(state, views, theta, arrays)
        else:
            self._write(state, views, theta, arrays)
        return views

    def _write(self, state: State, views: Views, theta: Any, arrays: Sequence[Any]) -> None:
        special = self.special
        if theta.__class__ is not np.ndarray:  # a masked array holds numbers that are not to be read
            special.fill(state, theta)
        else:
            try:
                views.theta[:] = theta
            except (TypeError, ValueError, NotImplementedError):  # numbers of another kind, or not as many
                special.fill(state, theta)
        if views.arguments is None:
            special.load(state, [np.asarray(x) for x in arrays])
        else:
            for view, array in zip(views.arguments, arrays, strict=True):
                view[...] = array


class Calls:
    """The latest calls of a compiled function, by what they compute and the shapes of their arguments."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._known: dict[tuple[Any, ...], Call] = {}

    def find(self, what: str, args: tuple[Any, ...]) -> Call | None:
        """That of arrays of the function's type, or of Python's numbers; None if there is none for these shapes, or an
        argument needs a closer look."""
        dtype, array = self._dtype, np.ndarray
        key: list[Any] = [what]
        for x in args:
            kind = x.__class__
            if kind is array and x.dtype is dtype:
                key.append(x.shape)
            elif kind is float or (kind is int and -_EXACT <= x <= _EXACT):
                key.append(())
            else:
                return None
        return self._known.get(tuple(key))

    def of(self, what: str, special: Specialised, arrays: list[NDArray[Any]]) -> Call:
        """That of these arrays, which is remembered."""
        key = (what, *[x.shape for x in arrays])
        call = self._known.get(key)  # looked up once: another thread may empty the table
        if call is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known = {}
            call = self._known[key] = Call(special, what, special.samples(arrays))
        return call


def _views(special: Specialised, prepared: Prepared, state: State) -> Views:
    rows = (state.samples,) if special.settings.batch else ()
    arguments: list[NDArray[Any]] | None = None
    most = max(special.sizes, default=0) * state.samples * special.settings.dtype.itemsize
    if state.shared is None and most <= COPY_BYTES:
        buffers = special.uniform_buffers(state)
        buffers |= {k: state.buffer(i).reshape((*rows, *special.shapes[k])) for i, k in enumerate(special.varying)}
        arguments = [buffers[k] for k in range(len(special.shapes))]
    found = Views(
        state.u[: len(special.parameters)].data, arguments, state.run, narrow=special.settings.dtype.itemsize < 8
    )
    if prepared.differentiated:
        found.run = State.runner(state, prepared.program.results[0][1])  # `direct` has the built-in function
        found.gradient = results(prepared.program, state)[1]
    elif isinstance(special.row, slice):
        found.result = _in_one_piece(prepared, state, special.row, (*rows, *special.nesting.shape))
    return found


def _in_one_piece(prepared: Prepared, state: State, row: slice, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """The view of the only array of results, if there is one."""
    if prepared.is_output:
        part = state.out[:, row]
    elif prepared.uniform and isinstance(prepared.places, slice) and state.samples == 1:
        part = state.u[prepared.places][row]
    else:
        return None
    found: NDArray[Any] = part.reshape(shape)
    return found if np.shares_memory(found, part) else None
