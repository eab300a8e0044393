"""Inlining: a cheap instruction is computed where its results are read, instead of being written to memory.

Outside of blocks, every instruction is a pass over arrays in memory. A row of cheap ones, such as the terms of a sum
and their derivatives, is bound by these passes. An instruction is left out if all its readers can compute what they
read. The member that an operand reads is an affine map of the reader's counters, and so are the places of that member's
own operands. It does not matter in which direction either of them runs, or that a reader wants the member before or
after its own:

    u[1000+i] = multiply u[i] u[i] for 999
    u[2000+i] = subtract u[1998-i] 1 for 999        computes u[998-i]·u[998-i] - 1

No number changes: each is computed from the same operands by the same operations, perhaps more than once. How often it
may be depends on what a pass through memory costs.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import replace
from functools import partial
from itertools import product
from math import ceil, floor

import numpy as np

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Program, Step, counted
from macrograd.compiler.program.stripes import apart, part
from macrograd.compiler.program.walk import streams_of
from macrograd.compiler.targets.scalar.access import key_of
from macrograd.compiler.targets.scalar.axes import FEW, axis_of
from macrograd.compiler.targets.scalar.fuse import span
from macrograd.compiler.targets.scalar.inside import Computed
from macrograd.compiler.targets.scalar.machine import Machine

_PASS = 8  # operations and loads that writing an array and reading it back is worth
_MOST = 24  # operations that a reader takes in, which need registers
_FEW_TERMS = 4
_FEW_SLOTS = 64  # operands that read no more are looked at slot by slot

# A member of an instruction, seen from a reader: for each counter its start, and its movement with the reader's
# counters and with the terms of the reader's sum.
Mapping = tuple[tuple[int, tuple[int, ...], int], ...]


def inlined(program: Program, machine: Machine) -> dict[str, tuple[Step, ...]]:
    """The steps of each phase, where those outside of the block compute what is not worth a pass."""
    found = {}
    for name, steps in program.phases():
        found[name] = steps
        if name != "block" and any(isinstance(x, Instruction) and x.members > FEW for x in steps):
            phase = _Phase(program, steps, machine)
            if phase.plan():
                found[name] = phase.written()
    return found


class _Phase:
    """The instructions of a phase that stand in no loop."""

    def __init__(self, program: Program, steps: tuple[Step, ...], machine: Machine) -> None:
        self.program, self.machine = program, machine
        self.others = [x for _, phase in program.phases() if phase is not steps for x in phase]
        self.others += [x for x in steps if not isinstance(x, Instruction)]
        self.steps = _in_pieces(steps)
        self.row = [x for x in self.steps if isinstance(x, Instruction)]
        cheap = sorted([x for x in self.row if _is_cheap(x)], key=_ends)
        self.cheap = {id(x): k for k, x in enumerate(cheap)}
        self.lows, self.highs = [_ends(x)[0] for x in cheap], [_ends(x)[1] for x in cheap]
        self.readers: list[list[tuple[Instruction, Index, int]]] = [[] for _ in cheap]
        self.kept = [False] * len(cheap)  # because something reads it that cannot compute it
        self.taken: dict[int, int] = {}  # operations that a reader has taken in
        self.left_out: set[int] = set()
        self.sources: dict[int, Instruction] = {}  # what computes an operand, in the counters of its reader

    def plan(self) -> bool:
        """Decide from the last instruction to the first, so that the readers of each are known. Whether some are left
        out."""
        if not self.cheap:
            return False
        self._keep_what_others_read()
        for x in reversed(self.row):
            k = self.cheap.get(id(x))
            if k is not None and not self.kept[k] and self._leave_out(x, self.readers[k]):
                self.left_out.add(id(x))
                continue
            for operand, count in x.operands():
                if isinstance(operand, Index) and operand.space == "u":
                    self._reads(x, operand, count)
        return bool(self.left_out)

    def written(self) -> tuple[Step, ...]:
        """The steps that are left, with operands that they compute."""

        def operand(y: Index, _: int) -> Index:
            source = self.sources.get(id(y))
            if source is None:
                return y
            source = replace(source.mapped(operand), out=y)
            return Computed(y.space, y.base, y.member, y.term, shifts=y.shifts, source=source)

        left = [x for x in self.steps if id(x) not in self.left_out]
        return tuple([x.mapped(operand) if isinstance(x, Instruction) else x for x in left])

    def _keep_what_others_read(self) -> None:
        """Keep what steps of other phases, loops, streams and callers read, and what loops write again."""
        program = self.program
        for step in self.others:
            for x, rounds in counted(step):
                for operand, count in x.operands():
                    if isinstance(operand, Index) and operand.space == "u":
                        self._keep(*_reach(operand, x, count, rounds))
        for stream in streams_of(self.others):
            for _, _, operands in stream.records():
                for row in operands:
                    self._keep(int(row.min()), int(row.max()))
        results = np.sort(program.results_in("u"))
        for k, (low, high) in enumerate(zip(self.lows, self.highs, strict=True)):
            if np.searchsorted(results, low) < np.searchsorted(results, high, side="right"):
                self.kept[k] = True
        for space, begin, end in program.reused:
            if space == "u":
                self._keep(begin, end - 1)

    def _touched(self, low: int, high: int) -> range:
        """The cheap instructions with results among these slots."""
        begin = end = bisect_left(self.highs, low)
        while end < len(self.lows) and self.lows[end] <= high:
            end += 1
        return range(begin, end)

    def _keep(self, low: int, high: int) -> None:
        for k in self._touched(low, high):
            self.kept[k] = True

    def _reads(self, x: Instruction, operand: Index, count: int) -> None:
        """Note what an operand of an instruction that is written reads."""
        if x.members * count <= _FEW_SLOTS:
            slots = set(operand.slots(x.dims, count).ravel().tolist())
            found = {k for slot in slots for k in self._touched(slot, slot)}
        else:
            found = set(self._touched(*_reach(operand, x, count, ())))
        for k in found:
            if x.kind in ("map", "dot"):
                self.readers[k].append((x, operand, count))
            else:
                self.kept[k] = True

    def _leave_out(self, x: Instruction, readers: list[tuple[Instruction, Index, int]]) -> bool:
        """Let all readers compute the results of an instruction, if that pays."""
        found: dict[tuple[int, int, Mapping], tuple[Instruction, list[Index]]] = {}
        for reader, operand, count in readers:
            mapping = mapping_of(operand, reader.dims, count, x)
            if mapping is None:
                return False
            found.setdefault((id(reader), count, mapping), (reader, []))[1].append(operand)
        work, loads = _work(x), len({key_of(y, x.dims) for y, _ in x.operands() if isinstance(y, Index)})
        reads = sum(reader.members * count for (_, count, _), (reader, _) in found.items())
        if not found or (reads / x.members - 1) * (work + loads) > _PASS:
            return False
        made = []
        for (_, count, mapping), (reader, operands) in found.items():
            copy = replace(x.mapped(partial(_composed, mapping)), dims=reader.dims)
            fits = all(self._fits(y, reader, count) for y, _ in copy.operands() if isinstance(y, Index))
            if not fits or self.taken.get(id(reader), 0) + work > _MOST:
                return False
            made.append((reader, count, operands, copy))
        for reader, count, operands, copy in made:
            self.taken[id(reader)] = self.taken.get(id(reader), 0) + work
            self.sources.update({id(operand): copy for operand in operands})
            for y, _ in copy.operands():
                if isinstance(y, Index) and y.space == "u":
                    self._reads(reader, y, count)
        return True

    def _fits(self, x: Index, reader: Instruction, count: int) -> bool:
        """Whether it can be an operand of the reader along the same SIMD axis."""
        axis = axis_of(reader, self.machine)
        return axis == "none" or (x.member[-1] in (-1, 0, 1) if axis == "member" else count == 1 or x.term in (0, 1))


def _in_pieces(steps: tuple[Step, ...]) -> list[Step]:
    """The steps with sums of a few terms written apart, and a few members at either end of an instruction separate
    where these read the results of another instruction than the rest."""
    found: list[Step] = []
    made: list[tuple[int, int]] = []  # the first and last results of cheap instructions, in order
    for x in steps:
        if not isinstance(x, Instruction):
            found.append(x)
            continue
        if x.terms <= _FEW_TERMS and all(isinstance(y, float) or y.affine for y, _ in x.operands()):
            x = apart(x)
        for piece in _pieces(x, made):
            found.append(piece)
            if _is_cheap(piece):
                insort(made, _ends(piece))
    return found


def _pieces(x: Instruction, made: list[tuple[int, int]]) -> list[Instruction]:
    """An instruction in up to three pieces: `made` are the slots of cheap instructions before it."""
    n, operands = x.members, [(y, count) for y, count in x.operands() if isinstance(y, Index)]
    simple = len(x.dims) == 1 and x.out.affine and all(y.affine and count == 1 for y, count in operands)
    if x.kind not in ("map", "dot") or n <= 2 * FEW or not simple:
        return [x]
    cuts: set[int] = set()
    for y, _ in operands:
        stride = y.member[0]
        low, high = sorted((y.base, y.base + stride * (n - 1)))
        for k in range(max(0, bisect_left(made, (low, low)) - 1), len(made)):
            first, last = made[k]
            if first > high:
                break
            if stride and last >= low:
                ends = sorted(((first - y.base) / stride, (last - y.base) / stride))
                cuts |= {ceil(ends[0]), floor(ends[1]) + 1}
    begin = max([c for c in cuts if 0 < c <= FEW], default=0)
    end = min([c for c in cuts if n - FEW <= c < n], default=n)
    return [part(x, a, b) for a, b in ((0, begin), (begin, end), (end, n)) if a < b] if cuts else [x]


def _is_cheap(x: Instruction) -> bool:
    """Whether its readers may compute it: its results follow each other, and so do operands of few cheap operations."""
    if x.kind not in ("map", "dot") or x.out.space != "u" or not x.out.affine or x.members <= FEW:
        return False
    low, high = _ends(x)
    if high - low != x.members - 1:
        return False
    if x.kind == "map" and (ops.TABLE[x.code].costly or not ops.TABLE[x.code].arity):
        return False
    if x.terms > _FEW_TERMS or any(segment.count > 1 for segment in x.segments):
        return False
    return all(isinstance(y, float) or y.affine for y, _ in x.operands())


def _ends(x: Instruction) -> tuple[int, int]:
    """The first and last slot of its results."""
    moves = [stride * (n - 1) for stride, n in zip(x.out.member, x.dims, strict=True)]
    return x.out.base + sum(min(0, m) for m in moves), x.out.base + sum(max(0, m) for m in moves)


def _reach(operand: Index, x: Instruction, count: int, rounds: tuple[int, ...]) -> tuple[int, int]:
    """The first and the last slot that an operand reads in all rounds."""
    low, high, _, down, up = span(operand, x.dims, count, rounds)
    return low + down, high + up


def _work(x: Instruction) -> int:
    if x.kind == "map":
        return ops.TABLE[x.code].cost
    return sum(1 if segment.left in (1.0, -1.0) else 2 for segment in x.segments)


def mapping_of(operand: Index, dims: tuple[int, ...], count: int, x: Instruction) -> Mapping | None:
    """The member of `x` whose result an operand of a reader with these counters is; None if it is not always one."""
    if not operand.affine:
        return None
    axes = sorted([d for d, n in enumerate(x.dims) if n > 1], key=lambda d: -abs(x.out.member[d]))
    strides = [x.out.member[d] for d in axes]
    counters = [*zip(operand.member, dims, strict=True), (operand.term, count)]
    moves = []
    for stride, n in counters:
        digits = _digits(stride if n > 1 else 0, strides)
        if digits is None:
            return None
        moves.append(digits)
    rooms = []
    for k, d in enumerate(axes):
        reach = [move[k] * (n - 1) for move, (_, n) in zip(moves, counters, strict=True)]
        rooms.append((-sum(min(0, r) for r in reach), x.dims[d] - 1 - sum(max(0, r) for r in reach)))
    starts = _starts(operand.base - x.out.base, strides, rooms)
    if starts is None:
        return None
    still = 0, (0,) * len(dims), 0
    found = [still] * len(x.dims)
    for k, d in enumerate(axes):
        found[d] = starts[k], tuple(move[k] for move in moves[:-1]), moves[-1][k]
    return tuple(found)


def _digits(value: int, strides: list[int]) -> list[int] | None:
    """A number as a sum of multiples of these, each as near to what is left as possible; None if it is not one."""
    found = []
    for stride in strides[:-1]:
        found.append((2 * value + abs(stride)) // (2 * abs(stride)) * (1 if stride > 0 else -1))
        value -= found[-1] * stride
    found.append(value // strides[-1])
    return found if value == found[-1] * strides[-1] else None


def _starts(value: int, strides: list[int], rooms: list[tuple[int, int]]) -> list[int] | None:
    """A number as a sum of multiples of these, each in its room; None if it is not one."""
    for more in product((0, 1), repeat=len(strides) - 1):
        rest, found = value, []
        for stride, one in zip(strides, (*more, 0), strict=True):
            found.append(rest // stride + one)
            rest -= found[-1] * stride
        if not rest and all(low <= k <= high for k, (low, high) in zip(found, rooms, strict=True)):
            return found
    return None


def _composed(mapping: Mapping, y: Index, _: int) -> Index:
    """An operand of a member, in the counters of the reader that computes it."""
    parts = list(zip(y.member, mapping, strict=True))
    return replace(
        y,
        base=y.base + sum(stride * start for stride, (start, _, _) in parts),
        member=tuple([sum(stride * moves[c] for stride, (_, moves, _) in parts) for c in range(len(mapping[0][1]))]),
        term=sum(stride * term for stride, (_, _, term) in parts),
    )
