"""Sums of outer products over the lanes, out[i, j] = Σ_lane a[i, lane] · b[j, lane]: the gradient of a weight matrix.

With the lanes as SIMD axis, each of these sums would end in a sum over a vector's elements. Here the SIMD axis is j
instead: a panel of b is transposed once into [lane][j], which stays in the first-level cache while all rows i use it;
then each step is one broadcast of a and one multiply-add per vector of j.
"""

from __future__ import annotations

from dataclasses import replace

from macrograd.compiler.program.program import Index, Instruction, Segment
from macrograd.compiler.targets.scalar.access import Operands
from macrograd.compiler.targets.scalar.code import Counter, Library, Scalable
from macrograd.compiler.targets.scalar.machine import Machine

_PANEL = 4  # vectors of j processed at once
_MANY = 8  # panels


def split(instruction: Instruction, machine: Machine) -> tuple[Instruction, Instruction | None] | None:
    """The part of an instruction that this file handles, with the columns in [lane][j] order as its right operand, and
    the rest if there is any; or None."""
    if instruction.kind != "reduce" or len(instruction.dims) != 2 or len(instruction.segments) != 1:
        return None
    (segment,) = instruction.segments
    rows, columns = instruction.dims
    width = machine.width
    if columns < width or rows < 2 or machine.lanes % width or width < 2:
        return None
    if machine.in_order and segment.count > 1:  # the terms of a sample would not stand together
        return None
    left, right = segment.left, segment.right
    if isinstance(left, Index) and left.member[-1] == 1:
        left, right = right, left
    if not (isinstance(left, Index) and isinstance(right, Index) and left.affine and right.affine):
        return None
    if not instruction.out.affine or instruction.out.member[-1] != 1:
        return None
    if left.space != "v" or right.space != "v" or left.member[-1] != 0 or right.member != (0, 1):
        return None
    whole = columns // width * width
    main = replace(instruction, dims=(rows, whole), segments=(Segment(segment.count, left, right),))
    if whole == columns:
        return main, None
    rest = replace(
        instruction,
        dims=(rows, columns - whole),
        out=replace(instruction.out, base=instruction.out.base + whole),
        segments=(Segment(segment.count, left, replace(right, base=right.base + whole)),),
    )
    return main, rest


class OuterProduct:
    """Writes one such instruction. Threads share many panels; the rows of few, which each of them transposes."""

    def __init__(self, at: Operands, instruction: Instruction) -> None:
        self.at, self.code, self.machine, self.instruction, self.rounds = (
            at,
            at.code,
            at.machine,
            instruction,
            at.rounds,
        )
        (segment,) = instruction.segments
        assert isinstance(segment.left, Index)
        assert isinstance(segment.right, Index)
        self.left, self.right, self.count = segment.left, segment.right, segment.count
        self.add_up = not self.machine.single or segment.count > 1
        self.whole = False  # whether a thread computes all rows of a panel

    def emit(self) -> None:
        code = self.code
        if self.at.library is not None and not self.add_up:
            self._by_library(self.at.library)
            return
        if self.machine.single and self.count > 1:
            self._clear()

        def per_term(t: Counter, _: list[str]) -> list[str]:
            vectors = self.instruction.dims[1] // self.machine.width
            panel = min(_PANEL, vectors)

            def per_panel(p: Counter, _: list[str]) -> list[str]:
                self._panel(t, [(panel * self.machine.width, p)], 0, panel)
                return []

            self.whole = vectors // panel >= _MANY
            (self.at.shared if self.whole else code.loop)(vectors // panel, per_panel)
            self.whole = False
            if vectors % panel:
                self._panel(t, [], vectors // panel * panel * self.machine.width, vectors % panel)
            return []

        code.loop(self.count, per_term)

    def _by_library(self, library: Library) -> None:
        rows, columns = self.instruction.dims
        out, left, lanes = self.instruction.out, self.left, self.machine.lanes
        a, b = self._address(left, 0, []), self._address(self.right, 0, [])
        library.outer_products(
            self._address(out, 0, []), out.member[0], a, left.member[0] * lanes, b, (rows, columns), lanes,
            self.machine.width,
        )  # fmt: skip

    def _address(self, x: Index, constant: int, terms: list[tuple[int, Counter]]) -> str:
        scale = self.machine.lanes if x.space == "v" else 1
        factors = [(factor * scale, counter) for factor, counter in terms]
        factors += [(shift * scale, round_) for shift, round_ in zip(x.shifts, self.rounds, strict=True)]
        return self.code.element(f"%{x.space}", self.code.linear((x.base + constant) * scale, factors))

    def _clear(self) -> None:
        code, out, width = self.code, self.instruction.out, self.machine.width
        zero = code.splat(0.0, width)

        def row(i: Counter, _: list[str]) -> list[str]:
            def column(j: Counter, _: list[str]) -> list[str]:
                code.store(zero, self._address(out, 0, [(out.member[0], i), (width, j)]), width)
                return []

            code.loop(self.instruction.dims[1] // width, column)
            return []

        code.loop(self.instruction.dims[0], row)

    def _panel(self, t: Counter, at: list[tuple[int, Counter]], start: int, vectors: int) -> None:
        """The columns from start + at of all rows, `vectors` vectors of them."""
        code, width, lanes = self.code, self.machine.width, self.machine.lanes
        scratch = code.scratch(lanes * vectors * width)

        def copy(lane: Counter, _: list[str]) -> list[str]:
            def one(k: Counter, _: list[str]) -> list[str]:
                row = self._address(self.right, start, [*at, (1, k), (self.right.term, t)])
                place = code.element(scratch, code.linear(0, [(vectors * width, lane), (1, k)]))
                code.store(code.load(code.element(row, str(lane)), 1), place, 1)
                return []

            code.loop(vectors * width, one)
            return []

        def turn(chunk: Counter, _: list[str]) -> list[str]:
            for v in range(vectors):
                rows = [
                    self._address(self.right, start + v * width + k, [*at, (self.right.term, t)]) for k in range(width)
                ]
                lanes_ = code.linear(0, [(width, chunk)])
                for k, column in enumerate(code.transposed_from([code.element(row, lanes_) for row in rows])):
                    stride = vectors * width
                    position = code.linear(k * stride + v * width, [(width * stride, chunk)])
                    code.store(column, code.element(scratch, position), width)
            return []

        if self.at.scalable is not None:
            self._turn_by_steps(self.at.scalable, t, at, start, vectors, scratch)
        elif self.machine.rolled:
            code.loop(lanes, copy)
        else:
            code.loop(lanes // width, turn)
        rows = self.instruction.dims[0]
        scalable = self.at.scalable is not None
        at_once = 1 if scalable else vectors
        tile = 1 if self.machine.rolled else _tile(rows, max(1, self.machine.accumulators // at_once))

        def block(i: Counter, _: list[str]) -> list[str]:
            self._rows(t, at, start, vectors, scratch, [(tile, i)], 0, tile)
            return []

        def rest() -> None:
            self._rows(t, at, start, vectors, scratch, [], rows // tile * tile, rows % tile)

        (code.loop if self.whole else self.at.shared)(rows // tile, block)
        if rows % tile and self.whole:
            rest()
        elif rows % tile:
            self.at.once(rest)

    def _turn_by_steps(
        self, scalable: Scalable, t: Counter, at: list[tuple[int, Counter]], start: int, vectors: int, scratch: str
    ) -> None:
        code, lanes, columns = self.code, self.machine.lanes, vectors * self.machine.width

        def some_lanes(i: Counter, _: list[str]) -> list[str]:
            def square(j: Counter, _: list[str]) -> list[str]:
                rows = code.element(self._address(self.right, start, [*at, (1, j), (self.right.term, t)]), str(i))
                scalable.turn(code.element(scratch, code.linear(0, [(columns, i), (1, j)])), columns, rows, lanes)
                return []

            return scalable.steps(columns, square)

        scalable.steps(lanes, some_lanes)

    def _rows(
        self,
        t: Counter,
        at: list[tuple[int, Counter]],
        start: int,
        vectors: int,
        scratch: str,
        place: list[tuple[int, Counter]],
        offset: int,
        count: int,
    ) -> None:
        """`count` rows of a panel, with the sums in registers."""
        if self.at.scalable is None:
            self._columns(t, at, start, vectors, vectors, scratch, place, offset, count)
            return

        def step(j: Counter, _: list[str]) -> list[str]:
            columns = self.code.element(scratch, str(j))
            self._columns(t, [*at, (1, j)], start, 1, vectors, columns, place, offset, count)
            return []

        self.at.scalable.steps(vectors * self.machine.width, step)

    def _columns(
        self,
        t: Counter,
        at: list[tuple[int, Counter]],
        start: int,
        vectors: int,
        of: int,
        scratch: str,
        place: list[tuple[int, Counter]],
        offset: int,
        count: int,
    ) -> None:
        """`vectors` vectors of columns, of a panel `of` that many."""
        code, width, lanes = self.code, self.machine.width, self.machine.lanes
        kind = code.kind.vector(width)
        left, out = self.left, self.instruction.out
        heads = [
            self._address(
                left, left.member[0] * (offset + k), [*((left.member[0] * f, c) for f, c in place), (left.term, t)]
            )
            for k in range(count)
        ]

        def lane(i: Counter, sums: list[str]) -> list[str]:
            columns = [
                code.load(code.element(scratch, code.linear(v * width, [(of * width, i)])), width)
                for v in range(vectors)
            ]
            new = []
            for k, head in enumerate(heads):
                a = code.broadcast(code.load(code.element(head, str(i)), 1), width)
                for v in range(vectors):
                    new.append(code.multiply_add(a, columns[v], sums[k * vectors + v], width))
            return new

        row = [(out.member[0] * f, c) for f, c in place]
        addresses = [
            self._address(out, out.member[0] * (offset + k) + start + v * width, [*at, *row])
            for k in range(count)
            for v in range(vectors)
        ]
        begun = self.add_up and self.machine.in_order
        zero = code.splat(0.0, width)
        starts = [code.load(address, width) if begun else zero for address in addresses]
        sums = code.loop(lanes, lane, [(kind, start) for start in starts])
        for address, total in zip(addresses, sums, strict=True):
            more = self.add_up and not begun
            code.store(code.binary("fadd", code.load(address, width), total, width) if more else total, address, width)


def _tile(n: int, cap: int) -> int:
    """The number of n rows to process at once: the largest divisor that is more than half of the cap, or the cap."""
    for size in range(min(cap, n), cap // 2, -1):
        if n % size == 0:
            return size
    return min(cap, n)
