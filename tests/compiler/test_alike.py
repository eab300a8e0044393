"""Branches, loops and solvers that are the same program: recorded, differentiated and compiled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.pipeline import Source
from macrograd.compiler.program.walk import counted
from macrograd.compiler.trace.calls import Derived

A, B, C = Value(0.7), Value(-0.4), Value(1.3)


def long(x: Any, c: Any, steps: int = 30) -> Any:
    """Enough operations for a section."""
    for _ in range(steps):
        x = mg.tanh(x * A + c)
    return x


def branches(x: Any, n: int, numbers: Callable[[int], Any] = lambda k: 0.3) -> Any:
    for k in range(n):
        c = numbers(k)
        x = mg.cond(x > 0.2, lambda x: long(x, c), lambda x: mg.sin(long(x, B)), x)  # noqa: B023 - called at once
    return x


def stopping(x: Any, n: int) -> Any:
    for _ in range(n):
        x, _ = mg.while_loop(lambda s: s[1] < 3.0, lambda s: (long(s[0], 0.1), s[1] + 1.0), (x, 0.0), most=12)
    return x


def solved(x: Any, n: int) -> Any:
    for _ in range(n):
        x = mg.implicit(lambda u: u - 0.2 * long(u, 0.1, 9) - x, x)  # noqa: B023 - called at once
    return x


def nested(x: Any, n: int) -> Any:
    for _ in range(n):
        x = mg.cond(x < 0.9, lambda x: long(branches(x, 1), B), lambda x: stopping(x, 1) * long(x, 0.1), x)
    return x


def remembering(x: Any, n: int) -> Any:
    for _ in range(n):
        x = mg.loop(1_000, lambda i, s: mg.tanh(s * A + 0.1), x, memory="sqrt")
    return x


KINDS = [branches, stopping, solved, nested, remembering]


def source_of(fn: Callable[[Any], Any], *, strict: bool = False) -> Source:
    return pipeline.record(fn, [()], strict=strict)


def made_of(source: Source) -> tuple[int, int]:
    """How many sections and how many derivatives there are."""
    assert source.sections is not None
    made = source.sections.calls.made
    derived = sum(isinstance(x, Derived) for x in made)
    return len(made) - derived, derived


@pytest.mark.parametrize("kind", KINDS)
def test_equal_bodies_are_one_section(kind: Callable[[Any, int], Any]) -> None:
    few, many = [source_of(lambda x, n=n: kind(x, n)) for n in (2, 9)]
    pipeline.gradient_program(few, batch=False)
    pipeline.gradient_program(many, batch=False)
    assert made_of(few) == made_of(many)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [{}, {"strict": True}, {"batch": True}])
def test_they_give_the_numbers_of_the_eager_engine(kind: Callable[[Any, int], Any], how: dict[str, bool]) -> None:
    def run(x: Any) -> Any:
        return kind(x, 2) * B + kind(x * 0.5, 1)

    samples = [0.6, -0.3, 0.15] if "batch" in how else [0.6]
    A.grad = B.grad = 0.0
    mean = mg.sum([run(x) for x in samples]) / len(samples)
    mean.backward()
    expected = [mean.data, A.grad, B.grad]
    A.grad = B.grad = 0.0
    got = [mg.compile(run, backend="numpy", **how).backward(np.array(samples) if "batch" in how else 0.6)]
    np.testing.assert_allclose([*got, A.grad, B.grad], expected, rtol=1e-12)


def test_the_compiler_finds_the_loop_over_equal_branches() -> None:
    """Calls of one section are alike, so a Python loop over them is a loop of the program, in the derivative, too."""
    source = source_of(lambda x: branches(x, 40))
    for program in (pipeline.value_program(source, batch=False), pipeline.gradient_program(source, batch=False)):
        rounds = [counts for step in program.steps() for _, counts in counted(step)]
        assert any(counts and counts[0] >= 35 for counts in rounds)
        assert len(rounds) < 1_200


def test_of_two_bodies_that_differ_in_a_number_each_has_a_section() -> None:
    """The sign of zero is part of a number."""
    for numbers, kinds in (([0.3], 1), ([0.3, 0.4], 2), ([0.0, -0.0], 2), ([float("nan"), 0.1], 2)):
        source = source_of(lambda x, c=numbers: branches(x, 6, lambda k: c[k % len(c)]))
        assert made_of(source)[0] == 1 + kinds


def test_loops_that_read_arrays_by_the_round_are_their_own() -> None:
    """What they read is not the same."""

    def run(ys: Any, zs: Any) -> Any:
        x: Any = 0.1
        for values in (ys, zs, ys):
            x = mg.loop(1_500, lambda i, s, v=values: mg.tanh(s * A + mg.take(v, i)), x, memory="sqrt")
        return x

    source = pipeline.record(run, [(1_500,), (1_500,)])
    assert made_of(source)[0] == 3
    ys, zs = np.sin(np.arange(1_500.0)), np.cos(np.arange(1_500.0))
    np.testing.assert_allclose(mg.compile(run, backend="numpy")(ys, zs), run(ys.tolist(), zs.tolist()).data, rtol=1e-12)


def on_two_ways(x: Any, choose: Callable[[Any, Any, Any], Any]) -> Any:
    """Uses both of two numbers and what is chosen of them."""
    h = A * B + x * C
    chosen, s = choose(x, h, A), x
    for _ in range(20):
        s = mg.sqrt(0.3 + s * s * A) - 0.1 * B * s
    return s * 0.1 + 0.7 * chosen + h * C - chosen * chosen * 0.9 + chosen / (1.1 + h * h) + 0.1 * A


def test_strict_bodies_that_differ_in_what_is_a_choice_are_different_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the same operations, but a branch is none in the eager graph: sums have another order."""

    def plain(x: Any, a: Any, b: Any) -> Any:
        return ops.where(ops.where(x > 0.0, 1.0, 0.0), a, b)

    def choice(x: Any, a: Any, b: Any) -> Any:
        return mg.cond(x > 0.0, lambda: a, lambda: b)

    def run(x: Any) -> Any:
        first = mg.cond(x < 3.0, lambda: on_two_ways(x, plain), lambda: x)
        return 0.3 * mg.cond(x < 4.0, lambda: on_two_ways(x, choice), lambda: x) + first

    f = mg.compile(run, strict=True, backend="numpy")
    for x, *numbers in np.random.default_rng(1).normal(size=(12, 4)).tolist():
        for p, number in zip((A, B, C), numbers, strict=True):
            monkeypatch.setattr(p, "data", abs(number))
            p.grad = 0.0
        value = run(x)
        value.backward()
        expected = [value.data, A.grad, B.grad, C.grad]
        A.grad = B.grad = C.grad = 0.0
        assert [f.backward(x), A.grad, B.grad, C.grad] == expected


# --- bodies that are the same but for numbers -------------------------------------------------------------------------


def steps(n: int, number: Callable[[int], float]) -> Callable[[Any], Any]:
    """Branches whose bodies differ in numbers, also in ones that are equal to others of their body."""

    def run(x: Any) -> Any:
        for k in range(n):
            c = number(k)
            x = mg.cond(x > 0.2, lambda x: long(x, c), lambda x: c - long(x, 0.1), x)  # noqa: B023 - called at once
        return x

    return run


NUMBERS: dict[str, Callable[[int], float]] = {
    "even": lambda k: 0.05 * k,
    "two": lambda k: 0.3 if k % 2 else -0.4,
    "zeros": lambda k: 0.0 if k % 2 else -0.0,
    "as another's": lambda k: 0.1 if k == 1 else 0.2 * k,
    "odd": lambda k: [0.31, -0.2, 0.1, 0.31, 0.75, -0.6, 0.0, 0.1, 0.9, 0.31][k % 10],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_many_numbers_make_two_sections_of_a_form(name: str) -> None:
    """The first has its own, and the second those of all others as operands."""
    made = [made_of(source_of(steps(n, NUMBERS[name])))[0] for n in (2, 4, 9)]
    assert made[0] <= 4
    assert made[1] == made[2] <= 6


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("how", [{}, {"strict": True}, {"batch": True}])
def test_with_numbers_as_operands_they_give_those_of_the_eager_engine(name: str, how: dict[str, bool]) -> None:
    run = steps(6, NUMBERS[name])
    samples = [0.6, -0.3, 0.15] if "batch" in how else [0.6]
    A.grad = B.grad = 0.0
    mean = mg.sum([run(x) for x in samples]) / len(samples)
    mean.backward()
    expected = [float(mean.data), A.grad, B.grad]
    A.grad = B.grad = 0.0
    got = [mg.compile(run, backend="numpy", **how).backward(np.array(samples) if "batch" in how else 0.6)]
    np.testing.assert_allclose([*got, A.grad, B.grad], expected, rtol=1e-12)


def test_the_compiler_finds_the_loop_over_bodies_that_differ_in_numbers() -> None:
    """Numbers that are equal to others are constants elsewhere, so that those of all calls follow no pattern."""
    source = source_of(
        lambda x: mg.sum([mg.cond(x > 0.01 * k, lambda c=0.05 * k: long(x, c), lambda: x) for k in range(40)])
    )
    for program in (pipeline.value_program(source, batch=False), pipeline.gradient_program(source, batch=False)):
        rounds = [counts for step in program.steps() for _, counts in counted(step)]
        assert any(counts and counts[0] >= 35 for counts in rounds)
        assert len(rounds) < 600


def test_exponents_stay_in_their_sections() -> None:
    """A square is a product, and its slope at 0 another's than that of a power of any number."""

    def run(x: Any) -> Any:
        for k in range(2, 5):
            x = mg.cond(x < 5.0, lambda x: long(x, 0.1) ** k, lambda x: x, x)  # noqa: B023 - called at once
        return x

    assert made_of(source_of(run))[0] == 3
    for x in (0.6, -0.3):
        assert np.isclose(float(mg.compile(run, backend="numpy")(x)), float(run(x).data), rtol=1e-13)


def test_bodies_with_too_many_numbers_keep_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("macrograd.compiler.trace.alike._MOST_NUMBERS", 0)
    few, many = [made_of(source_of(steps(n, NUMBERS["even"])))[0] for n in (3, 6)]
    assert many > few
