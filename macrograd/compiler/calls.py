"""Calls of a compiled function: numbers into buffers, run, results out, with little in Python.

The first call with arguments of some shapes makes a `Call`, and views of its buffers in these shapes; later ones find
them. From the second on, values and gradients are computed by a function in native code that takes the arrays
themselves (`Direct`), if the target has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.specialised import FEW_SIZES, Prepared, Specialised, results
from macrograd.compiler.targets.target import COPY_BYTES, State

_MOST_KNOWN = 16

# A compiled function's programs, what makes an array for a gradient, and what takes it, theta and the arguments, and
# returns the value.
Direct = tuple[Specialised, Callable[[], NDArray[Any]], Callable[..., float | None]]


@dataclass(slots=True)
class Views:
    """Views of the buffers of a call.

    theta      the parameters' memory, which takes arrays of their number and type only
    arguments  the arguments in the caller's shapes; None if the state reads some in place, or shares a batch
    run        computes everything, and returns the value of a differentiated program
    gradient   of such a program
    result     the results in the caller's shape, if they are one array in one piece of a buffer
    """

    theta: Any
    arguments: list[NDArray[Any]] | None
    run: Callable[[], Any]
    gradient: Any = None
    result: NDArray[Any] | None = None


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
        if samples not in prepared.direct:
            # Baseline code calls Python at times, which would let another thread in.
            if not prepared.executable.settled(samples):
                return None
            if len(prepared.direct) >= FEW_SIZES:
                prepared.direct.clear()
            prepared.direct[samples] = self._direct()
        found = prepared.direct[samples]
        return None if found is None else (self.special, *found)

    def _direct(self) -> tuple[Callable[[], Any], Callable[..., Any]] | None:
        prepared = self.prepared
        state = prepared.state(self.samples)
        views = _views(self.special, prepared, state)
        if views.arguments is None:
            return None
        inputs = [state.u[: len(self.special.parameters)], *views.arguments]
        buffers = [(views.gradient, True), *[(view, False) for view in inputs]]
        run = state.taker(prepared.program.results[0][1], buffers)
        empty = partial(np.empty, len(views.gradient), views.gradient.dtype)
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
            table = special.table(prepared, state)
        finally:
            prepared.give(samples, state)
        return special.map_results(lambda which: _picked(special, which, table))

    def _loaded(self, state: State, theta: Any, arrays: Sequence[Any]) -> Views:
        """Write the numbers of a call into a state."""
        special = self.special
        views: Views = state.views
        if views is None:
            views = state.views = _views(special, self.prepared, state)
        if theta is None:
            special.fill(state)
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
        return views


class Calls:
    """The latest calls of a compiled function, by what they compute and the shapes of their arguments."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._known: dict[tuple[Any, ...], Call] = {}

    def find(self, what: str, args: tuple[Any, ...]) -> Call | None:
        """That of arrays of the function's type, or of Python's floats; None if there is none for these shapes, or an
        argument needs a closer look."""
        dtype, array = self._dtype, np.ndarray
        key: list[Any] = [what]
        for x in args:
            kind = x.__class__
            if kind is array and x.dtype is dtype:
                key.append(x.shape)
            elif kind is float:
                key.append(())
            else:
                return None
        return self._known.get(tuple(key))

    def new(self, what: str, special: Specialised, arrays: list[NDArray[Any]]) -> Call:
        """A call with these arrays, which is remembered."""
        made = Call(special, what, special.samples(arrays))
        if len(self._known) >= _MOST_KNOWN:
            self._known = {}
        self._known[what, *[x.shape for x in arrays]] = made
        return made


def _views(special: Specialised, prepared: Prepared, state: State) -> Views:
    rows = (state.samples,) if special.settings.batch else ()
    arguments: list[NDArray[Any]] | None = None
    most = max(special.sizes, default=0) * state.samples * special.settings.dtype.itemsize
    if state.shared is None and most <= COPY_BYTES:
        buffers = special.uniform_buffers(state)
        buffers |= {k: state.buffer(i).reshape((*rows, *special.shapes[k])) for i, k in enumerate(special.varying)}
        arguments = [buffers[k] for k in range(len(special.shapes))]
    found = Views(state.u[: len(special.parameters)].data, arguments, state.run)
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


def _picked(special: Specialised, which: NDArray[np.int64], table: NDArray[Any]) -> Any:
    """The results in the shape of their numbers, from a table of (samples, results)."""
    if which is special.nesting and isinstance(special.row, slice) and table.flags.writeable:
        found = table[:, special.row]  # the table is its own
    else:
        found = table[:, which.ravel()]
    found = found.reshape(len(table), *which.shape)
    return found if special.settings.batch else found[0]
