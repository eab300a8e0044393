"""Simplify: rewritings of the tape that keep every value, NaN, infinity and signed zero.

Each rewriting is a function from tape to tape with its equation and domain in its docstring; `simplify` runs them to a
fixed point. None of them rounds differently than the program as written, except `chains` outside strict mode, which may
regroup a sum (the `reassoc` and `contract` that `macrograd.compile` states).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler import tape as tapes
from macrograd.compiler.tape import CONSTANT, INPUT, PARAMETER, Ints, Tape

Bools = NDArray[np.bool_]
_MOST_ROUNDS = 8


def simplify(
    tape: Tape, *, strict: bool = False, final: bool = True, check: Callable[[Tape], Tape] = lambda tape: tape
) -> Tape:
    """Fold, merge and drop until nothing changes, then chain sums of products.

    `final` says that no differentiation follows, so that `detach` has done its work.
    """
    for _ in range(_MOST_ROUNDS):
        before = len(tape)
        for rewrite in (fold_constants, identities, without_detach, merge_equal, drop_dead):
            if final or rewrite is not without_detach:
                tape = check(rewrite(tape))
        if len(tape) == before:
            break
    for rewrite in (lambda tape: chains(tape, strict=strict), drop_dead, merge_equal, drop_dead):
        tape = check(rewrite(tape))
    return tape


def fold_constants(tape: Tape) -> Tape:
    """op(c₁, c₂, …) = c for constants cᵢ, computed as the eager engine computes it; onehot(i, k, g) = 0 for constants
    i ≠ k and any g. (`take` is left to `identities`.)"""
    is_constant = tape.code == CONSTANT
    known = _count(tape, is_constant[tape.operand])
    fold = (known == tape.arity) & (tape.arity > 0) & (tape.code >= 0) & (tape.code != ops.take.code)
    first, second = _operand(tape, 0), _operand(tape, 1)
    other = (tape.code == ops.onehot.code) & is_constant[first] & is_constant[second]
    other &= tape.leaf[first] != tape.leaf[second]
    found = np.flatnonzero(fold | other)
    if not len(found):
        return tape
    code, leaf, arity = tape.code.copy(), tape.leaf.copy(), tape.arity.copy()
    for i in found.tolist():
        leaf[i] = 0.0 if other[i] else ops.TABLE[code[i]].forward(*leaf[tape.operands(i)].tolist())
    code[found] = CONSTANT
    keep = ~np.isin(tape.owner, found)
    arity[found] = 0
    return tapes.make(code, np.concatenate([[0], np.cumsum(arity)]), tape.operand[keep], leaf, tape.results)


def identities(tape: Tape) -> Tape:
    """Entries that are one of their own operands, or a cheaper operation on them, for every operand, bit for bit:

    x · 1 = 1 · x = x        x ÷ 1 = x        x − 0 = x           −(−x) = x       sum(x) = x
    x¹ = x                   x² = x · x       x⁻¹ = 1 ÷ x         onehot, take, where of constants, as below:
    where(c, a, b) = a for a constant c ≠ 0 and b for c = 0;   where(c, a, a) = a
    onehot(i, k, g) = g for equal constants i and k
    take(k, v₀ …) = vₖ for a constant k among 0, 1, …
    """
    n = len(tape)
    alias = np.arange(n)
    first, second, third = (_operand(tape, k) for k in range(3))
    is_constant = tape.code == CONSTANT

    def op(row: ops.Op) -> Bools:
        found: Bools = tape.code == row.code
        return found

    def is_number(position: Ints, number: float) -> Bools:
        found: Bools = (position >= 0) & is_constant[position] & (tape.leaf[position] == number)
        return found

    def use(mask: Bools, replacement: Ints) -> None:
        alias[mask] = replacement[mask]

    positive_zero = is_number(second, 0.0) & ~np.signbit(tape.leaf[second])
    use(op(ops.mul) & is_number(second, 1.0), first)
    use(op(ops.mul) & is_number(first, 1.0), second)
    use((op(ops.div) | op(ops.power)) & is_number(second, 1.0), first)
    use(op(ops.sub) & positive_zero, first)
    use(op(ops.sum_) & (tape.arity == 1), first)
    inner = _operand(tape, 0)[np.maximum(first, 0)]
    use(op(ops.neg) & (tape.code[np.maximum(first, 0)] == ops.neg.code), inner)
    condition = op(ops.where) & is_constant[first]
    use(condition & (tape.leaf[first] != 0.0), second)
    use(condition & (tape.leaf[first] == 0.0), third)
    use(op(ops.where) & (second == third), second)
    equal = op(ops.onehot) & is_constant[first] & is_constant[second]
    use(equal & (tape.leaf[first] == tape.leaf[second]), third)
    taken = np.flatnonzero(op(ops.take) & is_constant[first])
    for i in taken.tolist():
        values, index = tape.operands(i)[1:], tape.leaf[first[i]]
        if 0 <= index < len(values) and index == int(index):  # any other is found, and said, when the program runs
            alias[i] = values[int(index)]

    squared = op(ops.power) & is_number(second, 2.0)
    inverse = op(ops.power) & is_number(second, -1.0)
    operand, code = tape.operand.copy(), tape.code.copy()
    code[squared] = ops.mul.code
    operand[tape.start[:-1][squared] + 1] = first[squared]
    code[inverse] = ops.div.code
    operand[tape.start[:-1][inverse]] = second[inverse]  # the exponent −1, made 1 by a constant of its own below
    operand[tape.start[:-1][inverse] + 1] = first[inverse]
    result = tapes.make(code, tape.start, operand, tape.leaf, tape.results)
    return _with_ones(_replace(result, alias), inverse)


def without_detach(tape: Tape) -> Tape:
    """detach(x) = x, once the derivative has been taken."""
    first = _operand(tape, 0)
    return _replace(tape, np.where(tape.code == ops.detach.code, first, np.arange(len(tape))))


def own_results(tape: Tape) -> Tape:
    """A result that is a leaf, or the same entry as an earlier result, becomes an entry of its own, detach(x) = x."""
    _, first = np.unique(tape.results, return_index=True)
    shared = np.ones(len(tape.results), dtype=bool)
    shared[first] = False
    shared |= tape.arity[tape.results] == 0
    count = int(shared.sum())
    if not count:
        return tape
    results = tape.results.copy()
    results[shared] = len(tape) + np.arange(count)
    return tapes.make(
        np.concatenate([tape.code, np.full(count, ops.detach.code)]),
        np.concatenate([tape.start, tape.start[-1] + 1 + np.arange(count)]),
        np.concatenate([tape.operand, tape.results[shared]]),
        np.concatenate([tape.leaf, np.zeros(count)]),
        results,
    )


def _with_ones(tape: Tape, inverse: Bools) -> Tape:
    """Give the divisions that stand for x⁻¹ the constant 1 as their first operand."""
    if not inverse.any():
        return tape
    # The first constant that such a division uses precedes all of them: a 1 right there precedes them too.
    positions = tape.start[:-1][inverse]
    at = int(tape.operand[positions].min())
    shift = np.arange(len(tape) + 1)
    shift[at:] += 1
    operand = shift[tape.operand]
    operand[positions] = at
    return tapes.make(
        np.insert(tape.code, at, CONSTANT),
        np.insert(tape.start, at, tape.start[at]),
        operand,
        np.insert(tape.leaf, at, 1.0),
        shift[tape.results],
    )


def merge_equal(tape: Tape) -> Tape:
    """f(x) and f(x) are one entry. Operands are compared by identity, constants by their bits."""
    n = len(tape)
    bits = tape.leaf.view(np.int64)
    position = np.arange(len(tape.operand)) - tape.start[tape.owner]
    with np.errstate(over="ignore"):  # hashing wraps around on purpose
        terms = np.concatenate([[0], np.cumsum(_mix(tape.operand + 1, position))])
        key = _mix(_mix(tape.code, bits), terms[tape.start[1:]] - terms[tape.start[:-1]])
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    twin = first[inverse]
    moved = np.flatnonzero(twin != np.arange(n))
    # Equal keys are only a hint: compare what they stand for.
    arity = tape.arity
    same = (tape.code[moved] == tape.code[twin[moved]]) & (bits[moved] == bits[twin[moved]])
    moved = moved[same & (arity[moved] == arity[twin[moved]])]
    mine = tape.operand[tapes.ranges(tape.start[moved], arity[moved])]
    other = tape.operand[tapes.ranges(tape.start[twin[moved]], arity[moved])]
    equal = np.ones(len(moved), dtype=bool)
    equal[np.repeat(np.arange(len(moved)), arity[moved])[mine != other]] = False
    alias = np.arange(n)
    alias[moved[equal]] = twin[moved[equal]]
    return _replace(tape, alias)


def drop_dead(tape: Tape) -> Tape:
    """Entries that no result depends on go; parameters and inputs stay, for their numbers are the caller's."""
    keep = tapes.reached(tape) | (tape.code == PARAMETER) | (tape.code == INPUT)
    return tape if keep.all() else tapes.select(tape, keep)


def chains(tape: Tape, *, strict: bool = False) -> Tape:
    """Nested additions become one n-ary sum of products, `dot`:

        a + b  →  a·1 + b·1      a − b  →  a·1 + b·(−1)      a + (−b)  →  a·1 + b·(−1)      a·b + c·d  →  dot

    An operand that is itself such a sum and is used only here gives its terms in its place; so does a product used
    only here. The products by ±1 are exact. In strict mode only the leftmost operand of an addition joins it, so that
    the order of the roundings is the program's; otherwise one on the right may too, which regroups the sum.
    """
    n = len(tape)
    linear = np.isin(tape.code, [ops.add.code, ops.sub.code, ops.sum_.code, ops.dot.code])
    if not linear.any():
        return tape
    uses = np.bincount(tape.operand, minlength=n)
    np.add.at(uses, tape.results, 1)
    owner, operand = tape.owner, tape.operand
    position = np.arange(len(operand)) - tape.start[owner]
    in_dot = tape.code[owner] == ops.dot.code
    negative = (tape.code[owner] == ops.sub.code) & (position == 1)
    single = uses[operand] == 1
    joins = linear[owner] & ~in_dot & linear[operand] & single & ~negative
    if strict:
        joins &= position == 0
    root = np.arange(n)
    root[operand[joins]] = owner[joins]
    while not np.array_equal(further := root[root], root):
        root = further

    # One pair of operands for each term. The constants 1 and −1 will stand before everything, as entries 0 and 1.
    at = np.flatnonzero(linear[owner] & ~joins & ~(in_dot & (position % 2 == 1)))
    left, minus, pair = operand[at], negative[at], in_dot[at]
    turned = ~pair & (tape.code[left] == ops.neg.code) & single[at]
    left = np.where(turned, operand[tape.start[left] * turned], left)
    minus = minus ^ turned
    right = np.where(minus, 1, 0)
    left = left + 2
    right[pair] = operand[at[pair] + 1] + 2
    product = ~pair & ~minus & ~turned & (tape.code[operand[at]] == ops.mul.code) & single[at]
    inside = tape.start[operand[at[product]]]
    left[product], right[product] = operand[inside] + 2, operand[inside + 1] + 2

    of = root[owner[at]]
    pairs = np.stack([left, right], axis=1)[np.argsort(of, kind="stable")].ravel()
    is_sum = linear.copy()
    is_sum[operand[joins]] = False
    arity = np.where(is_sum, 2 * np.bincount(of, minlength=n), tape.arity)
    start = np.concatenate([[0, 0, 0], np.cumsum(arity)])
    new = np.empty(start[-1], dtype=np.int64)
    in_sum = np.repeat(is_sum, arity)
    new[in_sum] = pairs
    new[~in_sum] = operand[~is_sum[owner]] + 2
    result = tapes.make(
        np.concatenate([[CONSTANT, CONSTANT], np.where(is_sum, ops.dot.code, tape.code)]),
        start,
        new,
        np.concatenate([[1.0, -1.0], tape.leaf]),
        tape.results + 2,
    )
    keep = np.ones(n + 2, dtype=bool)
    for gone in (operand[joins], operand[at[product]], operand[at[turned]]):  # each was used here alone
        keep[gone + 2] = False
    return tapes.select(result, keep)


def takes_of_one_kind(tape: Tape, varies: Bools) -> Tape:
    """take(i, u, v) = take(i, where(v, u, u), v) for u that is the same for all samples and v that is not: the values
    that a `take` chooses among then live side by side."""
    takes = np.flatnonzero(tape.code == ops.take.code)
    mixed = {i for i in takes.tolist() if len(set(varies[tape.operands(i)[1:]].tolist())) == 2}
    if not mixed:
        return tape
    builder = tapes.TapeBuilder()
    number: list[int] = []
    for i, code in enumerate(tape.code.tolist()):
        operands = [number[k] for k in tape.operands(i)]
        if i in mixed:
            values = tape.operands(i)[1:]
            varying = number[values[varies[values]][0]]
            same = dict.fromkeys(number[v] for v in values[~varies[values]])
            lifted = {k: builder.add(ops.where.code, [varying, k, k]) for k in same}
            operands[1:] = [lifted.get(k, k) for k in operands[1:]]
        number.append(builder.add(code, operands, float(tape.leaf[i])))
    return builder.build([number[r] for r in tape.results])


def _replace(tape: Tape, alias: Ints) -> Tape:
    """Use alias[i] wherever i was used."""
    if (alias == np.arange(len(tape))).all():
        return tape
    while True:
        further = alias[alias]
        if (further == alias).all():
            break
        alias = further
    return tapes.make(tape.code, tape.start, alias[tape.operand], tape.leaf, alias[tape.results])


def _operand(tape: Tape, k: int) -> Ints:
    """The k-th operand of every entry, -1 where there is none."""
    has = tape.arity > k
    found = np.full(len(tape), -1)
    found[has] = tape.operand[tape.start[:-1][has] + k]
    return found


def _count(tape: Tape, marked: Bools) -> Ints:
    """How many of each entry's operands are marked."""
    sums = np.concatenate([[0], np.cumsum(marked)])
    found: Ints = sums[tape.start[1:]] - sums[tape.start[:-1]]
    return found


def _mix(a: Ints, b: Ints) -> Ints:
    """A 64-bit hash of pairs (the finaliser of splitmix64; Steele, Lea & Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        x = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + b.astype(np.uint64)
        x ^= x >> np.uint64(30)
        x *= np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> np.uint64(27)
        x *= np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    found: Ints = x.astype(np.int64)
    return found
