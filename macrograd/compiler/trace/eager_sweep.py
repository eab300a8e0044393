"""Derivatives inside strict functions, recorded as the eager engine would record them.

Eagerly it is known what a choice takes. What it does not take gets no contribution, so that nothing is recorded for
it, and a second derivative adds up in an order that depends on that. In a trace, a gradient is therefore a choice
between what has been added up on each way through the choices: `old + gain` where a contribution is made, and `old`
elsewhere, noted as one (`Recording.choices`), so that it is no operation of the eager graph (`eager_order.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.trace.eager_order import Walk
from macrograd.compiler.trace.eager_ways import ALWAYS, NEVER, Tests, Ways, within
from macrograd.rules import contributions, rule_operands, sweep

NOTHING = -0.0  # added to a number, leaves it as it is


@dataclass
class _Sum:
    """The gradient of a Value so far: eagerly, depending on the way, nothing, a Value, or factors of a sum of products
    that begins with the Value there was before.

    total, has      the Value, and on which ways there is one
    factors, lists  pairs of factors, each with the ways on which it is one of the list; and on which ways it is a list
    head            the Value before the list
    """

    total: Any = NOTHING
    has: Ways = NEVER
    head: Any = NOTHING
    factors: list[tuple[Any, Any, Ways]] = field(default_factory=list)
    lists: Ways = NEVER

    def ways(self, tests: Tests) -> Ways:
        return tests.either(self.has, self.lists)

    def add(self, gain: Any, ways: Ways, tests: Tests) -> None:
        """A contribution on these ways."""
        if ways == ALWAYS and not self.lists and self.has in (ALWAYS, NEVER):
            self.total = self.total + gain if self.has else gain
            self.has = ALWAYS
            return
        if listed := tests.both(ways, self.lists):
            self.factors.append((gain, 1.0, listed))
            if within(ways, self.lists):
                return
        old, has = self.total, self.has
        if tests.many():  # the sum alone is that of the eager engine
            gain = tests.chosen(ways, gain, NOTHING)
            self.total = old + gain if has else gain
        else:
            more = old + gain if tests.both(ways, has) else gain
            self.total = tests.select(
                ways, lambda way: tests.select(has, lambda _: more, lambda _: gain, way), lambda _: old
            )
        self.has = tests.either(has, ways)

    def add_product(self, g: Any, factor: Any, ways: Ways, tests: Tests) -> None:
        """A contribution of a sum of products."""
        if not within(ways, self.lists):
            before = tests.chosen(self.has, self.total, NOTHING)
            self.head = tests.chosen(self.lists, self.head, before)
        self.factors.append((g, factor, ways))
        self.lists = tests.either(self.lists, ways)

    def product(self) -> tuple[Any, Any] | None:
        """Its factors, if it is one product of a sum of products and nothing else."""
        if len(self.factors) == 1 and not self.has and self.head is NOTHING:
            return self.factors[0][:2]
        return None

    def found(self, tests: Tests) -> Any:
        """The gradient."""
        if not self.lists:
            return self.total
        pairs = [] if self.head is NOTHING else [self.head, 1.0]
        for g, factor, ways in self.factors:
            if within(self.lists, ways):
                pairs += g, factor
            else:
                pairs += tests.chosen(ways, g, NOTHING), tests.chosen(ways, factor, 1.0)
        product = pairs[0] * pairs[1] if len(pairs) == 2 else ops.dot(*pairs)
        return tests.chosen(self.lists, product, self.total)


class Plain:
    """Goes back through an order of the graph, with choices as operations of it."""

    def __init__(self, order: Sequence[Any]) -> None:
        self._order = order

    def gradients(self, root: Any, seed: Any, leaves: Sequence[Any], more: Sequence[Any] = ()) -> dict[Any, Any]:
        """The gradients of the root by the leaves that it may depend on. The root is among the results, or computed
        from them by the operations `more`."""
        order = [*self._order, *more]
        active = {*leaves}
        for x in order:
            if x._a is not None and not active.isdisjoint(x.inputs):
                active.add(x)
        return sweep(order, root, seed, active=active)


class Sweep:
    """Goes back through a walk. `gate` makes the Value that is a number where a mask is not 0."""

    def __init__(self, walk: Walk, tests: Tests, gate: Callable[[Any, Any], Any]) -> None:
        self.walk, self.tests, self._gate = walk, tests, gate
        self._sums: dict[Any, _Sum] = {}
        self._active: set[Any] = set()

    def gradients(self, root: Any, seed: Any, leaves: Sequence[Any], more: Sequence[Any] = ()) -> dict[Any, Any]:
        """As `Plain.gradients`."""
        walk = self.walk
        order = [*walk.order, *more]
        self._active = {*leaves}
        for x in order:
            if x._a is not None and any(y in self._active for y in walk.inputs(x)):
                self._active.add(x)
        self._sums = {root: _Sum(seed, ALWAYS)}
        for node in reversed(order):
            if node._a is None or (mine := self._sums.get(node)) is None:
                continue
            ways = mine.ways(self.tests)
            if id(node) in walk.choices and (product := mine.product()) is not None:
                self._through_choice(walk.inputs(node), node.op, *product, ways)
            else:
                self._through(node, mine.found(self.tests), ways)
        return {x: self._sums[x].found(self.tests) for x in leaves if x in self._sums}

    def _add(self, x: Any, gain: Any, ways: Ways, factor: Any = None) -> None:
        """A contribution, which is the gain times the factor of a sum of products, if there is one."""
        if gain is None or x not in self._active or not ways:
            return
        total = self._sums.setdefault(x, _Sum())
        if factor is None:
            total.add(gain, ways, self.tests)
        else:
            total.add_product(gain, factor, ways, self.tests)

    def _through(self, node: Any, g: Any, ways: Ways) -> None:
        """The contributions of an operation with the gradient `g`, which it has on these ways."""
        inputs, op = self.walk.inputs(node), node.op
        if id(node) in self.walk.choices or op is ops.gate:
            self._through_choice(inputs, op, g, None, ways)
            return
        given = rule_operands([self.walk.value(x) for x in inputs])
        if op is ops.take and given[0].__class__ is not float:
            for k, x in enumerate(inputs[1:]):
                self._add(x, g, self.tests.both(ways, self.tests.taken(given[0], k, len(inputs) - 1)))
            return
        if op.chooses:
            for x, shares in zip(inputs, self.tests.shares(op, self.walk.value(node), given), strict=True):
                for there, share in shares:
                    self._add(x, g if share == 1.0 else g * share, self.tests.both(ways, there))
            return
        out = self.walk.value(node)
        if ways != ALWAYS:  # elsewhere the slopes may be infinite
            mask = self.tests.number(ways)
            out = self._gate(mask, out)
            given = [x if x.__class__ is float and 1e-18 <= abs(x) <= 1e18 else self._gate(mask, x) for x in given]
        if op is ops.dot:
            for k, x in enumerate(inputs):
                self._add(x, g, ways, given[k ^ 1])
            return
        for x, gain in zip(inputs, contributions(op, g, out, given), strict=True):
            self._add(x, gain, ways)

    def _through_choice(self, inputs: Sequence[Any], op: Any, g: Any, factor: Any, ways: Ways) -> None:
        """The contribution to what was chosen, which is the gradient itself, or the product that it is."""
        test, *sides = inputs
        if all(x is sides[0] for x in sides):
            self._add(sides[0], g, ways, factor)
            return
        for k, x in enumerate(sides):
            turned = self.tests.taken(test, k, len(sides)) if op is ops.take else self.tests.turned(test, 1 - k)
            self._add(x, g, self.tests.both(ways, turned), factor)
