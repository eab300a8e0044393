"""Native code for many nets: lanes are nets, and a tile of nets makes all its steps before the next tile begins.

    @gradient(nets)   one step of a tile: read the samples of every lane, compute losses and gradients
    @train(nets)      tiles and their steps (`nets_training.py`)

The numbers of a tile are in `v`, [slot][lane] as `program.nets.Slots` says, small enough for a core's cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.jit.text import Counter
from macrograd.compiler.program.nets import Slots, over_nets
from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.llvm.code import Code, code_for
from macrograd.compiler.targets.llvm.context import FIELDS
from macrograd.compiler.targets.llvm.frame import function, open_context
from macrograd.compiler.targets.llvm.nets_context import attributes, finished, get
from macrograd.compiler.targets.llvm.nets_parts import Products
from macrograd.compiler.targets.llvm.nets_products import check
from macrograd.compiler.targets.scalar.access import Tables
from macrograd.compiler.targets.scalar.emit import Emitter
from macrograd.compiler.targets.scalar.fuse import readers
from macrograd.compiler.targets.scalar.machine import Machine

_SQUARE = 8  # rows and columns transposed in registers at once


def gradient_text(
    program: Program, slots: Slots, machine: Machine, arguments: Sequence[int], parts: Products | None = None
) -> tuple[str, NDArray[np.int32]]:
    """The module of @gradient for steps of `slots.samples` rows, and its tables; of a program in `parts`, it computes
    all but the gradients, and whether these are finite. Raises NetsError."""
    over = over_nets(program, slots.samples, strict=machine.strict)
    tables = Tables()
    code = code_for(machine.kind, strict=machine.strict, portable=machine.portable)
    open_context(code, FIELDS)
    emitter = Emitter(code, machine, tables, "block", readers(over))
    emitter.tiles.square = True
    emitter.steps(over.block if parts is None else parts.steps)
    if parts is not None:
        check(code, machine, parts)
    block, declared = function("block", code, block=True), set(code.declared)
    code = code_for(machine.kind, strict=machine.strict, portable=machine.portable)
    reading = _Reading(code, program, slots, machine, arguments)
    reading.rows()
    reading.weights()
    reading.number()
    code.put(f"call void @block(ptr {get(code, 'context')})")
    text = finished(code, "gradient")
    declared |= code.declared
    return "\n".join([*sorted(declared), "", block, text, attributes(machine)]), tables.array()


class _Reading:
    """Reads the samples of a step into the lanes of their nets."""

    def __init__(self, code: Code, program: Program, slots: Slots, machine: Machine, arguments: Sequence[int]) -> None:
        self.code, self.program, self.slots, self.machine, self.arguments = code, program, slots, machine, arguments
        self.v = get(code, "v")
        self.net, self.at = get(code, "net"), get(code, "at")

    def rows(self) -> None:
        """Every lane's rows."""
        code, lanes = self.code, self.machine.lanes
        orders, data = get(code, "orders"), get(code, "data")
        count = len(self.arguments)
        sides = self._sides()
        together = max(sides, default=1)

        def per_lanes(group: Counter, _: list[str]) -> list[str]:
            lane = code.linear(0, [(together, group)])
            nets = [code.let(f"add i64 {self.net}, {code.linear(k, [(1, lane)])}") for k in range(together)]
            rows_at = [self._pointer(orders, net) for net in nets]
            sources = [[self._pointer(data, code.linear(a, [(count, net)])) for a in range(count)] for net in nets]

            def per_sample(s: Counter, _: list[str]) -> list[str]:
                place = code.linear(0, [(1, self.at), (1, s)])
                rows = [code.let(f"load i64, ptr {code.element(at, place, 'i64')}, align 8") for at in rows_at]
                slot = 0
                for a, size in enumerate(self.arguments):
                    starts = [
                        code.element(source[a], code.linear(0, [(size, row)]))
                        for source, row in zip(sources, rows, strict=True)
                    ]
                    self._copy(starts, size, slot, s, lane)
                    slot += size
                return []

            code.loop(self.slots.samples, per_sample)
            return []

        code.loop(lanes // together, per_lanes)

    def _pointer(self, table: str, index: str) -> str:
        return self.code.let(f"load ptr, ptr {self.code.element(table, index, 'ptr')}, align 8")

    def _sides(self) -> list[int]:
        """The sides of the squares that are transposed in registers, the largest first."""
        lanes, longest = self.machine.lanes, max(self.arguments, default=0)
        sides = sorted({max(_SQUARE, self.machine.width), _SQUARE})[::-1]
        return [side for side in sides if side <= longest and lanes % side == 0]

    def _copy(self, starts: list[str], size: int, slot: int, sample: Counter, lane: Counter) -> None:
        """One argument of one sample, for a few lanes."""
        code, begin = self.code, 0
        for side in self._sides():
            squares = (size - begin) // side
            if squares:
                for first in range(0, len(starts), side):
                    some, where = starts[first : first + side], code.linear(first, [(1, lane)])
                    self._copy_squares(some, (begin, squares), slot, sample, where)
            begin += squares * side
        for k, start in enumerate(starts):
            for j in range(begin, size):
                value = code.load(code.element(start, str(j)), 1)
                code.store(value, self._address(slot + j, [], sample, code.linear(k, [(1, lane)])), 1)

    def _copy_squares(
        self, starts: list[str], columns: tuple[int, int], slot: int, sample: Counter, lane: Counter
    ) -> None:
        """So many squares of columns, from the first one on."""
        code, side, (begin, count) = self.code, len(starts), columns

        def square(j: Counter, _: list[str]) -> list[str]:
            column = code.linear(begin, [(side, j)])
            for k, vector in enumerate(code.transposed_from([code.element(start, column) for start in starts])):
                place = self._address(slot + begin + k, [(side * self.slots.pitch, j)], sample, lane)
                code.store(vector, place, side)
            return []

        code.loop(count, square)

    def _address(self, slot: int, moves: list[tuple[int, Counter]], sample: Counter, lane: Counter) -> str:
        lanes = self.machine.lanes
        terms = [(lanes * factor, counter) for factor, counter in moves]
        place = self.code.linear(self.slots.of_sample(slot) * lanes, [*terms, (lanes, sample), (1, lane)])
        return self.code.element(self.v, place)

    def weights(self) -> None:
        """The share of a sample in the mean."""
        if self.program.weight is None:
            return
        code, machine, slot = self.code, self.machine, self.program.weight
        share = code.splat(1.0 / self.slots.samples, machine.width)

        def one(s: Counter, _: list[str]) -> list[str]:
            for begin in range(0, machine.lanes, machine.width):
                code.store(share, self._address(slot, [], s, begin), machine.width)
            return []

        code.loop(self.slots.samples, one)

    def number(self) -> None:
        """The step's number, if the sample wants it."""
        if not self.program.uniform_inputs:
            return
        code, machine = self.code, self.machine
        numbers, number, mask = get(code, "numbers"), get(code, "number"), get(code, "mask")

        def one(lane: Counter, _: list[str]) -> list[str]:
            net = code.let(f"add i64 {self.net}, {lane}")
            first = code.let(f"load i64, ptr {code.element(numbers, net, 'i64')}, align 8")
            masked = code.let(f"and i64 {code.let(f'add i64 {first}, {number}')}, {mask}")
            value = code.let(f"sitofp i64 {masked} to {code.kind.name}")
            place = code.linear(self.program.first_uniform_input * machine.lanes, [(1, lane)])
            code.store(value, code.element(self.v, place), 1)
            return []

        code.loop(machine.lanes, one)
