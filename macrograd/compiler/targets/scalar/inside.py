"""Operands that a sum computes where it reads them.

The squared distances of a point from k centroids are k sums of d squares, and their k·d differences are far more
numbers than those that they are computed from. If only the sums read them, they need not be in memory: each difference
is computed in the tile of the sums, right before its product. The operations are the same, and none is done twice.

This is possible for an instruction of the block each of whose results is one term of one later sum, and of use if its
operands take less memory than its results, or if none of them is in registers anyway (`fuse`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import field, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Index, Instruction, Operand, Segment
from macrograd.compiler.tape.tape import distinct
from macrograd.compiler.targets.scalar.access import all_rounds

_DEEPEST = 4  # instructions in one operand

_Key = tuple[int, tuple[tuple[int, int], ...]]  # the first slot of an operand, and how the counters of the sum move it


@dataclass(frozen=True, eq=False)
class Computed(Index):
    """An operand that is computed where it is read: a result of `source`, whose operands are indexed by the counters of
    the reader. Its slots are not written; they tell it from other operands."""

    source: Instruction = field(kw_only=True)

    def __str__(self) -> str:
        return f"({str(self.source).partition(' = ')[2].rpartition(' for ')[0]})"


def with_computed(row: Sequence[Instruction], read: NDArray[np.int64], counts: tuple[int, ...]) -> list[Instruction]:
    """Consecutive instructions of a block; those that sums can compute are in these. `read` tells how many operands
    read each slot (`fuse.readers`); `counts` are those of the loops around."""
    inside = _Inside(row, read, counts)
    found: dict[tuple[int, int], _Inner] = {}  # by the position of the sum, and of its operand
    for place, instruction in enumerate(row):
        if instruction.kind == "dot" and any(segment.count > 1 for segment in instruction.segments):
            for number, (x, count) in enumerate(instruction.operands()):
                inner = inside.of(x, _Reader(instruction.dims, count), place)
                if inner is not None:
                    found[place, number] = inner
    gone = inside.settle(found)
    if not gone:
        return list(row)
    return [_with(x, place, found) for place, x in enumerate(row) if place not in gone]


def _with(instruction: Instruction, place: int, found: dict[tuple[int, int], _Inner]) -> Instruction:
    """An instruction with the operands that were found for it."""
    if instruction.kind != "dot":
        return instruction
    operands: list[Operand] = []
    for number, (x, _) in enumerate(instruction.operands()):
        inner = found.get((place, number))
        operands.append(x if inner is None else inner.operand)
    segments = zip(instruction.segments, operands[::2], operands[1::2], strict=True)
    return replace(instruction, segments=tuple([Segment(s.count, left, right) for s, left, right in segments]))


@dataclass(frozen=True)
class _Reader:
    """The counters of a sum that reads: of its members, and of the terms."""

    dims: tuple[int, ...]
    count: int

    def lengths(self) -> tuple[int, ...]:
        return (*self.dims, self.count)

    def moves(self, x: Index) -> list[tuple[int, int]]:
        """By how much each counter moves an operand, and how many values it has."""
        along = zip((*x.member, x.term), self.lengths(), strict=True)
        return [(stride if length > 1 else 0, length) for stride, length in along]

    def key(self, x: Index) -> _Key:
        return x.base, tuple(self.moves(x))

    def slots(self, x: Index) -> int:
        """How many slots an operand has, if no two of its places are the same."""
        return prod(length for stride, length in self.moves(x) if stride)


@dataclass(frozen=True)
class _Inner:
    """An operand that may be computed. `parts` has the position of each instruction that is computed in it, with what
    tells its operands in the sum apart, and how many of its results these are."""

    operand: Computed
    parts: dict[tuple[int, _Key], int]
    key: _Key


class _Inside:
    """Finds what can be computed in the sums of a row of instructions."""

    def __init__(self, row: Sequence[Instruction], read: NDArray[np.int64], counts: tuple[int, ...]) -> None:
        self.row, self.read, self.counts = row, read, counts
        made = sorted((x.out.base, k) for k, x in enumerate(row) if x.out.space == "v" and x.kind != "scatter")
        self.bases, self.places = [base for base, _ in made], [k for _, k in made]

    def of(self, x: Operand, reader: _Reader, place: int) -> _Inner | None:
        """An operand of the sum at `place`, if it can be computed there and that is of use."""
        if not isinstance(x, Index) or reader.count == 1:
            return None
        parts: dict[tuple[int, _Key], int] = {}
        found = self._computed(x, reader, place, parts)
        if found is None:
            return None
        leaves = _leaves(found)
        least = sum(reader.slots(leaf) for leaf in leaves.values())
        if least >= reader.slots(x) and any(self._maker(leaf) is not None for leaf in leaves.values()):
            return None
        return _Inner(found, parts, reader.key(x))

    def settle(self, found: dict[tuple[int, int], _Inner]) -> set[int]:
        """Leave only operands in which instructions are computed whose every result is in one of them; returns the
        positions of these instructions."""
        while True:
            covered: dict[int, int] = {}
            for inner in {(place, inner.key): inner for (place, _), inner in found.items()}.values():
                for (maker, _), some in inner.parts.items():
                    covered[maker] = covered.get(maker, 0) + some
            whole = {maker for maker, some in covered.items() if some == self.row[maker].members}
            left = [at for at, inner in found.items() if not {maker for maker, _ in inner.parts} <= whole]
            if not left:
                return whole
            for at in left:
                del found[at]

    def _computed(self, x: Index, reader: _Reader, place: int, parts: dict[tuple[int, _Key], int]) -> Computed | None:
        """An operand of the instruction at `place`, computed by the reader; adds to `parts`."""
        if x.space != "v" or not x.affine or len(parts) == _DEEPEST or (maker := self._maker(x)) is None:
            return None
        made = self.row[maker]
        if maker >= place or not _simple(made) or made.out.shifts != x.shifts:
            return None
        counters = _counters(x, made, reader)
        if counters is None or not self._once(made, x, reader):
            return None
        parts[maker, reader.key(x)] = prod(reader.lengths())

        def here(y: Index, _: int) -> Index:
            begin, *members, term = [sum(map(int.__mul__, y.member, digits)) for digits in counters]
            moved = replace(y, base=y.base + begin, member=tuple(members), term=term)
            return self._computed(moved, reader, maker, parts) or moved

        source = replace(made.mapped(here), out=x)
        return Computed(x.space, x.base, x.member, x.term, shifts=x.shifts, source=source)

    def _maker(self, x: Index) -> int | None:
        """The position of the instruction whose results begin before those that an operand reads."""
        k = bisect_right(self.bases, x.base) - 1
        return self.places[k] if k >= 0 else None

    def _once(self, made: Instruction, x: Index, reader: _Reader) -> bool:
        """Whether the reader has no result of an instruction twice, and nothing else reads one of them."""
        slots = distinct(x.slots(reader.dims, reader.count).ravel())
        all_slots = made.out.slots(made.dims).ravel()
        if len(slots) != prod(reader.lengths()) or len(distinct(all_slots)) != made.members:
            return False
        return bool((self.read[all_rounds(made.out, all_slots, self.counts)] == 1).all())


def _simple(made: Instruction) -> bool:
    """Whether an instruction is a few operations on numbers in a row."""
    if made.kind == "map":
        simple = not ops.TABLE[made.code].costly
    else:
        simple = made.kind == "dot" and all(segment.count == 1 for segment in made.segments)
    operands = [made.out, *(x for x, _ in made.operands() if isinstance(x, Index))]
    return simple and all(x.affine for x in operands)


def _counters(x: Index, made: Instruction, reader: _Reader) -> list[tuple[int, ...]] | None:
    """The counters of the instruction that made an operand, where the reader begins; and by how much each counter of
    the reader moves them."""
    found = []
    last = [0] * len(made.dims)
    for distance, times in ((x.base - made.out.base, 1), *((s, n - 1) for s, n in reader.moves(x))):
        digits = digits_of(distance, made.out, made.dims)
        if digits is None:
            return None
        found.append(digits)
        last = [k + times * digit for k, digit in zip(last, digits, strict=True)]
    return found if all(k < dim for k, dim in zip(last, made.dims, strict=True)) else None


def digits_of(distance: int, x: Index, dims: tuple[int, ...]) -> tuple[int, ...] | None:
    """The member at which an operand is this far from where it is at the first."""
    digits = [0] * len(dims)
    moving = [(stride, k) for k, stride in enumerate(x.member) if dims[k] > 1]
    for stride, k in sorted(moving, reverse=True):
        if stride <= 0 or distance < 0:
            return None
        digits[k], distance = divmod(distance, stride)
    return None if distance else tuple(digits)


def _leaves(x: Computed) -> dict[tuple[object, ...], Index]:
    """The operands in memory of which it is computed, without uniform ones."""
    found: dict[tuple[object, ...], Index] = {}
    for y, _ in x.source.operands():
        if isinstance(y, Computed):
            found |= _leaves(y)
        elif isinstance(y, Index) and y.space == "v":
            found[y.base, y.member, y.term] = y
    return found
