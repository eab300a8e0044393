"""Link: loops over sections in place of a program's calls (`macrograd.compiler.sections`).

A call becomes a loop whose body is the program of one section, on slots that every round of the loop uses again:

    inputs = operands
    loop over the sections:
        row of this section = the carry among the inputs       if a derivative reads it
        inputs = rows, numbers of the rounds, elements read
        the section's steps
        what the section puts out, and its other rows = the section's results
        the carry among the inputs = the section's results
    results = the carry among the inputs

The loop of a derivative goes through the sections the other way. A call may stand in a loop of the program, or have
several members: what it hands to others (results, what its rounds put out, rows) is stored by the slot of the call,
which is its instance's number; everything else is used again by every instance.

Slots that are used again are overwritten only in a loop of their own (of one round), because targets may run
instructions in another order within a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from macrograd import ops
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand, ProgramError, Segment, Step
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.walk import Walker, counted
from macrograd.compiler.tape.tape import OUT, Ints

CALLS = -1000  # the code of the instruction that makes call k is CALLS - k


@dataclass(frozen=True)
class Read:
    """Elements read by the sections: numbers that the program holds from `numbers`, scalars of arguments from place
    `given`, of those that are the same for all samples or not (`same`), or `operands` of the call."""

    step: int
    operands: int
    numbers: int | None = None
    given: int | None = None
    same: bool = False


@dataclass(frozen=True)
class Row:
    """Numbers that a section has a row of: their width, the call that fills the rows, and their number there."""

    width: int
    call: int
    number: int


@dataclass(frozen=True)
class Call:
    """A call, as all its sections: `count` of `rounds` rounds, the first of which is number `head` of its loop.

    program    of one section, with the inputs: carry, what varies from outside, rows, the numbers of the rounds, the
               elements read. What does not vary from outside are its parameters. Its results: carry, what its rounds
               put out, and the rows that it fills besides the carry before each section
    carry      how many numbers the sections hand on; `outside` how many come from outside
    outs       kinds of numbers that its rounds put out
    fills      the widths of the rows that it fills
    backwards  whether the sections run from the last to the first
    counted    whether its rounds have numbers; a branch is one round without
    guard      where the number is that is 0 if a section changes nothing: a row, or -1 for the carry, and its place
               there
    """

    program: Program
    number: int
    carry: int
    outside: int
    rounds: int
    count: int
    head: int
    reads: tuple[Read, ...]
    rows: tuple[Row, ...]
    outs: int
    fills: tuple[int, ...]
    backwards: bool
    counted: bool
    guard: tuple[int, int] | None

    @property
    def results(self) -> int:
        return self.carry + self.outs * self.rounds * self.count


Find = Callable[[int, list[bool] | None], Call]
Made = list[Instruction | Loop]
_ONE = Segment(1, 1.0, 1.0)


def linked(program: Program, call: Find, rows: Callable[[int], Iterable[Row]], inner: Callable[[int], int]) -> Program:
    """The program with its calls carried out. `call` gives what is called by a number, and for each operand in the
    carry and from outside whether it varies (None if none does); `rows` the rows that it reads, and `inner` the number
    of these operands."""
    linker = _Linker(program, call, rows, inner)
    if not linker.stores:
        return program
    before = linker.phase(program.before, ())
    block = linker.phase(program.block, ())
    after = linker.phase(program.after, ())
    ranges = (("u", program.uniform, linker.size["u"]), ("v", program.varying, linker.size["v"]))
    return replace(
        program,
        before=(*before, *linker.more_before),
        block=tuple(block),
        after=tuple(after),
        uniform=linker.size["u"],
        varying=linker.size["v"],
        reused=(*program.reused, *ranges),
    )


class _Store:
    """Where the instances of a call put what others read: by the slot of the instance, from `low` in steps of
    `step`."""

    def __init__(self, linker: _Linker, space: str, slots: Ints) -> None:
        self.linker, self.space = linker, space
        self.low = int(slots.min())
        self.step = int(np.gcd.reduce(slots - self.low)) or 1
        self.instances = (int(slots.max()) - self.low) // self.step + 1
        self.parts: dict[str | int, int] = {}

    def at(self, instance: Index, what: str | int, size: int) -> tuple[int, tuple[int, ...]]:
        """The first slot of a part of an instance, which has `size` numbers, and its shifts; the instance is given by
        the slot of one member."""
        if what not in self.parts:
            self.parts[what] = self.linker.new(self.space, self.instances * size)
        shifts = tuple([shift // self.step * size for shift in instance.shifts])
        return self.parts[what] + (instance.base - self.low) // self.step * size, shifts


class _Linker:
    def __init__(
        self, program: Program, call: Find, rows: Callable[[int], Iterable[Row]], inner: Callable[[int], int]
    ) -> None:
        self.program, self.call, self.inner = program, call, inner
        self.size = {"u": program.uniform, "v": program.varying}
        self.more_before: list[Step] = []
        self.read: set[tuple[int, int]] = set()  # call and row
        self._calls: dict[int, Call] = {}
        self._owner = {space: np.full(size, -1) for space, size in self.size.items()}
        slots: dict[tuple[int, str], list[Ints]] = {}
        for step in program.steps():
            for instruction, counts in counted(step):
                if instruction.kind == "map" and instruction.code <= CALLS:
                    number, out = CALLS - instruction.code, instruction.out
                    mine = _all_slots(out, instruction.dims, counts)
                    slots.setdefault((number, out.space), []).append(mine)
                    self._owner[out.space][mine] = number
        for number, _ in slots:
            self.read.update((row.call, row.number) for row in rows(number))
        self.stores = {key: _Store(self, key[1], np.concatenate(some)) for key, some in slots.items()}

    def new(self, space: str, count: int) -> int:
        begin = self.size[space]
        self.size[space] += count
        return begin

    def store(self, instance: Index) -> tuple[int, _Store]:
        """The number of the call at a slot, and its store."""
        number = int(self._owner[instance.space][instance.base])
        return number, self.stores[number, instance.space]

    def phase(self, steps: Sequence[Step], around: tuple[int, ...]) -> list[Step]:
        found: list[Step] = []
        for step in steps:
            if isinstance(step, Loop):
                body = [x for x in self.phase(step.body, (*around, step.count)) if isinstance(x, (Instruction, Loop))]
                found.append(Loop(step.count, tuple(body), step.guard))
            elif isinstance(step, Instruction) and step.kind == "map" and step.code <= CALLS:
                found += self._call(step, len(around))
            elif isinstance(step, Instruction) and step.kind == "map" and step.code == OUT:
                found += self._out(step)
            else:
                found.append(step)
        return found

    def _out(self, step: Instruction) -> Iterable[Step]:
        """Copies of a call's results."""
        which = step.args[1]
        if isinstance(which, Index):
            slots = which.slots(step.dims).ravel() - self.program.parameters
            numbers = self.program.constants[np.broadcast_to(slots, (step.members,))].astype(np.int64).tolist()
        else:
            numbers = [int(which)] * step.members
        sources: list[Operand] = []
        for instance, k in zip(_singles(step.args[0], step.dims), numbers, strict=True):
            assert isinstance(instance, Index)
            number, store = self.store(instance)
            base, shifts = store.at(instance, "results", self._calls[number].results)
            sources.append(Index(instance.space, base + k, (0,), shifts=shifts))
        outs = [x for x in _singles(step.out, step.dims) if isinstance(x, Index)]
        return copies(outs, sources)

    def _call(self, step: Instruction, depth: int) -> Iterable[Step]:
        """The steps of a call, for all its members."""
        operands = (step.out, *step.args)
        if step.members == 1:
            return self._instance(step.code, [_singles(x, step.dims)[0] for x in operands], depth)
        if all(isinstance(x, float) or x.affine for x in operands):  # in a loop over the members
            inner: list[Operand] = []
            for x in operands:
                inner.append(x if isinstance(x, float) else replace(x, member=(0,), shifts=(*x.shifts, *x.member)))
            steps = self._instance(step.code, inner, depth + len(step.dims))
            for count in reversed(step.dims):
                steps = [Loop(count, tuple([x for x in steps if isinstance(x, (Instruction, Loop))]))]
            return steps
        members = zip(*[_singles(x, step.dims) for x in operands], strict=True)
        return [x for member in members for x in self._instance(step.code, list(member), depth)]

    def _instance(self, code: int, operands: list[Operand], depth: int) -> list[Step]:
        instance, *args = operands
        assert isinstance(instance, Index)
        number = CALLS - code
        varies = None
        if instance.space == "v":
            varies = [isinstance(x, Index) and (x.space == "v" or any(x.shifts)) for x in args[: self.inner(number)]]
        call = self.call(number, varies)
        self._calls[number] = call
        made = _Linked(self, call, instance, args, varies, depth)
        self.more_before += made.before
        return made.steps


def _all_slots(out: Index, dims: tuple[int, ...], counts: tuple[int, ...]) -> Ints:
    """The slots of all members in all rounds of the loops around."""
    found = out.slots(dims, 1, (0,) * len(counts)).ravel()
    for shift, count in zip(out.shifts, counts, strict=True):
        found = (found[:, None] + shift * np.arange(count)).ravel()
    return found


def _singles(x: Operand, dims: tuple[int, ...]) -> list[Operand]:
    """The operand of each member."""
    if not isinstance(x, Index):
        return [x] * prod(dims)
    slots = np.broadcast_to(x.slots(dims, 1, (0,) * len(x.shifts)), (prod(dims), 1)).ravel()
    return [Index(x.space, slot, (0,), shifts=x.shifts) for slot in slots.tolist()]


class _Linked:
    """The steps of an instance of a call, `depth` loops deep; `before` runs before the blocks."""

    def __init__(
        self,
        linker: _Linker,
        call: Call,
        instance: Index,
        args: Sequence[Operand],
        varies: list[bool] | None,
        depth: int,
    ) -> None:
        self.linker, self.call, self.instance, self.args = linker, call, instance, args
        self.program, self.here = call.program, (0,) * depth
        self.space = "u" if varies is None else "v"
        self.u = linker.new("u", self.program.uniform)
        self.v = linker.new("v", self.program.varying)
        self.inputs = self.u + self.program.first_input if varies is None else self.v
        self.base = linker.new(self.space, 1)  # the number of the section's first round
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
        mover = _Moved({"u": self.u, "v": self.v}, around)
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
        self.steps.append(_copy((call.carry,), results(0, (1,)), replace(self._local(self.inputs), member=(1,))))

    def _stored(self, what: str | int, size: int) -> Callable[..., Index]:
        """A function of an offset, member strides and shifts in the call's loops: slots of a part of this instance."""
        _, store = self.linker.store(self.instance)
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
        if (call.number, 0) in self.linker.read:
            kept = self._stored(0, call.carry * call.count)(place, (call.carry,))
            self.steps.append(_copy((call.count,), kept, 0.0))
        return self._local(self.inputs + place, inner=1)

    def _keep(self, body: Made) -> None:
        """Store the carry before the section, if something reads it."""
        call = self.call
        if (call.number, 0) not in self.linker.read:
            return
        begin, step = self._section(call.carry)
        out = self._stored(0, call.carry * call.count)(begin, (1,), (step,))
        body.append(_copy((call.carry,), out, self._local(self.inputs, inner=1, stride=1)))

    def _row(self, k: int, place: int, member: tuple[int, ...]) -> Index:
        """A row of the section, as the call that filled it stored it."""
        call = self.call
        row, reads = call.rows[k], sum(read.operands for read in call.reads)
        filler = self.args[call.carry + call.outside + reads + k]
        assert isinstance(filler, Index)
        _, store = self.linker.store(filler)
        base, shifts = store.at(filler, row.number, row.width * call.count)
        begin, step = self._section(row.width)
        return Index(filler.space, base + begin + place, member, shifts=(*shifts, step))

    def _rows(self, body: Made, at: int) -> int:
        """The inputs of a section that are rows, from number `at` on; returns the number of the next input."""
        for k, row in enumerate(self.call.rows):
            if row.width:
                out = self._local(self.inputs + at, inner=1, stride=1)
                body.append(_copy((row.width,), out, self._row(k, 0, (1,))))
            at += row.width
        return at

    def _given(self, body: Made, at: int) -> None:
        """The inputs of a section that are the numbers of its rounds and the elements that it reads, from number `at`
        on."""
        call, rounds = self.call, self.call.rounds
        if call.counted:
            body.append(_copy((1,), self._local(self.inputs + at, inner=1), self._local(self.base, inner=1)))
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
            body.append(_copy((rounds,), self._local(self.inputs + at, inner=1, stride=1), source))
            at += rounds

    def _source(self, read: Read, operand: int) -> tuple[str, int, int, tuple[int, ...]]:
        """The first slot of what a read reads, the step, and the shifts in the loops around the call."""
        program = self.linker.program
        if read.numbers is not None:
            return "u", program.first_uniform_input + read.numbers, 1, self.here
        if read.given is not None:
            if read.same:
                return "u", program.first_uniform_input + read.given, read.step, self.here
            return program.input_space, program.first_input + read.given, read.step, self.here
        elements = self.args[operand : operand + read.operands]
        moves = [isinstance(x, Index) and (x.space == "v" or any(x.shifts)) for x in elements]
        space = "v" if self.space == "v" and any(moves) else "u"
        begin = self.linker.new(space, read.operands)
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
            if (call.number, k) in self.linker.read:
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


class _Moved(Walker[Step]):
    """Steps with other slots, in the loops `around` them."""

    def __init__(self, by: dict[str, int], around: tuple[int, ...]) -> None:
        self.by, self.outer = by, around

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> Step:
        segments = tuple([Segment(s.count, self._index(s.left), self._index(s.right)) for s in instruction.segments])
        args = tuple([self._index(x) for x in instruction.args])
        out = self._index(instruction.out)
        assert isinstance(out, Index)
        return replace(instruction, out=out, args=args, segments=segments)

    def _index(self, x: Operand) -> Operand:
        if not isinstance(x, Index):
            return x
        by = self.by[x.space]
        shifts = (*self.outer, *x.shifts)
        if x.full is not None:  # these are whole slots, and the base is 0
            return replace(x, full=x.full + by, shifts=shifts)
        return replace(x, base=x.base + by, shifts=shifts)

    def loop(self, loop: Loop, around: tuple[int, ...]) -> Step:
        body = [self.step(step) for step in loop.body]
        guard = None if loop.guard is None else self._index(loop.guard)
        assert guard is None or isinstance(guard, Index)
        return Loop(loop.count, tuple([step for step in body if isinstance(step, (Instruction, Loop))]), guard)

    def stream(self, stream: object, around: tuple[int, ...]) -> Step:
        raise ProgramError(f"a section has a stream: {stream}")


def _copy(dims: tuple[int, ...], out: Index, source: Operand) -> Instruction:
    return Instruction("map", ops.detach.code, dims, out, args=(source,))


def copies(outs: Sequence[Index], sources: Sequence[Operand]) -> list[Instruction]:
    """Copies of single slots, as few as there are runs of constant steps."""
    found: list[Instruction] = []
    rows: list[tuple[Index, Index]] = []

    def flush() -> None:
        if not rows:
            return
        numbers = np.array([(out.base, source.base) for out, source in rows])
        begin = 0
        while begin < len(rows):
            end = begin + _run(numbers[begin:])
            out, source = rows[begin]
            strides = numbers[begin + 1] - numbers[begin] if end - begin > 1 else np.zeros(2, dtype=np.int64)
            moved = replace(source, member=(int(strides[1]),))
            found.append(_copy((end - begin,), replace(out, member=(int(strides[0]),)), moved))
            begin = end
        rows.clear()

    for out, source in zip(outs, sources, strict=True):
        if not isinstance(source, Index):
            flush()
            found.append(_copy((1,), out, source))
            continue
        if rows and (_kind(rows[-1][0]), _kind(rows[-1][1])) != (_kind(out), _kind(source)):
            flush()
        rows.append((out, source))
    flush()
    return found


def _kind(x: Index) -> tuple[str, tuple[int, ...]]:
    return x.space, x.shifts


def _run(numbers: Ints) -> int:
    """The length of the first run of pairs with a constant step."""
    steps = np.diff(numbers, axis=0)
    bends = np.flatnonzero((steps != steps[:1]).any(axis=1))
    return int(bends[0]) + 1 if len(bends) else len(numbers)
