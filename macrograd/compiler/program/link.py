"""Link: loops over sections in place of a program's calls (`calls.py`); `instance.py` shows such a loop.

A call may stand in a loop of the program, or have several members; members are one loop more: operands that follow no
pattern are copied into a row before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from macrograd.compiler.program.calls import CALLS, Find, Row
from macrograd.compiler.program.copies import copies, copy
from macrograd.compiler.program.instance import Instance
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand, Step
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stores import Stores
from macrograd.compiler.program.walk import loop_of
from macrograd.compiler.tape.tape import OUT

_FEW = 2  # members that are written one by one if their operands follow no pattern


def linked(program: Program, call: Find, rows: Callable[[int], Iterable[Row]], inner: Callable[[int], int]) -> Program:
    """The program with loops in place of its calls. `call` gives what a number calls, given for each operand in the
    carry and from outside whether it varies (None if the call does not); `rows` the rows that it reads, and `inner` the
    number of these operands."""
    stores = Stores(program, rows)
    if not stores:
        return program
    linker = _Linker(stores, call, inner)
    before, block, after = (linker.phase(steps, ()) for _, steps in program.phases())
    ranges = [(space, begin, stores.size[space]) for space, begin in (("u", program.uniform), ("v", program.varying))]
    return replace(
        program,
        before=(*before, *linker.more_before),
        block=tuple(block),
        after=tuple(after),
        uniform=stores.size["u"],
        varying=stores.size["v"],
        reused=(*program.reused, *ranges),
    )


class _Linker:
    """Puts the steps of calls in their places; `more_before` runs after all else that runs before the blocks."""

    def __init__(self, stores: Stores, call: Find, inner: Callable[[int], int]) -> None:
        self.stores, self.call, self.inner = stores, call, inner
        self.more_before: list[Step] = []
        self._instances: dict[int, Instance] = {}

    def phase(self, steps: Sequence[Step], around: tuple[int, ...]) -> list[Step]:
        found: list[Step] = []
        for step in steps:
            if isinstance(step, Loop):
                inner = self.phase(step.body, (*around, step.count))
                found.append(loop_of(step.count, inner, step.guard))
            elif isinstance(step, Instruction) and step.kind == "map" and step.code <= CALLS:
                found += self._call(step, len(around))
            elif isinstance(step, Instruction) and step.kind == "map" and step.code == OUT:
                found += self._out(step)
            else:
                found.append(step)
        return found

    def _out(self, step: Instruction) -> Iterable[Step]:
        """Copies of a call's results."""
        program, which = self.stores.program, step.args[1]
        if isinstance(which, Index):
            slots = which.slots(step.dims).ravel() - program.parameters
            numbers = program.constants[np.broadcast_to(slots, (step.members,))].astype(np.int64).tolist()
        else:
            numbers = [int(which)] * step.members
        sources: list[Operand] = []
        for instance, k in zip(_singles(step.args[0], step.dims), numbers, strict=True):
            assert isinstance(instance, Index)
            number, store = self.stores.of(instance)
            base, shifts = store.at(instance, "results", self._instances[number].call.results)
            sources.append(Index(instance.space, base + k, (0,), shifts=shifts))
        outs = [x for x in _singles(step.out, step.dims) if isinstance(x, Index)]
        return copies(outs, sources)

    def _call(self, step: Instruction, depth: int) -> Iterable[Step]:
        """The steps of a call, for all its members."""
        if step.members == 1:
            return self._instance(step.code, [_singles(x, step.dims)[0] for x in (step.out, *step.args)], depth)
        gathered: list[Step] = []
        if step.members > _FEW and step.out.affine:
            step = replace(step, args=tuple([self._row(x, step, gathered) for x in step.args]))
        operands = (step.out, *step.args)
        if all(isinstance(x, float) or x.affine for x in operands):  # in a loop over the members
            inner: list[Operand] = []
            for x in operands:
                inner.append(x if isinstance(x, float) else replace(x, member=(0,), shifts=(*x.shifts, *x.member)))
            steps = self._instance(step.code, inner, depth + len(step.dims))
            for count in reversed(step.dims):
                steps = [loop_of(count, steps)]
            return [*gathered, *steps]
        members = zip(*[_singles(x, step.dims) for x in operands], strict=True)
        return [*gathered, *(x for member in members for x in self._instance(step.code, list(member), depth))]

    def _row(self, x: Operand, step: Instruction, gathered: list[Step]) -> Operand:
        """An operand of a call's members as a row of slots, to which it is copied if it follows no pattern."""
        uniform = isinstance(x, Index) and x.space != step.out.space
        if isinstance(x, float) or x.affine or (uniform and any(x.shifts)) or self.stores.has(x, step.dims):
            return x
        strides = [prod(step.dims[d + 1 :]) for d in range(len(step.dims))]
        begin = self.stores.new(x.space, step.members)
        row = Index(x.space, begin, tuple(strides), shifts=(0,) * len(x.shifts))
        if uniform:  # in a block nothing is written that is the same for all of its samples
            self.more_before.append(copy(step.dims, replace(row, shifts=()), replace(x, shifts=())))
        else:
            inside = [replace(y, shifts=(*y.shifts, 0)) for y in (row, x)]
            gathered.append(Loop(1, (copy(step.dims, *inside),)))
        return row

    def _instance(self, code: int, operands: list[Operand], depth: int) -> list[Step]:
        instance, *args = operands
        assert isinstance(instance, Index)
        number = CALLS - code
        varies = None
        if instance.space == "v":
            varies = [isinstance(x, Index) and (x.space == "v" or any(x.shifts)) for x in args[: self.inner(number)]]
        call = self.call(number, varies)
        made = self._instances[number] = Instance(self.stores, call, instance, args, varies, depth, self._instances)
        self.more_before += made.before
        return made.steps


def _singles(x: Operand, dims: tuple[int, ...]) -> list[Operand]:
    """The operand of each member."""
    if not isinstance(x, Index):
        return [x] * prod(dims)
    slots = np.broadcast_to(x.slots(dims, 1, (0,) * len(x.shifts)), (prod(dims), 1)).ravel()
    return [Index(x.space, slot, (0,), shifts=x.shifts) for slot in slots.tolist()]
