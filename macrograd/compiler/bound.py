"""The cheapest call: a compiled function on buffers that stay."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.specialised import Specialised, results


class Bound:
    """A compiled scalar function on buffers that stay: `step()` computes value and gradient from whatever they hold.

    theta      the parameters, to read and to write; as the Values held them when this was bound
    arguments  the arguments' own buffers, in order, to write new samples into
    gradient   of the latest step, in the order of `theta`
    value      of the latest step; also what `step()` returns

    Not for several threads at once. Raises IndexError as the function does.
    """

    def __init__(self, special: Specialised, arrays: list[NDArray[Any]]) -> None:
        samples = len(arrays[0]) if special.settings.batch else 1
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
            f"a bound call of {self._special.settings.name} holds memory of this process and cannot be pickled or "
            "copied: pickle the compiled function, and bind() it again there"
        )

    def __call__(self) -> float:
        self._run(self._address)
        if self._takes:
            self._special.check_indices(self._plan, self._state)
        found: float = self._value[0]
        return found
