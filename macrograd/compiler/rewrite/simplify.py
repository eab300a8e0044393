"""Simplify: rewritings of the tape that keep every value, NaN, infinity and signed zero.

Each rewriting is a function from tape to tape with its equation and domain in its docstring; `simplify` runs them to a
fixed point. None of them changes the rounding of the program, except `chains` outside strict mode, which may regroup a
sum (the `reassoc` and `contract` documented in `macrograd.compile`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.rewrite.choices import without_gates
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CONSTANT, Ints, Tape
from macrograd.rows.composed import on_arrays

_ROUNDED_AS_FLOATS: tuple[tuple[ops.Op, Callable[..., Any]], ...] = (
    (ops.add, np.add),
    (ops.sub, np.subtract),
    (ops.mul, np.multiply),
    (ops.neg, np.negative),
)
_CHOOSING = {op.code for op in (ops.where, ops.onehot, ops.take)}
_REWRITTEN = _CHOOSING | {op.code for op in (ops.mul, ops.div, ops.power, ops.sub, ops.sum_, ops.neg, ops.maximum)}
_MOST_ROUNDS = 8
_MOST_EXACT = 126  # of the exponent of a power of two whose reciprocal is a normal number, in float32, too
_FEW = 16  # entries that are computed faster one by one than as arrays
_VARIES = 2 * tapes.MOST
Bools = NDArray[np.bool_]


def simplify(
    tape: Tape,
    *,
    strict: bool = False,
    single: bool = False,
    final: bool = True,
    check: Callable[[Tape], Tape] = lambda tape: tape,
) -> Tape:
    """Fold, merge and drop until nothing changes, then chain sums of products.

    `final` means that no differentiation follows, so that `detach` is no longer needed; `single` that constants are
    folded as a float32 program would compute them.
    """
    # Gates before differentiation come from `macrograd.grad` in the function; those of `differentiate` are needed.
    cheap: list[Callable[[Tape], Tape]] = [
        partial(fold_constants, strict=strict, single=single), identities, without_detach if final else without_gates,
    ]  # fmt: skip

    def changes(rewrite: Callable[[Tape], Tape]) -> bool:
        nonlocal tape
        before, tape = tape, check(rewrite(tape))
        return tape is not before

    for k in range(_MOST_ROUNDS):
        rounds = 0
        while rounds < _MOST_ROUNDS and sum(map(changes, cheap)):
            rounds += 1
        if k and not rounds:
            break  # merging finishes in one go, and only these could create more work for it
        if not sum(map(changes, (merge_equal, drop_dead))):
            break
    for rewrite in (lambda tape: chains(tape, strict=strict), drop_dead, merge_equal, drop_dead):
        changes(rewrite)
    return tape


def fold_constants(tape: Tape, *, strict: bool = False, single: bool = False) -> Tape:
    """op(c₁, c₂, …) = c for constants cᵢ, computed as the eager engine computes it, or as strict programs do on every
    machine, in float32 if they are `single`; onehot(i, k, g) = 0 for constants i ≠ k and any g. (`take` is left to
    `identities`.)"""
    code, leaf, arity = tape.code, tape.leaf, tape.arity
    folded = np.zeros(len(tape), dtype=bool)
    hots = _entries(tape, ops.onehot)
    for _ in range(_MOST_ROUNDS):  # chains of zeros, and of what they make constant
        own = np.zeros(len(tape), dtype=np.int32)
        own[(code < 0) & (code != CONSTANT) | (code == ops.take.code)] = _VARIES
        depth = walks.longest(tape.start, tape.operand, own, (arity > 0).astype(np.int32))
        known = depth < _VARIES
        found = np.flatnonzero(known & (code != CONSTANT))
        if not len(found) and not len(hots):
            break
        if code is tape.code:
            code, leaf = code.copy(), leaf.copy()
        _compute(tape, found, depth[found], leaf, strict, single)
        x, k = _side(tape, hots, 0), _side(tape, hots, 1)
        zeros = hots[~known[hots] & known[x] & known[k] & (leaf[x] != leaf[k])]
        leaf[zeros] = 0.0
        found = np.concatenate([found, zeros])
        code[found], folded[found] = CONSTANT, True
        if not len(zeros):
            break
    if not folded.any():
        return tape
    keep = ~np.repeat(folded, arity)
    arity[folded] = 0
    return tapes.make(code, np.concatenate([[0], np.cumsum(arity)]), tape.operand[keep], leaf, tape.results)


def _compute(tape: Tape, ids: Ints, depth: Ints, leaf: NDArray[np.float64], strict: bool, single: bool) -> None:
    """Write the values of these entries to `leaf`; all their operands are constants, or entries on lower levels."""
    order = np.argsort(depth, kind="stable")
    ids, begins = ids[order], np.flatnonzero(np.diff(depth[order], prepend=-1))
    given = leaf
    with np.errstate(all="ignore"):  # an overflow is infinite here too
        if single:
            given = _rounded(leaf)
        for some in np.split(ids, begins[1:]):
            if len(some) < _FEW:
                alone = some
            else:
                code = tape.code[some]
                for op, compute in _ROUNDED_AS_FLOATS:
                    same = some[code == op.code]
                    given[same] = compute(*(given[_side(tape, same, k)] for k in range(op.arity or 0)))
                alone = some[~tapes.among(code, [op.code for op, _ in _ROUNDED_AS_FLOATS])]
            for i in alone.tolist():
                given[i] = _forward(tape.code[i], strict, single)(*given[tape.operands(i)].tolist())
            if single:  # of + − × ÷ and √ of float32 numbers, that is the float32 result
                given[some] = _rounded(given[some])
    leaf[ids] = given[ids]


def _rounded(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x.astype(np.float32).astype(np.float64)


def _added_up(*pairs: float) -> float:
    """`dot` in float32."""
    products = (np.array(pairs[::2]) * np.array(pairs[1::2])).astype(np.float32)
    return float(np.add.accumulate(products)[-1]) if pairs else 0.0


@cache
def _forward(code: int, strict: bool, single: bool) -> Callable[..., float]:
    """An operation on floats. Strict programs call no math library, whose last digit depends on the machine."""
    row = ops.TABLE[code]
    if single and row is ops.dot:
        return _added_up
    if single and row is ops.sum_:
        return lambda *terms: _added_up(*[x for term in terms for x in (term, 1.0)])
    formula = row.portable or row.formula if strict else None
    if formula is None:
        return row.forward
    form = on_arrays(formula, strict=True)
    return lambda *operands: float(form(np, *[np.array([x]) for x in operands])[0])


def identities(tape: Tape) -> Tape:
    """Entries that equal one of their operands, or a cheaper operation on them, bit for bit for all operands:

    x · 1 = 1 · x = x        x ÷ 1 = x        x − 0 = x           −(−x) = x       sum(x) = x
    x¹ = x                   x² = x · x       x⁻¹ = 1 ÷ x         x ÷ ±2ᵏ = x · ±2⁻ᵏ for |k| ≤ 126
    onehot, take, where of constants:
    where(c, a, b) = a for a constant c ≠ 0 and b for c = 0;   where(c, a, a) = a
    maximum(where(c, 1, 0), where(c, 0, 1)) = 1
    onehot(i, k, g) = g for equal constants i and k
    take(k, v₀ …) = vₖ for a constant k among 0, 1, …
    """
    there = tapes.operations(tape)
    if there.isdisjoint(_REWRITTEN):
        return tape
    alias = np.arange(len(tape), dtype=np.int32)
    units = (ops.mul, 1, 1.0), (ops.mul, 0, 1.0), (ops.div, 1, 1.0), (ops.power, 1, 1.0), (ops.sub, 1, 0.0)
    for op, side, unit in units:
        if op.code in there:
            ids = _entries(tape, op)
            ids = ids[_is_number(tape, _side(tape, ids, side), unit)]
            alias[ids] = _side(tape, ids, 1 - side)
    if ops.sum_.code in there:
        ids = _entries(tape, ops.sum_)
        ids = ids[tape.arity[ids] == 1]
        alias[ids] = _side(tape, ids, 0)
    if ops.neg.code in there:
        ids = _entries(tape, ops.neg)
        inner = _side(tape, ids, 0)
        twice = tape.code[inner] == ops.neg.code
        alias[ids[twice]] = _side(tape, inner[twice], 0)
    if not there.isdisjoint(_CHOOSING):
        _known_choices(tape, alias)
    if {ops.maximum.code, ops.where.code} <= there:
        _both_sides(tape, alias)
    tape = _replace(tape, alias)
    tape = _without_powers(tape) if ops.power.code in there else tape
    return _without_divisions(tape) if ops.div.code in there else tape


def _known_choices(tape: Tape, alias: Ints) -> None:
    """Note the results of `where`, `onehot` and `take` of constants."""
    for op in (ops.where, ops.onehot):
        ids = _entries(tape, op)
        x, a, b = (_side(tape, ids, k) for k in range(3))
        known = tape.code[x] == CONSTANT
        if op is ops.where:
            alias[ids[a == b]] = a[a == b]
            alias[ids[known]] = np.where(tape.leaf[x] != 0.0, a, b)[known]
        else:
            known &= (tape.code[a] == CONSTANT) & (tape.leaf[x] == tape.leaf[a])
            alias[ids[known]] = b[known]
    ids = _entries(tape, ops.take)
    for i in ids[tape.code[_side(tape, ids, 0)] == CONSTANT].tolist():
        values, index = tape.operands(i)[1:], tape.leaf[tape.operands(i)[0]]
        if 0 <= index < len(values) and index == int(index):  # any other is reported when the program runs
            alias[i] = values[int(index)]


def _both_sides(tape: Tape, alias: Ints) -> None:
    """Note that one side of a choice was taken."""
    ids = _entries(tape, ops.maximum)
    sides = [_side(tape, ids, k) for k in range(2)]
    choices = (tape.code[sides[0]] == ops.where.code) & (tape.code[sides[1]] == ops.where.code)
    ids, left, right = ids[choices], sides[0][choices], sides[1][choices]
    same = _side(tape, left, 0) == _side(tape, right, 0)
    for first, second in ((left, right), (right, left)):
        one, zero = _side(tape, first, 1), _side(tape, first, 2)
        both = same & _is_number(tape, one, 1.0) & _is_number(tape, zero, 0.0)
        both &= _is_number(tape, _side(tape, second, 1), 0.0) & _is_number(tape, _side(tape, second, 2), 1.0)
        alias[ids[both]] = one[both]


def _without_powers(tape: Tape) -> Tape:
    """x² = x · x and x⁻¹ = 1 ÷ x."""
    ids = _entries(tape, ops.power)
    exponent = _side(tape, ids, 1)
    squared = ids[_is_number(tape, exponent, 2.0)]
    inverse = ids[_is_number(tape, exponent, -1.0)]
    if not len(squared) and not len(inverse):
        return tape
    operand, code = tape.operand.copy(), tape.code.copy()
    code[squared] = ops.mul.code
    operand[tape.start[squared] + 1] = _side(tape, squared, 0)
    code[inverse] = ops.div.code
    operand[tape.start[inverse]] = _side(tape, inverse, 1)  # the exponent −1, replaced by the constant 1 below
    operand[tape.start[inverse] + 1] = _side(tape, inverse, 0)
    return _with_ones(tapes.make(code, tape.start, operand, tape.leaf, tape.results), inverse)


def _without_divisions(tape: Tape) -> Tape:
    """x ÷ c = x · c⁻¹ for a power of two c whose reciprocal is a normal number in float32, too: both are one number,
    rounded once."""
    ids = _entries(tape, ops.div)
    divisor = _side(tape, ids, 1)
    mantissa, exponent = np.frexp(tape.leaf[divisor])
    exact = (tape.code[divisor] == CONSTANT) & (np.abs(mantissa) == 0.5) & (np.abs(exponent - 1) <= _MOST_EXACT)
    if not exact.any():
        return tape
    ids, divisor = ids[exact], divisor[exact]
    known = np.unique(divisor)  # after each of these comes its reciprocal
    shift = np.arange(len(tape) + 1) + np.searchsorted(known, np.arange(len(tape) + 1))
    operand, code = shift[tape.operand], np.insert(tape.code, known + 1, CONSTANT)
    operand[tape.start[ids] + 1] = shift[divisor] + 1
    code[shift[ids]] = ops.mul.code
    return tapes.make(
        code,
        np.insert(tape.start, known + 1, tape.start[known + 1]),
        operand,
        np.insert(tape.leaf, known + 1, 1.0 / tape.leaf[known]),
        shift[tape.results],
    )


def without_detach(tape: Tape) -> Tape:
    """detach(x) = x, after differentiation."""
    ids = _entries(tape, ops.detach)
    if not len(ids):
        return tape
    alias = np.arange(len(tape), dtype=np.int32)
    alias[ids] = _side(tape, ids, 0)
    return _replace(tape, alias)


def own_results(tape: Tape) -> Tape:
    """A result that is a leaf, or the same entry as an earlier result, becomes a separate entry, detach(x) = x."""
    first = np.empty(len(tape), dtype=np.int32)
    number = np.arange(len(tape.results), dtype=np.int32)
    first[tape.results[::-1]] = number[::-1]  # of several the first is written last and stays
    shared = first[tape.results] != number
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


def _with_ones(tape: Tape, inverse: Ints) -> Tape:
    """Give the divisions that replace x⁻¹ the constant 1 as their first operand."""
    if not len(inverse):
        return tape
    # The first constant that such a division uses precedes all of them, so a 1 in its place does too.
    positions = tape.start[inverse]
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
    """f(x) and f(x) are one entry, and then f(g(x)) and f(g(x)); constants are compared by their bits."""
    return _replace(tape, walks.first_equals(tape.code, tape.leaf.view(np.int64), tape.start, tape.operand))


def drop_dead(tape: Tape) -> Tape:
    """Remove entries that no result depends on; parameters and inputs stay, because the caller numbers them."""
    keep = tapes.reached(tape) | tapes.given(tape)
    return tape if keep.all() else tapes.select(tape, keep)


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
    owner = tape.owner
    root = _roots(tape, joins, owner)
    gone = np.zeros(len(tape), dtype=bool)
    gone[tape.operand[joins]] = True
    second = np.repeat((tape.start[:-1] & 1).astype(bool), arity)  # of the pairs in a dot
    second[::2] ^= True
    at = np.flatnonzero((in_sum & ~joins) | (in_dot & second)).astype(np.int32)
    del joins, second  # of a long tape each of these takes megabytes
    of = tapes.at(root, tapes.at(owner, at))
    del root, owner
    left, right = _factors(tape, at, in_dot[at], negative[at], single[at], gone)
    del in_sum, in_dot, negative, single, at
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
    inner = tape.operand[joins]
    root[inner] = owner[joins]
    while not np.array_equal(further := tapes.at(root, root[inner]), root[inner]):
        root[inner] = further
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


def takes_of_one_kind(tape: Tape, varies: Bools) -> Tape:
    """take(i, u, v) = take(i, where(v, u, u), v) for u that is the same for all samples and v that is not: then all
    values of a `take` are in one space."""
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
    """Replace every use of i by alias[i]."""
    if (alias == np.arange(len(alias), dtype=np.int32)).all():
        return tape
    while not np.array_equal(further := tapes.at(alias, alias), alias):
        alias = further
    operand, results = tapes.at(alias, tape.operand), alias[tape.results]
    if np.array_equal(operand, tape.operand) and np.array_equal(results, tape.results):
        return tape
    return tapes.make(tape.code, tape.start, operand, tape.leaf, results)


def _entries(tape: Tape, op: ops.Op) -> Ints:
    """The entries with this operation."""
    found: Ints = np.flatnonzero(tape.code == op.code)
    return found


def _side(tape: Tape, ids: Ints, k: int) -> Ints:
    """The k-th operands of the entries that have at least k + 1."""
    found: Ints = tape.operand[tape.start[ids] + k]
    return found


def _is_number(tape: Tape, ids: Ints, number: float) -> Bools:
    """Which entries are the constant `number`; zeros of different signs are different."""
    leaf = tape.leaf[ids]
    same: Bools = (tape.code[ids] == CONSTANT) & (leaf == number)
    if number == 0.0:
        same &= ~np.signbit(leaf)
    return same
