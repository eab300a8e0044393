"""An instance of a call as a loop over its sections, on slots that every round of the loop uses again:

    inputs = operands
    loop over the sections:
        row of this section = the carry among the inputs       if a derivative reads it
        inputs = rows, numbers of the rounds, elements read
        the section's steps
        what the section puts out, and its other rows = the section's results
        the carry among the inputs = the section's results
    results = the carry among the inputs

The loop of a derivative goes through the sections the other way. What other instructions read is stored by instance
(`stores.py`); everything else is used again by every instance.

Slots that are used again are overwritten only in a loop of their own (of one round), because targets may run
instructions in another order within a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from macrograd.compiler.program.calls import Call, Read
from macrograd.compiler.program.copies import Moved, copies, copy
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand, Segment, Step
from macrograd.compiler.program.stores import Stores

Made = list[Instruction | Loop]
_ONE = Segment(1, 1.0, 1.0)


class Instance:
    """The steps of one instance of a call, in `depth` loops of the program.

    varies  which of the operands in the carry and from outside vary over the samples; None if the call does not
    steps   in place of the call; `before` runs before the blocks
    """

    def __init__(
        self,
        stores: Stores,
        call: Call,
        instance: Index,
        args: Sequence[Operand],
        varies: list[bool] | None,
        depth: int,
    ) -> None:
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
        body: Made = []
        guard = self._guard(body)
        self._keep(body)
        at = self._rows(body, len(entered))
        self._given(body, at)
        steps = self.program.before if self.space == "u" else self.program.block
        body += [x for x in self._moved(steps, (*self.here, 0)) if isinstance(x, (Instruction, Loop))]
        self._put_out(body)
        body.append(self._hand_on())
        self.steps.append(Loop(call.count, tuple(body), guard))
        results = self._stored("results", call.results)
        if call.carry:
            self.steps.append(copy((call.carry,), results(0, (1,)), replace(self._local(self.inputs), member=(1,))))

    def _stored(self, what: str | int, size: int) -> Callable[..., Index]:
        """A function of an offset, member strides and shifts in the call's loops: slots of a part of this instance."""
        _, store = self.stores.of(self.instance)
        base, shifts = store.at(self.instance, what, size)

        def at(offset: int, member: tuple[int, ...], inner: tuple[int, ...] = ()) -> Index:
            return Index(self.space, base + offset, member, shifts=(*shifts, *inner))

        return at

    def _section(self, width: int) -> tuple[int, int]:
        """Where the first section to run has its row, and the step to the next."""
        return (width * (self.call.count - 1), -width) if self.call.backwards else (0, width)

    def _guard(self, body: Made) -> Index | None:
        """The number that is 0 if a section changes nothing; those that are read later are 0 until it ran."""
        call = self.call
        if call.guard is None:
            return None
        row, place = call.guard
        if row >= 0:
            return self._row(row, place, (0,))
        if (call.number, 0) in self.stores.read:
            kept = self._stored(0, call.carry * call.count)(place, (call.carry,))
            self.steps.append(copy((call.count,), kept, 0.0))
        return self._local(self.inputs + place, inner=1)

    def _keep(self, body: Made) -> None:
        """Store the carry before the section, if something reads it."""
        call = self.call
        if (call.number, 0) not in self.stores.read or not call.carry:
            return
        begin, step = self._section(call.carry)
        out = self._stored(0, call.carry * call.count)(begin, (1,), (step,))
        body.append(copy((call.carry,), out, self._local(self.inputs, inner=1, stride=1)))

    def _row(self, k: int, place: int, member: tuple[int, ...]) -> Index:
        """A row of the section, as the call that filled it stored it."""
        call = self.call
        row, reads = call.rows[k], sum(read.operands for read in call.reads)
        filler = self.args[call.carry + call.outside + reads + k]
        assert isinstance(filler, Index)
        _, store = self.stores.of(filler)
        base, shifts = store.at(filler, row.number, row.width * call.count)
        begin, step = self._section(row.width)
        return Index(filler.space, base + begin + place, member, shifts=(*shifts, step))

    def _rows(self, body: Made, at: int) -> int:
        """The inputs of a section that are rows, from number `at` on; returns the number of the next input."""
        for k, row in enumerate(self.call.rows):
            if row.width:
                out = self._local(self.inputs + at, inner=1, stride=1)
                body.append(copy((row.width,), out, self._row(k, 0, (1,))))
            at += row.width
        return at

    def _given(self, body: Made, at: int) -> None:
        """The inputs of a section that are the numbers of its rounds and the elements that it reads, from number `at`
        on."""
        call, rounds = self.call, self.call.rounds
        if call.counted:
            body.append(copy((1,), self._local(self.inputs + at, inner=1), self._local(self.base, inner=1)))
            last = Index(self.space, self.inputs + at, (0,), shifts=(*self.here, 0, 1))
            out = replace(last, base=last.base + 1)
            more = Instruction("dot", 0, (1,), out, segments=(Segment(1, 1.0, last), _ONE))
            if rounds > 1:
                body.append(Loop(rounds - 1, (more,)))
            at += rounds
        operand = call.carry + call.outside
        for read in call.reads:
            space, begin, step, around = self._source(read, operand)
            operand += read.operands
            move = step * rounds
            if call.backwards:
                begin, move = begin + move * (call.count - 1), -move
            source = Index(space, begin, (step,), shifts=(*around, move))
            body.append(copy((rounds,), self._local(self.inputs + at, inner=1, stride=1), source))
            at += rounds

    def _source(self, read: Read, operand: int) -> tuple[str, int, int, tuple[int, ...]]:
        """The first slot of what a read reads, the step, and the shifts in the loops around the call."""
        program = self.stores.program
        if read.numbers is not None:
            return "u", program.first_uniform_input + read.numbers, 1, self.here
        if read.given is not None:
            if read.same:
                return "u", program.first_uniform_input + read.given, read.step, self.here
            return program.input_space, program.first_input + read.given, read.step, self.here
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
        return space, begin, 1, self.here

    def _put_out(self, body: Made) -> None:
        """Store what the rounds put out, and the rows."""
        call, at = self.call, self.call.carry
        begin, step = self._section(call.rounds)
        for k in range(call.outs):
            out = self._stored("results", call.results)
            first = call.carry + k * call.rounds * call.count + begin
            outs = [out(first + j, (0,), (step,)) for j in range(call.rounds)]
            body += copies(outs, self._made(at, call.rounds, 1))
            at += call.rounds
        for k, width in enumerate(call.fills, 1):
            if (call.number, k) in self.stores.read:
                out = self._stored(k, width * call.count)
                begin, step = self._section(width)
                outs = [out(begin + j, (0,), (step,)) for j in range(width)]
                body += copies(outs, self._made(at, width, 1))
            at += width

    def _hand_on(self) -> Loop:
        """Overwrite the carry, and add to the number of the first round."""
        call = self.call
        inputs = [self._local(self.inputs + k, inner=2) for k in range(call.carry)]
        steps = copies(inputs, self._made(0, call.carry, 2))
        here = self._local(self.base, inner=2)
        move = float(-call.rounds if call.backwards else call.rounds)
        steps.append(Instruction("dot", 0, (1,), here, segments=(Segment(1, 1.0, here), Segment(1, 1.0, move))))
        return Loop(1, tuple(steps))


def _inner(operands: Sequence[Operand]) -> list[Operand]:
    """Operands within one more loop."""
    return [replace(x, shifts=(*x.shifts, 0)) if isinstance(x, Index) else x for x in operands]
