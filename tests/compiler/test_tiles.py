"""Tiles: every member meets every vector once, and what a tile holds fits the registers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any, cast

import numpy as np
import pytest
from written import MACHINE

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Segment
from macrograd.compiler.targets.scalar.access import AffineCounter, Member, Operands, SimdVector, Tables
from macrograd.compiler.targets.scalar.code import Code
from macrograd.compiler.targets.scalar.machine import ACCUMULATORS
from macrograd.compiler.targets.scalar.tiles import Tiles, covers, lane_tile, tile_of


class Running:
    """Code whose loops run while they are written."""

    def loop(self, rounds: int, body: Callable[[int, list[str]], Any], *_: Any, **__: Any) -> list[str]:
        for i in range(rounds):
            body(i, [])
        return []


def value(place: AffineCounter) -> int:
    return place.factor * int(place.counter) + place.offset


DOT = Instruction("dot", 0, (1,), Index("v", 0, (1,)), segments=(Segment(1, 1.0, Index("v", 0, (1,))),))
ADD = Instruction("map", ops.add.code, (1,), Index("v", 0, (1,)), (1.0, 1.0))
EXP = Instruction("map", ops.exp.code, (1,), Index("v", 0, (1,)), (1.0,))


def visited(
    instruction: Instruction, dims: tuple[int, ...], length: int, *, square: bool = False, **how: Any
) -> tuple[Counter[Any], int]:
    """How often each (member, element) is visited, and the largest tile in vectors."""
    at = Operands(cast("Code", Running()), MACHINE, Tables())
    at.axis, at.dims = "lane", dims
    seen: Counter[Any] = Counter()
    largest = 0

    def body(_: Instruction, members: list[Member], vectors: list[SimdVector]) -> None:
        nonlocal largest
        largest = max(largest, len(members) * len(vectors))
        for member, vector in product(members, vectors):
            begin = value(vector.start)
            seen.update((tuple(map(value, member)), begin + k) for k in range(vector.valid))

    tiles = Tiles(at)
    tiles.square = square
    tiles.run(instruction, length, body, **how)
    return seen, largest


@pytest.mark.parametrize("length", [1, 3, 4, 16, 20, 39])
@pytest.mark.parametrize("dims", [(), (1,), (7,), (24,), (25,), (3, 5), (2, 3, 13)], ids=str)
@pytest.mark.parametrize("instruction", [DOT, ADD, EXP], ids=["dot", "add", "exp"])
def test_every_member_meets_every_element_once(instruction: Instruction, dims: tuple[int, ...], length: int) -> None:
    seen, largest = visited(instruction, dims, length)
    assert set(seen.values()) == {1}
    assert set(seen) == set(product(np.ndindex(*dims), range(length)))
    budget = {"dot": ACCUMULATORS[MACHINE.vector_bytes]}.get(
        instruction.kind, 4 if ops.TABLE[instruction.code].costly else 8
    )
    assert largest <= max(budget, 4)


@pytest.mark.parametrize("dims", [(1,), (33,), (3, 5), (9, 17), (2, 3, 5)], ids=str)
def test_sums_across_the_vectors_see_each_member_once(dims: tuple[int, ...]) -> None:
    seen, largest = visited(replace(DOT, kind="reduce"), dims, 1, scalar=True)
    assert set(seen.values()) == {1}
    assert set(seen) == set(product(np.ndindex(*dims), [0]))
    assert largest <= 16


def test_two_counters_of_sums_are_tiled_in_both() -> None:
    """So that rows and columns of an outer product are both read less often."""
    _, flat = visited(replace(DOT, kind="reduce"), (1, 32), 1, scalar=True)
    _, square = visited(replace(DOT, kind="reduce"), (32, 32), 1, scalar=True)
    assert (flat, square) == (8, 16)


@pytest.mark.parametrize("dims", [(1, 30), (2, 17), (3, 5), (7, 7), (2, 9, 70)], ids=str)
@pytest.mark.parametrize("terms", [1, 70])
def test_squares_see_each_member_once(dims: tuple[int, ...], terms: int) -> None:
    long = replace(DOT, segments=(Segment(terms, 1.0, Index("v", 0, (1,))),))
    seen, largest = visited(long, dims, 4, square=True)
    assert set(seen.values()) == {1}
    assert set(seen) == set(product(np.ndindex(*dims), range(4)))
    assert largest <= ACCUMULATORS[MACHINE.vector_bytes]


def test_sides_of_squares() -> None:
    """Of 12 sums: 4 × 3, or 3 × 4 if rows would be left over or columns are few; with few rows as many columns as there
    are sums; and few columns, if all of them, and not the rows that they meet, are more than the nearest cache
    holds."""

    def shape(dims: tuple[int, int], terms: int) -> tuple[int, int]:
        at = Operands(cast("Code", Running()), MACHINE, Tables())
        at.axis, at.dims = "lane", dims
        tiles, found = Tiles(at), []

        def body(_: Instruction, members: list[Member], vectors: list[SimdVector]) -> None:
            rows, columns = zip(*members, strict=True)
            found.append((len(set(map(value, rows))), len(set(map(value, columns)))))

        tiles.square = True
        tiles.run(replace(DOT, segments=(Segment(terms, 1.0, Index("v", 0, (1,))),)), 4, body)
        return found[0]

    assert shape((36, 36), 8) == (4, 3)
    assert shape((37, 36), 8) == shape((36, 8), 8) == (3, 4)
    assert [shape((rows, 24), 8) for rows in (1, 2)] == [(1, 12), (2, 6)]
    assert shape((37, 36), 64) == (4, 3)
    assert shape((37, 36), 1024) == (3, 4)


def test_costly_maps_have_smaller_tiles() -> None:
    assert visited(ADD, (8,), 4)[1] == 8
    assert visited(EXP, (8,), 4)[1] == 4


@pytest.mark.parametrize(("vectors", "together"), [(0, 0), (1, 1), (3, 3), (4, 4), (6, 3), (8, 4), (5, 4), (9, 3)])
def test_vectors_of_lanes_at_once(vectors: int, together: int) -> None:
    assert lane_tile(vectors) == together


@pytest.mark.parametrize(("lanes", "all_of_them"), [(4, True), (12, True), (16, True), (32, False), (64, False)])
def test_a_tile_covers_the_lanes_of_small_blocks(lanes: int, all_of_them: bool) -> None:
    assert covers(replace(MACHINE, lanes=lanes)) is all_of_them


@pytest.mark.parametrize(("n", "cap", "size"), [(5, 8, 5), (24, 8, 8), (21, 8, 7), (25, 8, 5), (26, 8, 7), (17, 1, 1)])
def test_a_tile_is_a_divisor_or_an_even_share(n: int, cap: int, size: int) -> None:
    assert tile_of(n, cap) == size
