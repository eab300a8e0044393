"""Rolled tiles: an instruction written for one member, in loops over those that a tile has.

A module starts in code that is compiled quickly and replaced later (`jit.tiers`), and how quickly is a matter of its
length: a tile of six members and four vectors is 24 sums of products, one under the other. Here it is one member, in a
loop. Each number is computed by the same operations in the same order, so that both codes have the same bits. Only
sums over a vector's elements, and long sums of scalars, depend on the tile that they are in: these are told (`Part`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from macrograd.compiler.program.program import Instruction
from macrograd.compiler.targets.scalar.access import AffineCounter, Member, Part, SimdVector
from macrograd.compiler.targets.scalar.code import Counter
from macrograd.compiler.targets.scalar.library import library_products
from macrograd.compiler.targets.scalar.sums import rows, width_of
from macrograd.compiler.targets.scalar.tiles import COLUMNS, Body, Plan, Tiles, tile_of

_Some = tuple[int, int, Part]  # members that follow each other: the first, how many, and what each must know


class Rolled(Tiles):
    """The same loop nest with one member in a tile."""

    def run(
        self,
        instruction: Instruction,
        length: int,
        body: Body,
        *,
        scalar: bool = False,
        sums: Sequence[Instruction] = (),
    ) -> None:
        plan = self.plan(instruction, length, scalar)
        some = plan.together if sums else 1
        if library_products(self.at, instruction):
            some = plan.vectors
        elif instruction.kind == "dot":  # the loop over its terms is worth it
            some = _divisor(plan.vectors, plan.together)

        def lanes(member: Member) -> None:
            def tile(i: Counter, _: list[str]) -> list[str]:
                starts = [AffineCounter(some * plan.width, i, k * plan.width) for k in range(some)]
                body(instruction, [member], [SimdVector(start, plan.width, plan.width) for start in starts])
                return []

            if plan.vectors:
                self.code.loop(plan.vectors // some, tile)
            if plan.rest:
                start = AffineCounter(0, 0, plan.vectors * plan.width)
                body(instruction, [member], [SimdVector(start, plan.width, plan.rest)])

        outs = [x.out for x in sums] if sums else [instruction.out] if scalar else []
        width = width_of(instruction, self.machine, self.at.axis) if scalar else self.machine.width

        def known(size: int, members: int) -> list[Part]:
            """What each of the members of a row must know, in a tile of so many members and rows of this size."""
            outer = (AffineCounter(0, 0, 0),) * (len(self.at.dims) - 1)
            row = [(*outer, AffineCounter(1, "", k)) for k in range(size)] if self.at.dims else [()]
            lengths = zip(*[_spread(rows(out, row, width)) for out in outs], strict=True)
            found = list(lengths) if outs else [()] * size
            return [Part(members <= 2, some) for some in found]

        self._nest(plan, [], lanes, known, square=scalar)
        self.at.part = None

    def _nest(
        self,
        plan: Plan,
        outer: list[AffineCounter],
        then: Callable[[Member], None],
        known: Callable[[int, int], list[Part]],
        *,
        square: bool,
    ) -> None:
        dims = self.at.dims[len(outer) :]
        if not dims:
            (self.at.part,) = known(1, 1)
            then(tuple(outer))
            return
        if len(dims) > 2 or (len(dims) == 2 and not square):

            def step(i: Counter, _: list[str]) -> list[str]:
                self._nest(plan, [*outer, AffineCounter(1, i, 0)], then, known, square=square)
                return []

            self.code.loop(dims[0], step)
            return
        if len(dims) == 1:
            self._row(dims[0], tile_of(dims[0], plan.members), 1, outer, then, known)
            return
        columns = tile_of(dims[1], COLUMNS)
        height = tile_of(dims[0], max(1, plan.members // columns))
        for begin, count, size in _split(dims[0], height):

            def row(i: Counter, _: list[str], begin: int = begin, size: int = size) -> list[str]:
                self._row(dims[1], columns, size, [*outer, AffineCounter(1, i, begin)], then, known)
                return []

            self.code.loop(count, row)

    def _row(
        self,
        n: int,
        tile: int,
        height: int,
        outer: list[AffineCounter],
        then: Callable[[Member], None],
        known: Callable[[int, int], list[Part]],
    ) -> None:
        """All members along the last counter."""

        def each(base: list[tuple[int, Counter]], found: list[_Some]) -> None:
            for first, count, part in found:

                def one(i: Counter, _: list[str], first: int = first, part: Part = part) -> list[str]:
                    self.at.part = part
                    counter = self.code.linear(0, [*base, (1, i)]) if base else i
                    then((*outer, AffineCounter(1, counter, first)))
                    return []

                self.code.loop(count, one)

        found: list[_Some] = []
        for begin, count, size in _split(n, tile):
            alike = list(_alike(known(size, size * height)))
            if len(alike) == 1:
                found.append((begin, count, alike[0][2]))
            elif count == size:
                found += [(begin + first, some, part) for first, some, part in alike]
            else:
                each([], found)
                found = []

                def whole(i: Counter, _: list[str], size: int = size, alike: list[_Some] = alike) -> list[str]:
                    each([(size, i)], alike)
                    return []

                self.code.loop(count // size, whole)
        each([], list(_joined(found)))


def _split(n: int, tile: int) -> Iterator[tuple[int, int, int]]:
    """The members that are in whole tiles, and the rest: the first, how many, and how many are in a tile."""
    full = n // tile * tile
    if full:
        yield 0, full, tile
    if n % tile:
        yield full, n - full, n - full


def _alike(parts: list[Part]) -> Iterator[_Some]:
    """Neighbours that must know the same."""
    begin = 0
    for part, some in groupby(parts):
        count = len(list(some))
        yield begin, count, part
        begin += count


def _joined(found: list[_Some]) -> Iterator[_Some]:
    """The same members, with neighbours that must know the same as one entry."""
    for part, some in groupby(found, key=lambda x: x[2]):
        row = list(some)
        yield row[0][0], sum(count for _, count, _ in row), part


def _spread(lengths: list[int]) -> list[int]:
    """For each member of rows of these lengths, that of its row."""
    return [length for length in lengths for _ in range(length)]


def _divisor(n: int, most: int) -> int:
    return next((k for k in range(most, 0, -1) if n % k == 0), 1)
