"""The rounds of a loop that are written, and the values kept from all of its rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import lcm
from typing import Any, NoReturn

from macrograd import ops
from macrograd._methods import Methods
from macrograd.value import Value, constant

WRITTEN_OUT = 96  # a loop of at most this many rounds is written out
MOST_NUMBERS = 2**31 - 1  # that a program may hold at once
_NEAR = 8  # counts that differ by at most this belong to loops over one array, and change together


def refuse_numbers(what: str, numbers: int) -> NoReturn:
    """Raise ValueError for a program that would hold too many numbers."""
    raise ValueError(
        f"{what} would hold at least {numbers:,} numbers at once, {numbers * 8 / 1e9:,.0f} GB: a compiled loop keeps "
        f"what each of its rounds computes, and a program can hold {MOST_NUMBERS:,}. Write "
        'mg.loop(…, memory="sqrt"), which computes them again for the derivative'
    )


class Unrolled(Exception):  # noqa: N818 - a request, not an error
    """A loop of this many rounds must be written out, because of its body or of how its kept values are used."""

    def __init__(self, count: int, why: str) -> None:
        super().__init__(why)
        self.count, self.why = count, why


class Slow(Unrolled):
    """It must be written out because its state takes very many rounds to settle, and each round may be a section."""


class NoSections(Exception):  # noqa: N818 - a request, not an error
    """A loop that may stop early must do all of its rounds here."""


class Sectioned(Exception):  # noqa: N818 - a request, not an error
    """A loop of this many rounds must be written as one with `memory=`, because one with it reads what it kept."""

    def __init__(self, count: int) -> None:
        super().__init__(f"a loop with memory= reads what one of {count} rounds kept")
        self.count = count


class EndTogether(Exception):  # noqa: N818 - a request, not an error
    """The rounds of loops that may stop early must end together, so that their number does not decide in which order
    derivatives are added up."""


class KeepsAll(ValueError):  # noqa: N818 - a request, which is an error only where it cannot be met
    """With strict=True, loops with `memory=` must keep everything, because sections would be rounded in another
    order."""


def refuse_derivative(where: str) -> NoReturn:
    """Raises KeepsAll for a derivative of the loop of the function `where`, taken in a strict program."""
    raise KeepsAll(
        f"strict=True and memory= of the loop of {where}, of which a derivative is taken inside the function "
        "(mg.grad): leave out one of the two"
    )


class MoreRounds(Exception):  # noqa: N818 - a request, not an error
    """A loop of this many rounds needs at least `least` of them written."""

    def __init__(self, count: int, least: int) -> None:
        super().__init__(f"a loop of {count} rounds is told from {least} of them")
        self.count, self.least = count, least


FEWEST = 16  # rounds written of a loop that is told from some


class Rounds:
    """The number of rounds of a loop that are written.

    out     the counts of loops that are written out in full
    plan    for any other count, the number of rounds written
    counts  the counts met so far of loops that are not written out in full
    stops   whether loops that may stop early are written as sections
    keeps   whether loops with `memory=` keep everything
    sectioned  the counts of loops that are written as if they had `memory=`
    period  a number of rounds after which those of every loop met so far are alike
    probe   which of the traces this is that tell the sections of a loop (`trace/sections.py`): (attempt, index)
    tied    the checks that the first result is made to depend on, by their numbers
    together  whether rounds of loops whose number the data decide are done at the end, after those that are not
    copies  whether there may be copies of choices in the rounds of long loops, one for each use
    first   whether the trace may ask for others
    plain   whether choices in long loops are operations; None if that is not known yet
    """

    def __init__(
        self,
        least: int = FEWEST,
        out: frozenset[int] = frozenset(),
        plan: dict[int, int] | None = None,
        probe: tuple[int, int] = (0, 0),
        stops: bool = True,
        keeps: bool = False,
        sectioned: frozenset[int] = frozenset(),
        tied: frozenset[int] = frozenset(),
        *,
        together: bool = False,
        copies: bool = True,
        first: bool = True,
        plain: bool | None = None,
    ) -> None:
        self.tied, self.together, self.copies, self.first, self.plain = tied, together, copies, first, plain
        self.stops, self.keeps, self.sectioned = stops, keeps, sectioned
        self.least, self.out, self.plan, self.probe = least, out, plan or {}, probe
        self.counts: set[int] = set()
        self.period = 1

    def other(
        self,
        *,
        least: int | None = None,
        out: frozenset[int] | None = None,
        plan: dict[int, int] | None = None,
        probe: tuple[int, int] = (0, 0),
    ) -> Rounds:
        """The rounds of another trace of the same function."""
        least, out = self.least if least is None else least, self.out if out is None else out
        kept = self.stops, self.keeps, self.sectioned, self.tied
        return Rounds(
            least, out, plan, probe, *kept,
            together=self.together, copies=self.copies, first=False, plain=self.plain,
        )  # fmt: skip

    def repeat(self, period: int) -> None:
        """Note that the rounds of a loop are alike only after a period."""
        self.period = lcm(self.period, period)

    def of(self, count: int) -> int:
        if count <= WRITTEN_OUT or count in self.out:
            return count
        self.counts.add(count)
        return self.plan.get(count, self.least)


def families(counts: Iterable[int]) -> list[list[int]]:
    """The counts in groups that change together."""
    found: list[list[int]] = []
    for count in sorted(counts):
        if found and count - found[-1][-1] <= _NEAR:
            found[-1].append(count)
        else:
            found.append([count])
    return found


class Kept(Methods):
    """The values that a long loop kept, one from each round: `count` elements, of which only those of the rounds that
    are written exist.

    Operations apply to each element, and `every` gives all of them to a sum: with another number of rounds written,
    there would be as many more of the same. Whatever else is done with the elements needs them one by one.
    """

    _spreads = True
    __array_priority__ = 1000.0

    def __init__(self, count: int, elements: list[Value]) -> None:
        self._count, self._elements = count, elements

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Value:
        try:
            k = index.__index__()
        except AttributeError:
            self._refuse()
        if not -self._count <= k < self._count:
            raise IndexError(f"index {k} is out of range for the values kept by a loop of {self._count} rounds")
        return self.element(k % self._count)

    def element(self, k: int) -> Value:
        written = len(self._elements)
        if k < written // 2:
            return self._elements[k]
        if self._count - k <= written // 2:
            return self._elements[written - (self._count - k)]
        raise Unrolled(self._count, f"element {k} of its kept values is used")

    def read(self, k: int) -> Value:
        """The element of round k: k is less than the number of rounds written, or that near to the end."""
        written = len(self._elements)
        if k < written:
            return self._elements[k]
        if self._count - k <= written:
            return self._elements[written - (self._count - k)]
        raise Unrolled(self._count, f"element {k} of its kept values is used")

    @property
    def elements(self) -> list[Value]:
        return self._elements

    def every(self) -> list[Value]:
        """The terms of a sum over all rounds."""
        return self._elements

    @classmethod
    def _apply(cls, op: Any, operands: tuple[Any, ...]) -> Kept:
        """The operation on each element; a number or Value is used for all."""
        kept = [x for x in operands if isinstance(x, Kept)]
        if op.arity is None or any(len(x) != len(kept[0]) for x in kept):
            kept[0]._refuse()
        for x in operands:
            if not isinstance(x, Kept) and constant(x) is None:
                kept[0]._refuse()
        columns = [x.elements if isinstance(x, Kept) else [x] * len(kept[0].elements) for x in operands]
        return Kept(len(kept[0]), [op(*row) for row in zip(*columns, strict=True)])

    @property
    def shape(self) -> tuple[int, ...]:
        self._refuse()

    def _refuse(self, *_: Any) -> NoReturn:
        raise Unrolled(
            self._count,
            "the values that a loop kept can be returned, computed with element by element, added up (mg.sum, mg.mean, "
            "mg.dot), or read by the round number of another loop (mg.take(kept, i)); do anything else within the "
            "loop, in its state",
        )

    __iter__ = __contains__ = _refuse

    def __neg__(self) -> Kept:
        return self._apply(ops.neg, (self,))

    def __abs__(self) -> Kept:
        return self._apply(ops.absolute, (self,))


def _elementwise(op: Any) -> tuple[Callable[[Kept, Any], Kept], Callable[[Kept, Any], Kept]]:
    return lambda a, b: Kept._apply(op, (a, b)), lambda a, b: Kept._apply(op, (b, a))


for _name, _op in (("add", ops.add), ("sub", ops.sub), ("mul", ops.mul), ("truediv", ops.div), ("pow", ops.power)):
    _forwards, _backwards = _elementwise(_op)
    setattr(Kept, f"__{_name}__", _forwards)
    setattr(Kept, f"__r{_name}__", _backwards)
for _name, _op, _turned in (("lt", ops.less, "gt"), ("le", ops.less_equal, "ge")):
    _forwards, _backwards = _elementwise(_op)
    setattr(Kept, f"__{_name}__", _forwards)
    setattr(Kept, f"__{_turned}__", _backwards)
