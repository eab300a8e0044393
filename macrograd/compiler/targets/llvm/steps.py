"""Training steps in native code: many of them in one call of @train (`driver`).

The programs that run over the parameters are `flat`: their lanes are the parameters.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.jit import native
from macrograd.compiler.jit.buffers import address_of
from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.llvm.context import Context
from macrograd.compiler.targets.llvm.driver import TrainContext, driver
from macrograd.compiler.targets.llvm.machine_code import kernels, native_code
from macrograd.compiler.targets.llvm.stopping import LONG, Interruptible, work_of
from macrograd.compiler.targets.llvm.team import Crew
from macrograd.compiler.targets.scalar.machine import Machine, kind_of
from macrograd.compiler.targets.steps import OnBuffers
from macrograd.compiler.targets.target import Array, Executable, aligned, narrowing
from macrograd.compiler.targets.training import Parts

_VECTORS = 4  # in a block of parameters
_PART = 64  # parameters: a thread's part is a multiple, so that no two threads write to one line of the cache


class _Buffers(Protocol):
    """The part of a call's state that is needed here."""

    context: Context
    native: native.Native
    address: int
    u: Array
    team: bool
    crew: Crew
    others: list[Context]

    def point(self, k: int, array: Array) -> None: ...
    def weigh(self, weights: Array | None) -> None: ...
    def renew_others(self) -> None: ...
    def stop(self, whether: int) -> None: ...


class NativeSteps(OnBuffers["AlongParameters"]):
    """Steps in one call, on buffers for each size of batch that share the uniform slots.

    lanes  the key of the code for a number of samples
    """

    native = True

    def __init__(
        self, executable: Executable, lanes: Callable[[int], tuple[int, bool, bool]], parts: Parts, samples: int
    ) -> None:
        super().__init__(executable, parts, samples)
        self._lanes = lanes
        self._once = work_of(executable.program, 0)
        self._each = work_of(executable.program, 1) - self._once
        self._by_lanes: dict[tuple[int, bool, bool], _StepBuffers] = {}
        self._buffers(samples)

    def _along(self, program: Program) -> AlongParameters:
        return AlongParameters(program, self.count, self.executable.dtype, strict=self.executable.strict)

    def run(
        self,
        order: NDArray[np.int64],
        lengths: NDArray[np.int64],
        rates: NDArray[np.float64],
        losses: NDArray[np.float64],
        first: int,
        weights: Array | None,
        *,
        brief: bool = False,
    ) -> tuple[int, int]:
        longest = int(np.maximum.reduce(lengths))
        held = self._buffers(longest)
        if held.data is not self.data:
            held.read(self.data)
        held.buffers.weigh(weights)
        context = held.train
        context.order, context.lengths, context.rates, context.losses = map(address_of, (order, lengths, rates, losses))
        context.step, context.steps = first, len(lengths)
        numbers = self._once + self._each * longest  # that a step computes, at most
        if numbers < LONG and (brief or numbers * len(lengths) < LONG):
            held.run()
        else:
            Interruptible(partial(held.run, stops=True), held.buffers.stop, self.stop)()
        held.buffers.context.flag = 0
        return context.done, context.reason

    def _buffers(self, longest: int) -> _StepBuffers:
        """The buffers for steps of up to this many samples. Those of a whole batch serve all shorter steps too, so that
        sums are rounded the same way however steps are grouped."""
        samples = max(longest, self.whole.samples)
        key = self._lanes(samples)
        if key not in self._by_lanes:
            first = not self._by_lanes
            buffers = self.whole if first else self.executable.state(samples, like=self.whole)
            self._by_lanes[key] = _StepBuffers(cast("_Buffers", buffers), self)
        return self._by_lanes[key]

    def shares(self, count: int) -> list[AlongParameters]:
        """The update program on as many parts of the parameters; a rule with sums over them has them all in the first
        part."""
        from macrograd.compiler.targets.llvm.flat import adds_up  # only for a team of threads

        whole = self.count // count // _PART * _PART
        inner = [self.count if adds_up(self.parts.update) else whole * k for k in range(1, count)]
        found = []
        for begin, end in pairwise([0, *inner, self.count]):
            part = AlongParameters(self.parts.update, end - begin, self.executable.dtype, strict=self.executable.strict)
            part.point([array[begin:end] for array in (self.theta, self.gradient, *self.state)])
            part.u[: len(self.parts.numbers)] = self.parts.numbers
            found.append(part)
        return found

    def context(
        self, buffers: _Buffers, gradient: Context | None = None, update: AlongParameters | None = None
    ) -> TrainContext:
        """The argument of @train for these buffers, without the fields that each run sets; for a thread of a team, with
        its context of the gradient program and its part of the update."""
        measure, update, size = self._measure, update or self._update, buffers.u.itemsize
        spare, clips = self._measure.spare, self.parts.clips
        (_, odd), (_, factor) = measure.program.results
        return TrainContext(
            gradient_run=entry(buffers.native),
            gradient_context=buffers.address if gradient is None else ctypes.addressof(gradient),
            flag_context=buffers.address,
            measure_run=entry(measure.native),
            measure_context=measure.address,
            update_run=entry(update.native),
            update_context=update.address,
            value=buffers.u.ctypes.data + self.value * size,
            number=self.number.ctypes.data if len(self.number) else spare,
            loss_in=measure.given.ctypes.data,
            odd=measure.u.ctypes.data + odd * size,
            factor=measure.u.ctypes.data + factor * size,
            rate_in=update.given.ctypes.data,
            step_in=update.given.ctypes.data + size,
            factor_in=update.given.ctypes.data + 2 * size if clips else spare,
            mask=self.parts.period - 1,
        )


class _StepBuffers:
    """The buffers of a step, and the argument of @train for them.

    A program of one sample does not know of rows: @train leads its arguments to the row of each step, from the table
    of their first rows and of the bytes of a row."""

    def __init__(self, buffers: _Buffers, steps: NativeSteps) -> None:
        self.buffers, self.data = buffers, list[Array]()
        self._parts = steps.shares(1 + len(buffers.others)) if buffers.team else []
        self.train = steps.context(buffers, None, *self._parts[:1])
        if not steps.executable.program.batch:
            self._rows = np.zeros((len(steps.executable.sizes), 2), np.int64)
            self.train.first_rows, self.train.arguments = self._rows.ctypes.data, len(self._rows)
        self._driver = partial(driver, kind_of(steps.executable.dtype), team=buffers.team)
        helpers = zip(buffers.others, self._parts[1:], strict=True) if buffers.team else ()
        self._helpers = [steps.context(buffers, *helper) for helper in helpers]

    def run(self, *, stops: bool = False) -> None:
        """The steps that the context describes, on the threads of the buffers' team if there is one; `stops` says
        whether they may be told to stop."""
        code = self._driver(stops=stops).code(self.train.steps)
        train = code.functions["train"]
        if not self._helpers:
            train(ctypes.addressof(self.train))
            return
        self.buffers.renew_others()
        for helper in self._helpers:
            for name in ("order", "lengths", "rates", "losses", "step", "steps"):
                setattr(helper, name, getattr(self.train, name))
        function = ctypes.cast(train, ctypes.c_void_p).value or 0
        mine, *others = [ctypes.addressof(context) for context in (self.train, *self._helpers)]
        self.buffers.crew.run(function, others, mine)

    def read(self, data: list[Array]) -> None:
        """Read these arrays, rows first."""
        self.data = data
        for k, array in enumerate(data):
            self.buffers.point(k, array)
            if self.train.arguments:
                self._rows[k] = array.ctypes.data, array.strides[0]


class AlongParameters:
    """A program as native code over arrays with one number per parameter, which it reads and writes in place.

    u      its uniform slots, and `given`, the uniform inputs among them
    spare  the address of an unused number
    """

    def __init__(self, program: Program, count: int, dtype: np.dtype[Any], *, strict: bool) -> None:
        kind, size = kind_of(dtype), native.machine().vector_bytes
        lanes = _VECTORS * size // kind.bytes
        machine = Machine(kind, size, lanes, single=True, strict=strict, flat=True)
        self.program = program
        self.native = step_code(program, machine)
        self.u = aligned(program.uniform, dtype)
        with narrowing(dtype):
            self.u[program.parameters : program.first_uniform_input] = program.constants
        self.given = self.u[program.first_uniform_input : program.held]
        self._v, self._spare = aligned(program.varying * lanes, dtype), aligned(1, dtype)
        self.spare = self._spare.ctypes.data
        self._in = (ctypes.c_void_p * program.inputs)()
        self._out = (ctypes.c_void_p * len(program.results))()
        self.context = Context(
            u=self.u.ctypes.data,
            v=self._v.ctypes.data,
            tables=self.native.tables.ctypes.data,
            samples=count,
            arguments=ctypes.addressof(self._in),
            scale=1.0,
            out=ctypes.addressof(self._out),
            **kernels(program, machine),
        )
        self.address = ctypes.addressof(self.context)

    def point(self, arrays: Sequence[Array]) -> None:
        """Read these arrays and write the results: the first to the first array, the following ones to the third and
        later, and one more to the second."""
        for k, array in enumerate(arrays):
            self._in[k] = array.ctypes.data
        targets = [arrays[0], *arrays[2:], *arrays[1:2]]
        for k, (_, array) in enumerate(zip(self._out, targets, strict=False)):
            self._out[k] = array.ctypes.data


@lru_cache(maxsize=16)  # all steps of a number type share one measure program
def step_code(program: Program, machine: Machine) -> native.Native:
    return native_code(program, machine, [1] * program.inputs, program.outputs)


def entry(code: native.Native) -> int:
    """The address of @run."""
    found = ctypes.cast(code.functions["run"], ctypes.c_void_p).value
    assert found is not None
    return found
