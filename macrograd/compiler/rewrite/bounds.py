"""Bounds: between which numbers the values of a tape's entries are, and which of them may be infinite or NaN, as far as
the few operations before them tell. In float32 too, where small numbers are 0 and large ones infinite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import eq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CALL, CONSTANT, Ints, Tape

Bools = NDArray[np.bool_]
COMPARES = [op.code for op in (ops.less, ops.less_equal)]  # finite for any operands
_DEEP = 12  # depth, in operations, of the search for an entry's bounds
_WIDE = 64  # sums of more terms have no known bounds
_ANY = (-math.inf, math.inf)


class Bounds:
    """The lowest and highest values of entries, in float32 too, as far as the few operations before them tell."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._known: dict[int, tuple[float, float]] = {}
        self._found: dict[Any, tuple[float, float]] = {}  # by what decides them: many entries of a net are alike

    def __call__(self, i: int, depth: int = _DEEP) -> tuple[float, float]:
        code = int(self.tape.code[i])
        if code == CONSTANT:
            number = float(self.tape.leaf[i])
            return _rounded((number, number)) if number == number else _ANY
        if code < 0 or not depth:
            return _ANY
        if i not in self._known:
            self._known[i] = self._of(ops.TABLE[code], self.tape.operands(i).tolist(), depth - 1)
        return self._known[i]

    def _of(self, op: ops.Op, operands: list[int], depth: int) -> tuple[float, float]:
        parts: tuple[tuple[float, float], ...] = ()
        same: tuple[bool, ...] = ()
        if len(operands) <= 2 * _WIDE and (op in _PRODUCTS or op.code in _BOUNDS):
            parts = tuple([self(x, depth) for x in operands])
            same = tuple(map(eq, operands[::2], operands[1::2])) if op in _PRODUCTS else ()
        key = op.code, parts, same
        if key not in self._found:
            self._found[key] = _rounded(_computed(op, parts, same))
        return self._found[key]


def _computed(op: ops.Op, parts: Sequence[tuple[float, float]], same: Sequence[bool]) -> tuple[float, float]:
    """The bounds of an operation on operands within `parts`; of pairs of factors, which are the `same`."""
    if not parts:
        return op.range
    if op is ops.power:
        return _product(parts[0], parts[0], same=True) if parts[1] == (2.0, 2.0) else op.range
    if op in _PRODUCTS:
        return _total([_product(*pair) for pair in zip(parts[::2], parts[1::2], same, strict=True)])
    return _BOUNDS[op.code](*parts)


def _product(a: tuple[float, float], b: tuple[float, float], same: bool) -> tuple[float, float]:
    low, high = _times(a, b)
    return (max(low, 0.0), high) if same else (low, high)


def _rounded(bounds: tuple[float, float]) -> tuple[float, float]:
    """The bounds with the 0 or infinity that a float32 has in place of numbers beyond its range: those above it are
    anything from its end on."""
    least, end = tapes.SINGLE_ENDS
    found = [x for x in bounds if abs(x) < end]
    for x in bounds:
        if abs(x) <= least:
            found.append(0.0)
        elif abs(x) >= end:
            found += [math.copysign(end, x), math.copysign(math.inf, x)]
    return min(found), max(found)


def _total(terms: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return -_most([-a for a, _ in terms]), _most([b for _, b in terms])


def _most(ends: list[float]) -> float:
    """The largest sum of numbers up to these: more than 0 where what is left of it may be a rounding in float32."""
    if math.inf in ends:
        return math.inf
    total, slack = math.fsum(ends), 2.0**-22 * math.fsum(map(abs, ends))
    cancels = min(ends) < 0.0 < max(ends) and -slack <= total < slack
    return slack if cancels else total


def _times(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    corners = [x * y if x and y else 0.0 for x in a for y in b]
    return min(corners), max(corners)


def _turned(a: tuple[float, float]) -> tuple[float, float]:
    return -a[1], -a[0]


def _quotient(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return _times(a, (1.0 / b[1], 1.0 / b[0])) if b[0] > 0.0 else _ANY


def _root(a: tuple[float, float]) -> tuple[float, float]:
    return math.sqrt(max(a[0], 0.0)), math.sqrt(max(a[1], 0.0))


_PRODUCTS = (ops.mul, ops.dot, ops.power)
_BOUNDS: dict[int, Callable[..., tuple[float, float]]] = {
    ops.sqrt.code: _root,
    ops.add.code: lambda a, b: _total([a, b]),
    ops.sub.code: lambda a, b: _total([a, _turned(b)]),
    ops.sum_.code: lambda *terms: _total(terms),
    ops.neg.code: _turned,
    ops.div.code: _quotient,
    ops.maximum.code: lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    ops.minimum.code: lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    ops.where.code: lambda c, a, b: (min(a[0], b[0]), max(a[1], b[1])),
    ops.gate.code: lambda taken, a: (min(a[0], ops.HARMLESS), max(a[1], ops.HARMLESS)),
    ops.relu.code: lambda a: (max(a[0], 0.0), max(a[1], 0.0)),
    ops.detach.code: lambda a: a,
}


def untamed(tape: Tape, among: Ints, bounds: Bounds) -> Bools:
    """Which of the entries may have an infinite or NaN value or slope although their operands are finite."""
    found = np.zeros(len(tape), dtype=bool)
    numbers = among[(tape.code[among] == CONSTANT)]
    found[numbers] = ~tapes.finite(tape.leaf[numbers])
    for code in tapes.distinct(tape.code[among]).tolist():
        tame = (code < 0 and code != CALL) or (code >= 0 and ops.TABLE[code].tame)
        if tame is True:
            continue
        entries = among[tape.code[among] == code]
        if not tame:
            found[entries] = True
            continue
        known: dict[tuple[tuple[float, float], ...], bool] = {}
        for i in entries.tolist():
            parts = tuple([bounds(x) for x in tape.operands(i).tolist()])
            if parts not in known:
                known[parts] = bool(tame(*parts))
            found[i] = not known[parts]
    return found


def wild(tape: Tape, made: Bools) -> Bools:
    """The entries that are among those `made` or computed from them."""
    ends = -tapes.among(tape.code, COMPARES).astype(np.int64)
    found: Bools = walks.longest(tape.start, tape.operand, made.astype(np.int64), ends) > 0
    return found
