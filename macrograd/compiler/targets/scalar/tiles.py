"""Loops over tiles: members × vectors processed at once, with their values in registers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Instruction
from macrograd.compiler.targets.scalar.access import AffineCounter, Member, Operands, SimdVector
from macrograd.compiler.targets.scalar.code import Counter
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.panels import Panels

COLUMNS = 8  # of a tile of sums over vectors' elements
_SIDE, _NARROW = 4, 3  # columns of a tile of a square
_LONG = 12  # columns: so many that some may be left over from the tiles
_NEAR, _FAR = 1 << 15, 1 << 16  # bytes that surely stay in a first-level cache, and those that surely do not

Body = Callable[[Instruction, list[Member], list[SimdVector]], None]


@dataclass(frozen=True)
class Plan:
    """The vectors of the SIMD axis, of this width, and the elements that are left; how many vectors a tile has, and how
    many members at most."""

    width: int
    vectors: int
    rest: int
    together: int
    members: int


class Tiles:
    """The loop nest of an instruction. With `square`, a tile has members along both of two counters, which then share
    both operands of a product; without, the lanes are the second side of the square."""

    def __init__(self, at: Operands) -> None:
        self.at, self.code, self.machine = at, at.code, at.machine
        self.panels = Panels(at)
        self.square = False
        self._columns = COLUMNS  # of a tile with two counters: of a square, elsewhere at most

    def _width(self, length: int) -> int:
        return self.machine.width if self.at.axis != "none" and length > 1 else 1

    def run(
        self,
        instruction: Instruction,
        length: int,
        body: Body,
        *,
        scalar: bool = False,
        sums: Sequence[Instruction] = (),
    ) -> None:
        """Call `body` for tiles (members × vectors) that cover the instruction, in loops. `sums` are the sums over a
        vector's elements that it writes besides; on a scalable machine it then writes the loop over vectors, too."""
        plan = self.plan(instruction, length, scalar)
        width, vectors, rest, together = plan.width, plan.vectors, plan.rest, plan.together
        self._columns = COLUMNS
        if self.square and not scalar and len(self.at.dims) > 1:
            self._columns = self._columns_of(instruction, plan.members)

        def lanes(members: list[Member]) -> None:
            full = vectors // together if together else 0
            if full > 1:
                self.panels.gather(instruction, members)

            def tile(i: Counter, _: list[str]) -> list[str]:
                starts = [AffineCounter(together * width, i, k * width) for k in range(together)]
                body(instruction, members, [SimdVector(start, width, width) for start in starts])
                return []

            if full:
                self.code.loop(full, tile)
            begin = full * together
            if begin < vectors:
                places = [AffineCounter(0, 0, k * width) for k in range(begin, vectors)]
                body(instruction, members, [SimdVector(place, width, width) for place in places])
            if rest:
                body(instruction, members, [SimdVector(AffineCounter(0, 0, vectors * width), width, rest)])
            self.at.panel = None

        def scalable(members: list[Member]) -> None:
            if vectors > 1:
                self.panels.gather(instruction, members)
            if sums:
                body(instruction, members, [])
            else:
                self._by_steps(vectors, width, rest, lambda vector: body(instruction, members, [vector]))
            self.at.panel = None

        each = scalable if self.machine.scalable and width > 1 else lanes
        self._members(list(self.at.dims), [], plan.members, each, scalar)

    def _by_steps(self, vectors: int, width: int, rest: int, body: Callable[[SimdVector], None]) -> None:
        """Vectors of unknown length, and what is left number by number."""

        def step(vector: SimdVector, _: list[str]) -> list[str]:
            body(vector)
            return []

        def one(i: Counter, _: list[str]) -> list[str]:
            body(SimdVector(AffineCounter(1, i, vectors * width), 1, 1))
            return []

        if vectors:
            self.at.along(vectors, width, step)
        if rest:
            self.code.loop(rest, one)

    def plan(self, instruction: Instruction, length: int, scalar: bool) -> Plan:
        """The tiles of an instruction along a SIMD axis of this length."""
        width = 1 if scalar else self._width(length)
        budget = self.machine.accumulators
        if instruction.kind == "map":
            budget = 4 if ops.TABLE[instruction.code].costly else 8
        elif scalar:
            budget = 8 if self.machine.scalable or self.machine.portable else 16  # which may be all registers
        together = lane_tile(length // width) if not self.machine.scalable or width == 1 else 1
        return Plan(width, length // width, length % width, together, max(1, budget // max(1, together)))

    def _columns_of(self, instruction: Instruction, cap: int) -> int:
        """The columns of a tile of a square, so that it has all accumulators; fewer columns than rows if the columns of
        all tiles do not stay in the nearest cache while the rows that meet them do."""
        rows, columns = self.at.dims[-2:]
        if instruction.kind != "dot":
            return tile_of(columns, _SIDE)
        if rows < _SIDE:
            return tile_of(columns, max(_SIDE, cap // rows))
        term = max(segment.count for segment in instruction.segments) * self.machine.vector_bytes
        if columns * term > _FAR and min(rows, cap // _NARROW) * term <= _NEAR:
            return tile_of(columns, _NARROW)
        return cap // _SIDE if rows % _SIDE == 0 and columns >= _LONG else tile_of(columns, _SIDE)

    def _members(
        self,
        dims: list[int],
        outer: list[AffineCounter],
        cap: int,
        body: Callable[[list[Member]], None],
        scalar: bool,
    ) -> None:
        """Loops over the member counters; the innermost in tiles of up to `cap` (two-dimensional for reductions)."""
        if not dims:
            if outer:
                body([tuple(outer)])
            else:
                self.at.once(lambda: body([()]))
            return
        if len(dims) > 1 and not ((scalar or self.square) and len(dims) == 2):

            def step(i: Counter, _: list[str]) -> list[str]:
                self._members(dims[1:], [*outer, AffineCounter(1, i, 0)], cap, body, scalar)
                return []

            (self.code.loop if outer else self.at.shared)(dims[0], step)
            return
        if len(dims) == 2:
            columns = self._columns if self.square and not scalar else tile_of(dims[1], self._columns)
            rows = tile_of(dims[0], max(1, cap // columns))
            for row_places in self._counted(dims[0], rows):
                with_row = row_places

                def inner(places: list[AffineCounter], with_row: list[AffineCounter] = with_row) -> None:
                    for column_places in self._counted(dims[1], columns):
                        self._open(
                            column_places, lambda found: body([(*outer, r, c) for r in places for c in found]), False
                        )

                self._open(with_row, inner, not outer)
            return
        for places in self._counted(dims[0], tile_of(dims[0], cap)):
            self._open(places, lambda found: body([(*outer, place) for place in found]), not outer)

    def _counted(self, n: int, tile: int) -> Iterator[list[AffineCounter]]:
        """Full tiles as places of a loop yet to be opened (counter ''), then the rest as known places."""
        full = n // tile
        if full:
            yield [AffineCounter(tile, f"#{full}", k) for k in range(tile)]
        if n % tile:
            yield [AffineCounter(0, 0, k) for k in range(full * tile, n)]

    def _open(self, places: list[AffineCounter], body: Callable[[list[AffineCounter]], None], outermost: bool) -> None:
        """Run `body` in the loop that `places` require."""
        counter = places[0].counter
        if isinstance(counter, int):
            if outermost:
                self.at.once(lambda: body(places))
            else:
                body(places)
            return

        def step(i: Counter, _: list[str]) -> list[str]:
            body([AffineCounter(place.factor, i, place.offset) for place in places])
            return []

        (self.at.shared if outermost else self.code.loop)(int(counter[1:]), step)


def lane_tile(vectors: int) -> int:
    """The number of vectors of lanes to process at once."""
    if vectors < 4 or vectors % 4 == 0:
        return min(vectors, 4)
    return 3 if vectors % 3 == 0 else 4


def covers(machine: Machine) -> bool:
    """Whether a tile covers all lanes of a block."""
    return machine.lanes % machine.width == 0 and (
        machine.scalable or lane_tile(machine.lanes // machine.width) * machine.width == machine.lanes
    )


def tile_of(n: int, cap: int) -> int:
    """The number of n items to process at once: the largest divisor that is at least half of the cap, or an even
    share."""
    if n <= cap:
        return n
    for size in range(cap, cap // 2, -1):
        if n % size == 0:
            return size
    return -(-n // -(-n // cap))
