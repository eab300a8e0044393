"""The gradient by many numbers, of a function that closes over them as Values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg


class Slopes:
    """The gradient of fn(values, *args) by `values`; with a batch the gradient of the sum over the samples.

    Parameters, and not arguments: an argument is one traced value for each of its numbers, whereas only those
    parameters are traced that the rounds written of a long loop read. And a gradient by parameters is added up over
    the samples.
    """

    def __init__(
        self, fn: Callable[..., Any], numbers: Sequence[float] | NDArray[np.float64], *, batch: bool = False
    ) -> None:
        self.values = [mg.Value(x) for x in np.asarray(numbers, dtype=np.float64).tolist()]
        self.batch = batch
        self.compiled = mg.compile(lambda *args: fn(self.values, *args), batch=batch)
        self._theta: NDArray[np.float64] | None = None

    def __call__(self, *args: Any) -> NDArray[np.float64]:
        """Compiled at the first call."""
        samples = len(args[0]) if self.batch else 1
        if self._theta is None:
            self.compiled.backward(*args)  # traces, which says the parameters that fn uses, and their order
            place = {id(value): k for k, value in enumerate(self.values)}
            self._places = np.array([place[id(p)] for p in self.compiled.parameters], dtype=np.int64)
            self._theta = self.compiled.theta()
            return samples * np.array([value.grad for value in self.values])
        _, slopes = self.compiled.value_and_grad(self._theta, *args)
        found = np.zeros(len(self.values))  # a value that fn does not use has the derivative 0
        found[self._places] = slopes
        found *= samples
        return found
