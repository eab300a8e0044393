"""The functions of strict programs: against values with extra digits, and at the limits as for floats."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from macrograd.formulas import portable
from macrograd.ops import BY_NAME
from macrograd.rows.composed import TWO_OVER_PI, on_arrays, on_floats

INF, NAN = math.inf, math.nan
EXACT: dict[str, Callable[..., Any]] = {
    "exp": mpmath.exp,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "tanh": mpmath.tanh,
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "softplus": lambda a: mpmath.log1p(mpmath.exp(a)),
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "tan": mpmath.tan,
}
# The bounds stated in macrograd/formulas/portable.py, in units in the last place.
BOUND = {
    "exp": 0.6,
    "log": 0.51,
    "log1p": 0.6,
    "tanh": 1,
    "sigmoid": 2,
    "softplus": 1.5,
    "sin": 0.8,
    "cos": 0.8,
    "tan": 1,
}
DIGITS = 400  # enough for an angle of 1e308


def points(name: str) -> NDArray[Any]:
    random = np.random.default_rng(0)
    parts = [
        random.normal(size=100),
        random.uniform(-30, 30, 100),
        np.exp(random.uniform(-700, 700, 150)) * random.choice([-1, 1], 150),
        math.pi / 4 * np.arange(1, 30) + random.normal(size=29) * 1e-9,
        np.array([1 + 1e-9, 1 - 1e-9, 2.0**20, 2.0**20 + 0.5, 6381956970095103.0 * 2.0**797]),  # the last is near n·π/2
    ]
    x = np.concatenate(parts)
    if name in ("exp", "sigmoid", "softplus"):
        return np.concatenate([x[np.abs(x) < 600], random.uniform(-700, 700, 100)])
    return np.abs(x) if name == "log" else x[x > -1] if name == "log1p" else x


def error(found: float, exact: Any) -> float:
    near = abs(float(exact))
    unit = mpmath.mpf(float(np.spacing(near)))
    return float(abs(mpmath.mpf(found) - exact) / unit)


@pytest.mark.parametrize("name", EXACT)
def test_errors_are_within_the_stated_bounds(name: str) -> None:
    formula = on_floats(getattr(portable, name))
    with mpmath.workdps(DIGITS):
        errors = [(error(formula(a), EXACT[name](mpmath.mpf(a))), a) for a in points(name).tolist()]
    assert max(errors)[0] <= BOUND[name], max(errors)


def test_powers_are_within_the_stated_bound() -> None:
    random = np.random.default_rng(0)
    a = np.concatenate(
        [np.exp(random.uniform(-20, 20, 100)), np.exp(random.uniform(-1, 1, 200)), 1 + random.normal(size=50) * 1e-8]
    )
    b = random.uniform(-700, 700, len(a)) / np.log(a)
    power = on_floats(portable.power)
    with mpmath.workdps(60):
        found = [
            (error(power(x, y), mpmath.mpf(x) ** mpmath.mpf(y)), x, y)
            for x, y in zip(a.tolist(), b.tolist(), strict=True)
        ]
    assert max(found)[0] <= 0.7, max(found)


LIMITS = [
    0.0, -0.0, 5e-324, -5e-324, 1e-310, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 2.5, 1e10, -1e10, 2.0**53,
    -(2.0**53), 1e300, -1e300, 1 + 2.0**-52, INF, -INF, NAN,
]  # fmt: skip


def same(found: float, expected: float) -> bool:
    if expected == 0.0 or not math.isfinite(expected):
        return (
            found != found
            if expected != expected
            else (found, math.copysign(1, found)) == (expected, math.copysign(1, expected))
        )
    return abs(found - expected) <= 4e-16 * abs(expected)


@pytest.mark.parametrize("name", [*EXACT, "pow"])
def test_limits_are_those_of_floats(name: str) -> None:
    op = BY_NAME[name]
    formula = on_floats(op.portable or op.formula)
    for x in [(a, b) for a in LIMITS for b in LIMITS] if name == "pow" else [(a,) for a in LIMITS]:
        assert same(formula(*x), op.forward(*x)), (name, x, formula(*x), op.forward(*x))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("name", [*EXACT, "pow"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays_of_any_shape_have_the_bits_of_single_numbers(name: str, dtype: Any) -> None:
    """A formula is written once, whatever it is called with, and a call changes no array that it is given."""
    op = BY_NAME[name]
    formula, x = op.portable or op.formula, points(name)[:450].astype(dtype)
    given = [x, x[::-1].copy()] if name == "pow" else [x]
    before = [column.copy() for column in given]
    call, found = on_arrays(formula, strict=True), []
    for shape in ((-1,), (5, -1), (2, -1, 3)):
        found.append(call(np, *[column[: len(x) // 30 * 30].reshape(shape) for column in given]).ravel())
    single = [float(call(np, *numbers)) for numbers in zip(*given, strict=True)][: len(found[0])]
    assert {column.dtype for column in found} == {np.dtype(dtype)}
    for column in (*found, single):
        np.testing.assert_array_equal(found[0], column)
    for column, kept in zip(given, before, strict=True):
        np.testing.assert_array_equal(column, kept)


def test_the_digits_of_two_over_pi() -> None:
    with mpmath.workprec(1300):
        bits = int(mpmath.floor(2 / mpmath.pi * mpmath.mpf(2) ** 1200))
    assert bits == sum(digits << (24 * (49 - k)) for k, digits in enumerate(TWO_OVER_PI))
