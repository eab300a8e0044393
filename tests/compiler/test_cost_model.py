"""Which groups and loops become code: programs of no shape become code without end."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Instruction, Loop, Program
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.roll import cost_model


def programs(fn: Callable[..., Any], shapes: list[tuple[int, ...]]) -> list[Program]:
    source = pipeline.record(fn, shapes)
    batch = bool(shapes)
    return [pipeline.value_program(source, batch=batch), pipeline.gradient_program(source, batch=batch)]


def loops(steps: Any) -> int:
    return sum(1 + loops(step.body) for step in steps if isinstance(step, Loop))


def restless(steps: int) -> tuple[Callable[..., Any], list[tuple[int, ...]]]:
    """An iteration of another length in every step: a loop each, and none worth its code."""
    draw, a, b = random.Random(1), Value(0.3), Value(0.7)
    lengths = [draw.randrange(1, 9) for _ in range(steps)]

    def fn(x: Any) -> Any:
        h = x[0]
        for k, length in enumerate(lengths):
            for _ in range(length):
                h = mg.tanh(a * h + b)
            h = h + x[k]
        return h

    return fn, [(steps,)]


def wide(nodes: int) -> tuple[Callable[..., Any], list[tuple[int, ...]]]:
    """A graph without a pattern, so wide that its groups have dozens of members."""
    draw, leaves = random.Random(2), [Value(0.1 * k - 1.0) for k in range(20)]
    plan = [(draw.randrange(6), draw.random(), draw.random()) for _ in range(nodes)]

    def fn() -> Any:
        v = list(leaves)
        for kind, p, q in plan:
            a, b = v[int(p * len(v))], v[int(q * len(v))]
            v.append((mg.tanh(a) * b, mg.sin(a), mg.sigmoid(a), a + b, a - b, mg.maximum(a, b))[kind])
        return mg.mean(v)

    return fn, []


def grid(n: int) -> tuple[Callable[..., Any], list[tuple[int, ...]]]:
    x = [Value(0.01 * k) for k in range(2 * n)]

    def fn() -> Any:
        before = [0.0] * (n + 1)
        for i in range(n):
            row = [0.0]
            for j in range(n):
                row.append(mg.softplus(before[j] + x[i] * x[n + j]) + 0.5 * mg.maximum(before[j + 1], row[j]))
            before = row
        return before[-1]

    return fn, []


@pytest.mark.parametrize("made", [restless(400), restless(900), wide(9000), grid(40)])
def test_code_stays_within_the_rule(made: tuple[Callable[..., Any], list[tuple[int, ...]]]) -> None:
    for program in programs(*made):
        assert any(isinstance(step, Stream) for step in program.steps())
        assert len(program.instructions()) + loops(program.steps()) < 40
        assert len(program.steps()) < 60


def test_long_loops_stay_code_in_a_long_program() -> None:
    """Beside a thousand scalars without a pattern."""
    a, (tangle, _) = Value(0.9), wide(1000)

    def fn() -> Any:
        h = tangle()
        for _ in range(500):
            h = mg.tanh(a * h) + 0.1
        return h

    for program in programs(fn, []):
        assert any(isinstance(step, Stream) for step in program.steps())
        assert any(isinstance(step, Loop) and step.count > 400 for step in program.steps())


def test_a_layer_stays_code_in_a_long_program() -> None:
    w, (tangle, _) = [[Value(0.1 * i - 0.2 * j) for i in range(30)] for j in range(30)], wide(1500)

    def fn() -> Any:
        h = [tangle()] * 30
        return mg.sum(mg.tanh(mg.dot(row, h)) for row in w)

    for program in programs(fn, []):
        assert any(isinstance(step, Instruction) and step.members >= 30 for step in program.steps())


@pytest.mark.parametrize("made", [restless(300), wide(3000), grid(20)])
def test_long_programs_are_eager(made: tuple[Callable[..., Any], list[tuple[int, ...]]], backend: str) -> None:
    fn, shapes = made
    x = [np.random.default_rng(0).normal(size=(3, *shape)) for shape in shapes]
    f = mg.compile(fn, batch=bool(shapes), backend=backend)
    value = f.bind(*x)
    value()
    samples = zip(*(array.tolist() for array in x), strict=True) if x else [()]
    expected = mg.mean(fn(*sample) for sample in samples)
    expected.backward()
    assert value.value == pytest.approx(expected.data, rel=1e-11)
    np.testing.assert_allclose(value.gradient, [p.grad for p in f.parameters], rtol=1e-9, atol=1e-12)
    for p in f.parameters:
        p.grad = 0.0


def test_the_rule_names_the_numbers() -> None:
    assert cost_model.budget(2560) == cost_model.FREE + 10
    assert "a program of 2,560 scalars may have 202 groups" in cost_model.rule(2560)[0]


def choosing(steps: int) -> Callable[..., Any]:
    """In every step a value out of a table of its own, by an argument or by what was computed."""
    draw, leaves = random.Random(3), [Value(k / 64 - 0.5) for k in range(64)]
    tables = [[draw.choice(leaves) for _ in range(draw.randrange(2, 8))] for _ in range(steps)]

    def fn(x: Any, index: Any) -> Any:
        h = x
        for table in tables:
            h = mg.tanh(mg.take([*table[:2], h], index) * h + mg.take(table, h > x)) + 0.1 * x
        return h

    return fn


@pytest.mark.parametrize(
    ("samples", "dtype"),
    [*((samples, "float64") for samples in (0, 1, 5, 19, 140)), (0, "float32"), (140, "float32")],
)
def test_takes_run_as_data(samples: int, backend: str, dtype: str) -> None:
    fn, random_ = choosing(150), np.random.default_rng(0)
    f = mg.compile(fn, batch=samples > 0, backend=backend, dtype=dtype)
    X, index = random_.uniform(-1, 1, max(samples, 1)), random_.integers(0, 3, max(samples, 1))
    value = f.bind(X, index) if samples else f.bind(X[0], index[0])
    value()
    expected = mg.mean(fn(*sample) for sample in zip(X.tolist(), index.tolist(), strict=True))
    expected.backward()
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    assert value.value == pytest.approx(expected.data, rel=tolerance)
    np.testing.assert_allclose(value.gradient, [p.grad for p in f.parameters], rtol=tolerance, atol=tolerance)
    for p in f.parameters:
        p.grad = 0.0


def test_takes_are_in_no_instruction() -> None:
    for program in programs(choosing(150), [(), ()]):
        assert program.takes()
        assert not any(i.kind == "take" for i in program.instructions())


@pytest.mark.parametrize("bad", [3, -1, 0.5, math.nan, math.inf])
def test_an_index_that_does_not_exist_is_named_there_too(bad: float, backend: str) -> None:
    f = mg.compile(choosing(150), batch=True, backend=backend)
    with pytest.raises(IndexError, match="sample 2: take"):
        f(np.zeros(5), np.array([0, 1, bad, 2, 0]))
    assert np.isfinite(f(np.zeros(5), np.arange(5) % 3)).all()
