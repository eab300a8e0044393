"""The range of every number of a program on calibration rows, and which numbers share a scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from macrograd import ops
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stream import FUSED, Stream
from macrograd.compiler.program.walk import Walker, executed
from macrograd.exporting.fixed import Floats, Ints
from macrograd.exporting.int8 import CannotQuantizeError

_CELLS = 1 << 21  # numbers held at once


class Measured:
    """The least and largest number of every slot on the calibration rows, and the results, (rows, outputs)."""

    def __init__(self, program: Program, held: Floats, rows: Floats) -> None:
        self.low, self.high = np.full(program.uniform, np.inf), np.full(program.uniform, -np.inf)
        first, n = program.first_input, program.inputs
        self.low[: len(held)] = self.high[: len(held)] = held
        outputs = [slot for _, slot in program.results]
        self.results = np.zeros((len(rows), len(outputs)))
        if np.isnan(held).any():
            raise CannotQuantizeError(
                "export(dtype='int8'): a parameter or constant is NaN, and integers have none; use dtype='float32'"
            )
        each = max(1, _CELLS // max(1, program.uniform))
        with np.errstate(all="ignore"):
            for at in range(0, len(rows), each):
                some = rows[at : at + each]
                values = np.zeros((len(some), program.uniform))
                values[:, : len(held)] = held
                values[:, first : first + n] = some
                self._note(values, np.arange(first, first + n), "")
                for step in program.steps():
                    self._step(step, values)
                self.results[at : at + each] = values[:, outputs]

    def _note(self, values: Floats, out: Ints, name: str) -> None:
        made = values[:, out]
        if not np.isfinite(made).all():
            raise CannotQuantizeError(
                f"export(dtype='int8'): {name} gives {made[~np.isfinite(made)][0]} on a calibration row, and integers "
                "have no infinity or NaN; leave such rows out, or use dtype='float32'",
                name,
            )
        self.low[out] = np.minimum(self.low[out], made.min(axis=0))
        self.high[out] = np.maximum(self.high[out], made.max(axis=0))

    def _step(self, step: Any, values: Floats) -> None:
        if isinstance(step, Stream):
            for code, out, operands in step.plain():
                columns = [values[:, row] for row in operands]
                if code == FUSED:
                    values[:, out] = columns[0] * columns[1] + columns[2]
                else:
                    values[:, out] = ops.TABLE[code].array(np, *columns)
                self._note(values, out.astype(np.int64), "a sum" if code == FUSED else ops.TABLE[code].name)
            return
        for x, rounds in executed(step):
            self._instruction(x, rounds, values)

    def _instruction(self, x: Instruction, rounds: tuple[int, ...], values: Floats) -> None:
        out = x.out.slots(x.dims, 1, rounds)[:, 0]

        def read(operand: Operand, count: int) -> Any:
            return operand if isinstance(operand, float) else values[:, operand.slots(x.dims, count, rounds)]

        if x.kind == "map":
            columns = [c if isinstance(c, float) else c[..., 0] for c in (read(arg, 1) for arg in x.args)]
            shape = np.broadcast_arrays(*columns, values[:, out])[: len(columns)]
            made, name = ops.TABLE[x.code].array(np, *shape), ops.TABLE[x.code].name
        elif x.kind == "take":
            index, chosen = (
                read(x.args[0], 1),
                np.broadcast_to(read(x.args[1], x.count), (len(values), len(out), x.count)),
            )
            index = np.broadcast_to(index if isinstance(index, float) else index[..., 0], chosen.shape[:2])
            whole = (index == np.rint(index)) & (index >= 0) & (index < x.count)
            if not whole.all():
                raise CannotQuantizeError(
                    f"export(dtype='int8'): take got the index {index[~whole][0]} of {x.count} values on a calibration "
                    "row: give rows with valid indices",
                    "take",
                )
            made, name = np.take_along_axis(chosen, index.astype(np.int64)[..., None], axis=2)[..., 0], "take"
        else:
            made = np.zeros((len(values), len(out)))
            for s in x.segments:
                part = read(s.left, s.count) * read(s.right, s.count)
                made = made + (part * s.count if isinstance(part, float) else part.sum(axis=-1))
            name = "a sum"
        values[:, out] = made
        self._note(values, out, name)


class Shared(Walker[None]):
    """Which slots share a scale, as the smallest slot among them."""

    def __init__(self, program: Program) -> None:
        self.labels, self.first_input = np.arange(program.uniform), program.first_input
        self._edges: list[tuple[Ints, Ints]] = []
        while True:
            before = self.labels.copy()
            for step in program.steps():
                self.step(step)
            self._join()
            if (before == self.labels).all():
                return

    def _same(self, slots: Ints) -> None:
        """The rows of each column share a scale."""
        if len(slots) > 1:
            first = np.broadcast_to(slots[0], slots.shape)
            self._edges.append((first.ravel(), slots.ravel()))

    def _join(self) -> None:
        if not self._edges:
            return
        a, b = (np.concatenate(side) for side in zip(*self._edges, strict=True))
        self._edges, labels = [], self.labels
        while True:
            least = np.minimum(labels[a], labels[b])
            if (labels[a] == least).all() and (labels[b] == least).all():
                break
            for side in (a, b):
                np.minimum.at(labels, labels[side], least)
            while (labels[labels] != labels).any():
                labels[:] = labels[labels]

    def instruction(self, x: Instruction, around: tuple[int, ...]) -> None:
        for operand, count in (*x.operands(), (x.out, 1)):
            if isinstance(operand, Index) and any(operand.shifts):
                slots = all_slots(operand, x.dims, count, around)
                if slots.max() >= self.first_input:
                    self._same(slots)
        if x.kind == "take" and isinstance(x.args[1], Index):
            self._same(x.args[1].slots(x.dims, x.count, (0,) * len(around)).reshape(-1, 1))
        inputs = [self.labels[a.slots(x.dims, n, (0,) * len(around))] for a, n in x.operands() if isinstance(a, Index)]
        if x.kind != "map" or all((label == label.flat[0]).all() for label in inputs):
            self._same(x.out.slots(x.dims, 1, (0,) * len(around)))

    def loop(self, loop: Loop, around: tuple[int, ...]) -> None:
        for inner in loop.body:
            self.step(inner, (*around, loop.count))

    def stream(self, stream: Stream, around: tuple[int, ...]) -> None:
        pass


class Mixed(Walker[None]):
    """The slots of parameters and constants that an operand reads beside computed numbers, such as the first state of a
    recurrence: they are put into the state."""

    def __init__(self, program: Program) -> None:
        self.first_input, self.slots = program.first_input, set[int]()
        for step in program.steps():
            self.step(step)

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> None:
        for operand, count in instruction.operands():
            if isinstance(operand, Index):
                slots = all_slots(operand, instruction.dims, count, around)
                if slots.min() < self.first_input <= slots.max():
                    self.slots.update(slots[slots < self.first_input].tolist())

    def loop(self, loop: Loop, around: tuple[int, ...]) -> None:
        for inner in loop.body:
            self.step(inner, (*around, loop.count))

    def stream(self, stream: Stream, around: tuple[int, ...]) -> None:
        pass


def all_slots(operand: Index, dims: tuple[int, ...], count: int, around: tuple[int, ...]) -> Ints:
    """The slots that an operand reads in all rounds, (rounds, members·terms)."""
    base = operand.slots(dims, count, (0,) * len(around)).ravel()
    moved = np.zeros(1, dtype=np.int64)
    for shift, n in zip(operand.shifts, around, strict=True):
        moved = np.unique(moved[:, None] + shift * np.arange(n))
    return np.asarray(moved[:, None] + base)
