"""Gaps: a program is given new numbers for its slots, without those that no operand reaches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from macrograd.compiler.program.instruction import Index, Instruction, Loop, Step
from macrograd.compiler.program.program import Program, counted
from macrograd.compiler.program.results import Results
from macrograd.compiler.program.touches import Touch
from macrograd.compiler.program.walk import loop_of
from macrograd.compiler.tape.tape import Ints, distinct

_MOST_PARTS = 16  # of the slots of an operand, between which gaps are closed


def without_gaps(program: Program) -> Program:
    """The program without slots that no operand reaches."""
    spans: dict[str, list[tuple[int, int]]] = {"u": [(0, program.held)], "v": []}
    spans[program.input_space].append((program.first_input, program.first_input + program.inputs))
    varies, slots = program.varies, program.slots
    for space, of_space in (("u", ~varies), ("v", varies)):
        spans[space] += _runs(distinct(slots[of_space]))
    parts = {
        (id(x), instruction.dims, count, rounds): _Parts(x, instruction.dims, count, rounds)
        for step in program.steps()
        for instruction, rounds in counted(step)
        for x, count in (*instruction.operands(), (instruction.out, 1))
        if isinstance(x, Index)
    }
    gaps = _gaps(spans, list(parts.values()))

    def renumbered(step: Step, rounds: tuple[int, ...] = ()) -> Step:
        if isinstance(step, Loop):
            return loop_of(step.count, [renumbered(x, (*rounds, step.count)) for x in step.body], step.guard)
        assert isinstance(step, Instruction)
        dims = step.dims

        def index(x: Index, count: int) -> Index:
            found = parts[id(x), dims, count, rounds].renumbered(gaps[x.space])
            assert found is not None
            return found

        return step.mapped(index)

    new_slots = np.where(varies, gaps["v"].all(slots), gaps["u"].all(slots)).astype(np.int64)
    return replace(
        program,
        before=tuple([renumbered(step) for step in program.before]),
        block=tuple([renumbered(step) for step in program.block]),
        after=tuple([renumbered(step) for step in program.after]),
        uniform=gaps["u"].new(program.uniform),
        varying=gaps["v"].new(program.varying),
        results=Results(varies, new_slots),
        reused=tuple([(space, gaps[space].new(a), gaps[space].new(b)) for space, a, b in program.reused]),
    )


def _gaps(spans: dict[str, list[tuple[int, int]]], parts: list[_Parts]) -> dict[str, _Gaps]:
    """The gaps between these spans and the operands' parts. An operand whose parts would be at unequal distances
    afterwards is one part, until there is none."""
    while True:
        gaps = {
            space: _Gaps(found + [span for part in parts if part.x.space == space for span in part.spans])
            for space, found in spans.items()
        }
        uneven = [part for part in parts if part.renumbered(gaps[part.x.space]) is None]
        if not uneven:
            return gaps
        for part in uneven:
            part.join()


class _Parts:
    """The slots of an operand as a few ranges: it is cut along counters that step over many slots that it leaves out,
    such as the two terms of a sum of the first value and the last."""

    def __init__(self, x: Index, dims: tuple[int, ...], count: int, rounds: tuple[int, ...]) -> None:
        self.x = x
        self._touch = touch = Touch.of(x, dims, count, rounds)
        strides, counts = (*x.member, x.term, *x.shifts), (*dims, count, *rounds)
        self._cut: list[tuple[int, int]] = []  # counter, how many
        self._begins = np.array(touch.low)  # of the parts, with an axis for each counter that is cut
        self._length = touch.high + 1 - touch.low  # of a part
        for axis in sorted(range(len(strides)), key=lambda k: -abs(strides[k])) if x.affine else ():
            stride, n = strides[axis], counts[axis]
            rest = self._length - abs(stride) * (n - 1)
            if n == 1 or not stride:
                continue
            if abs(stride) <= rest or n * self._begins.size > _MOST_PARTS:
                break
            self._cut.append((axis, n))
            first = self._begins - min(0, stride * (n - 1))
            self._begins, self._length = first[..., None] + stride * np.arange(n), rest

    @property
    def spans(self) -> list[tuple[int, int]]:
        return [(begin, begin + self._length) for begin in self._begins.ravel().tolist()]

    def join(self) -> None:
        self._cut, self._begins = [], np.array(self._touch.low)
        self._length = self._touch.high + 1 - self._touch.low

    def renumbered(self, gaps: _Gaps) -> Index | None:
        """The operand with other numbers; None if its parts are at unequal distances then."""
        x, moved = self.x, gaps.all(self._begins) - self._begins
        first = int(moved.flat[0])
        strides = [*x.member, x.term, *x.shifts]
        even = np.full(moved.shape, first)
        for k, (axis, n) in enumerate(self._cut):
            at = [0] * moved.ndim
            at[k] = 1
            step = int(moved[tuple(at)]) - first
            strides[axis] += step
            even = even + (step * np.arange(n)).reshape([-1 if d == k else 1 for d in range(moved.ndim)])
        if not (even == moved).all():
            return None
        m = len(x.member)
        found = replace(x, member=tuple(strides[:m]), term=strides[m], shifts=tuple(strides[m + 1 :]))
        return found.displaced(first)


def _runs(slots: Ints) -> list[tuple[int, int]]:
    """Ascending slots as ranges."""
    parts = np.split(slots, np.flatnonzero(np.diff(slots) != 1) + 1)
    return [(int(part[0]), int(part[-1]) + 1) for part in parts if len(part)]


class _Gaps:
    """Slots numbered without those that are in no span."""

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        self.begins: list[int] = []  # of the pieces in use
        self.places: list[int] = []  # where they go
        end = place = 0
        for low, high in sorted(spans):
            if low > end or not self.begins:
                place += end - (self.begins[-1] if self.begins else 0)
                self.begins.append(low)
                self.places.append(place)
                end = low
            end = max(end, high)
        self.end = end

    def all(self, slots: Ints) -> Ints:
        """The numbers of slots that are in use, or of the end."""
        if not self.begins:
            return np.zeros_like(slots)
        begins, places = np.array(self.begins), np.array(self.places)
        slots = np.clip(slots, begins[0], self.end)
        k = np.searchsorted(begins, slots, side="right") - 1
        found: Ints = np.minimum(places[k] + slots - begins[k], np.append(places[1:], places[-1] + self.end)[k])
        return found

    def new(self, slot: int) -> int:
        return int(self.all(np.array([slot]))[0])
