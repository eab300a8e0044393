"""The training loop: many steps of a compiled loss and a compiled update rule in one native call.

A step gathers its rows, computes the mean loss and its gradient, clips it, makes sure that both are finite, and lets
the update rule move every parameter. The rule is a function of scalars for one parameter; over all parameters it runs
as a batch does over samples: the lanes are the parameters.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.program.program import Program
from macrograd.compiler.specialised import results
from macrograd.compiler.targets.llvm.driver import Steps, driver
from macrograd.compiler.targets.llvm.execute import LlvmExecutable, LlvmState
from macrograd.compiler.targets.llvm.update import Update, entry
from macrograd.compiler.targets.target import aligned
from macrograd.value import Value, numbers_of

_REASONS = ("", "non-finite", "index")


@dataclass(frozen=True)
class Outcome:
    """What a run of steps came to.

    losses  the loss of each step begun, before its update
    done    how many steps were done whole
    why     "" if all were; "non-finite" if a loss or gradient was, "index" if a `take` was out of range: then the step
            behind the last one done was not applied
    """

    losses: NDArray[Any]
    done: int
    why: str


class TrainingLoop:
    """Training steps in native code, on buffers of its own.

    sample         a compiled function of one sample's loss (`compile(fn, batch=True)`)
    arrays         the data, one array per argument of it, rows first
    rule           (parameter, gradient, state, learning rate, step) → (new parameter, new state), of scalars
    initial_state  what each parameter's state starts from, a tuple of numbers
    clip_norm      the largest norm of the gradient, beyond which it is scaled down to it; None for no limit

    parameters, theta, gradient, state are in the compiled order; theta and state may be written between runs. Needs
    LLVM: raises ImportError or RuntimeError where there is none.
    """

    def __init__(
        self,
        sample: Compiled,
        arrays: Sequence[NDArray[Any]],
        rule: Callable[..., tuple[Any, Any]],
        initial_state: Sequence[float] = (),
        *,
        clip_norm: float | None = None,
        batch_size: int = 32,
    ) -> None:
        held, self._special = sample._prepare(tuple(arrays), {})
        plan = self._special.plan("gradient", batch_size)
        if not isinstance(plan.executable, LlvmExecutable):
            raise RuntimeError("the native training loop needs the LLVM back end")
        self._sample, self._program, self._executable = sample, plan.program, plan.executable
        self.parameters = self._special.parameters
        self._clip = np.inf if clip_norm is None else float(clip_norm)
        self._batch_size = batch_size
        self._held: dict[tuple[int, bool], _Held] = {}
        self._data: list[NDArray[Any]] = []
        self.load(held)
        self.theta = aligned(len(self.parameters), sample.dtype)
        self.theta[:] = numbers_of(self.parameters)
        self.state = (
            np.stack([aligned(len(self.parameters), sample.dtype) + sample.dtype.type(s) for s in initial_state])
            if len(initial_state)
            else np.zeros((0, len(self.parameters)), sample.dtype)
        )
        self._update = update_of(rule, len(initial_state), len(self.parameters), sample)
        self._latest = self._buffers(batch_size)
        self._pointed: tuple[Any, ...] = ()

    @property
    def gradient(self) -> NDArray[Any]:
        """Of the latest step, as the update saw it."""
        return results(self._program, self._latest.buffers)[1]

    def load(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Other data, of the same widths. Arrays of the right type and layout are read where they are."""
        self._data = [np.ascontiguousarray(x, dtype=self._sample.dtype) for x in arrays]
        widths = tuple(x.shape[1:] for x in self._data)
        if widths != self._special.shapes:
            raise ValueError(f"the data has samples of shapes {widths}, the loop was made for {self._special.shapes}")

    def run(
        self,
        order: NDArray[np.int64],
        lengths: NDArray[np.int64],
        rates: NDArray[np.float64],
        step: int = 1,
        weights: NDArray[Any] | None = None,
    ) -> Outcome:
        """Steps on the rows `order`, `lengths[k]` of them in step k, which has the learning rate `rates[k]`.

        `step` is the number of the first step, from 1. `weights`, one for each row of the data, multiply the 1/n of
        the mean. Raises ValueError if these do not fit together or a row does not exist.
        """
        order, lengths = np.ascontiguousarray(order, np.int64), np.ascontiguousarray(lengths, np.int64)
        rates = np.ascontiguousarray(rates, np.float64)
        self._check(order, lengths, rates, weights)
        if not len(lengths):
            return Outcome(np.empty(0), 0, "")
        held = self._latest = self._buffers(int(np.maximum.reduce(lengths)))
        self._point(held)
        buffers, loop = held.buffers, held.loop
        buffers.weigh(None if weights is None else np.ascontiguousarray(weights, self._sample.dtype))
        held.theta[:] = self.theta
        losses = np.zeros(len(lengths))
        loop.order, loop.lengths = _address(order), _address(lengths)
        loop.rates, loop.losses = _address(rates), _address(losses)
        loop.step, loop.steps = step, len(lengths)
        held.run(held.address)
        buffers.context.flag = 0
        self.theta[:] = held.theta
        return Outcome(losses[: loop.done + (loop.reason != 0)], loop.done, _REASONS[loop.reason])

    def _buffers(self, longest: int) -> _Held:
        """The buffers for steps of up to so many samples. Those of a whole batch serve all that are no longer: sums are
        rounded the same way however steps are grouped."""
        samples = max(longest, self._batch_size)
        key = self._executable.lanes(samples)
        if key not in self._held:
            self._held[key] = _Held(self._executable.state(samples), self._program, self._update, self._clip)
        return self._held[key]

    def _point(self, held: _Held) -> None:
        """Let the buffers read the data and the update rule work on the parameters, where they did not yet."""
        wanted = (held, self._data, self.state)
        if len(self._pointed) == len(wanted) and all(a is b for a, b in zip(self._pointed, wanted, strict=True)):
            return
        for k, array in enumerate(self._data):
            held.buffers.point(k, array)
        self._update.point(held.theta, held.gradient, self.state)
        self._pointed = wanted

    def _check(self, order: Any, lengths: Any, rates: Any, weights: Any) -> None:
        rows = len(self._data[0])
        if len(lengths) != len(rates) or (
            len(lengths) and (np.minimum.reduce(lengths) < 1 or np.add.reduce(lengths) != len(order))
        ):
            raise ValueError(
                f"{len(order)} rows, {len(lengths)} lengths with the sum {lengths.sum()} and {len(rates)} learning "
                "rates do not fit together: every step needs one length of at least 1 and one rate"
            )
        # Seen as unsigned, a negative number is a very large one.
        if len(order) and np.maximum.reduce(order.view(np.uint64)) >= rows:
            raise ValueError(f"a row of the order is outside of the data's {rows} rows")
        if weights is not None and np.shape(weights) != (rows,):
            raise ValueError(f"weights has shape {np.shape(weights)}; it needs one number for each of {rows} rows")


class _Held:
    """The buffers of a step, and what @train works on with them, but for what each run brings along."""

    def __init__(self, buffers: LlvmState, program: Program, update: Update, clip: float) -> None:
        value = program.results[0][1]
        gradient = value + 1
        count = update.count
        self.buffers = buffers
        self.theta, self.gradient = buffers.u[:count], buffers.u[gradient : gradient + count]
        size = buffers.u.itemsize
        self.loop = Steps(
            gradient_run=entry(buffers.native),
            gradient_context=buffers.address,
            update_run=entry(update.native),
            update_context=update.address,
            value=buffers.u.ctypes.data + value * size,
            gradient=buffers.u.ctypes.data + gradient * size,
            parameters=count,
            rate_slot=update.slot("rate"),
            step_slot=update.slot("step"),
            clip=clip,
        )
        self.run = driver(buffers.executable.kind).functions["train"]
        self.address = ctypes.addressof(self.loop)


def _address(array: Any) -> int:
    """Where an array's numbers are. `array.ctypes` takes five times as long; it is left for what may not be written."""
    if array.flags.writeable and array.size:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    address: int = array.ctypes.data
    return address


@dataclass(frozen=True)
class RecordedUpdate:
    """An update rule as a program over parameters, which are its samples.

    Its inputs are a parameter, its gradient and its state; its results the new parameter and state. `uniform` are the
    numbers that the rule closed over, by their slots, and `slots` those of the learning rate and the step's number,
    where the rule uses them.
    """

    program: Program
    uniform: list[float]
    slots: dict[str, int]


def recorded_update(rule: Callable[..., tuple[Any, Any]], states: int, *, strict: bool) -> RecordedUpdate:
    """The update rule, recorded. Raises ValueError if it does not return as much state as it gets."""
    rate, step = Value(0.0, "learning rate"), Value(0.0, "step")

    def one(p: Any, g: Any, *state: Any) -> list[Any]:
        new, following = rule(p, g, tuple(state), rate, step)
        if len(following) != states:
            raise ValueError(
                f"the update rule got {states} numbers of state and returned {len(following)}: "
                "return as many, in the same order"
            )
        return [new, *following]

    source = pipeline.record(one, [()] * (2 + states), strict=strict, name="the update rule")
    program = pipeline.value_program(source, batch=True, strict=strict)
    named = {"rate": rate, "step": step}
    slots = {name: k for k, p in enumerate(source.parameters) for name, value in named.items() if p is value}
    return RecordedUpdate(program, numbers_of(source.parameters), slots)


def update_of(rule: Callable[..., tuple[Any, Any]], states: int, count: int, sample: Compiled) -> Update:
    """The update rule over `count` parameters as native code, with the number type and strictness of the loss."""
    found = recorded_update(rule, states, strict=sample.strict)
    return Update(found.program, found.uniform, found.slots, count, dtype=sample.dtype, strict=sample.strict)
