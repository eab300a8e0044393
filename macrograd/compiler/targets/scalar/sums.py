"""Sums of products, and so matrix products: in registers across their terms, or along the SIMD axis if that is the axis
summed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from macrograd.compiler.program.program import Index, Instruction, Operand, Segment
from macrograd.compiler.targets.scalar.access import AffineCounter, Cache, Member, SimdVector
from macrograd.compiler.targets.scalar.axes import FEW
from macrograd.compiler.targets.scalar.code import Code, Counter, Scalable
from macrograd.compiler.targets.scalar.inside import Computed
from macrograd.compiler.targets.scalar.library import by_library, library_products
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.terms import Terms


class Sums(Terms):
    """Writes dot and reduce."""

    def dot(self, instruction: Instruction, members: list[Member], vectors: list[SimdVector]) -> None:
        """Sums of products, one accumulator for each member and vector of the tile."""
        code, width = self.code, vectors[0].width
        if (found := library_products(self.at, instruction)) and all(vector.valid == width for vector in vectors):
            by_library(self, instruction, found, members[0], vectors)
            return
        kind = code.kind.vector(width)
        tile = [(member, vector) for member in members for vector in vectors]
        sums: list[str] = []
        self.at.cache = {}
        for segment in instruction.segments:
            if self.in_vectors(segment, tile):
                sums = self.by_vectors(segment, tile, sums)
                continue
            before = dict(self.at.cache)  # expressions known in a loop over the terms, and after it

            def step(t: Counter, values: list[str], segment: Segment = segment, before: Cache = before) -> list[str]:
                if not isinstance(t, int):
                    self.at.cache = dict(before)
                new = []
                for k, (member, vector) in enumerate(tile):
                    left, right = self.pair(segment, member, t, vector)
                    new.append(self.accumulate(values[k] if values else None, left, right, width))
                if isinstance(t, int):
                    before.update(self.at.cache)
                else:
                    self.at.cache = dict(before)
                return new

            if not sums:
                sums = step(0, [])
                first = 1
            else:
                first = 0
            count = segment.count - first
            if width == 1 and count >= 2 * FEW and not self.machine.strict and self._few(tile):
                sums = self._interleaved(segment, tile, sums, first)
                self.at.cache = before
            elif count > 0:
                few = 4 if self._known(segment.left) and self._known(segment.right) else FEW
                sums = code.loop(count, partial(self._shifted, step, first), [(kind, s) for s in sums], unroll=few)
        self.at.cache = {}
        for value, (member, vector) in zip(sums, tile, strict=True):
            self.at.result(value, instruction, member, vector)

    def _shifted(
        self, step: Callable[[Counter, list[str]], list[str]], first: int, t: Counter, values: list[str]
    ) -> list[str]:
        return step(self._after(t, first), values)

    def _interleaved(
        self, segment: Segment, tile: list[tuple[Member, SimdVector]], sums: list[str], first: int
    ) -> list[str]:
        """The rest of a long sum of scalars as several independent sums, to hide latency."""
        code = self.code
        ways = FEW
        rounds, rest = divmod(segment.count - first, ways)
        zero = code.splat(-0.0, 1)

        def some(i: Counter, values: list[str]) -> list[str]:
            self.at.cache = {}
            new = []
            for way in range(ways):
                t = code.linear(first + way, [(ways, i)])
                for k, (member, vector) in enumerate(tile):
                    pair = self.pair(segment, member, int(t) if isinstance(i, int) else t, vector)
                    new.append(self.accumulate(values[way * len(tile) + k], *pair, 1))
            return new

        parts = code.loop(rounds, some, [(code.kind.name, zero)] * (ways * len(tile)))
        for t in range(first + ways * rounds, first + ways * rounds + rest):
            self.at.cache = {}
            pairs = [self.pair(segment, member, t, vector) for member, vector in tile]
            sums = [self.accumulate(s, *pair, 1) for s, pair in zip(sums, pairs, strict=True)]
        for k in range(len(tile)):
            sums[k] = code.binary("fadd", sums[k], _added(code, parts[k :: len(tile)], 1), 1)
        return sums

    def _after(self, t: Counter, first: int) -> Counter:
        if isinstance(t, int):
            return t + first
        return self.code.linear(first, [(1, t)]) if first else t

    @staticmethod
    def _known(x: Operand) -> bool:
        return isinstance(x, float) or (x.terms is None and x.full is None)

    def across(self, instruction: Instruction, members: list[Member], _: list[SimdVector]) -> None:
        """Sums over lanes (and terms), or over contiguous terms; then over each vector's elements.

        Those over terms begin with −0.0, since x + −0.0 is x for every x; those over lanes with 0.0, as gradients do in
        the eager engine."""
        code = self.code
        if self.at.axis == "lane" and self.machine.in_order:
            self._in_order(instruction, members)
            return
        width = width_of(instruction, self.machine, self.at.axis)
        kind = code.kind.vector(width)
        sums = [code.splat(0.0 if self.at.axis == "lane" else -0.0, width)] * len(members)
        for segment in instruction.segments:
            if self.at.axis == "lane":
                sums = self._across_lanes(segment, members, sums, width, kind)
            else:
                sums = self._across_terms(segment, members, sums, width, kind)
        self.finish(instruction, members, sums, width)

    def _in_order(self, instruction: Instruction, members: list[Member]) -> None:
        """Sums over the lanes, lane by lane and of each all terms, on from what the blocks before have left."""
        code, kind = self.code, self.code.kind.name
        addresses = [self.at.address(instruction.out, member, 0, 1, None) for member in members]
        starts = [code.splat(0.0, 1) if self.machine.single else code.load(address, 1) for address in addresses]

        def per_lane(lane: Counter, values: list[str]) -> list[str]:
            vector = SimdVector(AffineCounter(1, lane, 0), 1, 1)
            for segment in instruction.segments:

                def per_term(t: Counter, inner: list[str], segment: Segment = segment) -> list[str]:
                    self.at.cache = {}
                    pairs = [self.pair(segment, member, t, vector) for member in members]
                    return [self.accumulate(s, *pair, 1) for s, pair in zip(inner, pairs, strict=True)]

                values = code.loop(segment.count, per_term, [(kind, v) for v in values])
            return values

        self.at.cache = {}
        sums = code.loop(self.machine.lanes, per_lane, [(kind, start) for start in starts])
        self.at.cache = {}
        for total, member in zip(sums, members, strict=True):
            code.store(total, self.at.address(instruction.out, member, 0, 1, None), 1)

    def _across_lanes(
        self, segment: Segment, members: list[Member], sums: list[str], width: int, kind: str
    ) -> list[str]:
        vectors = self.machine.lanes // width

        def per_term(t: Counter, values: list[str]) -> list[str]:
            def per_vector(vector: SimdVector, inner: list[str]) -> list[str]:
                self.at.cache = {}
                pairs = [self.pair(segment, member, t, vector) for member in members]
                return [self.accumulate(s, *pair, width) for s, pair in zip(inner, pairs, strict=True)]

            return self.at.along(vectors, width, per_vector, [(kind, v) for v in values], unroll=4)

        return self.code.loop(segment.count, per_term, [(kind, s) for s in sums])

    def _across_terms(
        self, segment: Segment, members: list[Member], sums: list[str], width: int, kind: str
    ) -> list[str]:
        count = segment.count
        full, rest = count // width, count % width

        def chunk(values: list[str], counter: Counter, k: int, ways: int, valid: int = width) -> list[str]:
            self.at.cache = {}
            new = []
            place = AffineCounter(width * ways, counter, k * width)
            for s, member in zip(values, members, strict=True):
                parts = [self.term_vector(x, member, place, width, valid) for x in (segment.left, segment.right)]
                more = self.code.multiply_add(parts[0], parts[1], s, width)
                # Where there is no term, a sum stays as it is: one of −0.0 would be 0.0 with 0·0 added.
                new.append(more if valid == width else self.code.select(self.code.mask(width, valid), more, s, width))
            return new

        # A few sums alone would be bound by latency: several partial sums of each run side by side.
        ways = FEW if self._few(members) and full >= 2 * FEW else 1
        if ways > 1 and self.machine.rolled and sums == [self.code.splat(-0.0, width)]:
            rounds = full // ways
            sums = [self._way_by_way(partial(chunk, ways=1), rounds, width, kind)]
            for k in range(rounds * ways, full):
                sums = chunk(sums, 0, k, 1)
        elif ways > 1:
            rounds = full // ways
            zeros = [self.code.splat(-0.0, width)] * ((ways - 1) * len(members))

            def several(i: Counter, values: list[str]) -> list[str]:
                size = len(members)
                parts = [chunk(values[k * size : (k + 1) * size], i, k, ways) for k in range(ways)]
                return [s for part in parts for s in part]

            found = self.code.loop(rounds, several, [(kind, s) for s in [*sums, *zeros]])
            sums = [_added(self.code, found[k :: len(members)], width) for k in range(len(members))]
            for k in range(rounds * ways, full):
                sums = chunk(sums, 0, k, 1)
        elif full:
            sums = self.code.loop(full, lambda i, values: chunk(values, i, 0, 1), [(kind, s) for s in sums], unroll=4)
        return chunk(sums, 0, full, 1, rest) if rest else sums

    def _way_by_way(
        self, chunk: Callable[[list[str], Counter, int], list[str]], rounds: int, width: int, kind: str
    ) -> str:
        """The several sums of vectors of terms, one after the other."""
        code = self.code
        memory, zero = code.scratch(FEW * width), code.splat(-0.0, width)

        def way(k: Counter, _: list[str]) -> list[str]:
            def some(i: Counter, values: list[str]) -> list[str]:
                return chunk(values, code.linear(0, [(FEW, i), (1, k)]), 0)

            (total,) = code.loop(rounds, some, [(kind, zero)])
            code.store(total, code.element(memory, code.linear(0, [(width, k)])), width)
            return []

        code.loop(FEW, way)
        return _added(code, [code.load(code.element(memory, str(k * width)), width) for k in range(FEW)], width)

    def _few(self, tile: Sequence[object]) -> bool:
        """Whether a tile has so few sums that each may be several."""
        return len(tile) <= 2 if self.at.part is None else self.at.part.few

    def _store_sums(self, scalable: Scalable, out: Index, members: list[Member], sums: list[str], *, add: bool) -> None:
        self.at.cache = {}
        for begin, n, step in _evenly([self.at.slot(out, member, 0, 1) for member in members]):
            address = self.at.address(out, members[begin], 0, 1, None)
            scalable.store_sums(sums[begin : begin + n], address, step, add=add)

    def finish(
        self, instruction: Instruction, members: list[Member], sums: list[str], width: int, number: int = 0
    ) -> None:
        """Sum each accumulator's elements and write the results, contiguous ones together; `number` tells the sums of a
        tile apart."""
        code, out = self.code, instruction.out
        add_up = instruction.kind == "reduce" and not self.machine.single
        begin = 0
        self.at.cache = {}
        if width > 1 and self.at.scalable is not None:
            self._store_sums(self.at.scalable, out, members, sums, add=add_up)
            return
        for size in rows(out, members, width):
            if self.at.part is None:
                total = code.sums_of_elements(sums[begin : begin + size], width)
            else:
                total = code.sum_among(sums[begin], width, self.at.part.rows[number])
            address = self.at.address(out, members[begin], 0, 1, None)
            if add_up:
                total = code.binary("fadd", code.load(address, size), total, size)
            code.store(total, address, size)
            begin += size


def _evenly(places: Sequence[tuple[int, list[tuple[int, Counter]]]]) -> Iterator[tuple[int, int, int]]:
    """Places in memory, constants and moving parts, in rows of equal distances: the first, how many, the distance."""
    begin = 0
    while begin < len(places):
        (at, moving), n, step = places[begin], 1, 1
        while begin + n < len(places) and places[begin + n][1] == moving:
            step = places[begin + 1][0] - at
            if places[begin + n][0] != at + n * step:
                break
            n += 1
        yield begin, n, step if n > 1 else 1
        begin += n


def width_of(instruction: Instruction, machine: Machine, axis: str) -> int:
    """The width of the vectors that are summed over this axis."""
    length = machine.lanes if axis == "lane" else max(s.count for s in instruction.segments)
    return min(machine.width, _power_below(length))


def rows(out: Index, members: Sequence[Member], width: int) -> list[int]:
    """The lengths of the rows, up to a vector each, in which the results of these members are written."""
    found: list[int] = []
    while sum(found) < len(members):
        found.append(min(width, _power_below(_neighbours(out, members, sum(found)))))
    return found


def _neighbours(out: Index, members: Sequence[Member], begin: int) -> int:
    """The number of members from `begin` on whose results are contiguous in memory."""
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


def better_turned(instruction: Instruction) -> bool:
    """Whether the two counters of a block's sums should be swapped: then the varying operand is the same for a whole
    tile, whose members differ only in uniform numbers, which take less memory."""
    operands = [x for x, _ in instruction.operands() if isinstance(x, Index)]
    if len(instruction.dims) != 2 or any(x.full is not None for x in operands):
        return False
    varying = [_axes(x) for x in operands if x.space == "v"]
    return any(inner for _, inner in varying) and not any(outer for outer, _ in varying)


def turned(instruction: Instruction) -> Instruction:
    """The same instruction with its counters swapped."""

    def turn(x: Index, _: int) -> Index:
        if isinstance(x, Computed):
            x = replace(x, source=x.source.mapped(turn))
        return replace(x, member=x.member[::-1], members=None if x.members is None else x.members.T)

    return replace(instruction, dims=instruction.dims[::-1]).mapped(turn)


def _axes(x: Index) -> tuple[bool, ...]:
    """The counters on which an operand depends."""
    lengths = (1,) * len(x.member) if x.members is None else x.members.shape
    return tuple(bool(stride) or length > 1 for stride, length in zip(x.member, lengths, strict=True))


def _added(code: Code, sums: list[str], width: int) -> str:
    """The sum of 2ᵏ values, in pairs."""
    while len(sums) > 1:
        sums = [code.binary("fadd", a, b, width) for a, b in zip(sums[::2], sums[1::2], strict=True)]
    return sums[0]


def _power_below(n: int) -> int:
    return 1 << (n.bit_length() - 1)
