"""Rows of tables that an index chooses, as vectors: the numbers of a token, and their gradients.

The samples' choices from a table lie anywhere, and one column of a block's results has a number of each sample. Number
by number, that is as many loads and stores as there are numbers. Here the table is copied once to where its rows are
side by side; then a square of samples × columns is read from it row by row, or added to it, and turned in registers.
The order of sums is that of the samples, as without.
"""

from __future__ import annotations

from collections.abc import Callable

from macrograd.compiler.program.program import Index, Operand
from macrograd.compiler.targets.scalar.access import AffineCounter, Member, Operands, SimdVector
from macrograd.compiler.targets.scalar.code import Counter

MOST = 1 << 14  # bytes of the copy: it is on the stack, and must stay in the first cache
_LEAST_WIDTH = 4

# Whether an index of a sample is valid, and which row it chooses.
Chosen = Callable[[Counter], tuple[str, str]]


class Rows:
    """Writes takes and scatters whose rows are whole vectors."""

    def __init__(self, at: Operands) -> None:
        self.at, self.code, self.machine = at, at.code, at.machine

    def fits(self, columns: int, choices: int, uses: int, *operands: Operand) -> bool:
        """Whether a table of that many columns and choices, which so many rows are read from, is worth the copy."""
        width, lanes = self.machine.width, self.machine.lanes
        known = width >= _LEAST_WIDTH and not self.machine.scalable
        whole = known and columns % width == 0 and lanes % width == 0
        small = columns * choices * self.code.kind.bytes <= MOST
        return (
            whole and small and uses * lanes >= 2 * choices and all(isinstance(x, Index) and x.affine for x in operands)
        )

    def copy(self, table: Callable[[Counter, int], str], columns: int, choices: int, *, back: bool = False) -> str:
        """Copy a table to memory with its rows side by side, or back; `table` gives the address of a number."""
        code, memory = self.code, self.code.scratch(columns * choices)

        def row(k: Counter, _: list[str]) -> list[str]:
            self.at.cache = {}
            for column in range(columns):
                place = code.element(memory, code.linear(column, [(columns, k)]))
                source, target = (place, table(k, column)) if back else (table(k, column), place)
                code.store(code.load(source, 1), target, 1)
            return []

        code.loop(choices, row)
        self.at.cache = {}
        return memory

    def clear(self, columns: int, choices: int) -> str:
        """The same memory, with zeros."""
        code, width, memory = self.code, self.machine.width, self.code.scratch(columns * choices)

        def some(i: Counter, _: list[str]) -> list[str]:
            code.store(code.splat(0.0, width), code.element(memory, code.linear(0, [(width, i)])), width)
            return []

        code.loop(columns * choices // width, some)
        return memory

    def read(self, memory: str, columns: int, chosen: Chosen, out: Index, member: Member) -> None:
        """The rows that the samples of a block choose, as results of a member."""
        code, width = self.code, self.machine.width

        def some(i: Counter, _: list[str]) -> list[str]:
            rows = [code.linear(0, [(columns, k)]) for _, k in self._chosen(chosen, i)]
            for begin in range(0, columns, width):
                found = [code.element(memory, self._plus(row, begin)) for row in rows]
                for k, column in enumerate(code.transposed_from(found)):
                    self.at.cache = {}
                    place = (*member, AffineCounter(0, 0, begin + k))
                    code.store(column, self.at.address(out, place, 0, 1, AffineCounter(width, i, 0)), width)
            return []

        code.loop(self.machine.lanes // width, some)

    def add(self, memory: str, columns: int, chosen: Chosen, load: Callable[[int, SimdVector], str]) -> None:
        """Add to the rows that the samples of a block choose; `load` gives a column of what is added."""
        code, width = self.code, self.machine.width

        def some(i: Counter, _: list[str]) -> list[str]:
            rows = self._chosen(chosen, i)
            vector = SimdVector(AffineCounter(width, i, 0), width, width)
            for begin in range(0, columns, width):
                self.at.cache = {}
                more = code.transposed([load(begin + k, vector) for k in range(width)])
                for (good, k), numbers in zip(rows, more, strict=True):
                    address = code.element(memory, code.linear(begin, [(columns, k)]))

                    def one(address: str = address, numbers: str = numbers) -> None:
                        code.store(code.binary("fadd", code.load(address, width), numbers, width), address, width)

                    code.when(good, one)
            return []

        code.loop(self.machine.lanes // width, some)

    def _chosen(self, chosen: Chosen, i: Counter) -> list[tuple[str, str]]:
        """What each sample of a vector chooses."""
        found = []
        for k in range(self.machine.width):
            self.at.cache = {}
            found.append(chosen(self.code.linear(k, [(self.machine.width, i)])))
        return found

    def _plus(self, place: str, more: int) -> str:
        return self.code.linear(more, [(1, place)]) if more else place
