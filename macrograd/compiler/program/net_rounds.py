"""Steps of every sample over nets as loops over a few samples: what one step writes the next reads from the nearest
cache.

A sum over the samples joins the loop if it has fewer results than operands and the parameters stay near, too: a round
adds the products of its samples to what the rounds before have left, in the same order, while the operands are still
near. Numbers that nothing outside of
a loop reads then have the same places in every round (`with_windows`), so that they stay in that cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand, Segment, Step
from macrograd.compiler.program.touches import Touch
from macrograd.compiler.program.walk import body_of, counted
from macrograd.compiler.tape.tape import Ints, distinct

_LEAST_TOGETHER, _MOST_TOGETHER = 4, 8  # samples whose steps follow each other
_NEAR = 512  # slots, of a vector of 64 bytes each, that stay in the nearest cache


def in_rounds(each: Sequence[Instruction], sums: Sequence[Instruction], samples: int) -> list[Step]:
    """Steps that every sample has for itself, the samples being their first counter, and what follows them in their
    row, sums over the samples among it. No number changes but for a sum's −0, which becomes 0."""
    if len(each) < 2 or not all(map(_plain, each)):
        return [*each, *sums]
    size, near = _together(each, samples)
    if size == samples:
        return [*each, *sums]
    joined = [near and _joins(total, samples, size) for total in sums]
    totals = [total for total, joins in zip(sums, joined, strict=True) if joins]
    body = [*[_part(step, size) for step in each], *[_part_of_sum(total, size) for total in totals]]
    return [
        *[replace(total, segments=(Segment(1, 1.0, 0.0),)) for total in totals],
        Loop(samples // size, tuple(body)),
        *[total for total, joins in zip(sums, joined, strict=True) if not joins],
    ]


def _together(each: Sequence[Instruction], samples: int) -> tuple[int, bool]:
    """How many samples a round has, and whether what all samples read stays near: as many as stay there with it; where
    it alone does not, as many as possible, since each round reads it again."""
    sizes = [size for size in range(_MOST_TOGETHER, _LEAST_TOGETHER - 1, -1) if samples % size == 0]
    own, shared = set[int](), set[int]()
    for step in each:
        for x, count in _places(step):
            (own if x.member[0] else shared).update(x.slots((1, *step.dims[1:]), count).ravel().tolist())
    if len(shared) > _NEAR:
        return max(sizes, default=samples), False
    fitting = (size for size in sizes if len(shared) + size * len(own) <= _NEAR)
    return next(fitting, min(sizes, default=samples)), True


def _plain(step: Instruction) -> bool:
    return all(x.full is None for x, _ in _places(step))


def _places(step: Instruction) -> Iterator[tuple[Index, int]]:
    """The result and the operands that are slots, each with its number of terms."""
    yield step.out, 1
    for x, count in step.operands():
        if isinstance(x, Index):
            yield x, count


def _joins(total: Instruction, samples: int, size: int) -> bool:
    """Whether an instruction is a sum of one product of each sample that a round should add to: its results, read and
    written again in each round, are fewer than the operands, which are read once more otherwise."""
    *start, products = total.segments or (Segment(0, 0.0, 0.0),)
    if products.count != samples or not _plain(total) or any((s.count, s.right) != (1, 0.0) for s in start):
        return False
    read = [x.slots(total.dims) for x in (products.left, products.right) if isinstance(x, Index) and x.term]
    return 2 * total.members <= size * sum(len(distinct(slots.ravel())) for slots in read)


def _part(step: Instruction, size: int) -> Instruction:
    """The instruction of a few samples, the first of which is `size` further on in each round."""
    part = replace(step, dims=(size, *step.dims[1:]))
    return part.mapped(lambda x, _: replace(x, shifts=(*x.shifts, x.member[0] * size)))


def _part_of_sum(total: Instruction, size: int) -> Instruction:
    """The products of a few samples, added to what the result already is."""

    def part(x: Operand) -> Operand:
        return x if isinstance(x, float) else replace(x, shifts=(*x.shifts, x.term * size))

    out, products = replace(total.out, shifts=(*total.out.shifts, 0)), total.segments[-1]
    added = Segment(size, part(products.left), part(products.right))
    return replace(total, out=out, segments=(Segment(1, 1.0, out), added))


def with_windows(steps: Sequence[Step], loops: Sequence[Loop], results: Ints, first: int, pitch: int) -> list[Step]:
    """The steps, with windows in those of `loops`, made by `in_rounds`. `results` are the slots that are read in the
    end; slot k of sample s is at first + k·pitch + s."""
    made = {id(loop) for loop in loops}
    return [
        _windowed(step, steps, results, first, pitch) if isinstance(step, Loop) and id(step) in made else step
        for step in steps
    ]


def _windowed(loop: Loop, steps: Sequence[Step], results: Ints, first: int, pitch: int) -> Loop:
    """The loop, in which slots of a sample that nothing else reads do not move from round to round."""
    body = body_of(loop)

    def numbers(slots: Ints) -> Ints:
        """The slots of one sample; −1 for those that all share."""
        return np.maximum((slots.ravel() - first) // pitch, -1)

    inside = [(x, numbers(x.slots(i.dims, n))) for i in body for x, n in _places(i)]
    kept = np.ones(2 + max(int(found.max()) for _, found in inside), dtype=bool)  # the last one stands for −1
    for instruction in body:
        kept[numbers(instruction.out.slots(instruction.dims))] = False
    kept[-1] = True
    outside = [results]
    for step in steps:
        if step is not loop:
            outside += [Touch.of(x, i.dims, n, around).all() for i, around in counted(step) for x, n in _places(i)]
    for slots in outside:
        found = numbers(slots)
        kept[found[found < len(kept) - 1]] = True
    before = -1
    while before != (before := int(kept.sum())):  # an operand moves, or stays, with all its slots
        for _, found in inside:
            if kept[found].any():
                kept[found] = True
    stay = {id(x) for x, found in inside if not kept[found].any()}

    def still(x: Index, _: int) -> Index:
        return replace(x, shifts=(*x.shifts[:-1], 0)) if id(x) in stay else x

    return replace(loop, body=tuple(instruction.mapped(still) for instruction in body))
