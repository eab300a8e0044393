"""Sums of products as NumPy's: a matrix product where there is one.

Its rows are the axis along which only the left operand moves, its columns the one along which only the right operand
does, and it is repeated along the others. It starts from 0.0, so that a sum of only -0.0 is 0.0. In strict mode a sum
starts from its first product and is added up term by term instead.
"""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np

from macrograd.compiler.program.program import Instruction, Segment
from macrograd.compiler.targets.numpy import calls
from macrograd.compiler.targets.numpy.places import Array, Function, Places, Strided, collapsed, contiguous

_FEW = 4  # up to this many terms ±x are added one by one
_SMALL = 256  # up to this many products, a matrix product is not worth copying operands for BLAS
_PART = 1 << 16  # products held at once when adding up in order

Axis = tuple[int, int, int, int]  # length; strides of the left operand, of the right one, and of the result


class Sums:
    """Writes the calls of sums at these places."""

    def __init__(self, at: Places) -> None:
        self.at = at

    def any_order(self, instruction: Instruction, target: Strided) -> None:
        """Products first, then terms that are only added or subtracted."""
        dims, over_lanes = instruction.dims, instruction.kind == "reduce"
        units: list[tuple[float, Strided]] = []
        begun = False
        for k, segment in enumerate(instruction.segments):
            left, count = segment.left, segment.count
            if isinstance(left, float) and abs(left) == 1.0 and count <= _FEW and not over_lanes:
                place = self.at.place(segment.right, dims, count, 10 + k)
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
                self.at.each(function, self.at.axes(dims, first, second, target), first, second, target)
            else:
                function = np.positive if sign == 1.0 else calls.negate
                self.at.each(function, self.at.axes(dims, first, target), first, target)
        for sign, place in units:
            function = np.add if sign == 1.0 else np.subtract
            self.at.each(function, self.at.axes(dims, target, place, target), target, place, target)

    def _products(
        self, segment: Segment, dims: tuple[int, ...], target: Strided, *, over_lanes: bool, begun: bool
    ) -> None:
        """Write the sum of a segment into the target, or add it."""
        left, right = (
            self.at.place(x, dims, segment.count, 2 + k) for k, x in enumerate((segment.left, segment.right))
        )
        axes = [*zip(dims, left.member, right.member, target.member, strict=True)]
        over = [(segment.count, left.term, right.term)]
        if over_lanes:
            over.append((self.at.lanes, left.lane, right.lane))
        elif self.at.block:
            axes.append((self.at.lanes, left.lane, right.lane, target.lane))
        axes = [axis for axis in axes if axis[0] > 1]
        over = collapsed([axis for axis in over if axis[0] > 1])
        if not begun:
            self._contract(left, right, target, axes, over)
            return
        packed = [stride for _, stride in contiguous([n for n, *_ in axes], 1)]
        spare = Strided(self.at.scratch(4, prod(n for n, *_ in axes)), 0, ())
        apart = [(n, a, b, stride) for (n, a, b, _), stride in zip(axes, packed, strict=True)]
        self._contract(left, right, spare, apart, over)
        together = [(n, c, stride, c) for (n, _, _, c), stride in zip(axes, packed, strict=True)]
        self.at.each(np.add, together, target, spare, target)

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
            self.at.each(np.multiply, axes, left, right, out)
            return
        if not some and both and not outer:
            letters = "abcdefgh"[: len(both)]
            views = [
                self.at.view(place.buffer, place.first, [*((x[0], x[1 + k]) for x in both), (n, s)], place.rounds)
                for k, (place, s) in enumerate(((left, a), (right, b)))
            ]
            result = self.at.view(out.buffer, out.first, [(x[0], x[3]) for x in both], out.rounds)
            self.at.call(partial(calls.inner, f"{letters}z,{letters}z->{letters}"), *views, result)
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
        result = self.at.view(out.buffer, out.first, [*batch[2], (m, row_out), (p, column_out)], out.rounds)
        if not outer:
            self.at.call(np.matmul, *matrices, result)
            return
        shape = [*(x[0] for x in both), m, p]
        spare = self.at.view(self.at.scratch(7, prod(shape)), 0, contiguous(shape, 1))
        self.at.call(calls.matmul_terms, *matrices, spare, result)

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
        view = self.at.view(place.buffer, place.first, axes, place.rounds)
        (m, s), (n, t) = matrix
        if not large or (t == 1 and s >= n) or (s == 1 and t >= m):
            return view
        # Along axes without movement, one copy is enough.
        moving = [1 if not stride else length for length, stride in [*ahead, *batch]] + [m, n]
        packed = contiguous(moving, 1)
        scratch = self.at.scratch(number, prod(moving))
        once = [(length, stride) for length, (_, stride) in zip(moving, axes, strict=True)]
        self.at.call(
            np.positive,
            self.at.view(place.buffer, place.first, once, place.rounds),
            self.at.view(scratch, 0, packed),
        )
        kept = [
            (length, stride if length == size else 0) for (length, _), (size, stride) in zip(axes, packed, strict=True)
        ]
        return self.at.view(scratch, 0, kept)

    def in_order(self, instruction: Instruction, target: Strided) -> None:
        """Add each product to the sum of those before it, as eager programs do; a sum over lanes likewise."""
        dims = instruction.dims
        over_lanes = instruction.kind == "reduce"
        out = self.at.members(target, dims, over_lanes=over_lanes)
        one = out.shape[len(self.at.rounds) :]
        for k, segment in enumerate(instruction.segments):
            count = segment.count
            places = [self.at.place(x, dims, count, 2 + side) for side, x in enumerate((segment.left, segment.right))]
            outer, inner = (count, self.at.lanes) if over_lanes else (1, count)
            views = []
            for x in places:
                axes = [(outer, x.term), (inner, x.lane)] if over_lanes else [(outer, 0), (inner, x.term)]
                views.append(self.at.members(x, dims, *axes, over_lanes=over_lanes))
            held = 1 + max(1, min(inner, _PART // prod(one)))
            shape = [held, *one]
            spare = self.at.view(self.at.scratch(4, prod(shape)), 0, contiguous(shape, 1))
            self.at.call(partial(calls.in_order, begun=k > 0), *views, spare, out)
