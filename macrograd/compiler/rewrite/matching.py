"""Entries of a tape by operation and operands, and their replacement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import CONSTANT, Ints, Tape

Bools = NDArray[np.bool_]


def entries_of(tape: Tape, op: ops.Op) -> Ints:
    """The entries with this operation."""
    found: Ints = (tape.code == op.code).nonzero()[0]
    return found


def side(tape: Tape, ids: Ints, k: int) -> Ints:
    """The k-th operands of the entries that have at least k + 1."""
    found: Ints = tape.operand[tape.start[ids] + k]
    return found


def is_number(tape: Tape, ids: Ints, number: float) -> Bools:
    """Which entries are the constant `number`; zeros of different signs are different."""
    leaf = tape.leaf[ids]
    same: Bools = (tape.code[ids] == CONSTANT) & (leaf == number)
    if number == 0.0:
        same &= ~np.signbit(leaf)
    return same


def replaced(tape: Tape, alias: Ints) -> Tape:
    """Replace every use of i by alias[i]."""
    if (alias == np.arange(len(alias), dtype=np.int32)).all():
        return tape
    while not np.array_equal(further := tapes.at(alias, alias), alias):
        alias = further
    operand, results = tapes.at(alias, tape.operand), alias[tape.results]
    if np.array_equal(operand, tape.operand) and np.array_equal(results, tape.results):
        return tape
    return tapes.make(tape.code, tape.start, operand, tape.leaf, results)
