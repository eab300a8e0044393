"""Loops of a trace: `macrograd.loop` in a compiled function.

The body is run once, on placeholders: one for the round number and one for each scalar of the state. It records a small
graph, and each round of the loop is a copy of it, with the results of the previous round in place of the placeholders.
So every round is the same program, and the function cannot tell one from another.

A short loop is written out in full. Of a longer one only a few rounds are written; `Rounds` says how many. The compiler
makes programs from two or three such traces, each with a few more rounds, and derives from them the program of all
rounds (`macrograd.compiler.program.stretch`). So nothing in the trace may depend on the number of rounds written:

- The round number, and the numbers of a closed-over array that is read by it, are *held*: leaves like uniform
  arguments, except that the program supplies their numbers. Constants would be folded.
- So are the constants that a state begins with; otherwise a sum that starts at 0 would be folded in the first round.
- The values kept from every round (`Kept`) can be returned, or read by a round number. Only the rounds that are written
  have elements: any other use raises `Unrolled`, and another trace writes the loop out in full.

`take(ys, i)` by a round number (`i`, `i + 1`, `n - 1 - i`, `4 * i + j`: sums and multiples) is not an operation: the
copy for round k has element k of ys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.tape.tape import INPUT, UNIFORM, Ints, Tape
from macrograd.compiler.trace.forms import Form, combined
from macrograd.compiler.trace.overlaps import Overlaps
from macrograd.compiler.trace.rounds import (
    MOST_NUMBERS,
    WRITTEN_OUT,
    Kept,
    MoreRounds,
    NoSections,
    Rounds,
    Unrolled,
    refuse_numbers,
)
from macrograd.compiler.trace.sections import LEAST, LEAST_STOPPED, Plan, Section, SectionRead, planned
from macrograd.compiler.trace.settling import settled
from macrograd.control import first_state, pair, place_of, same_nesting
from macrograd.nesting import nest_of
from macrograd.value import Value, constant
from macrograd.vector import Vector, vector

MOST_OPERATIONS = 300_000  # in a loop that must be written out
FEWEST_OPERATIONS = 50  # of a branch that is left out where it is not taken
MOST_INSIDE = 3_000  # in a loop in the body of one with memory=
_DEEP = 64  # operations searched for a round number

_ONE = ("one", 0)


@dataclass
class _Counter:
    """The round number of a loop, within its body."""

    node: Value
    count: int
    long: bool  # only some rounds are written


@dataclass
class _Read:
    """An element of `values`, by round numbers; `long` if one of these is of a loop whose rounds are not all
    written."""

    node: Value
    values: Sequence[Any]
    form: Form
    long: bool

    def elements(self) -> Sequence[Any]:
        return self.values.elements if isinstance(self.values, Kept) else self.values


@dataclass
class Held:
    """Leaves whose numbers the program holds: element k of `numbers` is leaf k, for `size` leaves."""

    numbers: Any
    size: int
    source: Any  # kept alive, because its id is the key
    leaves: dict[int, Value] = field(default_factory=dict)

    def array(self) -> NDArray[np.float64]:
        if isinstance(self.numbers, range):  # the rounds of a loop, which few bodies compute with
            return np.arange(len(self.numbers), dtype=np.float64)
        return np.asarray(self.numbers, dtype=np.float64)


@dataclass
class Leaves:
    """The given leaves of a tape.

    one     the index of the leaf that seeds a derivative, if that is not a constant
    nodes   the leaves; `same` says which are the same for all samples
    places  their indices among all leaves of their kind, if some are left out
    held    the numbers that the program holds, for all rounds
    """

    one: int | None
    nodes: Sequence[Any]
    same: Sequence[bool]
    places: Ints
    held: NDArray[np.float64]

    def numbered(self, tape: Tape) -> Tape:
        """The tape with its leaves renumbered by `places`."""
        if not len(self.places):
            return tape
        leaf = tape.leaf.copy()
        for code, kind in ((UNIFORM, True), (INPUT, False)):
            mine = np.flatnonzero(tape.code == code)
            leaf[mine] = self.places[np.array(self.same, dtype=bool) == kind][leaf[mine].astype(np.int64)]
        return replace(tape, leaf=leaf)


class Given(Protocol):
    """The arguments' scalars."""

    inputs: Any
    same: list[bool]

    def number(self) -> dict[int, int]: ...


class Listing(Protocol):
    """Lists the Values of a trace, and knows which are constants."""

    def depends(self, value: Value) -> bool: ...
    def copied(self, original: Value, made: Value) -> None: ...
    def count(self) -> int: ...
    def since(self, mark: int) -> list[Any]: ...


class Loops:
    """The loops of one trace.

    new     makes a placeholder or another leaf; `number` one for the round number
    apply   records an operation
    trace   lists the Values that were made
    """

    def __init__(
        self,
        rounds: Rounds,
        new: Callable[[], Any],
        number: Callable[[], Any],
        apply: Callable[[Any, tuple[Any, ...]], Any],
        trace: Listing,
    ) -> None:
        self.rounds, self._new, self._round_number, self._apply, self._trace = rounds, new, number, apply, trace
        self._counters: dict[int, _Counter] = {}
        self._reads: dict[int, _Read] = {}
        self._same_reads: dict[tuple[int, Form, bool], _Read] = {}
        self._forms: dict[int, tuple[Value, Form | None]] = {}
        self._ids: dict[int, tuple[Any, dict[int, Any]]] = {}
        self._columns: dict[int, tuple[Any, list[Any]]] = {}
        self.held: dict[tuple[str, int], Held] = {}
        self.arrays: dict[int, Sequence[Any]] = {}  # those with parameters among their elements
        self.arguments: set[int] = set()  # the ids of the function's arguments, whose elements come from no body
        self.bodies: set[int] = set()  # the ids of Values that belong to a body and not to a round
        self.sections: list[Section] = []
        self._section: Section | None = None  # the one whose rounds are being written
        self._branches = 0  # that are being traced
        self._around: list[str | int | None] = []  # the memory= of the loops whose bodies are being traced
        self._snapshots: dict[int, tuple[Any, Any]] = {}
        self._overlaps = Overlaps()

    # --- a loop ---------------------------------------------------------------------------------------------------

    def loop(
        self,
        count: int,
        body: Callable[[Any, Any], Any],
        state: Any,
        collect: bool,
        memory: str | int | None = None,
        stops: bool = False,
    ) -> Any:
        nest, first = first_state(body, state)
        if not count:
            return (nest.built(first), Vector([])) if collect else nest.built(first)
        if count > MOST_NUMBERS and memory is None:
            refuse_numbers(f"the loop of {place_of(body)}, of {count} rounds,", count)
        stops = stops and memory is None and not (self._around or self._branches) and self.rounds.stops
        shortest = LEAST_STOPPED if stops else LEAST
        if stops:
            memory = "sqrt"
        if memory is not None and self._around and count >= LEAST:
            raise ValueError(
                f"memory={memory!r} of the loop of {place_of(body)}, which is in the body of another loop: give it to "
                "the outer loop, whose rounds are computed again whole"
            )
        inside = any(x is not None for x in self._around)
        written = count if memory is not None or inside else self.rounds.of(count)
        whole = written == count
        mark = self._trace.count()
        counter = self._round_number()
        self._counters[id(counter)] = _Counter(counter, count, not whole)
        slots = [self._new() for _ in first]
        self._around.append(memory)
        try:
            found = body(counter, nest.built(slots))
        finally:
            self._around.pop()
        kept_nest, kept = None, list[Any]()
        if collect:
            found, extra = pair(body, found)
            try:
                kept_nest, kept = nest_of(extra)
            except TypeError as error:
                raise TypeError(f"what {place_of(body)} keeps of a round: {error}") from None
        outs = [constant(x) for x in same_nesting(body, "the state", nest, found)]
        kept = [constant(x) for x in kept]
        order = self._of_a_round([*outs, *kept], set(map(id, self._trace.since(mark))), counter)
        plan = None
        if memory is not None:
            depends = self._depends_on(slots, outs, order)
            enough, period = settled(depends) or (count, 1)
            self.rounds.repeat(period)
            least = max(self.rounds.least, enough)
            plan = planned(count, len(slots), len(order), memory, least, self.rounds, place_of(body), shortest)
            if plan is None:
                written = self.rounds.of(count)
                whole = written == count
        current: list[Any] = [constant(x) if whole else self._start(x) for x in first]
        if inside and count * len(order) > MOST_INSIDE:
            raise ValueError(
                f"the loop of {place_of(body)} is in the body of one with memory=, where it is written out in full, "
                f"and {count} rounds of {len(order)} operations are too many for that: leave out memory="
            )
        if plan is None and whole and count > WRITTEN_OUT and count * len(order) > MOST_OPERATIONS:
            raise Unrolled(
                count,
                f"{count} rounds of {len(order)} operations, {place_of(body)}. Its rounds differ once compiled: give "
                "the state fewer numbers, or write the difference with mg.where",
            )
        if not whole:
            self._tell(count, written, self._depends_on(slots, outs, order), len(order))
        self.bodies.update(map(id, order), map(id, (counter, *slots)))
        if plan is not None:
            section = Section(plan, place_of(body), stops=0 if stops else None)
            return nest.built(self._sectioned(section, current, slots, outs, order, counter))
        columns: list[list[Any]] = [[] for _ in kept]
        for k in range(written):
            at = constant(float(k)) if whole else self._number(count, k, written)
            new = {id(slot): x for slot, x in zip(slots, current, strict=True)} | {id(counter): at}
            self._copy(order, new, (id(counter), k))
            current = [new.get(id(x), x) for x in outs]
            for column, x in zip(columns, kept, strict=True):
                column.append(new.get(id(x), x))
        last = nest.built(current)
        if kept_nest is None:
            return last
        return last, kept_nest.built([vector(column) if whole else Kept(count, column) for column in columns])

    def _sectioned(
        self, section: Section, current: list[Any], slots: list[Any], outs: list[Any], order: list[Any], counter: Any
    ) -> list[Any]:
        """The state after the head, one section that stands for all, and the tail."""
        plan = section.plan
        self.sections.append(section)

        def identity(x: Any) -> Any:
            return self._apply(ops.sum_, (x,))

        def rounds(numbers: Iterable[int]) -> None:
            nonlocal current
            for k in numbers:
                number = self._new() if self._section is section else constant(float(k))
                new = {id(slot): x for slot, x in zip(slots, current, strict=True)} | {id(counter): number}
                self._copy(order, new, (id(counter), k))
                current = [new.get(id(x), x) for x in outs]
                if self._section is section:
                    section.counters.append(number)
                    section.made.append([x for x in map(new.get, map(id, order)) if x is not None and x.op is not None])

        rounds(range(plan.head))
        section.before = current = [identity(x) for x in current]
        self._section = section
        rounds(range(plan.head, plan.head + plan.written))
        self._section = None
        section.after = current = [identity(x) for x in current]
        count = plan.head + plan.rounds * plan.count + plan.tail
        rounds(range(count - plan.tail, count))
        return current

    def branch(self, test: Any, compute: Callable[[], list[Any]], where: str) -> list[Any]:
        """What a branch computes: as a section of one round if that is long enough to be left out where the test
        is 0."""
        flag, sections, mark = ops.where(test, 1.0, 0.0), len(self.sections), self._trace.count()
        self._branches += 1
        try:
            outs = [constant(x) for x in compute()]
        finally:
            self._branches -= 1
        if self._branches or self._around or not self.rounds.stops or len(self.sections) > sections:
            return outs
        made = {id(x): x for x in self._trace.since(mark)}
        order = [made[x] for x in self._reached(outs) if x in made and made[x]._a is not None]
        if not FEWEST_OPERATIONS <= len(order) <= MOST_OPERATIONS // 10:
            return outs

        def identity(x: Any) -> Any:
            return self._apply(ops.sum_, (constant(x),))

        section = Section(Plan(0, 1, 1, 0, 1, 0, 1), where, stops=0)
        section.before = [identity(flag), *(identity(0.0) for _ in outs)]
        section.made = [order]
        section.after = [identity(section.before[0]), *map(identity, outs)]
        self.sections.append(section)
        return section.after[1:]

    def _depends_on(self, slots: list[Any], outs: list[Any], order: list[Any]) -> list[int]:
        """The slots that each number of the next state depends on, as bits."""
        on = {id(slot): 1 << k for k, slot in enumerate(slots)}
        for x in order:
            read = self._reads.get(id(x))
            inner = x.inputs if read is None else read.elements()
            found = 0
            for y in inner:
                found |= on.get(id(y), 0)
            on[id(x)] = found
        return [on.get(id(x), 0) for x in outs]

    def _tell(self, count: int, written: int, depends: list[int], operations: int) -> None:
        """Raise MoreRounds or Unrolled if the rounds written are too few to tell the others."""
        least, period = settled(depends) or (None, 1)
        self.rounds.repeat(period)
        if least is None or least * operations > MOST_OPERATIONS:
            raise Unrolled(
                count,
                f"its state holds {len(depends)} numbers, and what enters one of them takes very many rounds to "
                "reach the others. Give the state fewer numbers",
            )
        if least > written:
            raise MoreRounds(count, least)

    def _start(self, x: Any) -> Any:
        """A scalar of the first state; a constant is held."""
        if isinstance(x, Value) and x.op is not ops.CONSTANT and self._trace.depends(x):
            return x
        number = x._data if isinstance(x, Value) else ops.as_float("loop", x)
        key = ("start", np.float64(number).view(np.int64).item())
        return self._leaf(key, 0, lambda: Held([number], 1, None))

    def one(self) -> Any:
        """The 1 that seeds a derivative: held, or the constants that it meets would be folded."""
        return self._leaf(_ONE, 0, lambda: Held([1.0], 1, None)) if self.rounds.counts else 1.0

    def _number(self, count: int, k: int, written: int) -> Value:
        return self._leaf(("counter", count), k, lambda: Held(range(count), written, None))

    def _leaf(self, key: tuple[str, int], k: int, make: Callable[[], Held]) -> Value:
        held = self.held.get(key) or self.held.setdefault(key, make())
        if k not in held.leaves:
            held.leaves[k] = self._new()
        return held.leaves[k]

    def _of_a_round(self, roots: list[Any], made: set[int], counter: Value) -> list[Any]:
        """The Values that the roots depend on within a round, operands first: all operations of the body, even those
        that are the same in every round, because eagerly each round does them; and reads that depend on its counter or
        on these operations."""
        order: list[Any] = []
        seen: set[int] = set()
        stack: list[tuple[Any, bool]] = [(x, False) for x in reversed(roots)]
        while stack:
            x, ready = stack.pop()
            if ready:
                order.append(x)
                continue
            read = self._reads.get(id(x))
            if id(x) in seen or (read is None and (id(x) not in made or x._a is None)):
                continue
            seen.add(id(x))
            inner = x.inputs if read is None else self._inside(read, made)
            if read is not None and not inner and all(c != id(counter) for c, _ in read.form[1]):
                continue
            stack.append((x, True))
            stack.extend((y, False) for y in reversed(inner) if id(y) not in seen)
        return order

    def _inside(self, read: _Read, made: set[int]) -> list[Any]:
        """The values made in the body among those that a read chooses from."""
        values = read.elements()
        if id(values) in self.arguments:
            return []
        known = self._by_id(values)
        return [known[x] for x in sorted(made) if x in known]

    def _by_id(self, values: Sequence[Any]) -> dict[int, Any]:
        if id(values) not in self._ids:
            self._ids[id(values)] = values, dict(zip(map(id, values), values, strict=True))
        return self._ids[id(values)][1]

    def _copy(self, order: list[Any], new: dict[int, Any], known: tuple[int, int]) -> None:
        for x in order:
            read = self._reads.get(id(x))
            if read is None:
                new[id(x)] = made = self._apply(x.op, tuple([new.get(id(y), y) for y in x.inputs]))
                self._trace.copied(x, made)
            else:
                new[id(x)] = self._moved(read, new, known)

    # --- what the program holds -------------------------------------------------------------------------------------

    def leaves(self, values: Sequence[Any], results: Sequence[Any], given: Given) -> Leaves:
        """The leaves of the trace's tape: all scalars of the arguments. If some rounds of a loop are not written, only
        the used ones, and the last one of each kind, which shows how many there are."""
        if self.rounds.counts and any(section.stops is not None for section in self.sections):
            raise NoSections
        if self.sections and self.rounds.counts:
            raise Unrolled(
                max(self.rounds.counts),
                "the function has another loop, with memory=, and a program has long loops of only one kind: give both "
                "memory=, or neither",
            )
        if not self.rounds.counts:
            return Leaves(None, given.inputs, given.same, np.arange(0), np.empty(0))
        self._overlaps.check(self.rounds)
        used = {id(y) for x in values for y in x.inputs}
        used.update(map(id, results))
        self.one()
        last = self.held[_ONE]
        held = [h for h in self.held.values() if h is not last and any(id(x) in used for x in h.leaves.values())]
        held.append(last)
        begin = np.cumsum([0, *(h.size for h in held)]).tolist()
        nodes = [h.leaves[k] for h in held for k in sorted(h.leaves)]
        numbers = [first + k for first, h in zip(begin, held, strict=False) for k in sorted(h.leaves)]
        kind = np.array(given.same, dtype=bool)
        place = np.where(kind, begin[-1] + np.cumsum(kind) - 1, np.cumsum(~kind) - 1)
        keep = {int(where[-1]) for where in (np.flatnonzero(kind), np.flatnonzero(~kind)) if len(where)}
        number = given.number()
        keep.update(number[x] for x in used if x in number)
        some = sorted(keep)
        parts = [h.array() for h in held]
        return Leaves(
            begin[-1] - 1,
            [*nodes, *(given.inputs[k] for k in some)],
            [True] * len(nodes) + [given.same[k] for k in some],
            np.concatenate([np.array(numbers, dtype=np.int64), place[some]]),
            np.concatenate([np.empty(0), *parts]),
        )

    # --- arrays read by the number of a round -----------------------------------------------------------------------

    def take(self, values: Any, index: Any, guard: Any) -> Any:
        """The element at a round number, or the result of a guarded take by another index; None if it is neither."""
        found = self._by_number(values, index, guard is not None) if self._counters else None
        if found is None and guard is not None:
            return _guarded_take(values, ops.where(guard, index, 0.0))
        return found

    def _by_number(self, values: Any, index: Any, guarded: bool) -> Any:
        """The element at a round number; None if the index is something else, or in range only because of a guard."""
        form = self._form(index)
        if form is None or not form[1]:
            if isinstance(values, Kept):
                values.shape  # noqa: B018 - refuses
            return None
        if not isinstance(values, (Kept, list, tuple, Vector)):
            shape = getattr(values, "shape", None)
            if not shape:
                return None
            numbers = values.tolist()
            values = self._snapshot(values, numbers)
        elif isinstance(values, list):
            values = self._snapshot(values, [tuple(x) if isinstance(x, list) else x for x in values])
        low, high = self._range(form)
        if low < 0 or high >= len(values):
            if guarded and not isinstance(values, Kept):
                return None
            wrong = low if low < 0 else high
            raise IndexError(
                f"take() index {wrong} is outside 0 … {len(values) - 1}; it is computed from a loop's round number"
            )
        if not isinstance(values, Kept) and hasattr(values[0], "__len__"):
            lengths = {len(row) if hasattr(row, "__len__") else 0 for row in values}
            if len(lengths) > 1:
                raise ValueError(
                    f"take() needs rows of equal length, got rows of {min(lengths)} to {max(lengths)} numbers"
                )
            table = values
            columns = self._once(table, lambda: [list(column) for column in zip(*table, strict=True)])
            return vector([self._read(column, form).node for column in columns])
        return self._read(values, form).node

    def _snapshot(self, values: Any, content: list[Any]) -> list[Any]:
        """What a list or array holds now, the same object as before if it held the same: the body may change it, or the
        function may between two loops."""
        found = self._snapshots.get(id(values))
        if found is None or not _same(found[1], content):
            self._snapshots[id(values)] = found = values, content
            if id(values) in self.arguments:
                self.arguments.add(id(content))
        return found[1]

    def _once(self, x: Any, make: Callable[[], list[Any]]) -> list[Any]:
        """The replacement of each object, made once."""
        if id(x) not in self._columns:
            self._columns[id(x)] = x, make()
        return self._columns[id(x)][1]

    def passed(self, results: Sequence[Any], leaves: Sequence[Any]) -> bool:
        """Note that the results are differentiated with respect to the leaves. Whether they depend on them through an
        element read by the round number of an open loop: which element, only the copies of the body know."""
        self._overlaps.differentiated = True
        found = self._reached(results) if self._reads else set()
        inside: set[int] = set()
        while reads := [self._reads[x] for x in found if x in self._reads]:
            found = self._reached([y for read in reads for y in read.elements()]) - inside
            inside |= found
        return not inside.isdisjoint(map(id, leaves))

    def _reached(self, roots: Sequence[Any]) -> set[int]:
        """The ids of the Values that the roots depend on, with the roots, but not through the elements of a read."""
        seen: set[int] = set()
        stack = [x for x in roots if isinstance(x, Value)]
        while stack:
            x = stack.pop()
            if id(x) not in seen:
                seen.add(id(x))
                if x.op is not None:
                    stack.extend(x.inputs)
        return seen

    def _read(self, values: Sequence[Any], form: Form, long: bool = False) -> _Read:
        key = id(values), form, long or any(self._counters[c].long for c, _ in form[1])
        if key[2]:
            self._overlaps.add(values, form[0], [(self._counters[c].count, factor) for c, factor in form[1]])
        if key not in self._same_reads:
            read = _Read(self._new(), values, form, key[2])
            self._same_reads[key] = self._reads[id(read.node)] = read
        return self._same_reads[key]

    def _moved(self, read: _Read, new: dict[int, Any], known: tuple[int, int]) -> Any:
        """The value of a read in a round: `known` is the counter and its number."""
        counter, k = known
        at = read.form[0] + sum(factor * k for c, factor in read.form[1] if c == counter)
        rest = tuple([(c, factor) for c, factor in read.form[1] if c != counter])
        values = read.values
        if not rest and self._section is not None and counter in [c for c, _ in read.form[1]]:
            return self._read_in_section(self._section, read, at, new)
        if not rest:
            found = values.read(at) if isinstance(values, Kept) else values[at]
            if not isinstance(found, Value):
                return self._element(values, at) if read.long else constant(found)
            if read.long and found.op is None and not found._traced:
                self.arrays.setdefault(id(values), values)
            return new.get(id(found), found)
        if isinstance(values, Kept):
            if any(id(x) in new for x in values.elements):
                values = Kept(len(values), [new.get(id(x), x) for x in values.elements])
        elif any(id(x) in new for x in values):
            values = [new.get(id(x), x) for x in values]
        return self._read(values, (at, rest), read.long).node

    def _read_in_section(self, section: Section, read: _Read, at: int, new: dict[int, Any]) -> Value:
        """A new leaf for the element, which is another one in each section."""
        if isinstance(read.values, Kept):
            raise ValueError(
                f"the loop of {section.where} with memory= reads what a loop of {len(read.values)} rounds kept: that "
                "loop keeps all of its rounds in any case, so leave out memory="
            )
        if id(read.node) not in section.reads and any(id(x) in new for x in read.values):
            raise ValueError(
                f"the loop of {section.where} with memory= reads by its round number from values that its body made: "
                "choose with mg.where, or leave out memory="
            )
        step = sum(factor for _, factor in read.form[1])
        found = section.reads.setdefault(id(read.node), SectionRead(read.values, at, step))
        found.leaves.append(self._new())
        return found.leaves[-1]

    def _element(self, values: Sequence[Any], k: int) -> Value:
        """An element of an array of numbers."""
        if (held := self.held.get(("array", id(values)))) is None:
            if any(isinstance(x, Value) for x in values):
                found = constant(values[k])
                assert isinstance(found, Value)
                return found
            held = Held(np.array([ops.as_float("take", x) for x in values]), len(values), values)
        return self._leaf(("array", id(values)), k, lambda: held)

    def _range(self, form: Form) -> tuple[int, int]:
        low = high = form[0]
        for c, factor in form[1]:
            most = factor * (self._counters[c].count - 1)
            low, high = low + min(0, most), high + max(0, most)
        return low, high

    def _form(self, x: Any, deep: int = _DEEP) -> Form | None:
        """An index as a sum of multiples of round numbers, or None."""
        if not isinstance(x, Value) or x.op is ops.CONSTANT:
            number = x._data if isinstance(x, Value) else x
            return (int(number), ()) if float(number).is_integer() else None
        if id(x) in self._counters:
            return 0, ((id(x), 1),)
        if not deep or x.op not in (ops.add, ops.sub, ops.mul, ops.neg):
            return None
        if id(x) not in self._forms:
            parts = [self._form(y, deep - 1) for y in x.inputs]
            self._forms[id(x)] = x, None if None in parts else combined(x.op, [p for p in parts if p is not None])
        return self._forms[id(x)][1]


def _guarded_take(values: Any, index: Any) -> Any:
    """`take` of numbers, or of rows."""
    values = values.tolist() if getattr(values, "shape", None) else list(values)
    if values and hasattr(values[0], "__len__"):
        return vector([ops.take(index, *column) for column in zip(*values, strict=True)])
    return ops.take(index, *values)


def _same(a: list[Any], b: list[Any]) -> bool:
    """Whether two snapshots hold the same objects, or numbers of the same bits."""
    return len(a) == len(b) and all(_alike(x, y) for x, y in zip(a, b, strict=True))


def _alike(x: Any, y: Any) -> bool:
    if x is y:
        return True
    if isinstance(x, (tuple, list)) and isinstance(y, (tuple, list)):
        return len(x) == len(y) and all(_alike(a, b) for a, b in zip(x, y, strict=True))
    if isinstance(x, float) and isinstance(y, float):
        return x.hex() == y.hex()
    return False
