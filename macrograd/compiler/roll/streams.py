"""Streams: groups that do not roll become records of a `Stream`. `cost_model.py` decides which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.program.stream import FUSED, MORE, SPREAD, TOTAL, Stream
from macrograd.compiler.tape.tape import REDUCE, Ints, Tape, distinct, ranges

if TYPE_CHECKING:
    from macrograd.compiler.roll.layout import Layout, Terms

_NONE, _RESULT = -1, -2  # in place of an operand


def stream_of(tape: Tape, terms: Terms, layout: Layout, order: Ints, bounds: list[int], *, block: bool) -> Stream:
    """The stream that computes the groups order[bounds[k]] … order[bounds[k + 1] - 1]."""
    edges = np.asarray(bounds)
    members = order[edges[0] : edges[-1]]
    heads, size = order[edges[:-1]], np.diff(edges)
    slot, spread = _operand_slots(tape, terms, layout, members, block)
    count = np.diff(terms.start)[heads]  # terms of a sum, 0 of anything else
    passes = np.maximum(count, 1)
    of, pass_ = np.repeat(np.arange(len(heads)), passes), ranges(np.zeros_like(passes), passes)
    kind = np.full(len(of), -1)
    summed = count[of] > 0
    kind[summed] = terms.kind[terms.start[heads[of[summed]]] + pass_[summed]]
    code, arity = _records(tape, heads[of], kind, pass_)
    length = 3 + size[of] * (1 + arity)
    start = np.concatenate([[0], np.cumsum(length)])
    words = np.zeros(start[-1], dtype=np.int32)
    words[start[:-1]], words[start[:-1] + 1], words[start[:-1] + 2] = code, size[of], arity
    # One row for each member of each record.
    record = np.repeat(np.arange(len(of)), size[of])
    at = ranges(np.zeros_like(of), size[of])
    out = members[(edges[:-1] - edges[0])[of[record]] + at]
    base, n = start[record] + 3, size[of[record]]
    words[base + at] = slot[out]
    plain = np.flatnonzero(kind[record] < 0)
    few = arity[record[plain]]
    line, position = np.repeat(plain, few), ranges(np.zeros_like(few), few)
    words[base[line] + (1 + position) * n[line] + at[line]] = slot[tape.operand[tape.start[out[line]] + position]]
    line = np.flatnonzero(kind[record] >= 0)
    for k, entry in enumerate(_products(tape, terms, out[line], pass_[record[line]], kind[record[line]])):
        given = np.where(entry == _RESULT, slot[out[line]], slot[np.maximum(entry, 0)])
        used = entry != _NONE
        words[(base[line] + (1 + k) * n[line] + at[line])[used]] = given[used]
    present = np.bincount(tape.code[heads][count == 0], minlength=len(ops.TABLE))
    composed = tuple(row.code for row in ops.TABLE if (row.formula or row.portable) and present[row.code])
    return Stream(np.concatenate([spread, words]).astype(np.int32), len(members), block, composed)


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


def _records(tape: Tape, head: Ints, kind: Ints, pass_: Ints) -> tuple[Ints, Ints]:
    """Code and arity of each record. The left kind of a term is 0 for 1, 1 for −1 (`Terms.kind` // 4)."""
    total = tape.code[head] == REDUCE
    left = kind // 4
    first = [ops.detach.code, ops.neg.code, ops.mul.code]
    later = [ops.add.code, ops.sub.code, FUSED]
    which = np.clip(left, 0, 2)
    summed = np.where(pass_ == 0, np.take(first, which), np.take(later, which))
    code = np.where(kind < 0, tape.code[head], np.where(total, np.where(pass_ == 0, TOTAL, MORE), summed))
    summed_arity = np.where(which < 2, 1, 2) + (pass_ > 0)
    arity = np.where(kind < 0, tape.arity[head], np.where(total, np.where(which < 1, 1, 2), summed_arity))
    return code, arity


def _products(tape: Tape, terms: Terms, sums: Ints, pass_: Ints, kind: Ints) -> list[Ints]:
    """Entries of the first, second and third operand of sums in a pass: `_NONE`, or `_RESULT` for the result so far."""
    at = terms.start[sums] + pass_
    a, b, left = terms.left[at], terms.right[at], kind // 4
    total, later = tape.code[sums] == REDUCE, pass_ > 0
    product = left >= 2
    # ±b: alone in the first pass, added to the result so far in the others; for a·b the result comes last.
    first = np.where(product, a, np.where(later, _RESULT, b))
    second = np.where(product | later, b, _NONE)
    third = np.where(product & later, _RESULT, _NONE)
    return [
        np.where(total, np.where(left == 0, b, a), first),
        np.where(total, np.where(left == 0, _NONE, b), second),
        np.where(total, _NONE, third),
    ]
