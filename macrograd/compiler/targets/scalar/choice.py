"""Choices by an index: one of many values to read (`take`), or one of many sums to add to (`scatter`).

An index is a number of the program's own type. It is checked and converted to an integer once for all members that
share it; these then run in the innermost loop.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from macrograd.compiler.program.program import Index, Instruction, Operand
from macrograd.compiler.targets.scalar.access import AffineCounter, Member, Operands, SimdVector
from macrograd.compiler.targets.scalar.code import Code, Counter
from macrograd.compiler.targets.scalar.rows import Rows

Body = Callable[[list[AffineCounter]], None]
_CONVERSION, _READING = 14, 4  # operations to check and convert an index, and to read and write a number


class Takes:
    """Writes takes and scatters."""

    def __init__(self, at: Operands, phase: str) -> None:
        self.at, self.code, self.machine, self.phase = at, at.code, at.machine, phase
        self.rows = Rows(at)

    def take(self, instruction: Instruction) -> None:
        """An index out of range raises the flag instead of reading."""
        index, values = instruction.args
        dims, count = instruction.dims, instruction.count
        self.at.axis, self.at.dims = "lane" if self.phase == "block" else "none", dims
        shared = _shared(index, dims)
        if self.phase == "block" and shared == 1 and self._take_rows(instruction):
            return
        if self._few(count, prod(dims[len(dims) - shared :])):
            self._take_vectors(instruction, shared)
            return

        def choose(member: Member, lane: Counter) -> None:
            vector = SimdVector(AffineCounter(1, lane, 0), 1, 1)
            good, t = self._chosen(self.at.load(index, member, 0, 1, vector), 0, count)
            self.code.raise_flag(good)

            def read(places: list[AffineCounter]) -> None:
                whole = (*member[: len(dims) - shared], *places)
                self.at.store(self.at.load(values, whole, t, count, vector), instruction, whole, vector)

            self._each(dims[len(dims) - shared :], read)

        def outer(places: list[AffineCounter]) -> None:
            member = (*places, *[AffineCounter(0, 0, 0)] * shared)
            self._lanes(lambda lane: choose(member, lane))

        self._each(dims[: len(dims) - shared], outer)

    def _few(self, count: int, members: int) -> bool:
        """Whether vectors that compare the index with each of `count` numbers have fewer operations than each lane by
        itself, for so many members."""
        width = self.machine.width
        whole = self.phase == "block" and width > 1 and not self.machine.scalable and self.machine.lanes % width == 0
        return whole and 2 * count * (1 + members) < width * (_CONVERSION + _READING * members)

    def _take_vectors(self, instruction: Instruction, shared: int) -> None:
        """A take with the lanes in vectors: of all values each lane keeps the one whose number is its index."""
        index, values = instruction.args
        code, width, count, dims = self.code, self.machine.width, instruction.count, instruction.dims
        zero, one = code.splat(0.0, width), code.splat(1.0, width)

        def choose(member: Member, i: Counter, hits: str) -> str:
            self.at.cache = {}
            vector = SimdVector(AffineCounter(width, i, 0), width, width)
            number = self.at.load(index, member, 0, 1, vector)
            masks = [code.compare("oeq", number, code.splat(float(t), width), width) for t in range(count)]
            hit = zero
            for mask in masks:
                hit = code.select(mask, one, hit, width)

            def read(places: list[AffineCounter]) -> None:
                whole = (*member[: len(dims) - shared], *places)
                chosen = self.at.load(values, whole, 0, count, vector)
                for t in range(1, count):
                    chosen = code.select(masks[t], self.at.load(values, whole, t, count, vector), chosen, width)
                self.at.store(chosen, instruction, whole, vector)

            self._each(dims[len(dims) - shared :], read)
            return code.binary("fadd", hits, hit, width)

        def outer(places: list[AffineCounter]) -> None:
            member = (*places, *[AffineCounter(0, 0, 0)] * shared)
            (hits,) = code.loop(
                self.machine.lanes // width,
                lambda i, values: [choose(member, i, values[0])],
                [(code.kind.vector(width), zero)],
            )
            total = code.sums_of_elements([hits], width)
            code.raise_flag(code.compare("oeq", total, code.splat(float(self.machine.lanes), 1), 1))

        self._each(dims[: len(dims) - shared], outer)

    def scatter(self, instruction: Instruction) -> None:
        """An index outside the members adds nothing; the take has checked whether it is valid."""
        index, term = instruction.args
        (*rows, size), count = instruction.dims, instruction.count
        self.at.axis, self.at.dims = "lane" if self.phase == "block" else "none", instruction.dims
        shared = len(rows) if _shared(index, instruction.dims) == len(instruction.dims) else 0
        if self.phase == "block" and shared == 1 and self._scatter_rows(instruction):
            return

        if self.phase != "block" or self.machine.single:
            self._zero(instruction)
            self.at.axis, self.at.dims = "lane" if self.phase == "block" else "none", instruction.dims

        def choose(member: Member, t: Counter, lane: Counter) -> None:
            vector = SimdVector(AffineCounter(1, lane, 0), 1, 1)
            good, k = self._chosen(self.at.load(index, member, t, count, vector), instruction.choice, size)

            def add(places: list[AffineCounter]) -> None:
                whole = (*member[: len(rows) - shared], *places, AffineCounter(1, k, 0))
                more = self.code.select(good, self.at.load(term, whole, t, count, vector), self.code.splat(0.0, 1), 1)
                along = vector.start if instruction.out.space == "v" else None
                address = self.at.address(instruction.out, whole, 0, 1, along)
                self.code.store(self.code.binary("fadd", self.code.load(address, 1), more, 1), address, 1)

            self._each(tuple(rows[len(rows) - shared :]), add)

        def outer(places: list[AffineCounter]) -> None:
            member = (*places, *[AffineCounter(0, 0, 0)] * (shared + 1))

            def per_term(t: Counter, _: list[str]) -> list[str]:
                self._lanes(lambda lane: choose(member, t, lane))
                return []

            self.code.loop(count, per_term)

        self._each(tuple(rows[: len(rows) - shared]), outer)

    def _take_rows(self, instruction: Instruction) -> bool:
        """Write a take of rows that are whole vectors, if it is one."""
        index, values = instruction.args
        (*rows, columns), count = instruction.dims, instruction.count
        if not isinstance(values, Index) or values.space != "u" or any(values.member[:-1]):
            return False
        if not self.rows.fits(columns, count, prod(rows), values, instruction.out):
            return False

        def number(t: Counter, column: int) -> str:
            member = (*[AffineCounter(0, 0, 0)] * len(rows), AffineCounter(0, 0, column))
            return self.at.address(values, member, t, count, None)

        memory = self.rows.copy(number, columns, count)

        def row(places: list[AffineCounter]) -> None:
            def chosen(lane: Counter) -> tuple[str, str]:
                vector = SimdVector(AffineCounter(1, lane, 0), 1, 1)
                found = self._chosen(self.at.load(index, (*places, AffineCounter(0, 0, 0)), 0, 1, vector), 0, count)
                self.code.raise_flag(found[0])
                return found

            self.rows.read(memory, columns, chosen, instruction.out, tuple(places))

        self._each(tuple(rows), row)
        return True

    def _scatter_rows(self, instruction: Instruction) -> bool:
        """Write a scatter of rows that are whole vectors, if it is one."""
        index, term = instruction.args
        (columns, size), count, out = instruction.dims, instruction.count, instruction.out
        if out.space != "u" or not self.rows.fits(columns, size, count, term, out):
            return False
        nothing = AffineCounter(0, 0, 0)

        def number(k: Counter, column: int) -> str:
            return self.at.address(out, (AffineCounter(0, 0, column), AffineCounter(1, k, 0)), 0, 1, None)

        clear = self.machine.single
        memory = self.rows.clear(columns, size) if clear else self.rows.copy(number, columns, size)

        def per_term(t: Counter, _: list[str]) -> list[str]:
            def chosen(lane: Counter) -> tuple[str, str]:
                vector = SimdVector(AffineCounter(1, lane, 0), 1, 1)
                found = self.at.load(index, (nothing, nothing), t, count, vector)
                return self._chosen(found, instruction.choice, size)

            def load(column: int, vector: SimdVector) -> str:
                return self.at.load(term, (AffineCounter(0, 0, column), nothing), t, count, vector)

            self.rows.add(memory, columns, chosen, load)
            return []

        self.code.loop(count, per_term)
        self.rows.copy(number, columns, size, back=True)
        return True

    def _zero(self, instruction: Instruction) -> None:
        """Set the members to 0."""
        code, out, (*rows, size) = self.code, instruction.out, instruction.dims
        self.at.axis, self.at.dims = "none", instruction.dims
        if out.space == "v":  # for each net of a program over nets
            self._zero_lanes(instruction)
            return
        in_a_row = out.member[-1] == 1 and (out.members is None or out.members.shape[-1] == 1)
        width = self.machine.width if in_a_row and not self.machine.scalable else 1

        def row(places: list[AffineCounter]) -> None:
            def some(i: Counter, _: list[str]) -> list[str]:
                self.at.cache = {}
                address = self.at.address(out, (*places, AffineCounter(width, i, 0)), 0, 1, None)
                code.store(code.splat(0.0, width), address, width)
                return []

            code.loop(size // width, some)
            for k in range(size // width * width, size):
                code.store(code.splat(0.0, 1), self.at.address(out, (*places, AffineCounter(0, 0, k)), 0, 1, None), 1)

        self._each(tuple(rows), row)

    def _zero_lanes(self, instruction: Instruction) -> None:
        """Set the members of all lanes to 0."""
        width, lanes = self.machine.width, self.machine.lanes

        def member(places: list[AffineCounter]) -> None:
            self.at.cache = {}
            for begin in range(0, lanes, width):
                address = self.at.address(instruction.out, tuple(places), 0, 1, AffineCounter(0, 0, begin))
                self.code.store(self.code.splat(0.0, width), address, width)

        self._each(instruction.dims, member)

    def _chosen(self, index: str, first: int, count: int) -> tuple[str, str]:
        """Whether an index is one of the integers first … first + count - 1, and which one (0 if not)."""
        code = self.code
        good, found = checked_index(code, index, code.splat(float(first), 1), code.splat(float(first + count), 1))
        return good, code.linear(-first, [(1, found)])

    def _lanes(self, body: Callable[[Counter], None]) -> None:
        def lane(i: Counter, _: list[str]) -> list[str]:
            self.at.cache = {}
            body(i)
            return []

        self.code.loop(self.machine.lanes if self.phase == "block" else 1, lane)

    def _each(self, dims: tuple[int, ...], body: Body, places: tuple[AffineCounter, ...] = ()) -> None:
        """Loops over these counters."""
        if not dims:
            self.at.cache = {}
            body(list(places))
            return

        def step(i: Counter, _: list[str]) -> list[str]:
            self._each(dims[1:], body, (*places, AffineCounter(1, i, 0)))
            return []

        self.code.loop(dims[0], step)


def checked_index(code: Code, index: str, first: str, end: str) -> tuple[str, str]:
    """Whether an index is an integer in [first, end), and which one (`first` if not)."""
    inside = code.compare("olt", index, end, 1)
    positive = code.compare("oge", index, first, 1)
    whole = code.compare("oeq", index, code.truncated(index), 1)
    good = code.both(inside, code.both(positive, whole))
    return good, code.integer(code.select(good, index, first, 1))


def _shared(x: Operand, dims: tuple[int, ...]) -> int:
    """The number of trailing counters that do not matter to an operand."""
    if not isinstance(x, Index):
        return len(dims)
    if x.full is not None:
        return 0
    lengths = (1,) * len(dims) if x.members is None else x.members.shape
    found = 0
    for k in range(len(dims) - 1, -1, -1):
        if dims[k] > 1 and (lengths[k] > 1 or x.member[k]):
            break
        found += 1
    return found
