"""Stretch: the program of a long loop, from the programs of a few rounds, is the one that rolling all of them gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from literal import Literal

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.program.instruction import Index
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stretch import Uneven, on_lines, points, stretched, with_held
from macrograd.compiler.stretched import Stretched

W = Value(0.9)


def recurrence(rounds: int, factor: float = 0.5) -> Program:
    def f(xs: Any) -> Any:
        state = 0.0
        for x in xs:
            state = mg.tanh(W * state + factor * x)
        return state

    return pipeline.value_program(pipeline.record(f, [(rounds,)]), batch=False)


def test_numbers_are_products_of_lines() -> None:
    def counts(n: int, m: int) -> list[int]:
        return [7, 40 + 3 * n, n - 2 * m, 5 + n * m]

    at = points(2)
    assert {(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (2, 2)} == set(at)
    numbers = np.array([counts(*point) for point in at])
    assert on_lines(numbers, at, (31, 17)).tolist() == counts(31, 17)
    bent = np.array([[n * n] for (n,) in points(1)])
    with pytest.raises(Uneven, match="do not lie on lines"):
        on_lines(bent, points(1), (10,))


def test_it_is_the_program_of_all_rounds() -> None:
    told = stretched([recurrence(20 + k) for (k,) in points(1)], points(1), (40,), (50,))
    assert str(told) == str(recurrence(60))
    xs = np.sin(np.arange(60.0))
    assert Literal(told, [0.9], xs).results() == Literal(recurrence(60), [0.9], xs).results()


def test_programs_that_differ_in_more_are_uneven() -> None:
    few = [recurrence(20), recurrence(21), recurrence(22)]
    with pytest.raises(Uneven, match="differ in more than numbers"):
        stretched([*few[:2], recurrence(22, 0.25)], points(1), (40,), (50,))
    with pytest.raises(Uneven, match="do not lie on lines"):
        stretched([few[0], few[1], recurrence(23)], points(1), (40,), (50,))
    with pytest.raises(Uneven, match="would be"):  # a loop of fewer rounds than none
        stretched(few, points(1), (-30,), (50,))


def test_an_operand_outside_its_space_is_not_believed() -> None:
    programs = [replace(recurrence(20 + k), uniform=100) for (k,) in points(1)]
    with pytest.raises(Uneven, match="outside its space"):
        stretched(programs, points(1), (400,), (50,))


@pytest.mark.parametrize(
    "place",
    [
        lambda k: k ^ (k % 4 in (1, 2)) * 3,  # 0, 2, 1, 3, 4, 6, 5, 7 …
        lambda k: k if k % 2 else k // 2,  # 0, 1, 1, 3, 2, 5, 3, 7 …: each of the two has its own step
    ],
    ids=["one step", "two steps"],
)
def test_tables_grow_by_their_period(place: Any) -> None:
    def f(xs: Any) -> Any:
        return mg.dot(xs, [xs[place(k)] for k in range(len(xs))])

    def program(rounds: int) -> Program:
        return pipeline.value_program(pipeline.record(f, [(4 * rounds,)]), batch=False)

    xs = np.cos(np.arange(4.0 * 40))
    assert any(not x.affine for step in program(40).before for x, _ in step.operands() if not isinstance(x, float))
    told = stretched([program(20 + k) for (k,) in points(1)], points(1), (20,), (50,))
    assert Literal(told, [], xs).results() == Literal(program(40), [], xs).results()


def test_tables_of_more_members_than_terms_grow_by_terms() -> None:
    many = 23

    def f(xs: Any) -> Any:
        length = len(xs) // many
        starts = [k**7 % many for k in range(many)]  # in no order
        return [mg.sum([xs[k**3 % many]] + [xs[a + many * t] for t in range(1, length)]) for k, a in enumerate(starts)]

    def program(rounds: int) -> Program:
        return pipeline.value_program(pipeline.record(f, [(many * rounds,)]), batch=False)

    full = [x.full for step in program(16).before for x, _ in step.operands() if isinstance(x, Index)]
    assert (many, 16) in [x.shape for x in full if x is not None]
    told = stretched([program(16 + k) for (k,) in points(1)], points(1), (24,), (50,))
    xs = np.cos(np.arange(many * 40.0))
    assert Literal(told, [], xs).results() == Literal(program(40), [], xs).results()


def test_interleaved_arrays_of_a_derivative_behind_a_choice_are_told_from_few_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Stretched, "written_out", lambda self: pytest.fail("it was written out"))
    drift, days = Value(0.01), 120

    def payoff(path: Any) -> Any:
        def day(i: Any, state: Any) -> Any:
            logarithm, total = state
            logarithm = logarithm + drift * mg.random.normal(1, path, i)
            return logarithm, total + mg.exp(logarithm)

        return mg.relu(mg.loop(days, day, (0.0, 0.0))[1] - days)

    drift.grad = 0.0
    found = mg.compile(payoff, batch=True).backward(np.arange(5.0))
    eager = Value(0.01)
    total = mg.mean([_paid(eager, k, days) for k in range(5)])
    total.backward()
    assert found == pytest.approx(total.data, rel=1e-12)
    assert drift.grad == pytest.approx(eager.grad, rel=1e-12)


def _paid(drift: Any, path: int, days: int) -> Any:
    logarithm, total = 0.0, 0.0
    for i in range(days):
        logarithm = logarithm + drift * mg.random.normal(1, float(path), float(i))
        total = total + mg.exp(logarithm)
    return mg.relu(total - days)


def test_held_numbers_become_constants() -> None:
    program = replace(recurrence(20), uniform_inputs=3)
    made = with_held(program, np.array([1.5, 2.5]))
    assert made.uniform_inputs == 1
    assert made.constants.tolist() == [*program.constants.tolist(), 1.5, 2.5]
    assert made.first_input == program.first_input
