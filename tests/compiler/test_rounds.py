"""Rounds: how many of a loop are written, and what can be done with the values kept from all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler.trace.rounds import WRITTEN_OUT, Kept, Rounds, Unrolled, families


def test_short_loops_are_written_out_and_long_ones_by_the_plan() -> None:
    rounds = Rounds(16, frozenset({300}), {200: 18})
    assert [rounds.of(n) for n in (5, WRITTEN_OUT, 300)] == [5, WRITTEN_OUT, 300]
    assert rounds.counts == set()
    assert [rounds.of(n) for n in (WRITTEN_OUT + 1, 200)] == [16, 18]
    assert rounds.counts == {WRITTEN_OUT + 1, 200}


def test_counts_near_each_other_change_together() -> None:
    assert families([200, 100, 101, 109, 118, 199]) == [[100, 101, 109], [118], [199, 200]]
    assert families([]) == []


def kept(count: int = 1000, written: int = 16) -> Kept:
    """The value of round k is k: at the end too, since it has to look like one of all rounds."""
    return Kept(count, [Value(float(k if k < written // 2 else count - written + k)) for k in range(written)])


@pytest.mark.parametrize("k", [0, 7, 992, 999, -1, -8])
def test_elements_near_an_end_are_those_of_all_rounds(k: int) -> None:
    assert kept()[k].data == k % 1000


def test_the_middle_must_be_written_out() -> None:
    for k in (8, 500, 991):
        with pytest.raises(Unrolled, match=f"element {k} of its kept values is used"):
            kept()[k]
    with pytest.raises(IndexError, match="index 1000 is out of range for the values kept by a loop of 1000 rounds"):
        kept()[1000]


def test_operations_are_elementwise() -> None:
    x = kept()
    for made in (2.0 * x - 1.0, x + (x - 1.0), -(1.0 - x) + x, mg.where(x < 1e9, 2.0 * x - 1.0, 0.0)):
        assert isinstance(made, Kept)
        assert len(made) == 1000
        assert [made[k].data for k in (0, 5, -1)] == [-1.0, 9.0, 1997.0]
    assert mg.tanh(x)[3].data == mg.tanh(3.0)
    assert len(x.every()) == 16


REFUSED: dict[str, Callable[[Kept], Any]] = {
    "iteration": list,
    "membership": lambda x: 1.0 in x,
    "a slice": lambda x: x[2:5],
    "its shape": lambda x: x.shape,
    "values of another loop": lambda x: x + kept(999),
    "a string": lambda x: x + "1.0",
}


@pytest.mark.parametrize("what", REFUSED)
def test_anything_else_needs_every_element(what: str) -> None:
    with pytest.raises(Unrolled, match="the values that a loop kept can be returned, computed with") as error:
        REFUSED[what](kept())
    assert error.value.count == 1000
