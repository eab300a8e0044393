"""A program over samples as a program over nets: the lanes are nets, and the samples of a step become one more counter.

A differentiated program has numbers that all samples share (u: parameters, constants, the gradient) and numbers of one
sample (v). For many nets that share the program, each net has its own of both. Both are therefore slots of v here,
whose lanes are nets: first those of u in their order, then `pitch` places for each slot of v, one per sample of a step.
An instruction of the block gets a counter over the samples, and a sum over the batch becomes a sum of products over
that counter, in the order of the samples. Nothing is summed over lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand, Segment, Step
from macrograd.compiler.program.net_rounds import in_rounds, with_windows
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.program.walk import Kinds, Walker, in_rows, loop_of

_MOST_SEGMENTS = 256  # of a sum over the samples that must be written out sample by sample


class NetsError(ValueError):
    """A program that has no form over nets; the message says which part of it."""


class Different(NetsError):  # noqa: N818 - a kind of NetsError
    """Programs that differ in more than numbers."""


@dataclass(frozen=True)
class Slots:
    """Where the numbers of the original program are: slot k of u at k, slot k of sample s of v at first + k·pitch + s.

    The pitch is odd: places that are a power of two apart would compete for the same part of the cache.
    """

    samples: int
    first: int
    pitch: int

    def of_sample(self, slot: int, sample: int = 0) -> int:
        return self.first + slot * self.pitch + sample


def slots_of(program: Program, samples: int) -> Slots:
    return Slots(samples, program.uniform, samples | 1)


def over_nets(program: Program, samples: int, *, strict: bool) -> Program:
    """The program over nets for steps of so many samples. Its leaves are the slots of `Slots`; it has only a block.

    Raises NetsError for streams, and for gradients of values that several indices of a sample choose.
    """
    slots = slots_of(program, samples)
    same, each = _Same(slots), _Each(slots, strict=strict)
    before = [same.step(step) for step in program.before]
    block: list[Step] = []
    loops: list[Loop] = []
    for row, step in in_rows(program.block):
        for alone, sums in _pairs(row):
            found = in_rounds([each.kind(i) for i in alone], [each.kind(i) for i in sums], samples)
            loops += [part for part in found if isinstance(part, Loop)]
            block += found
        block += [each.step(step)] if step is not None else []
    steps = [*before, *block, *[same.step(step) for step in program.after]]
    results = tuple(("v", slot if space == "u" else slots.of_sample(slot)) for space, slot in program.results)
    steps = with_windows(steps, loops, np.array([slot for _, slot in results]), slots.first, slots.pitch)
    return Program(
        before=(),
        block=tuple(steps),
        after=(),
        parameters=0,
        inputs=program.held,
        constants=np.empty(0),
        uniform=0,
        varying=slots.of_sample(program.varying),
        results=results,
        batch=True,
    )


def _pairs(row: Sequence[Instruction]) -> Iterator[tuple[list[Instruction], list[Instruction]]]:
    """Instructions in a row that have their own results for every sample, in a pattern, and what follows them."""
    alone: list[Instruction] = []
    for alike, some in groupby(row, lambda instruction: instruction.kind in ("map", "dot", "take")):
        if alike:
            alone = list(some)
        else:
            yield alone, list(some)
            alone = []
    yield alone, []


class _Same(Walker[Step], Kinds[Instruction]):
    """Steps outside the block: the same for all samples of a step, so only the space changes."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> Instruction:
        return self.kind(instruction)

    def loop(self, loop: Loop, around: tuple[int, ...]) -> Loop:
        return loop_of(loop.count, [self.step(step) for step in loop.body])

    def stream(self, stream: Stream, around: tuple[int, ...]) -> Step:
        raise NetsError("a stream of single operations")

    def map(self, instruction: Instruction, /) -> Instruction:
        return self._moved(instruction)

    def dot(self, instruction: Instruction, /) -> Instruction:
        return self._moved(instruction)

    def take(self, instruction: Instruction, /) -> Instruction:
        return self._moved(instruction)

    def reduce(self, instruction: Instruction, /) -> Instruction:
        raise NetsError("a sum over samples outside of the block")

    def scatter(self, instruction: Instruction, /) -> Instruction:
        raise NetsError("a gradient of values that an index chooses")

    def _moved(self, instruction: Instruction) -> Instruction:
        return instruction.mapped(lambda x, _: _same(x))


class _Each(_Same):
    """Steps of the block: for each sample, or summed over the samples."""

    def __init__(self, slots: Slots, *, strict: bool) -> None:
        super().__init__(slots)
        self.strict = strict

    def _moved(self, instruction: Instruction) -> Instruction:
        n, dims = self.slots.samples, instruction.dims

        def index(x: Index, _: int) -> Index:
            if x.space == "u":
                return self._spread(_same(x), 0, instruction)
            return self._spread(self._placed(x), 1, instruction)

        return replace(instruction, dims=(n,) if dims == (1,) else (n, *dims)).mapped(index)

    def reduce(self, instruction: Instruction, /) -> Instruction:
        n, segments = self.slots.samples, instruction.segments
        # Solo runs begin at 0, which turns −0 into 0; the sum of one product must do so too.
        start = (Segment(1, 1.0, 0.0),) if self.strict else ()
        if len(segments) == 1 and segments[0].count == 1:
            only = segments[0]
            found: tuple[Segment, ...] = (Segment(n, self._along(only.left), self._along(only.right)),)
        elif n * len(segments) <= _MOST_SEGMENTS:  # sample by sample, and of each all terms
            found = tuple(
                Segment(s.count, self._at(s.left, k), self._at(s.right, k)) for k in range(n) for s in segments
            )
        else:
            raise NetsError(f"a sum of {len(segments)} kinds of terms over {n} samples")
        return replace(instruction, kind="dot", out=_same(instruction.out), segments=(*start, *found))

    def scatter(self, instruction: Instruction, /) -> Instruction:
        """The samples become its terms, which are added in their order as a run alone adds those of its lanes."""
        if instruction.count > 1:
            raise NetsError("a gradient of values that several indices of a sample choose")
        index, term = instruction.args
        return replace(
            instruction,
            out=_same(instruction.out),
            args=(self._along(index), self._along(term)),
            count=self.slots.samples,
        )

    def _placed(self, x: Index, sample: int = 0) -> Index:
        """An operand of one sample."""
        pitch = self.slots.pitch
        full = None if x.full is None else x.full * pitch + self.slots.of_sample(0, sample)
        return Index(
            "v",
            self.slots.of_sample(x.base, sample) if full is None else 0,
            tuple(stride * pitch for stride in x.member),
            x.term * pitch,
            None if x.members is None else x.members * pitch,
            None if x.terms is None else x.terms * pitch,
            full,
            tuple(shift * pitch for shift in x.shifts),
        )

    def _spread(self, x: Index, stride: int, instruction: Instruction) -> Index:
        """An operand with one more counter, over the samples, which moves it by `stride` slots."""
        n, members, flat = self.slots.samples, instruction.members, instruction.dims == (1,)
        if x.full is not None:
            full = (x.full.reshape(1, members, -1) + stride * np.arange(n).reshape(n, 1, 1)).reshape(n * members, -1)
            return replace(x, member=(0,) * (1 if flat else 1 + len(x.member)), full=full)
        if flat:
            return replace(x, member=(stride,))
        return replace(x, member=(stride, *x.member), members=None if x.members is None else x.members[None])

    def _at(self, x: Operand, sample: int) -> Operand:
        """An operand of a sum's term for one sample."""
        if isinstance(x, float):
            return x
        return self._placed(x, sample) if x.space == "v" else _same(x)

    def _along(self, x: Operand) -> Operand:
        """The operand of a sum's only term, for all samples: they are its terms."""
        if isinstance(x, float):
            return x
        moves, n = int(x.space == "v"), self.slots.samples
        x = self._placed(x) if moves else _same(x)
        if x.full is not None:
            return replace(x, full=x.full.reshape(-1, 1) + moves * np.arange(n))
        base = x.base if x.terms is None else x.base + int(x.terms[0])
        return replace(x, base=base, term=moves, terms=None)


def _same(x: Index) -> Index:
    """An operand that all samples share."""
    return x if x.space == "v" else replace(x, space="v")
