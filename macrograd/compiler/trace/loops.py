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
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.callees import first_kept, first_state, pair, place_of, same_nesting
from macrograd.compiler.trace.alike import Kind, Kinds, Place, form_of
from macrograd.compiler.trace.bodies import Body, Listing, Walks
from macrograd.compiler.trace.calling import Call, call_of
from macrograd.compiler.trace.calls import Calls
from macrograd.compiler.trace.checking import Inside, tied
from macrograd.compiler.trace.controls import Control, Written
from macrograd.compiler.trace.held import Given, HeldLeaves, Leaves
from macrograd.compiler.trace.reads import Reads
from macrograd.compiler.trace.rounds import (
    MOST_NUMBERS,
    WRITTEN_OUT,
    Kept,
    MoreRounds,
    NoSections,
    Rounds,
    Slow,
    Unrolled,
    refuse_derivative,
    refuse_numbers,
)
from macrograd.compiler.trace.sections import LEAST, LEAST_STOPPED, Plan, Section, planned
from macrograd.compiler.trace.settling import settled
from macrograd.nesting import Nest
from macrograd.value import constant
from macrograd.vector import Vector, vector

MOST_OPERATIONS = 300_000  # in a loop that must be written out
FEWEST_OPERATIONS = 50  # of a branch, or a round of a loop, that is left out by itself
FEWEST_STOPPED = 500  # of all rounds of a loop that stops after any of them
MOST_INSIDE = 3_000  # in a loop in the body of one with memory=


@dataclass(frozen=True)
class _Asked:
    """What is asked of a loop.

    memory  what it is given, or needs
    stops   whether rounds are left out once they change nothing
    inside  whether it is in a branch, or in the body of a loop with memory=
    alone   whether it is in no branch and no body
    """

    count: int
    place: str
    memory: str | int | None
    stops: bool
    inside: bool
    alone: bool


def _each_round(count: int) -> Plan:
    """A section for each round."""
    return Plan(0, 1, count, 0, 1, 0, 1)


class Loops:
    """The loops of one trace.

    new     makes a placeholder or another leaf; `number` one for the round number
    apply   records an operation
    trace   lists the Values that were made

    `controls` is what became of them, and of branches.
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
        self.held = HeldLeaves(rounds, new)
        self.reads = Reads(self.held, new)
        self._walks = Walks(self.reads)
        self.controls: list[Control | Written] = []
        self.bodies: set[int] = set()  # the ids of Values that belong to a body and not to a round
        self.calls = Calls()
        self.given: Given | None = None
        self._kinds = Kinds()
        self._branches = 0  # that are being traced
        self._around: list[str | int | None] = []  # the memory= of the loops whose bodies are being traced

    # --- a loop ---------------------------------------------------------------------------------------------------

    def loop(
        self,
        count: int,
        body: Callable[[Any, Any], Any],
        state: Any,
        collect: bool,
        memory: str | int | None = None,
        stops: str = "",
    ) -> Any:
        nest, first = first_state(body, state)
        if not count:
            return (nest.built(first), Vector([])) if collect else nest.built(first)
        asked = self._asked(count, place_of(body), memory, stops)
        found, checks, kept_nest = self._recorded(asked, body, nest, len(first), collect)
        plan = self._plan(asked, found)
        written = count if plan is not None or asked.inside else self.rounds.of(count)
        whole = written == count
        if plan is None:
            plan = self._written_out(asked, found, whole)
        current: list[Any] = [
            constant(x) if whole else self.held.start(x, self._trace.depends) for x in [*first, *[0.0] * checks.added]
        ]
        if not whole:
            self._tell(count, written, self._walks.depends_on(found.slots, found.outs, found.order), len(found.order))
        self.bodies.update(map(id, found.order), map(id, (found.counter, *found.slots)))
        self.controls.append(Control(stops or "loop", asked.place, count, written, plan))
        if plan is not None:
            section = Section(plan, asked.place, stops=0 if asked.stops else None)
            current, columns = self._sectioned(section, current, found)
        else:
            numbers = [constant(float(k)) if whole else self.held.number(count, k, written) for k in range(written)]
            current, columns = self._rounds(current, found, enumerate(numbers))
        self._trace.checks.made += checks.after(current, columns)
        last = nest.built(current[: len(current) - checks.added])
        if kept_nest is None:
            return last
        return last, kept_nest.built([vector(column) if whole else Kept(count, column) for column in columns])

    def _asked(self, count: int, place: str, memory: str | int | None, stops: str) -> _Asked:
        if self.rounds.keeps:
            memory = None
        elif memory is None and count in self.rounds.sectioned:
            memory = "sqrt"
        if count > MOST_NUMBERS and memory is None:
            refuse_numbers(f"the loop of {place}, of {count} rounds,", count)
        early = bool(stops) and memory in (None, "sqrt") and self.rounds.stops and not self.rounds.together
        inside = bool(self._branches) or any(x is not None for x in self._around)
        alone = not self._around and not self._branches
        return _Asked(count, place, "sqrt" if early else memory, early, inside, alone)

    def _recorded(
        self, asked: _Asked, body: Callable[[Any, Any], Any], nest: Nest, numbers: int, collect: bool
    ) -> tuple[Body, Inside, Nest | None]:
        """The body of a loop whose state holds so many numbers, the checks in it, and how what it keeps is nested."""
        mark, checked = self._trace.count(), len(self._trace.checks.made)
        counter = self._round_number()
        whole = asked.memory is not None or asked.inside or self.rounds.of(asked.count) == asked.count
        self.reads.count(counter, asked.count, not whole)
        slots = [self._new() for _ in range(numbers)]
        self._around.append(asked.memory)
        try:
            found = body(counter, nest.built(slots))
        finally:
            self._around.pop()
        kept_nest, kept = None, list[Any]()
        if collect:
            found, extra = pair(body, found)
            kept_nest, kept = first_kept(body, extra)
        outs = [constant(x) for x in same_nesting(body, "the state", nest, found)]
        kept = [constant(x) for x in kept]
        order = self._walks.of_a_round([*outs, *kept], set(map(id, self._trace.since(mark))), counter)
        checks = Inside(self._trace.checks.since(checked))
        if checks.made:
            depends = self._walks.depends_on(slots, outs, order)
            unseen = checks.unseen(order, self._walks.inner, outs, kept, depends)
            if unseen:  # a number of the state depends on them
                slots = [*slots, self._new()]
                outs = [*outs, tied(slots[-1], unseen, self._trace.compared)]
                order = self._walks.of_a_round([*outs, *kept], set(map(id, self._trace.since(mark))), counter)
        return Body(order, slots, counter, outs, kept), checks, kept_nest

    def _plan(self, asked: _Asked, body: Body) -> Plan | None:
        """The sections of a loop that has some."""
        count, operations, memory = asked.count, len(body.order), asked.memory
        shortest = LEAST_STOPPED if asked.stops else LEAST
        if asked.inside and memory is None and count >= LEAST_STOPPED and count * operations > MOST_INSIDE:
            memory, shortest = "sqrt", LEAST_STOPPED
        if asked.stops and self._apart(count, body.order):
            return _each_round(count)
        if memory is None:
            return None
        enough, period = settled(self._walks.depends_on(body.slots, body.outs, body.order)) or (count, 1)
        self.rounds.repeat(period)
        least = max(self.rounds.least, enough)
        return planned(
            count, len(body.slots), operations, memory, least, self.rounds, asked.place, shortest, asked.alone
        )

    def _written_out(self, asked: _Asked, body: Body, whole: bool) -> Plan | None:
        """None for a loop of which all rounds are written (the `whole`), or a few that tell the others. One that is too
        long for that has a section for each round, or raises."""
        count, operations = asked.count, len(body.order)
        if asked.inside and count * operations > MOST_INSIDE:
            if self.rounds.stops:  # around it is perhaps only a branch, or a loop that stops
                raise NoSections
            raise ValueError(
                f"the loop of {asked.place} is in the body of one with memory= or in a branch, where it is "
                f"written out in full, and {count} rounds of {operations} operations are too many for that: leave out "
                "memory=, or write the branch with mg.where"
            )
        if not whole or count <= WRITTEN_OUT or count * operations <= MOST_OPERATIONS:
            return None
        if count in self.rounds.sectioned and count * len(body.kept) <= MOST_OPERATIONS:
            return _each_round(count)
        raise Unrolled(
            count,
            f"{count} rounds of {operations} operations, {asked.place}. Its rounds differ once compiled: give "
            "the state fewer numbers, or write the difference with mg.where",
        )

    def _rounds(
        self,
        current: list[Any],
        body: Body,
        numbers: Iterable[tuple[int, Any]],
        outside: dict[int, Any] | None = None,
        lifted: dict[Place, Any] | None = None,
    ) -> tuple[list[Any], list[list[Any]]]:
        """The state after rounds with these numbers, and what each keeps."""
        columns: list[list[Any]] = [[] for _ in body.kept]
        for k, number in numbers:
            new = {id(slot): x for slot, x in zip(body.slots, current, strict=True)} | {id(body.counter): number}
            new |= outside or {}
            self._copy(body.order, new, (id(body.counter), k), lifted)
            current = [new.get(id(x), x) for x in body.outs]
            for column, x in zip(columns, body.kept, strict=True):
                column.append(new.get(id(x), x))
        return current, columns

    # --- sections -----------------------------------------------------------------------------------------------

    def _sectioned(self, section: Section, current: list[Any], body: Body) -> tuple[list[Any], list[list[Any]]]:
        """The state after the head, one section that stands for all, and the tail, and what the rounds keep."""
        plan = section.plan
        reads = [x for x in body.order if self.reads.of(x) is not None]
        computed = [x for x in body.order if self.reads.of(x) is None] if reads else body.order
        form, outside, numbers = form_of(
            computed, [*body.outs, *body.kept], (body.counter, *body.slots, *reads), self._trace.mark
        )

        def plain(begin: int, many: int) -> list[list[Any]]:
            nonlocal current
            current, columns = self._rounds(
                current, body, [(k, constant(float(k))) for k in range(begin, begin + many)]
            )
            return columns

        head = plain(0, plan.head)
        alone = bool(reads or plan.groups) or (self._trace.as_eager and section.stops is None)
        kind, operands = Kind(section, [], []), list[Any]()
        if not alone:
            kind, operands = self._kinds.of((plan, section.stops, form), numbers, section)
        section = kind.section
        if section.call is None:
            new = self._leaves(section, len(current), outside, operands)
            self._write(section, body, new, kind.lifted(numbers, section.leaves[len(outside) :]))
        current, kept = self._call(section, [*current, *outside, *operands])
        tail = plain(plan.head + plan.rounds * plan.count, plan.tail)
        return current, [[*a, *b, *c] for a, b, c in zip(head, kept, tail, strict=True)]

    def _write(self, section: Section, body: Body, outside: dict[int, Any], lifted: dict[Place, Any]) -> None:
        """Write the rounds of a section, with these leaves for what comes from outside and for numbers."""
        plan, state = section.plan, section.carry
        if section.stops is None or body.counts:  # the rounds of a while_loop have no numbers
            section.counters = [self._new() for _ in range(plan.written)]
        section.outs = [[] for _ in body.kept]
        around, self.reads.section = self.reads.section, section
        for k, number in enumerate(section.counters or [constant(0.0)] * plan.written, plan.head):
            mark = self._trace.count()
            state, columns = self._rounds(state, body, [(k, number)], outside, lifted)
            section.made.append([x for x in self._trace.since(mark) if x.op is not None])
            for column, found in zip(section.outs, columns, strict=True):
                column += found
        self.reads.section = around
        section.results = state

    def _apart(self, count: int, order: list[Any]) -> bool:
        """Whether each round of a loop that stops is a section: it is long enough to be left out by itself, and so long
        that rounds are better not written out."""
        if not FEWEST_OPERATIONS <= len(order) <= MOST_OPERATIONS // 10 or count * len(order) < FEWEST_STOPPED:
            return False
        return all(self.reads.of(x) is None for x in order)

    def _leaves(self, section: Section, carry: int, used: list[Any], numbers: list[Any]) -> dict[int, Any]:
        """Make the leaves of a section for a state of `carry` numbers, and for what it uses from outside, which are
        returned by its ids, and then for numbers."""
        section.carry = [self._new() for _ in range(carry)]
        section.outside = [*used, *numbers]
        section.leaves = [self._new() for _ in section.outside]
        return dict(zip(map(id, used), section.leaves, strict=False))

    def _call(self, section: Section, operands: list[Any]) -> tuple[list[Any], list[list[Any]]]:
        """The results of a section that has been written."""
        if section.call is None:
            operands = [*operands, *self._elements(section)]
            self.bodies.update(id(x) for row in section.made for x in row)
            self.bodies.update(map(id, section.inputs()))
            call = section.call = call_of(Call(self.calls, self.calls.add(section)), operands)
        else:
            call = call_of(section.call.op, operands)
        found = call.op.results(call)
        state, outs = len(section.carry), section.plan.rounds * section.plan.count
        return found[:state], [found[state + k * outs :][:outs] for k in range(len(section.outs))]

    def _elements(self, section: Section) -> list[Any]:
        """The operands that are elements which a section reads."""
        held = self.given is not None and not self._branches and all(x is None for x in self._around)
        for read in section.reads.values():
            inputs, number, same = [], {}, []
            if held and self.given:
                inputs, number, same = self.given.inputs, self.given.number(), self.given.same
            read.find(inputs, number, same, held)
        return [x for read in section.reads.values() for x in read.operands]

    def branch(self, test: Any, compute: Callable[[], list[Any]], where: str) -> list[Any]:
        """What a branch computes: as a section of one round if that is long enough to be left out where the test
        is 0."""
        flag, mark, checked = ops.where(test, 1.0, 0.0), self._trace.count(), len(self._trace.checks.made)
        self._branches += self.rounds.stops
        try:
            outs = [constant(x) for x in compute()]
        finally:
            self._branches -= self.rounds.stops
        order = self._walks.of_a_round(outs, set(map(id, self._trace.since(mark))), None)
        long = FEWEST_OPERATIONS <= len(order) <= MOST_OPERATIONS // 10 and self.rounds.stops
        # Nor if it reads from values that it made.
        plan = None if not long or any(self.reads.of(x) is not None for x in order) else _each_round(1)
        self.controls.append(Control("branch", where, 1, 1, plan))
        if plan is None:
            return outs
        made = set(map(id, order))
        own = [*{id(x): x for x in outs if id(x) in made}.values()]  # others need no section
        form, outside, numbers = form_of(order, own, (), self._trace.mark)
        kind, operands = self._kinds.of(form, numbers, Section(plan, where, stops=0))
        section = kind.section
        if section.call is None:
            new = self._leaves(section, 1 + len(own), outside, operands)
            mark = self._trace.count()
            self._copy(order, new, (0, 0), kind.lifted(numbers, section.leaves[len(outside) :]))
            section.made = [[x for x in self._trace.since(mark) if x.op is not None]]
            section.results = [section.carry[0], *(new[id(x)] for x in own)]
        found = self._call(section, [flag, *(constant(0.0) for _ in own), *outside, *operands])[0][1:]
        for check in self._trace.checks.since(checked):  # those of the section show by its results
            self._trace.checks.made.append(check if made.isdisjoint(map(id, check)) else (*found,))
        results = dict(zip(map(id, own), found, strict=True))
        return [results.get(id(x), x) for x in outs]

    def _tell(self, count: int, written: int, depends: list[int], operations: int) -> None:
        """Raise MoreRounds or Unrolled if the rounds written are too few to tell the others."""
        least, period = settled(depends) or (None, 1)
        self.rounds.repeat(period)
        if least is None or least * operations > MOST_OPERATIONS:
            raise Slow(
                count,
                f"its state holds {len(depends)} numbers, and what enters one of them takes very many rounds to "
                "reach the others. Give the state fewer numbers",
            )
        if least > written:
            raise MoreRounds(count, least)

    def _copy(
        self,
        order: list[Any],
        new: dict[int, Any],
        known: tuple[int, int],
        lifted: dict[Place, Any] | None = None,
    ) -> None:
        for x in order:
            read = self.reads.of(x)
            if read is None:
                inputs = [new.get(id(y), y) for y in x.inputs]
                if lifted:
                    inputs = [lifted.get((id(x), p), y) for p, y in enumerate(inputs)]
                new[id(x)] = made = self._apply(x.op, tuple(inputs))
                self._trace.copied(x, made)
            else:
                new[id(x)] = self.reads.moved(read, new, known)

    def check_walk(self, order: Sequence[Any]) -> None:
        """Raise NoSections or KeepsAll if a strict derivative inside the function meets calls."""
        if any(isinstance(x.op, Call) for x in order):
            if any(isinstance(x, Section) and x.stops is not None for x in self.calls.made):
                raise NoSections
            refuse_derivative(next(x.where for x in self.calls.made if isinstance(x, Section)))

    def leaves(self, values: Sequence[Any], results: Sequence[Any], given: Given) -> Leaves:
        """The leaves of the trace's tape."""
        if self.rounds.counts:
            self.reads.overlaps.check(self.rounds)
            self.reads.even.check(results, given.number)
        return self.held.leaves(values, results, given)
