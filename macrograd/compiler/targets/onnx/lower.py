"""A program as a graph: every instruction as a few operators on arrays, loops as loops.

Values of space u are arrays of slots; those of space v have a row for each sample. An instruction's operands are arrays
with an axis for each counter of its members, of length 1 if they do not move along it. A sum of products is a matrix
product over its terms (and in a sum over the batch, over the samples): its rows are the axes along which only the left
operand moves, its columns those of the right one, and it is repeated along the axes of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand, Segment, Step
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.program.walk import Kinds, Walker, counted
from macrograd.compiler.targets.onnx.body import Access, Body
from macrograd.compiler.targets.onnx.graph import Array, Graph
from macrograd.compiler.targets.onnx.operations import Writing, spell
from macrograd.compiler.targets.onnx.scope import Scope
from macrograd.compiler.targets.onnx.stopping import Round, Stopping, round_of
from macrograd.compiler.targets.onnx.streams import lower_stream
from macrograd.compiler.targets.onnx.sums import Part, Sums, together
from macrograd.compiler.targets.onnx.tensor import Slots
from macrograd.compiler.targets.target import Request

_FEW = 3  # segments of a kind that are written one by one; more of them are merged


@dataclass(frozen=True)
class Given:
    """Values of the graph that a program reads: its parameters, its uniform inputs, and its arguments, each with a row
    for each sample if there are samples."""

    parameters: str
    uniform: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Lowered:
    """A program written into a graph, and where its results are."""

    graph: Graph
    given: Given
    program: Program
    scope: Scope

    def uniform(self, which: Sequence[int]) -> str:
        """Those results that are the same for all samples, side by side."""
        return self.scope.read("u", np.array([self.program.results[k][1] for k in which]))

    def rows(self, which: Sequence[int]) -> str:
        """Those results side by side, with a row for each sample."""
        o, parts, order = Writing(self.graph), [], []
        for space in ("u", "v"):
            mine = [k for k, at in enumerate(which) if self.program.results[at][0] == space]
            if not mine:
                continue
            name = self.scope.read(space, np.array([self.program.results[which[k]][1] for k in mine]))
            if space == "u":
                shape = o.Concat(self.scope.samples, self.graph.integers(len(mine)), axis=0)
                name = self.scope.flat(o.Expand(name, shape), len(mine), "v")
            parts.append(name)
            order += mine
        joined = parts[0] if len(parts) == 1 else self.scope.flat(o.Concat(*parts, axis=1), len(order), "v")
        return self.scope.pick(joined, len(order), np.argsort(order), "v")


def lower(request: Request, graph: Graph, given: Given, fixed: Array | None) -> Lowered:
    """Write the program into the graph; `fixed` are the parameters' numbers if the graph is to hold them.

    Raises LookupError for an operation that has neither an ONNX form nor a formula.
    """
    program = request.program
    samples = graph.call("Shape", given.arguments[0], start=0, end=1) if program.batch else ""
    scope = Scope(graph, {"u": program.uniform, "v": program.varying}, samples)
    first = program.parameters
    if fixed is not None:
        scope.define("u", np.arange(first), "", numbers=np.asarray(fixed, dtype=graph.dtype))
    else:
        scope.define("u", np.arange(first), scope.flat(given.parameters, first, "u"))
    constants = program.constants.astype(graph.dtype)
    scope.define("u", first + np.arange(len(constants)), "", numbers=constants)
    uniform = program.first_uniform_input + np.arange(program.uniform_inputs)
    scope.define("u", uniform, scope.flat(given.uniform, len(uniform), "u"))
    at, space = program.first_input, program.input_space
    for name, size in zip(given.arguments, request.sizes, strict=True):
        scope.define(space, np.arange(at, at + size), scope.flat(name, size, space))
        at += size
    if program.weight is not None:
        scope.define("v", np.array([program.weight]), scope.flat(_share(graph, samples), 1, "v"))
    for phase, steps in program.phases():
        lowering = Lowering(scope, block=phase == "block" and program.batch)
        for step in steps:
            lowering.step(step)
    return Lowered(graph, given, program, scope)


def _share(graph: Graph, samples: str) -> str:
    """1/n for each of n samples."""
    o = Writing(graph)
    one = o.Div(1.0, o.real(samples))
    return str(o.Expand(one, o.Concat(samples, graph.integers(1), axis=0)))


class Lowering(Walker[None], Kinds[None]):
    """Writes steps into the graph of the current scope."""

    def __init__(self, scope: Scope, *, block: bool) -> None:
        self.scope, self.top, self.block = scope, scope, block

    @property
    def o(self) -> Writing:
        return Writing(self.scope.graph)

    # --- steps --------------------------------------------------------------------------------------------------------

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> None:
        self.kind(instruction)

    def loop(self, loop: Loop, around: tuple[int, ...]) -> None:
        depth = len(around)
        reads = [a for step in loop.body for a in _accesses(step, depth, written=False)]
        writes = [a for step in loop.body for a in _accesses(step, depth, written=True)]
        outside, body = self.scope, Body(self.scope, loop.count, reads, writes)
        again = any(not instruction.out.shifts[depth] for instruction, _ in counted(loop))  # a tensor is made only once
        if again and not around and (round_ := round_of(loop, outside)) is not None:
            self._stopping(loop, round_)
            return
        if again or not body.fits:
            for k in range(loop.count):
                for step in loop.body:
                    self.step(_Moved(k, depth).step(step), around)
            return
        self.scope = body
        for step in loop.body:
            self.step(step, (*around, loop.count))
        self.scope = outside
        body.end()

    def _stopping(self, loop: Loop, round_: Round) -> None:
        """A loop that ends when its guard says so."""
        outside = self.scope
        self.scope = body = Stopping(outside, loop, round_)
        for step in loop.body:
            self.step(step, (loop.count,))
        self.scope = outside
        body.end()

    def stream(self, stream: Stream, around: tuple[int, ...]) -> None:
        lower_stream(stream, self.scope)

    # --- instructions -------------------------------------------------------------------------------------------------

    def map(self, instruction: Instruction) -> None:
        parts = [self._single(self._part(x, instruction.dims, 1)) for x in instruction.args]
        name = spell(self.scope.graph, ops.TABLE[instruction.code], [part.name for part in parts])
        self._store(instruction, Part(name, together(parts), any(part.varies for part in parts)))

    def dot(self, instruction: Instruction) -> None:
        over = self.block and instruction.kind == "reduce"
        sums = Sums(self.scope.graph, self.scope.samples if over else "")
        products = [sums.product(*pair) for pair in self._products(instruction)]
        self._store(instruction, sums.added(products))

    reduce = dot

    def take(self, instruction: Instruction) -> None:
        o, count = self.o, instruction.count
        index = self._part(instruction.args[0], instruction.dims, 1)
        values = self._part(instruction.args[1], instruction.dims, count)
        at = self._checked(index.name, count)
        if values.number is not None:  # all choices are one number: the index is only checked
            table = self.scope.graph.constant(np.full(count, values.number))
            values = Part(table, (*[1] * len(instruction.dims), count), False)
        elif values.shape[-1] != count:
            wide = o.Expand(values.name, o.number(np.array([*[1] * values.varies, *values.shape[:-1], count])))
            values = replace(values, name=wide, shape=(*values.shape[:-1], count))
        dims = index.shape[:-1]
        if not values.varies and prod(values.shape) == count:
            name = o.Gather(self.scope.graph.reshape(values.name, count), o.Squeeze(at, np.array([-1])), axis=0)
            self._store(instruction, Part(name, dims, index.varies))
            return
        shape, varies = together([Part("", dims, False), Part("", values.shape[:-1], False)]), self.block
        wide = self._lengths(*shape, count)
        at = o.Expand(at, self._lengths(*shape, 1))
        name = o.GatherElements(o.Expand(values.name, wide), at, axis=len(shape) + varies)
        self._store(instruction, Part(o.Squeeze(name, np.array([-1])), shape, varies))

    def scatter(self, instruction: Instruction) -> None:
        o, dims = self.o, instruction.dims
        rest, members, count = dims[:-1], dims[-1], instruction.count
        index, term = (self._part(x, (*rest, 1), count) for x in instruction.args)
        shape = (*rest, 1, count)
        at, more = (self._rows(part, shape) for part in (index, term))
        at = o.Sub(at, float(instruction.choice))
        good = o.And(o.GreaterOrEqual(at, 0.0), o.Less(at, float(members)))
        good = o.And(good, o.Equal(at, o.Floor(at)))
        at = o.whole(o.Where(good, at, float(members)))  # an index outside them goes to one past the last
        zeros = self.scope.graph.constant(np.zeros((prod(rest), members + 1)))
        found = o.ScatterElements(zeros, at, more, axis=1, reduction="add")
        kept = o.Slice(found, np.array([0]), np.array([members]), np.array([1]))
        flat = self.scope.graph.reshape(kept, prod(dims))
        self.scope.write(*self._place(instruction), flat, instruction.out.shifts)

    def _rows(self, part: Part, shape: tuple[int, ...]) -> str:
        """All elements of a part as [other axes, terms], with the samples in the last axis."""
        graph, o, rows = self.scope.graph, self.o, prod(shape[:-1])
        wide = o.Expand(part.name, self._lengths(*shape))
        if self.block:
            wide = o.Transpose(graph.reshape(wide, -1, rows, shape[-1]), perm=(1, 0, 2))
        return str(o.Reshape(wide, np.array([rows, -1])))

    def _checked(self, index: str, count: int) -> str:
        """An index as an integer; one that is fractional or out of range becomes a number that stops the runtime."""
        o = self.o
        good = o.And(o.Equal(index, o.Floor(index)), o.And(o.GreaterOrEqual(index, 0.0), o.Less(index, float(count))))
        return str(o.whole(o.Where(good, index, float(count))))

    def _products(self, instruction: Instruction) -> Iterator[tuple[Part, Part, int]]:
        """The factors and the number of terms of each segment; many of a kind are merged by a table."""
        dims = instruction.dims
        kinds: dict[Any, list[Segment]] = {}
        for segment in instruction.segments:
            key = tuple((x.space, x.shifts) if isinstance(x, Index) else x for x in (segment.left, segment.right))
            kinds.setdefault(key, []).append(segment)
        for same in kinds.values():
            if len(same) <= _FEW:
                for s in same:
                    yield self._part(s.left, dims, s.count), self._part(s.right, dims, s.count), s.count
                continue
            left, right = ([(x, s.count) for x, s in zip(side, same, strict=True)] for side in _sides(same))
            yield self._row(left, dims), self._row(right, dims), sum(s.count for s in same)

    def _row(self, operands: list[tuple[Operand, int]], dims: tuple[int, ...]) -> Part:
        """Operands of one kind, merged into one with all their terms."""
        first = operands[0][0]
        if isinstance(first, float):
            return self._part(first, dims, 1)
        slots = [x.slots(dims, count).reshape(*dims, count) for x, count in operands if isinstance(x, Index)]
        return self._read(first.space, _moving(np.concatenate(slots, axis=-1)), first.shifts)

    # --- operands and results -----------------------------------------------------------------------------------------

    def _part(self, x: Operand, dims: tuple[int, ...], count: int) -> Part:
        """An operand with an axis for each counter and, last, one for the terms."""
        if isinstance(x, float):
            return Part(self.scope.graph.constant(x), (1,) * (len(dims) + 1), False, x)
        return self._read(x.space, _moving(x.slots(dims, count).reshape(*dims, count)), x.shifts)

    def _read(self, space: str, slots: Slots, shifts: tuple[int, ...]) -> Part:
        varies = space == "v"
        if not varies and not any(shifts) and (numbers := self.top.known(space, slots)) is not None:
            return Part(self.scope.graph.constant(numbers), slots.shape, False, _one(numbers))
        return self._as(self.scope.read(space, slots, shifts), slots.shape, varies=varies)

    def _single(self, part: Part) -> Part:
        """An operand of one term, without the axis of terms."""
        return self._as(part.name, part.shape[:-1], varies=part.varies)

    def _as(self, name: str, shape: tuple[int, ...], *, varies: bool) -> Part:
        """The elements in this shape."""
        return Part(self.scope.graph.reshape(name, *[-1] * varies, *shape), shape, varies)

    def _place(self, instruction: Instruction) -> tuple[str, Slots]:
        return instruction.out.space, instruction.out.slots(instruction.dims).ravel()

    def _store(self, instruction: Instruction, part: Part) -> None:
        """Write results, as many as there are members (and samples)."""
        o, dims = self.o, instruction.dims
        varies = instruction.out.space == "v"
        graph, name = self.scope.graph, self.scope.graph.shaped(part.name, (*[-1] * part.varies, *part.shape))
        if varies and not part.varies:
            name = o.Expand(name, self._lengths(*dims))
        elif part.shape != dims:
            name = o.Expand(name, o.number(np.array([*[1] * varies, *dims])))
        flat = graph.reshape(name, *[-1] * varies, prod(dims))
        self.scope.write(*self._place(instruction), flat, instruction.out.shifts)

    def _lengths(self, *shape: int) -> str:
        """A shape with, in a block, the number of samples in front."""
        if not self.block:
            return self.scope.graph.integers(*shape)
        return str(self.o.Concat(self.scope.samples, self.scope.graph.integers(*shape), axis=0))


class _Moved(Walker[Instruction | Loop]):
    """A step of a loop's body as it is in one round, written outside the loop; `depth` loops enclose that loop."""

    def __init__(self, round_: int, depth: int) -> None:
        self.round, self.depth = round_, depth

    def loop(self, loop: Loop, around: tuple[int, ...]) -> Loop:
        return Loop(loop.count, tuple(self.step(step) for step in loop.body))

    def stream(self, stream: Stream, around: tuple[int, ...]) -> Loop:
        raise AssertionError("a stream is in a loop")

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> Instruction:
        return instruction.mapped(self._index)

    def _index(self, x: Index, count: int) -> Index:
        rest = x.shifts[: self.depth] + x.shifts[self.depth + 1 :]
        return replace(x.displaced(x.shifts[self.depth] * self.round), shifts=rest)


def _accesses(step: Step, depth: int, *, written: bool) -> Iterator[Access]:
    """The operands and results of a step of a loop's body in round 0 of that loop, which `depth` loops enclose."""
    for instruction, inner in counted(step):
        operands: Iterable[tuple[Operand, int]] = [(instruction.out, 1)] if written else instruction.operands()
        for x, count in operands:
            if isinstance(x, float):
                continue
            slots = x.slots(instruction.dims, count).ravel()
            for rounds, shift in zip(inner, x.shifts[depth + 1 :], strict=True):
                slots = (slots + (np.arange(rounds) * shift).reshape(-1, *[1] * slots.ndim)).ravel()
            yield Access(x.space, slots, x.shifts[: depth + 1])


def _sides(segments: Sequence[Segment]) -> tuple[list[Operand], list[Operand]]:
    return [segment.left for segment in segments], [segment.right for segment in segments]


def _moving(slots: Slots) -> Slots:
    """Slots with length 1 along the axes where they do not move."""
    for axis in range(slots.ndim):
        first = slots.take([0], axis)
        if (slots == first).all():
            slots = first
    return slots


def _one(numbers: Array) -> float | None:
    """The number that all of these are, if there is one."""
    first = float(numbers.flat[0])
    return first if (numbers == first).all() else None
