"""Links: from the Values that a trace recorded to numbers, which say of each what its operation and its operands are.

A trace records hundreds of thousands of Values, so all work per Value is done by `map` and array operations, on some
thousands of Values at once: they stay in the cache, and take little memory beside the Values themselves. Operands are
matched to nodes by their addresses, and an address that is not a node's is a leaf.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.tape.tape import Ints, at, once, ranges
from macrograd.compiler.tape.walks import counted
from macrograd.value import Value

Objects = NDArray[np.object_]
Table = NDArray[np.int32]
UNKNOWN = -1
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


class Linker:
    """Links nodes to their operands, and results to nodes, some at a time.

    count       nodes so far: those of the Values given that were computed
    incomplete  whether there are operands that were computed, but are not among the nodes
    """

    def __init__(self) -> None:
        self.count = 0
        self.incomplete = False
        self._rows = Places(ids_of(ops.TABLE))
        self._places: Places | None = None
        self._met = 0
        self._code: list[NDArray[np.int16]] = []
        self._arity: list[NDArray[np.int32]] = []
        self._use: list[NDArray[np.int32]] = []
        self._calls: list[tuple[int, Any]] = []
        self._strangers: list[Objects] = []

    def add(self, values: Sequence[Value], held: Sequence[Value] = (), numbers: Ints | Sequence[int] = ()) -> Ints:
        """Link some Values, which come after the operands that are among them; `held` are the nodes from before that
        may be their operands, with their numbers. Returns the numbers of the Values, UNKNOWN for those not computed."""
        ids = np.empty(len(values), dtype=np.int64)
        for begin in range(0, len(values), _AT_ONCE):
            some = values[begin : begin + _AT_ONCE]
            ids[begin : begin + len(some)] = ids_of(some, len(some))
        spare = None if self._places is None else self._places.cleared()
        self._places = Places(ids, _VALUES_APART, spare, SPARSE * self.count)
        self._since = len(self._use)
        # By place: the numbers of the nodes that were computed, UNKNOWN for others, and last for what has no place.
        self._number = np.full(len(ids) + 1, UNKNOWN, dtype=np.int32)
        del ids
        self._before = Places(ids_of(held), _VALUES_APART), np.append(numbers, UNKNOWN).astype(np.int32)
        for begin in range(0, len(values), _AT_ONCE):
            self._add(values[begin : begin + _AT_ONCE], begin)
        return self._number[:-1]

    def finish(self, results: Sequence[Value]) -> None:
        """Link the results; nothing is added then."""
        self._link(_objects(results, len(results)))
        del self._places, self._number, self._before

    def operations(self, count: int, made: Sequence[Value]) -> Iterator[tuple[int, tuple[Value, ...]]]:
        """The code and the operands of the first `count` nodes, if `made` has those before each."""
        strangers = np.concatenate([np.empty(0, dtype=object), *self._strangers]).tolist()
        k = 0
        for codes, arities, uses in zip(self._code, self._arity, self._use, strict=False):
            begin, use = 0, uses.tolist()
            for code, arity in zip(codes.tolist(), arities.tolist(), strict=True):
                if k == count:
                    return
                yield code, tuple([made[u] if u >= 0 else strangers[~u] for u in use[begin : begin + arity]])
                begin, k = begin + arity, k + 1

    def uses(self, first: int) -> Ints:
        """How often each of the nodes from `first` on is an operand of one of those added last."""
        use = np.concatenate([np.empty(0, dtype=np.int32), *self._use[self._since :]])
        return counted(use[use >= first] - np.int32(first), self.count - first)

    def _add(self, some: Sequence[Value], listed: int) -> None:
        here = slice(listed, listed + len(some))
        left = _objects(map(attrgetter("_a"), some), len(some))
        if not (computed := _addresses(left) != id(None)).all():
            some, left = [*compress(some, computed.tolist())], left[computed]
        n = len(some)
        self._number[here][computed] = np.arange(self.count, self.count + n, dtype=np.int32)
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
        for k in np.flatnonzero(code == UNKNOWN).tolist():  # calls and their results
            self._calls.append((self.count + k, some[k].op))
        self._code.append(code.astype(np.int16))
        self._arity.append(arity)
        self.count += n

    def _link(self, operands: Objects) -> None:
        assert self._places is not None
        ids = _addresses(operands)
        use = self._number[self._places.of(ids)]
        strange = np.flatnonzero(use == UNKNOWN)
        if len(strange):
            distinct, first, which = np.unique(ids[strange], return_index=True, return_inverse=True)
            places, numbers = self._before
            number = numbers[places.of(distinct)]
            new = number == UNKNOWN
            number[new] = ~np.arange(self._met, self._met + np.count_nonzero(new))
            use[strange] = number[which]
            found = operands[strange[first[new]]]
            self.incomplete |= bool((ids_of(map(attrgetter("_a"), found), len(found)) != id(None)).any())
            self._strangers.append(found)
            self._met += len(found)
        self._use.append(use)

    def links(self) -> Links:
        code = _joined(self._code, np.int16)
        arity, use = _joined(self._arity, np.int32), _joined(self._use, np.int32)
        number = np.zeros(len(code))
        for k, operation in self._calls:
            code[k], number[k] = operation.code, operation.number
        start = np.zeros(len(arity) + 1, dtype=np.int32)
        np.cumsum(arity, out=start[1:])
        return Links(code, number, start, use, self._in_order_of_use(use))

    def _in_order_of_use(self, use: Ints) -> Objects:
        """Number the strangers in order of first use; returns them."""
        met = _joined(self._strangers, object)
        ids = _addresses(met)
        same = Places(ids, _VALUES_APART).of(ids)  # one for all that are the same, which several parts met
        strange = use < 0
        uses = at(same, ~use[strange])
        first = once(uses, len(met))
        number = np.empty(len(met), dtype=np.int32)
        number[first] = np.arange(len(first), dtype=np.int32)
        use[strange] = ~at(number, uses)
        found: Objects = met[first]
        return found


def _joined(parts: list[NDArray[Any]], kind: Any) -> NDArray[Any]:
    """The parts as one array; the list is emptied, since they take as much memory."""
    found = np.concatenate([np.empty(0, dtype=kind), *parts])
    parts.clear()
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
    """The positions of objects by their ids. All are at least `apart` bytes from each other.

    spare  a table of addresses that other objects had before
    most   places that a table may have that others will have after these; otherwise it is in proportion to the objects
    """

    def __init__(self, ids: Ints, apart: int = _APART, spare: Table | None = None, most: int = 0) -> None:
        self._apart, self._order, self._table = apart, None, None
        self._first = int(ids.min(initial=0 if not len(ids) else ids[0]))
        self._size = (int(ids.max()) - self._first) // apart + 1 if len(ids) else 0
        # Objects made one after the other are close together in memory: a table by address is faster than any search.
        if self._size <= max(most, SPARSE * len(ids)):
            if spare is None or len(spare) <= self._size:
                spare = np.full(self._size + 1, UNKNOWN, dtype=np.int32)
            place = (ids - self._first) // apart
            self._table, self._used = spare, place if most else None
            spare[place] = np.arange(len(ids), dtype=np.int32)
        else:
            self._order = np.argsort(ids, kind="stable")
            self._ids = ids[self._order]

    def cleared(self) -> Table | None:
        """The table without these objects, if others may have it."""
        if self._table is None or self._used is None:
            return None
        self._table[self._used] = UNKNOWN
        return self._table

    def of(self, ids: Ints) -> Ints:
        """The position of each of these ids, UNKNOWN if it is not there."""
        if self._table is not None:
            found = np.empty(len(ids), dtype=np.int32)
            for begin in range(0, len(ids), _AT_ONCE):
                place = (ids[begin : begin + _AT_ONCE] - self._first) // self._apart
                place[(place < 0) | (place >= self._size)] = self._size  # which is nobody's
                found[begin : begin + _AT_ONCE] = self._table[place]
            return found
        assert self._order is not None
        place = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[place] == ids, self._order[place], UNKNOWN)
