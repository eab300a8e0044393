"""The rounds of a loop that are written, and the values kept from all of its rounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from macrograd.value import Value

WRITTEN_OUT = 96  # a loop of at most this many rounds is written out
_NEAR = 8  # counts that differ by at most this belong to loops over one array, and change together


class Unrolled(Exception):  # noqa: N818 - a request, not an error
    """A loop of this many rounds must be written out, because of its body or of how its kept values are used."""

    def __init__(self, count: int, why: str) -> None:
        super().__init__(why)
        self.count, self.why = count, why


class MoreRounds(Exception):  # noqa: N818 - a request, not an error
    """A loop of this many rounds needs at least `least` of them written."""

    def __init__(self, count: int, least: int) -> None:
        super().__init__(f"a loop of {count} rounds is told from {least} of them")
        self.count, self.least = count, least


class Rounds:
    """The number of rounds of a loop that are written.

    out     the counts of loops that are written out in full
    plan    for any other count, the number of rounds written
    counts  the counts met so far of loops that are not written out in full
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
    """The counts in groups that change together."""
    found: list[list[int]] = []
    for count in sorted(counts):
        if found and count - found[-1][-1] <= _NEAR:
            found[-1].append(count)
        else:
            found.append([count])
    return found


class Kept:
    """The values that a long loop kept, one from each round: `count` elements, of which only the first and last few
    exist."""

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

    @property
    def shape(self) -> tuple[int, ...]:
        self._refuse()

    def _refuse(self, *_: Any) -> NoReturn:
        raise Unrolled(
            self._count,
            "the values that a loop kept can be returned, or read by the round number of another loop "
            "(mg.take(kept, i)); for a sum over all rounds, add it up in the state of the loop",
        )

    __iter__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __pow__ = __rpow__ = __neg__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _refuse
