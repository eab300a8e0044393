"""Linearisation: the tape of the Values that a trace recorded.

A trace records hundreds of thousands of Values, so all work per Value is done by `map` and array operations, on some
thousands of Values at once: they stay in the cache, and take little memory beside the Values themselves. Operands are
matched to nodes by their addresses, and an address that is not a node's is a leaf.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, compress, repeat
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import CONSTANT, INPUT, PARAMETER, UNIFORM, Ints, Tape, ranges
from macrograd.graph import topological
from macrograd.value import Value

Objects = NDArray[np.object_]
_UNKNOWN = -1
_APART = 16  # bytes: no two objects are closer to each other
_VALUES_APART = Value.__basicsize__ // _APART * _APART  # no two Values
_AT_ONCE = 1 << 14  # Values linked at once
SPARSE = 64  # places that a table of addresses may have for each address that it holds


@dataclass(frozen=True)
class Links:
    """Who uses whom. `use[start[i]:start[i+1]]` are the numbers of node i's operands, followed after the last node by
    those of the results. Anything that is not among the nodes is `strangers[k]`, numbered ~k, in order of first use.

    code, number  of each node's operation
    """

    code: Ints
    number: NDArray[np.float64]
    start: Ints
    use: Ints
    strangers: Objects


class Leaves:
    """The leaves of a tape: their codes, their numbers or values, and the parameters among them."""

    def __init__(self, uniform: Sequence[bool], known: Sequence[Value]) -> None:
        kind = np.array(uniform, dtype=bool)
        place = np.where(kind, np.cumsum(kind), np.cumsum(~kind)) - 1
        self.code = np.concatenate([np.where(kind, UNIFORM, INPUT), np.full(len(known), PARAMETER)])
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
        leaf[~fixed] = len(self.parameters) + np.arange(len(found) - int(fixed.sum()))
        self.code = np.concatenate([self.code, np.where(fixed, CONSTANT, PARAMETER)])
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
    linker = _Linker(nodes, results)
    if linker.incomplete:
        linker = _Linker(_completed(nodes, results), results)
    if last:
        nodes.clear()
        results.clear()
    links = linker.links()
    del linker
    n, use, strangers = len(links.code), links.use, links.strangers
    leaves = Leaves(uniform or [False] * len(inputs), known)
    number = dict(zip(map(id, chain(inputs, known)), range(leaves.fixed), strict=True))
    place = np.fromiter(map(number.get, map(id, strangers), repeat(_UNKNOWN)), np.int64, len(strangers))
    new = np.flatnonzero(place == _UNKNOWN)
    place[new] = leaves.fixed + np.arange(len(new))
    leaves.add(strangers[new], constants)
    strange = use < 0
    use[strange] = n + leaves.pooled()[place[~use[strange]]]
    return _without_unused(_in_order(links, leaves), leaves.parameters)


class _Linker:
    """Links nodes to their operands, and results to nodes, some at a time.

    incomplete  whether there are operands that were computed, but are not among the nodes
    """

    def __init__(self, nodes: Sequence[Value], results: Sequence[Value]) -> None:
        ids = np.empty(len(nodes), dtype=np.int64)
        for begin in range(0, len(nodes), _AT_ONCE):
            some = nodes[begin : begin + _AT_ONCE]
            ids[begin : begin + len(some)] = ids_of(some, len(some))
        self._places, self._rows = Places(ids, _VALUES_APART), Places(ids_of(ops.TABLE))
        # By place: the numbers of the nodes that were computed, _UNKNOWN for others, and last for what has no place.
        self._number = np.full(len(nodes) + 1, _UNKNOWN, dtype=np.int32)
        self._listed = self._count = self._met = 0
        self.incomplete = False
        self._code: list[NDArray[np.int16]] = []
        self._arity: list[NDArray[np.int32]] = []
        self._use: list[NDArray[np.int32]] = []
        self._calls: list[tuple[int, Any]] = []
        self._strangers: list[Objects] = []
        for begin in range(0, len(nodes), _AT_ONCE):
            self._add(nodes[begin : begin + _AT_ONCE])
        self._link(_objects(results, len(results)))
        del self._places, self._number

    def _add(self, some: Sequence[Value]) -> None:
        left = _objects(map(attrgetter("_a"), some), len(some))
        listed, self._listed = self._listed, self._listed + len(some)
        if not (computed := _addresses(left) != id(None)).all():
            some, left = [*compress(some, computed.tolist())], left[computed]
        n = len(some)
        self._number[listed : self._listed][computed] = np.arange(self._count, self._count + n, dtype=np.int32)
        right = _objects(map(attrgetter("_b"), some), n)
        both = _addresses(right) != id(None)
        arity = 1 + both.astype(np.int32)
        wide = [i for i in np.flatnonzero(~both).tolist() if left[i].__class__ is tuple]
        arity[wide] = [len(left[i]) for i in wide]
        start = np.cumsum(arity, dtype=np.int64) - arity
        operands = np.empty(int(arity.sum()), dtype=object)
        operands[start] = left
        operands[start[both] + 1] = right[both]
        operands[ranges(start[wide], arity[wide])] = _objects(
            chain.from_iterable(left[i] for i in wide), int(arity[wide].sum())
        )
        self._link(operands)
        code = self._rows.of(ids_of(map(attrgetter("op"), some), n))
        for k in np.flatnonzero(code == _UNKNOWN).tolist():  # calls and their results
            self._calls.append((self._count + k, some[k].op))
        self._code.append(code.astype(np.int16))
        self._arity.append(arity)
        self._count += n

    def _link(self, operands: Objects) -> None:
        ids = _addresses(operands)
        use = self._number[self._places.of(ids)]
        strange = np.flatnonzero(use == _UNKNOWN)
        if len(strange):
            _, first, which = np.unique(ids[strange], return_index=True, return_inverse=True)
            use[strange] = ~(self._met + which)
            found = operands[strange[first]]
            self.incomplete |= bool((ids_of(map(attrgetter("_a"), found), len(found)) != id(None)).any())
            self._strangers.append(found)
            self._met += len(found)
        self._use.append(use)

    def links(self) -> Links:
        none = np.empty(0, np.int32)
        code, arity, use = (np.concatenate([none, *x], dtype=np.int64) for x in (self._code, self._arity, self._use))
        number = np.zeros(len(code))
        for k, operation in self._calls:
            code[k], number[k] = operation.code, operation.number
        start = np.zeros(len(arity) + 1, dtype=np.int64)
        np.cumsum(arity, out=start[1:])
        return Links(code, number, start, use, self._in_order_of_use(use))

    def _in_order_of_use(self, use: Ints) -> Objects:
        """Number the strangers in order of first use; returns them."""
        met = np.concatenate([np.empty(0, dtype=object), *self._strangers])
        ids = _addresses(met)
        same = Places(ids, _VALUES_APART).of(ids)  # one for all that are the same, which several parts met
        strange = np.flatnonzero(use < 0)
        uses = same[~use[strange]]
        number = np.empty(len(met), dtype=np.int64)
        number[uses[::-1]] = np.arange(len(uses))[::-1]  # of several uses the first is written last and stays
        first = uses[number[uses] == np.arange(len(uses))]
        number[first] = np.arange(len(first))
        use[strange] = ~number[uses]
        found: Objects = met[first]
        return found


class _Addresses:
    """An array of objects seen as the numbers that it stores."""

    def __init__(self, objects: Any) -> None:
        given = objects.__array_interface__
        self.__array_interface__ = given | {"typestr": np.dtype(np.intp).str, "descr": [("", np.dtype(np.intp).str)]}


def _objects(values: Iterable[Any], count: int) -> Objects:
    return np.fromiter(values, object, count)


def _addresses(objects: Objects) -> Ints:
    """The `id` of each, which is its address: an array of objects stores just these."""
    return np.array(_Addresses(objects), dtype=np.int64)


def ids_of(values: Iterable[Any], count: int = -1) -> Ints:
    """The `id` of each."""
    return _addresses(_objects(values, count))


class Places:
    """The positions of objects by their ids. All are at least `apart` bytes from each other."""

    def __init__(self, ids: Ints, apart: int = _APART) -> None:
        self._apart, self._order, self._table = apart, None, None
        self._first = int(ids.min(initial=0 if not len(ids) else ids[0]))
        size = (int(ids.max()) - self._first) // apart + 1 if len(ids) else 0
        # Objects made one after the other are close together in memory: a table by address is faster than any search.
        if size <= SPARSE * len(ids):
            self._table = np.full(size + 1, _UNKNOWN, dtype=np.int32)
            self._table[(ids - self._first) // apart] = np.arange(len(ids), dtype=np.int32)
        else:
            self._order = np.argsort(ids, kind="stable")
            self._ids = ids[self._order]

    def of(self, ids: Ints) -> Ints:
        """The position of each of these ids, _UNKNOWN if it is not there."""
        if self._table is not None:
            at = (ids - self._first) // self._apart
            at[(at < 0) | (at >= len(self._table))] = len(self._table) - 1
            found: Ints = self._table[at].astype(np.int64)
            return found
        assert self._order is not None
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[at] == ids, self._order[at], _UNKNOWN)


def _completed(nodes: Sequence[Value], results: Sequence[Value]) -> list[Value]:
    """The nodes, with Values that were computed from parameters before the trace inserted before their first use."""
    seen = set(map(id, nodes))
    found: list[Value] = []

    def complete(operands: Sequence[Value]) -> None:
        for x in operands:
            if x._a is not None and id(x) not in seen:
                found.extend(y for y in topological(x, seen=seen) if y._a is not None)

    for node in nodes:
        complete(node.inputs)
        found.append(node)
    complete(results)
    return found


def _in_order(links: Links, leaves: Leaves) -> Tape:
    """The tape of computed entries 0, 1, … and leaves numbered after them, each leaf moved to just before its first
    use."""
    start, use, n = links.start, links.use, len(links.code)
    m = int(start[-1])
    first = np.full(len(leaves.code), len(use), dtype=np.int64)
    used = np.flatnonzero(use >= n)[::-1]
    first[use[used] - n] = used  # of several uses the first is written last and stays
    first[: leaves.fixed] = -1
    order = np.argsort(first, kind="stable")
    order = order[first[order] < len(use)]
    owner = np.maximum(np.searchsorted(start, first[order], side="right") - 1, 0)  # the entry that uses it first
    at, leaf_at = np.arange(n) + np.cumsum(np.bincount(owner, minlength=n + 1))[:n], owner + np.arange(len(order))
    number = np.empty(n + len(first), dtype=np.int64)
    number[:n], number[n + order] = at, leaf_at
    code, leaf, begin = (
        np.empty(n + len(order) + k, dtype) for k, dtype in ((0, np.int64), (0, np.float64), (1, np.int64))
    )
    for found, mine, own in ((code, links.code, leaves.code), (leaf, links.number, leaves.leaf)):
        found[at], found[leaf_at] = mine, own[order]
    begin[at], begin[leaf_at], begin[-1] = start[:-1], start[owner], m
    return tapes.make(code, begin, number[use[:m]], leaf, number[use[m:]])


def _without_unused(tape: Tape, parameters: list[Value]) -> tuple[Tape, list[Value]]:
    """Drop entries that no result depends on, and parameters used only by these."""
    used = tapes.reached(tape)
    if used.all():
        return tape, parameters
    kept = tape.leaf[(tape.code == PARAMETER) & used].astype(int).tolist()
    tape = tapes.select(tape, used | tapes.among(tape.code, (INPUT, UNIFORM)))
    mine = tape.code == PARAMETER
    tape.leaf[mine] = np.arange(len(kept))
    return tape, [parameters[k] for k in kept]
