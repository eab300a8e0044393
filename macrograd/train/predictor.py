"""The trained model as a function of samples: in blocks for many, with minimal overhead for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.nn import Module, Scaled
from macrograd.ranks.ranks import Ranks
from macrograd.train.graphs import no_collection, plain
from macrograd.train.known import shared
from macrograd.train.objective import Objective
from macrograd.train.samples.data import Samples
from macrograd.train.samples.split import Part
from macrograd.value import Value
from macrograd.vector import as_argument

Array = NDArray[Any]
Numbers = tuple[list[Value], Array]  # parameters, and one number for each
_BLOCK = 1024  # rows


class Predictor:
    """The model's outputs, by one of the engines.

    apart  whether the model is an `nn.Scaled` and samples are already scaled, so that only the net inside runs
    """

    def __init__(self, model: Module, engine: str, dtype: str, threads: int, *, apart: bool = False) -> None:
        self._model, self._engine, self._dtype, self._threads = model, engine, dtype, threads
        self._scaled = model if apart and isinstance(model, Scaled) else None
        self._net: Any = self._scaled.net if self._scaled is not None else model
        self._compiled = self._compile(self._net)
        self._places = _Places()

    def _compile(self, net: Any) -> Any:
        if self._engine != "compiled":
            return None
        from macrograd.compiler import compile as compiled

        def outputs(x: Any) -> Any:
            return net(x)

        return shared(compiled(outputs, batch=True, dtype=self._dtype, threads=self._threads), "outputs", net)

    def blocks(self, samples: Samples) -> Iterator[tuple[int, Array]]:
        """(first row, outputs (rows,) or (rows, k)) of all blocks."""
        for first, rows in samples.blocks(min(_BLOCK, samples.block)):
            yield first, self._rows(rows)

    def each(self, samples: Samples, answer: Callable[[Array], Array]) -> Array:
        """What `answer` makes of the outputs, (n, …), without holding those of all samples: those for thousands of
        classes fill the memory."""
        return np.concatenate([answer(outputs) for _, outputs in self.blocks(samples)])

    def __call__(self, samples: Samples, ranks: Ranks | None = None, numbers: Numbers | None = None) -> Array:
        """The outputs for all samples: (n,), or (n, k) if the model has several. With `ranks`, each computes some;
        `numbers` are the parameters' numbers, if the Values hold others."""
        if numbers is not None:
            return np.concatenate([self._rows(rows, numbers) for _, rows in samples.blocks(min(_BLOCK, samples.block))])
        size = min(_BLOCK, samples.block)
        count = -(-samples.count // size)
        if ranks is None or ranks.size == 1 or count < ranks.size:
            return np.concatenate([outputs for _, outputs in self.blocks(samples)])
        mine = np.concatenate([self._rows(rows) for _, rows in samples.blocks(size, ranks.share(count))])
        ends = np.cumsum([0, *ranks.shares(count)]) * size
        return ranks.gathered("outputs", mine, np.diff(np.minimum(ends, samples.count)).tolist())

    def _rows(self, rows: Array, numbers: Numbers | None = None) -> Array:
        with no_collection():  # of what a first call traces, too
            if self._compiled is not None:
                found = np.asarray(self._places.called(self._compiled, [rows], numbers))
            else:
                found = np.array([plain(self._net(row)) for row in as_argument(rows)])
        if self._scaled is None or self._scaled.answers_as_they_are:
            return found
        scaled = found * np.array(self._scaled.output_unit) + np.array(self._scaled.output_middle)
        return np.asarray(scaled.astype(found.dtype))

    def one(self, shape: tuple[int, ...], renewed: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A function from one sample of this shape to the output, a float or a list of floats, with the current
        parameters; `renewed` is called instead once they have been written."""
        from macrograd.train import one as single

        if self._compiled is not None:
            whole = self._compiled if self._scaled is None else self._compile(self._model)
            return single.bound(whole, shape, renewed)

        def one(x: Any) -> Any:
            row = as_argument(single.sample(x, shape, self._dtype))
            with no_collection():
                return plain(self._model(row))  # type: ignore[operator]  # the trainer made sure of it

        return one


class _Places:
    """Calls a compiled function with numbers given for its parameters, and remembers where these stand."""

    def __init__(self) -> None:
        self._known: tuple[Any, Array] | None = None

    def called(self, compiled: Any, arguments: list[Array], numbers: Numbers | None) -> Any:
        """Its result; with the Values' own numbers if none are given."""
        if numbers is None:
            return compiled(*arguments)
        if self._known is None or self._known[0] is not numbers[0]:
            compiled(*arguments)  # which records it; the Values keep their numbers, perhaps those of another run
            at = {id(p): k for k, p in enumerate(numbers[0])}
            self._known = numbers[0], np.array([at[id(p)] for p in compiled.parameters], dtype=np.int64)
        return compiled.value(numbers[1][self._known[1]], *arguments)


class Measure:
    """The mean loss over samples, without penalties."""

    def __init__(self, objective: Objective, engine: str, dtype: str, threads: int) -> None:
        self._objective, self._compiled = objective, None
        self._places = _Places()
        if engine == "compiled":
            from macrograd.compiler import compile as compiled

            found = compiled(objective.sample, batch=True, dtype=dtype, threads=threads)
            self._compiled = shared(found, "loss", *objective.parts())

    def __call__(
        self,
        samples: Samples,
        targets: Array,
        weights: Array | None = None,
        numbers: Numbers | None = None,
        ranks: Ranks | None = None,
    ) -> float:
        """`numbers` are the parameters' numbers, if the Values do not hold them yet. With `ranks`, each computes some
        of the blocks; their sums are added in order, so that the result is the same."""
        size = min(_BLOCK, samples.block)
        count = -(-samples.count // size)
        sums = []
        for first, rows in samples.blocks(size, None if ranks is None else ranks.share(count)):
            arguments = [rows, targets[first : first + len(rows)]]
            if weights is not None:
                arguments.append(weights[first : first + len(rows)])
            with no_collection():  # of what a first call traces, too
                sums.append(float(np.sum(self._losses(arguments, numbers), dtype=np.float64)))
        if ranks is not None:
            sums = ranks.gathered("loss", np.array(sums), ranks.shares(count)).tolist()
        return sum(sums) / samples.count

    def _losses(self, arguments: list[Array], numbers: Numbers | None) -> Any:
        if self._compiled is not None:
            return self._places.called(self._compiled, arguments, numbers)
        rows = zip(*[as_argument(argument) for argument in arguments], strict=True)
        return [float(self._objective.sample(*row)) for row in rows]


class Shared:
    """What computes losses and outputs for several runs whose models are equal but for parameters.

    new         makes the measure of a part of the data
    predictor   computes outputs; None if those of the runs differ in more, and each computes its own
    parameters  of the model that the programs are recorded from, as its loss uses them; and `leaves`, all of them
    """

    def __init__(
        self,
        new: Callable[[Part], Measure],
        predictor: Predictor | None,
        parameters: list[Value],
        leaves: list[Value],
    ) -> None:
        self._new, self.predictor, self.parameters, self.leaves = new, predictor, parameters, leaves
        self._measures: dict[bool, Measure] = {}

    def measure(self, part: Part) -> Measure:
        """Computes the loss over data like this part."""
        weighted = part.weights is not None
        if weighted not in self._measures:
            self._measures[weighted] = self._new(part)
        return self._measures[weighted]
