"""New entries of a tape: collected in blocks, each with its place, and put among the old ones at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import Ints, Tape

# The operand ADJOINTS + i stands for the adjoint of entry i until that is known.
ADJOINTS = 2 * tapes.MOST


class Entries:
    """New entries as blocks of arrays, each with its place in the finished tape.

    The adjoint of entry i comes after the contributions of all entries after i and before those of i itself.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.count = n
        self.code: list[Ints] = []
        self.arity: list[Ints] = []
        self.operand: list[Ints] = []
        self.leaf: list[NDArray[np.float64]] = []
        self.place: list[Ints] = []

    def before(self, entry: Ints) -> Ints:
        """The place of the entries that sum up the adjoint of an entry."""
        return 2 * (2 * self.n - entry)

    def after(self, entry: Ints) -> Ints:
        """The place of the entries that use the adjoint of an entry."""
        return 2 * (2 * self.n - entry) + 1

    def add(self, code: int, operands: list[Ints], place: Ints, leaf: Any = 0.0) -> Ints:
        """One entry per element of `place`, all with the same operation; returns their provisional ids."""
        n = len(place)
        operand = np.empty((n, len(operands)), dtype=np.int32)
        for k, column in enumerate(operands):
            operand[:, k] = column
        return self.add_variadic(code, np.broadcast_to(np.int32(len(operands)), n), operand.ravel(), place, leaf)

    def add_variadic(self, code: int, arity: Ints, operand: Ints, place: Ints, leaf: Any = 0.0) -> Ints:
        n = len(place)
        self.code.append(np.broadcast_to(np.int16(code), n))
        self.arity.append(arity.astype(np.int32, copy=False))
        self.operand.append(operand.astype(np.int32, copy=False))
        self.leaf.append(np.broadcast_to(np.asarray(leaf, dtype=np.float64), (n,)))
        self.place.append(place.astype(np.int32, copy=False))
        self.count += n
        return np.arange(self.count - n, self.count, dtype=np.int32)


def assembled(tape: Tape, entries: Entries, alias: Ints, results: Ints) -> Tape:
    """Put the new entries in their places among the old ones and resolve the adjoints; `entries` is used up then."""

    def pending() -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = alias >= ADJOINTS
        return found

    while (waiting := pending()).any():
        alias[waiting] = alias[alias[waiting] - ADJOINTS]

    place = np.concatenate([2 * np.arange(len(tape), dtype=np.int32), *entries.place])
    entries.place.clear()
    order = np.argsort(place, kind="stable").astype(np.int32)
    count = len(order)
    number = np.empty(count + len(tape), dtype=np.int32)
    tapes.put(number, order, np.arange(count, dtype=np.int32))
    del place, order  # each is as long as the tape
    # The ids of the entries, followed by those of the adjoints; an entry without an adjoint is never looked up.
    number[count:] = tapes.at(number, np.maximum(alias, 0))

    def placed(ids: Ints) -> Ints:
        for first in range(0, len(ids), tapes.AT_ONCE):
            some = ids[first : first + tapes.AT_ONCE]
            some[some >= ADJOINTS] -= ADJOINTS - count
        return ids

    results = number[placed(results)]
    start, operand = walks.picked(
        _spread(number, count, np.int32, _begins([tape.arity, *entries.arity])),
        _spread(number, count, np.int32, [tape.arity, *entries.arity]),
        placed(_joined(tape.operand, entries.operand)),
        number,
    )
    code = _spread(number, count, np.int16, [tape.code, *entries.code])
    leaf = _spread(number, count, np.float64, [tape.leaf, *entries.leaf])
    return tapes.make(code, start, operand, leaf, results)


def _joined(old: Ints, new: list[Ints]) -> Ints:
    """The old array and the new ones as one; the list of the new ones is emptied on the way."""
    found = np.empty(len(old) + sum(map(len, new)), dtype=np.int32)
    end = len(found)
    while new:
        found[end - len(new[-1]) : end] = new[-1]
        end -= len(new.pop())
    found[:end] = old
    return found


def _spread(number: Ints, count: int, kind: Any, blocks: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """A column of the finished tape, of `count` entries, from the blocks of the old and the new entries."""
    found = np.zeros(count, dtype=kind)
    first = 0
    for block in blocks:
        if block.strides != (0,) or any(block[:1].tobytes()):  # one number for all mostly is 0, which is there already
            tapes.put(found, number[first : first + len(block)], block)
        first += len(block)
    return found


def _begins(arities: Iterable[Ints]) -> Iterator[Ints]:
    """Where the operands of each entry begin among those of all blocks."""
    total = 0
    for arity in arities:
        ends = np.cumsum(arity, dtype=np.int32)
        ends += np.int32(total)
        total = int(ends[-1]) if len(ends) else total
        yield ends - arity
