"""Layout: the slot of every entry, and the products of all sums.

Each group's results get consecutive slots of one space, `u` for numbers that are the same for all samples and `v` for
those that vary, so that the operands of the next group follow patterns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CONSTANT, INPUT, PARAMETER, REDUCE, UNIFORM, Ints, Tape

# When an entry runs: before the blocks, in each block, summed over the blocks, after them.
BEFORE, BLOCK, SUM, AFTER = 0, 1, 2, 3


@dataclass(frozen=True)
class Layout:
    """Every entry's space (True: varying) and slot, and the sizes of the spaces.

    most_segments  how many pieces the terms of one kind may have; more than that become a table
    """

    varies: NDArray[np.bool_]
    slot: Ints
    constants: NDArray[np.float64]
    uniform: int
    varying: int
    is_result: NDArray[np.bool_]
    spare: list[int] = field(default_factory=lambda: [0])  # varying slots besides those of the entries
    most_segments: int = 32

    def more_varying(self, count: int) -> Ints:
        """New slots in v that belong to no entry."""
        begin = self.varying + self.spare[0]
        self.spare[0] += count
        return np.arange(begin, begin + count)

    def fixed(self, entries: Ints) -> bool:
        """Whether these entries must keep their order because the caller reads them as results."""
        return bool(self.is_result[entries].any())


@dataclass(frozen=True)
class Terms:
    """All products in all sums: those of entry i are left[k]·right[k] for start[i] ≤ k < start[i + 1]."""

    left: Ints
    right: Ints
    kind: Ints
    start: Ints

    @property
    def owner(self) -> Ints:
        """For each product, the entry whose sum it is in."""
        count = np.diff(self.start)
        sums = np.flatnonzero(count).astype(np.int32)
        return np.repeat(sums, count[sums])


def sums_of(tape: Tape, varies: NDArray[np.bool_], strict: bool) -> tuple[Ints, NDArray[np.bool_]]:
    """For each entry that is a sum of products, the entry whose operands are the products (else -1): itself for a dot;
    for a reduce, its operand if that is a product or dot used only here (in strict mode of one product: a sample's sum
    is rounded before the samples are added up). And which entries are still needed then.

    Lanes of a block without a sample hold 0 where a reduce reads them, so no factor shared by all samples may be
    infinite or NaN: 0·∞ would enter the sum. A product with such a factor is computed before those lanes are cleared.
    """
    n = len(tape)
    sums = np.where(tape.code == ops.dot.code, np.arange(n, dtype=np.int32), np.int32(-1))
    used = np.ones(n, dtype=bool)
    reduces = np.flatnonzero(tape.code == REDUCE)
    if not len(reduces):
        return sums, used
    uses = walks.counted(tape.operand, n)
    np.add.at(uses, tape.results, 1)
    inner = tape.operand[tape.start[reduces]]
    harmless = varies | ((tape.code == CONSTANT) & tapes.finite(tape.leaf))
    harmful = np.zeros(n, dtype=bool)
    harmful[tape.owner[~tapes.at(harmless, tape.operand)]] = True
    fused = tapes.among(tape.code[inner], [ops.dot.code, ops.mul.code]) & (uses[inner] == 1) & ~harmful[inner]
    if strict:
        fused &= tape.arity[inner] == 2
    sums[reduces] = np.where(fused, inner, reduces)
    used[inner[fused]] = False
    sums[inner[fused]] = -1
    return sums, used


def terms_of(tape: Tape, sums: Ints, varies: NDArray[np.bool_]) -> Terms:
    """The products of all sums, each with its operands in a fixed order: constants, parameters, inputs, others."""
    owner = np.flatnonzero(sums >= 0)
    inner = sums[owner]
    alone = tape.code[inner] == REDUCE  # one term, x·1
    count = np.where(alone, 1, tape.arity[inner] // 2)
    starts = np.zeros(len(tape) + 1, dtype=np.int32)
    starts[owner + 1] = count
    start = np.cumsum(starts, dtype=np.int32)
    position = np.repeat(tape.start[inner] - 2 * start[owner], count) + 2 * np.arange(start[-1], dtype=np.int32)
    single = np.repeat(alone, count)
    left = tapes.at(tape.operand, position)
    right = tapes.at(tape.operand, np.minimum(position + 1, len(tape.operand) - 1))
    del position, starts
    right[single] = -1
    rank = 3 + 4 * varies.astype(np.int8)
    for code, before in ((CONSTANT, 0), (PARAMETER, 1), (UNIFORM, 1), (INPUT, 2)):
        rank[tape.code == code] += before - 3
    left_rank, right_rank = tapes.at(rank, left), tapes.at(rank, right)
    swap = (right >= 0) & ((left_rank > right_rank) | ((left_rank == right_rank) & (left > right)))
    left, right = np.where(swap, right, left), np.where(swap, left, right)
    left, right = np.where(single, np.int32(-1), left), np.where(single, left, right)
    # The kind of a factor: 0 for 1, 1 for −1, 2 for any other that is the same for all samples, 3 for one that varies.
    factor = 2 + varies.astype(np.int8)
    for number, its in ((1.0, 0), (-1.0, 1)):
        factor[(tape.code == CONSTANT) & (tape.leaf == number)] = its
    left_kind = tapes.at(factor, left)
    left_kind[single] = 0
    kind = 4 * left_kind + 2 + tapes.at(varies.astype(np.int8), right)
    return Terms(left, right, kind, start)


def layout_of(tape: Tape, order: Ints, varies: NDArray[np.bool_], is_result: NDArray[np.bool_], batch: bool) -> Layout:
    """Assign every entry its slot: leaves first, then the results contiguously, then the groups in order."""
    n = len(tape)
    slot = np.full(n, -1, dtype=np.int32)
    same, given = tape.code == UNIFORM, tape.code == INPUT
    constant = np.flatnonzero(tape.code == CONSTANT)
    uniform, varying = _parameters(tape, slot), 0
    slot[constant] = uniform + np.arange(len(constant))
    uniform += len(constant)
    slot[same] = uniform + tape.leaf[same].astype(np.int64)
    uniform += tapes.count_given(tape, UNIFORM)
    slot[given] = tape.leaf[given].astype(np.int64) + (0 if batch else uniform)
    if batch:
        varying += tapes.count_given(tape, INPUT)
    else:
        uniform += tapes.count_given(tape, INPUT)
    computed = np.zeros(n, dtype=bool)
    computed[order] = True
    for space, used in ((False, uniform), (True, varying)):
        results = tape.results[(computed & (varies == space))[tape.results]]
        used = _in_turn(slot, tapes.once(results, n), used)
        del results
        used = _in_turn(slot, order[(tapes.at(varies, order) == space) & ~tapes.at(is_result, order)], used)
        if space:
            varying = used
        else:
            uniform = used
    return Layout(varies, slot, tape.leaf[constant], uniform, varying, is_result)


def _parameters(tape: Tape, slot: Ints) -> int:
    """Give the parameters their slots, which are their numbers; returns how many there are."""
    count = 0
    for begin in range(0, len(tape), tapes.AT_ONCE):
        some = slice(begin, begin + tapes.AT_ONCE)
        mine = tape.code[some] == PARAMETER
        slot[some][mine] = tape.leaf[some][mine]
        count += int(np.count_nonzero(mine))
    return count


def _in_turn(slot: Ints, entries: Ints, used: int) -> int:
    """Give these entries the next slots after those in use; returns how many are in use then."""
    for begin in range(0, len(entries), tapes.AT_ONCE):
        some = entries[begin : begin + tapes.AT_ONCE]
        slot[some] = np.arange(used, used + len(some))
        used += len(some)
    return used


def arranged(terms: Terms, layout: Layout, strict: bool) -> Terms:
    """Outside strict mode, sort the products of a sum by kind and slot, so that a dot product is recognised in any
    order."""
    if strict or not len(terms.left):
        return terms
    left = np.where(terms.left >= 0, tapes.at(layout.slot, terms.left), np.int32(-1))
    columns, owner = (terms.kind, left, tapes.at(layout.slot, terms.right)), terms.owner
    falls = np.zeros(len(owner) - 1, dtype=bool)  # where a product comes before the one in front of it
    for column in reversed(columns):
        falls = (column[1:] < column[:-1]) | ((column[1:] == column[:-1]) & falls)
    mixed = np.zeros(len(layout.slot), dtype=bool)  # the sums whose products are not sorted
    mixed[owner[1:][(owner[1:] == owner[:-1]) & falls]] = True
    if not mixed.any():
        return terms
    found = [column.copy() for column in (terms.left, terms.right, terms.kind)]
    for some in _sums_at_once(terms.start):
        at = some.start + np.flatnonzero(mixed[owner[some]])
        sorted_at = at[np.lexsort((*(column[at] for column in reversed(columns)), owner[at]))]
        for new, old in zip(found, (terms.left, terms.right, terms.kind), strict=True):
            new[at] = old[sorted_at]
    return Terms(found[0], found[1], found[2], terms.start)


def _sums_at_once(start: Ints) -> Iterator[slice]:
    """The products in runs of whole sums, some thousands at a time, or one sum that has more."""
    begin, total = 0, int(start[-1])
    while begin < total:
        # The last sum that ends within reach, or the first that ends beyond it.
        within = int(start[np.searchsorted(start, begin + tapes.AT_ONCE, side="right") - 1])
        end = within if within > begin else int(start[np.searchsorted(start, begin, side="right")])
        yield slice(begin, end)
        begin = end
