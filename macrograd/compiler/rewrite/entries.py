"""New entries of a tape: collected in blocks, each with its place, and put among the old ones at the end."""

from __future__ import annotations

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
    """Put the new entries in their places among the old ones and resolve the adjoints; `entries` is empty then."""

    def pending() -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = alias >= ADJOINTS
        return found

    while (waiting := pending()).any():
        alias[waiting] = alias[alias[waiting] - ADJOINTS]

    place = _with([2 * np.arange(len(tape), dtype=np.int32)], entries.place)
    order = np.argsort(place, kind="stable").astype(np.int32)
    del place
    number = np.empty(len(order) + len(tape), dtype=np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    # The ids of the entries, followed by those of the adjoints; an entry without an adjoint is never looked up.
    number[len(order) :] = tapes.at(number, np.maximum(alias, 0))

    def placed(ids: Ints) -> Ints:
        ids[ids >= ADJOINTS] -= ADJOINTS - len(order)
        return ids

    results = number[placed(results)]
    operand = placed(_with([tape.operand], entries.operand))
    arity = _with([tape.arity], entries.arity)
    begin = np.cumsum(arity, dtype=np.int32) - arity
    start, operand = walks.picked(tapes.at(begin, order), tapes.at(arity, order), operand, number)
    del begin, arity, number
    code, leaf = _with([tape.code], entries.code)[order], _with([tape.leaf], entries.leaf)[order]
    return tapes.make(code, start, operand, leaf, results)


def _with(old: list[Any], new: list[Any]) -> Any:
    """The old array and the new ones as one; the list of the new ones is emptied, since they are as long together."""
    found = np.concatenate([*old, *new])
    new.clear()
    return found
