"""Chains of additions become sums of products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CONSTANT, Ints, Tape

Bools = NDArray[np.bool_]


def chains(tape: Tape, *, strict: bool = False) -> Tape:
    """Nested additions become one n-ary sum of products, `dot`:

        a + b  →  a·1 + b·1      a − b  →  a·1 + b·(−1)      a + (−b)  →  a·1 + b·(−1)      a·b + c·d  →  dot

    An operand that is itself such a sum and is used only here is replaced by its terms; so is a product used only here.
    Products by ±1 are exact. In strict mode only the leftmost operand of an addition is merged, so that the order of
    the roundings is the program's; otherwise one on the right may be too, which regroups the sum.
    """
    linear = tapes.among(tape.code, [ops.add.code, ops.sub.code, ops.sum_.code, ops.dot.code])
    dots = tape.code == ops.dot.code
    if np.array_equal(linear, dots):
        return tape
    arity = tape.arity
    in_sum, in_dot = np.repeat(linear & ~dots, arity), np.repeat(dots, arity)
    single = tapes.at(_used_once(tape), tape.operand)
    negative = np.zeros(len(tape.operand), dtype=bool)
    negative[tape.start[:-1][tape.code == ops.sub.code] + 1] = True
    joins = in_sum & single & ~negative & tapes.at(linear, tape.operand)
    if strict:
        first = np.zeros_like(joins)
        first[tape.start[:-1][arity > 0]] = True
        joins &= first
    gone = np.zeros(len(tape), dtype=bool)
    gone[tape.operand[joins]] = True
    second = np.repeat((tape.start[:-1] & 1).astype(bool), arity)  # of the pairs in a dot
    second[::2] ^= True
    at = np.flatnonzero((in_sum & ~joins) | (in_dot & second)).astype(np.int32)
    del in_sum, second  # of a long tape each of these takes megabytes
    pair, minus, alone = (tapes.at(column, at) for column in (in_dot, negative, single))
    left, right = _factors(tape, at, pair, minus, alone, gone)
    del in_dot, negative, single, pair, minus, alone
    owner = tape.owner
    root = _roots(tape, joins, owner)
    of = tapes.at(root, tapes.at(owner, at))
    del root, owner, joins, at
    if not (of[1:] >= of[:-1]).all():
        order = np.argsort(of, kind="stable")
        of, left, right = of[order], left[order], right[order]
        del order

    # The constants 1 and −1 come before everything else.
    kept = ~gone
    number = np.empty(len(tape) + 2, dtype=np.int32)
    np.cumsum(kept, out=number[:-2])
    number[:-2] += 1
    number[-2:] = 0, 1
    is_sum = linear[kept]
    size = np.where(is_sum, 2 * walks.counted(of, len(tape))[kept], arity[kept])
    del of, arity
    start = np.zeros(len(size) + 3, dtype=np.int32)
    np.cumsum(size, out=start[3:])
    operand = _chained(tape, kept, linear, size, number, left, right)
    del left, right, size
    code = np.concatenate([np.full(2, CONSTANT, np.int16), tape.code[kept]])
    code[2:][is_sum] = ops.dot.code
    return tapes.make(code, start, operand, np.concatenate([[1.0, -1.0], tape.leaf[kept]]), number[tape.results])


def _chained(tape: Tape, kept: Bools, linear: Bools, size: Ints, number: Ints, left: Ints, right: Ints) -> Ints:
    """The operands of the entries that are kept, `size` of each: pairs of factors of sums, and the others' own. Some
    thousands of entries at a time, since what belongs where takes more memory than the operands."""
    found = np.empty(int(np.sum(size)), dtype=np.int32)
    entry = place = pair = 0
    for begin in range(0, len(tape), tapes.AT_ONCE):
        some = slice(begin, min(begin + tapes.AT_ONCE, len(tape)))
        stays, sums = kept[some], linear[some]
        sizes = size[entry : entry + int(stays.sum())]
        in_sum = np.repeat(sums[stays], sizes)
        mine, pairs = found[place : place + len(in_sum)], slice(pair, pair + int(in_sum.sum()) // 2)
        mine[in_sum] = np.stack([number[left[pairs]], number[right[pairs]]], axis=1).ravel()
        begun, end = int(tape.start[begin]), int(tape.start[some.stop])
        others = np.repeat(stays & ~sums, np.diff(tape.start[begin : some.stop + 1]))
        mine[~in_sum] = number[tape.operand[begun:end][others]]
        entry, place, pair = entry + len(sizes), place + len(in_sum), pairs.stop
    return found


def _used_once(tape: Tape) -> Bools:
    """Which entries have one use; a result is a use, too."""
    uses = walks.counted(tape.operand, len(tape))
    np.add.at(uses, tape.results, 1)
    found: Bools = uses == 1
    return found


def _roots(tape: Tape, joins: Bools, owner: Ints) -> Ints:
    """For each entry, the sum that its terms are in at the end; `joins` are the operands whose terms replace them."""
    root = np.arange(len(tape), dtype=owner.dtype)
    inner, now = tape.operand[joins], owner[joins]  # each is in one sum
    tapes.put(root, inner, now)
    while not np.array_equal(further := tapes.at(root, now), now):
        tapes.put(root, inner, further)
        now = further
    return root


def _factors(tape: Tape, at: Ints, pair: Bools, minus: Bools, single: Bools, gone: Bools) -> tuple[Ints, Ints]:
    """The two factors of each term at these operand positions, n for 1 and n + 1 for −1 on a tape of n entries; notes
    which entries are `gone` then, because they were used only here."""
    n = len(tape)
    left = tapes.at(tape.operand, at)
    turned = ~pair & single & tapes.at(tape.code == ops.neg.code, left)
    gone[left[turned]] = True
    product = ~pair & ~minus & ~turned & single & tapes.at(tape.code == ops.mul.code, left)
    gone[left[product]] = True
    right = np.where(minus ^ turned, np.int32(n + 1), np.int32(n))
    right[pair] = tape.operand[at[pair] + 1]
    left[turned] = tape.operand[tape.start[left[turned]]]
    inside = tape.start[left[product]]
    left[product], right[product] = tape.operand[inside], tape.operand[inside + 1]
    return left, right
