"""Linearisation: the tape of the Values that a trace recorded.

A trace records hundreds of thousands of Values, so all work per Value is done by `map` and array operations: operands
are matched to nodes by their addresses, and an address that is not a node's is a leaf.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress, repeat
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import CONSTANT, INPUT, PARAMETER, UNIFORM, Ints, Tape, ranges
from macrograd.graph import topological
from macrograd.value import Value

Objects = NDArray[np.object_]
_UNKNOWN = -1
_APART = 16  # bytes: no two objects are closer to each other
_VALUES_APART = Value.__basicsize__ // _APART * _APART  # no two Values
_AT_ONCE = 1 << 16  # addresses looked up at once, so that the work stays in the cache
SPARSE = 64  # places that a table of addresses may have for each address that it holds


@dataclass(frozen=True)
class Links:
    """Who uses whom. `use[start[i]:start[i+1]]` are the numbers of node i's operands, followed after the last node by
    those of the results. Anything that is not among the nodes is `strangers[k]`, numbered ~k, in order of first use."""

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
    nodes: Sequence[Value],
    results: Sequence[Value],
    inputs: Sequence[Value],
    constants: set[int],
    known: Sequence[Value] = (),
    uniform: Sequence[bool] = (),
) -> tuple[Tape, list[Value]]:
    """The tape of the `nodes` that `results` depend on, operands before their users, and its parameters: the leaves
    closed over, in order of first use.

    `inputs` come first, then `known`, the parameters to number first; every other leaf comes right before its first
    use. `constants` are the ids of leaves that the traced function made itself; `uniform` tells which of the inputs are
    the same for all samples, none if it is empty.
    """
    computed, links = _links(nodes, results)
    if (ids_of(map(attrgetter("_a"), links.strangers), len(links.strangers)) != id(None)).any():
        computed, links = _links(_completed(computed, results), results)
    n, use, strangers = len(computed), links.use, links.strangers
    leaves = Leaves(uniform or [False] * len(inputs), known)
    number = dict(zip(map(id, chain(inputs, known)), range(leaves.fixed), strict=True))
    place = np.fromiter(map(number.get, map(id, strangers), repeat(_UNKNOWN)), np.int64, len(strangers))
    new = np.flatnonzero(place == _UNKNOWN)
    place[new] = leaves.fixed + np.arange(len(new))
    leaves.add(strangers[new], constants)
    strange = use < 0
    use[strange] = n + leaves.pooled()[place[~use[strange]]]
    code = positions_of(ids_of(ops.TABLE), ids_of(map(attrgetter("op"), computed), n))
    leaf = np.zeros(n)
    for k in np.flatnonzero(code == _UNKNOWN).tolist():  # calls and their results
        operation: Any = computed[k].op
        code[k], leaf[k] = operation.code, operation.number
    return _without_unused(_in_order(code, leaf, links.start, use, leaves, len(results)), leaves.parameters)


def _links(nodes: Sequence[Value], results: Sequence[Value]) -> tuple[Sequence[Value], Links]:
    """The nodes that were computed, and their links."""
    left = _objects(map(attrgetter("_a"), nodes), len(nodes))
    if (leaf := _addresses(left) == id(None)).any():
        nodes, left = list(compress(nodes, (~leaf).tolist())), left[~leaf]
    n = len(nodes)
    right = _objects(map(attrgetter("_b"), nodes), n)
    second = _addresses(right)
    has = np.flatnonzero(second != id(None))
    wide = [i for i in np.flatnonzero(second == id(None)).tolist() if left[i].__class__ is tuple]
    many: list[Value] = list(chain.from_iterable(left[i] for i in wide))

    arity = np.ones(n, dtype=np.int64)
    arity[has] = 2
    arity[wide] = [len(left[i]) for i in wide]
    start = np.concatenate([[0], np.cumsum(arity)])
    inside = ranges(start[wide], arity[wide])
    ids = np.empty(start[-1] + len(results), dtype=np.int64)
    ids[start[:-1]] = _addresses(left)
    ids[start[has] + 1] = second[has]
    ids[inside] = ids_of(many)
    ids[start[-1] :] = ids_of(results)
    del second, has, arity  # this is where a trace takes most memory
    use = positions_of(ids_of(nodes, n), ids, _VALUES_APART)

    strange = np.flatnonzero(use == _UNKNOWN)
    _, met, which = np.unique(ids[strange], return_index=True, return_inverse=True)
    order = np.argsort(met)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    use[strange] = ~rank[which]
    return nodes, Links(start, use, _found_at(strange[met[order]], start, left, right, wide, results))


def _found_at(
    positions: Ints, start: Ints, left: Objects, right: Objects, wide: list[int], results: Sequence[Value]
) -> Objects:
    """The objects at these positions in the list of all operands, followed by the results."""
    owner = np.searchsorted(start, positions, side="right") - 1
    inner = np.minimum(owner, max(0, len(left) - 1))
    place = positions - start[np.minimum(owner, len(left))]
    found = np.empty(len(positions), dtype=object)
    if len(left):
        found[:] = np.where(place == 0, left[inner], right[inner])
    at_end = owner == len(left)
    for k in np.flatnonzero(at_end | np.isin(owner, wide)).tolist():
        found[k] = results[place[k]] if at_end[k] else left[owner[k]][place[k]]
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


def positions_of(ids: Ints, wanted: Ints, apart: int = _APART) -> Ints:
    """The position of each wanted id among `ids`, _UNKNOWN if it is not there. All objects are at least `apart` bytes
    from each other."""
    found = np.full(len(wanted), _UNKNOWN)
    if not len(ids):
        return found
    # Objects made one after the other are close together in memory: a table by address is faster than any search.
    first = int(ids.min())
    size = (int(ids.max()) - first) // apart + 1
    if size <= SPARSE * len(ids):
        table = np.full(size + 1, _UNKNOWN, dtype=np.int32)
        table[(ids - first) // apart] = np.arange(len(ids), dtype=np.int32)
        for begin in range(0, len(wanted), _AT_ONCE):
            at = (wanted[begin : begin + _AT_ONCE] - first) // apart
            at[(at < 0) | (at > size)] = size
            found[begin : begin + _AT_ONCE] = table[at]
        return found
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[at] == wanted, order[at], _UNKNOWN)


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


def _in_order(code: Ints, leaf: NDArray[np.float64], start: Ints, use: Ints, leaves: Leaves, results: int) -> Tape:
    """The tape of computed entries 0, 1, … and leaves numbered after them, each leaf moved to just before its first
    use."""
    n, m = len(code), len(use) - results
    first = np.full(len(leaves.code), 2 * len(use), dtype=np.int64)
    used = np.flatnonzero(use >= n)[::-1]
    first[use[used] - n] = 2 * used  # of several uses the first is written last and stays
    first[: leaves.fixed] = np.arange(-leaves.fixed, 0)
    # The leaves of an entry fit between it and the entry before.
    order = np.argsort(np.concatenate([2 * start[1:] - 1, first]), kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    none = np.zeros(len(leaves.code), dtype=np.int64)
    arity = np.concatenate([np.diff(start), none])[order]
    return tapes.make(
        np.concatenate([code, leaves.code])[order],
        np.concatenate([[0], np.cumsum(arity)]),
        rank[use[:m]],
        np.concatenate([leaf, leaves.leaf])[order],
        rank[use[m:]],
    )


def _without_unused(tape: Tape, parameters: list[Value]) -> tuple[Tape, list[Value]]:
    """Drop entries that no result depends on, and parameters used only by these."""
    used = tapes.reached(tape)
    kept = tape.leaf[(tape.code == PARAMETER) & used].astype(int).tolist()
    tape = tapes.select(tape, used | tapes.among(tape.code, (INPUT, UNIFORM)))
    mine = tape.code == PARAMETER
    tape.leaf[mine] = np.arange(len(kept))
    return tape, [parameters[k] for k in kept]
