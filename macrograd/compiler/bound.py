"""Calls with the least overhead: a compiled function bound to fixed buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler import parameters
from macrograd.compiler.gather import Gather
from macrograd.compiler.specialised import Specialised, results
from macrograd.compiler.targets.target import State, narrowing
from macrograd.compiler.trace.guard import bound_calls
from macrograd.value import Value

if TYPE_CHECKING:
    from macrograd.ranks.own import OwnRows


class BoundCall:
    """A compiled function bound to fixed buffers: `step()` computes its result from their current contents.

    theta       the parameters, readable and writable; initially the Values' numbers at the time of binding. The order
                is that of `parameters`, the order of first use (see `Compiled.parameters`), not that of
                `model.parameters()`: `names` gives the name of each, `places` the index of each of the model's
    parameters  the Values themselves, in that order
    arguments   the arguments' buffers, in order, to write new samples into

    Not thread-safe. Raises IndexError as the function does.
    """

    def __init__(self, special: Specialised, arrays: list[NDArray[Any]], what: str) -> None:
        own = special.own(arrays) if special.settings.own_rows else None
        samples = special.samples(arrays) if own is None else own.samples
        prepared = special.prepared(what, samples, one=samples == 1)
        state = prepared.state(samples if own is None else len(own.computed), own)
        special.fill(state)
        buffers = special.uniform_buffers(state)
        for i, k in enumerate(special.varying):
            buffers[k] = (
                state.buffer(i).reshape(arrays[k].shape) if own is None else np.empty(arrays[k].shape, state.u.dtype)
            )
        self.arguments = [buffers[k] for k in range(len(arrays))]
        with narrowing(special.settings.dtype):
            for buffer, array in zip(self.arguments, arrays, strict=True):
                np.copyto(buffer, array, casting="unsafe")
        self._special, self._prepared, self._state, self._own = special, prepared, state, own
        self._run = state.run if own is None else partial(_run_own, special, state, own, self.arguments)
        bound_calls.add(self)
        self._takes = prepared.executable.takes
        self.parameters = list(special.parameters)
        self.theta = state.u[: len(special.parameters)]

    def names(self, named: dict[str, Value] | None = None) -> list[str]:
        """The name of each number of `theta`; see `Compiled.names`."""
        return parameters.names(self.parameters, named)

    def places(self, values: Iterable[Value]) -> NDArray[np.int64]:
        """The index in `theta` of each of these Values; see `Compiled.places`."""
        return parameters.places(self.parameters, values, self._special.settings.name)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a bound call of {self._special.settings.name} holds memory of this process and cannot be pickled or "
            "copied: pickle the compiled function, and bind() it again there"
        )


def _run_own(special: Specialised, state: State, own: OwnRows, arguments: list[NDArray[Any]]) -> None:
    special.load(state, arguments, own)
    state.run()


class Bound(BoundCall):
    """The result of `bind` for a function that returns one scalar: `step()` computes the value and its gradient with
    respect to the parameters.

    gradient   of the latest step, in the order of `theta`
    value      of the latest step, with a batch the mean; `step()` also returns it

    For the rest see `BoundCall`.
    """

    _quick: Callable[[], float] | None

    def __init__(self, special: Specialised, arrays: list[NDArray[Any]]) -> None:
        super().__init__(special, arrays, "gradient")
        first = self._prepared.program.results[0][1]
        self._value = self._state.u.data[first : first + 1]
        self.gradient = results(self._prepared.program, self._state)[1]
        self._fresh, self._quick = True, None

    @property
    def value(self) -> float:
        """The value of the latest step; with a batch, the mean."""
        return float(self._value[0])

    def __call__(self) -> float:
        run = self._quick
        found: float = self._first() if run is None else run()
        if self._takes:
            self._special.check_indices(self._prepared, self._state)
        return found

    def _first(self) -> float:
        """One of the first steps: making a built-in function takes milliseconds, which a single one does without."""
        if self._fresh or self._own is not None:
            self._fresh = False
            self._run()
            return float(self._value[0])
        self._quick = self._state.runner(self._prepared.program.results[0][1])
        return self._quick()


class BoundResults(BoundCall):
    """The result of `bind` for a function with several results, such as `mg.grad(f)`: `step()` computes them.

    results    of the latest step, nested as the function's, with a leading batch axis: fixed arrays that the next step
               overwrites (copy what you want to keep). `step()` also returns them

    For the rest see `BoundCall`.
    """

    def __init__(self, special: Specialised, arrays: list[NDArray[Any]]) -> None:
        super().__init__(special, arrays, "bound")
        self._copied: list[tuple[NDArray[Any], NDArray[np.int64], Gather]] = []  # results outside the buffers
        self.results = special.map_results(self._array)

    def __getattr__(self, name: str) -> NoReturn:
        remedy = ""
        if name in ("value", "gradient"):
            remedy = (
                ": the function returns several results, which are in step.results; only one scalar has a gradient here"
            )
        raise AttributeError(f"a bound call of {self.__dict__['_special'].settings.name} has no {name!r}{remedy}")

    def _array(self, which: NDArray[np.int64]) -> NDArray[Any]:
        """The array that will hold these results: a view of a buffer if they are contiguous in one."""
        own = self._own
        samples = self._state.samples if own is None else len(own.rows)
        batch = (samples,) if self._special.settings.batch else ()
        slots, varying = self._prepared.slots[which].ravel(), self._prepared.varying[which].ravel()
        side_by_side = bool((np.diff(slots) == 1).all()) and len(slots) > 0
        if side_by_side and own is None and not varying.any():
            found = self._state.u[slots[0] : slots[0] + len(slots)].reshape(which.shape)
            return (
                found.reshape(*batch, *which.shape) if batch == (1,) else np.broadcast_to(found, (*batch, *which.shape))
            )
        first = self._prepared.program.first_output
        if side_by_side and own is None and varying.all() and slots[0] >= first:
            columns: NDArray[Any] = self._state.out[:, slots[0] - first : slots[-1] - first + 1]
            return columns.reshape(*batch, *which.shape)
        copy = np.empty((*batch, *which.shape), self._special.settings.dtype)
        self._copied.append(
            (copy.reshape(samples, len(slots)), which.ravel(), self._special.gather(self._prepared, which))
        )
        return copy

    def __call__(self) -> Any:
        self._run()
        if self._takes:
            self._special.check_indices(self._prepared, self._state)
        if self._copied and self._own is None:
            for copy, _, gather in self._copied:
                gather.into(copy, self._state)
        elif self._copied:
            table = self._special.table(self._prepared, self._state, self._own)
            for copy, which, _ in self._copied:
                copy[:] = table[:, which]
        return self.results
