"""Whether calls may stand for their sections in a strict program: the graph with the Values of the sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from macrograd import ops
from macrograd.compiler.trace.calling import RESULT
from macrograd.compiler.trace.eager_graph import NOWHERE, Choices, Flag, Graph, Path, Side, together
from macrograd.compiler.trace.eager_order import as_eager_walks
from macrograd.compiler.trace.eager_uses import flowing, is_added_to, rising
from macrograd.compiler.trace.sections import Section
from macrograd.value import Value

_TURNS = 3  # sections of a loop that are looked at


class Expanded(Graph):
    """The eager graph of a trace with calls: the Values of the section in place of each call.

    The derivative of a call adds up what its rounds contribute to a number, the last round first, and each round in the
    order of the section's tape. So the calls may stand for the rounds only if the eager engine adds up in that order,
    too, whichever branches are taken (`fits`). Of a loop that may be done all rounds are looked at.

    Instance 0 is the function itself, each other one a call of a section, in the function or in another instance.
    """

    def __init__(
        self,
        results: Sequence[Value],
        comparisons: Sequence[Value],
        sections: Sequence[Section],
        choices: Choices,
        apart: Choices,
    ) -> None:
        super().__init__(set(map(id, comparisons)), choices)
        self._apart = apart
        self.sections, self._comparisons = sections, comparisons
        self._section = {id(x.call.op): x for x in sections}
        self._places = {id(x): _places(x) for x in sections}
        self._instances: list[tuple[int, Any, Section | None, int]] = [
            (0, None, None, 0)
        ]  # parent, call, section, turn
        self._numbers: dict[tuple[int, int, int], int] = {}
        self.order = self.walk(results)
        self._uses = self._found_uses()

    def resolved(self, instance: int, x: Any) -> tuple[int, Any]:
        """The Value that this one is, beyond calls and their operands."""
        self.carried = None
        while True:
            parent, call, section, turn = self._instances[instance]
            place = None if section is None else self._places[id(section)].get(id(x))
            if section is not None and place is not None:
                if turn and place < len(section.carry):
                    instance, x = self._instance(parent, call, turn - 1), section.results[place]
                    continue
                if place < len(section.carry) and self.carried is None:
                    self.carried = instance, -1 - place
                instance, x = parent, call.inputs[place]
            elif x.op is RESULT:
                call, which = x.inputs
                called = self._section[id(call.op)]
                instance = self._instance(instance, call, min(called.plan.count, _TURNS) - 1)
                x = called.roots()[int(which._data)]
            else:
                return instance, x

    def _instance(self, parent: int, call: Any, turn: int) -> int:
        key = parent, id(call), turn
        if key not in self._numbers:
            self._numbers[key] = len(self._instances)
            self._instances.append((parent, call, self._section[id(call.op)], turn))
        return self._numbers[key]

    def walked(self, results: Sequence[Value]) -> tuple[list[Value], dict[int, list[Value]]]:
        """`as_eager_walks` of the graph with calls, which visits their operands in the order of the eager engine, and
        those of the sections, by their ids."""
        apart = self._apart
        place: dict[tuple[int, int], int] = {}
        for k, (instance, x, _) in enumerate(self.order):
            place.setdefault((instance, id(x)), k)

        def at(instance: int, x: Value) -> int:
            """Where a Value is first met; of a choice, one of those between which it chooses."""
            places = [place.get((at, id(y)), -1) for at, y, _ in self.sides(instance, x, NOWHERE)]
            return min([k for k in places if k >= 0], default=-1)

        turns: dict[int, list[int]] = {}
        roots: dict[int, list[Value]] = {}
        for number, (parent, call, section, _) in enumerate(self._instances):
            if section is None:
                continue
            if id(call) not in turns:
                places = [at(parent, x) for x in call.inputs]
                turns[id(call)] = sorted(range(len(places)), key=places.__getitem__)
            if id(section) not in roots:
                some = [(at(number, x), k, x) for k, x in enumerate(section.roots())]
                roots[id(section)] = [x for *_, x in sorted(some, key=lambda found: found[:2])]
        found = as_eager_walks(results, self._comparisons, apart, turns=turns)
        inner = {
            id(x): as_eager_walks(roots.get(id(x), x.roots()), self._comparisons, apart, turns=turns)
            for x in self.sections
        }
        return found, inner

    def fits(self, order: Sequence[Value], inner: Mapping[int, Sequence[Value]]) -> bool:
        """Whether sums have the same order with calls as without: in the function, whose Values come in this `order`,
        and in each of the sections."""
        for section in self.sections:
            if _twice(section.roots()):
                return False
        for _, call, called, _ in self._instances[1:]:
            carry = call.inputs[: len(called.carry)] if called is not None else ()
            if _twice([x for x in carry if x.op is not ops.CONSTANT]):
                return False
        ranks = {number: {id(x): k for k, x in enumerate(some)} for number, some in inner.items()}
        ranks[0] = {id(x): k for k, x in enumerate(order)}
        before: list[tuple[int, ...]] = [()]
        for parent, call, _, turn in self._instances[1:]:
            around = self._instances[parent][2]
            rank = ranks[0 if around is None else id(around)].get(id(call))
            if rank is None:
                return False
            before.append((*before[parent], rank, turn))
        for uses in self._uses.values():
            if len(uses) < 3:  # a + b is b + a
                continue
            places = []
            for (instance, x, _), _ in uses:
                inside = self._instances[instance][2]
                places.append((*before[instance], ranks[0 if inside is None else id(inside)].get(id(x), -1)))
            ways, through = [way for (*_, way), _ in uses], [through for _, through in uses]
            if not rising(places, ways) or not _last(through, ways) or _beside(places, through, before):
                return False
        return True

    def _found_uses(self) -> dict[tuple[int, int], list[tuple[Side, Flag | None]]]:
        """The uses of each number through which a derivative flows, in the order of the eager engine; and the choice
        that adds up those that come through it."""
        found: dict[tuple[int, int], list[tuple[Side, Flag | None]]] = {}
        for instance, x, operand, path in flowing(self.order):
            for side, through in self.through(instance, operand, path, self._apart):
                at, y, way = side
                if is_added_to(y):
                    found.setdefault((at, id(y)), []).append(((instance, x, way), through))
        return found


def _twice(state: Sequence[Any]) -> bool:
    """Whether a number is twice in a state: what comes back to it would be added up for each."""
    return len(set(map(id, state))) < len(state)


def _last(through: Sequence[Flag | None], ways: Sequence[Path]) -> bool:
    """Whether uses that are added up before the others are the last ones, which are added up first anyway."""
    groups: dict[Flag, list[int]] = {}
    for k, choice in enumerate(through):
        if choice is not None:
            groups.setdefault(choice, []).append(k)
    return not any(
        through[k] != choice and any(together(ways[k], ways[j]) for j in group)
        for choice, group in groups.items()
        if len(group) > 1
        for k in range(group[0] + 1, len(ways))
    )


def _beside(
    places: Sequence[tuple[int, ...]], through: Sequence[Flag | None], before: Sequence[tuple[int, ...]]
) -> bool:
    """Whether a call uses a number in its rounds that also is part of its first state."""
    for via in through:
        if via is not None and via[1] < 0:
            call = before[via[0]][:-1]
            if any(at[: len(call)] == call and other != via for at, other in zip(places, through, strict=True)):
                return True
    return False


def _places(section: Section) -> dict[int, int]:
    """Which operand of the call each leaf of a section is. Elements that are arguments or numbers have none."""
    found = {id(x): k for k, x in enumerate((*section.carry, *section.leaves))}
    at = len(found)
    for read in section.reads.values():
        if read.numbers is None and read.given is None:
            found.update((id(x), at + k) for k, x in enumerate(read.leaves) if k < len(read.operands))
        at += len(read.operands)
    return found
