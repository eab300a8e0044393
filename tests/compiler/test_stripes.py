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


def program_of(fn: Callable[..., Any]) -> Program:
    return pipeline.value_program(pipeline.record(fn, [(ROUNDS,)]), batch=False)


@pytest.mark.parametrize("fn", [handed_down, side_by_side])
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
