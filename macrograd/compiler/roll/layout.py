"""Layout: the slot of every entry, and the products of all sums.

Each group's results get consecutive slots of one space, `u` for numbers that are the same for all samples and `v` for
those that vary, so that the operands of the next group follow patterns.
"""

from __future__ import annotations

from dataclasses import field

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.tape import tape as tapes
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
    """All products in all sums: pair i is left[i]·right[i], of the entry owner[i]; sorted by owner."""

    owner: Ints
    left: Ints
    right: Ints
    kind: Ints
    start: Ints


def sums_of(tape: Tape, varies: NDArray[np.bool_], strict: bool) -> tuple[Ints, NDArray[np.bool_]]:
    """For each entry that is a sum of products, the entry whose operands are the products (else -1): itself for a dot;
    for a reduce, its operand if that is a product or dot used only here (in strict mode of one product: a sample's sum
    is rounded before the samples are added up). And which entries are still needed then.

    Lanes of a block without a sample hold 0 where a reduce reads them, so no factor shared by all samples may be
    infinite or NaN: 0·∞ would enter the sum. A product with such a factor is computed before those lanes are cleared.
    """
    n = len(tape)
    uses = np.bincount(tape.operand, minlength=n)
    np.add.at(uses, tape.results, 1)
    sums = np.where(tape.code == ops.dot.code, np.arange(n), -1)
    used = np.ones(n, dtype=bool)
    reduces = np.flatnonzero(tape.code == REDUCE)
    inner = tape.operand[tape.start[reduces]]
    harmless = varies | ((tape.code == CONSTANT) & np.isfinite(tape.leaf))
    harmful = np.bincount(tape.owner[~harmless[tape.operand]], minlength=n) > 0
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
    pair_owner = np.repeat(owner, count)
    start = np.concatenate([[0], np.cumsum(count)])
    at = np.repeat(tape.start[inner] - 2 * start[:-1], count) + 2 * np.arange(start[-1])
    single = np.repeat(alone, count)
    left = tape.operand[at]
    right = np.where(single, -1, tape.operand[np.minimum(at + 1, len(tape.operand) - 1)])
    leaves = ((CONSTANT, 0), (PARAMETER, 1), (UNIFORM, 1), (INPUT, 2))
    rank = np.select([tape.code == code for code, _ in leaves], [at for _, at in leaves], 3) + 4 * varies
    swap = (right >= 0) & ((rank[left] > rank[right]) | ((rank[left] == rank[right]) & (left > right)))
    left, right = np.where(swap, right, left), np.where(swap, left, right)
    left, right = np.where(single, -1, left), np.where(single, left, right)
    one = (left >= 0) & (tape.code[left] == CONSTANT) & (tape.leaf[left] == 1.0)
    minus = (left >= 0) & (tape.code[left] == CONSTANT) & (tape.leaf[left] == -1.0)
    left_kind = np.select([single | one, minus, varies[left]], [0, 1, 3], 2)
    kind = 4 * left_kind + np.where(varies[right], 3, 2)
    starts = np.full(len(tape) + 1, 0)
    starts[owner + 1] = count
    return Terms(pair_owner, left, right, kind, np.cumsum(starts))


def layout_of(tape: Tape, order: Ints, varies: NDArray[np.bool_], is_result: NDArray[np.bool_], batch: bool) -> Layout:
    """Assign every entry its slot: leaves first, then the results contiguously, then the groups in order."""
    n = len(tape)
    slot = np.full(n, -1)
    parameter, same, given = tape.code == PARAMETER, tape.code == UNIFORM, tape.code == INPUT
    constant = np.flatnonzero(tape.code == CONSTANT)
    slot[parameter] = tape.leaf[parameter].astype(np.int64)
    uniform, varying = int(parameter.sum()), 0
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
        mine = computed & (varies == space)
        results = tape.results[mine[tape.results]]
        _, first = np.unique(results, return_index=True)
        results = results[np.sort(first)]
        slot[results] = used + np.arange(len(results))
        used += len(results)
        rest = order[(varies[order] == space) & ~is_result[order]]
        slot[rest] = used + np.arange(len(rest))
        used += len(rest)
        if space:
            varying = used
        else:
            uniform = used
    return Layout(varies, slot, tape.leaf[constant], uniform, varying, is_result)


def arranged(terms: Terms, layout: Layout, strict: bool) -> Terms:
    """Outside strict mode, sort the products of a sum by kind and slot, so that a dot product is recognised in any
    order."""
    if strict or not len(terms.owner):
        return terms
    left = np.where(terms.left >= 0, layout.slot[terms.left], -1)
    right = layout.slot[terms.right]
    key = (terms.kind * (layout.uniform + layout.varying + 1) + left + 1) * (layout.uniform + layout.varying) + right
    same = terms.owner[1:] == terms.owner[:-1]
    mixed = np.zeros(len(layout.slot), dtype=bool)  # the sums whose products are not sorted
    mixed[terms.owner[1:][same & (key[1:] < key[:-1])]] = True
    at = np.flatnonzero(mixed[terms.owner])
    order = np.arange(len(key))
    order[at] = at[np.lexsort((key[at], terms.owner[at]))]
    return Terms(terms.owner[order], terms.left[order], terms.right[order], terms.kind[order], terms.start)
