"""The interpreter of a trace: it lists the operations, and guards numbers that a program must not bake in.

The Values that the traced function closes over are ordinary ones: their leaves become the program's parameters. They
have numbers, but only of this moment, and each call reads them again.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, filterfalse, product, repeat
from operator import attrgetter
from typing import Any, NoReturn

from macrograd import ops, value
from macrograd.callees import user_line
from macrograd.compiler.trace.checking import Checks
from macrograd.compiler.trace.condense import Condenser
from macrograd.compiler.trace.controls import Written
from macrograd.compiler.trace.eager_graph import Graph
from macrograd.compiler.trace.eager_order import Walk, derivative_walk, plain_walk
from macrograd.compiler.trace.eager_sweep import Plain, Sweep
from macrograd.compiler.trace.eager_uses import adds_up_as_eager
from macrograd.compiler.trace.eager_ways import Tests
from macrograd.compiler.trace.links import Links
from macrograd.compiler.trace.loops import Loops
from macrograd.compiler.trace.refusals import OF_A_BRANCH, WAY_OUT_OF_GRADIENTS, WAY_OUT_OF_PARAMETERS, refuse
from macrograd.compiler.trace.rounds import EndTogether, Rounds
from macrograd.compiler.trace.traced import counter, leaf, operand, record
from macrograd.interpreter import Interpreter
from macrograd.ops import CONSTANT
from macrograd.value import Value

_MOST_SUMS = 400
MANY_ROUNDS = "choices are in a loop of more than 96 rounds"
MANY_WAYS = "there are too many ways through its choices"
FIRST_CHECK = -1000  # the index of a take by which a program says that its first check failed; then come -1001 …


class Recording(Interpreter):
    """The interpreter of a trace: it lists the Values that are made, and guards the numbers of those that the traced
    function closed over.

    new         makes a Value and lists it; pure C, because it is called for every operation
    new_traced  makes a traced one, of which other threads, to which the function gave work, may make some
    made        the leaves that the function made itself: these are constants
    checks      what the program checks when it runs

    With `as_eager` the sign of zero is that of the eager engine.
    """

    def __init__(
        self, rounds: Rounds | None = None, *, as_eager: bool = False, epsilon: float = Interpreter.epsilon
    ) -> None:
        self.as_eager, self.epsilon = as_eager, epsilon
        self.comparisons: list[Value] = []
        self._compared: set[int] = set()
        self.choices: dict[int, bool] = {}  # by id, whether it is one of a round's
        self.takes: set[int] = set()  # the ids of takes
        self.sums: set[int] = set()  # the ids of choices that derivatives made
        self.untold: dict[str, None] = {}  # why sums of derivatives may be in another order than the eager engine's
        self._written: dict[Written, Written] = {}
        self._indices: dict[tuple[int, int], Any] = {}  # of takes, by the ids of the guard and the number
        # Not a cycle, which would keep a million Values until the garbage collector runs.
        self.checks = Checks()
        rounds = rounds or Rounds()
        self.ends_together = rounds.together
        self.loops = Loops(rounds, leaf, counter, record, weakref.proxy(self))
        self.made: set[Value] = set()
        self._guards: list[Any] = []
        # Answers so far: a chain whose every state is inspected must not be walked again each time.
        self.found_open: set[Value] = set()
        self.found_constant: set[Value] = set()
        self._listed: list[Value] = []
        # `append` returns None, so that all are let through. Threads that the function starts, and finalizers while one
        # is being made, may make Values, too: none of the parts minds being entered twice.
        self._condenser = condenser = Condenser(self._listed)
        classes = repeat(Value) if as_eager else chain.from_iterable(iter(condenser.classes, None))
        self.new = partial(next, filterfalse(self._listed.append, map(object.__new__, classes)))
        self.new_traced = self.new if condenser.alone else condenser.watched(self.new)

    operand = staticmethod(operand)

    def values(self) -> list[Value]:
        """The Values made so far, in order: those that depend on an argument and those computed from parameters
        alone."""
        found = self.since(0)
        bodies = self.loops.bodies
        return [x for x in found if id(x) not in bodies] if bodies else found

    def links(self, results: list[Value]) -> Links | None:
        """What `values` and the results are, if most of the trace is numbers already; the Values are gone then."""
        return self._condenser.links(results)

    def forget(self) -> None:
        """Hold the Values made so far no longer."""
        self._listed.clear()

    def count(self) -> int:
        """How many Values have been made."""
        self._condenser.restore()  # some of them will be asked for
        return len(self._listed)

    def written(self) -> int:
        return self._condenser.condensed + len(self._listed)

    def wrote(self, what: str, where: str, scalars: int) -> None:
        found = Written(what, where, scalars)
        self.loops.controls.append(self._written.setdefault(found, found))  # of many that are alike only one is held

    def since(self, mark: int) -> list[Value]:
        """The Values made since there were this many."""
        found = self._listed[mark:]
        if not value.is_alone():  # others may be making some
            try:
                deque(map(attrgetter("label"), found), maxlen=0)
            except AttributeError:
                return [x for x in found if hasattr(x, "label")]
        return found

    def records(self) -> bool:
        return True

    def loop(
        self,
        count: int,
        body: Callable[[Any, Any], Any],
        state: Any,
        collect: bool,
        memory: str | int | None = None,
        stops: str = "",
    ) -> Any:
        around, self._indices = self._indices, dict(self._indices)  # those that the body makes are its own
        try:
            return self.loops.loop(count, body, state, collect, memory, stops)
        finally:
            self._indices = around

    def branch(self, test: Any, compute: Callable[[], list[Any]], where: str) -> list[Any]:
        return self.loops.branch(test, compute, where)

    def take(self, values: Any, index: Any) -> Any:
        return self.loops.reads.take(values, index, guarded=bool(self._guards))

    def index(self, index: Any) -> Any:
        guard = self._guards[-1] if self._guards else None
        key = id(guard), id(index)
        if key not in self._indices:
            found = index if guard is None else ops.where(guard, index, 0.0)
            if self.as_eager:
                found = self._of_index(found)
            self._indices[key] = found, guard, index
        return self._indices[key][0]

    def taken(self, found: Sequence[Any], count: int) -> None:
        self.checks.take(found, count, user_line())

    def _of_index(self, index: Any) -> Any:
        """The number may be part of the graph elsewhere."""
        found = ops.sum_(index)
        self.compared(found)
        return found

    def one(self) -> Any:
        return self.loops.held.one()

    def differentiated(self, results: Sequence[Any], leaves: Sequence[Any]) -> None:
        if self.loops.reads.passed(results, leaves):
            self.refuse(
                "a derivative taken in the body of a loop through mg.take() by the loop's round number",
                "take the derivative of the whole loop, or choose the element with mg.where",
            )

    def derivatives(
        self, results: Sequence[Any], leaves: Sequence[Any], within: set[int] | None
    ) -> Plain | Sweep | None:
        if not self.as_eager:
            return None
        order = plain_walk(results, leaves, within, self._compared)
        made = self.choices.keys() | self.takes
        choices = [*(made if within is None else within & made)]
        alike, rounds = bool(self.loops.rounds.counts), any(self.choices.get(x, False) for x in choices)
        chooses = bool(choices) or any(x.op is not None and x.op.chooses for x in order)
        if (
            not chooses
            or alike
            or (rounds and not any(x.op is not None and x.op.chooses for x in order if id(x) not in made))
        ):
            ends = set(map(id, leaves))
            self.loops.check_walk(order)
            if not choices or self.adds_up_as_eager(
                results, order, lambda x: id(x) not in ends and (within is None or id(x) in within)
            ):
                return Plain(order)
            if rounds and self.asks_for_the_end():
                raise EndTogether
            if alike:
                self.untold[MANY_ROUNDS] = None
                return Plain(order)
        walk = self._walk(results, leaves, within, choices, order)
        self.loops.check_walk(order if walk is None else walk.order)
        if walk is None:
            return Plain(order)
        return Sweep(walk, Tests(walk.tests, walk.masks, self.test, self._of_index, self._summed), self._gated)

    def _walk(
        self,
        results: Sequence[Any],
        leaves: Sequence[Any],
        within: set[int] | None,
        choices: list[int],
        order: Sequence[Value],
    ) -> Walk | None:
        """The walk of a derivative, the first that has few enough ways: the eager engine's, or one near to it."""
        several = (True, False) if self.sums and self.few_sums(order) else (False,)
        if self.sums and len(several) == 1:
            self.untold[MANY_WAYS] = None
        for sums, once, rounds in product(several, (False, True), self.rounds_first()):
            some = [x for x in choices if (sums or x not in self.sums) and (rounds or not self.choices.get(x, False))]
            apart = dict.fromkeys(some, False)
            found = derivative_walk(results, leaves, within, self._compared, apart, self.compared, once=once)
            if found is not None:
                return found
            self.untold[MANY_WAYS] = None
        return None

    def adds_up_as_eager(
        self, results: Sequence[Value], order: Sequence[Value], part: Callable[[Any], bool] | None = None
    ) -> bool:
        """Whether derivatives are added up as the eager engine does it where the operations come in this `order` and
        choices are operations. What a few rounds of a loop show is so for any number."""
        choices = dict.fromkeys([*self.choices, *self.takes], False)
        return adds_up_as_eager(Graph(self._compared, choices, part), results, order)

    def asks_for_the_end(self) -> bool:
        """Whether rounds, of which the data decide how many are done, do not end together yet, but may."""
        rounds = self.loops.rounds
        return rounds.first and rounds.copies and not self.ends_together and any(self.choices.values())

    def rounds_first(self) -> tuple[bool, ...]:
        """Whether choices of rounds of loops that may be done are ways, in the order of attempts."""
        return (True, False) if any(self.choices.values()) else (True,)

    def few_sums(self, values: Sequence[Value]) -> bool:
        """Whether so few of these Values are choices that derivatives made that their order can be told."""
        return sum(id(x) in self.sums for x in values) <= _MOST_SUMS

    def _gated(self, mask: Any, x: Any) -> Any:
        return self.same(ops.gate(mask, x))

    def _summed(self, made: Value) -> None:
        """A choice, or what passes its second operand on, that a derivative has made."""
        self.choices[id(made)] = False
        self.sums.add(id(made))

    @contextmanager
    def guard(self, test: Any) -> Iterator[None]:
        self._guards.append(test if not self._guards else ops.where(self._guards[-1], test, 0.0))
        try:
            yield
        finally:
            self._guards.pop()

    def checked(self, x: Any, wrong: Any, message: str) -> Any:
        if self._guards:
            wrong = ops.where(self._guards[-1], wrong, 0.0)
        if not value.is_open(wrong):
            if wrong._data if isinstance(wrong, Value) else wrong:
                raise RuntimeError(message)
            return x
        index = ops.where(wrong, float(FIRST_CHECK - self.checks.message(message)), 0.0)
        self.compared(index)  # eagerly there is none
        found = self.chosen(ops.take(index, x))
        self.checks.made.append((found,))
        return found

    def refuse(self, what: str, way_out: str) -> NoReturn:
        refuse(what, way_out)

    def leaf(self, value: Value) -> None:
        self.made.add(value)

    def known(self, value: Value) -> float | None:
        return value._data if value.op is CONSTANT else None

    def compared(self, value: Value) -> None:
        if self.as_eager:
            self.comparisons.append(value)
            self._compared.add(id(value))

    def copied(self, original: Value, made: Value) -> None:
        """A round of a loop has a copy of what its body made."""
        if id(original) in self._compared:
            self.compared(made)
        if id(original) in self.choices:
            self.choices[id(made)] = self.choices[id(original)]
        for ids in (self.takes, self.sums):
            if id(original) in ids:
                ids.add(id(made))

    def mark(self, value: Value) -> Hashable:
        """What the eager order needs to know of a Value besides its operation."""
        key = id(value)
        return (key in self._compared, key in self.takes, self.choices.get(key)) if self.as_eager else None

    def test(self, test: Any) -> Any:
        if not self.as_eager or not isinstance(test, Value):
            return test
        made = ops.where(test, 1.0, 0.0)  # the number may be part of the graph elsewhere
        self.compared(made)
        return made

    def chosen(self, value: Any, *, rounds: bool = False) -> Any:
        if self.as_eager and isinstance(value, Value):
            if value.op is ops.where:
                self.choices[id(value)] = rounds
            elif value.op is ops.take:
                self.takes.add(id(value))
        return value

    def same(self, value: Any) -> Any:
        self._summed(value)
        return value

    def signed_zero(self, value: Value) -> bool:
        return self.as_eager and (value.op is not CONSTANT or value._data == 0.0)

    def depends(self, value: Value) -> bool:
        """Whether the number depends on a parameter or an argument."""
        stack, seen = [value], set()
        while stack:
            node = stack.pop()
            if node in seen or node in self.found_constant:
                continue
            is_parameter = node._a is None and node.op is None and node not in self.made
            if is_parameter or node._traced or node in self.found_open:
                self.found_open.add(value)
                return True
            seen.add(node)
            stack.extend(node.inputs)
        self.found_constant |= seen
        return False

    def look(self, value: Value, what: str) -> None:
        """Raise TraceError if the Value has no number yet."""
        if self.depends(value):
            branch = OF_A_BRANCH if what.startswith("a branch") else ""
            refuse(what.format(_described(value)), WAY_OUT_OF_PARAMETERS + branch)

    def gradient(self, value: Value, what: str) -> None:
        if self.depends(value):
            refuse(what.format(_described(value)), WAY_OUT_OF_GRADIENTS)

    def write(self, value: Value) -> None:
        what = "the number of a Value (value.data = …) was set"
        refuse(what, "it would happen only once, not at every call. Set it outside, or compute a new Value")


def _described(value: Value) -> str:
    named = f" {value.label!r}" if value.label else ""
    return f"a parameter{named}" if value._a is None else f"a value{named} computed from parameters"
