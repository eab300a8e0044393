"""Lower a program to NumPy: a list of calls on views that are made once, so that a run consists of these calls alone.

A varying buffer is [slot][lane]. An operand is a `Strided`: its start in a buffer, and its stride along each axis: the
counters of the members, the terms, the lanes, the rounds of a loop. Operands with a pattern are views; those with a
table are gathered into scratch memory first. A sum of products is a matrix product: its rows are the axis along which
only the left operand moves, its columns the one along which only the right operand does, and it is repeated along the
others. It starts from 0.0, so that a sum of only -0.0 is 0.0. In strict mode a sum starts from its first product and is
added up term by term instead.

Every array of a call in a loop has the rounds as its first axis, and the loop passes on one round of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Loop, Operand, Segment, Step
from macrograd.compiler.program.stream import FUSED, MORE, SPREAD, TOTAL, Stream
from macrograd.compiler.program.walk import Kinds, Walker
from macrograd.compiler.targets.numpy import calls
from macrograd.compiler.targets.numpy.plan import NumpyPlan

Array = NDArray[Any]
Function = Callable[..., Any]
_FEW = 4  # up to this many terms ±x are added one by one
_SMALL = 256  # up to this many products, a matrix product is not worth copying operands for BLAS
_PART = 1 << 16  # products held at once when adding up in order


@dataclass(frozen=True)
class Strided:
    """Numbers in a flat buffer: the start, and the strides along the members' counters, terms, lanes and rounds."""

    buffer: Array
    first: int
    member: tuple[int, ...]
    term: int = 0
    lane: int = 0
    rounds: tuple[int, ...] = ()

    def at(self, term: int) -> Strided:
        return Strided(self.buffer, self.first + term * self.term, self.member, 0, self.lane, self.rounds)


Axis = tuple[int, int, int, int]  # length; strides of the left operand, of the right one, and of the result


class Lowering(Walker[None], Kinds[None]):
    """Calls on the buffers `u` (followed by the pool) and `v` of blocks of `lanes` lanes."""

    def __init__(self, plan: NumpyPlan, u: Array, v: Array, lanes: int, flag: list[bool]) -> None:
        self.plan, self.u, self.v, self.lanes, self.flag = plan, u, v, lanes, flag
        self._scratches: dict[int, Array] = {}
        self._rounds: tuple[int, ...] = ()  # of the current loops, outermost first
        self._found: list[tuple[Function, tuple[Any, ...]]] = []

    def lower(self, steps: Sequence[Step], *, block: bool) -> list[Callable[[], Any]]:
        """The calls that run these steps."""
        self._found, self._block = [], block
        for step in steps:
            self.step(step)
        return [partial(function, *arrays) for function, arrays in self._found]

    def loop(self, loop: Loop, around: tuple[int, ...]) -> None:
        outside, self._found, self._rounds = self._found, [], (*around, loop.count)
        for step in loop.body:
            self.step(step, self._rounds)
        body, self._found, self._rounds = self._found, outside, around
        ends = np.cumsum([len(arrays) for _, arrays in body]).tolist()
        parts = [slice(end - len(arrays), end) for end, (_, arrays) in zip(ends, body, strict=True)]
        functions = [function for function, _ in body]
        self._call(
            partial(calls.rounds, loop.count, list(zip(functions, parts, strict=True))),
            *(array for _, arrays in body for array in arrays),
        )

    def _call(self, function: Function, *arrays: Array) -> None:
        self._found.append((function, arrays))

    # --- where numbers lie -------------------------------------------------------------------------------------------

    def _view(self, buffer: Array, first: int, axes: Sequence[tuple[int, int]], rounds: tuple[int, ...] = ()) -> Array:
        """A view with these (length, stride) axes, preceded by the rounds in loops. NumPy checks that it is in
        bounds."""
        axes = [*zip(self._rounds, rounds or (0,) * len(self._rounds), strict=True), *axes]
        size = buffer.itemsize
        shape, strides = [n for n, _ in axes], [stride * size for _, stride in axes]
        return np.ndarray(shape, buffer.dtype, buffer, first * size, strides)

    def _scratch(self, number: int, size: int) -> Array:
        """Scratch memory for the duration of one instruction."""
        if number not in self._scratches or len(self._scratches[number]) < size:
            # Views of smaller ones stay in use, so sizes must grow fast.
            self._scratches[number] = np.empty(2 * size, self.u.dtype)
        return self._scratches[number]

    def _place(self, x: Operand, dims: tuple[int, ...], count: int, number: int) -> Strided:
        """The place of an operand; one that must be gathered uses scratch memory `number`."""
        x = self.plan.index(x)
        varying = x.space == "v"
        pitch = self.lanes if varying else 1
        if x.affine:
            member = tuple(stride * pitch for stride in x.member) or (0,) * len(dims)
            buffer = self.v if varying else self.u
            moved = tuple(shift * pitch for shift in x.shifts)
            return Strided(buffer, x.base * pitch, member, x.term * pitch, int(varying), moved)
        slots = self.plan.slots(x, dims, count)
        scratch = self._scratch(number, slots.size * pitch)
        lanes = [(pitch, 1)] if varying else []
        self._call(
            partial(calls.gather, slots - slots.min()),
            self._window(x, int(slots.min()), int(slots.max())),
            self._view(scratch, 0, [*_packed(slots.shape, pitch), *lanes]),
        )
        strides = [0 if n == 1 else stride for n, stride in _packed(slots.shape, pitch)]
        return Strided(scratch, 0, tuple(strides[:-1]), strides[-1], int(varying))

    def _window(self, x: Index, least: int, most: int) -> Array:
        """The range of slots that contains an operand; it moves with the rounds."""
        if x.space == "v":
            axes = [(most - least + 1, self.lanes), (self.lanes, 1)]
            return self._view(self.v, least * self.lanes, axes, tuple(shift * self.lanes for shift in x.shifts))
        return self._view(self.u, least, [(most - least + 1, 1)], x.shifts)

    # --- instructions ------------------------------------------------------------------------------------------------

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> None:
        self.kind(instruction)

    def map(self, instruction: Instruction) -> None:
        self._write(instruction, self._map)

    def take(self, instruction: Instruction) -> None:
        self._write(instruction, self._take)

    def dot(self, instruction: Instruction) -> None:
        self._write(instruction, self._sum_in_order if self.plan.strict else self._sum)

    reduce = dot

    def _write(self, instruction: Instruction, compute: Callable[[Instruction, Strided], None]) -> None:
        """Compute the results in place or, if they do not follow the counters, elsewhere, and copy them."""
        out, dims = instruction.out, instruction.dims
        varying = out.space == "v"
        if out.affine:
            target = self._place(out, dims, 1, 0)
        else:
            pitch = self.lanes if varying else 1
            packed = tuple(stride for _, stride in _packed(dims, pitch))
            target = Strided(self._scratch(0, prod(dims) * pitch), 0, packed, 0, int(varying))
        compute(instruction, target)
        if not out.affine:
            slots = out.slots(dims).reshape(dims)
            window = self._window(out, int(slots.min()), int(slots.max()))
            results = self._members(target, dims, over_lanes=instruction.kind == "reduce")
            self._call(partial(calls.scatter, slots - slots.min()), results, window)

    def _members(
        self, place: Strided, dims: tuple[int, ...], *axes: tuple[int, int], over_lanes: bool = False
    ) -> Array:
        """A view [counters..., lanes], with more axes in front; without lanes outside blocks and in sums over them."""
        lanes = [(self.lanes, place.lane)] if self._block and not over_lanes else []
        return self._view(
            place.buffer, place.first, [*axes, *zip(dims, place.member, strict=True), *lanes], place.rounds
        )

    def _map(self, instruction: Instruction, target: Strided) -> None:
        dims = instruction.dims
        operands = [self._place(x, dims, 1, 1 + k) for k, x in enumerate(instruction.args)]
        self._each(
            calls.into(ops.TABLE[instruction.code], self.u.dtype, strict=self.plan.strict),
            self._axes(dims, *operands, target),
            *operands,
            target,
        )

    def _axes(self, dims: tuple[int, ...], *places: Strided) -> list[tuple[int, ...]]:
        """(length, stride in every place) of each counter and, in a block, of the lanes."""
        axes = list(zip(dims, *(place.member for place in places), strict=True))
        return [*axes, (self.lanes, *(place.lane for place in places))] if self._block else axes

    def _each(self, function: Function, axes: Sequence[tuple[int, ...]], *places: Strided) -> None:
        """Call an elementwise function on views with as few axes as possible: each axis costs time."""
        axes = _collapsed([axis for axis in axes if axis[0] > 1]) or [(1, *[0] * len(places))]
        views = [
            self._view(place.buffer, place.first, [(axis[0], axis[1 + k]) for axis in axes], place.rounds)
            for k, place in enumerate(places)
        ]
        self._call(function, *views)

    def _take(self, instruction: Instruction, target: Strided) -> None:
        dims, count = instruction.dims, instruction.count
        index, values = instruction.args
        if isinstance(values, float):  # all values are this number: the index is only checked
            where = self._members(self._place(index, dims, 1, 1), dims)
            self._call(partial(calls.take_number, values, count, self.flag), where, self._members(target, dims))
            return
        slots = self.plan.slots(values, dims, count)
        slots = np.broadcast_to(slots, (*slots.shape[:-1], count))
        window = self._window(values, int(slots.min()), int(slots.max()))
        where = self._members(self._place(index, dims, 1, 1), dims)
        self._call(partial(calls.take, slots - slots.min(), self.flag), where, window, self._members(target, dims))

    def scatter(self, instruction: Instruction) -> None:
        dims, count = instruction.dims, instruction.count
        slots = instruction.out.slots(dims).reshape(dims)
        window = self._window(instruction.out, int(slots.min()), int(slots.max()))
        places = [self._place(x, dims, count, 1 + k) for k, x in enumerate(instruction.args)]
        views = [self._members(replace(x, member=x.member[:-1]), dims[:-1], (count, x.term)) for x in places]
        self._call(partial(calls.add_at, slots - slots.min(), instruction.choice), *views, window)

    # --- sums of products --------------------------------------------------------------------------------------------

    def _sum(self, instruction: Instruction, target: Strided) -> None:
        """Products first, then terms that are only added or subtracted."""
        dims, over_lanes = instruction.dims, instruction.kind == "reduce"
        units: list[tuple[float, Strided]] = []
        begun = False
        for k, segment in enumerate(instruction.segments):
            left, count = segment.left, segment.count
            if isinstance(left, float) and abs(left) == 1.0 and count <= _FEW and not over_lanes:
                place = self._place(segment.right, dims, count, 10 + k)
                units += [(left, place.at(t)) for t in range(count)]
                continue
            self._products(segment, dims, target, over_lanes=over_lanes, begun=begun)
            begun = True
        units.sort(key=lambda unit: -unit[0])  # added terms come first
        if not begun and units:
            (sign, first), *units = units
            if sign == 1.0 and units:
                (sign, second), *units = units
                function: Function = np.add if sign == 1.0 else np.subtract
                self._each(function, self._axes(dims, first, second, target), first, second, target)
            else:
                function = np.positive if sign == 1.0 else calls.negate
                self._each(function, self._axes(dims, first, target), first, target)
        for sign, place in units:
            function = np.add if sign == 1.0 else np.subtract
            self._each(function, self._axes(dims, target, place, target), target, place, target)

    def _products(
        self, segment: Segment, dims: tuple[int, ...], target: Strided, *, over_lanes: bool, begun: bool
    ) -> None:
        """Write a segment's sum into the target, or add it."""
        left, right = (self._place(x, dims, segment.count, 2 + k) for k, x in enumerate((segment.left, segment.right)))
        axes = [*zip(dims, left.member, right.member, target.member, strict=True)]
        over = [(segment.count, left.term, right.term)]
        if over_lanes:
            over.append((self.lanes, left.lane, right.lane))
        elif self._block:
            axes.append((self.lanes, left.lane, right.lane, target.lane))
        axes = [axis for axis in axes if axis[0] > 1]
        over = _collapsed([axis for axis in over if axis[0] > 1])
        if not begun:
            self._contract(left, right, target, axes, over)
            return
        packed = [stride for _, stride in _packed([n for n, *_ in axes], 1)]
        spare = Strided(self._scratch(4, prod(n for n, *_ in axes)), 0, ())
        apart = [(n, a, b, stride) for (n, a, b, _), stride in zip(axes, packed, strict=True)]
        self._contract(left, right, spare, apart, over)
        together = [(n, c, stride, c) for (n, _, _, c), stride in zip(axes, packed, strict=True)]
        self._each(np.add, together, target, spare, target)

    def _contract(
        self, left: Strided, right: Strided, out: Strided, axes: list[Axis], over: list[tuple[int, int, int]]
    ) -> None:
        """out[axes] = Σ left·right over the axes `over`, of which there are at most two."""
        *outer, (n, a, b) = over or [(1, 0, 0)]
        rows = [k for k, (_, x, y, _) in enumerate(axes) if x and not y]
        columns = [k for k, (_, x, y, _) in enumerate(axes) if y and not x]
        row = max(rows, key=lambda k: axes[k][0], default=None)
        column = max(columns, key=lambda k: axes[k][0], default=None)
        both = [axes[k] for k in range(len(axes)) if k not in (row, column)]
        some = [axes[k] for k in (row, column) if k is not None]
        if n == 1 and not outer:
            self._each(np.multiply, axes, left, right, out)
            return
        if not some and both and not outer:
            letters = "abcdefgh"[: len(both)]
            views = [
                self._view(place.buffer, place.first, [*((x[0], x[1 + k]) for x in both), (n, s)], place.rounds)
                for k, (place, s) in enumerate(((left, a), (right, b)))
            ]
            result = self._view(out.buffer, out.first, [(x[0], x[3]) for x in both], out.rounds)
            self._call(partial(calls.inner, f"{letters}z,{letters}z->{letters}"), *views, result)
            return
        m, row_left, _, row_out = axes[row] if row is not None else (1, n, 0, 1)
        p, _, column_right, column_out = axes[column] if column is not None else (1, 0, n, 1)
        if row is None:
            row_out = max(1, p) * max(1, column_out)
        work = m * n * p * prod(x[0] for x in both)
        batch = [[(x[0], x[1 + k]) for x in both] for k in range(3)]
        ahead = [[(x[0], x[1 + k]) for x in outer] for k in range(2)]
        matrices = [
            self._matrix(2 * work > _SMALL, left, ahead[0], batch[0], [(m, row_left), (n, a)], 5),
            self._matrix(2 * work > _SMALL, right, ahead[1], batch[1], [(n, b), (p, column_right)], 6),
        ]
        result = self._view(out.buffer, out.first, [*batch[2], (m, row_out), (p, column_out)], out.rounds)
        if not outer:
            self._call(np.matmul, *matrices, result)
            return
        shape = [*(x[0] for x in both), m, p]
        spare = self._view(self._scratch(7, prod(shape)), 0, _packed(shape, 1))
        self._call(calls.matmul_terms, *matrices, spare, result)

    def _matrix(
        self,
        large: bool,
        place: Strided,
        ahead: list[tuple[int, int]],
        batch: list[tuple[int, int]],
        matrix: list[tuple[int, int]],
        number: int,
    ) -> Array:
        """A stack of matrices as a view, or as a copy that BLAS can read if it could not read the view."""
        axes = [*ahead, *batch, *matrix]
        view = self._view(place.buffer, place.first, axes, place.rounds)
        (m, s), (n, t) = matrix
        if not large or (t == 1 and s >= n) or (s == 1 and t >= m):
            return view
        # Along axes without movement, one copy is enough.
        moving = [1 if not stride else length for length, stride in [*ahead, *batch]] + [m, n]
        packed = _packed(moving, 1)
        scratch = self._scratch(number, prod(moving))
        once = [(length, stride) for length, (_, stride) in zip(moving, axes, strict=True)]
        self._call(
            np.positive,
            self._view(place.buffer, place.first, once, place.rounds),
            self._view(scratch, 0, packed),
        )
        kept = [
            (length, stride if length == size else 0) for (length, _), (size, stride) in zip(axes, packed, strict=True)
        ]
        return self._view(scratch, 0, kept)

    def _sum_in_order(self, instruction: Instruction, target: Strided) -> None:
        """Add each product to the sum of those before it, as eager programs do; a sum over lanes likewise."""
        dims = instruction.dims
        over_lanes = instruction.kind == "reduce"
        out = self._members(target, dims, over_lanes=over_lanes)
        one = out.shape[len(self._rounds) :]
        for k, segment in enumerate(instruction.segments):
            count = segment.count
            places = [self._place(x, dims, count, 2 + side) for side, x in enumerate((segment.left, segment.right))]
            outer, inner = (count, self.lanes) if over_lanes else (1, count)
            views = []
            for x in places:
                axes = [(outer, x.term), (inner, x.lane)] if over_lanes else [(outer, 0), (inner, x.term)]
                views.append(self._members(x, dims, *axes, over_lanes=over_lanes))
            held = 1 + max(1, min(inner, _PART // prod(one)))
            shape = [held, *one]
            spare = self._view(self._scratch(4, prod(shape)), 0, _packed(shape, 1))
            self._call(partial(calls.in_order, begun=k > 0), *views, spare, out)

    # --- streams -----------------------------------------------------------------------------------------------------

    def stream(self, stream: Stream, around: tuple[int, ...]) -> None:
        here = self.u
        if stream.block:
            here = self.v[: self.plan.program.varying * self.lanes].reshape(-1, self.lanes)
        total = calls.total_in_order if self.plan.strict else calls.total
        for code, out, rows in stream.records():
            operands = tuple(map(_rows, rows))
            if code == SPREAD:
                self._call(partial(calls.record, calls.spread, _rows(out), operands, here, self.u))
            elif code in (TOTAL, MORE):
                run = calls.record if code == TOTAL else calls.more
                self._call(partial(run, total, _rows(out), operands, self.u, here))
            else:
                special: dict[int, Callable[..., Array]] = {
                    FUSED: calls.fused,
                    ops.take.code: partial(calls.choose, self.flag),
                }
                function = special.get(code) or partial(ops.TABLE[code].array, np)
                self._call(partial(calls.record, function, _rows(out), operands, here, here))


def _packed(shape: Sequence[int], pitch: int) -> list[tuple[int, int]]:
    """Contiguous axes of these lengths; `pitch` is the size of one element."""
    axes = []
    for length in reversed(shape):
        axes.append((length, pitch))
        pitch *= length
    return axes[::-1]


def _collapsed(axes: list[Any]) -> list[Any]:
    """Axes (length, *strides), merged wherever they are contiguous for every stride."""
    found: list[Any] = []
    for n, *strides in axes:
        if found and all(outer == n * stride for outer, stride in zip(found[-1][1:], strides, strict=True)):
            n *= found.pop()[0]
        found.append((n, *strides))
    return found


def _rows(slots: NDArray[np.int32]) -> Any:
    """Slots, as a slice if they are contiguous."""
    first, n = int(slots[0]), len(slots)
    return slice(first, first + n) if (slots == np.arange(first, first + n)).all() else slots.astype(np.intp)
