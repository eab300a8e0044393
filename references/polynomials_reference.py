"""The polynomials of `macrograd/formulas/functions.py`, fitted with mpmath and written to `polynomials.py` beside it.

Each is the Chebyshev interpolation of its function, of the lowest degree whose error is below 2⁻⁵⁷ of the function's
largest value, in powers of its variable. What is said of an error in `functions.py` includes that of the polynomial.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
from mpmath import mpf

mpmath.mp.dps = 60
ERROR = mpf(2) ** -57
TARGET = Path(__file__).parent.parent / "macrograd" / "formulas" / "polynomials.py"
PSI_ZERO = mpmath.findroot(mpmath.digamma, 1.46)
Function = Callable[[Any], Any]


def limit(function: Function, at: Any, value: Any) -> Function:
    """The function, with its limit where it is 0/0; just beside that it is computed with the digits lost."""
    return lambda x: value if x == at else function(x)


def erfcx(t: Any) -> Any:
    """(1 + 2y)·exp(y²)·erfc(y) for y = 4·(1 + t)/(1 − t)."""
    if t == 1:
        return 2 / mpmath.sqrt(mpmath.pi)
    y = 4 * (1 + t) / (1 - t)
    if y > 50:  # the asymptotic series: the product would overflow
        total, term = mpf(0), mpf(1)
        for k in range(1, 40):
            total += term
            term *= -(2 * k - 1) / (2 * y * y)
        return (1 + 2 * y) * total / (y * mpmath.sqrt(mpmath.pi))
    return (1 + 2 * y) * mpmath.exp(y * y) * mpmath.erfc(y)


def near(function: Function, slope: Function, zero: Any) -> Function:
    """function(x)/(x − zero), whose value at the zero is the slope."""
    return lambda x: slope(zero) if abs(x - zero) < mpf(10) ** -25 else function(x) / (x - zero)


def of_square(function: Function, first: Any, second: Any) -> Function:
    """(f(x)/x − first)/x² as a function of z = x², `second` at 0."""

    def value(z: Any) -> Any:
        x = mpmath.sqrt(z)
        return second if z < mpf(10) ** -15 else (function(x) / x - first) / z

    return value


def stirling(v: Any) -> Any:
    """x·(lgamma(x) − (x − ½)·log x + x − ½·log 2π) as a function of v = x⁻²."""
    if v < mpf(10) ** -10:
        return mpf(1) / 12 - v / 360 + v * v / 1260
    x = 1 / mpmath.sqrt(v)
    return x * (mpmath.loggamma(x) - (x - mpf(1) / 2) * mpmath.log(x) + x - mpmath.log(2 * mpmath.pi) / 2)


def psi_rest(v: Any) -> Any:
    """x²·(ψ(x) − log x + 1/(2x)) as a function of v = x⁻²."""
    if v < mpf(10) ** -10:
        return -mpf(1) / 12 + v / 120 - v * v / 252
    x = 1 / mpmath.sqrt(v)
    return x * x * (mpmath.digamma(x) - mpmath.log(x) + 1 / (2 * x))


def gamma_near_one(t: Any) -> Any:
    """lgamma(1 + u)/(u·(u − 1)) for u = (1 + t)/2."""
    u = (1 + t) / 2
    if abs(u) < mpf(10) ** -25:
        return mpmath.euler
    if abs(u - 1) < mpf(10) ** -25:
        return 1 - mpmath.euler
    return mpmath.loggamma(1 + u) / (u * (u - 1))


# name: what it is, function, interval, how many leading coefficients are written as two numbers each
TABLE: dict[str, tuple[str, Function, tuple[Any, Any], int]] = {
    "ERFC": ("(1 + 2y)·exp(y²)·erfc(y) in t = (y − 4)/(y + 4)", erfcx, (-1, 1), 2),
    "ERF": (
        "(erf(x)/x − 2/√π)/x² in x², |x| ≤ 1",
        of_square(mpmath.erf, 2 / mpmath.sqrt(mpmath.pi), -2 / (3 * mpmath.sqrt(mpmath.pi))),
        (0, 1),
        0,
    ),
    "TAN": ("(tan(x)/x − 1)/x² in x², |x| ≤ π/4", of_square(mpmath.tan, 1, mpf(1) / 3), (0, mpf("0.6169")), 0),
    "ATAN": ("(atan(x)/x − 1)/x² in x², |x| ≤ 1", of_square(mpmath.atan, 1, -mpf(1) / 3), (0, 1), 0),
    "ASIN": ("(asin(x)/x − 1)/x² in x², |x| ≤ ½", of_square(mpmath.asin, 1, mpf(1) / 6), (0, mpf(1) / 4), 0),
    "LGAMMA_1": ("lgamma(1 + u)/(u·(u − 1)) in t = 2u − 1, 0 ≤ u ≤ 1", gamma_near_one, (-1, 1), 2),
    "LGAMMA_2": (
        "lgamma(x)/(x − 2) in t = x − 3, 2 ≤ x ≤ 4",
        lambda t: near(mpmath.loggamma, mpmath.digamma, mpf(2))(t + 3),
        (-1, 1),
        2,
    ),
    "LGAMMA_4": ("lgamma(x) in t = (x − 6)/2, 4 ≤ x ≤ 8", lambda t: mpmath.loggamma(2 * t + 6), (-1, 1), 2),
    "STIRLING": ("x·(lgamma(x) − (x − ½)·log x + x − ½·log 2π) in x⁻², x ≥ 8", stirling, (0, mpf(1) / 64), 0),
    "PSI_1": (
        "ψ(1 + u)/(1 + u − x₀) in t = 2u − 1, 0 ≤ u ≤ 1; x₀ is the zero of ψ",
        lambda t: near(mpmath.digamma, lambda x: mpmath.polygamma(1, x), PSI_ZERO)((3 + t) / 2),
        (-1, 1),
        2,
    ),
    "PSI_2": ("ψ(x) in t = x − 3, 2 ≤ x ≤ 4", lambda t: mpmath.digamma(t + 3), (-1, 1), 2),
    "PSI_4": ("ψ(x) in t = (x − 6)/2, 4 ≤ x ≤ 8", lambda t: mpmath.digamma(2 * t + 6), (-1, 1), 2),
    "PSI_REST": ("x²·(ψ(x) − log x + 1/(2x)) in x⁻², x ≥ 8", psi_rest, (0, mpf(1) / 64), 0),
    "SIN_PI": (
        "(sin(πx)/x − π)/x² in x², |x| ≤ ½",
        of_square(lambda x: mpmath.sin(mpmath.pi * x), mpmath.pi, -(mpmath.pi**3) / 6),
        (0, mpf(1) / 4),
        0,
    ),
    "COS_PI": (
        "(cos(πx) − 1)/x² in x², |x| ≤ ½",
        limit(lambda z: (mpmath.cos(mpmath.pi * mpmath.sqrt(z)) - 1) / z, 0, -(mpmath.pi**2) / 2),
        (0, mpf(1) / 4),
        0,
    ),
    "CBRT": ("the cube root, where iterations begin, √½ ≤ x ≤ √2", mpmath.cbrt, ("0.7071", "1.4143"), 0),
}
DEGREES = {"CBRT": 4}


def fit(function: Function, interval: tuple[Any, Any], wanted: int | None = None) -> list[Any]:
    """The coefficients, the constant one first, of the degree `wanted` or of the least that serves."""
    if wanted is not None:
        return list(reversed(mpmath.chebyfit(function, tuple(map(mpf, interval)), wanted + 1)))
    a, b = map(mpf, interval)
    points = [a + (b - a) * k / 97 for k in range(98)]
    values = [function(x) for x in points]
    largest = max(map(abs, values))
    for degree in range(3, 40):
        found = mpmath.chebyfit(function, (a, b), degree + 1)
        if max(abs(mpmath.polyval(found, x) - y) for x, y in zip(points, values, strict=True)) < ERROR * largest:
            return list(reversed(found))
    raise AssertionError("no polynomial of degree 40 is close enough")


def both(x: Any) -> tuple[str, str]:
    """A number as a double and the double next to the rest."""
    high = float(x)
    return high.hex(), float(x - mpf(high)).hex()


def main() -> None:
    lines = [
        '"""Polynomials, the constant coefficient first: made by `references/polynomials_reference.py`.',
        "",
        'Two numbers that belong together, "high" and "low", are one number to twice the digits."""',
        "",
        "from __future__ import annotations",
        "",
        "_hex = float.fromhex",
        "",
    ]
    for name, (what, function, interval, pairs) in TABLE.items():
        coefficients = fit(function, interval, DEGREES.get(name))
        print(name, len(coefficients) - 1, flush=True)
        lines.append(f"# {what}")
        if pairs:
            lines.append(f"{name}_HEAD = (")
            lines += ['    (_hex("{}"), _hex("{}")),'.format(*both(c)) for c in coefficients[:pairs]]
            lines.append(")")
        lines.append(f"{name} = (")
        lines += [f'    _hex("{float(c).hex()}"),' for c in coefficients[pairs:]]
        lines.append(")")
    numbers = {
        "PSI_ZERO": ("the zero x₀ of ψ, less 1", PSI_ZERO - 1),
        "TWO_OVER_ROOT_PI": ("2/√π", 2 / mpmath.sqrt(mpmath.pi)),
        "CBRT_2": ("∛2", mpmath.cbrt(2)),
        "CBRT_4": ("∛4", mpmath.cbrt(4)),
        "ROOT_HALF": ("√½", mpmath.sqrt(mpf(1) / 2)),
        "HALF_PI": ("π/2", mpmath.pi / 2),
        "PI": ("π", mpmath.pi),
        "LN2_REST": ("log 2 less its first 32 bits", mpmath.log(2) - mpf(float.fromhex("0x1.62e42fefap-1"))),
        "LOG_PI": ("log π", mpmath.log(mpmath.pi)),
        "HALF_LOG_TWO_PI": ("½·log 2π", mpmath.log(2 * mpmath.pi) / 2),
    }
    for name, (what, number) in numbers.items():
        lines += [f"# {what}", '{} = (_hex("{}"), _hex("{}"))'.format(name, *both(number))]
    # π/2 in parts whose products with an integer below 2²⁰ are exact.
    rest, parts = mpmath.pi / 2, []
    for _ in range(3):
        part = mpmath.ldexp(mpmath.floor(mpmath.ldexp(rest, 32 - mpmath.frexp(rest)[1])), mpmath.frexp(rest)[1] - 32)
        parts.append(float(part))
        rest -= part
    parts.append(float(rest))
    lines += ["# π/2 in parts, of which all but the last have 32 bits", "HALF_PI_PARTS = ("]
    lines += [f'    _hex("{x.hex()}"),' for x in parts]
    lines.append(")")
    unfinished = TARGET.with_suffix(".unfinished")
    unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(unfinished, TARGET)


if __name__ == "__main__":
    main()
