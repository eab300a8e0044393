"""An instance of a call as a loop over its sections, on slots that every round of the loop uses again:

    inputs = operands
    loop over the sections:
        row of this section = the carry among the inputs       if a derivative reads it
        inputs = rows, numbers of the rounds, elements read
        the section's steps
        what the section puts out, and its other rows = the section's results
        the carry among the inputs = the section's results
    results = the carry among the inputs

The loop of a derivative goes through the sections the other way. If the sections are in groups, only the first of each
keeps its carry; the derivative goes through a group, keeps the carries of its parts, and goes back through these, each
of which may be a group. What other instructions read is stored by instance
(`stores.py`); everything else is used again by every instance.

Slots that are used again are overwritten only in a loop of their own (of one round), because targets may run
instructions in another order within a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

from macrograd._dataclass import dataclass
from macrograd.compiler.program.calls import Call, Read
from macrograd.compiler.program.copies import Moved, copies, copy
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand, Segment, Step
from macrograd.compiler.program.stores import Stores

Made = list[Instruction | Loop]
_ONE = Segment(1, 1.0, 1.0)


@dataclass(frozen=True)
class _Place:
    """Which section runs: number `begin`, and `steps` more for each round of the loops of the call."""

    begin: int
    steps: tuple[int, ...]

    @property
    def deep(self) -> int:
        return len(self.steps)

    def slots(self, width: int) -> tuple[int, tuple[int, ...]]:
        """The first of the `width` slots of the section in a row of all, and the shifts."""
        return width * self.begin, tuple([width * step for step in self.steps])

    def within(self, begin: int, *steps: int) -> _Place:
        return _Place(self.begin + begin, (*self.steps, *steps))


class Instance:
    """The steps of one instance of a call, in `depth` loops of the program.

    varies  which of the operands in the carry and from outside vary over the samples; None if the call does not
    steps   in place of the call; `before` runs before the blocks
    others  the instances of calls that are not in loops, by number
    """

    def __init__(
        self,
        stores: Stores,
        call: Call,
        instance: Index,
        args: Sequence[Operand],
        varies: list[bool] | None,
        depth: int,
        others: Mapping[int, Instance],
    ) -> None:
        self.others = others
        self.stores, self.call, self.instance, self.args = stores, call, instance, args
        self.program, self.here = call.program, (0,) * depth
        self.space = "u" if varies is None else "v"
        self.u = stores.new("u", self.program.uniform)
        self.v = stores.new("v", self.program.varying)
        self.inputs = self.u + self.program.first_input if varies is None else self.v
        self.base = stores.new(self.space, 1)  # the number of the section's first round
        outside = range(call.carry, call.carry + call.outside)
        self.moving = [p for p in outside if varies is not None and varies[p]]
        fixed = [p for p in outside if p not in self.moving]
        numbers: list[Operand] = [*(args[p] for p in fixed), *map(float, self.program.constants)]
        held = [Index("u", self.u + k, (0,)) for k in range(len(numbers))]
        self.before: list[Step] = []
        self.steps: list[Step] = []
        if varies is None:
            self.steps.append(Loop(1, tuple(copies([self._local(x.base, "u", 1) for x in held], _inner(numbers)))))
        else:
            outer = [replace(x, shifts=()) if isinstance(x, Index) else x for x in numbers]
            self.before += [*copies(held, outer), *self._moved(self.program.before, ())]
        self._run()

    def _local(self, slot: int, space: str = "", inner: int = 0, stride: int = 0) -> Index:
        """A slot of the section, in `inner` loops of the call; of members that many slots apart."""
        return Index(space or self.space, slot, (stride,), shifts=(*self.here, *(0,) * inner))

    def _moved(self, steps: Sequence[Step], around: tuple[int, ...]) -> list[Step]:
        mover = Moved({"u": self.u, "v": self.v}, around)
        return [mover.step(step) for step in steps]

    def _made(self, first: int, count: int, inner: int) -> list[Operand]:
        """Results of the section."""
        moved = {"u": self.u, "v": self.v}
        results = self.program.results[first : first + count]
        return [self._local(moved[space] + slot, space, inner) for space, slot in results]

    def _run(self) -> None:
        call = self.call
        entered = list(range(call.carry)) + self.moving
        inputs = [self._local(self.inputs + k, inner=1) for k in range(len(entered))]
        first = call.head + (call.rounds * (call.count - 1) if call.backwards else 0)
        enter = copies(inputs, _inner([self.args[p] for p in entered]))
        enter += copies([self._local(self.base, inner=1)], [float(first)])
        self.steps.append(Loop(1, tuple(enter)))
        self._read_from = self._sources()
        if not call.groups:
            at = _Place(call.count - 1, (-1,)) if call.backwards else _Place(0, (1,))
            apart = call.guard is not None and call.counted
            at = at.within(0, 0) if apart else at
            guard = self._guard(at)
            row = self._row(0, 0, (1,), at) if call.rows else None
            body = *self._keep(at), *self._section(at, row, apart=apart)
            if apart:  # sections that are left out are counted, too
                body, guard = (Loop(1, body, guard), Loop(1, (self._next(2),))), None
            self.steps.append(Loop(call.count, body, guard))
        elif call.backwards:
            self._run_back()
        else:
            size = prod(call.groups)
            at = _Place(0, (size,))
            inner = Loop(size, tuple(self._section(at.within(0, 1), None)))
            self.steps.append(Loop(call.count // size, (*self._keep(at), inner)))
        results = self._stored("results", call.results)
        if call.carry:
            self.steps.append(copy((call.carry,), results(0, (1,)), replace(self._local(self.inputs), member=(1,))))

    def _section(self, at: _Place, row: Index | None, *, again: bool = False, apart: bool = False) -> Made:
        """The steps of a section, whose first row is `row`; `again` if all but its carry has been stored before,
        `apart` if its rounds are counted elsewhere."""
        body: Made = []
        k = self._rows(body, at, row)
        self._given(body, k, at)
        steps = self.program.before if self.space == "u" else self.program.block
        moved = self._moved(steps, (*self.here, *(0,) * at.deep))
        body += [x for x in moved if isinstance(x, (Instruction, Loop))]
        if not again:
            self._put_out(body, at)
        inputs = [self._local(self.inputs + k, inner=at.deep + 1) for k in range(self.call.carry)]
        hand_on = [*copies(inputs, self._made(0, self.call.carry, at.deep + 1))]
        body.append(Loop(1, tuple(hand_on if apart else [*hand_on, self._next(at.deep + 1)])))
        return body

    # --- groups of sections -------------------------------------------------------------------------------------------

    def _run_back(self) -> None:
        """Go back through sections in groups."""
        call = self.call
        (row,) = call.rows
        forward = self.others[row.call]
        size = prod(call.groups)
        begin, shifts = forward.kept(call.count // size - 1)
        at = _Place(call.count - 1, (-size,))
        first = Index(self.space, begin, (1,), shifts=(*self.here, *shifts))
        levels = [(self.stores.new(self.space, many * row.width), many) for many in call.groups]
        self.steps.append(Loop(call.count // size, tuple(self._group(forward, levels, at, first))))

    def kept(self, group: int) -> tuple[int, tuple[int, ...]]:
        """Where the first section of a group has its carry, and the shift to the group before."""
        width = self.call.carry
        kept = self._stored(0, self._rows_kept(width))(width * group, (1,))
        return kept.base, (-width,)

    def _group(self, forward: Instance, levels: list[tuple[int, int]], at: _Place, row: Index) -> Made:
        """Go back through a group, the last section of which is `at`; the carry before the first one is `row`. `levels`
        are where it keeps the carries of its parts, and how many these are."""
        if not levels:
            return self._section(at, row)
        *inner, (kept, many) = levels
        each, width = prod([x for _, x in inner]), forward.call.carry
        begin = at.within(1 - each * many)
        deep = at.deep
        carry = forward._local(forward.inputs, stride=1)

        def local(x: Index, *more: int) -> Index:
            return replace(x, shifts=(*self.here, *(0,) * deep, *more))

        enter = [copy((width,), local(carry, 0), replace(row, shifts=(*row.shifts, 0)))]
        base = Segment(1, 1.0, local(self._local(self.base), 0))
        back = Segment(1, 1.0, float(-self.call.rounds * (each * many - 1)))
        enter.append(Instruction("dot", 0, (1,), local(forward._local(forward.base), 0), segments=(base, back)))
        buffer = Index(self.space, kept, (1,))
        keep = copy((width,), local(buffer, width), local(carry, 0))
        advance = forward._section(
            _Place(begin.begin, (*(0,) * len(self.here), *begin.steps, each, 1)), None, again=True
        )
        body: Made = [Loop(1, tuple(enter)), Loop(many - 1, (keep, Loop(each, tuple(advance))))]
        last = width * (many - 1)
        body.append(Loop(1, (copy((width,), local(replace(buffer, base=kept + last), 0), local(carry, 0)),)))
        part = local(replace(buffer, base=kept + last), -width)
        body.append(Loop(many, tuple(self._group(forward, inner, at.within(0, -each), part))))
        return body

    def _stored(self, what: str | int, size: int) -> Callable[..., Index]:
        """A function of an offset, member strides and shifts in the call's loops: slots of a part of this instance."""
        _, store = self.stores.of(self.instance)
        base, shifts = store.at(self.instance, what, size)

        def at(offset: int, member: tuple[int, ...], inner: tuple[int, ...] = ()) -> Index:
            return Index(self.space, base + offset, member, shifts=(*shifts, *inner))

        return at

    def _rows_kept(self, width: int) -> int:
        """How many numbers the rows of all sections have; of sections in groups, of all groups."""
        return width * (self.call.count // prod(self.call.groups))

    def _guard(self, at: _Place) -> Index | None:
        """The number that is 0 if a section changes nothing; those that are read later are 0 until it ran."""
        call = self.call
        if call.guard is None:
            return None
        row, place = call.guard
        if row >= 0:
            return self._row(row, place, (0,), at)
        if (call.number, 0) in self.stores.read:
            kept = self._stored(0, call.carry * call.count)(place, (call.carry,))
            self.steps.append(copy((call.count,), kept, 0.0))
        return self._local(self.inputs + place, inner=at.deep)

    def _keep(self, at: _Place) -> Made:
        """Store the carry before the section, if something reads it."""
        call = self.call
        if (call.number, 0) not in self.stores.read or not call.carry:
            return []
        size = prod(call.groups)
        out = self._stored(0, self._rows_kept(call.carry))
        begin, steps = call.carry * at.begin // size, tuple([call.carry * step // size for step in at.steps])
        return [copy((call.carry,), out(begin, (1,), steps), self._local(self.inputs, inner=at.deep, stride=1))]

    def _row(self, k: int, place: int, member: tuple[int, ...], at: _Place) -> Index:
        """A row of the section, as the call that filled it stored it."""
        call = self.call
        row, reads = call.rows[k], sum(read.operands for read in call.reads)
        filler = self.args[call.carry + call.outside + reads + k]
        assert isinstance(filler, Index)
        _, store = self.stores.of(filler)
        base, shifts = store.at(filler, row.number, row.width * call.count)
        begin, steps = at.slots(row.width)
        return Index(filler.space, base + begin + place, member, shifts=(*shifts, *steps))

    def _rows(self, body: Made, at: _Place, first: Index | None) -> int:
        """The inputs of a section that are rows, the first of which is given; returns the number of the next input."""
        call = self.call
        number = call.carry + len(self.moving)
        for k, row in enumerate(call.rows):
            if row.width:
                out = self._local(self.inputs + number, inner=at.deep, stride=1)
                body.append(
                    copy((row.width,), out, first if not k and first is not None else self._row(k, 0, (1,), at))
                )
            number += row.width
        return number

    def _given(self, body: Made, number: int, at: _Place) -> None:
        """The inputs of a section that are the numbers of its rounds and the elements that it reads, from `number`
        on."""
        call, rounds, deep = self.call, self.call.rounds, at.deep
        if call.counted:
            body.append(copy((1,), self._local(self.inputs + number, inner=deep), self._local(self.base, inner=deep)))
            last = self._local(self.inputs + number, inner=deep)
            last = replace(last, shifts=(*last.shifts, 1))
            more = Instruction(
                "dot", 0, (1,), replace(last, base=last.base + 1), segments=(Segment(1, 1.0, last), _ONE)
            )
            if rounds > 1:
                body.append(Loop(rounds - 1, (more,)))
            number += rounds
        for space, begin, step in self._read_from:
            first, steps = at.slots(step * rounds)
            source = Index(space, begin + first, (step,), shifts=(*self.here, *steps))
            body.append(copy((rounds,), self._local(self.inputs + number, inner=deep, stride=1), source))
            number += rounds

    def _sources(self) -> list[tuple[str, int, int]]:
        """For each read the space and the first slot of what it reads, and the step."""
        found, operand = [], self.call.carry + self.call.outside
        for read in self.call.reads:
            found.append(self._source(read, operand))
            operand += read.operands
        return found

    def _source(self, read: Read, operand: int) -> tuple[str, int, int]:
        """The space and the first slot of what a read reads, and the step."""
        program = self.stores.program
        if read.numbers is not None:
            return "u", program.first_uniform_input + read.numbers, 1
        if read.given is not None:
            if read.same:
                return "u", program.first_uniform_input + read.given, read.step
            return program.input_space, program.first_input + read.given, read.step
        elements = self.args[operand : operand + read.operands]
        moves = [isinstance(x, Index) and (x.space == "v" or any(x.shifts)) for x in elements]
        space = "v" if self.space == "v" and any(moves) else "u"
        begin = self.stores.new(space, read.operands)
        if space == "u" and self.space == "v":
            outer = [replace(x, shifts=()) if isinstance(x, Index) else x for x in elements]
            self.before += copies([Index("u", begin + k, (0,)) for k in range(read.operands)], outer)
        else:
            outs = [self._local(begin + k, space, 1) for k in range(read.operands)]
            self.steps.append(Loop(1, tuple(copies(outs, _inner(elements)))))
        return space, begin, 1

    def _put_out(self, body: Made, at: _Place) -> None:
        """Store what the rounds put out, and the rows."""
        call, number = self.call, self.call.carry
        begin, steps = at.slots(call.rounds)
        for k in range(call.outs):
            out = self._stored("results", call.results)
            first = call.carry + k * call.rounds * call.count + begin
            outs = [out(first + j, (0,), steps) for j in range(call.rounds)]
            body += copies(outs, self._made(number, call.rounds, at.deep))
            number += call.rounds
        for k, width in enumerate(call.fills, 1):
            if (call.number, k) in self.stores.read:
                out = self._stored(k, width * call.count)
                begin, steps = at.slots(width)
                outs = [out(begin + j, (0,), steps) for j in range(width)]
                body += copies(outs, self._made(number, width, at.deep))
            number += width

    def _next(self, deep: int) -> Instruction:
        """Add to the number of the first round."""
        here = self._local(self.base, inner=deep)
        move = float(-self.call.rounds if self.call.backwards else self.call.rounds)
        return Instruction("dot", 0, (1,), here, segments=(Segment(1, 1.0, here), Segment(1, 1.0, move)))


def _inner(operands: Sequence[Operand]) -> list[Operand]:
    """Operands within one more loop."""
    return [replace(x, shifts=(*x.shifts, 0)) if isinstance(x, Index) else x for x in operands]
