"""Overlaps: arrays that loops read in several ways show in the rounds written where these meet, if they do in all."""

from __future__ import annotations

import pytest

from macrograd.compiler.trace.overlaps import Overlaps
from macrograd.compiler.trace.rounds import MoreRounds, Rounds, Unrolled

ARRAY = [0.0]


def overlaps(*ways: tuple[int, list[tuple[int, int]]], differentiated: bool = True) -> Overlaps:
    found = Overlaps()
    found.differentiated = differentiated
    for constant, factors in ways:
        found.add(ARRAY, constant, factors)
    return found


def rounds(*counts: int, least: int = 16) -> Rounds:
    made = Rounds(least)
    for count in counts:
        made.of(count)
    return made


def test_ways_that_meet_later_ask_for_more_rounds() -> None:
    """i and i + 60 meet after 60 rounds."""
    with pytest.raises(MoreRounds) as more:
        overlaps((0, [(1000, 1)]), (60, [(1000, 1)])).check(rounds(1000))
    assert more.value.count == 1000
    assert more.value.least > 60
    overlaps((0, [(1000, 1)]), (60, [(1000, 1)])).check(rounds(1000, least=more.value.least))
    with pytest.raises(MoreRounds) as fewer:  # 2i and 2i + 60 after 30
        overlaps((0, [(1000, 2)]), (60, [(1000, 2)])).check(rounds(1000))
    assert 30 < fewer.value.least < more.value.least


def test_what_does_not_meet_is_left_alone() -> None:
    overlaps((0, [(1000, 1)]), (1000, [(1000, 1)])).check(rounds(1000))  # one half after the other
    overlaps((0, [(1000, 1)])).check(rounds(1000))
    overlaps((0, [(1000, 1)]), (60, [(1000, 1)]), differentiated=False).check(rounds(1000))
    overlaps((0, [(50, 1)]), (20, [(50, 1)])).check(rounds(50))  # written out: all of it is seen
    apart = overlaps((0, [(1000, 1)]))
    apart.add([1.0], 60, [(1000, 1)])  # of another array
    apart.check(rounds(1000))


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ([(1000, 1)], [(1000, -1)]),  # forwards and backwards: they meet in the middle
        ([(1000, 1)], [(1000, 2)]),
        ([(1000, 1)], [(2000, 1)]),  # loops of different counts
        ([(1000, 1)], []),  # one element of it alone
    ],
)
def test_ways_that_meet_anywhere_are_refused(first: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    with pytest.raises(Unrolled, match="read in several ways whose rounds meet only after many"):
        overlaps((0, first), (3, other)).check(rounds(1000, 2000))
