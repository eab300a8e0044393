"""The update rule: a function of scalars for one parameter, as native code over all of them.

It runs as a batch does over samples: the lanes are the parameters (`flat`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from macrograd.compiler.jit import native
from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.llvm.context import Context
from macrograd.compiler.targets.llvm.execute import kernels, native_code
from macrograd.compiler.targets.scalar.machine import Machine, kind_of
from macrograd.compiler.targets.target import aligned

_VECTORS = 4  # of a block of parameters


class Update:
    """The update rule as native code over all parameters.

    `program` computes a parameter's new number and state from its number, gradient and state. `uniform` are the numbers
    that the rule closed over, by their slots, and `named` the slots of those that change from step to step.
    """

    def __init__(
        self, program: Program, uniform: Sequence[float], named: dict[str, int], count: int, *, dtype: Any, strict: bool
    ) -> None:
        states = program.inputs - 2
        kind = kind_of(dtype)
        size = native.machine().vector_bytes
        lanes = _VECTORS * size // kind.bytes
        machine = Machine(kind, size, lanes, single=True, strict=strict, flat=True)
        self.native = native_code(program, machine, [1] * (2 + states), 1 + states)
        self._named, self._states, self.count = named, states, count
        self._u = aligned(program.uniform, dtype)
        constants = slice(program.parameters, program.parameters + len(program.constants))
        self._u[constants] = program.constants
        self._u[: program.parameters] = uniform
        self._v = aligned(program.varying * lanes, dtype)
        self._spare = aligned(1, dtype)
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
            **kernels(program, machine),
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
        if name in self._named:
            return self._u.ctypes.data + self._named[name] * self._u.itemsize
        return self._spare.ctypes.data


def entry(code: native.Native) -> int:
    """The address of @run."""
    found = ctypes.cast(code.functions["run"], ctypes.c_void_p).value
    assert found is not None
    return found
