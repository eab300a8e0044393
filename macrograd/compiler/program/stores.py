"""Where a linked program puts what its calls make: parts of slots by the instance of a call, and new slots.

A call in a loop, or with several members, has many instances. What an instance hands to other instructions is stored by
the slot of the call, which is the instance's number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from macrograd.compiler.program.calls import CALLS, Row
from macrograd.compiler.program.instruction import Index
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.touches import Touch
from macrograd.compiler.program.walk import counted
from macrograd.compiler.tape.tape import Ints


class Store:
    """Where the instances of a call put what others read: by the slot of the instance, from `low` in steps of
    `step`."""

    def __init__(self, new: Callable[[str, int], int], space: str, slots: Ints) -> None:
        self._new, self.space = new, space
        self.low = int(slots.min())
        self.step = int(np.gcd.reduce(slots - self.low)) or 1
        self.instances = (int(slots.max()) - self.low) // self.step + 1
        self.parts: dict[str | int, int] = {}

    def at(self, instance: Index, what: str | int, size: int) -> tuple[int, tuple[int, ...]]:
        """The first slot of a part of an instance, which has `size` numbers, and its shifts; the instance is given by
        the slot of one member."""
        if what not in self.parts:
            self.parts[what] = self._new(self.space, self.instances * size)
        shifts = tuple([shift // self.step * size for shift in instance.shifts])
        return self.parts[what] + (instance.base - self.low) // self.step * size, shifts


class Stores:
    """The stores of a program's calls. `rows` gives the rows that a call reads.

    size  how many slots each space has so far
    read  the rows that some call reads, as (the call that fills them, their number there)
    """

    def __init__(self, program: Program, rows: Callable[[int], Iterable[Row]]) -> None:
        self.program = program
        self.size = {"u": program.uniform, "v": program.varying}
        self._owner = {space: np.full(size, -1) for space, size in self.size.items()}
        slots: dict[tuple[int, str], list[Ints]] = {}
        for step in program.steps():
            for instruction, counts in counted(step):
                if instruction.kind == "map" and instruction.code <= CALLS:
                    number, out = CALLS - instruction.code, instruction.out
                    mine = Touch.of(out, instruction.dims, 1, counts).all()
                    slots.setdefault((number, out.space), []).append(mine)
                    self._owner[out.space][mine] = number
        self.read = {(row.call, row.number) for number, _ in slots for row in rows(number)}
        self._stores = {key: Store(self.new, key[1], np.concatenate(some)) for key, some in slots.items()}

    def __bool__(self) -> bool:
        return bool(self._stores)

    def new(self, space: str, count: int) -> int:
        """The first of some new slots."""
        begin = self.size[space]
        self.size[space] += count
        return begin

    def has(self, x: Index, dims: tuple[int, ...]) -> bool:
        """Whether an operand is calls, and not numbers."""
        slots = x.slots(dims, 1, (0,) * len(x.shifts))
        return bool((self._owner[x.space][slots] >= 0).any())

    def of(self, instance: Index) -> tuple[int, Store]:
        """The number of the call at a slot, and its store."""
        number = int(self._owner[instance.space][instance.base])
        return number, self._stores[number, instance.space]
