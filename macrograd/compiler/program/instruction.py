"""The parts of programs: operands, instructions, loops. Their grammar is in `program.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from math import prod

import numpy as np

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.tape.tape import Ints

_COUNTERS, _ROUNDS = "ijk", "rsq"
KINDS = ("map", "dot", "reduce", "take", "scatter")
SUMS_OF_BATCH = ("reduce", "scatter")  # kinds of instructions that sum over the lanes of a block


class ProgramError(ValueError):
    """A program that breaks an invariant: always a bug in a pass, never the user's fault."""


@dataclass(frozen=True, eq=False)
class Index:
    """Slots of an operand: base + Σ member[d]·counter[d] + term·t, plus tables over members, terms or both.

    The table over members has an axis for each counter, of length 1 if the counter makes no difference; the table over
    both is (members, terms). `shifts` are the slots that it moves per round of each loop around it, outermost first.
    """

    space: str
    base: int
    member: tuple[int, ...]
    term: int = 0
    members: Ints | None = None
    terms: Ints | None = None
    full: Ints | None = None
    shifts: tuple[int, ...] = ()

    @property
    def shift(self) -> int:
        """The slots that it moves per round of the innermost loop around it."""
        return self.shifts[-1] if self.shifts else 0

    def moved(self, rounds: tuple[int, ...]) -> int:
        """The slots that it has moved by these rounds of the loops around it, outermost first."""
        return sum([shift * round_ for shift, round_ in zip(self.shifts, rounds, strict=False)]) if rounds else 0

    def slots(self, dims: tuple[int, ...], count: int = 1, rounds: tuple[int, ...] = ()) -> Ints:
        """All slots in these rounds of the loops around it, as an array of shape (members, terms)."""
        n = prod(dims)
        if self.full is not None:
            return self.full.reshape(n, count) + self.moved(rounds)
        if n == 1 and count == 1 and self.affine:
            return np.full((1, 1), self.base + self.moved(rounds), dtype=np.int64)
        offsets = np.zeros(dims, dtype=np.int64)
        for axis, stride in enumerate(self.member):
            if not stride:
                continue
            shape = [1] * len(dims)
            shape[axis] = dims[axis]
            offsets = offsets + (np.arange(dims[axis]) * stride).reshape(shape)
        rows = self.base + self.moved(rounds) + offsets.reshape(n, 1)
        if self.members is not None:
            rows = rows + np.broadcast_to(self.members, dims).reshape(n, 1)
        columns = np.arange(count) * self.term
        if self.terms is not None:
            columns = columns + self.terms
        found: Ints = rows + columns
        return found

    @property
    def affine(self) -> bool:
        return self.members is None and self.terms is None and self.full is None

    def displaced(self, by: int) -> Index:
        """The same operand so many slots further on."""
        if self.full is not None:  # these are whole slots, and the base is 0
            return replace(self, full=self.full + by)
        return replace(self, base=self.base + by)

    def __str__(self) -> str:
        text = str(self.base)
        counters = (*_COUNTERS[: len(self.member)], "t", *_ROUNDS[: len(self.shifts)])
        for stride, counter in zip((*self.member, self.term, *self.shifts), counters, strict=True):
            if stride:
                text += (
                    f"{'+' if stride > 0 else '-'}{abs(stride)}{counter}"
                    if abs(stride) != 1
                    else f"{'+' if stride > 0 else '-'}{counter}"
                )
        if not self.affine:
            text += "+table"
        return f"{self.space}[{text}]"


Operand = Index | float


@dataclass(frozen=True, eq=False)
class Segment:
    """`count` terms of a sum, each a product left·right."""

    count: int
    left: Operand
    right: Operand

    def __str__(self) -> str:
        return f"+ {self.count}×({self.left} {self.right})"


@dataclass(frozen=True, eq=False)
class Instruction:
    """One group of members; `kind` is map, dot, reduce, take or scatter.

    code      the operation's row, for a map
    dims      the number of members, per nested counter
    out       the slots of the results
    args      operands of a map; (index, values) of a take, whose values are counted by t; (index, term) of a scatter,
              both counted by t, and neither by the last counter of the members
    segments  the terms of a dot or reduce
    count     the number of values of t, for a take or scatter
    choice    the index that chooses a scatter's first member along the last counter
    """

    kind: str
    code: int
    dims: tuple[int, ...]
    out: Index
    args: tuple[Operand, ...] = ()
    segments: tuple[Segment, ...] = ()
    count: int = 1
    choice: int = 0

    @property
    def members(self) -> int:
        return prod(self.dims)

    @property
    def terms(self) -> int:
        return sum(segment.count for segment in self.segments)

    def operands(self) -> Iterator[tuple[Operand, int]]:
        """Every operand, each with its number of terms."""
        if self.kind in ("take", "scatter"):
            yield self.args[0], 1 if self.kind == "take" else self.count
            yield self.args[1], self.count
            return
        for arg in self.args:
            yield arg, 1
        for segment in self.segments:
            yield segment.left, segment.count
            yield segment.right, segment.count

    def mapped(
        self, index: Callable[[Index, int], Index], number: Callable[[float], Operand] = lambda x: x
    ) -> Instruction:
        """The same with other operands and another result: `index` gets each and the number of its terms, `number` each
        that is a number."""

        def operand(x: Operand, count: int) -> Operand:
            return index(x, count) if isinstance(x, Index) else number(x)

        return replace(
            self,
            out=index(self.out, 1),
            args=tuple([operand(x, count) for x, count in islice(self.operands(), len(self.args))]),
            segments=tuple(
                [Segment(s.count, operand(s.left, s.count), operand(s.right, s.count)) for s in self.segments]
            ),
        )

    def __str__(self) -> str:
        dims = "×".join(map(str, self.dims))
        if self.kind == "take":
            what = f"take {self.args[0]} from {self.count}×({self.args[1]})"
        elif self.kind == "scatter":
            what = f"scatter {self.count}×({self.args[0]} {self.args[1]}) from {self.choice}"
        elif self.kind == "map":
            what = " ".join([ops.TABLE[self.code].name, *map(str, self.args)])
        else:
            what = " ".join([self.kind, *map(str, self.segments)])
        return f"{self.out} = {what} for {dims}"


@dataclass(frozen=True, eq=False)
class Loop:
    """Steps that run `count` times, one round after the other.

    guard  a round whose guard is 0, for all samples of a block, would change nothing: a target may leave it out
    """

    count: int
    body: tuple[Instruction | Loop, ...]
    guard: Index | None = None

    def __str__(self) -> str:
        lines = [line for step in self.body for line in str(step).split("\n")]
        guarded = f" while {self.guard}" if self.guard is not None else ""
        return "\n".join([f"loop {self.count}{guarded}:", *(f"  {line}" for line in lines)])


Step = Instruction | Loop | Stream
