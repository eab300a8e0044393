"""Lower a program to LLVM: one loop nest per instruction, with explicit vectors.

A varying buffer is [slot][lane]; the SIMD axis of an instruction in a block is the lanes. Without lanes it is the
innermost counter of the members, or for a sum the terms, whichever lies side by side in memory. Sums of products keep
a tile of accumulators (members × vectors) in registers across their terms; what several members of a tile share is
loaded once, and that alone turns a group of dot products into a matrix product.

    context   what the functions get, a struct of pointers and integers (`Context`)
    @before   runs once; @blocks(first, last) runs blocks of lanes; @after runs once; @run is all of them
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler import lower_io
from macrograd.compiler.ir import Code, Counter, Float
from macrograd.compiler.lower_outer import OuterProduct, split
from macrograd.compiler.program import Index, Instruction, Loop, Operand, Program, Segment, Step
from macrograd.compiler.routines import routine

_ACCUMULATORS = {64: 24, 32: 12, 16: 12}  # registers for sums, by the bytes of a vector
_COSTLY = {"exp", "log", "log1p", "tanh", "sigmoid", "softplus", "sin", "cos", "pow", "div"}
_FEW = 8


class Context(ctypes.Structure):
    """What a compiled function works on. The order is that of `FIELDS`."""

    _fields_ = (
        ("u", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("tables", ctypes.c_void_p),
        ("samples", ctypes.c_int64),
        ("arguments", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("scale", ctypes.c_double),
        ("flag", ctypes.c_int64),
        ("out", ctypes.c_void_p),
        ("first", ctypes.c_int64),
        ("last", ctypes.c_int64),
    )


FIELDS = {name: k for k, (name, *_) in enumerate(Context._fields_)}


@dataclass(frozen=True)
class Target:
    """What the code is made for: number type, bytes of a vector, lanes of a block, and whether one block is all.

    `flat` says that every argument is one scalar per sample and every result goes to an array of its own, without an
    order or weights: so an update rule runs over parameters.
    """

    kind: Float
    vector_bytes: int
    lanes: int
    single: bool
    strict: bool
    flat: bool = False

    @property
    def width(self) -> int:
        return max(1, self.vector_bytes // self.kind.bytes)


@dataclass(frozen=True)
class Place:
    """A counter's value: factor·counter + offset."""

    factor: int
    counter: Counter
    offset: int


@dataclass(frozen=True)
class Vector:
    """A piece of the SIMD axis: where it starts, how wide it is, and how many of its elements count."""

    start: Place
    width: int
    valid: int


Member = tuple[Place, ...]
_SCALAR = Vector(Place(0, 0, 0), 1, 1)


def lower(program: Program, target: Target, shapes: Sequence[int], outputs: int) -> tuple[str, NDArray[np.int32]]:
    """The module's text, and the tables that it reads.

    `shapes` are the numbers of scalars of each argument; `outputs` the number of varying results to write out.
    """
    tables = _Tables()
    functions: list[str] = []
    declared: set[str] = set()
    phases = {"before": program.before, "block": program.block, "after": program.after}
    for name, steps in phases.items():
        code = Code(target.kind, flags="" if target.strict else "reassoc contract ")
        lower_io.open_context(code, FIELDS)
        emitter = _Emitter(code, target, tables, name)
        for step in steps:
            emitter.step(step)
        functions.append(lower_io.function(name, code, block=name == "block"))
        declared |= code.declared
    functions += lower_io.drivers(program, target, shapes, outputs, FIELDS, declared)
    attributes = f'attributes #0 = {{ nounwind "min-legal-vector-width"="{target.vector_bytes * 8}" }}'
    return "\n".join([*sorted(declared), "", *functions, attributes]), tables.array()


class _Tables:
    """All index tables, one behind the other; equal ones once."""

    def __init__(self) -> None:
        self.parts: list[NDArray[np.int32]] = []
        self.known: dict[bytes, int] = {}
        self.size = 0

    def add(self, table: NDArray[np.int64]) -> int:
        flat = np.ascontiguousarray(table.ravel(), dtype=np.int32)
        key = flat.tobytes()
        if key not in self.known:
            self.known[key] = self.size
            self.parts.append(flat)
            self.size += len(flat)
        return self.known[key]

    def array(self) -> NDArray[np.int32]:
        return np.concatenate([*self.parts, np.zeros(1, dtype=np.int32)])


class _Emitter:
    """Writes one instruction."""

    def __init__(self, code: Code, target: Target, tables: _Tables, phase: str) -> None:
        self.code, self.target, self.tables, self.phase = code, target, tables, phase
        self.cache: dict[tuple[object, ...], str] = {}
        # Scalars of u that are in registers: by slot and by how far the slot moves in each round of the loop.
        self.registers: dict[tuple[int, int], str] = {}
        self.round: Counter = 0

    def step(self, step: Step) -> None:
        if isinstance(step, Loop):
            self._loop(step)
        else:
            self.emit(step)

    def _loop(self, loop: Loop) -> None:
        """Rounds in time. A scalar that one round leaves for the next passes in a register."""
        code, kind = self.code, self.code.kind.name
        outer = self.registers
        made = {key for instruction in loop.body for key in self._made(instruction)}
        carried = sorted(
            {
                (slot, shift)
                for instruction in loop.body
                for slot, shift in self._read(instruction)
                if shift and (slot + shift, shift) in made and (slot, shift) not in made
            }
        )
        starts = [outer.get((slot, 0)) or code.load(code.element("%u", str(slot)), 1) for slot, _ in carried]

        def body(i: Counter, values: list[str]) -> list[str]:
            self.round = i
            self.registers = outer | dict(zip(carried, values, strict=True))
            for instruction in loop.body:
                self.emit(instruction)
            return [self.registers[slot + shift, shift] for slot, shift in carried]

        code.loop(loop.count, body, [(kind, start) for start in starts])
        self.round, self.registers = 0, outer

    def _single(self, instruction: Instruction) -> bool:
        """Whether the instruction is a few scalars outside of a block, which are written out one by one."""
        return self.phase != "block" and instruction.kind in ("map", "dot") and instruction.members <= _FEW

    def _made(self, instruction: Instruction) -> list[tuple[int, int]]:
        if not self._single(instruction):
            return []
        return [(int(slot), instruction.out.shift) for slot in instruction.out.slots(instruction.dims).ravel()]

    def _read(self, instruction: Instruction) -> list[tuple[int, int]]:
        if not self._single(instruction):
            return []
        return [
            (int(slot), x.shift)
            for x, count in instruction.operands()
            if isinstance(x, Index) and count <= _FEW
            for slot in x.slots(instruction.dims, count).ravel()
        ]

    def emit(self, instruction: Instruction) -> None:
        if instruction.kind == "take":
            self._take(instruction)
            return
        if self._single(instruction):
            self.axis, self.dims = "none", instruction.dims
            body = self._map if instruction.kind == "map" else self._dot
            members = [tuple(Place(0, 0, c) for c in counters) for counters in np.ndindex(*self.dims)]
            body(instruction, members, [_SCALAR])
            return
        outer = split(instruction, self.target) if self.phase == "block" else None
        if outer is not None:
            main, rest = outer
            OuterProduct(self.code, self.target, main, self.round).emit()
            if rest is None:
                return
            instruction = rest
        self.axis = self._axis(instruction)
        self.dims = instruction.dims[:-1] if self.axis == "member" else instruction.dims
        if self.axis == "lane":
            length = self.target.lanes
        elif self.axis == "member":
            length = instruction.dims[-1]
        else:
            length = 1
        if instruction.kind == "map":
            self._tiles(instruction, length, self._map)
        elif instruction.kind == "reduce" or self.axis == "term":
            self._tiles(instruction, 1, self._across, scalar=True)
        else:
            self._tiles(instruction, length, self._dot)

    # --- the SIMD axis ----------------------------------------------------------------------------------------------

    def _axis(self, instruction: Instruction) -> str:
        """lane, member, term, or none: what one vector runs along."""
        if self.phase == "block":
            return "lane"
        operands = [x for x, _ in instruction.operands() if isinstance(x, Index)]
        along = [instruction.out, *operands]
        if (
            instruction.dims[-1] > 1
            and instruction.out.member[-1] == 1
            and all(x.members is None and x.full is None and x.member[-1] in (0, 1) for x in along)
        ):
            return "member"
        if (
            instruction.kind == "dot"
            and not self.target.strict
            and max(segment.count for segment in instruction.segments) >= _FEW
            and all(x.terms is None and x.full is None for x in operands)
            and all(
                segment.count == 1 or x.term in (0, 1)
                for segment in instruction.segments
                for x in (segment.left, segment.right)
                if isinstance(x, Index)
            )
        ):
            return "term"
        return "none"

    def _width(self, length: int) -> int:
        return self.target.width if self.axis != "none" and length > 1 else 1

    # --- loops over tiles ---------------------------------------------------------------------------------------------

    def _tiles(
        self,
        instruction: Instruction,
        length: int,
        body: Callable[[Instruction, list[Member], list[Vector]], None],
        *,
        scalar: bool = False,
    ) -> None:
        """Call `body` for tiles (members × vectors) that cover the instruction, in loops."""
        width = 1 if scalar else self._width(length)
        vectors = length // width
        rest = length % width
        budget = _ACCUMULATORS[self.target.vector_bytes]
        if instruction.kind == "map":
            budget = 4 if ops.TABLE[instruction.code].name in _COSTLY else 8
        elif scalar:
            budget = 16
        lane_tile = min(vectors, 4) if vectors % 4 == 0 or vectors < 4 else 3 if vectors % 3 == 0 else 4
        member_cap = max(1, budget // max(1, lane_tile))

        def lanes(members: list[Member]) -> None:
            full = vectors // lane_tile if lane_tile else 0

            def tile(i: Counter, _: list[str]) -> list[str]:
                starts = [Place(lane_tile * width, i, k * width) for k in range(lane_tile)]
                body(instruction, members, [Vector(start, width, width) for start in starts])
                return []

            if full:
                self.code.loop(full, tile)
            begin = full * lane_tile
            if begin < vectors:
                places = [Place(0, 0, k * width) for k in range(begin, vectors)]
                body(instruction, members, [Vector(place, width, width) for place in places])
            if rest:
                body(instruction, members, [Vector(Place(0, 0, vectors * width), width, rest)])

        self._members(list(self.dims), [], member_cap, lanes, scalar)

    def _members(
        self,
        dims: list[int],
        outer: list[Place],
        cap: int,
        body: Callable[[list[Member]], None],
        scalar: bool,
    ) -> None:
        """Loops over the member counters; the innermost in tiles of up to `cap` (two-dimensional for reductions)."""
        if not dims:
            body([tuple(outer)])
            return
        if len(dims) > 1 and not (scalar and len(dims) == 2):

            def step(i: Counter, _: list[str]) -> list[str]:
                self._members(dims[1:], [*outer, Place(1, i, 0)], cap, body, scalar)
                return []

            self.code.loop(dims[0], step)
            return
        if len(dims) == 2:
            columns = _tile(dims[1], 8)
            rows = _tile(dims[0], max(1, cap // columns))
            for row_places in self._counted(dims[0], rows):
                with_row = row_places

                def inner(places: list[Place], with_row: list[Place] = with_row) -> None:
                    for column_places in self._counted(dims[1], columns):
                        self._open(column_places, lambda found: body([(*outer, r, c) for r in places for c in found]))

                self._open(with_row, inner)
            return
        for places in self._counted(dims[0], _tile(dims[0], cap)):
            self._open(places, lambda found: body([(*outer, place) for place in found]))

    def _counted(self, n: int, tile: int) -> Iterator[list[Place]]:
        """Full tiles as places of a loop to come (counter ''), then the rest as known places."""
        full = n // tile
        if full:
            yield [Place(tile, f"#{full}", k) for k in range(tile)]
        if n % tile:
            yield [Place(0, 0, k) for k in range(full * tile, n)]

    def _open(self, places: list[Place], body: Callable[[list[Place]], None]) -> None:
        """Run `body` in the loop that `places` ask for."""
        counter = places[0].counter
        if isinstance(counter, int):
            body(places)
            return

        def step(i: Counter, _: list[str]) -> list[str]:
            body([Place(place.factor, i, place.offset) for place in places])
            return []

        self.code.loop(int(counter[1:]), step)

    # --- operands -----------------------------------------------------------------------------------------------------

    def _slot(self, x: Index, member: Member, term: Counter, count: int) -> tuple[int, list[tuple[int, Counter]]]:
        """An operand's slot, apart from the rounds of a loop: a number, and factors of counters."""
        constant = x.base
        terms: list[tuple[int, Counter]] = []

        def add(factor: int, place: Place) -> None:
            nonlocal constant
            constant += factor * place.offset
            if isinstance(place.counter, int):
                constant += factor * place.factor * place.counter
            elif factor * place.factor:
                terms.append((factor * place.factor, place.counter))

        for stride, place in zip(x.member[: len(member)], member, strict=True):
            add(stride, place)
        add(x.term, Place(1, term, 0))
        for offset in self._table_offsets(x, member, term, count):
            if isinstance(offset, int):
                constant += offset
            else:
                terms.append((1, offset))
        return constant, terms

    def _address(self, x: Index, member: Member, term: Counter, count: int, along: Place | None) -> str:
        """A pointer to an operand: of a member, of a term, at a place of the SIMD axis."""
        scale = self.target.lanes if x.space == "v" else 1
        constant, factors = self._slot(x, member, term, count)
        constant *= scale
        terms = [(factor * scale, counter) for factor, counter in factors]
        if x.shift:
            terms.append((x.shift * scale, self.round))
        if along is not None:
            stride = 1 if x.space == "v" else x.member[-1] if self.axis == "member" else 0
            constant += stride * along.offset
            if isinstance(along.counter, int):
                constant += stride * along.factor * along.counter
            elif stride * along.factor:
                terms.append((stride * along.factor, along.counter))
        key = (x.space, *sorted(terms, key=str))
        base = self.cache.get(key)
        if base is None:
            base = self.code.element(f"%{x.space}", self.code.linear(0, terms)) if terms else f"%{x.space}"
            self.cache[key] = base
        return self.code.element(base, str(constant)) if constant else base

    def _table_offsets(self, x: Index, member: Member, term: Counter, count: int) -> Iterator[Counter]:
        """What tables add to an operand's slot: numbers where the counters are known, loads where not."""
        if x.affine:
            return
        dims = self.dims
        flat: list[tuple[int, Counter]] = []
        constant, size = 0, 1
        for place, dim in zip(reversed(member), reversed(dims), strict=True):
            constant += size * place.offset
            flat.append((size * place.factor, place.counter))
            size *= dim
        for table, parts, start in (
            (x.members, flat, constant),
            (x.terms, [(1, term)], 0),
            (x.full, [*((f * count, c) for f, c in flat), (1, term)], constant * count),
        ):
            if table is None:
                continue
            if all(isinstance(counter, int) or not factor for factor, counter in parts):
                position = start + sum(factor * int(counter) for factor, counter in parts if factor)
                yield int(table.ravel()[position])
                continue
            position_name = self.code.linear(start + self.tables.add(table), parts)
            pointer = self.code.element("%tables", position_name, "i32")
            yield self.code.let(f"sext i32 {self.code.let(f'load i32, ptr {pointer}, align 4')} to i64", "i")

    def _load(self, x: Operand, member: Member, term: Counter, count: int, vector: Vector) -> str:
        """An operand as a vector of the SIMD axis."""
        code, width = self.code, vector.width
        if isinstance(x, float):
            return code.splat(x, width)
        known = ("value", x.space, self._identity(x, member, term, vector), width)
        if known in self.cache:
            return self.cache[known]
        if x.space == "u" and self.axis == "none":
            slot, moving = self._slot(x, member, term, count)
            held = None if moving else self.registers.get((slot, x.shift))
            if held is not None:
                return held
        side_by_side = x.space == "v" or (self.axis == "member" and x.member[-1] == 1)
        address = self._address(x, member, term, count, vector.start if side_by_side else None)
        if not side_by_side:
            value = code.broadcast(code.load(address, 1), width)
        elif vector.valid < width:
            value = code.masked_load(address, width, vector.valid)
        else:
            value = code.load(address, width)
        self.cache[known] = value
        return value

    def _identity(self, x: Index, member: Member, term: Counter, vector: Vector) -> tuple[object, ...]:
        """What tells two loads of a tile apart: everything that the address depends on."""
        if not x.affine:
            return (id(x), member, term, vector.start)
        parts: list[object] = [x.base, x.shift]
        for stride, place in zip(x.member[: len(member)], member, strict=True):
            if stride:
                parts.append((stride, place))
        parts.append((x.term, term) if x.term else 0)
        moves = x.space == "v" or (self.axis == "member" and x.member[-1] == 1)
        parts.append(vector.start if moves else 0)
        return tuple(parts)

    def _store(self, value: str, instruction: Instruction, member: Member, vector: Vector) -> None:
        address = self._address(instruction.out, member, 0, 1, vector.start)
        if self.axis == "none" and instruction.out.space == "u":
            slot, moving = self._slot(instruction.out, member, 0, 1)
            if not moving:
                self.registers[slot, instruction.out.shift] = value
        if vector.valid < vector.width:
            self.code.masked_store(value, address, vector.width, vector.valid)
        else:
            self.code.store(value, address, vector.width)

    # --- what an instruction does -------------------------------------------------------------------------------------

    def _map(self, instruction: Instruction, members: list[Member], vectors: list[Vector]) -> None:
        row = ops.TABLE[instruction.code]
        compute = routine(row.llvm, strict=self.target.strict)
        self.cache = {}
        found = []
        for member in members:
            for vector in vectors:
                operands = [self._load(x, member, 0, 1, vector) for x in instruction.args]
                found.append((self._compute(row, compute, instruction, operands, vector.width), member, vector))
        for value, member, vector in found:
            self._store(value, instruction, member, vector)

    def _compute(
        self, row: ops.Op, compute: Callable[..., str], instruction: Instruction, operands: list[str], width: int
    ) -> str:
        exponent = instruction.args[1] if row is ops.power else None
        if isinstance(exponent, float) and not self.target.strict and exponent == int(exponent) and 2 < exponent <= 16:
            return self._whole_power(operands[0], int(exponent), width)
        return compute(self.code, width, *operands)

    def _whole_power(self, base: str, exponent: int, width: int) -> str:
        """xⁿ by squaring."""
        result, square = "", base
        while exponent:
            if exponent & 1:
                result = square if not result else self.code.binary("fmul", result, square, width)
            exponent >>= 1
            if exponent:
                square = self.code.binary("fmul", square, square, width)
        return result

    def _dot(self, instruction: Instruction, members: list[Member], vectors: list[Vector]) -> None:
        """Sums of products, one accumulator for each member and vector of the tile."""
        code, width = self.code, vectors[0].width
        kind = code.kind.vector(width)
        tile = [(member, vector) for member in members for vector in vectors]
        sums: list[str] = []
        for segment in instruction.segments:

            def step(t: Counter, values: list[str], segment: Segment = segment) -> list[str]:
                self.cache = {}
                new = []
                for k, (member, vector) in enumerate(tile):
                    left, right = self._pair(segment, member, t, vector)
                    new.append(self._accumulate(values[k] if values else None, left, right, width))
                return new

            if not sums:
                sums = step(0, [])
                first = 1
            else:
                first = 0
            count = segment.count - first
            if width == 1 and count >= 2 * _FEW and not self.target.strict and len(tile) <= 2:
                sums = self._interleaved(segment, tile, sums, first)
            elif count > 0:
                shifted = lambda t, values, step=step, first=first: step(self._after(t, first), values)
                few = 4 if self._known(segment.left) and self._known(segment.right) else _FEW
                sums = code.loop(count, shifted, [(kind, s) for s in sums], unroll=few)
        self.cache = {}
        for value, (member, vector) in zip(sums, tile, strict=True):
            self._store(value, instruction, member, vector)

    def _interleaved(
        self, segment: Segment, tile: list[tuple[Member, Vector]], sums: list[str], first: int
    ) -> list[str]:
        """The rest of a long sum of scalars in several sums side by side, so that they need not wait for each other."""
        code = self.code
        ways = _FEW
        rounds, rest = divmod(segment.count - first, ways)
        zero = code.splat(0.0, 1)

        def some(i: Counter, values: list[str]) -> list[str]:
            self.cache = {}
            new = []
            for way in range(ways):
                t = code.linear(first + way, [(ways, i)])
                for k, (member, vector) in enumerate(tile):
                    pair = self._pair(segment, member, int(t) if isinstance(i, int) else t, vector)
                    new.append(self._accumulate(values[way * len(tile) + k], *pair, 1))
            return new

        parts = code.loop(rounds, some, [(code.kind.name, zero)] * (ways * len(tile)))
        for t in range(first + ways * rounds, first + ways * rounds + rest):
            self.cache = {}
            pairs = [self._pair(segment, member, t, vector) for member, vector in tile]
            sums = [self._accumulate(s, *pair, 1) for s, pair in zip(sums, pairs, strict=True)]
        for k in range(len(tile)):
            mine = parts[k :: len(tile)]
            while len(mine) > 1:
                mine = [code.binary("fadd", a, b, 1) for a, b in zip(mine[::2], mine[1::2], strict=True)]
            sums[k] = code.binary("fadd", sums[k], mine[0], 1)
        return sums

    def _after(self, t: Counter, first: int) -> Counter:
        if isinstance(t, int):
            return t + first
        return self.code.let(f"add i64 {t}, {first}", "i") if first else t

    @staticmethod
    def _known(x: Operand) -> bool:
        return isinstance(x, float) or (x.terms is None and x.full is None)

    def _pair(self, segment: Segment, member: Member, t: Counter, vector: Vector) -> tuple[str | float, str]:
        left, right, count = segment.left, segment.right, segment.count
        value = self._load(right, member, t, count, vector)
        if isinstance(left, float) and left in (1.0, -1.0):
            return left, value
        return self._load(left, member, t, count, vector), value

    def _accumulate(self, total: str | None, left: str | float, right: str, width: int) -> str:
        code = self.code
        if isinstance(left, float):
            if total is None:
                return right if left == 1.0 else code.let(f"fneg {code.kind.vector(width)} {right}")
            return code.binary("fadd" if left == 1.0 else "fsub", total, right, width)
        if total is None:
            return code.binary("fmul", left, right, width)
        return code.multiply_add(left, right, total, width)

    # --- sums along the SIMD axis ---------------------------------------------------------------------------------------

    def _across(self, instruction: Instruction, members: list[Member], _: list[Vector]) -> None:
        """Sums over lanes (and terms), or over terms that lie side by side; then over each vector's elements."""
        code = self.code
        length = self.target.lanes if self.axis == "lane" else max(s.count for s in instruction.segments)
        width = min(self.target.width, _power_below(length))
        kind = code.kind.vector(width)
        sums = [code.splat(0.0, width)] * len(members)
        for segment in instruction.segments:
            if self.axis == "lane":
                sums = self._across_lanes(segment, members, sums, width, kind)
            else:
                sums = self._across_terms(segment, members, sums, width, kind)
        self._finish(instruction, members, sums, width)

    def _across_lanes(
        self, segment: Segment, members: list[Member], sums: list[str], width: int, kind: str
    ) -> list[str]:
        vectors = self.target.lanes // width

        def per_term(t: Counter, values: list[str]) -> list[str]:
            def per_vector(i: Counter, inner: list[str]) -> list[str]:
                self.cache = {}
                vector = Vector(Place(width, i, 0), width, width)
                pairs = [self._pair(segment, member, t, vector) for member in members]
                return [self._accumulate(s, *pair, width) for s, pair in zip(inner, pairs, strict=True)]

            return self.code.loop(vectors, per_vector, [(kind, v) for v in values], unroll=4)

        return self.code.loop(segment.count, per_term, [(kind, s) for s in sums])

    def _across_terms(
        self, segment: Segment, members: list[Member], sums: list[str], width: int, kind: str
    ) -> list[str]:
        count = segment.count
        full, rest = count // width, count % width

        def chunk(values: list[str], counter: Counter, offset: int, valid: int) -> list[str]:
            self.cache = {}
            new = []
            for s, member in zip(values, members, strict=True):
                parts = [
                    self._term_vector(x, member, Place(width, counter, offset), width, valid)
                    for x in (segment.left, segment.right)
                ]
                new.append(self.code.multiply_add(parts[0], parts[1], s, width))
            return new

        if full:
            sums = self.code.loop(
                full, lambda i, values: chunk(values, i, 0, width), [(kind, s) for s in sums], unroll=4
            )
        return chunk(sums, 0, full * width, rest) if rest else sums

    def _term_vector(self, x: Operand, member: Member, start: Place, width: int, valid: int) -> str:
        """An operand at `valid` terms side by side, 0 behind them."""
        code = self.code
        if isinstance(x, Index) and x.term == 1:
            position = code.linear(start.offset, [(start.factor, start.counter)])
            if valid == width:
                key = ("term", x.base, x.member, member, start)
                if key not in self.cache:
                    counter = position if not position.lstrip("-").isdigit() else int(position)
                    self.cache[key] = code.load(self._address(x, member, counter, 0, None), width)
                return self.cache[key]
            return code.masked_load(self._address(x, member, int(position), 0, None), width, valid)
        scalar = code.splat(x, 1) if isinstance(x, float) else code.load(self._address(x, member, 0, 0, None), 1)
        wide = code.broadcast(scalar, width)
        if valid == width:
            return wide
        mask = ", ".join(f"i1 {'true' if k < valid else 'false'}" for k in range(width))
        return code.select(f"<{mask}>", wide, code.splat(0.0, width), width) if width > 1 else wide

    def _finish(self, instruction: Instruction, members: list[Member], sums: list[str], width: int) -> None:
        """Sum each accumulator's elements and write the results, side by side ones together."""
        code, out = self.code, instruction.out
        add_up = instruction.kind == "reduce" and not self.target.single
        begin = 0
        self.cache = {}
        while begin < len(members):
            size = min(width, _power_below(self._neighbours(out, members, begin)))
            total = _sum_elements(code, sums[begin : begin + size], width)
            address = self._address(out, members[begin], 0, 1, None)
            if add_up:
                total = code.binary("fadd", code.load(address, size), total, size)
            code.store(total, address, size)
            begin += size

    def _neighbours(self, out: Index, members: list[Member], begin: int) -> int:
        """How many members from `begin` on have their results side by side in memory."""
        if not out.affine or not out.member or out.member[-1] != 1:
            return 1
        n = 1
        while begin + n < len(members):
            a, b = members[begin + n - 1], members[begin + n]
            same_row = a[:-1] == b[:-1] and (a[-1].factor, a[-1].counter) == (b[-1].factor, b[-1].counter)
            if not same_row or b[-1].offset != a[-1].offset + 1:
                break
            n += 1
        return n

    # --- take ---------------------------------------------------------------------------------------------------------

    def _take(self, instruction: Instruction) -> None:
        """One indexed load for each member and lane; an index out of range raises the flag instead of reading."""
        self.axis, self.dims = "lane" if self.phase == "block" else "none", instruction.dims
        lanes = self.target.lanes if self.phase == "block" else 1
        code, kind = self.code, self.code.kind
        index, values = instruction.args
        count = instruction.count

        def at(member: Member, lane: Counter) -> None:
            self.cache = {}
            vector = Vector(Place(1, lane, 0), 1, 1)
            position = self._load(index, member, 0, 1, vector)
            inside = code.compare("ult", position, code.splat(float(count), 1), 1)
            positive = code.compare("oge", position, code.splat(0.0, 1), 1)
            whole = code.compare("oeq", position, code.intrinsic("trunc", 1, position), 1)
            good = code.let(f"and i1 {inside}, {code.let(f'and i1 {positive}, {whole}')}")
            safe = code.select(good, position, code.splat(0.0, 1), 1)
            bad = code.let(f"zext i1 {code.let(f'xor i1 {good}, true')} to i64")
            old = code.let("load i64, ptr %flag, align 8")
            code.put(f"store i64 {code.let(f'or i64 {old}, {bad}')}, ptr %flag, align 8")
            t = code.let(f"fptosi {kind.name} {safe} to i64", "i")
            self._store(self._load(values, member, t, count, vector), instruction, member, vector)

        def per_member(places: list[Place]) -> Callable[[Counter, list[str]], list[str]]:
            def run(i: Counter, _: list[str]) -> list[str]:
                self._nest(instruction.dims[len(places) + 1 :], [*places, Place(1, i, 0)], at, lanes)
                return []

            return run

        code.loop(instruction.dims[0], per_member([]))

    def _nest(
        self, dims: tuple[int, ...], places: list[Place], body: Callable[[Member, Counter], None], lanes: int
    ) -> None:
        if dims:

            def step(i: Counter, _: list[str]) -> list[str]:
                self._nest(dims[1:], [*places, Place(1, i, 0)], body, lanes)
                return []

            self.code.loop(dims[0], step)
            return

        def lane(i: Counter, _: list[str]) -> list[str]:
            body(tuple(places), i)
            return []

        self.code.loop(lanes, lane)


def _tile(n: int, cap: int) -> int:
    """How many of n to do at once: the largest divisor that is at least half of the cap, or an even share."""
    if n <= cap:
        return n
    for size in range(cap, cap // 2, -1):
        if n % size == 0:
            return size
    return -(-n // -(-n // cap))


def _power_below(n: int) -> int:
    return 1 << (n.bit_length() - 1)


def _sum_elements(code: Code, vectors: list[str], width: int) -> str:
    """The sums of the elements of 2ᵏ vectors, as one vector: pairs of vectors are folded into each other."""
    size = len(vectors)
    block = 1
    while len(vectors) > 1:
        # The sums of vector 2k and 2k+1 go to alternating blocks of one vector.
        low = [m for start in range(0, width, 2 * block) for m in _both(start, block, width)]
        high = [m for start in range(0, width, 2 * block) for m in _both(start + block, block, width)]
        vectors = [
            code.binary("fadd", code.shuffle(a, b, low, width), code.shuffle(a, b, high, width), width)
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        block *= 2
    (total,) = vectors
    while width > size:
        half = width // 2
        upper = code.shuffle(total, total, range(half, width), width)
        lower = code.shuffle(total, total, range(half), width)
        if half == 1:
            upper = code.let(f"extractelement <1 x {code.kind.name}> {upper}, i32 0")
            lower = code.let(f"extractelement <1 x {code.kind.name}> {lower}, i32 0")
        total = code.binary("fadd", lower, upper, half)
        width = half
    return total


def _both(start: int, block: int, width: int) -> list[int]:
    """The elements start … start+block-1 of the first vector, then of the second."""
    return [*range(start, start + block), *range(width + start, width + start + block)]
