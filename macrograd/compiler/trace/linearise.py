"""Linearisation: the tape of the Values that a trace recorded, from the links between them (`links.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CONSTANT, INPUT, PARAMETER, UNIFORM, Ints, Tape
from macrograd.compiler.trace.links import UNKNOWN, Linker, Links, Objects, ids_of
from macrograd.graph import topological
from macrograd.value import Value


class Leaves:
    """The leaves of a tape: their codes, their numbers or values, and the parameters among them."""

    def __init__(self, uniform: Sequence[bool], known: Sequence[Value]) -> None:
        kind = np.array(uniform, dtype=bool)
        place = np.where(kind, np.cumsum(kind), np.cumsum(~kind)) - 1
        codes = np.where(kind, UNIFORM, INPUT), np.full(len(known), PARAMETER)
        self.code = np.concatenate(codes, dtype=np.int16)
        self.leaf = np.concatenate([place, np.arange(len(known))]).astype(np.float64)
        self.parameters = list(known)
        self.fixed = len(self.code)  # these come first on the tape, used or not

    def add(self, found: Objects, constants: set[int]) -> None:
        """Append leaves; a leaf is a constant by its operation or if its id is among `constants`."""
        fixed = ids_of(map(attrgetter("op"), found), len(found)) != id(None)
        if constants:
            fixed |= np.fromiter(map(constants.__contains__, map(id, found)), bool, len(found))
        leaf = np.empty(len(found))
        leaf[fixed] = np.fromiter(map(attrgetter("_data"), found[fixed]), np.float64, int(fixed.sum()))
        leaf[~fixed] = len(self.parameters) + np.arange(len(found) - int(fixed.sum()), dtype=np.float64)
        self.code = np.append(self.code, np.where(fixed, np.int16(CONSTANT), np.int16(PARAMETER)))
        self.leaf = np.concatenate([self.leaf, leaf])
        self.parameters += found[~fixed].tolist()

    def pooled(self) -> Ints:
        """For each leaf, the first that is the same: constants with equal bits are one."""
        found = np.arange(len(self.code))
        constants = np.flatnonzero(self.code == CONSTANT)
        if len(constants):
            _, first, which = np.unique(self.leaf[constants].view(np.int64), return_index=True, return_inverse=True)
            found[constants] = constants[first[which]]
        return found


def tape_of(
    nodes: list[Value],
    results: list[Value],
    inputs: Sequence[Value],
    constants: set[int],
    known: Sequence[Value] = (),
    uniform: Sequence[bool] = (),
    *,
    last: bool = False,
) -> tuple[Tape, list[Value]]:
    """The tape of the `nodes` that `results` depend on, operands before their users, and its parameters: the leaves
    closed over, in order of first use.

    `inputs` come first, then `known`, the parameters to number first; every other leaf comes right before its first
    use. `constants` are the ids of leaves that the traced function made itself; `uniform` tells which of the inputs are
    the same for all samples, none if it is empty. `last` means that nobody needs the two lists any more: they are
    emptied, so that the Values go before the tape is made, which takes as much memory.
    """
    linker = linked(nodes, results)
    if linker.incomplete:
        linker = linked(_completed(nodes, linker.links()), results)
    if last:
        nodes.clear()
        results.clear()
    return tape_of_links(linker.links(), inputs, constants, known, uniform)


def linked(nodes: Sequence[Value], results: Sequence[Value]) -> Linker:
    linker = Linker()
    linker.add(nodes)
    linker.finish(results)
    return linker


def tape_of_links(
    links: Links, inputs: Sequence[Value], constants: set[int], known: Sequence[Value], uniform: Sequence[bool]
) -> tuple[Tape, list[Value]]:
    """`tape_of` for nodes that are links already; what these use is written over."""
    n, use, strangers = len(links.code), links.use, links.strangers
    leaves = Leaves(uniform or [False] * len(inputs), known)
    number = dict(zip(map(id, chain(inputs, known)), range(leaves.fixed), strict=True))
    place = np.fromiter(map(number.get, map(id, strangers), repeat(UNKNOWN)), np.int64, len(strangers))
    new = np.flatnonzero(place == UNKNOWN)
    place[new] = leaves.fixed + np.arange(len(new))
    leaves.add(strangers[new], constants)
    numbers = (n + leaves.pooled()[place]).astype(np.int32)
    del place, new, number
    for begin in range(0, len(use), tapes.AT_ONCE):
        some = use[begin : begin + tapes.AT_ONCE]
        strange = some < 0
        some[strange] = numbers[~some[strange]]
    del numbers
    return without_unused(_in_order(links, leaves), leaves.parameters)


def _completed(nodes: Sequence[Value], links: Links) -> list[Value]:
    """The nodes, with Values that were computed from parameters before the trace inserted before their first use."""
    strange = np.flatnonzero(links.use < 0)
    highest = np.maximum.accumulate(~links.use[strange])  # they are numbered in order of first use
    first = strange[np.searchsorted(highest, np.arange(len(links.strangers)))]
    users = np.searchsorted(links.start, first, side="right") - 1
    seen = set(map(id, nodes))
    computed = [x for x in nodes if x._a is not None]
    found: list[Value] = []
    done = 0
    for x, user in zip(links.strangers.tolist(), users.tolist(), strict=True):
        if x._a is not None:
            found += computed[done:user]
            found += [y for y in topological(x, seen=seen) if y._a is not None]
            done = user
    return found + computed[done:]


def _in_order(links: Links, leaves: Leaves) -> Tape:
    """The tape of computed entries 0, 1, … and leaves numbered after them, each leaf moved to just before its first
    use."""
    start, use, n = links.start, links.use, len(links.code)
    m = int(start[-1])
    first = np.full(len(leaves.code), len(use), dtype=np.int32)
    for begin in reversed(range(0, len(use), tapes.AT_ONCE)):
        some = use[begin : begin + tapes.AT_ONCE]
        used = np.flatnonzero(some >= n)[::-1]
        first[some[used] - n] = begin + used  # of several uses the first is written last and stays
    first[: leaves.fixed] = -1
    order = np.argsort(first, kind="stable").astype(np.int32)
    first = tapes.at(first, order)
    order, first = (x[: np.searchsorted(first, len(use))] for x in (order, first))
    owner = np.searchsorted(start, first, side="right").astype(np.int32)  # the entry that uses it first, and one more
    np.maximum(owner - 1, 0, out=owner)
    del first
    leaf_at = np.arange(len(order), dtype=np.int32)
    leaf_at += owner
    at = np.cumsum(walks.counted(owner, n + 1)[:n], dtype=np.int32)
    at += np.arange(n, dtype=np.int32)
    number = np.empty(n + len(leaves.code), dtype=np.int32)
    number[:n], number[n + order] = at, leaf_at
    results = number[use[m:]]
    for begin in range(0, m, tapes.AT_ONCE):
        some = use[begin : min(begin + tapes.AT_ONCE, m)]
        some[:] = number[some]
    del number

    def column(mine: NDArray[Any], own: NDArray[Any], more: int = 0) -> NDArray[Any]:
        found = np.zeros(n + len(order) + more, mine.dtype)
        tapes.put(found, at, mine)
        tapes.put(found, leaf_at, own)
        return found

    code = column(links.code, tapes.at(leaves.code, order))
    leaf = column(links.number, tapes.at(leaves.leaf, order))
    begins = column(start[:-1], tapes.at(start, owner), 1)
    begins[-1] = m
    return tapes.make(code, begins, use[:m], leaf, results)


def without_unused(tape: Tape, parameters: list[Value]) -> tuple[Tape, list[Value]]:
    """Drop entries that no result depends on, and parameters used only by these."""
    used = tapes.reached(tape)
    if used.all():
        return tape, parameters
    kept = tape.leaf[(tape.code == PARAMETER) & used].astype(int).tolist()
    tape = tapes.select(tape, used | tapes.among(tape.code, (INPUT, UNIFORM)))
    mine = tape.code == PARAMETER
    tape.leaf[mine] = np.arange(len(kept))
    return tape, [parameters[k] for k in kept]
