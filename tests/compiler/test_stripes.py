"""Long instructions that run in stripes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd.compiler import pipeline
from macrograd.compiler.program.compact import compact
from macrograd.compiler.program.program import Loop, Program, verify
from macrograd.compiler.program.stripes import in_stripes
from tests.compiler.meaning import meaning

ROUNDS = 6_000
TERMS = 10_000  # of sums, which are in longer stripes


def handed_down(x: Any) -> Any:
    """Every number is computed from those of the round before at an earlier stage: no round waits for another."""

    def step(i: Any, s: Any) -> Any:
        a, b, c = s
        xi = mg.take(x, i)
        return (xi * 0.5, a * xi + 0.25, b / (2.0 + a * a)), c + 2.0 * b + a

    return mg.loop(len(x), step, (1.0, 1.0, 1.0), collect=True)[1]


def side_by_side(x: Any) -> Any:
    """Two results of every round, one of which is not changed further."""

    def step(i: Any, s: Any) -> Any:
        y = mg.take(x, i) * 2.0 - 1.0
        return s, (y, mg.sqrt(y * y + 1.0) * 0.5)

    return mg.loop(len(x), step, 0.0, collect=True)[1]


def added_up(x: Any) -> Any:
    """A sum of exponentials from a start that is computed before, and what is computed from the sum."""
    total = mg.loop(len(x), lambda i, total: total + mg.exp(mg.take(x, i) - x[0]), 3.0 * x[1])
    return x[0] + mg.log(total * total)


def neighbours(x: Any) -> Any:
    """Sums of products of each number and one further on, and of the numbers and their weights."""

    def step(i: Any, s: Any) -> Any:
        here = mg.exp(mg.take(x, i))
        return s[0] + here * mg.exp(mg.take(x, i + 3)), s[1] + here * mg.take(x, i)

    return mg.loop(len(x) - 3, step, (0.0, 0.5))


def sums_of_sums(x: Any) -> Any:
    """A sum from a start that is known only when another one is added up."""
    first = mg.loop(len(x), lambda i, total: total + mg.exp(mg.take(x, i)), 0.0)
    return mg.loop(len(x), lambda i, total: total + mg.tanh(mg.take(x, i)), mg.log(first))


SUMS = [added_up, neighbours, sums_of_sums]


def squares(x: Any) -> Any:
    """A sum that computes its terms itself: they are never in memory."""
    return mg.loop(len(x), lambda i, total: total + (mg.take(x, i) - x[0]) ** 2, 0.0)


def program_of(fn: Callable[..., Any]) -> Program:
    count = ROUNDS if fn in (handed_down, side_by_side) else TERMS
    return pipeline.value_program(pipeline.record(fn, [(count,)]), batch=False)


@pytest.mark.parametrize("fn", [handed_down, side_by_side, *SUMS])
def test_stripes_do_not_change_what_is_computed(fn: Callable[..., Any]) -> None:
    program = program_of(fn)
    striped = verify(in_stripes(program, 1))
    assert any(isinstance(step, Loop) for step in striped.before)
    expected = meaning(program)
    assert meaning(striped) == expected
    windowed = verify(compact(striped, 1))
    assert meaning(windowed) == expected
    assert windowed.uniform < 0.8 * program.uniform


def test_a_few_numbers_are_not_worth_stripes() -> None:
    program = program_of(side_by_side)
    assert in_stripes(program) is program


def test_native_code_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stripes, which so few numbers would not have, and without."""
    x = np.random.default_rng(0).uniform(-1, 1, ROUNDS)
    without = mg.compile(handed_down)(x)
    monkeypatch.setattr("macrograd.compiler.program.compact.in_stripes", partial(in_stripes, least=1))
    np.testing.assert_array_equal(mg.compile(handed_down)(x), without)


@pytest.mark.parametrize("fn", SUMS)
def test_what_only_a_sum_reads_is_not_in_memory(fn: Callable[..., Any]) -> None:
    program = program_of(fn)
    assert program.uniform > 1.9 * TERMS
    assert compact(in_stripes(program, 1), 1).uniform < 1.4 * TERMS


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
@pytest.mark.parametrize("fn", SUMS)
def test_a_strict_sum_in_stripes_has_the_same_bits(
    fn: Callable[..., Any], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, TERMS)
    without = [np.asarray(mg.compile(fn, strict=strict, backend=backend)(x)) for strict in (True, False)]
    monkeypatch.setattr("macrograd.compiler.program.compact.in_stripes", partial(in_stripes, least=1))
    np.testing.assert_array_equal(mg.compile(fn, strict=True, backend=backend)(x), without[0])
    np.testing.assert_allclose(mg.compile(fn, backend=backend)(x), without[1], rtol=1e-13)


def test_a_sum_that_computes_its_terms_is_left_alone() -> None:
    program = program_of(squares)
    assert in_stripes(program, 1) is program
