"""The special functions: every target against values of 60 digits, over the whole range, and at the limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

import macrograd as mg
from macrograd import Value, ops
from macrograd.ops import BY_NAME, TABLE, Op

INF, NAN = math.inf, math.nan
ROWS = [op for op in TABLE if op.module == "macrograd.special"]
NAMES = [op.name for op in ROWS]

EXACT: dict[str, Callable[..., Any]] = {
    "floor": mpmath.floor,
    "ceil": mpmath.ceil,
    "round": mpmath.nint,
    "mod": lambda a, b: a - b * mpmath.floor(a / b),
    "erf": mpmath.erf,
    "erfc": mpmath.erfc,
    "norm_cdf": lambda a: mpmath.erfc(-a / mpmath.sqrt(2)) / 2,
    "expm1": mpmath.expm1,
    "sinh": mpmath.sinh,
    "cosh": mpmath.cosh,
    "tan": mpmath.tan,
    "atan": mpmath.atan,
    "atan2": mpmath.atan2,
    "asin": mpmath.asin,
    "acos": mpmath.acos,
    "hypot": mpmath.hypot,
    "cbrt": lambda a: mpmath.sign(a) * mpmath.cbrt(abs(a)),
    "lgamma": lambda a: mpmath.re(mpmath.loggamma(a)),
    "digamma": mpmath.digamma,
    "polygamma": lambda n, a: mpmath.psi(int(n), a),
}
# The bounds stated in macrograd/formulas/functions.py, in units in the last place.
BOUND = {**dict.fromkeys(EXACT, 2.0), "floor": 0.0, "ceil": 0.0, "round": 0.0, "mod": 1.0, "polygamma": 8.0}
# Where a formula changes, where the result has a zero, and where it over- or underflows.
EDGES: dict[str, list[float]] = {
    "erf": [1.0, 6.0],
    "erfc": [1.0, 4.0, 26.5, 27.2, -5.8],
    "norm_cdf": [1.0, -38.4, 8.3],
    "expm1": [1.0, -40.0, 709.7, math.log(2) / 2],
    "sinh": [1.0, 710.4],
    "cosh": [1.0, 710.4],
    "tan": [math.pi / 4, math.pi / 2, math.pi, 1e5],
    "atan": [1.0],
    "atan2": [1.0],
    "asin": [0.5, 0.99],
    "acos": [0.5, -0.5, 0.99],
    "hypot": [1.0],
    "cbrt": [1.0, 8.0],
    "lgamma": [1.0, 2.0, 4.0, 8.0, 30.0],
    "digamma": [1.0, 1.4616321449683623, 2.0, 4.0, 8.0, 30.0],
    "polygamma": [1.0, 2.0, 8.0, 30.0],
}


def points(name: str) -> NDArray[Any]:
    """Numbers of every size, many of them near where something changes."""
    random = np.random.default_rng(0)
    edges = EDGES.get(name, [1.0])
    parts = [
        random.uniform(-3, 3, 150),
        random.uniform(-40, 40, 100),
        *(e + random.normal(size=30) * 10.0 ** random.uniform(-12, -0.5, 30) for e in edges),
        *(sign * np.exp(random.uniform(-740, 708, 60)) for sign in (-1.0, 1.0)),
        np.array([5e-324, -5e-324, 2.3e-308, 1.7e308, -1.7e308, 1.0, -1.0]),
    ]
    if name in ("erf", "erfc", "norm_cdf", "expm1", "sinh", "cosh"):
        parts.append(random.uniform(-720, 720, 150))
    x = np.concatenate(parts)
    if name in ("asin", "acos"):
        return np.concatenate([x[np.abs(x) <= 1.0], random.uniform(-1, 1, 100)])
    if name in ("lgamma", "digamma", "polygamma"):
        x = np.abs(x)
        x = x[x < (1e300 if name == "lgamma" else 1e100)]
        return x[(x > 1e-40) & (x < 1e40)] if name == "polygamma" else x
    return x


def operands(op: Op) -> list[NDArray[Any]]:
    x = points(op.name)
    if op.arity == 1:
        return [x]
    if op.name == "polygamma":
        return [np.resize([1.0, 2.0, 3.0, 4.0, 5.0], len(x)), x]
    y = np.random.default_rng(1).permutation(x)
    if op.name == "mod":
        good = np.log(np.abs(x)) < np.log(np.abs(y)) + 90  # with more digits than that the reference would take long
        return [x[good], y[good]]
    return [x, y]


def error(op: Op, found: float, x: tuple[float, ...]) -> float:
    """|found − exact| in units in the last place of the exact value."""
    if op.name in ("erf", "erfc", "norm_cdf", "expm1", "sinh", "cosh") and abs(x[0]) > 1e4:
        return 0.0 if found == op.forward(*x) else INF  # mpmath would take too long
    with mpmath.workdps(1000 if op.name in ("mod", "tan") else 60):
        exact = EXACT[op.name](*map(mpmath.mpf, x))
        near = abs(float(exact))
        if near == INF:
            return 0.0 if found == float(exact) else INF
        unit = mpmath.mpf(float(np.spacing(min(near, 1.6e308))))
        return float(abs(mpmath.mpf(found) - exact) / unit) if math.isfinite(found) else INF


def compiled(op: Op, **how: Any) -> Any:
    if op.arity == 1:
        return mg.compile(lambda a: op(a), batch=True, **how)
    return mg.compile(lambda a, b: op(a, b), batch=True, **how)


@pytest.mark.parametrize("how", ["llvm", "strict", "numpy", "formula"])
@pytest.mark.parametrize("op", ROWS, ids=NAMES)
def test_errors_are_within_the_stated_bounds(op: Op, how: str) -> None:
    columns = operands(op)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    if how == "formula":
        if op.formula is None:
            return
        from macrograd.rows.composed import on_floats

        found = [on_floats(op.formula)(*x) for x in rows]
    elif how == "numpy":
        if op.ufunc is not None:
            return  # NumPy's own
        found = op.array(np, *columns).tolist()
    else:
        found = compiled(op, backend="llvm", strict=how == "strict")(*columns).tolist()
    errors = [error(op, y, x) for x, y in zip(rows, found, strict=True)]
    worst = int(np.argmax(errors))
    assert errors[worst] <= BOUND[op.name], f"{op.name}{rows[worst]} is {errors[worst]:.3g} ulp off: {found[worst]!r}"


@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_below_zero_errors_are_as_stated(name: str) -> None:
    """Between the poles each has a zero: the error is one of what is added up there."""
    random = np.random.default_rng(2)
    x = -np.concatenate([random.uniform(0, 12, 200), random.uniform(12, 200, 50), 10.0 ** random.uniform(-300, 0, 50)])
    found = compiled(BY_NAME[name], backend="llvm")(x)
    with mpmath.workdps(60):
        for a, y in zip(map(mpmath.mpf, x.tolist()), found.tolist(), strict=True):
            if name == "lgamma":
                exact = mpmath.log(abs(mpmath.gamma(a)))
                scale, bound = max(1, abs(exact), abs(mpmath.loggamma(-a))), 3.0
            else:
                exact = mpmath.digamma(a)
                scale, bound = (
                    max(1, abs(exact), mpmath.pi * abs(mpmath.cot(mpmath.pi * a)), abs(mpmath.digamma(1 - a))),
                    4.0,
                )
            assert abs(y - exact) <= bound * float(np.spacing(float(scale))), (name, a, y)


@pytest.mark.parametrize("op", ROWS, ids=NAMES)
def test_strict_mode_has_the_bits_of_the_formula(op: Op) -> None:
    """Step by step what floats do, for the operations whose eager form is the formula itself."""
    columns = operands(op)
    found = compiled(op, backend="llvm", strict=True)(*columns)
    eager = [op.forward(*x) for x in zip(*(column.tolist() for column in columns), strict=True)]
    if op.name in ("norm_cdf", "lgamma", "digamma", "floor", "ceil", "round", "mod"):
        assert [y.hex() for y in found.tolist()] == [y.hex() for y in eager]


SPECIAL = [0.0, -0.0, 5e-324, -5e-324, 2.2e-308, 1.0, -1.0, 0.5, 2.5, -3.0, 1e22, 1.7e308, -1.7e308, INF, -INF, NAN]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", ROWS, ids=NAMES)
def test_limits(op: Op, dtype: str) -> None:
    """NaN, infinities, zeros and their signs, poles and subnormals: as on floats."""
    numbers = np.array([x for x in SPECIAL if dtype == "float64" or not 1e30 < abs(x) < INF]).astype(dtype)
    columns = [numbers] if op.arity == 1 else [np.repeat(numbers, len(numbers)), np.tile(numbers, len(numbers))]
    if op.name == "polygamma":
        columns[0] = np.resize(np.array([1.0, 2.0], dtype), len(columns[0]))
    expected = np.array([op.forward(*map(float, x)) for x in zip(*columns, strict=True)])
    with np.errstate(over="ignore"):
        expected = expected.astype(dtype)
    found = {
        "llvm": compiled(op, backend="llvm", dtype=dtype)(*columns),
        "numpy": compiled(op, backend="numpy", dtype=dtype)(*columns),
    }
    for where, y in found.items():
        np.testing.assert_allclose(y, expected, rtol=8e-16 if dtype == "float64" else 3e-7, err_msg=where)
        zero = expected == 0.0
        assert (np.signbit(y[zero]) == np.signbit(expected[zero])).all(), (where, op.name)


@pytest.mark.parametrize("op", ROWS, ids=NAMES)
def test_one_sample_and_many_give_the_same_bits(op: Op) -> None:
    columns = [column[:37] for column in operands(op)]
    f = compiled(op, backend="llvm")
    many = f(*columns)
    for k in range(37):
        (one,) = f(*[column[k : k + 1] for column in columns]).tolist()
        assert one.hex() == float(many[k]).hex(), (op.name, k)


@pytest.mark.parametrize("op", ROWS, ids=NAMES)
def test_it_is_public_and_a_method(op: Op) -> None:
    assert getattr(mg, op.name) is op
    assert op.name in mg.__all__
    if op.arity == 1:
        out = getattr(Value(0.5), op.name)()
        assert (out.op, out.data) == (op, op.forward(0.5))


def test_every_row_has_its_bound() -> None:
    assert set(NAMES) == set(EXACT) == set(BOUND)
    assert set(BOUND) - set(EDGES) == {"floor", "ceil", "round", "mod"}
    assert ops.exp.formula is None
