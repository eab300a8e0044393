"""The routines written in LLVM's terms, against the exact result, over the whole range of numbers.

The references are computed with 60 decimal digits, which leaves more than 40 for the error in units of the last place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import macrograd as mg
from macrograd import ops

DIGITS = Context(prec=60, Emin=-999_999, Emax=999_999)
ONE = Decimal(1)


def exp(x: Decimal) -> Decimal:
    """Beyond ±2000, where no type has numbers, that of ±2000."""
    return min(max(x, Decimal(-2000)), Decimal(2000)).exp()


def log1p(x: Decimal) -> Decimal:
    """By its series where 1 + x would lose digits."""
    if abs(x) < Decimal("1e-8"):
        return sum(((-1) ** (k + 1) * x**k / k for k in range(1, 8)), Decimal(0))
    return (ONE + x).ln()


def tanh(x: Decimal) -> Decimal:
    if abs(x) < Decimal("1e-8"):
        return x - x**3 / 3 + 2 * x**5 / 15 - 17 * x**7 / 315
    e = exp(2 * x)
    return (e - 1) / (e + 1)


def sigmoid(x: Decimal) -> Decimal:
    return ONE / (ONE + exp(-x))


def softplus(x: Decimal) -> Decimal:
    return max(x, Decimal(0)) + log1p(exp(-abs(x)))


LONG = Context(prec=420, Emin=-999_999, Emax=999_999)  # digits for angles up to 10^308


def arctan_of_one_over(n: int) -> Decimal:
    total, term, k = Decimal(0), ONE / n, 1
    while abs(term) > Decimal("1e-419"):
        total, term, k = total + term / k, -term / (n * n), k + 2
    return total


with localcontext(LONG):
    PI = 16 * arctan_of_one_over(5) - 4 * arctan_of_one_over(239)  # J. Machin


def sin(x: Decimal, quarters: int = 0) -> Decimal:
    """The sine of x and some quarter turns."""
    with localcontext(LONG):
        n = (2 * x / PI).to_integral_value()
        r, odd, n = x - n * PI / 2, (int(n) + quarters) % 2, int(n) + quarters
    total, term, k = Decimal(0), ONE if odd else r, 1 if odd else 2
    while abs(term) > abs(r) * Decimal("1e-58"):
        total, term, k = total + term, -term * r * r / (k * (k + 1)), k + 2
    return -total if n % 4 >= 2 else total


def cos(x: Decimal) -> Decimal:
    return sin(x, 1)


EXACT: dict[ops.Op, Callable[[Decimal], Decimal]] = {
    ops.exp: exp,
    ops.log: lambda x: x.ln(),
    ops.log1p: log1p,
    ops.tanh: tanh,
    ops.sigmoid: sigmoid,
    ops.softplus: softplus,
    ops.sin: sin,
    ops.cos: cos,
}
# The bounds stated in macrograd/compiler/targets/scalar/routines.py, in units in the last place.
BOUND = {"exp": 1.0, "log": 1.0, "log1p": 2.0, "tanh": 2.0, "sigmoid": 2.0, "softplus": 2.0, "sin": 1.0, "cos": 1.0}


def points(name: str, dtype: Any) -> NDArray[Any]:
    """Numbers everywhere: of every size down to the smallest, around where a routine changes its formula, and where its
    result is all but infinite or all but 0."""
    random = np.random.default_rng(0)
    limits = np.finfo(dtype)
    largest = math.log(float(limits.max))
    smallest = math.log(float(limits.smallest_subnormal))
    edge = {
        "exp": [0.0, largest, math.log(float(limits.tiny)), smallest, math.log(2) / 2],
        "log": [1.0, math.sqrt(0.5), math.sqrt(2), float(limits.tiny)],
        "log1p": [0.0, -1.0, math.sqrt(0.5) - 1, float(limits.eps)],
        "tanh": [0.0, 0.625, -0.625, largest / 2, 9.0, 19.0],
        "sigmoid": [0.0, smallest, -largest, 36.0],
        "softplus": [0.0, smallest, -largest, 36.0],
        "sin": [math.pi / 2, 232 * math.pi / 2, 100_001 * math.pi / 4, 2.0**15, 2.0**30],
        "cos": [math.pi / 2, 29 * math.pi / 2, 100_001 * math.pi / 4, 2.0**15, 2.0**30],
    }[name]
    parts = [
        random.uniform(-2, 2, 300),
        random.uniform(1.05 * smallest, 1.05 * largest, 300),
        *(e + random.normal(size=60) * 10.0 ** random.uniform(-12, -1, 60) for e in edge),
        np.exp(random.uniform(smallest, math.log(float(limits.max)) * 0.999, 400)) * random.choice([-1.0, 1.0], 400),
        np.array([limits.max, limits.tiny, limits.smallest_subnormal, limits.eps, 1.0]).astype(float),
        -np.array([limits.max, limits.tiny, limits.smallest_subnormal, limits.eps]).astype(float),
    ]
    with np.errstate(over="ignore", under="ignore"):
        x = np.concatenate(parts).astype(dtype)
    if name == "log":
        x = np.abs(x)
    if name == "log1p":
        x = x[x > -1]
    return x[np.isfinite(x) & (x != 0)]


def errors(name: str, x: NDArray[Any], found: NDArray[Any]) -> NDArray[np.float64]:
    """|found − exact| in units in the last place of the exact result."""
    dtype, result = x.dtype.type, []
    limits = np.finfo(x.dtype)
    overflow = Decimal(float(limits.max)) * (1 + Decimal(float(limits.eps)) / 4)
    with localcontext(DIGITS):
        for a, y in zip(x.tolist(), found.tolist(), strict=True):
            exact = EXACT[ops.BY_NAME[name]](Decimal(a))
            if abs(exact) >= overflow:
                result.append(0.0 if y == math.copysign(math.inf, exact) else math.inf)
                continue
            near = min(float(abs(exact)), float(limits.max) * 0.75)  # the largest numbers have the unit of this one
            unit = Decimal(float(np.spacing(dtype(near))))
            result.append(float(abs(Decimal(y) - exact) / unit) if math.isfinite(y) else math.inf)
    return np.array(result)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", EXACT, ids=lambda op: op.name)
def test_errors_are_within_the_stated_bounds(op: ops.Op, dtype: str) -> None:
    x = points(op.name, np.dtype(dtype))
    f = mg.compile(lambda a: op(a), batch=True, dtype=dtype, backend="llvm")
    found = errors(op.name, x, f(x))
    worst = int(np.argmax(found))
    assert found[worst] <= BOUND[op.name], f"{op.name}({x[worst]!r}) is {found[worst]:.3g} ulp off"


@pytest.mark.parametrize("op", EXACT, ids=lambda op: op.name)
def test_one_sample_and_many_give_the_same_bits(op: ops.Op) -> None:
    """As a scalar, as part of a vector, and as one of several vectors."""
    x = points(op.name, np.dtype("float64"))[:37]
    f = mg.compile(lambda a: op(a), batch=True, backend="llvm")
    many = f(x)
    assert [float(f(x[k : k + 1])[0]).hex() for k in range(len(x))] == [float(y).hex() for y in many]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_limits(dtype: str) -> None:
    inf, nan = math.inf, math.nan
    x = np.array([inf, -inf, nan, 0.0, -0.0])
    expected = {
        "exp": [inf, 0.0, nan, 1.0, 1.0],
        "log": [inf, nan, nan, -inf, -inf],
        "log1p": [inf, nan, nan, 0.0, -0.0],
        "tanh": [1.0, -1.0, nan, 0.0, -0.0],
        "sigmoid": [1.0, 0.0, nan, 0.5, 0.5],
        "softplus": [inf, 0.0, nan, math.log(2), math.log(2)],
        "sin": [nan, nan, nan, 0.0, -0.0],
        "cos": [nan, nan, nan, 1.0, 1.0],
    }
    for op in EXACT:
        found = mg.compile(lambda a, op=op: op(a), batch=True, dtype=dtype, backend="llvm")(x)
        np.testing.assert_allclose(found, expected[op.name], rtol=1e-6, err_msg=op.name)
        zero = np.array(expected[op.name]) == 0.0
        assert (np.signbit(found[zero]) == np.signbit(np.array(expected[op.name])[zero])).all(), op.name
        for a, want in zip(x.tolist(), expected[op.name], strict=True):
            assert op(a) == want or math.isnan(want), "the eager engine says the same"


def test_log1p_at_its_pole_and_below() -> None:
    f = mg.compile(lambda a: mg.log1p(a), batch=True, backend="llvm")
    np.testing.assert_array_equal(f(np.array([-1.0, -1.5, -np.inf])), [-np.inf, np.nan, np.nan])


def test_whole_powers(backend: str) -> None:
    x = np.array([-3.0, -1.0, -0.0, 0.0, 0.5, 2.0, np.inf, -np.inf, np.nan])
    exponents = [0, 1, 2, 3, 4, 5, 7, 8, 11, 16, 17, -1, -2, -3]
    found = mg.compile(lambda a: [a**n for n in exponents], batch=True, backend=backend)(x)
    for row, a in zip(found, x.tolist(), strict=True):
        np.testing.assert_allclose(row, [ops.power(a, float(n)) for n in exponents], rtol=1e-14)
