"""Patterns: from the slots of a group's operands to index maps.

The operands of a group of n members are columns of n slots (n × T for a sum of T terms). A column is *affine* if it is
base + i·s₁ (+ j·s₂ + k·s₃) over nested counters that all columns of the group share. What does not fit as a whole is cut
into pieces that do; where the pieces would be too many, a column becomes a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from macrograd import ops
from macrograd.compiler.program import Index, Instruction, Operand, Segment
from macrograd.compiler.tape import CONSTANT, REDUCE, Ints, Tape

if TYPE_CHECKING:
    from macrograd.compiler.roll import Layout, Terms

_MOST_DIMS = 3
_FEW_MEMBERS = 8  # so few members are written out one by one, so that tables cost them nothing
_LEAST_PIECE = 4  # pieces smaller than this on average are worth less than a table


class Column:
    """The slots of one operand of a group: an (n, T) matrix in one space, or one number for all."""

    def __init__(self, tape: Tape, layout: Layout, entries: Ints, number: float | None = None) -> None:
        self.entries = entries if entries.ndim == 2 else entries[:, None]
        self.number = number
        if number is None:
            first = int(self.entries.flat[0])
            if tape.code[first] == CONSTANT and (self.entries == first).all():
                self.number = float(tape.leaf[first])
        self.layout = layout
        self.space = "v" if self.number is None and layout.varies[self.entries.flat[0]] else "u"

    @property
    def slots(self) -> Ints:
        found: Ints = self.layout.slot[self.entries]
        return found

    def cut(self, members: slice, terms: slice = slice(None)) -> Column:
        part = object.__new__(Column)
        part.entries, part.number = self.entries[members, terms], self.number
        part.layout, part.space = self.layout, self.space
        return part


def instructions_of(
    tape: Tape, terms: Terms, layout: Layout, members: Ints, strict: bool
) -> Iterator[Instruction]:
    """The instructions that compute a group."""
    code = int(tape.code[members[0]])
    start = tape.start[members]
    if code == ops.dot.code or code == REDUCE:
        kind = "reduce" if code == REDUCE else "dot"
        columns = _term_columns(tape, terms, layout, members)
    elif code == ops.take.code:
        kind = "take"
        count = int(tape.arity[members[0]]) - 1
        columns = [
            Column(tape, layout, tape.operand[start]),
            Column(tape, layout, tape.operand[start[:, None] + 1 + np.arange(count)]),
        ]
    else:
        kind = "map"
        columns = [
            Column(tape, layout, tape.operand[start + k]) for k in range(int(tape.arity[members[0]]))
        ]
    yield from _fit(kind, code, members, columns, layout)


def _term_columns(tape: Tape, terms: Terms, layout: Layout, members: Ints) -> list[Column]:
    """Left and right operands of the terms, a pair of columns for each run of terms of one kind and pattern."""
    count = int(terms.start[members[0] + 1] - terms.start[members[0]])
    at = terms.start[members][:, None] + np.arange(count)
    left, right = terms.left[at], terms.right[at]
    kind = terms.kind[at[0]]
    cuts = {0, count} | set((np.flatnonzero(np.diff(kind)) + 1).tolist())
    for begin, end in _pairs(sorted(cuts)):
        offsets = np.stack([layout.slot[side[0, begin:end]] for side in (left, right)])
        pieces = list(_runs(offsets))
        if len(pieces) <= max(3, (end - begin) // _LEAST_PIECE):
            cuts |= {begin + p for p in pieces}
    columns = []
    for begin, end in _pairs(sorted(cuts)):
        left_kind = int(kind[begin]) // 4
        number = {0: 1.0, 1: -1.0}.get(left_kind)
        columns.append(Column(tape, layout, left[:, begin:end], number))
        columns.append(Column(tape, layout, right[:, begin:end]))
    return columns


def _pairs(cuts: list[int]) -> Iterator[tuple[int, int]]:
    return zip(cuts[:-1], cuts[1:], strict=True)


def _runs(vectors: Ints) -> Iterator[int]:
    """Where runs of constant differences begin, in all vectors at once: (k, n) → positions."""
    n = vectors.shape[1]
    begin = 0
    while begin < n:
        yield begin
        begin += _prefix(vectors[:, begin:], nested=False)


def _fit(kind: str, code: int, members: Ints, columns: list[Column], layout: Layout) -> Iterator[Instruction]:
    """Cut the group into pieces whose columns are all affine; or keep it whole, with tables."""
    n = len(members)
    vectors = _vectors(members, columns, layout)
    if _nest(vectors) is not None:
        yield _instruction(kind, code, members, columns, layout)
        return
    reordered = _reorder(members, columns, layout)
    if reordered is not None:
        members, columns = reordered
        yield _instruction(kind, code, members, columns, layout)
        return
    if _nest(vectors[1:]) is not None:  # the operands are arrays, only the results lie elsewhere
        yield _instruction(kind, code, members, columns, layout)
        return
    begins = []
    begin = 0
    while begin < n:
        begins.append(begin)
        begin += _prefix(vectors[:, begin:], nested=True)
        if len(begins) > max(2, n // _LEAST_PIECE):
            break
    if len(begins) > max(2, n // _LEAST_PIECE) or n <= _FEW_MEMBERS:
        yield _instruction(kind, code, members, columns, layout)
        return
    for begin, end in _pairs([*begins, n]):
        part = slice(begin, end)
        yield _instruction(kind, code, members[part], [column.cut(part) for column in columns], layout)


def _vectors(members: Ints, columns: list[Column], layout: Layout) -> Ints:
    """The slots that vary with the members: of the results, and of each column's first term."""
    parts = [layout.slot[members]]
    parts += [column.slots[:, 0] for column in columns if column.number is None]
    return np.stack(parts)


def _reorder(members: Ints, columns: list[Column], layout: Layout) -> tuple[Ints, list[Column]] | None:
    """The group in an order in which its operands are affine, if sorting by one of them finds one.

    Results that nobody outside refers to by position may stand in any order; the slots of the group are dealt anew.
    """
    slots = np.sort(layout.slot[members])
    if (np.diff(slots) != 1).any() or layout.fixed(members):
        return None
    vectors = _vectors(members, columns, layout)[1:]
    for rotation in range(len(vectors)):
        order = np.lexsort(np.roll(vectors, rotation, axis=0))
        if _nest(np.vstack([slots, vectors[:, order]])) is not None:
            layout.slot[members[order]] = slots
            return members[order], [_sorted(column, order) for column in columns]
    return None


def _sorted(column: Column, order: Ints) -> Column:
    part = column.cut(slice(None))
    part.entries = column.entries[order]
    return part


def _prefix(vectors: Ints, *, nested: bool) -> int:
    """How many members from the first on follow one pattern: a run, or equal runs at a constant distance."""
    n = vectors.shape[1]
    if n <= 2:
        return n
    step = np.diff(vectors, axis=1)
    breaks = np.flatnonzero((step != step[:, :1]).any(axis=0))
    if not len(breaks):
        return n
    inner = int(breaks[0]) + 1
    if inner == 2 and _prefix(vectors[:, 1:], nested=nested) > 2:
        return 1  # two members are always a run; the second one belongs to a longer one
    if not nested:
        return inner
    rows = n // inner
    grid = vectors[:, : rows * inner].reshape(len(vectors), rows, inner)
    alike = (grid - grid[:, :, :1] == grid[:, :1] - grid[:, :1, :1]).all(axis=(0, 2))
    heads = grid[:, :, 0]
    good = int(np.argmin(np.append(alike, False)))
    if good < 2:
        return inner
    return inner * _prefix(heads[:, :good], nested=False)


def _nest(vectors: Ints) -> tuple[tuple[int, ...], list[tuple[int, ...]]] | None:
    """Counters (outermost first) over which all vectors are affine, and the strides of each; None if there are none."""
    dims: list[int] = []
    strides: list[Ints] = []
    while len(dims) < _MOST_DIMS:
        n = vectors.shape[1]
        if n == 1:
            if not dims:
                dims, strides = [1], [np.zeros(len(vectors), dtype=np.int64)]
            break
        step = np.diff(vectors, axis=1)
        breaks = np.flatnonzero((step != step[:, :1]).any(axis=0))
        inner = int(breaks[0]) + 1 if len(breaks) else n
        if n % inner:
            return None
        grid = vectors.reshape(len(vectors), n // inner, inner)
        if not (grid - grid[:, :, :1] == grid[:, :1] - grid[:, :1, :1]).all():
            return None
        dims.append(inner)
        strides.append(step[:, 0])
        vectors = grid[:, :, 0]
    if vectors.shape[1] > 1:
        return None
    return tuple(dims[::-1]), [tuple(int(s[k]) for s in strides[::-1]) for k in range(len(vectors))]


def _instruction(kind: str, code: int, members: Ints, columns: list[Column], layout: Layout) -> Instruction:
    """One instruction for the whole group; columns that are not affine over its counters get tables."""
    n = len(members)
    vectors = _vectors(members, columns, layout)
    nest = _nest(vectors)
    dims: tuple[int, ...]
    strides: list[tuple[int, ...] | None]
    if nest is None and len(vectors) > 1 and (inner := _nest(vectors[1:])) is not None:
        dims, strides = inner[0], [None, *inner[1]]
    elif nest is None:
        affine = [_nest(vector[None]) for vector in vectors]
        lines = [fit is not None and len(fit[0]) == 1 for fit in affine]
        dims = (n,)
        strides = [fit[1][0] if fit is not None and line else None for fit, line in zip(affine, lines, strict=True)]
    else:
        dims, strides = nest[0], list(nest[1])
    out_space = "u" if kind == "reduce" or not layout.varies[members[0]] else "v"
    out = _index(out_space, vectors[0][:, None], dims, strides[0])
    operands: list[Operand] = []
    position = 1
    for column in columns:
        if column.number is not None:
            operands.append(column.number)
            continue
        operands.append(_index(column.space, column.slots, dims, strides[position]))
        position += 1
    if kind == "map":
        return Instruction(kind, code, dims, out, args=tuple(operands))
    if kind == "take":
        return Instruction(kind, code, dims, out, args=tuple(operands), count=columns[1].entries.shape[1])
    segments = tuple(
        Segment(columns[k].entries.shape[1], operands[k], operands[k + 1]) for k in range(0, len(columns), 2)
    )
    return Instruction(kind, code, dims, out, segments=segments)


def _index(space: str, slots: Ints, dims: tuple[int, ...], strides: tuple[int, ...] | None) -> Index:
    """The map that gives these (n, T) slots, the member part being affine with `strides` or a table."""
    base = int(slots[0, 0])
    offsets = slots[0] - base
    zeros = (0,) * len(dims)
    if not (slots == slots[:, :1] + offsets).all():
        return Index(space, 0, zeros, full=slots.copy())
    step = int(offsets[1]) if len(offsets) > 1 else 0
    regular = (offsets == step * np.arange(len(offsets))).all()
    return Index(
        space,
        base,
        strides if strides is not None else zeros,
        step if regular else 0,
        members=None if strides is not None else slots[:, 0] - base,
        terms=None if regular else offsets,
    )
