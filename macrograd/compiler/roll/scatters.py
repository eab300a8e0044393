"""Scatters: sums whose terms go to data-dependent places, as instructions.

A group of scatters has one member for every entry of a table: the sum of the terms whose index is this member's number
k. Members that share indices and terms and have consecutive numbers form a row. A row is computed by one walk over the
terms, which adds each to the place of its index; rows of equal length share one instruction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from macrograd.compiler.program.program import Instruction
from macrograd.compiler.roll.nests import Nest, index_of, nest_of, separable
from macrograd.compiler.tape.hashing import mix
from macrograd.compiler.tape.tape import Ints, Tape

if TYPE_CHECKING:
    from macrograd.compiler.roll.groups import Group
    from macrograd.compiler.roll.layout import Layout

_MOST_DIMS = 2  # of the rows


def scatters_of(tape: Tape, layout: Layout, group: Group) -> Iterator[Instruction]:
    """The instructions that compute a group of scatters."""
    count = group.operands.shape[1] // 2
    number = tape.leaf[group.members].astype(np.int64)
    twin = np.zeros(len(number), dtype=np.int64)
    for column in group.operands.T:
        twin = mix(twin, column)
    twin = first_equal(twin)
    order = np.lexsort((number, twin))
    breaks = (np.diff(twin[order]) != 0) | (np.diff(number[order]) != 1)
    begin = np.flatnonzero(np.append(True, breaks))
    length = np.diff(np.append(begin, len(order)))
    first = number[order[begin]]
    terms = np.argsort(layout.slot[group.operands[0, ::2]], kind="stable")
    part = group.part(order)
    for key in sorted(set(zip(first.tolist(), length.tolist(), strict=True))):
        rows = begin[(first == key[0]) & (length == key[1])]
        grid = rows[:, None] + np.arange(key[1])
        sides = [layout.slot[part.operands[rows][:, side + 2 * terms]] for side in (0, 1)]
        alone = [] if all(map(separable, sides)) else range(1, len(rows))
        for some in np.split(np.arange(len(rows)), alone):
            yield _instruction(layout, part, grid[some], [side[some] for side in sides], (key[0], count))


def _instruction(layout: Layout, part: Group, grid: Ints, sides: list[Ints], what: tuple[int, int]) -> Instruction:
    """One instruction for rows of members; `sides` are the slots (rows, terms) of the indices and of the terms."""
    slots = layout.slot[part.members[grid]]
    nest = nest_of(np.stack([slots[:, 0], *(side[:, 0] for side in sides)]), _MOST_DIMS)
    steps = np.diff(slots, axis=1)
    even = steps.size == 0 or bool((steps == steps[0, 0]).all())
    size = grid.shape[1]
    strides: list[tuple[int, ...] | None] = []
    rows: list[Ints | None] = []
    for k, (column, found) in enumerate(zip((slots, *sides), nest.strides, strict=True)):
        along = int(steps[0, 0]) if k == 0 and size > 1 and even else 0
        whole = k == 0 and not even
        strides.append(None if whole else (*(found or (0,)), along))
        rows.append(None if whole or found is not None else column[:, 0] - column[0, 0])
    dims = Nest((*nest.dims, size), strides, rows)
    entries, shifts = part.operands[grid[0, 0]], part.shifts[grid[0, 0]]
    out = index_of("u", slots.reshape(-1, 1), dims, 0, tuple(part.moves[grid[0, 0]].tolist()))
    args = [
        index_of("v" if layout.varies[entries[k]] else "u", side, dims, 1 + k, tuple(shifts[k].tolist()))
        for k, side in enumerate(sides)
    ]
    return Instruction("scatter", 0, dims.dims, out, args=tuple(args), count=what[1], choice=what[0])


def first_equal(key: Ints) -> Ints:
    """For each key, the position of the first equal one: a hash table, filled and read by all keys at once. Where
    different keys collide, the losers try again with other bits."""
    found = np.arange(len(key))
    rest, hashed = found, key
    while len(rest):
        place = hashed & ((1 << (2 * len(rest)).bit_length()) - 1)
        table = np.empty(int(place.max()) + 1, dtype=np.int64)
        table[place[::-1]] = rest[::-1]  # the first is written last and stays
        first = table[place]
        same = key[first] == key[rest]
        found[rest[same]] = first[same]
        rest = rest[~same]
        hashed = mix(key[rest], rest * 0 + len(rest))
    return found
