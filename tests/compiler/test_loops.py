"""Loops within loops: random nests of recurrences against the eager engine; code does not grow with their length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import Line, RandomProgram, line
from test_equality import BACKENDS, SMOOTH, check, check_single

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.program import program as programs
from macrograd.compiler.program.program import Loop, Program
from macrograd.compiler.roll import loops


@dataclass(frozen=True, eq=False)
class Nest(RandomProgram):
    """`lines` are a step, `outer` what happens after each `inner` steps, `rounds` times. A step sees the state of the
    step before and of `delay` steps before; every `seldom` rounds, the state is part of the result."""

    outer: list[Line]
    inner: int
    rounds: int
    delay: int
    seldom: int

    def __call__(self, x: Any, index: Any) -> list[Any]:
        states = [[x[k % len(x)] * p for k, p in enumerate(self.parameters)]]
        seen = x[0] * self.parameters[0]
        for round_ in range(self.rounds):
            for _ in range(self.inner):
                self._step(states, self.lines, x[round_ % len(x)])
            self._step(states, self.outer, x[0])
            if round_ % self.seldom == 0:
                seen = seen + states[-1][0]
        return [*states[-1], seen]

    def _step(self, states: list[list[Any]], lines: list[Line], x: Any) -> None:
        before = states[-1 - min(self.delay, len(states) - 1)]
        known = [*states[-1], *before, *self.parameters]
        cell = RandomProgram(lines, 1, known, list(range(len(self.parameters))))
        states.append([mg.tanh(a) for a in cell([x], 0.0)[: len(self.parameters)]])


@st.composite
def nests(draw: Any) -> Nest:
    names = [name for name in SMOOTH if name != "take"]
    lines, outer = (draw(st.lists(line(names), min_size=1, max_size=4)) for _ in range(2))
    parameters = [Value(k / 16) for k in draw(st.lists(st.integers(-32, 32), min_size=1, max_size=2))]
    inner, rounds = draw(st.sampled_from([(1, 30), (3, 12), (5, 9), (12, 6), (20, 5)]))
    delay, seldom = draw(st.integers(0, 3)), draw(st.integers(1, 4))
    return Nest(lines, draw(st.integers(1, 2)), parameters, [], outer, inner, rounds, delay, seldom)


@settings(max_examples=15)
@given(nests())
def test_random_nests(nest: Nest) -> None:
    for backend in BACKENDS:
        check(nest, (3,), "float64", backend)
        check_single(nest, "float64", backend)


@settings(max_examples=15)
@given(nests())
def test_rolled_is_unrolled(nest: Nest) -> None:
    X, index = nest.data(2)

    def found() -> tuple[Any, Any]:
        f = mg.compile(nest.loss, batch=True, backend="numpy")
        value = f.bind(X, index)
        return value(), np.array(value.gradient)

    value, gradient = found()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops, "LEAST_ROUNDS", 10**6)
        flat, flat_gradient = found()
    scale = max(1.0, float(np.abs(flat_gradient).max()))
    assert value == pytest.approx(flat, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(gradient, flat_gradient, rtol=0, atol=1e-9 * scale)


# --- programs ---------------------------------------------------------------------------------------------------------


def observed(steps: int, every: int) -> Callable[[], Any]:
    """A predator and its prey, by Runge and Kutta; the squared distance to what was seen at every `every`th step."""
    p, start = [Value(0.1), Value(0.9), Value(0.4), Value(0.3)], [Value(1.0), Value(0.5)]
    seen = np.random.default_rng(0).normal(size=(steps // every, 2)).tolist()

    def slope(x: Any, y: Any) -> list[Any]:
        return [p[0] * x - p[1] * x * y, p[2] * x * y - p[3] * y]

    def loss() -> Any:
        state, total, h = list(start), Value(0.0), 0.01
        for k in range(steps):
            a = slope(*state)
            b = slope(*(s + h / 2 * d for s, d in zip(state, a, strict=True)))
            state = [s + h * d for s, d in zip(state, b, strict=True)]
            if (k + 1) % every == 0:
                total = total + mg.sum([(s - o) ** 2 for s, o in zip(state, seen[k // every], strict=True)])
        return total

    return loss


def iterated(steps: int, inner: int) -> Callable[[], Any]:
    """Implicit steps, each solved by some of Newton's: they follow each other like the steps themselves."""
    a, start = Value(0.5), Value(1.0)

    def loss() -> Any:
        x = start
        for _ in range(steps):
            y = x
            for _ in range(inner):
                y = y - (y - x - 0.1 * mg.sin(a * y)) / (1 - 0.1 * a * mg.cos(a * y))
            x = y
        return x

    return loss


def twice(steps: int, inner: int) -> Callable[[], Any]:
    a, b = Value(0.5), Value(0.3)

    def loss() -> Any:
        h, total = a + 0.0, Value(0.0)
        for _ in range(steps):
            for _ in range(inner):
                h = mg.tanh(a * h + b)
            h = h * b + 0.1
            total = total + h
        return total

    return loss


def gradient(loss: Callable[[], Any]) -> Program:
    return programs.verify(pipeline.gradient_program(pipeline.record(loss, []), batch=False))


def depth(step: Any) -> int:
    return 1 + max(map(depth, step.body)) if isinstance(step, Loop) else 0


CASES = {
    "observations": (observed(200, 20), observed(600, 20)),
    "observations, fewer": (observed(800, 40), observed(800, 60)),
    "iterations": (iterated(40, 5), iterated(80, 5)),
    "iterations, longer": (iterated(20, 30), iterated(20, 45)),
    "rounds": (twice(20, 40), twice(40, 40)),
    "rounds, longer": (twice(20, 80), twice(20, 120)),
}


@pytest.mark.parametrize("name", CASES)
def test_code_does_not_grow(name: str) -> None:
    small, large = map(gradient, CASES[name])
    assert len(large.instructions()) <= len(small.instructions()) + 8
    assert max(map(depth, large.steps())) == 2 or name == "iterations"  # where five rounds may be written out


@pytest.mark.parametrize("name", CASES)
def test_long_nests_are_eager(name: str, backend: str) -> None:
    loss = CASES[name][0]
    f = mg.compile(loss, backend=backend)
    value = f.bind()
    value()
    expected = loss()
    expected.backward()
    grads = [p.grad for p in f.parameters]
    for p in f.parameters:
        p.grad = 0.0
    assert value.value == pytest.approx(expected.data, rel=1e-12)
    np.testing.assert_allclose(value.gradient, grads, rtol=1e-9, atol=1e-12)


def test_sums_over_all_rounds_are_tables() -> None:
    """Of a hundred rounds each has its own run of terms."""
    assert max(len(i.segments) for i in gradient(twice(100, 20)).instructions()) < 50


def grid(n: int) -> Callable[[], Any]:
    """The soft distance of two sequences, by dynamic programming: every level is a diagonal of another length."""
    a, b = [Value(0.1 * k) for k in range(n)], [0.2 * k - 1.0 for k in range(n)]

    def loss() -> Any:
        before = [0.0] + [100.0] * n
        for i in range(n):
            row = [100.0]
            for j in range(n):
                ways = (before[j], before[j + 1], row[j])
                row.append((a[i] - b[j]) ** 2 - mg.log(mg.sum([mg.exp(-w) for w in ways])))
            before = row
        return before[-1]

    return loss


def test_a_grid_is_a_stream_and_few_instructions() -> None:
    assert len(gradient(grid(70)).instructions()) < 160
    assert len(gradient(grid(100)).instructions()) < 160


def test_a_nest_is_printed() -> None:
    program = gradient(twice(20, 40))
    lines = str(program).split("\n")
    inner = next(k for k, text in enumerate(lines) if text.startswith("    loop "))
    assert lines[inner + 1].startswith("      u[")
    assert "r+" in lines[inner + 1]
    assert "s]" in lines[inner + 1]


def test_every_loop_is_part_of_the_fingerprint() -> None:
    program = gradient(twice(20, 40))

    def without(step: Any) -> Any:
        if not isinstance(step, Loop):
            return step
        inner = [s.count for s in step.body if isinstance(s, Loop)]
        return Loop(
            step.count, tuple(Loop(s.count + 1, s.body) if isinstance(s, Loop) and inner else s for s in step.body)
        )

    other = replace(program, before=tuple(map(without, program.before)))
    assert other.fingerprint() != program.fingerprint()


def test_a_nest_with_wrong_moves_is_refused() -> None:
    program = gradient(twice(20, 40))

    def flat(step: Any) -> Any:
        """The body of every inner loop, as if it were the outer one's."""
        if not isinstance(step, Loop):
            return [step]
        return [
            Loop(
                step.count,
                tuple(s for inner in step.body for s in (inner.body if isinstance(inner, Loop) else [inner])),
            )
        ]

    wrong = replace(program, before=tuple(s for step in program.before for s in flat(step)))
    with pytest.raises(programs.ProgramError, match="moves with 2 loops, not 1"):
        programs.verify(wrong)


def test_every_candidate_is_settled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[loops.Candidate] = []
    settle = loops.settle
    monkeypatch.setattr(loops, "settle", lambda candidate, groups: seen.append(candidate) or settle(candidate, groups))
    gradient(twice(20, 40))
    assert len(seen) == len(set(seen))


def test_a_nest_is_explained() -> None:
    a = Value(0.5, label="a")

    def iterated(x: Any) -> Any:
        h = Value(0.0)
        for step in range(10):
            for _ in range(60):
                h = mg.tanh(a * h)
            h = h + x[step]
        return h

    text = mg.compile(iterated, batch=True).explain([[0.0] * 10])
    lines = text.split("\n")
    inner = next(k for k, told in enumerate(lines) if told.startswith("      60 rounds, one after the other"))
    assert "rounds, one after the other" in lines[inner - 1]
    assert "a · " in lines[inner + 1]
    assert "then tanh" in lines[inner + 1]
    assert "the next in each round" in lines[inner + 2]
