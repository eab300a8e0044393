"""Fold: entries that depend on constants alone become constants."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.rewrite.matching import entries_of, side
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
_MOST_ROUNDS = 8
_FEW = 16  # entries that are computed faster one by one than as arrays
_VARIES = 2 * tapes.MOST


def fold_constants(tape: Tape, *, strict: bool = False, single: bool = False) -> Tape:
    """op(c₁, c₂, …) = c for constants cᵢ, computed as the eager engine computes it, or as strict programs do on every
    machine, in float32 if they are `single`; onehot(i, k, g) = 0 for constants i ≠ k and any g. (`take` is left to
    `identities`.)"""
    code, leaf, arity = tape.code, tape.leaf, tape.arity
    folded = np.zeros(len(tape), dtype=bool)
    hots = entries_of(tape, ops.onehot)
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
        x, k = side(tape, hots, 0), side(tape, hots, 1)
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
                    given[same] = compute(*(given[side(tape, same, k)] for k in range(op.arity or 0)))
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
