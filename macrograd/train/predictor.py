"""The trained model as a function of samples: in blocks for many, with minimal overhead for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.nn import Module
from macrograd.train.data import Samples
from macrograd.train.objective import Objective
from macrograd.train.steps import no_collection, plain
from macrograd.vector import as_argument

Array = NDArray[Any]
_BLOCK = 1024  # rows


class Predictor:
    """The model's outputs, by one of the engines."""

    def __init__(self, model: Module, engine: str, dtype: str, threads: int) -> None:
        self._model, self._engine, self._dtype = model, engine, dtype
        self._compiled: Any = None
        if engine == "compiled":
            from macrograd.compiler import compile as compiled

            def outputs(x: Any) -> Any:
                return model(x)  # type: ignore[operator]  # the trainer made sure of it

            self._compiled = compiled(outputs, batch=True, dtype=dtype, threads=threads)

    def blocks(self, samples: Samples) -> Iterator[tuple[int, Array]]:
        """(first row, outputs (rows,) or (rows, k)) of all blocks."""
        for first, rows in samples.blocks(min(_BLOCK, samples.block)):
            yield first, self._rows(rows)

    def __call__(self, samples: Samples) -> Array:
        """The outputs for all samples: (n,), or (n, k) where the model has several."""
        return np.concatenate([outputs for _, outputs in self.blocks(samples)])

    def _rows(self, rows: Array) -> Array:
        if self._compiled is not None:
            return np.asarray(self._compiled(rows))
        with no_collection():
            return np.array([plain(self._model(row)) for row in as_argument(rows)])  # type: ignore[operator]

    def one(self, shape: tuple[int, ...], anew: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A function from one sample of this shape to the output, a float or a list of floats, with the parameters as
        they are now; `anew` may be asked instead once they have been written."""
        from macrograd.train import one as single

        if self._compiled is not None:
            return single.bound(self._compiled, shape, anew)

        def one(x: Any) -> Any:
            row = as_argument(single.sample(x, shape, self._dtype))
            with no_collection():
                return plain(self._model(row))  # type: ignore[operator]  # the trainer made sure of it

        return one


class Measure:
    """The mean loss over samples, without penalties."""

    def __init__(self, objective: Objective, engine: str, dtype: str, threads: int) -> None:
        self._objective, self._compiled = objective, None
        if engine == "compiled":
            from macrograd.compiler import compile as compiled

            self._compiled = compiled(objective.sample, batch=True, dtype=dtype, threads=threads)

    def __call__(self, samples: Samples, targets: Array, weights: Array | None = None) -> float:
        total = 0.0
        for first, rows in samples.blocks(min(_BLOCK, samples.block)):
            arguments = [rows, targets[first : first + len(rows)]]
            if weights is not None:
                arguments.append(weights[first : first + len(rows)])
            total += float(np.sum(self._losses(arguments), dtype=np.float64))
        return total / samples.count

    def _losses(self, arguments: list[Array]) -> Any:
        if self._compiled is not None:
            return self._compiled(*arguments)
        with no_collection():
            rows = zip(*[as_argument(argument) for argument in arguments], strict=True)
            return [float(self._objective.sample(*row)) for row in rows]
