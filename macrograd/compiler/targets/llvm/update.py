"""The update rule: a function of scalars for one parameter, as native code over all of them.

It runs as a batch does over samples: the lanes are the parameters (`flat`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.jit import native
from macrograd.compiler.targets.llvm.context import Context, Target, kind_of
from macrograd.compiler.targets.llvm.execute import aligned, native_code
from macrograd.value import Value

_VECTORS = 4  # of a block of parameters


class Update:
    """The update rule as native code over all parameters."""

    def __init__(self, rule: Callable[..., tuple[Any, Any]], states: int, count: int, sample: Compiled) -> None:
        rate, step = Value(0.0, "learning rate"), Value(0.0, "step")

        def one(p: Any, g: Any, *state: Any) -> list[Any]:
            new, following = rule(p, g, tuple(state), rate, step)
            if len(following) != states:
                raise ValueError(
                    f"the update rule got {states} numbers of state and returned {len(following)}: "
                    "return as many, in the same order"
                )
            return [new, *following]

        source = pipeline.record(one, [()] * (2 + states), strict=sample.strict, name="the update rule")
        program = pipeline.value_program(source, batch=True, strict=sample.strict)
        kind = kind_of(sample.dtype)
        size = native.machine().vector_bytes
        lanes = _VECTORS * size // kind.bytes
        target = Target(kind, size, lanes, single=True, strict=sample.strict, flat=True)
        self.native = native_code(program, target, [1] * (2 + states), 1 + states)
        self._source, self._states, self.count = source, states, count
        self._u = aligned(program.uniform, sample.dtype)
        constants = slice(program.parameters, program.parameters + len(program.constants))
        self._u[constants] = program.constants
        self._u[: program.parameters] = [p.data for p in source.parameters]
        self._v = aligned(program.varying * lanes, sample.dtype)
        self._spare = aligned(1, sample.dtype)
        self._rate, self._step = rate, step
        self._in = (ctypes.c_void_p * (2 + states))()
        self._out = (ctypes.c_void_p * (1 + states))()
        self.context = Context(
            u=self._u.ctypes.data,
            v=self._v.ctypes.data,
            tables=self.native.tables.ctypes.data,
            samples=count,
            arguments=ctypes.addressof(self._in),
            scale=1.0,
            out=ctypes.addressof(self._out),
        )
        self.address = ctypes.addressof(self.context)

    def point(self, theta: NDArray[Any], gradient: NDArray[Any], state: NDArray[Any]) -> None:
        """Work on these arrays; parameters and state are updated in place."""
        self._in[0] = self._out[0] = theta.ctypes.data
        self._in[1] = gradient.ctypes.data
        for k in range(self._states):
            self._in[2 + k] = self._out[1 + k] = state[k].ctypes.data

    def slot(self, name: str) -> int:
        """The address of the learning rate or step number; of a spare number if the rule does not use it."""
        wanted = self._rate if name == "rate" else self._step
        for k, parameter in enumerate(self._source.parameters):
            if parameter is wanted:
                return self._u.ctypes.data + k * self._u.itemsize
        return self._spare.ctypes.data


def entry(code: native.Native) -> int:
    """The address of @run."""
    found = ctypes.cast(code.functions["run"], ctypes.c_void_p).value
    assert found is not None
    return found
