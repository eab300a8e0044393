"""Repeats: in which sequences of signatures there are rounds, of which period, and which lie in others."""

from __future__ import annotations

import numpy as np
import pytest

from macrograd.compiler.roll.repeats import LEAST_ROUNDS, Candidate, candidates, nested

Found = tuple[int, int, int]


def runs(found: dict[int, Candidate]) -> list[Found]:
    """(first, period, rounds) of each."""
    assert list(found) == [c.first for c in found.values()]
    return [(c.first, c.period, c.rounds) for c in found.values()]


def of(sequence: list[int]) -> list[Found]:
    return runs(candidates(np.array(sequence)))


def test_the_period_is_the_shortest() -> None:
    assert of([1, 2, 3] * 20) == [(0, 3, 20)]
    assert of([7] * 60) == [(0, 1, 60)]


def test_what_comes_before_and_after_is_left_out() -> None:
    assert of([8, 9, *[1, 2, 3] * 20, 1, 2, 10]) == [(2, 3, 20)]  # the last round is not whole


@pytest.mark.parametrize("rounds", [LEAST_ROUNDS - 1, LEAST_ROUNDS])
def test_fewer_rounds_are_no_loop(rounds: int) -> None:
    found = of([90, *[1, 2, 3] * rounds, 91])
    assert found == ([(1, 3, rounds)] if rounds == LEAST_ROUNDS else [])


def test_fewer_groups_in_all_are_no_loop() -> None:
    assert of([90, *[1] * 7, 91]) == []
    assert of([90, *[1] * 8, 91]) == [(1, 1, 8)]


def test_a_sequence_without_a_repeat_has_none() -> None:
    assert of(list(range(100))) == []
    assert of([]) == []


def test_the_two_directions_of_a_recurrence_keep_their_own_periods() -> None:
    """Forward rounds of 4 groups, backward rounds of 6: the common multiple covers both and is not taken."""
    forward, backward = [1, 2, 3, 4] * 30, [5, 6, 7, 8, 9, 10] * 30
    assert of([*forward, 0, *backward]) == [(0, 4, 30), (121, 6, 30)]


def test_short_repetitions_give_way_to_the_rounds_they_lie_in() -> None:
    round_ = [1, 2, 2, 2, 2, 3, 4, 5, 6, 7]
    assert of([70, *round_ * 9, 80]) == [(1, 10, 9)]


def test_neighbours_that_share_a_few_groups_are_both_found() -> None:
    """The end of the first run is also a beginning of the second: it belongs to the one found first."""
    found = candidates(np.array([*[1, 2] * 20, *[1, 2, 3] * 20]))
    first, second = found.values()
    assert (first.period, second.period) == (2, 3)
    assert first.overlap(second) == 0
    assert first.end <= second.first
    assert second.end > 40 + 3 * 18


def test_the_overlap_of_two_runs() -> None:
    run = Candidate(10, 3, 5)
    assert (run.groups, run.end) == (15, 25)
    assert run.overlap(Candidate(20, 2, 10)) == 5
    assert run.overlap(Candidate(25, 2, 10)) == 0
    assert run.overlap(run) == 15


def test_a_run_whose_rounds_hold_a_run_is_found_around_it() -> None:
    """An iteration of ten rounds in each of six steps."""
    step = [5, *[1, 2] * 10, 6]
    inner, outer = nested(np.array([90, *step * 6, 91]))
    assert runs(inner) == [(2 + 22 * k, 2, 10) for k in range(6)]
    assert runs(outer) == [(1, 22, 6)]


def test_runs_of_different_lengths_are_not_the_same_round() -> None:
    steps = [x for k in range(6) for x in [5, *[1, 2] * (10 + k), 6]]
    found = nested(np.array([90, *steps, 91]))
    assert len(found) == 1
    assert [rounds for _, _, rounds in runs(found[0])] == [10, 11, 12, 13, 14, 15]


def test_three_loops_within_each_other_and_no_more() -> None:
    step = [1] * 10
    for mark in (50, 51, 52):
        step = [mark, *step] * 5
    found = nested(np.array(step))
    assert [len(level) for level in found] == [125, 25, 5]
    assert runs(found[2])[0][1:] == (len(step) // 25, 5)
