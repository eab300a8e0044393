"""`mg.rounding` against the exact result, which mpmath computes with 80 digits."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

import macrograd as mg
from macrograd import Value

mpmath = pytest.importorskip("mpmath")

UNARY = {
    "exp": "exp", "tanh": "tanh", "sin": "sin", "cos": "cos", "sqrt": "sqrt", "log": "log", "log1p": "log1p",
    "expm1": "expm1",
}  # fmt: skip


def random_program(seed: int) -> Callable[[Any, Any], Any]:
    """A function of x and of a module that has the functions: macrograd or mpmath."""
    draw = random.Random(seed)
    lines: list[tuple[Any, ...]] = []
    for k in range(draw.randrange(4, 25)):
        if draw.random() < 0.4:
            lines.append((draw.choice(list(UNARY)), draw.randrange(k + 2)))
        else:
            lines.append((draw.choice("+-*/"), draw.randrange(k + 2), draw.randrange(k + 2)))
    constant = draw.uniform(0.3, 2.0)

    def program(x: Any, of: Any) -> Any:
        known = [x, x * 0 + constant]
        for op, a, *b in lines:
            u = known[a]
            if op in UNARY:
                if op in ("sqrt", "log", "log1p"):
                    u = u * u + 0.5  # where they are real
                elif op in ("exp", "expm1"):
                    u = of.sin(u)
                known.append(getattr(of, UNARY[op])(u))
                continue
            v = known[b[0]]
            known.append(u + v if op == "+" else u - v if op == "-" else u * v if op == "*" else u / (v * v + 0.75))
        return known[-1]

    return program


def true_error(program: Callable[[Any, Any], Any], x: float) -> tuple[float, float]:
    """The result of floats, and what it is off by."""
    found = program(Value(x), mg).data
    with mpmath.workdps(80):
        exact = program(mpmath.mpf(x), mpmath)
        return found, float(mpmath.mpf(found) - exact)


def test_the_estimate_is_the_error_of_random_programs() -> None:
    seen = 0
    for seed in range(300):
        program = random_program(seed)
        x = random.Random(seed + 1000).uniform(-2.0, 2.0)
        found, error = true_error(program, x)
        if not math.isfinite(found) or abs(error) > 1e-6 * max(abs(found), 1e-300):
            continue  # beyond the first order
        estimate = mg.rounding(lambda x, program=program: program(x, mg), x)
        assert estimate.value == found
        assert estimate.uncertainty == 0.0
        assert abs(estimate.error - error) <= 0.1 * abs(error) + 1e-9 * math.ulp(found), (seed, error, estimate)
        seen += error != 0
    assert seen > 200


def test_the_line_that_cancels_is_not_blamed_but_the_one_that_rounded() -> None:
    def difference(x: Any) -> Any:
        grown = mg.exp(x)
        less = grown - 1.0
        return less / x

    found = mg.rounding(difference, 1e-9)
    exact = math.expm1(1e-9) / 1e-9
    assert found.error == pytest.approx(found.value - exact, rel=1e-6)
    assert found.lines[0].ops == ("exp",)
    assert ", in test_the_line" in found.lines[0].place
    assert found.digits < 8
    assert "digits are correct" in str(found)
    assert "by exp at" in str(found)


def test_an_exact_result_is_off_by_nothing() -> None:
    found = mg.rounding(lambda x: x * 2.0 + mg.relu(x), 0.5)
    assert (found.error, found.uncertainty, found.lines, found.digits) == (0.0, 0.0, (), 17.0)


def test_long_sums_add_up_their_errors() -> None:
    numbers = [random.Random(0).uniform(-1, 1) for _ in range(2000)]

    def total(values: Any) -> Any:
        result = 0.0
        for value in values:
            result = result + value * 0.1
        return result

    found = mg.rounding(total, numbers)
    with mpmath.workdps(60):
        exact = sum(mpmath.mpf(x) * mpmath.mpf(0.1) for x in numbers)
        assert found.error == pytest.approx(float(found.value - exact), rel=1e-6)


def test_what_has_no_exact_reference_is_uncertain() -> None:
    found = mg.rounding(lambda x: mg.lgamma(x) * 3.0, 2.5)
    assert 0 < found.uncertainty < 1e-14
    assert "±" in str(found)


@pytest.mark.parametrize(
    ("fn", "error", "message"),
    [
        (lambda x: 1.0, TypeError, "returns one Value; got float"),
        (lambda x: mg.log(x - 5.0), ValueError, "log gave nan at .* all numbers must be finite"),
    ],
)
def test_bad_input(fn: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        mg.rounding(fn, 1.0)
