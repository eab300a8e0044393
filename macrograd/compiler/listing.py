"""Listing: the tape of the Values that a trace recorded.

A trace records hundreds of thousands of Values, so what is done for each of them is done by `map` and by arrays: who
is whose operand is looked up in one dictionary of ids, and what is in none of its keys is a leaf.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress, count, repeat
from operator import attrgetter, not_
from typing import Any

import numpy as np

from macrograd import ops
from macrograd.compiler import tape as tapes
from macrograd.compiler.tape import CONSTANT, INPUT, PARAMETER, Ints, Tape, ranges
from macrograd.graph import topological
from macrograd.value import Value

_UNKNOWN, _NONE = -1, -2


@dataclass(frozen=True)
class Links:
    """Who uses whom. `use[start[i]:start[i+1]]` are the numbers of node i's operands, and behind those of all nodes
    stand the results'; what is not among the nodes is _UNKNOWN, and `strangers` are these Values in their order."""

    start: Ints
    use: Ints
    strangers: list[Value]


class Leaves:
    """The leaves of a tape: their codes, their numbers or values, and the parameters among them."""

    def __init__(self, inputs: int, known: Sequence[Value]) -> None:
        self.code = [INPUT] * inputs + [PARAMETER] * len(known)
        self.leaf = [*map(float, range(inputs)), *map(float, range(len(known)))]
        self.parameters = list(known)
        self.fixed = len(self.code)  # these stand at the tape's beginning, used or not

    def add(self, found: list[Value], is_constant: list[bool]) -> None:
        parameters = list(compress(found, map(not_, is_constant)))
        data: Iterator[float] = map(attrgetter("data"), compress(found, is_constant))
        position = map(float, count(len(self.parameters)))
        self.code += [CONSTANT if yes else PARAMETER for yes in is_constant]
        self.leaf += [next(data) if yes else next(position) for yes in is_constant]
        self.parameters += parameters

    def pooled(self) -> Ints:
        """For each leaf the first that is the same: constants of equal bits are one."""
        code, leaf = np.asarray(self.code), np.asarray(self.leaf)
        found = np.arange(len(code))
        constants = np.flatnonzero(code == CONSTANT)
        if len(constants):
            _, first, which = np.unique(leaf[constants].view(np.int64), return_index=True, return_inverse=True)
            found[constants] = constants[first[which]]
        return found


def tape_of(
    nodes: Sequence[Value],
    results: Sequence[Value],
    inputs: Sequence[Value],
    constants: set[int],
    known: Sequence[Value] = (),
) -> tuple[Tape, list[Value]]:
    """The tape of what `results` depend on among `nodes`, which come after their operands; and the leaves closed over,
    in the order of their first use, which are its parameters.

    A leaf stands right before what first uses it. `inputs` stand first, then `known`, parameters to number first.
    `constants` are the ids of leaves that the traced function made itself.
    """
    computed = [x for x in nodes if x._a is not None]
    links = _links(computed, results)
    if any(x._a is not None for x in links.strangers):
        computed = _completed(computed, results)
        links = _links(computed, results)
    n = len(computed)
    leaves = Leaves(len(inputs), known)
    number = dict(zip(map(id, chain(inputs, known)), range(n, n + leaves.fixed), strict=True))
    new = {key: x for key, x in zip(map(id, links.strangers), links.strangers, strict=True) if key not in number}
    leaves.add(list(new.values()), [x.op is not None or key in constants for key, x in new.items()])
    number.update(zip(new, count(n + leaves.fixed)))
    use = links.use
    found = _numbers(map(id, links.strangers), number, len(links.strangers))
    use[use == _UNKNOWN] = n + leaves.pooled()[found - n]
    codes = {id(op): op.code for op in ops.TABLE}
    code = np.fromiter(map(codes.__getitem__, map(id, map(attrgetter("op"), computed))), np.int64, n)
    return _without_unused(_in_order(code, links.start, use, leaves, len(results)), leaves.parameters)


def _links(nodes: list[Value], results: Sequence[Value]) -> Links:
    n = len(nodes)
    number = dict(zip(map(id, nodes), range(n), strict=True))
    number[id(None)] = _NONE
    left: list[Any] = list(map(attrgetter("_a"), nodes))
    right: list[Any] = list(map(attrgetter("_b"), nodes))
    first, second = (_numbers(map(id, side), number, n) for side in (left, right))
    unknown = np.flatnonzero(first == _UNKNOWN).tolist()
    wide = np.array([i for i in unknown if left[i].__class__ is tuple], dtype=np.int64)
    many: list[Value] = list(chain.from_iterable(left[i] for i in wide))

    arity = 1 + (second != _NONE)
    arity[wide] = [len(left[i]) for i in wide]
    start = np.concatenate([[0], np.cumsum(arity)])
    use = np.empty(start[-1] + len(results), dtype=np.int64)
    begin = start[:-1]
    has = np.flatnonzero(second != _NONE)
    inside = ranges(begin[wide], arity[wide])
    use[begin] = first
    use[begin[has] + 1] = second[has]
    use[inside] = _numbers(map(id, many), number, len(many))
    use[start[-1] :] = _numbers(map(id, results), number, len(results))

    own, other, inner = (np.flatnonzero(side == _UNKNOWN) for side in (first, second, use[inside]))
    own = own[~np.isin(own, wide)]
    last = np.flatnonzero(use[start[-1] :] == _UNKNOWN)
    unlisted = [left[i] for i in own.tolist()] + [right[i] for i in other.tolist()]
    unlisted += [many[k] for k in inner.tolist()] + [results[k] for k in last.tolist()]
    order = np.argsort(np.concatenate([begin[own], begin[other] + 1, inside[inner], start[-1] + last]))
    strangers = [unlisted[k] for k in order.tolist()]
    return Links(start, use, strangers)


def _numbers(ids: Iterable[int], number: dict[int, int], count: int) -> Ints:
    return np.fromiter(map(number.get, ids, repeat(_UNKNOWN)), np.int64, count)


def _completed(nodes: list[Value], results: Sequence[Value]) -> list[Value]:
    """The nodes, and before the first use of each what was computed before the trace began, from parameters alone."""
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


def _in_order(code: Ints, start: Ints, use: Ints, leaves: Leaves, results: int) -> Tape:
    """The tape of computed entries 0, 1, … and leaves numbered behind them, each leaf moved to before its first use."""
    n, m = len(code), len(use) - results
    first = np.full(len(leaves.code), 2 * len(use), dtype=np.int64)
    used = np.flatnonzero(use >= n)[::-1]
    first[use[used] - n] = 2 * used  # of several uses the first is written last
    first[: leaves.fixed] = np.arange(-leaves.fixed, 0)
    # Between the operands of the entries before an entry and itself there is room for its leaves.
    order = np.argsort(np.concatenate([2 * start[1:] - 1, first]), kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    none = np.zeros(len(leaves.code), dtype=np.int64)
    arity = np.concatenate([np.diff(start), none])[order]
    return tapes.make(
        np.concatenate([code, leaves.code])[order],
        np.concatenate([[0], np.cumsum(arity)]),
        rank[use[:m]],
        np.concatenate([np.zeros(n), leaves.leaf])[order],
        rank[use[m:]],
    )


def _without_unused(tape: Tape, parameters: list[Value]) -> tuple[Tape, list[Value]]:
    """Drop what no result depends on, and the parameters that only this used."""
    used = tapes.reached(tape)
    kept = tape.leaf[(tape.code == PARAMETER) & used].astype(int).tolist()
    tape = tapes.select(tape, used | (tape.code == INPUT))
    mine = tape.code == PARAMETER
    tape.leaf[mine] = np.arange(len(kept))
    return tape, [parameters[k] for k in kept]
