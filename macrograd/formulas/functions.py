"""Special functions written in the operations. Each states its error bound in units in the last place (ulp) of float64
against the exact value; `tests/test_special.py` measures it.

They use few means: numbers that may be pairs, "high" and "low" (`pairs`), polynomials, fitted in
`references/polynomials_reference.py`, and no branches (`composed`). A part's result outside its range is never chosen.
"""

from __future__ import annotations

import math
from typing import Any

from macrograd.formulas import polynomials as poly
from macrograd.formulas.pairs import (
    INF,
    LARGEST,
    Pair,
    at_most,
    exact_product,
    exact_sum,
    exp_pair,
    floor,
    polynomial,
    precise_polynomial,
    quotient,
    scaled_exp,
    sorted_sum,
    times,
)
from macrograd.formulas.polynomials import HALF_PI, PI, TWO_OVER_ROOT_PI
from macrograd.ops import absolute, div, less, sqrt, where
from macrograd.rows.composed import elsewhere, exponent, mantissa, multiply_add, product_rest, scaled, signed

# --- the error function ----------------------------------------------------------------------------------------------


def _erfcx(y: Any, y_low: Any = 0.0) -> Pair:
    """exp(y²)·erfc(y) for y from 0 to 50: times (1 + 2y) it is smooth in (y − 4)/(y + 4).

    Source: Shepherd & Laframboise, *Chebyshev approximation of (1+2x)exp(x²)erfc x in 0≤x<∞*, Math. Comp. 36, 1981.
    """
    (top, top_low), (bottom, bottom_low) = exact_sum(y, -4.0), exact_sum(y, 4.0)
    t, t_low = quotient(top, bottom, top_low, bottom_low)
    high, low = precise_polynomial(t, poly.ERFC_HEAD, poly.ERFC)
    d, d_low = exact_sum(1.0, 2.0 * y)
    q = div(high, d)
    slope = 2.0 * y * q - TWO_OVER_ROOT_PI[0]
    low = low + (2.0 * q + d * slope) * (0.125 * (bottom * bottom)) * t_low
    q, q_low = quotient(high, d, low, d_low)
    return q, q_low + slope * y_low


def _tail(y: Any, square: Pair, y_low: Any = 0.0) -> Any:
    """erfc(y + y_low), whose square is given."""
    n, e = exp_pair(-square[0], -square[1])
    p, low = times(e, _erfcx(y, y_low))
    return scaled(p + low, n)


def erfc(x: Any) -> Any:
    """The complementary error function, ≤ 2 ulp."""
    y = at_most(absolute(x), 28.0)
    found = _tail(y, exact_product(y, y))
    return where(less(x, 0.0), 2.0 - found, found)


def erf(x: Any) -> Any:
    """The error function, ≤ 1 ulp: by a polynomial up to 1 and 1 − erfc beyond."""
    z, c = x * x, (TWO_OVER_ROOT_PI[0] - 1.0) + TWO_OVER_ROOT_PI[1]
    near = x + x * multiply_add(z, polynomial(z, poly.ERF), c)
    y = at_most(absolute(x), 6.0)
    far = signed(1.0 - _tail(y, exact_product(y, y)), x)
    return where(less(absolute(x), 1.0), near, far)


def norm_cdf(x: Any) -> Any:
    """½·erfc(−x/√2), ≤ 2 ulp down to the smallest numbers."""
    a = at_most(absolute(x), 40.0)
    square, square_low = exact_product(a, a)
    y, y_low = exact_product(a, poly.ROOT_HALF[0])
    half = 0.5 * _tail(y, (0.5 * square, 0.5 * square_low), y_low + a * poly.ROOT_HALF[1])
    return where(less(x, 0.0), half, 1.0 - half)


# --- exponentials ----------------------------------------------------------------------------------------------------


def expm1(x: Any) -> Any:
    """exp(x) − 1, ≤ 1 ulp."""
    y = at_most(-at_most(-x, 40.0), 710.0)
    n, (s, s_low) = scaled_exp(y)
    p = scaled(1.0, n - 1.0)  # half of 2ⁿ, which itself may overflow
    base, base_rest = exact_sum(p, -0.5)
    high, rest = exact_sum(base, p * s)
    found = 2.0 * (high + (rest + (base_rest + p * s_low)))
    return where(less(absolute(x), 1e-290), x, found)  # half of a subnormal number may not be representable


def _quarter_exp(x: Any) -> tuple[Any, Any, Any]:
    """exp(|x|)/4 as a pair, and exp(−|x|)/4."""
    n, (e, low) = exp_pair(at_most(absolute(x), 711.0))
    high = scaled(e, n - 2.0)
    return high, scaled(low, n - 2.0), div(0.0625, high)


_SINH = [1 / math.factorial(2 * k + 3) for k in range(10)]


def sinh(x: Any) -> Any:
    """≤ 1 ulp: by its series up to 1, then from exp."""
    z = x * x
    near = x + x * z * polynomial(z, _SINH)
    high, low, other = _quarter_exp(x)
    s, rest = sorted_sum(high, -other)
    return where(less(absolute(x), 1.0), near, signed(2.0 * (s + (rest + low)), x))


def cosh(x: Any) -> Any:
    """≤ 1 ulp."""
    high, low, other = _quarter_exp(x)
    s, rest = sorted_sum(high, other)
    return 2.0 * (s + (rest + low))


# --- angles ----------------------------------------------------------------------------------------------------------


def _arctangent(q: Any, q_low: Any, base: Pair, sign: Any) -> Any:
    """base ± atan(q + q_low) for 0 ≤ q ≤ 1."""
    z = q * q
    s = q * z * polynomial(z, poly.ATAN) + div(q_low, 1.0 + z)
    high, rest = sorted_sum(base[0], sign * q)
    return high + (rest + (base[1] + sign * s))


def atan(x: Any) -> Any:
    """≤ 2 ulp; by the arctangent of 1/x beyond 1."""
    a = at_most(absolute(x), 1e300)
    beyond = less(1.0, a)
    q, q_low = quotient(1.0, a)
    q, q_low = where(beyond, q, a), where(beyond, q_low, 0.0)
    base = where(beyond, HALF_PI[0], 0.0), where(beyond, HALF_PI[1], 0.0)
    return signed(_arctangent(q, q_low, base, where(beyond, -1.0, 1.0)), x)


def atan2(y: Any, x: Any) -> Any:
    """≤ 2 ulp; zeros and infinities as in C's annex F."""
    a, b = absolute(x), absolute(y)
    steep = less(a, b)
    top, bottom = where(steep, a, b), where(steep, b, a)
    # For very small or very large numbers the remainder of the division would be NaN.
    up = less(top, 2.0**-800) * less(bottom, 2.0**800)
    factor = where(up, 2.0**200, where(less(2.0**900, bottom), 2.0**-200, 1.0))
    q, q_low = quotient(top * factor, bottom * factor)
    q = where(less(LARGEST, top) * less(LARGEST, bottom), 1.0, where(bottom, q, top))
    q_low = where(less(absolute(q_low), 1.0), q_low, 0.0)
    left = less(signed(1.0, x), 0.0)
    base = where(steep, HALF_PI[0], where(left, PI[0], 0.0)), where(steep, HALF_PI[1], where(left, PI[1], 0.0))
    sign = where(left, where(steep, 1.0, -1.0), where(steep, -1.0, 1.0))
    return signed(_arctangent(q, q_low, base, sign), y)


def _arcsine(x: Any) -> tuple[Any, Any, Any, Any]:
    """Whether |x| < ½; then asin |x| as a sum v + s, and else asin √((1 − |x|)/2)."""
    a = absolute(x)
    near = less(a, 0.5)
    w = 0.5 * (1.0 - a)
    root = sqrt(w)
    root_low = where(root, div((w - root * root) - product_rest(root, root), 2.0 * root), 0.0)
    v, z = where(near, a, root), where(near, a * a, w)
    s = v * z * polynomial(z, poly.ASIN)
    return near, v, s, where(near, s, s + root_low * (1.0 + 0.5 * w))


def asin(x: Any) -> Any:
    """≤ 2 ulp; NaN beyond ±1."""
    near, v, _, s = _arcsine(x)
    high, rest = sorted_sum(HALF_PI[0], -2.0 * v)
    return signed(where(near, v + s, high + (rest + (HALF_PI[1] - 2.0 * s))), x)


def acos(x: Any) -> Any:
    """≤ 2 ulp; NaN beyond ±1."""
    near, v, _, s = _arcsine(x)
    positive = less(0.0, x)
    # π/2 − asin x, 2·asin √((1 − x)/2), π − 2·asin √((1 + x)/2)
    v, s = where(near, signed(v, x), v), where(near, where(positive, s, -s), s)
    base = where(near, HALF_PI[0], where(positive, 0.0, PI[0])), where(near, HALF_PI[1], where(positive, 0.0, PI[1]))
    factor = where(near, -1.0, where(positive, 2.0, -2.0))
    high, rest = sorted_sum(base[0], factor * v)
    return high + (rest + (base[1] + factor * s))


# --- roots and remainders --------------------------------------------------------------------------------------------


def hypot(a: Any, b: Any) -> Any:
    """√(a² + b²), ≤ 1 ulp, without intermediate overflow; infinite if either operand is, even beside a NaN."""
    a, b = absolute(a), absolute(b)
    swap = less(a, b)
    large, small = where(swap, b, a), where(swap, a, b)
    big, tiny = less(2.0**500, large), less(large, 2.0**-450)
    factor = where(big, 2.0**-600, where(tiny, 2.0**600, 1.0))
    x, y = large * factor, small * factor
    (h, h_low), (g, g_low) = exact_product(x, x), exact_product(y, y)
    s, rest = sorted_sum(h, g)
    r = sqrt(s)
    more = ((s - r * r) - product_rest(r, r)) + (rest + (h_low + g_low))
    r = where(r, r + div(more, 2.0 * r), r)
    found = r * where(big, 2.0**600, where(tiny, 2.0**-600, 1.0))
    infinite = less(LARGEST, a) + less(LARGEST, b)
    return where(infinite, INF, found)


def cbrt(x: Any) -> Any:
    """The cube root, also of negative numbers, ≤ 1 ulp: a polynomial of the mantissa and two Halley steps."""
    a = absolute(x)
    k, m = exponent(a), mantissa(a)
    third = floor(k * (1 / 3) + 0.1)
    j = k - 3.0 * third
    start = where(j, where(j - 1.0, poly.CBRT_4[0], poly.CBRT_2[0]), 1.0)
    y, m = polynomial(m, poly.CBRT) * start, m * where(j, where(j - 1.0, 4.0, 2.0), 1.0)
    for _ in range(2):
        cube = y * y * y
        y = y * ((cube + 2.0 * m) / (2.0 * cube + m))
    p, p_low = exact_product(y, y)
    q, q_low = exact_product(p, y)
    y = y + ((m - q) - (q_low + p_low * y)) / (3.0 * p)
    found = signed(scaled(y, third), x)
    return where(1.0 - less(0.0, a) * less(a, INF), x, found)  # in this order ONNX Runtime keeps the sign of −0.0


def mod(a: Any, b: Any) -> Any:
    """a − b·⌊a/b⌋ as Python's %, exact except for one rounding where the signs differ; beyond 2⁵² multiples of b the
    target's own fmod."""
    x, y = absolute(a), absolute(b)
    q = div(x, y)
    n = floor(q)
    r = (x - n * y) - product_rest(n, y)
    r = where(less(r, 0.0), r + y, r)  # the quotient was rounded up
    usual = less(q, 2.0**52) * less(y, INF)
    r = signed(elsewhere(1.0 - usual, r, "fmod", x, y), a)
    other = where(less(r * signed(1.0, b), 0.0), r + b, r)
    zero = 1.0 - less(0.0, absolute(r))  # the zero is chosen by a condition that holds: see `log1p` in rows/in_onnx.py
    return where(zero, signed(r, b), other)
