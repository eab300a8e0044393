"""Entries that equal an operand of theirs, or a cheaper operation on it, bit for bit."""

from __future__ import annotations

import numpy as np

from macrograd import ops
from macrograd.compiler.rewrite.matching import entries_of, is_number, replaced, side
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import CONSTANT, Ints, Tape

_CHOOSING = {op.code for op in (ops.where, ops.onehot, ops.take)}
_REWRITTEN = _CHOOSING | {op.code for op in (ops.mul, ops.div, ops.power, ops.sub, ops.sum_, ops.neg, ops.maximum)}
_MOST_EXACT = 126  # of the exponent of a power of two whose reciprocal is a normal number, in float32, too


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
    for op, place, unit in units:
        if op.code in there:
            ids = entries_of(tape, op)
            ids = ids[is_number(tape, side(tape, ids, place), unit)]
            alias[ids] = side(tape, ids, 1 - place)
    if ops.sum_.code in there:
        ids = entries_of(tape, ops.sum_)
        ids = ids[tape.arity[ids] == 1]
        alias[ids] = side(tape, ids, 0)
    if ops.neg.code in there:
        ids = entries_of(tape, ops.neg)
        inner = side(tape, ids, 0)
        twice = tape.code[inner] == ops.neg.code
        alias[ids[twice]] = side(tape, inner[twice], 0)
    if not there.isdisjoint(_CHOOSING):
        _known_choices(tape, alias)
    if {ops.maximum.code, ops.where.code} <= there:
        _both_sides(tape, alias)
    tape = replaced(tape, alias)
    tape = _without_powers(tape) if ops.power.code in there else tape
    return _without_divisions(tape) if ops.div.code in there else tape


def _known_choices(tape: Tape, alias: Ints) -> None:
    """Note the results of `where`, `onehot` and `take` of constants."""
    for op in (ops.where, ops.onehot):
        ids = entries_of(tape, op)
        x, a, b = (side(tape, ids, k) for k in range(3))
        known = tape.code[x] == CONSTANT
        if op is ops.where:
            alias[ids[a == b]] = a[a == b]
            alias[ids[known]] = np.where(tape.leaf[x] != 0.0, a, b)[known]
        else:
            known &= (tape.code[a] == CONSTANT) & (tape.leaf[x] == tape.leaf[a])
            alias[ids[known]] = b[known]
    ids = entries_of(tape, ops.take)
    for i in ids[tape.code[side(tape, ids, 0)] == CONSTANT].tolist():
        values, index = tape.operands(i)[1:], tape.leaf[tape.operands(i)[0]]
        if 0 <= index < len(values) and index == int(index):  # any other is reported when the program runs
            alias[i] = values[int(index)]


def _both_sides(tape: Tape, alias: Ints) -> None:
    """Note that one side of a choice was taken."""
    ids = entries_of(tape, ops.maximum)
    sides = [side(tape, ids, k) for k in range(2)]
    choices = (tape.code[sides[0]] == ops.where.code) & (tape.code[sides[1]] == ops.where.code)
    ids, left, right = ids[choices], sides[0][choices], sides[1][choices]
    same = side(tape, left, 0) == side(tape, right, 0)
    for first, second in ((left, right), (right, left)):
        one, zero = side(tape, first, 1), side(tape, first, 2)
        both = same & is_number(tape, one, 1.0) & is_number(tape, zero, 0.0)
        both &= is_number(tape, side(tape, second, 1), 0.0) & is_number(tape, side(tape, second, 2), 1.0)
        alias[ids[both]] = one[both]


def _without_powers(tape: Tape) -> Tape:
    """x² = x · x and x⁻¹ = 1 ÷ x."""
    ids = entries_of(tape, ops.power)
    exponent = side(tape, ids, 1)
    squared = ids[is_number(tape, exponent, 2.0)]
    inverse = ids[is_number(tape, exponent, -1.0)]
    if not len(squared) and not len(inverse):
        return tape
    operand, code = tape.operand.copy(), tape.code.copy()
    code[squared] = ops.mul.code
    operand[tape.start[squared] + 1] = side(tape, squared, 0)
    code[inverse] = ops.div.code
    operand[tape.start[inverse]] = side(tape, inverse, 1)  # the exponent −1, replaced by the constant 1 below
    operand[tape.start[inverse] + 1] = side(tape, inverse, 0)
    return _with_ones(tapes.make(code, tape.start, operand, tape.leaf, tape.results), inverse)


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


def _without_divisions(tape: Tape) -> Tape:
    """x ÷ c = x · c⁻¹ for a power of two c whose reciprocal is a normal number in float32, too: both are one number,
    rounded once."""
    ids = entries_of(tape, ops.div)
    divisor = side(tape, ids, 1)
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
    ids = entries_of(tape, ops.detach)
    if not len(ids):
        return tape
    alias = np.arange(len(tape), dtype=np.int32)
    alias[ids] = side(tape, ids, 0)
    return replaced(tape, alias)
