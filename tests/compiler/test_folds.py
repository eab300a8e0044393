"""Folds in columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import ops
from macrograd.compiler import pipeline
from macrograd.compiler.program import folds
from macrograd.compiler.program.compact import with_few_slots
from macrograd.compiler.program.folds import in_columns
from macrograd.compiler.program.instruction import Loop
from macrograd.compiler.program.program import Program, verify

UNORDERED = [op for op in ops.TABLE if op.unordered]
SPECIAL = [0.0, -0.0, 1.0, -1.5, float("inf"), -float("inf"), float("nan")]


def fold(name: str, start: float) -> Callable[..., Any]:
    op = ops.by_name(name)
    return lambda x: mg.loop(len(x), lambda i, found: op(found, mg.take(x, i)), start)


def program_of(fn: Callable[..., Any], rounds: int) -> Program:
    return pipeline.value_program(pipeline.record(fn, [(rounds,)]), batch=False)


def most_rounds(program: Program) -> int:
    return max(step.count for step in program.before if isinstance(step, Loop))


def same(a: Any, b: Any) -> bool:
    """Equal bits, NaNs aside."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    there = ~np.isnan(a)
    return bool((there == ~np.isnan(b)).all() and a[there].tobytes() == b[there].tobytes())


@pytest.mark.parametrize("op", UNORDERED, ids=lambda op: op.name)
def test_any_order_gives_the_same_number(op: ops.Op) -> None:
    """What the table says of a row is true: otherwise columns would change results."""
    for a in SPECIAL:
        assert same(op(a, a), a)
        for b in SPECIAL:
            assert same(op(a, b), op(b, a))
            for c in SPECIAL:
                assert same(op(op(a, b), c), op(a, op(b, c)))


def test_the_largest_and_the_least_are_rows_that_may_be_folded_in_any_order() -> None:
    assert [op.name for op in UNORDERED] == ["maximum", "minimum"]


@pytest.mark.parametrize("rounds", [260, 261, 300, 319, 320, 640])
@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_columns_find_the_number_wherever_it_stands(name: str, rounds: int) -> None:
    """Of every round one is decisive in turn, and the start once."""
    sign = 1.0 if name == "maximum" else -1.0
    columns = verify(in_columns(program_of(fold(name, 0.0), rounds)))
    assert most_rounds(columns) == folds.COLUMNS - 1
    f = mg.compile(fold(name, 0.5 * sign), backend="numpy")
    for k in range(0, rounds, 29 if rounds > 260 else 3):
        x = np.zeros(rounds)
        x[k] = sign
        assert f(x) == sign
    assert f(np.zeros(rounds)) == 0.5 * sign


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_zeros_infinities_and_nans_are_those_of_the_loop(backend: str, strict: bool) -> None:
    rounds = 300
    several = mg.compile(
        lambda x: [fold("maximum", -float("inf"))(x), fold("minimum", float("inf"))(x), fold("maximum", -0.0)(x)],
        backend=backend, strict=strict,
    )  # fmt: skip
    negative = np.full(rounds, -0.0)
    for place in (0, 191, 299):
        for number in SPECIAL:
            x = negative.copy()
            x[place] = number
            eager = [float(fold(*how)(x.tolist())) for how in _three()]
            assert same(several(x), eager)


def _three() -> list[tuple[str, float]]:
    return [("maximum", -float("inf")), ("minimum", float("inf")), ("maximum", -0.0)]


def test_several_folds_leave_a_loop_that_goes_on_without_them() -> None:
    rounds = 300

    def fn(x: Any) -> Any:
        def step(i: Any, state: Any) -> Any:
            high, low, slow = state
            number = mg.take(x, i)
            return mg.maximum(number, high), mg.minimum(low, mg.take(x, rounds - 1 - i)), 0.5 * slow + number

        return list(mg.loop(rounds, step, (-1.0, 1.0, 0.0)))

    columns = verify(in_columns(program_of(fn, rounds)))
    loops = [step for step in columns.before if isinstance(step, Loop)]
    assert most_rounds(columns) > rounds - 8
    assert sum(loop.count == folds.COLUMNS - 1 for loop in loops) == 2
    x = np.random.default_rng(0).normal(size=rounds)
    compiled, eager = mg.compile(fn, strict=True)(x), [float(v) for v in fn(x.tolist())]
    assert same(compiled, eager)


def test_a_fold_that_something_follows_step_by_step_stays() -> None:
    """The numbers of all rounds are results, or a derivative goes back through them, or another state reads them."""
    rounds = 300

    def kept(x: Any) -> Any:
        return mg.loop(rounds, lambda i, s: (mg.maximum(s, mg.take(x, i)),) * 2, 0.0, collect=True)[1]

    def read(x: Any) -> Any:
        def step(i: Any, state: Any) -> Any:
            high, total = state
            return mg.maximum(high, mg.take(x, i)), 0.5 * total + high

        return mg.loop(rounds, step, (0.0, 0.0))[1]

    for fn in (kept, read):
        program = program_of(fn, rounds)
        assert in_columns(program) is program
    x = np.linspace(-1.0, 2.0, rounds)
    np.testing.assert_array_equal(mg.compile(kept)(x), np.maximum(x, 0.0))
    slopes = mg.compile(mg.grad(fold("maximum", 0.0)))(x)
    np.testing.assert_array_equal(slopes, np.arange(rounds) == rounds - 1)


def test_a_fold_of_numbers_that_its_loop_computes_stays() -> None:
    rounds = 300

    def fn(x: Any) -> Any:
        def step(i: Any, state: Any) -> Any:
            high, slow = state
            slow = 0.5 * slow + mg.take(x, i)
            return mg.maximum(high, slow), slow

        return mg.loop(rounds, step, (0.0, 0.0))[0]

    program = program_of(fn, rounds)
    assert in_columns(program) is program
    x = np.random.default_rng(0).normal(size=rounds)
    assert same(mg.compile(fn, strict=True)(x), float(fn(x.tolist())))


def test_short_folds_and_compact_programs_stay_as_they_are() -> None:
    short = program_of(fold("maximum", 0.0), 4 * folds.COLUMNS - 1)
    assert in_columns(short) is short
    few = with_few_slots(program_of(fold("maximum", 0.0), 300))
    assert few.reused
    assert with_few_slots(few) is few
    assert in_columns(few) is few


def test_a_program_with_columns_still_has_windows() -> None:
    """Another loop of the program writes its slots again in every round, as it does without a fold beside it."""
    rounds = 6_000

    def slow(x: Any) -> Any:
        return mg.loop(rounds, lambda i, s: mg.tanh(s) + mg.take(x, i), 0.0)

    alone = with_few_slots(program_of(slow, rounds))
    both = verify(with_few_slots(program_of(lambda x: slow(x) + fold("maximum", 0.0)(x), rounds)))
    assert both.uniform < alone.uniform + 200
