"""The terms of a sum as vectors: sums are added up along them where neighbouring terms are neighbours in memory.

On a machine of scalars, `terms` of whose numbers may be computed at once, long sums are added up that way, and nothing
else is a vector: then a file for one sample has the same text for a processor without vectors, where a vector is a
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from macrograd.compiler.program.program import Index, Operand, Segment
from macrograd.compiler.targets.scalar.access import SCALAR, AffineCounter, Member, SimdVector
from macrograd.compiler.targets.scalar.code import Counter
from macrograd.compiler.targets.scalar.inside import Computed
from macrograd.compiler.targets.scalar.values import Values

_LONG = 16  # terms of a sum that is worth vectors


class Terms(Values):
    """Reads the terms of sums as vectors, and adds them up in vectors where members are scalars."""

    def term_vector(self, x: Operand, member: Member, start: AffineCounter, width: int, valid: int) -> str:
        """An operand at `valid` contiguous terms, followed by any numbers."""
        code = self.code
        if isinstance(x, Computed):
            return self._computed_terms(x, member, start, width, valid)
        if isinstance(x, Index) and x.term == 1:
            position = code.linear(start.offset, [(start.factor, start.counter)])
            if valid == width:
                key = ("term", x.space, x.base, x.shifts, x.member, member, start)
                if key not in self.at.cache:
                    counter = position if not position.lstrip("-").isdigit() else int(position)
                    self.at.cache[key] = code.load(self.at.address(x, member, counter, 0, None), width)
                return self.at.cache[key]
            return code.masked_load(self.at.address(x, member, int(position), 0, None), width, valid)
        if self.at.axis == "none":  # it may be in a register alone
            return self.at.load(x, member, 0, 0, SCALAR)
        scalar = code.splat(x, 1) if isinstance(x, float) else code.load(self.at.address(x, member, 0, 0, None), 1)
        return code.broadcast(scalar, width)

    def _computed_terms(self, x: Computed, member: Member, start: AffineCounter, width: int, valid: int) -> str:
        known = ("terms", x.space, x.base, x.shifts, x.member, x.term, member, start, valid)
        if known not in self.at.cache:
            self.at.cache[known] = self.result_of(
                x.source, lambda y: self.term_vector(y, member, start, width, valid), width
            )
        return self.at.cache[known]

    def in_vectors(self, segment: Segment, tile: Sequence[tuple[Member, SimdVector]]) -> bool:
        """Whether the products of a tile of scalars are added up in vectors along their terms."""
        if not self.machine.terms or self.at.scalable is None or self.at.axis != "none" or segment.count < _LONG:
            return False
        sides = (segment.left, segment.right)
        return tile[0][1].width == 1 and all(map(_even, sides)) and any(map(_moves, sides))

    def by_vectors(self, segment: Segment, tile: Sequence[tuple[Member, SimdVector]], sums: Sequence[str]) -> list[str]:
        """These sums, if there are any, and the products of the segment."""
        scalable, width = self.at.scalable, self.machine.terms
        assert scalable is not None
        known = self.at.cache

        def some(i: Counter, values: Sequence[str | None]) -> list[str]:
            self.at.cache = dict(known)
            place = AffineCounter(1, i, 0)
            new = []
            for value, (member, _) in zip(values, tile, strict=True):
                load = partial(self.term_vector, member=member, start=place, width=width, valid=width)
                left, right = self.factors(segment, load)
                new.append(self.accumulate(value, left, right, width))
            return new

        def one(i: Counter, values: Sequence[str]) -> list[str]:
            self.at.cache = dict(known)
            pairs = [self.pair(segment, member, i, vector) for member, vector in tile]
            return [self.accumulate(value, *pair, 1) for value, pair in zip(values, pairs, strict=True)]

        found = scalable.sums_of_terms(segment.count, some, list(sums) or [None] * len(tile))
        if segment.count % width:
            found = scalable.other_terms(segment.count, one, found)
        self.at.cache = known
        return found


def _even(x: Operand) -> bool:
    """Whether its terms are neighbours or all the same number."""
    if isinstance(x, float):
        return True
    if isinstance(x, Computed):
        return all(_even(y) for y, _ in x.source.operands())
    return x.terms is None and x.full is None and x.term in (0, 1)


def _moves(x: Operand) -> bool:
    if isinstance(x, Computed):
        return any(_moves(y) for y, _ in x.source.operands())
    return isinstance(x, Index) and x.term == 1
