"""Lower a program to NumPy: a list of calls on views that are made once, so that a run consists of these calls alone.

`places.py` makes the views and collects the calls, `sums.py` turns sums of products into matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Loop, Step
from macrograd.compiler.program.stream import FUSED, MORE, SPREAD, TOTAL, Stream
from macrograd.compiler.program.walk import Kinds, Walker
from macrograd.compiler.targets.numpy import calls
from macrograd.compiler.targets.numpy.places import Array, Places, Strided, contiguous
from macrograd.compiler.targets.numpy.plan import NumpyPlan
from macrograd.compiler.targets.numpy.sums import Sums


class Lowering(Walker[None], Kinds[None]):
    """Calls on the buffers `u` (followed by the pool) and `v` of blocks of `lanes` lanes; an index that is out of range
    sets the `flag`."""

    def __init__(self, plan: NumpyPlan, u: Array, v: Array, lanes: int, flag: calls.Flag) -> None:
        self.at, self.flag = Places(plan, u, v, lanes), flag
        self._sums = Sums(self.at)

    def lower(self, steps: Sequence[Step], *, block: bool) -> list[Callable[[], Any]]:
        """The calls that run these steps."""
        self.at.found, self.at.block = [], block
        for step in steps:
            self.step(step)
        return [partial(function, *arrays) for function, arrays in self.at.found]

    def loop(self, loop: Loop, around: tuple[int, ...]) -> None:
        outside, self.at.found, self.at.rounds = self.at.found, [], (*around, loop.count)
        for step in loop.body:
            self.step(step, self.at.rounds)
        guard = [] if loop.guard is None else [self._guard(loop.guard)]
        body, self.at.found, self.at.rounds = self.at.found, outside, around
        ends = np.cumsum([len(arrays) for _, arrays in body]).tolist()
        parts = [slice(end - len(arrays), end) for end, (_, arrays) in zip(ends, body, strict=True)]
        functions = [function for function, _ in body]
        self.at.call(
            partial(
                calls.guarded_rounds if guard else calls.rounds, loop.count, list(zip(functions, parts, strict=True))
            ),
            *guard,
            *(array for _, arrays in body for array in arrays),
        )

    def _guard(self, guard: Index) -> Array:
        """The numbers of a guard, by round."""
        lanes = self.at.lanes if guard.space == "v" else 1
        buffer = self.at.v if guard.space == "v" else self.at.u
        moves = tuple(shift * lanes for shift in guard.shifts)
        return self.at.view(buffer, guard.base * lanes, [(lanes, 1)], moves)

    # --- instructions ------------------------------------------------------------------------------------------------

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> None:
        self.kind(instruction)

    def map(self, instruction: Instruction) -> None:
        self._write(instruction, self._map)

    def take(self, instruction: Instruction) -> None:
        self._write(instruction, self._take)

    def dot(self, instruction: Instruction) -> None:
        self._write(instruction, self._sums.in_order if self.at.plan.strict else self._sums.any_order)

    reduce = dot

    def _write(self, instruction: Instruction, compute: Callable[[Instruction, Strided], None]) -> None:
        """Compute the results in place or, if they do not follow the counters, elsewhere, and copy them."""
        out, dims = instruction.out, instruction.dims
        varying = out.space == "v"
        if out.affine:
            target = self.at.place(out, dims, 1, 0)
        else:
            pitch = self.at.lanes if varying else 1
            packed = tuple(stride for _, stride in contiguous(dims, pitch))
            target = Strided(self.at.scratch(0, prod(dims) * pitch), 0, packed, 0, int(varying))
        compute(instruction, target)
        if not out.affine:
            slots = out.slots(dims).reshape(dims)
            window = self.at.window(out, int(slots.min()), int(slots.max()))
            results = self.at.members(target, dims, over_lanes=instruction.kind == "reduce")
            self.at.call(partial(calls.scatter, slots - slots.min()), results, window)

    def _map(self, instruction: Instruction, target: Strided) -> None:
        dims = instruction.dims
        operands = [self.at.place(x, dims, 1, 1 + k) for k, x in enumerate(instruction.args)]
        self.at.each(
            calls.into(ops.TABLE[instruction.code], self.at.u.dtype, strict=self.at.plan.strict),
            self.at.axes(dims, *operands, target),
            *operands,
            target,
        )

    def _take(self, instruction: Instruction, target: Strided) -> None:
        dims, count = instruction.dims, instruction.count
        index, values = instruction.args
        if isinstance(values, float):  # all values are this number: the index is only checked
            where = self.at.members(self.at.place(index, dims, 1, 1), dims)
            self.at.call(partial(calls.take_number, values, count, self.flag), where, self.at.members(target, dims))
            return
        slots = self.at.plan.slots(values, dims, count)
        slots = np.broadcast_to(slots, (*slots.shape[:-1], count))
        window = self.at.window(values, int(slots.min()), int(slots.max()))
        where = self.at.members(self.at.place(index, dims, 1, 1), dims)
        self.at.call(partial(calls.take, slots - slots.min(), self.flag), where, window, self.at.members(target, dims))

    def scatter(self, instruction: Instruction) -> None:
        dims, count = instruction.dims, instruction.count
        slots = instruction.out.slots(dims).reshape(dims)
        window = self.at.window(instruction.out, int(slots.min()), int(slots.max()))
        places = [self.at.place(x, dims, count, 1 + k) for k, x in enumerate(instruction.args)]
        views = [self.at.members(replace(x, member=x.member[:-1]), dims[:-1], (count, x.term)) for x in places]
        self.at.call(partial(calls.add_at, slots - slots.min(), instruction.choice), *views, window)

    # --- streams -----------------------------------------------------------------------------------------------------

    def stream(self, stream: Stream, around: tuple[int, ...]) -> None:
        here = self.at.u
        if stream.block:
            here = self.at.v[: self.at.plan.program.varying * self.at.lanes].reshape(-1, self.at.lanes)
        total = calls.total_in_order if self.at.plan.strict else calls.total
        for code, out, rows in stream.plain():
            operands = tuple(map(_rows, rows))
            if code == SPREAD:
                self.at.call(partial(calls.record, calls.spread, _rows(out), operands, here, self.at.u))
            elif code in (TOTAL, MORE):
                run = calls.record if code == TOTAL else calls.more
                self.at.call(partial(run, total, _rows(out), operands, self.at.u, here))
            else:
                special: dict[int, Callable[..., Array]] = {
                    FUSED: calls.fused,
                    ops.take.code: partial(calls.choose, self.flag),
                }
                function = special.get(code) or calls.form(ops.TABLE[code], strict=self.at.plan.strict)
                self.at.call(partial(calls.record, function, _rows(out), operands, here, here))


def _rows(slots: NDArray[np.int32]) -> Any:
    """Slots, as a slice if they are contiguous."""
    first, n = int(slots[0]), len(slots)
    return slice(first, first + n) if (slots == np.arange(first, first + n)).all() else slots.astype(np.intp)
