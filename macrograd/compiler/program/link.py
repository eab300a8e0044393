"""Link: loops over the sections of a loop in place of a program's calls (`macrograd.compiler.sections`).

A call becomes a loop whose body is the program of one section, on slots that every round of the loop uses again:

    inputs = operands
    loop over the sections:
        states[section] = the state among the inputs          if a derivative needs it
        inputs = numbers of the rounds, elements read
        the section's steps
        the state among the inputs = the section's results

The loop of a derivative goes through the sections backwards: it reads the state from `states`, computes the section's
rounds again and then its derivative, and hands on the adjoints of the state and the sums for operands from outside.

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
from macrograd.compiler.program.walk import Walker
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
class Call:
    """A call, as all its sections: `count` of `rounds` rounds, the first of which is number `head` of its loop.

    program   of one section, with the inputs: state, what varies from outside; for a derivative the adjoints of the
              state and the sums; the numbers of the rounds, the elements read. What does not vary from outside are its
              parameters
    section   the number of the section, the same for a call and its derivative
    counted   whether its rounds have numbers; a branch is one round without
    stops     the number of the state that is 0 once its rounds change nothing more, if there is one
    wanted    for a derivative, the operands that it is taken by
    """

    program: Program
    section: int
    state: int
    outside: int
    rounds: int
    count: int
    head: int
    reads: tuple[Read, ...]
    counted: bool = True
    stops: int | None = None
    wanted: tuple[int, ...] | None = None


Place = tuple[str, int]
Find = Callable[[int, list[bool] | None], Call]


def linked(program: Program, call: Find, shape: Callable[[int], tuple[int, int]]) -> Program:
    """The program with its calls carried out. `call` gives what is called by a number, and for each operand whether it
    varies (None if none does); `shape` the operands that are its state, and those from outside."""
    linker = _Linker(program, call, shape)
    before = linker.phase(program.before)
    block = linker.phase(program.block)
    after = linker.phase(program.after)
    return replace(
        program,
        before=(*before, *linker.more_before),
        block=tuple(block),
        after=tuple(after),
        uniform=linker.size["u"],
        varying=linker.size["v"],
        reused=(("u", program.uniform, linker.size["u"]), ("v", program.varying, linker.size["v"])),
    )


class _Linker:
    def __init__(self, program: Program, call: Find, shape: Callable[[int], tuple[int, int]]) -> None:
        self.program, self.call, self.shape = program, call, shape
        self.size = {"u": program.uniform, "v": program.varying}
        self.more_before: list[Step] = []
        self._results: dict[Place, list[Place]] = {}  # by the place of a call
        self.states: dict[int, tuple[str, int, int]] = {}  # their space and slot, and the slot of what ran

    def new(self, space: str, count: int) -> int:
        begin = self.size[space]
        self.size[space] += count
        return begin

    def phase(self, steps: Sequence[Step]) -> list[Step]:
        found: list[Step] = []
        for step in steps:
            if isinstance(step, Instruction) and step.kind == "map" and step.code <= CALLS:
                found += self._call(step)
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
            numbers = self.program.constants[slots].astype(np.int64).tolist()
        else:
            numbers = [int(which)] * step.members
        calls = [self._results[place] for place in _places(step.args[0], step.dims)]
        return copies(_places(step.out, step.dims), [call[k] for call, k in zip(calls, numbers, strict=True)])

    def _call(self, step: Instruction) -> list[Step]:
        number, args = CALLS - step.code, step.args
        varying = step.out.space == "v"
        inner = sum(self.shape(number))
        varies = [isinstance(x, Index) and x.space == "v" for x in args[:inner]] if varying else None
        call = self.call(number, varies)
        linked = _Linked(self, call, args, varies)
        (place,) = _places(step.out, step.dims)
        self._results[place] = linked.results
        self.more_before += linked.before
        return linked.steps


def _places(x: Operand, dims: tuple[int, ...]) -> list[Place]:
    assert isinstance(x, Index)
    slots = np.broadcast_to(x.slots(dims), (prod(dims), 1)).ravel()
    return [(x.space, slot) for slot in slots.tolist()]


class _Linked:
    """The steps of a call, and its results' places; `before` runs before the blocks."""

    def __init__(self, linker: _Linker, call: Call, args: Sequence[Operand], varies: list[bool] | None) -> None:
        self.linker, self.call, self.args, self.program = linker, call, args, call.program
        self.space = "u" if varies is None else "v"
        self.u = linker.new("u", self.program.uniform)
        self.v = linker.new("v", self.program.varying)
        self.inputs = self.u + self.program.first_input if varies is None else self.v
        self.base = linker.new(self.space, 1)  # the number of the section's first round
        outside = range(call.state, call.state + call.outside)
        self.moving = [p for p in outside if varies is not None and varies[p]]
        fixed = [p for p in outside if p not in self.moving]
        held = [("u", self.u + k) for k in range(len(fixed) + len(self.program.constants))]
        filled = copies(held, [*(args[p] for p in fixed), *map(float, self.program.constants)])
        self.before: list[Step] = []
        self.steps: list[Step] = []
        if varies is None:
            self.steps += filled
        else:
            self.before += [*filled, *self._moved(self.program.before, ())]
        self.results: list[Place] = []
        if call.wanted is None:
            self._forwards()
        else:
            self._backwards(call.wanted)

    def _places(self, first: int, count: int) -> list[Place]:
        """The places of inputs."""
        return [(self.space, self.inputs + first + k) for k in range(count)]

    def _moved(self, steps: Sequence[Step], around: tuple[int, ...]) -> list[Step]:
        mover = _Moved({"u": self.u, "v": self.v}, around)
        return [mover.step(step) for step in steps]

    def _section(self) -> list[Instruction | Loop]:
        """The steps of one section, in the loop over the sections."""
        steps = self._moved(self.program.before if self.space == "u" else self.program.block, (0,))
        return [step for step in steps if isinstance(step, (Instruction, Loop))]

    def _made(self, first: int, count: int) -> list[Place]:
        moved = {"u": self.u, "v": self.v}
        return [(space, moved[space] + slot) for space, slot in self.program.results[first : first + count]]

    def _hand_on(self, places: list[Place], results: list[Place], rounds: float) -> Loop:
        """Overwrite inputs, and add to the number of the first round."""
        steps = copies(places, results, shifts=(0, 0))
        here = Index(self.space, self.base, (0,), shifts=(0, 0))
        steps.append(Instruction("dot", 0, (1,), here, segments=(Segment(1, 1.0, here), Segment(1, 1.0, rounds))))
        return Loop(1, tuple(steps))

    def _given(self, at: int, backwards: bool) -> list[Instruction | Loop]:
        """The inputs of a section that are the numbers of its rounds and the elements that it reads, from number `at`
        on."""
        call, rounds = self.call, self.call.rounds
        if not call.counted:
            return []
        first = Index(self.space, self.inputs + at, (0,), shifts=(0,))
        steps: list[Instruction | Loop] = [_copy((1,), first, Index(self.space, self.base, (0,), shifts=(0,)))]
        last = Index(self.space, first.base, (0,), shifts=(0, 1))
        more = Instruction("dot", 0, (1,), replace(last, base=first.base + 1), segments=(Segment(1, 1.0, last), _ONE))
        steps.append(Loop(rounds - 1, (more,)))
        operand = call.state + call.outside
        for read in call.reads:
            at += rounds
            space, begin, step = self._source(read, operand)
            operand += read.operands
            move = step * rounds
            if backwards:
                begin, move = begin + move * (call.count - 1), -move
            source = Index(space, begin, (step,), shifts=(move,))
            steps.append(_copy((rounds,), Index(self.space, self.inputs + at, (1,), shifts=(0,)), source))
        return steps

    def _source(self, read: Read, operand: int) -> tuple[str, int, int]:
        """The first slot of what a read reads, and the step."""
        program = self.linker.program
        if read.numbers is not None:
            return "u", program.first_uniform_input + read.numbers, 1
        if read.given is not None:
            if read.same:
                return "u", program.first_uniform_input + read.given, read.step
            return program.input_space, program.first_input + read.given, read.step
        elements = self.args[operand : operand + read.operands]
        space = "v" if any(isinstance(x, Index) and x.space == "v" for x in elements) else "u"
        begin = self.linker.new(space, read.operands)
        filled = copies([(space, begin + k) for k in range(read.operands)], elements)
        if space == "u" and self.space == "v":
            self.before += filled
        else:
            self.steps += filled
        return space, begin, 1

    def _forwards(self) -> None:
        call, state = self.call, self.call.state
        inputs = self._places(0, state + len(self.moving))
        self.steps += copies(inputs, [*self.args[:state], *(self.args[p] for p in self.moving)])
        self.steps += copies([(self.space, self.base)], [float(call.head)])
        states = self.linker.new(self.space, state * call.count)
        ran = self.linker.new(self.space, 0 if call.stops is None else call.count)
        self.linker.states[call.section] = self.space, states, ran
        given = self._given(state + len(self.moving), False)
        body = [
            _copy((state,), Index(self.space, states, (1,), shifts=(state,)), self._state()),
            *given,
            *self._section(),
            self._hand_on(inputs[:state], self._made(0, state), float(call.rounds)),
        ]
        guard = None
        if call.stops is not None:
            self.steps.append(_copy((call.count,), Index(self.space, ran, (1,)), 0.0))
            body.insert(0, _copy((1,), Index(self.space, ran, (0,), shifts=(1,)), 1.0))
            guard = Index(self.space, self.inputs + call.stops, (0,), shifts=(0,))
        self.steps.append(Loop(call.count, tuple(body), guard))
        self.results = inputs[:state]

    def _state(self) -> Index:
        return Index(self.space, self.inputs, (1,), shifts=(0,))

    def _backwards(self, wanted: tuple[int, ...]) -> None:
        call, state = self.call, self.call.state
        inner = state + call.outside
        operands = inner + sum(read.operands for read in call.reads)
        given = self.args[operands + 1 :]  # after the call itself
        sums = [p for p in wanted if state <= p < inner]
        inputs = self._places(0, state + len(self.moving) + state + len(sums))
        handed = inputs[state + len(self.moving) :]
        self.steps += copies(
            inputs[state:],
            [*(self.args[p] for p in self.moving), *given[:state], *(given[p] for p in sums)],
        )
        self.steps += copies([(self.space, self.base)], [float(call.head + call.rounds * (call.count - 1))])
        space, states, ran = self.linker.states[call.section]
        last = Index(space, states + state * (call.count - 1), (1,), shifts=(-state,))
        body = [_copy((state,), self._state(), last), *self._given(len(inputs), True), *self._section()]
        found = dict(zip([*range(state), *sums], handed, strict=True))
        operand, at = inner, state + len(sums)
        for read in call.reads:
            if read.given is None and any(p in wanted for p in range(operand, operand + read.operands)):
                begin = self.linker.new(self.space, read.operands)
                first = begin + call.rounds * (call.count - 1)
                outs = [(self.space, first + k) for k in range(call.rounds)]
                body += copies(outs, self._made(at, call.rounds), (-call.rounds,), (0,))
                found |= {operand + k: (self.space, begin + k) for k in range(read.operands)}
                at += call.rounds
            operand += read.operands
        body.append(self._hand_on(handed, self._made(0, state + len(sums)), -float(call.rounds)))
        guard = None if call.stops is None else Index(space, ran + call.count - 1, (0,), shifts=(-1,))
        self.steps.append(Loop(call.count, tuple(body), guard))
        self.results = [found[p] for p in wanted]


_ONE = Segment(1, 1.0, 1.0)


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
        return Loop(loop.count, tuple([step for step in body if isinstance(step, (Instruction, Loop))]))

    def stream(self, stream: object, around: tuple[int, ...]) -> Step:
        raise ProgramError(f"a section has a stream: {stream}")


def _copy(dims: tuple[int, ...], out: Index, source: Operand) -> Instruction:
    return Instruction("map", ops.detach.code, dims, out, args=(source,))


def copies(
    outs: Sequence[Place],
    sources: Sequence[Place | Operand],
    moves: tuple[int, ...] = (),
    shifts: tuple[int, ...] = (),
) -> list[Instruction]:
    """Copies between places, or of operands, as few as there are runs of constant steps. `shifts` are those of the
    sources, and of the outs unless they have other `moves`."""
    moves = moves or shifts
    found: list[Instruction] = []
    rows: list[tuple[str, int, str, int]] = []

    def flush() -> None:
        if not rows:
            return
        numbers = np.array([(a, b) for _, a, _, b in rows])
        begin = 0
        while begin < len(rows):
            end = begin + _run(numbers[begin:])
            space, first, other, source = rows[begin]
            strides = numbers[begin + 1] - numbers[begin] if end - begin > 1 else np.zeros(2, dtype=np.int64)
            out = Index(space, first, (int(strides[0]),), shifts=moves)
            found.append(_copy((end - begin,), out, Index(other, source, (int(strides[1]),), shifts=shifts)))
            begin = end
        rows.clear()

    for (space, slot), source in zip(outs, sources, strict=True):
        if isinstance(source, Index):
            source = source.space, int(source.slots((1,) * len(source.member))[0, 0])
        if isinstance(source, tuple):
            if rows and (rows[-1][0], rows[-1][2]) != (space, source[0]):
                flush()
            rows.append((space, slot, *source))
            continue
        flush()
        found.append(_copy((1,), Index(space, slot, (0,), shifts=moves), source))
    flush()
    return found


def _run(numbers: Ints) -> int:
    """The length of the first run of pairs with a constant step."""
    steps = np.diff(numbers, axis=0)
    bends = np.flatnonzero((steps != steps[:1]).any(axis=1))
    return int(bends[0]) + 1 if len(bends) else len(numbers)
