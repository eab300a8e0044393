"""The rounds of a loop that are written, and the values that it kept of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from macrograd.value import Value

WRITTEN_OUT = 96  # rounds: a loop of no more is written out
_NEAR = 8  # counts that differ by no more are of loops over the same array, and change together


class Unrolled(Exception):  # noqa: N818 - a request, not an error
    """A loop of this many rounds has to be written out, because of what is done in it or with what it kept."""

    def __init__(self, count: int, why: str) -> None:
        super().__init__(why)
        self.count, self.why = count, why


class Rounds:
    """How many rounds of a loop are written.

    out     the counts of loops that are written out in full
    plan    the rounds written of a loop of each other count
    counts  of the loops that were met and of which some rounds are written
    """

    def __init__(self, least: int = 16, out: frozenset[int] = frozenset(), plan: dict[int, int] | None = None) -> None:
        self.least, self.out, self.plan = least, out, plan or {}
        self.counts: set[int] = set()

    def of(self, count: int) -> int:
        if count <= WRITTEN_OUT or count in self.out:
            return count
        self.counts.add(count)
        return self.plan.get(count, self.least)


def families(counts: Iterable[int]) -> list[list[int]]:
    """Counts that change together."""
    found: list[list[int]] = []
    for count in sorted(counts):
        if found and count - found[-1][-1] <= _NEAR:
            found[-1].append(count)
        else:
            found.append([count])
    return found


class Kept:
    """The values that a loop of many rounds kept from each: `count` elements, of which the first and last are at
    hand."""

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
            raise IndexError(f"index {k} is out of range for what a loop of {self._count} rounds kept")
        return self.element(k % self._count)

    def element(self, k: int) -> Value:
        written = len(self._elements)
        if k < written // 2:
            return self._elements[k]
        if self._count - k <= written // 2:
            return self._elements[written - (self._count - k)]
        raise Unrolled(self._count, f"element {k} of what it kept was asked for")

    def read(self, k: int) -> Value:
        """The element of round k, by the number of a round: k is less than the rounds written, or as near the end."""
        written = len(self._elements)
        if k < written:
            return self._elements[k]
        if self._count - k <= written:
            return self._elements[written - (self._count - k)]
        raise Unrolled(self._count, f"element {k} of what it kept was asked for")

    @property
    def elements(self) -> list[Value]:
        return self._elements

    @property
    def shape(self) -> tuple[int, ...]:
        self._refuse()

    def _refuse(self, *_: Any) -> NoReturn:
        raise Unrolled(
            self._count,
            "what a loop kept of every round can be returned, or read by the number of the round in another loop "
            "(mg.take(kept, i)); for a sum over all rounds, add it up in the state of the loop",
        )

    __iter__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __pow__ = __rpow__ = __neg__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _refuse
