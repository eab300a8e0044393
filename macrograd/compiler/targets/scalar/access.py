"""Access to operands: addresses, loads and stores of the members and terms of an instruction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Index, Instruction, Operand
from macrograd.compiler.tape.tape import Ints
from macrograd.compiler.targets.scalar.code import Code, Counter, Library, Scalable, Team
from macrograd.compiler.targets.scalar.machine import Machine


@dataclass(frozen=True)
class AffineCounter:
    """A counter's value: factor·counter + offset."""

    factor: int
    counter: Counter
    offset: int


@dataclass(frozen=True)
class Panel:
    """The uniform operand of a tile's members, copied to where its terms are neighbours: [term][member]."""

    operand: Index
    address: str
    row: int
    places: dict[tuple[AffineCounter, ...], int]


@dataclass(frozen=True)
class SimdVector:
    """A piece of the SIMD axis: its start, its width, and its number of valid elements."""

    start: AffineCounter
    width: int
    valid: int


@dataclass(frozen=True)
class Part:
    """What a member that is written alone must know of its tile to have the same number: whether that has only one or
    two sums, and for each sum over a vector's elements, the length of the row in which it is written."""

    few: bool
    rows: tuple[int, ...] = ()


_LARGEST = (1 << 31) - 1  # of a table's entries

Member = tuple[AffineCounter, ...]
Cache = dict[tuple[object, ...], str]  # expressions already written, and their names
SCALAR = SimdVector(AffineCounter(0, 0, 0), 1, 1)


# The places of an operand's members: base, slots that it moves per round, stride of each counter of more than one
# value.
Key = tuple[int, tuple[int, ...], tuple[int, ...]]


def key_of(x: Index, dims: tuple[int, ...]) -> Key:
    return x.base, x.shifts, tuple(stride if dim > 1 else 0 for stride, dim in zip(x.member, dims, strict=True))


def all_rounds(x: Index, slots: Ints, counts: tuple[int, ...]) -> Ints:
    """Slots of an operand in the first rounds, and in all other rounds of loops with these counts."""
    for shift, count in zip(x.shifts, counts, strict=True):
        if shift:
            slots = (slots[:, None] + np.arange(count) * shift).ravel()
    return slots


class Tables:
    """All index tables, one after the other; equal ones are stored once. `sparing` ones leave out those of which code
    knows all entries that it needs; with them, tables do not depend on what is unrolled."""

    def __init__(self, *, sparing: bool = True) -> None:
        self.sparing = sparing
        self.parts: list[NDArray[np.int32]] = []
        self.known: dict[bytes, int] = {}
        self.products: dict[tuple[int, int], tuple[NDArray[np.int64], tuple[int, int]]] = {}
        self.size = 0

    def add(self, table: NDArray[np.int64] | NDArray[np.int32]) -> int:
        flat = np.ascontiguousarray(table.ravel(), dtype=np.int32)
        key = flat.tobytes()
        if key not in self.known:
            self.known[key] = self.size
            self.parts.append(flat)
            self.size += len(flat)
        return self.known[key]

    def scaled(self, table: NDArray[np.int64], scale: int) -> tuple[int, int]:
        """Add the products of a table's entries with `scale`, and by what they are still to be multiplied: by 1 if they
        are integers of 32 bits, otherwise the entries are stored as they are."""
        key = id(table), scale
        if key not in self.products:
            fits = scale == 1 or scale * int(np.abs(table).max(initial=0)) <= _LARGEST
            place = (self.add(scale * table), 1) if fits else (self.add(table), scale)
            self.products[key] = table, place  # with the table, or another one could get its id
        return self.products[key][1]

    def array(self) -> NDArray[np.int32]:
        return np.concatenate([*self.parts, np.zeros(1, dtype=np.int32)])


class Operands:
    """Operands as vectors of the SIMD axis. `axis` and `dims` belong to the current instruction."""

    def __init__(
        self,
        code: Code,
        machine: Machine,
        tables: Tables,
        library: Library | None = None,
        scalable: Scalable | None = None,
    ) -> None:
        self.code, self.machine, self.tables, self.library, self.scalable = code, machine, tables, library, scalable
        self.cache: Cache = {}
        # Scalars of u in registers, by slot and by the slots that it moves per round of the loops.
        self.registers: dict[tuple[int, tuple[int, ...]], str] = {}
        self.unwritten: set[int] = set()  # slots of u that are only in registers
        self.rounds: tuple[Counter, ...] = ()  # of the loops around, outermost first
        self.axis = "none"
        self.dims: tuple[int, ...] = ()
        # Results of the current group for this tile, and whether the next ones also go to memory.
        self.given: dict[tuple[Key, Member, SimdVector], str] = {}
        self.grouped, self.stored = False, True
        self.panel: Panel | None = None
        self.part: Part | None = None
        self.team: Team | None = None  # the threads that share the members of the current instruction

    def along(
        self,
        count: int,
        width: int,
        body: Callable[[SimdVector, list[str]], list[str]],
        carried: Sequence[tuple[str, str]] = (),
        *,
        unroll: int = 1,
    ) -> list[str]:
        """A loop over so many vectors of this width, with `carried` values as in `code.loop`."""
        if self.scalable is not None:
            return self.scalable.steps(
                count * width, lambda i, values: body(SimdVector(AffineCounter(1, i, 0), width, width), values), carried
            )
        return self.code.loop(
            count,
            lambda i, values: body(SimdVector(AffineCounter(width, i, 0), width, width), values),
            carried,
            unroll=unroll,
        )

    def shared(self, count: int, body: Callable[[Counter, list[str]], list[str]]) -> None:
        """The outermost loop over the members of an instruction."""
        if self.team is None:
            self.code.loop(count, body)
        else:
            self.team.loop(count, body)

    def once(self, body: Callable[[], None]) -> None:
        """Members outside of that loop."""
        if self.team is None:
            body()
        else:
            self.team.once(body)

    def slot(
        self, x: Index, member: Member, term: Counter, count: int, scale: int = 1
    ) -> tuple[int, list[tuple[int, Counter]]]:
        """An operand's slot, times `scale`, without the rounds of loops: a number, and factors of counters."""
        constant = scale * x.base
        terms: list[tuple[int, Counter]] = []
        for stride, place in zip(x.member[: len(member)], member, strict=True):
            if not stride:
                continue
            constant += scale * stride * place.offset
            if isinstance(place.counter, int):
                constant += scale * stride * place.factor * place.counter
            elif place.factor:
                terms.append((scale * stride * place.factor, place.counter))
        if isinstance(term, int):
            constant += scale * x.term * term
        elif x.term:
            terms.append((scale * x.term, term))
        for factor, offset in () if x.affine else self._table_offsets(x, member, term, count, scale):
            if isinstance(offset, int):
                constant += factor * offset
            else:
                terms.append((factor, offset))
        return constant, terms

    def address(self, x: Index, member: Member, term: Counter, count: int, along: AffineCounter | None) -> str:
        """A pointer to an operand of a member and term, at a place of the SIMD axis."""
        scale = self.machine.lanes if x.space == "v" else 1
        constant, terms = self.slot(x, member, term, count, scale)
        terms += [(shift * scale, round_) for shift, round_ in zip(x.shifts, self.rounds, strict=True) if shift]
        if along is not None:
            stride = self._stride(x)
            constant += stride * along.offset
            if isinstance(along.counter, int):
                constant += stride * along.factor * along.counter
            elif stride * along.factor:
                terms.append((stride * along.factor, along.counter))
        key = (x.space, *(sorted(terms, key=str) if len(terms) > 1 else terms))
        base = self.cache.get(key)
        if base is None:
            base = self.code.element(f"%{x.space}", self.code.linear(0, terms)) if terms else f"%{x.space}"
            self.cache[key] = base
        return self.code.element(base, str(constant)) if constant else base

    def _table_offsets(
        self, x: Index, member: Member, term: Counter, count: int, scale: int
    ) -> Iterator[tuple[int, Counter]]:
        """The offsets that tables add to an operand's slot, times `scale`, as factors and numbers if the counters are
        known, otherwise loads: from tables of the products, which are integers of 32 bits, if they fit."""
        tables = [
            (x.members, self._flat(member, x.members.shape)) if x.members is not None else None,
            (x.terms, [AffineCounter(1, term, 0)]) if x.terms is not None else None,
            (x.full, [*self._flat(member, self.dims, count), AffineCounter(1, term, 0)])
            if x.full is not None
            else None,
        ]
        for table, places in filter(None, tables):
            parts = [(place.factor, place.counter) for place in places if place.factor]
            start = sum(place.offset for place in places)
            if not self.tables.sparing:
                self.tables.scaled(table, scale)
            if all(isinstance(counter, int) for _, counter in parts):
                yield scale, int(table.ravel()[start + sum(factor * int(counter) for factor, counter in parts)])
                continue
            first, left = self.tables.scaled(table, scale)
            key = ("table", first, start, *parts)
            if key not in self.cache:
                position = self.code.linear(start + first, parts)
                pointer = self.code.element("%tables", position, "i32")
                self.cache[key] = self.code.load_integer(pointer)
            yield left, self.cache[key]

    @staticmethod
    def _flat(member: Member, shape: tuple[int, ...], size: int = 1) -> list[AffineCounter]:
        """The position in an array of this shape and element size, as a sum. Counters beyond the member's, such as that
        of the SIMD axis, do not matter."""
        found = []
        for place, length in reversed([*zip(member, shape, strict=False)]):
            if length > 1:
                found.append(AffineCounter(size * place.factor, place.counter, size * place.offset))
            size *= length
        return found

    def load(self, x: Operand, member: Member, term: Counter, count: int, vector: SimdVector) -> str:
        """An operand as a vector of the SIMD axis."""
        code, width = self.code, vector.width
        if isinstance(x, float):
            return code.splat(x, width)
        if self.given and x.space == "v" and x.affine and count == 1:
            given = self.given.get((key_of(x, self.dims), member, vector))
            if given is not None:
                return given
        known = self.key(x, member, term, vector)
        if known in self.cache:
            return self.cache[known]
        if x.space == "u" and self.axis == "none":
            slot, moving = self.slot(x, member, term, count)
            held = None if moving else self.registers.get((slot, x.shifts))
            if held is not None:
                return held
        stride = self._stride(x)
        backwards = stride < 0 and width > 1
        first = replace(x, base=x.base - (vector.valid - 1)) if backwards else x  # the lowest address
        if self.panel is not None and x is self.panel.operand:
            panel = self.panel
            address = code.element(panel.address, code.linear(panel.places[member], [(panel.row, term)]))
        else:
            address = self.address(first, member, term, count, vector.start if stride else None)
        if not stride:
            value = code.broadcast(code.load(address, 1), width)
        elif vector.valid < width:
            value = code.masked_load(address, width, vector.valid)
        else:
            value = code.load(address, width)
        if backwards:
            value = code.turned(value, width, vector.valid)
        self.cache[known] = value
        return value

    def key(self, x: Index, member: Member, term: Counter, vector: SimdVector) -> tuple[object, ...]:
        """The key of an operand in the cache: everything that its address depends on."""
        if not x.affine:
            return ("value", x.space, vector.width, id(x), member, term, vector.start)
        parts: list[object] = ["value", x.space, vector.width, x.base, x.shifts]
        for stride, place in zip(x.member[: len(member)], member, strict=True):
            if stride:
                parts.append((stride, place))
        parts.append((x.term, term) if x.term else 0)
        stride = self._stride(x)
        parts.append((stride, vector.start, vector.valid) if stride else 0)
        return tuple(parts)

    def _stride(self, x: Index) -> int:
        """The number of places that an operand moves per element of the SIMD axis: 1, 0 or -1."""
        return 1 if x.space == "v" else x.member[-1] if self.axis == "member" else 0

    def result(self, value: str, instruction: Instruction, member: Member, vector: SimdVector) -> None:
        """Deliver a member's value: to memory, and to later instructions of the group."""
        if self.grouped:
            self.given[key_of(instruction.out, self.dims), member, vector] = value
        if self.stored:
            self.store(value, instruction, member, vector)

    def store(self, value: str, instruction: Instruction, member: Member, vector: SimdVector) -> None:
        if self.axis == "none" and instruction.out.space == "u":
            slot, moving = self.slot(instruction.out, member, 0, 1)
            if not moving:
                self.registers[slot, instruction.out.shifts] = value
                if slot in self.unwritten:
                    return
        address = self.address(instruction.out, member, 0, 1, vector.start)
        if vector.valid < vector.width:
            self.code.masked_store(value, address, vector.width, vector.valid)
        else:
            self.code.store(value, address, vector.width)
