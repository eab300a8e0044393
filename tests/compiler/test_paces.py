"""Recurrences whose chains advance at different speeds are one loop all the same, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Loop, Program, Step
from macrograd.compiler.roll import levels, paces

Case = tuple[Callable[..., Any], int]  # a function, and its number of arrays


def kalman() -> Case:
    q, r = Value(0.1), Value(0.5)

    def likelihood(y: Any) -> Any:
        m, p, s = 0.0, 1.0, 0.0
        for x in y:
            p = p + q
            e, total = x - m, p + r
            k = p / total
            m = m + k * e
            p = (1.0 - k) * p
            s = s + mg.log(total) + e * e / total
        return s

    return likelihood, 1


def every_round() -> Case:
    """The same with the mean of what each round gives, two arrays, and steps of a time of their own."""
    q, r = Value(0.1), Value(0.5)

    def likelihood(y: Any, weight: Any) -> Any:
        m, p, found = 0.0, 1.0, []
        for x, w in zip(y, weight, strict=True):
            p = p + q * w * w
            e, total = x - m, p + r
            k = p / total
            m = m + k * e
            p = (1.0 - k) * p
            found.append(w * (mg.log(total) + e * e / total))
        return mg.mean(found)

    return likelihood, 2


def trend() -> Case:
    """A level and its slope: two means and three covariances."""
    a, b, c = Value(0.1), Value(0.05), Value(0.5)

    def likelihood(y: Any) -> Any:
        level, slope, p, q, r, s = 0.0, 0.0, 1.0, 0.0, 1.0, 0.0
        for x in y:
            level = level + slope
            p, q, r = p + 2.0 * q + r + a, q + r, r + b
            e, total = x - level, p + c
            k, g = p / total, q / total
            level, slope = level + k * e, slope + g * e
            p, q, r = p - k * p, q - k * q, r - g * q
            s = s + mg.log(total) + e * e / total
        return s

    return likelihood, 1


def apart() -> Case:
    """Two recurrences of different depth that have nothing to do with each other."""
    a, b = Value(0.3), Value(0.7)

    def fn(y: Any) -> Any:
        h, g = 0.0, 0.0
        for x in y:
            h = mg.sin(mg.tanh(a * h + x) + b)
            g = mg.tanh(b * g + x)
        return h + g

    return fn, 1


def one_after_the_other() -> Case:
    a, b = Value(0.3), Value(0.7)

    def fn(y: Any) -> Any:
        h, g = 0.0, 0.0
        for x in y:
            h = mg.sin(mg.tanh(a * h + x) + b)
        for x in y:
            g = mg.tanh(b * g + x)
        return h + g

    return fn, 1


CASES = {f.__name__: f for f in (kalman, every_round, trend, apart, one_after_the_other)}


def program(case: Case, n: int) -> Program:
    fn, arrays = case
    return pipeline.gradient_program(pipeline.record(fn, [(n,)] * arrays), batch=False)


def rounds(steps: tuple[Step, ...]) -> list[int]:
    return [step.count for step in steps if isinstance(step, Loop)]


@pytest.mark.parametrize("n", [150, 1000])
@pytest.mark.parametrize("name", CASES)
def test_both_directions_are_loops_of_nearly_all_rounds(name: str, n: int) -> None:
    found = program(CASES[name](), n)
    loops = rounds(found.steps())
    assert sum(count >= n - 16 for count in loops) == len(loops) >= 2
    assert len(found.instructions()) < 130


def test_code_does_not_grow_with_the_rounds() -> None:
    sizes = {len(program(kalman(), n).instructions()) for n in (400, 800, 1600)}
    assert len(sizes) == 1


def test_without_it_the_two_chains_get_out_of_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is what this module is for: if it is no longer so, it may go."""
    monkeypatch.setattr(levels, "paced", lambda tape, level, kind: level)
    assert min(rounds(program(kalman(), 1000).steps())) < 500


@pytest.mark.parametrize(("n", "strict"), [(9, False), (33, True), (300, False), (300, True)])
@pytest.mark.parametrize("name", CASES)
def test_they_are_eager(name: str, n: int, strict: bool, backend: str) -> None:
    fn, arrays = CASES[name]()
    x = np.random.default_rng(n).normal(size=(arrays, n))
    f = mg.compile(fn, backend=backend, strict=strict)
    value = f.backward(*x)
    found = [p.grad for p in f.parameters]
    for p in f.parameters:
        p.grad = 0.0
    expected = fn(*x.tolist())
    expected.backward()
    assert value == pytest.approx(expected.data, rel=1e-11)
    np.testing.assert_allclose(found, [p.grad for p in f.parameters], rtol=1e-8)


def test_runs_are_found_where_they_are() -> None:
    head, body = np.arange(100, 140), np.tile([7, 8, 9, 7, 5], 300)
    kind = np.concatenate([head, body, head + 100, np.tile([1, 2], 500)])
    first, second = paces.repetitions(kind)
    assert (first.first, first.period, first.rounds) == (40, 5, 300)
    assert (second.period, second.end) == (2, len(kind))
    assert list(paces.repetitions(np.random.default_rng(0).integers(0, 6, 20000))) == []
    assert list(paces.repetitions(np.zeros(0, dtype=np.int64))) == []
