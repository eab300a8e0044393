"""The training loop: many steps of a compiled loss and a compiled update rule, on whatever target runs the loss.

A step gathers its rows, computes the mean loss and its gradient, measures both, and lets the update rule move every
parameter. Each of the three is a program: `measure` tells whether everything is finite and how to scale the gradient to
the largest norm, and the rule is a function of scalars for one parameter. These two run over all parameters as a batch
runs over samples. Each target decides how to run the three (`targets/steps.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.program.program import Program
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.targets.target import narrowing
from macrograd.compiler.targets.training import REASONS, Outcome, Parts
from macrograd.ranks.tree import Leaves
from macrograd.value import numbers_of

_NO_PERIOD = 1 << 62


class TrainingLoop:
    """Training steps on fixed buffers.

    sample         a compiled function of one sample's loss (`compile(fn, batch=True)`). It may have one uniform
                   argument, a scalar: the step number
    arrays         the data, one array per argument of it that varies, rows first
    rule           (parameter, gradient, state, learning rate, step) → (new parameter, new state), of scalars; or such
                   a rule recorded before, for this loop's `strict` and clipping
    initial_state  the initial state of each parameter, a tuple of numbers
    clip_norm      the largest norm of the gradient, beyond which it is scaled down to it; None for no limit
    batch_size     the number of samples in most steps. Others may have more or fewer, but with 1 all have one sample,
                   and no weights, unless the function is strict
    period         a power of two: the sample counts steps modulo this number, the rule counts them all; None for all

    parameters, theta, gradient, state are in the compiled order. theta and gradient are the memory that the program
    works on; theta and state may be written between runs. Raises ValueError if these do not fit together.
    """

    def __init__(
        self,
        sample: Compiled,
        arrays: Sequence[NDArray[Any]],
        rule: Callable[..., tuple[Any, Any]] | RecordedUpdate,
        initial_state: Sequence[float] = (),
        *,
        clip_norm: float | None = None,
        batch_size: int = 32,
        period: int | None = None,
    ) -> None:
        self._sample = sample
        given: list[Any] = list(arrays)
        for k in sorted(sample.settings.uniform):
            given.insert(k, 0.0)
        held, self._special = sample._prepare(tuple(given), {})
        if sum(end - begin for _, begin, end in self._special.same) > 1:
            raise ValueError(
                f"{sample.__name__} has more than one uniform scalar, but a training loop passes only one: the step "
                "number"
            )
        clip = math.inf if clip_norm is None else float(clip_norm)
        update = (
            rule
            if isinstance(rule, RecordedUpdate)
            else recorded_update(rule, len(initial_state), strict=sample.strict, clips=clip != math.inf)
        )
        parts = Parts(
            measure_program(strict=sample.strict), update.program, update.numbers, tuple(initial_state), clip,
            period or _NO_PERIOD,
        )  # fmt: skip
        # Its program needs no lanes for other samples. Ranks share batches alone; and strict steps add what does not
        # depend on the sample, such as a penalty, behind the sum over the batch, as the eager loop does.
        self._one = batch_size == 1 and sample.settings.ranks is None and not sample.strict
        self._steps = self._special.prepared("gradient", batch_size, one=self._one).steps(parts, batch_size)
        self.parameters = self._special.parameters
        with narrowing(self._special.settings.dtype):
            self._steps.theta[:] = numbers_of(self.parameters)
        self.load([held[k] for k in self._special.varying])

    @property
    def theta(self) -> NDArray[Any]:
        """The parameters' numbers, (P,)."""
        return self._steps.theta

    @property
    def state(self) -> NDArray[Any]:
        """The update rule's state, (S, P)."""
        return self._steps.state

    @property
    def gradient(self) -> NDArray[Any]:
        """The gradient of the latest step, (P,), as the update saw it."""
        return self._steps.gradient

    @property
    def native(self) -> bool:
        """Whether many steps are one call of native code."""
        return self._steps.native

    @property
    def stop(self) -> Callable[[], bool]:
        """Asked between steps or during long ones; once it returns True, the current step is dropped, the last one."""
        return self._steps.stop

    @stop.setter
    def stop(self, asked: Callable[[], bool]) -> None:
        self._steps.stop = asked

    def used(self, lengths: NDArray[np.int64], rank: int | None = None) -> NDArray[np.bool_] | None:
        """Which of the rows of steps of these lengths this rank reads, or another, if ranks share the batches."""
        ranks = self._sample.settings.ranks
        if ranks is None:
            return None
        rank = ranks.rank if rank is None else rank
        found = np.zeros(int(lengths.sum()), dtype=bool)
        for end, length in zip(np.cumsum(lengths).tolist(), lengths.tolist(), strict=True):
            leaves = Leaves.of(length)
            found[end - length : end][leaves.rows(leaves.share(rank, ranks.size))] = True
        return found

    def load(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Use other data of the same widths. Arrays of the right type and layout are used without copying."""
        with narrowing(self._sample.dtype):
            data = [np.ascontiguousarray(x, dtype=self._sample.dtype) for x in arrays]
        widths = tuple(x.shape[1:] for x in data)
        wanted = tuple(self._special.shapes[k] for k in self._special.varying)
        if widths != wanted:
            raise ValueError(f"the data has samples of shapes {widths}, the loop was made for {wanted}")
        self._steps.data = data

    def run(
        self,
        order: NDArray[np.int64],
        lengths: NDArray[np.int64],
        rates: NDArray[np.float64],
        step: int = 1,
        weights: NDArray[Any] | None = None,
        *,
        below: int | None = None,
        brief: bool = False,
    ) -> Outcome:
        """Run steps on the rows `order`: `lengths[k]` of them in step k, with the learning rate `rates[k]`.

        `step` is the number of the first step, counted from 1. `weights`, one for each row of the data, multiply the
        1/n of the mean. All rows are known to be `below` a number, or are looked at. Several steps that are known to
        take less than a tenth of a second are `brief`: Ctrl-C waits for them. Raises ValueError if the arguments do not
        match or a row does not exist.
        """
        order, lengths = np.ascontiguousarray(order, np.int64), np.ascontiguousarray(lengths, np.int64)
        rates = np.ascontiguousarray(rates, np.float64)
        self._check(order, lengths, rates, weights, below)
        if not len(lengths):
            return Outcome(np.empty(0), 0, "")
        if weights is not None:
            weights = np.ascontiguousarray(weights, self._sample.dtype)
        losses = np.zeros(len(lengths))
        done, reason = self._steps.run(order, lengths, rates, losses, step, weights, brief=brief)
        begun = done + (REASONS[reason] in ("non-finite", "index"))
        return Outcome(losses[:begun], done, REASONS[reason])

    def _check(self, order: Any, lengths: Any, rates: Any, weights: Any, below: int | None) -> None:
        rows = len(self._steps.data[0])
        if len(lengths) != len(rates) or (
            len(lengths) and (np.minimum.reduce(lengths) < 1 or np.add.reduce(lengths) != len(order))
        ):
            raise ValueError(
                f"{len(order)} rows, {len(lengths)} lengths with the sum {lengths.sum()} and {len(rates)} learning "
                "rates do not match: every step needs one length of at least 1 and one rate"
            )
        if self._one and (weights is not None or (len(lengths) and np.maximum.reduce(lengths) > 1)):
            raise ValueError(
                "a loop made with batch_size=1 takes steps of one sample each, without weights: make it with "
                "batch_size=2 for others"
            )
        # As unsigned integers, negative numbers are very large.
        if len(order) and (np.maximum.reduce(order.view(np.uint64)) >= rows if below is None else below > rows):
            raise ValueError(f"a row of the order is outside the data's {rows} rows")
        if weights is not None and np.shape(weights) != (rows,):
            raise ValueError(f"weights has shape {np.shape(weights)}; it needs one number for each of {rows} rows")


# x·0 is 0 for every finite x and NaN otherwise, so one sum covers all. The uniform arguments are the loss and the norm.
_MEASURE = """
%0 = input 0
%1 = uniform 0
%2 = uniform 1
%3 = constant 0.0
%4 = constant 1.0
%5 = mul %0 %3
%6 = reduce %5
%7 = mul %1 %3
%8 = add %7 %6
%9 = mul %0 %0
%10 = reduce %9
%11 = sqrt %10
%12 = less %2 %11
%13 = div %2 %11
%14 = where %12 %13 %4
return %8 %14
"""


@cache
def measure_program(*, strict: bool) -> Program:
    """Tells whether a loss and a gradient are finite, and how to clip the gradient; see `Parts`."""
    return pipeline.batch_program(tapes.parse(_MEASURE), strict=strict)


@dataclass(frozen=True)
class RecordedUpdate:
    """An update rule as a program over the parameters, which are its samples.

    Its inputs are a parameter, its gradient and its state; its uniform inputs the learning rate, the step number and,
    with clipping, the factor that scales gradients; its results the new parameter and state and, with clipping, the
    scaled gradient. `numbers` are those of the Values that the rule closed over.
    """

    program: Program
    numbers: list[float]


def recorded_update(
    rule: Callable[..., tuple[Any, Any]], states: int, *, strict: bool, clips: bool = False
) -> RecordedUpdate:
    """The update rule, recorded. Raises ValueError if it does not return as much state as it receives."""

    def one(p: Any, g: Any, *more: Any) -> list[Any]:
        state, rate, step = more[:states], more[states], more[states + 1]
        if clips:
            g = g * more[-1]
        new, following = rule(p, g, tuple(state), rate, step)
        if len(following) != states:
            raise ValueError(
                f"the update rule got {states} numbers of state and returned {len(following)}: "
                "return as many, in the same order"
            )
        return [new, *following, g] if clips else [new, *following]

    count = 2 + states
    uniform = range(count, count + 2 + clips)
    source = pipeline.record(one, [()] * uniform.stop, strict=strict, name="the update rule", uniform=uniform)
    program = pipeline.value_program(source, batch=True, strict=strict)
    return RecordedUpdate(program, numbers_of(source.parameters))
