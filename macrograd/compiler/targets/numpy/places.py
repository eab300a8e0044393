"""Where the numbers of a call lie: views of buffers, and the calls on them, as they are found.

A varying buffer is [slot][lane]. An operand is a `Strided`: its start in a buffer, and its stride along each axis: the
counters of the members, the terms, the lanes, the rounds of a loop. Operands with a pattern are views; those with a
table are gathered into scratch memory first.

Every array of a call in a loop has the rounds as its first axis, and the loop passes on one round of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Index, Operand
from macrograd.compiler.targets.numpy import calls
from macrograd.compiler.targets.numpy.plan import NumpyPlan

Array = NDArray[Any]
Function = Callable[..., Any]


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


class Places:
    """The buffers `u` (followed by the pool) and `v` of blocks of `lanes` lanes, and the calls on views of them.

    found   the calls so far, each a function and its arrays
    rounds  of the current loops, outermost first
    block   whether the current steps run on a block
    """

    def __init__(self, plan: NumpyPlan, u: Array, v: Array, lanes: int) -> None:
        self.plan, self.u, self.v, self.lanes = plan, u, v, lanes
        self.found: list[tuple[Function, tuple[Any, ...]]] = []
        self.rounds: tuple[int, ...] = ()
        self.block = False
        self._scratches: dict[int, Array] = {}

    def call(self, function: Function, *arrays: Array) -> None:
        self.found.append((function, arrays))

    def view(self, buffer: Array, first: int, axes: Sequence[tuple[int, int]], rounds: tuple[int, ...] = ()) -> Array:
        """A view with these (length, stride) axes, preceded by the rounds in loops. NumPy checks that it is in
        bounds."""
        axes = [*zip(self.rounds, rounds or (0,) * len(self.rounds), strict=True), *axes]
        size = buffer.itemsize
        shape, strides = [n for n, _ in axes], [stride * size for _, stride in axes]
        return np.ndarray(shape, buffer.dtype, buffer, first * size, strides)

    def scratch(self, number: int, size: int) -> Array:
        """Scratch memory for the duration of one instruction."""
        if number not in self._scratches or len(self._scratches[number]) < size:
            # Views of smaller ones stay in use, so sizes must grow fast.
            self._scratches[number] = np.empty(2 * size, self.u.dtype)
        return self._scratches[number]

    def place(self, x: Operand, dims: tuple[int, ...], count: int, number: int) -> Strided:
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
        scratch = self.scratch(number, slots.size * pitch)
        lanes = [(pitch, 1)] if varying else []
        self.call(
            partial(calls.gather, slots - slots.min()),
            self.window(x, int(slots.min()), int(slots.max())),
            self.view(scratch, 0, [*contiguous(slots.shape, pitch), *lanes]),
        )
        strides = [0 if n == 1 else stride for n, stride in contiguous(slots.shape, pitch)]
        return Strided(scratch, 0, tuple(strides[:-1]), strides[-1], int(varying))

    def window(self, x: Index, least: int, most: int) -> Array:
        """The range of slots that contains an operand; it moves with the rounds."""
        if x.space == "v":
            axes = [(most - least + 1, self.lanes), (self.lanes, 1)]
            return self.view(self.v, least * self.lanes, axes, tuple(shift * self.lanes for shift in x.shifts))
        return self.view(self.u, least, [(most - least + 1, 1)], x.shifts)

    def members(self, place: Strided, dims: tuple[int, ...], *axes: tuple[int, int], over_lanes: bool = False) -> Array:
        """A view [counters..., lanes], with more axes in front; without lanes outside blocks and in sums over them."""
        lanes = [(self.lanes, place.lane)] if self.block and not over_lanes else []
        return self.view(
            place.buffer, place.first, [*axes, *zip(dims, place.member, strict=True), *lanes], place.rounds
        )

    def axes(self, dims: tuple[int, ...], *places: Strided) -> list[tuple[int, ...]]:
        """(length, stride in every place) of each counter and, in a block, of the lanes."""
        axes = list(zip(dims, *(place.member for place in places), strict=True))
        return [*axes, (self.lanes, *(place.lane for place in places))] if self.block else axes

    def each(self, function: Function, axes: Sequence[tuple[int, ...]], *places: Strided) -> None:
        """Call an elementwise function on views with as few axes as possible: each axis costs time."""
        axes = collapsed([axis for axis in axes if axis[0] > 1]) or [(1, *[0] * len(places))]
        views = [
            self.view(place.buffer, place.first, [(axis[0], axis[1 + k]) for axis in axes], place.rounds)
            for k, place in enumerate(places)
        ]
        self.call(function, *views)


def contiguous(shape: Sequence[int], pitch: int) -> list[tuple[int, int]]:
    """Contiguous axes of these lengths; `pitch` is the size of one element."""
    axes = []
    for length in reversed(shape):
        axes.append((length, pitch))
        pitch *= length
    return axes[::-1]


def collapsed(axes: list[Any]) -> list[Any]:
    """Axes (length, *strides), merged wherever they are contiguous for every stride."""
    found: list[Any] = []
    for n, *strides in axes:
        if found and all(outer == n * stride for outer, stride in zip(found[-1][1:], strides, strict=True)):
            n *= found.pop()[0]
        found.append((n, *strides))
    return found
