"""The cheapest call: a compiled function on buffers that stay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler import parameters
from macrograd.compiler.specialised import Specialised, results
from macrograd.value import Value


class Held:
    """A compiled function on buffers that stay: `step()` computes its result from whatever they hold.

    theta       the parameters, to read and to write; as the Values held them when this was bound. They are in the order
                of `parameters`, which is that in which the function first uses them (see `Compiled.parameters`) and not
                that of `model.parameters()`: `names` says what each is, `places` where each of the model's stands
    parameters  the Values themselves, in that order
    arguments   the arguments' own buffers, in order, to write new samples into

    Not for several threads at once. Raises IndexError as the function does.
    """

    def __init__(self, special: Specialised, arrays: list[NDArray[Any]], what: str) -> None:
        samples = special.samples(arrays)
        plan = special.plan(what, samples)
        state = plan.state(samples)
        special.fill(state)
        buffers = special.uniform_buffers(state)
        buffers |= {k: state.buffer(i).reshape(arrays[k].shape) for i, k in enumerate(special.varying)}
        self.arguments = [buffers[k] for k in range(len(arrays))]
        for buffer, array in zip(self.arguments, arrays, strict=True):
            np.copyto(buffer, array, casting="unsafe")
        self._special, self._plan, self._state = special, plan, state
        self._run = state.run
        self._takes = plan.executable.takes
        self.parameters = list(special.parameters)
        self.theta = state.u[: len(special.parameters)]

    def names(self, named: dict[str, Value] | None = None) -> list[str]:
        """What each number of `theta` is called; see `Compiled.names`."""
        return parameters.names(self.parameters, named)

    def places(self, values: Iterable[Value]) -> NDArray[np.int64]:
        """Where in `theta` each of these Values stands; see `Compiled.places`."""
        return parameters.places(self.parameters, values, self._special.settings.name)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a bound call of {self._special.settings.name} holds memory of this process and cannot be pickled or "
            "copied: pickle the compiled function, and bind() it again there"
        )


class Bound(Held):
    """What `bind` gives for a function of one scalar: `step()` computes the value and its gradient by the parameters.

    gradient   of the latest step, in the order of `theta`
    value      of the latest step, with a batch the mean; also what `step()` returns

    For the rest see `Held`.
    """

    def __init__(self, special: Specialised, arrays: list[NDArray[Any]]) -> None:
        super().__init__(special, arrays, "gradient")
        first = self._plan.program.results[0][1]
        self._value = self._state.u.data[first : first + 1]
        self.gradient = results(self._plan.program, self._state)[1]

    @property
    def value(self) -> float:
        return float(self._value[0])

    def __call__(self) -> float:
        self._run()
        if self._takes:
            self._special.check_indices(self._plan, self._state)
        found: float = self._value[0]
        return found


class BoundResults(Held):
    """What `bind` gives for a function of several results, such as `mg.grad(f)`: `step()` computes them.

    results    of the latest step, nested as the function's, with the batch in front: arrays that stay, and that the
               next step writes again (copy what is to be kept). Also what `step()` returns

    For the rest see `Held`.
    """

    def __init__(self, special: Specialised, arrays: list[NDArray[Any]]) -> None:
        super().__init__(special, arrays, "bound")
        self._copied: list[tuple[NDArray[Any], NDArray[np.int64]]] = []  # what does not stand in the buffers as it is
        self.results = special.map_results(self._array)

    def __getattr__(self, name: str) -> NoReturn:
        remedy = ""
        if name in ("value", "gradient"):
            remedy = ": it returns several results, and they are in step.results; one scalar alone has a gradient here"
        raise AttributeError(f"a bound call of {self.__dict__['_special'].settings.name} has no {name!r}{remedy}")

    def _array(self, which: NDArray[np.int64]) -> NDArray[Any]:
        """Where the results of these numbers will be found: a view of a buffer, if they stand side by side in one."""
        samples = self._state.samples
        batch = (samples,) if self._special.settings.batch else ()
        slots, varying = self._plan.slots[which].ravel(), self._plan.varying[which].ravel()
        side_by_side = bool((np.diff(slots) == 1).all()) and len(slots) > 0
        if side_by_side and not varying.any():
            found = self._state.u[slots[0] : slots[0] + len(slots)].reshape(which.shape)
            return np.broadcast_to(found, (*batch, *which.shape))
        first = self._plan.program.first_output
        if side_by_side and varying.all() and slots[0] >= first:
            columns: NDArray[Any] = self._state.out[:, slots[0] - first : slots[-1] - first + 1]
            return columns.reshape(*batch, *which.shape)
        copy = np.empty((*batch, *which.shape), self._special.settings.dtype)
        self._copied.append((copy, which.ravel()))
        return copy

    def __call__(self) -> Any:
        self._run()
        if self._takes:
            self._special.check_indices(self._plan, self._state)
        if self._copied:
            table = self._special.table(self._plan, self._state)
            for copy, which in self._copied:
                copy.reshape(len(table), -1)[:] = table[:, which]
        return self.results
