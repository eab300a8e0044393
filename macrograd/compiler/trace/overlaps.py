"""Arrays that loops read in several ways, as `ys[i]` and `ys[i + 60]`.

The derivative by an element that both read is a sum of two parts. The first few rounds of a loop read different
elements, so if a derivative is taken inside the traced function, which may use it further, a program that is derived
from them has no such sum. They must overlap in the rounds written if they do in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from macrograd.compiler.trace.rounds import MoreRounds, Rounds, Unrolled, families

_MARGIN = 16

_Way = tuple[int, tuple[tuple[int, int], ...]]  # the constant of an index, and (count of a loop, factor) of each number


class Overlaps:
    """The ways in which each array is read.

    differentiated  whether a derivative is taken inside the traced function
    """

    def __init__(self) -> None:
        self.differentiated = False
        self._ways: dict[int, tuple[Any, set[_Way]]] = {}

    def add(self, values: Any, constant: int, factors: Sequence[tuple[int, int]]) -> None:
        _, ways = self._ways.setdefault(id(values), (values, set()))
        ways.add((constant, tuple(sorted(factors))))

    def check(self, rounds: Rounds) -> None:
        """Raise MoreRounds or Unrolled if the rounds written show too little."""
        if not self.differentiated:
            return
        for _, ways in self._ways.values():
            for first, other in combinations(sorted(ways), 2):
                self._compare(first, other, rounds)

    def _compare(self, first: _Way, other: _Way, rounds: Rounds) -> None:
        counts = sorted({count for _, factors in (first, other) for count, _ in factors if count in rounds.counts})
        if not counts:
            return
        strides = [[factor for _, factor in factors] for _, factors in (first, other)]
        if strides[0] != strides[1] or len(families(counts)) > 1 or 0 in strides[0]:
            raise Unrolled(
                counts[-1],
                "a derivative is taken inside the function, and an array is read in several ways whose rounds meet "
                "only after many. Take the derivative of the compiled function instead",
            )
        apart = abs(other[0] - first[0])
        stride = min(map(abs, strides[0]))
        if apart >= stride * counts[-1]:
            return  # they never meet
        least = apart // stride + _MARGIN
        if any(rounds.of(count) < least for count in counts):
            raise MoreRounds(counts[-1], least)
