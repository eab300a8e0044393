"""Calls: a stretch of a program that is recorded once, as a Value with several results.

A call runs the sections of a loop (`sections.py`), one after the other, or a branch as a single section. On a tape its
operands are, in this order:

    carry     the state that the sections hand on
    outside   other numbers, the same for all sections
    reads     numbers of which each round reads its own
    rows      calls that filled a row of numbers for each section

and its results are the carry after the last section, and what its rounds put out. It also fills rows: number 0 is the
carry before each section, the others belong to derivatives.

The derivative of a call is another call, whose sections run in the opposite order:

    carry     the adjoints of the carry, and for each wanted number from outside the sum of the contributions so far
    outside   as before
    reads     as before, and the adjoints of what the rounds put out
    rows      the carry before each section, rows as before, and the adjoints of rows, where something used these
    results   the adjoints of the carry, the sums, the adjoints of wanted reads
    filled    the adjoints of wanted rows

The derivative in a direction, the tangent, is a third one, whose sections run in the same order:

    carry     the tangents of what changes of the carry
    outside   as before, and the tangents of numbers from outside
    reads     as before, and the tangents of reads
    rows      the carry before each section, rows as before, and the tangents of rows
    results   the tangents of what changes of the carry and of what the rounds put out
    filled    the tangents of the rows that are filled

So the derivatives of derivatives, of either kind, are calls, too.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Protocol

from macrograd._dataclass import dataclass


@dataclass(frozen=True)
class Shape:
    """The numbers of a call: operands in `carry`, from `outside`, and of each read; numbers in a row of each kind; and
    what all its rounds put out, for each kind."""

    carry: int
    outside: int
    reads: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    outs: tuple[int, ...] = ()

    @property
    def inner(self) -> int:
        return self.carry + self.outside

    @property
    def scalars(self) -> int:
        return self.inner + sum(self.reads)

    @property
    def results(self) -> int:
        return self.carry + sum(self.outs)

    def read_of(self, position: int) -> tuple[int, int]:
        """The read that an operand belongs to, and its place in it."""
        position -= self.inner
        for k, many in enumerate(self.reads):
            if position < many:
                return k, position
            position -= many
        raise IndexError(position)

    def positions(self, read: int) -> range:
        """The positions of the operands of a read."""
        begin = self.inner + sum(self.reads[:read])
        return range(begin, begin + self.reads[read])


@dataclass(frozen=True)
class Derivative:
    """A call that differentiates another.

    wanted  the positions of the scalar operands that it is taken by
    rows    the numbers of the rows that it is taken by
    added   for each adjoint of a row that the other call filled: the row, and the call and the row of the adjoint
    masked  whether the last operand from outside is 0 where a choice did not take the other call: its rows get nothing
    """

    of: int
    wanted: tuple[int, ...]
    rows: tuple[int, ...]
    added: tuple[tuple[int, int, int], ...]
    masked: bool = False


@dataclass(frozen=True)
class Tangent:
    """A call that is the derivative of another in a direction.

    wanted  the positions of the scalar operands that change
    added   for each row that changes: the row, and the call and the row of its tangent
    carry   the positions in the carry that change in some round; `outs` the kinds of what the rounds put out
    """

    of: int
    wanted: tuple[int, ...]
    added: tuple[tuple[int, int, int], ...]
    carry: tuple[int, ...]
    outs: tuple[int, ...]


Derived = Derivative | Tangent
Positions = tuple[int, ...]


class Primal(Protocol):
    """What a call runs that is no derivative."""

    def shape(self) -> Shape: ...

    def changing(self, wanted: Container[int]) -> tuple[Positions, Positions]:
        """The positions in the carry, and the kinds of what the rounds put out, that change with these operands."""


class Calls:
    """The calls of a program, by number."""

    def __init__(self) -> None:
        self.made: list[Primal | Derived] = []
        self._traced = 0
        self._numbers: dict[Derived, int] = {}
        self._shapes: dict[int, Shape] = {}
        self._wanted: dict[int, tuple[Derived, tuple[list[int], list[int]]]] = {}

    def add(self, section: Primal) -> int:
        self.made.append(section)
        return len(self.made) - 1

    def derived(self, made: Derived) -> int:
        """The number of a derivative."""
        if made not in self._numbers:
            self._numbers[made] = len(self.made)
            self.made.append(made)
        return self._numbers[made]

    def origin(self, number: int) -> tuple[int, int, int]:
        """The section that a call is derived from, how often, and how often in reverse."""
        order = reverse = 0
        while isinstance(found := self.made[number], Derived):
            number, order, reverse = found.of, order + 1, reverse + isinstance(found, Derivative)
        return number, order, reverse

    def outline(self) -> list[Derived | Shape]:
        """What the numbers that a trace gave mean."""
        return [x if isinstance(x, Derived) else x.shape() for x in self.made[: self._traced]]

    def finish(self) -> None:
        """The trace is done: later numbers are those of derivatives of its tape."""
        self._traced = len(self.made)

    def shape(self, number: int) -> Shape:
        if number not in self._shapes:
            made = self.made[number]
            self._shapes[number] = self._derived(made) if isinstance(made, Derived) else made.shape()
        return self._shapes[number]

    def _derived(self, made: Derived) -> Shape:
        of, sums = self.shape(made.of), len(self.sums(made))
        added = tuple([self.width(call, theirs) for _, call, theirs in made.added])
        rows = (of.carry, *of.rows, *added)
        reads = tuple([of.reads[k] for k in self.wanted_reads(made)])
        if isinstance(made, Derivative):
            return Shape(of.carry + sums, of.outside + made.masked, (*of.reads, *of.outs), rows, reads)
        outs = tuple([of.outs[k] for k in made.outs])
        return Shape(len(made.carry), of.outside + sums, (*of.reads, *reads), rows, outs)

    def sums(self, made: Derived) -> list[int]:
        """The wanted positions from outside."""
        return self._wanted_of(made)[0]

    def wanted_reads(self, made: Derived) -> list[int]:
        """The reads of which some operand is wanted."""
        return self._wanted_of(made)[1]

    def _wanted_of(self, made: Derived) -> tuple[list[int], list[int]]:
        # Asked for each of hundreds of operands. By its id, as a hash reads all of it; it is kept alive.
        if id(made) not in self._wanted:
            of = self.shape(made.of)
            sums = [p for p in made.wanted if of.carry <= p < of.inner]
            reads = list(dict.fromkeys(of.read_of(p)[0] for p in made.wanted if p >= of.inner))
            self._wanted[id(made)] = made, (sums, reads)
        return self._wanted[id(made)][1]

    def width(self, number: int, row: int) -> int:
        """How many numbers a row that a call filled has."""
        if not row:
            return self.shape(number).carry
        made = self.made[number]
        assert isinstance(made, Derived)
        return self.width(made.of, row) if isinstance(made, Tangent) else self.shape(made.of).rows[made.rows[row - 1]]

    def fills(self, number: int) -> list[int]:
        """The widths of the rows that a call fills besides the carry."""
        made = self.made[number]
        if isinstance(made, Tangent):
            return self.fills(made.of)
        return [self.width(number, 1 + k) for k in range(len(made.rows))] if isinstance(made, Derivative) else []

    def filled(self, number: int, row: int) -> tuple[int, int]:
        """The call that filled a row of a call, and the row's number there."""
        made = self.made[number]
        assert isinstance(made, Derived)
        if not row:
            return made.of, 0
        before = len(self.shape(made.of).rows)
        return self.filled(made.of, row - 1) if row <= before else made.added[row - 1 - before][1:]

    def place(self, made: Derivative, position: int) -> int:
        """The number of the result that is the derivative by an operand."""
        of = self.shape(made.of)
        if position < of.carry:
            return position
        sums = self.sums(made)
        if position < of.inner:
            return of.carry + sums.index(position)
        read, k = of.read_of(position)
        reads = self.wanted_reads(made)
        return of.carry + len(sums) + sum(of.reads[x] for x in reads[: reads.index(read)]) + k

    def asked(self, number: int, wanted: Container[int]) -> tuple[Positions, Positions]:
        """Of the wanted operand positions those of scalars, and the rows that the others are."""
        shape = self.shape(number)
        rows = tuple([k for k in range(len(shape.rows)) if shape.scalars + k in wanted])
        return tuple([p for p in range(shape.scalars) if p in wanted]), rows

    # --- tangents -------------------------------------------------------------------------------------------------

    def changing(self, number: int, wanted: Container[int]) -> tuple[Positions, Positions]:
        """The positions in the carry, and the kinds of what the rounds put out, that change with these operands. Of a
        derivative, all: it is linear in its carry, so that a tangent of 0 does no harm."""
        made = self.made[number]
        if not isinstance(made, Derived):
            return made.changing(wanted)
        shape = self.shape(number)
        return tuple(range(shape.carry)), tuple(range(len(shape.outs)))

    def changed(self, number: int, row: int) -> Sequence[int]:
        """The places in a row whose tangents are those in this row of a tangent."""
        made = self.made[number]
        assert isinstance(made, Tangent)
        return made.carry if not row else range(self.width(made.of, row))

    def tangent(
        self,
        number: int,
        call: Any,
        inputs: Sequence[Any],
        along: Mapping[int, Any],
        number_of: Callable[[Any], int],
        zero: Any,
    ) -> tuple[int, list[Any]] | None:
        """The number and the operands of the tangent of a call with these inputs; `along` are the tangents of some of
        them, by position: of a row that of the call that filled it, whose number is `number_of`. None if it has no
        results."""
        shape = self.shape(number)
        wanted, rows = self.asked(number, along)
        fillers = [along[shape.scalars + k] for k in rows]
        added = [(k, number_of(x), self.filled(number, k)[1]) for k, x in zip(rows, fillers, strict=True)]
        carry, outs = self.changing(number, along)
        if not carry and not outs and not self.fills(number):
            return None
        made = Tangent(number, wanted, tuple(added), carry, outs)
        reads = [p for k in self.wanted_reads(made) for p in shape.positions(k)]
        operands = [
            *(along.get(p, zero) for p in carry),
            *inputs[shape.carry : shape.inner],
            *(along[p] for p in self.sums(made)),
            *inputs[shape.inner : shape.scalars],
            *(along.get(p, zero) for p in reads),
            call,
            *inputs[shape.scalars :],
            *fillers,
        ]
        return self.derived(made), operands

    def tangent_of(self, number: int, result: int) -> int | None:
        """The number of the result of a tangent that is the tangent of this result; None if that does not change."""
        made = self.made[number]
        assert isinstance(made, Tangent)
        of = self.shape(made.of)
        if result < of.carry:
            return made.carry.index(result) if result in made.carry else None
        result, begin = result - of.carry, len(made.carry)
        for kind, many in enumerate(of.outs):
            if result < many:
                return begin + result if kind in made.outs else None
            result, begin = result - many, begin + many * (kind in made.outs)
        raise IndexError(result)
