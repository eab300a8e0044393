"""Streams: groups that do not roll become records of a `Stream`. `cost_model.py` decides which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.program.stream import MORE, SPREAD, SUM, TOTAL, Stream
from macrograd.compiler.tape.tape import REDUCE, Ints, Tape, distinct, ranges

if TYPE_CHECKING:
    from macrograd.compiler.roll.layout import Layout, Terms

_ONES = 4  # the kinds of terms without a left factor are below (`Terms.kind`)


@dataclass(frozen=True)
class _Parts:
    """Parts of records, each a group, or one term of a group of sums over the batch.

    group  the number of its group
    code   that of the record
    term   the number of the term, 0 for whole groups
    arity  the number of operands
    """

    group: Ints
    code: Ints
    term: Ints
    arity: Ints

    def ordered(self, moment: Ints) -> tuple[_Parts, Ints]:
        """The parts in order of execution, where those that can be one record follow each other, and the first part of
        each record. `moment` is the time of each group."""
        keys = moment[self.group], self.code, self.term, self.arity
        order = np.lexsort(keys[::-1])
        edge = np.ones(len(order), dtype=bool)
        edge[1:] = False
        for key in keys:
            edge[1:] |= key[order][1:] != key[order][:-1]
        found = _Parts(self.group[order], self.code[order], self.term[order], self.arity[order])
        return found, np.flatnonzero(edge)


def stream_of(
    tape: Tape, terms: Terms, layout: Layout, order: Ints, bounds: list[int], moment: Ints, *, block: bool
) -> Stream:
    """The stream that computes the groups order[bounds[k]] … order[bounds[k + 1] - 1]. Groups of one `moment` do not
    depend on each other: those that have the same operation and number of operands are one record."""
    edges = np.asarray(bounds)
    members = order[edges[0] : edges[-1]]
    heads, size = order[edges[:-1]], np.diff(edges)
    slot, spread = _operand_slots(tape, terms, layout, members, block)
    parts, first = _parts(tape, terms, heads).ordered(moment)
    # The members of each part, and where they are in its record.
    sizes = size[parts.group]
    begun = np.cumsum(sizes) - sizes
    count = np.add.reduceat(sizes, first)
    record = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(sizes))))
    inside = ranges(np.zeros_like(sizes), sizes)
    out = members[(edges[:-1] - edges[0])[parts.group].repeat(sizes) + inside]
    at = (begun - begun[first][record]).repeat(sizes) + inside
    code, arity = parts.code[first], parts.arity[first]
    length = 3 + count * (1 + arity)
    start = np.concatenate([[0], np.cumsum(length)])
    words = np.zeros(start[-1], dtype=np.int32)
    words[start[:-1]], words[start[:-1] + 1], words[start[:-1] + 2] = code, count, arity
    of = record.repeat(sizes)
    base, n = start[of] + 3 + at, count[of]
    words[base] = slot[out]
    few = arity[of]
    line, column = np.repeat(np.arange(len(out)), few), ranges(np.zeros_like(few), few)
    entry = _operands(tape, terms, out[line], column, code[of[line]], parts.term.repeat(sizes)[line])
    words[base[line] + (1 + column) * n[line]] = slot[entry]
    present = np.bincount(code[code < len(ops.TABLE)], minlength=len(ops.TABLE))
    composed = tuple(row.code for row in ops.TABLE if (row.formula or row.portable) and present[row.code])
    return Stream(np.concatenate([spread, words]).astype(np.int32), len(members), block, composed)


def _parts(tape: Tape, terms: Terms, heads: Ints) -> _Parts:
    """The parts of the groups that begin with these entries."""
    count = np.diff(terms.start)[heads]  # terms of a sum, 0 of anything else
    total = tape.code[heads] == REDUCE
    passes = np.where(total, count, 1)
    group, term = np.repeat(np.arange(len(heads)), passes), ranges(np.zeros_like(passes), passes)
    over_batch, summed = total[group], (count > 0)[group]
    alone = np.zeros(len(group), dtype=bool)  # of a sum over the batch: without a factor
    alone[over_batch] = terms.kind[terms.start[heads[group[over_batch]]] + term[over_batch]] < _ONES
    code = np.where(
        over_batch, np.where(term == 0, TOTAL, MORE), np.where(summed, SUM, tape.code[heads[group]].astype(np.int64))
    )
    own = np.where(summed, 2 * count[group], tape.arity[heads[group]])
    return _Parts(group, code, term, np.where(over_batch, np.where(alone, 1, 2), own))


def _operands(tape: Tape, terms: Terms, entry: Ints, column: Ints, code: Ints, term: Ints) -> Ints:
    """The operands of these entries in these columns of their records."""
    found = np.empty_like(entry)
    plain = np.flatnonzero(code < SUM)
    found[plain] = tape.operand[tape.start[entry[plain]] + column[plain]]
    some = np.flatnonzero(code == SUM)
    at = terms.start[entry[some]] + column[some] // 2
    found[some] = np.where(column[some] % 2 == 0, terms.left[at], terms.right[at])
    some = np.flatnonzero(code > SUM)
    at = terms.start[entry[some]] + term[some]
    left = (column[some] == 0) & (terms.kind[at] >= _ONES)
    found[some] = np.where(left, terms.left[at], terms.right[at])
    return found


def _operand_slots(
    tape: Tape, terms: Terms, layout: Layout, members: Ints, block: bool
) -> tuple[Ints, NDArray[np.int32]]:
    """The slot of each entry, with uniform operands of a block in new varying slots, and the records that copy them
    there."""
    if not block:
        return layout.slot, np.empty(0, dtype=np.int32)
    plain = members[np.diff(terms.start)[members] == 0]
    sums = members[np.diff(terms.start)[members] > 0]
    pairs = ranges(terms.start[sums], np.diff(terms.start)[sums])
    used = [tape.operand[ranges(tape.start[plain], tape.arity[plain])], terms.left[pairs], terms.right[pairs]]
    entries = distinct(np.concatenate(used))
    uniform = entries[(entries >= 0) & ~layout.varies[np.maximum(entries, 0)]]
    slot = layout.slot.copy()
    slot[uniform] = layout.more_varying(len(uniform))
    if not len(uniform):
        return slot, np.empty(0, dtype=np.int32)
    words = np.concatenate([[SPREAD, len(uniform), 1], slot[uniform], layout.slot[uniform]])
    return slot, words.astype(np.int32)
