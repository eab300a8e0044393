"""An array program, read literally: every instruction member by member, every record of a stream, on plain arrays.

The required output of rolling and results of every target, from the docstrings of `program/` alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.program.program import SUMS_OF_BATCH, Instruction, Operand, Program, executed
from macrograd.compiler.program.stream import MORE, SPREAD, SUM, TOTAL, Stream

Array = NDArray[np.float64]


class Literal:
    """The spaces of a program after it has run: `u` (uniform,) and `v` (varying, samples)."""

    def __init__(self, program: Program, parameters: Any, inputs: Any, weights: Any = None) -> None:
        """`inputs` are (samples, inputs) with a batch, else (inputs,); `weights` (samples,), 1/samples unless given."""
        self.program = program
        inputs = np.asarray(inputs, dtype=float)
        samples = len(inputs) if program.batch else 1
        self.u, self.v = np.zeros(program.uniform), np.zeros((program.varying, samples))
        self.u[: program.parameters] = parameters
        self.u[program.parameters : program.first_uniform_input] = program.constants
        if program.batch:
            self.v[: inputs.shape[1]] = inputs.T
            if program.weight is not None:
                self.v[program.weight] = 1 / samples if weights is None else weights
        else:
            self.u[program.first_input : program.first_input + program.inputs] = inputs
        for phase, steps in program.phases():
            for step in steps:
                if isinstance(step, Stream):
                    self._stream(step)
                for instruction, rounds in executed(step):
                    self._instruction(instruction, rounds, summed=phase == "block")

    def results(self) -> list[Any]:
        """A number for each uniform result, an array over the samples for each varying one."""
        return [float(self.u[slot]) if space == "u" else self.v[slot] for space, slot in self.program.results]

    def _read(self, x: Operand, dims: tuple[int, ...], count: int, rounds: tuple[int, ...]) -> Array:
        """(members, terms, samples or 1)"""
        if isinstance(x, float):
            return np.full((int(np.prod(dims)), count, 1), x)
        slots = x.slots(dims, count, rounds)
        return self.v[slots] if x.space == "v" else self.u[slots][:, :, None]

    def _instruction(self, instruction: Instruction, rounds: tuple[int, ...], *, summed: bool) -> None:
        def read(x: Operand, count: int = 1) -> Array:
            return self._read(x, instruction.dims, count, rounds)

        if instruction.kind == "map":
            found = _applied(instruction.code, [read(x)[:, 0] for x in instruction.args])
        elif instruction.kind == "take":
            index, values = read(instruction.args[0])[:, 0], read(instruction.args[1], instruction.count)
            width = max(index.shape[1], values.shape[2])
            index, values = (
                np.broadcast_to(index, (len(index), width)),
                np.broadcast_to(values, (*values.shape[:2], width)),
            )
            found = np.take_along_axis(values, index.astype(int)[:, None], axis=1)[:, 0]
        elif instruction.kind == "scatter":
            found = self._scattered(instruction, rounds)
        else:
            products = [read(s.left, s.count) * read(s.right, s.count) for s in instruction.segments]
            found = sum(product.sum(axis=1) for product in products)
        if summed and instruction.kind in SUMS_OF_BATCH:
            found = np.broadcast_to(found, (len(found), self.v.shape[1])).sum(axis=1, keepdims=True)
        self._write(instruction.out.space, instruction.out.slots(instruction.dims, 1, rounds)[:, 0], found)

    def _scattered(self, instruction: Instruction, rounds: tuple[int, ...]) -> Array:
        rows, last = int(np.prod(instruction.dims[:-1])), instruction.dims[-1]
        index, term = (
            self._read(x, instruction.dims[:-1] or (1,), instruction.count, rounds) for x in instruction.args
        )
        chosen = instruction.choice + np.arange(last)
        width = max(index.shape[2], term.shape[2])
        found = np.zeros((rows, last, width))
        for t in range(instruction.count):
            found += np.where(index[:, t, None] == chosen[:, None], term[:, t, None], 0.0)
        return found.reshape(rows * last, width)

    def _write(self, space: str, slots: Any, found: Array) -> None:
        if space == "v":
            self.v[slots] = found
        else:
            self.u[slots] = found[:, 0]

    def _stream(self, stream: Stream) -> None:
        here = self.v if stream.block else self.u
        for code, out, operands in stream.records():
            a = [here[row] for row in operands] if code != SPREAD else []
            if code == SPREAD:
                self.v[out] = self.u[operands[0]][:, None]
            elif code in (TOTAL, MORE):
                total = np.prod(a, axis=0).sum(axis=1)
                self.u[out] = total + (self.u[out] if code == MORE else 0.0)
            elif code == SUM:
                here[out] = sum(x * y for x, y in zip(a[::2], a[1::2], strict=True))
            else:
                here[out] = _applied(code, a)


def _applied(code: int, operands: list[Array]) -> Array:
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    found: Array = np.vectorize(ops.TABLE[code].forward, otypes=[float])(*(np.broadcast_to(x, shape) for x in operands))
    return found
