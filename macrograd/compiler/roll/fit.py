"""Patterns: from the slots of a group's operands to index maps.

The operands of a group of n members are columns of n slots (n × T for a sum of T terms). A column is *affine* if it is
base + i·s₁ (+ j·s₂ + k·s₃) over nested counters that all columns of the group share. A group that does not fit as a
whole is cut into pieces that do; if there would be too many pieces, a column becomes a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

from macrograd.compiler.program.program import Instruction, Operand, Segment
from macrograd.compiler.roll.groups import Group
from macrograd.compiler.roll.nests import (
    LEAST_ROW,
    Nest,
    affine,
    alone,
    in_rows,
    index_of,
    prefix,
    repeated,
    separable,
    tabled,
)
from macrograd.compiler.roll.scatters import scatters_of
from macrograd.compiler.tape.tape import CONSTANT, Ints, Tape

if TYPE_CHECKING:
    from macrograd.compiler.roll.layout import Layout

_FEW_MEMBERS = 8  # so few members are written out one by one, where tables cost nothing
_FEW_TERMS = 8
_LARGE_PIECE = 64  # pieces of this many members are always worth an instruction
_LONG_RUN = 8  # terms
_MOST_PIECES = 8  # with more pieces a table makes the smaller program, however wide it is


class OperandColumn:
    """The slots of one operand of a group: an (n, T) matrix in one space, or one number for all members."""

    def __init__(self, tape: Tape, layout: Layout, entries: Ints, shifts: Ints, number: float | None = None) -> None:
        self.entries = entries if entries.ndim == 2 else entries[:, None]
        self.number, self.shifts = number, tuple(shifts.tolist())
        if number is None and not any(self.shifts):
            first = int(self.entries.flat[0])
            if tape.code[first] == CONSTANT and (self.entries == first).all():
                self.number = float(tape.leaf[first])
        self.layout = layout
        self.space = "v" if self.number is None and layout.varies[self.entries.flat[0]] else "u"

    @property
    def slots(self) -> Ints:
        found: Ints = self.layout.slot[self.entries]
        return found

    def cut(self, members: slice, terms: slice = slice(None)) -> OperandColumn:
        part = object.__new__(OperandColumn)
        part.entries, part.number, part.shifts = self.entries[members, terms], self.number, self.shifts
        part.layout, part.space = self.layout, self.space
        return part


def instructions_of(tape: Tape, layout: Layout, group: Group) -> Iterator[Instruction]:
    """The instructions that compute a group."""
    if _unlike(group):  # members that move differently become separate instructions
        moving = np.concatenate([group.shifts, group.moves[:, None]], axis=1)
        _, which = np.unique(moving, axis=0, return_inverse=True)
        seen = list(dict.fromkeys(which.ravel().tolist()))
        for pattern in seen:
            yield from instructions_of(tape, layout, group.part(np.flatnonzero(which.ravel() == pattern)))
        return
    if group.kind == "scatter":
        yield from scatters_of(tape, layout, group)
        return
    if group.kind in ("dot", "reduce"):
        parts = _alike(layout, group)
        if len(parts) > 1:
            for part in parts:
                yield from instructions_of(tape, layout, group.part(part))
            return
        columns = _term_columns(tape, layout, group)
    elif group.kind == "take":
        shifts = group.shifts[0]
        columns = [OperandColumn(tape, layout, group.operands[:, 0], shifts[0])]
        columns.append(OperandColumn(tape, layout, group.operands[:, 1:], shifts[1]))
    else:
        columns = [
            OperandColumn(tape, layout, group.operands[:, k], group.shifts[0, k])
            for k in range(group.operands.shape[1])
        ]
    yield from _fit(group, columns, layout)


def _unlike(group: Group) -> bool:
    """Whether members move differently per round of the loops around, if there are any."""
    shifts, moves = group.shifts, group.moves
    return moves.shape[1] > 0 and bool((shifts != shifts[0]).any() or (moves != moves[0]).any())


def _alike(layout: Layout, group: Group) -> list[Ints]:
    """The group as runs of members whose terms are equally spaced in each member, such as the gradients of one matrix
    among those of several; whole if all members are alike, if cutting the terms is enough, or if the runs would be
    short.
    """
    n, count = len(group.members), len(group.kinds)
    whole = [np.arange(n)]
    if count == 1 or n == 1:
        return whole
    slots = np.where(group.operands < 0, 0, layout.slot[group.operands]).reshape(n, 2, count)
    steps = slots[:, :, 1:] - slots[:, :, :-1]
    uneven = (steps != steps[0]).any(axis=(0, 1))
    if uneven.sum() <= max(1, count // _LONG_RUN):
        return whole
    begins = np.flatnonzero(np.append(True, (steps[1:] != steps[:-1]).any(axis=(1, 2))))
    large = np.diff(np.append(begins, n)) >= _LARGE_PIECE
    few = len(begins) <= _MOST_PIECES and len(begins) * LEAST_ROW <= n
    if few or not large.any():
        return np.split(whole[0], begins[1:]) if few else whole
    # Members without a pattern stay together, between the pieces that have one.
    return np.split(whole[0], begins[1:][large[1:] | large[:-1]])


def _term_columns(tape: Tape, layout: Layout, group: Group) -> list[OperandColumn]:
    """Left and right operands of the terms, a pair of columns for each run of terms of one kind and pattern."""
    count = len(group.kinds)
    left, right, kind = group.operands[:, :count], group.operands[:, count:], group.kinds
    left_shift, right_shift = group.shifts[0, :count], group.shifts[0, count:]
    cuts = _cuts(layout, group) if count > 1 else {0, 1}
    columns = []
    for begin, end in _pairs(sorted(cuts)):
        number = {0: 1.0, 1: -1.0}.get(int(kind[begin]) // 4)
        columns.append(OperandColumn(tape, layout, left[:, begin:end], left_shift[begin], number))
        columns.append(OperandColumn(tape, layout, right[:, begin:end], right_shift[begin]))
    return columns


def _cuts(layout: Layout, group: Group) -> set[int]:
    """Where runs of terms of one kind and pattern begin and end."""
    count = len(group.kinds)
    left, right, kind = group.operands[:, :count], group.operands[:, count:], group.kinds
    left_shift, right_shift = group.shifts[0, :count], group.shifts[0, count:]
    cuts = {0, count}
    for changes in (kind[:, None], left_shift, right_shift):
        if changes.size:
            cuts |= set((np.flatnonzero((changes[1:] != changes[:-1]).any(axis=1)) + 1).tolist())
    for begin, end in _pairs(sorted(cuts)):
        if end - begin <= 2:
            continue
        offsets = np.array([layout.slot[side[0, begin:end]] for side in (left, right)])
        most = max(3, min((end - begin) // LEAST_ROW, layout.most_segments))
        pieces = list(islice(_straight(offsets), most + 1)) if _bends(offsets) <= 2 * most else []
        if len(pieces) <= most:
            cuts |= {begin + p for p in pieces}
    for begin, end in _pairs(sorted(cuts)) if len(group.members) > 1 else ():
        if 1 < end - begin <= _FEW_TERMS and not all(separable(layout.slot[x[:, begin:end]]) for x in (left, right)):
            cuts |= set(range(begin, end))  # each may be affine in the members in its own way
    return cuts


def _bends(vectors: Ints) -> int:
    """The number of changes of the differences, at most two at each end of a run."""
    step = np.diff(vectors, axis=1)
    return int((step[:, 1:] != step[:, :-1]).any(axis=0).sum())


def _pairs(cuts: list[int]) -> Iterator[tuple[int, int]]:
    return pairwise(cuts)


def _straight(vectors: Ints) -> Iterator[int]:
    """The positions where runs of constant differences begin in all k vectors at once, from (k, n)."""
    n = vectors.shape[1]
    begin = 0
    while begin < n:
        yield begin
        begin += prefix(vectors[:, begin:], nested=False)


def _fit(group: Group, columns: list[OperandColumn], layout: Layout) -> Iterator[Instruction]:
    """Cut the group into pieces whose columns are all affine, or keep it whole, with tables."""
    members = group.members
    n = len(members)
    if n == 1:
        yield _instruction(group, members, columns, layout, alone(1 + sum(x.number is None for x in columns)))
        return
    vectors = _vectors(members, columns, layout)
    nest = affine(vectors)
    if nest is None and (reordered := _reorder(group, columns, layout, affine)) is not None:
        members, columns, nest = reordered
    if nest is None and (inner := affine(vectors[1:])) is not None:  # only the results are elsewhere
        nest = Nest(inner.dims, [None, *inner.strides], [None, *inner.rows])
    if nest is not None or n <= _FEW_MEMBERS:
        yield _instruction(group, members, columns, layout, nest or tabled(vectors))
        return
    begins = _begins(vectors)
    if len(begins) > 2:
        if (reordered := _reorder(group, columns, layout, in_rows)) is not None:
            members, columns, nest = reordered
        else:
            nest = in_rows(vectors)
    if nest is not None or len(begins) > _most_pieces(n):
        yield _instruction(group, members, columns, layout, nest or repeated(vectors) or tabled(vectors))
        return
    for begin, end in _pairs([*begins, n]):
        part = slice(begin, end)
        cut = [column.cut(part) for column in columns]
        yield _instruction(group, members[part], cut, layout, affine(vectors[:, part]) or tabled(vectors[:, part]))


def _begins(vectors: Ints) -> list[int]:
    """Where pieces that follow a pattern begin; stops at one too many."""
    begins: list[int] = []
    begin, n = 0, vectors.shape[1]
    while begin < n and len(begins) <= _most_pieces(n):
        begins.append(begin)
        begin += prefix(vectors[:, begin:], nested=True)
    return begins


def _most_pieces(n: int) -> int:
    return max(2, min(n // LEAST_ROW, _MOST_PIECES))


def _vectors(members: Ints, columns: list[OperandColumn], layout: Layout) -> Ints:
    """The slots that vary with the members: of the results, and of each column's first term."""
    parts = [layout.slot[members]]
    parts += [layout.slot[column.entries[:, 0]] for column in columns if column.number is None]
    return np.array(parts)


def _reorder(
    group: Group, columns: list[OperandColumn], layout: Layout, follow: Callable[[Ints], Nest | None]
) -> tuple[Ints, list[OperandColumn], Nest] | None:
    """The group in an order in which its operands follow a pattern, if sorting by one of them finds one.

    Results that nothing outside refers to by position may be in any order; the slots of the group are reassigned.
    """
    members = group.members
    slots = np.sort(layout.slot[members])
    if group.fixed or (np.diff(slots) != 1).any() or layout.fixed(members):
        return None
    vectors = _vectors(members, columns, layout)[1:]
    for rotation in range(len(vectors)):
        order = np.lexsort(np.roll(vectors, rotation, axis=0))
        nest = follow(np.vstack([slots, vectors[:, order]]))
        if nest is not None:
            layout.slot[members[order]] = slots
            return members[order], [_sorted(column, order) for column in columns], nest
    return None


def _sorted(column: OperandColumn, order: Ints) -> OperandColumn:
    part = column.cut(slice(None))
    part.entries = column.entries[order]
    return part


def _instruction(group: Group, members: Ints, columns: list[OperandColumn], layout: Layout, nest: Nest) -> Instruction:
    """One instruction for these members, with tables for columns that do not follow the counters."""
    kind, code, move = group.kind, group.code, tuple(group.moves[0].tolist())
    out_space = "u" if kind == "reduce" or not layout.varies[members[0]] else "v"
    out = index_of(out_space, layout.slot[members][:, None], nest, 0, move)
    operands: list[Operand] = []
    position = 1
    for column in columns:
        if column.number is not None:
            operands.append(column.number)
            continue
        operands.append(index_of(column.space, column.slots, nest, position, column.shifts))
        position += 1
    if kind == "map":
        return Instruction(kind, code, nest.dims, out, args=tuple(operands))
    if kind == "take":
        return Instruction(kind, code, nest.dims, out, args=tuple(operands), count=columns[1].entries.shape[1])
    segments = tuple(
        Segment(columns[k].entries.shape[1], operands[k], operands[k + 1]) for k in range(0, len(columns), 2)
    )
    return Instruction(kind, code, nest.dims, out, segments=segments)
