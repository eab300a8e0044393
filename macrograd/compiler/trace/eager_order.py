"""The order in which the eager engine's `backward` walks a graph, for strict programs, whose sums follow it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from macrograd import ops
from macrograd.compiler.trace.calling import RESULT
from macrograd.compiler.trace.sections import Section
from macrograd.graph import topological
from macrograd.value import Value


def as_eager_walks(results: Sequence[Value], comparisons: Sequence[Value]) -> list[Value]:
    """The Values that the results depend on, operands first, in the order of the eager graph.

    `comparisons` are those made by Python's operators. Eagerly each is a bool, so the walk does not visit its operands;
    on a tape they must come before it. It therefore reads copies, which no derivative reaches and which are merged with
    the originals once the program has been differentiated.
    """
    order = topological(*results, stop=comparisons)
    if not comparisons:
        return order
    bools = set(comparisons)
    copies: dict[Value, Value] = {}
    found: list[Value] = []
    seen: set[int] = set()
    for node in order:
        operands = node.inputs
        read = [x for x in operands if x in bools]
        for original in topological(*read, seen=seen):
            if original._a is not None:
                copies[original] = _copied(original, copies)
                found.append(copies[original])
        if read:
            node.inputs = tuple([copies[x] if x in bools else x for x in operands])
        found.append(node)
        seen.add(id(node))  # later comparisons can read it without a copy
    return found


def _copied(node: Value, copies: dict[Value, Value]) -> Value:
    made: Value = object.__new__(Value)
    made.__class__ = node.__class__
    made.op, made.label = node.op, ""
    made.inputs = tuple([copies.get(x, x) for x in node.inputs])
    return made


class Expanded:
    """The eager graph of a trace with sections of loops: the first section in place of each call.

    The derivative of a call adds up what its rounds contribute to a number, the last round first, and each round in the
    order of the section's tape. So the calls may stand for the rounds only if the eager engine adds up in that order,
    too (`fits`).
    """

    def __init__(self, results: Sequence[Value], comparisons: Sequence[Value], sections: Sequence[Section]) -> None:
        self.sections, self._comparisons = sections, comparisons
        self._through: dict[Value, Value] = {}
        self._round: dict[Value, tuple[int, int]] = {}  # section and round of what it made
        values = topological(*results, stop=comparisons)
        outs: list[tuple[Value, Value]] = []
        for k, section in enumerate(sections):
            inputs = section.call.inputs
            pairs = [*zip(section.carry, inputs, strict=False)]
            pairs += zip(section.leaves, section.outside, strict=True)
            for read in section.reads.values():
                pairs += [(leaf, x) for leaf, x in zip(read.leaves, read.elements, strict=False)]
            self._through.update((leaf, x) for leaf, x in pairs if isinstance(x, Value))
            for row, made in enumerate(section.made):
                self._round.update((x, (k, row)) for x in made)
            outs += [
                (x, section.results[int(x.inputs[1]._data)])
                for x in values
                if x.op is RESULT and x.inputs[0] is section.call  # type: ignore[comparison-overlap]
            ]
        self._through.update(outs)
        before = {x: (x.op, x._a, x._b) for x in self._through}
        try:
            for x, y in self._through.items():
                x.op, x.inputs = ops.sum_, (y,)
            self.order = topological(*results, stop=comparisons)
            self._users = self._all_users()
        finally:
            for x, (op, a, b) in before.items():
                x.op, x._a, x._b = op, a, b

    def _all_users(self) -> dict[Value, list[Value]]:
        """Who uses each number, in order."""
        found: dict[Value, list[Value]] = {}
        for x in self.order:
            if x in self._through or x._a is None:
                continue
            for y in x.inputs:
                while y in self._through:
                    y = self._through[y]
                if y.op is not ops.CONSTANT:
                    found.setdefault(y, []).append(x)
        return found

    def roots(self, section: Section) -> list[Value]:
        """The results of a section, in the order in which the eager engine meets them."""
        place = {id(x): k for k, x in enumerate(self.order)}
        return sorted(section.results, key=lambda x: place.get(id(x), -1))

    def walked(self, results: Sequence[Value]) -> list[Value]:
        """`as_eager_walks` of the graph with calls, which visits their operands in the order of the eager engine."""
        place = {id(x): k for k, x in enumerate(self.order)}
        turns = []
        for section in self.sections:
            inputs = section.call.inputs
            at = [place.get(id(x), -1) for x in inputs]
            turn = sorted(range(len(inputs)), key=at.__getitem__)
            section.call.inputs = tuple([inputs[k] for k in turn])
            turns.append(turn)
        found = as_eager_walks(results, self._comparisons)
        for section, turn in zip(self.sections, turns, strict=True):
            back = dict(zip(turn, section.call.inputs, strict=True))
            section.call.inputs = tuple([back[k] for k in range(len(turn))])
        return found

    def fits(self, order: Iterable[Value], tapes: Sequence[Sequence[Value]]) -> bool:
        """Whether sums have the same order with calls as without: in the function, whose Values come in this `order`,
        and in each of the sections."""
        rank = {id(x): k for k, x in enumerate(order)}
        for k, (section, made) in enumerate(zip(self.sections, tapes, strict=True)):
            carry = [x for x in section.call.inputs[: len(section.carry)] if x.op is not ops.CONSTANT]
            if any(len(set(map(id, some))) < len(some) for some in (section.results, carry)):
                return False  # what comes back to a number that is twice in the state would be added up for each
            inside = {id(x) for x in made}
            mine = [id(x) for x in self.order if self._round.get(x, (-1, 0))[0] == k and id(x) in inside]
            known = set(mine)
            if mine != [id(x) for x in made if id(x) in known]:
                return False
        for users in self._users.values():
            places = []
            for x in users:
                k, row = self._round.get(x, (-1, 0))
                call = x if k < 0 else self.sections[k].call
                if id(call) in rank:
                    places.append((rank[id(call)], row))
            if any(b < a for a, b in pairwise(places)):
                return False
        return True
