"""Special functions written in the operations, accurate to a bound that each states in units in the last place (ulp)
of float64, against the exact value, and that `tests/test_special.py` measures.

The means are few: sums and products with what their rounding takes away (Møller, Knuth, Dekker), so that a number may
be two, "high" and "low"; polynomials, fitted in `references/polynomials_reference.py`; and no branches (`_composed`).
What an argument outside of a part's range makes there is never chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from macrograd import _polynomials as poly
from macrograd._composed import BY_NAME, elsewhere, exponent, mantissa, multiply_add, product_rest, scaled, signed
from macrograd._polynomials import HALF_PI, LN2_REST, PI, PSI_ZERO, TWO_OVER_ROOT_PI
from macrograd.ops import absolute, div, less, power, sqrt, where

INF, NAN = math.inf, math.nan
_LARGEST = 1.7976931348623157e308
_LN2 = float.fromhex("0x1.62e42fefap-1")  # its first 32 bits: products with exponents are exact
Pair = tuple[Any, Any]


def _round(a: Any) -> Any:
    return BY_NAME["round"](a)


def _floor(a: Any) -> Any:
    return BY_NAME["floor"](a)


# --- numbers of twice the digits --------------------------------------------------------------------------------------


def _sum(a: Any, b: Any) -> Pair:
    """a + b and what its rounding takes away (D. Knuth, *The Art of Computer Programming* 2, §4.2.2)."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def _sorted_sum(a: Any, b: Any) -> Pair:
    """The same for |a| ≥ |b| or a = 0."""
    s = a + b
    return s, b - (s - a)


def _product(a: Any, b: Any) -> Pair:
    return a * b, product_rest(a, b)


def _quotient(a: Any, b: Any, a_low: Any = 0.0, b_low: Any = 0.0) -> Pair:
    """(a + a_low)/(b + b_low)."""
    q = div(a, b)
    rest = ((a - q * b) - product_rest(q, b)) + (a_low - q * b_low)
    return q, div(rest, b)


def _times(a: Pair, b: Pair) -> Pair:
    p, rest = _product(a[0], b[0])
    return _sorted_sum(p, rest + (a[0] * b[1] + a[1] * b[0]))


def _polynomial(x: Any, coefficients: Sequence[Any]) -> Any:
    """c₀ + c₁·x + c₂·x² + … by Estrin's scheme: in pairs, then pairs of pairs, which do not wait for each other."""
    parts = list(coefficients)
    while len(parts) > 1:
        pairs = [multiply_add(b, x, a) for a, b in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + parts[2 * len(pairs) :]
        x = x * x
    return parts[0]


def _precise(t: Any, head: Sequence[Pair], tail: Sequence[Any]) -> Pair:
    """A polynomial whose first two coefficients are pairs, and whose first two terms are not rounded."""
    (c, c_low), (d, d_low) = head
    p, p_rest = _product(d, t)
    s, s_rest = _sum(c, p)
    return _sorted_sum(s, t * t * _polynomial(t, tail) + ((s_rest + p_rest) + (c_low + d_low * t)))


_FACTORIALS = [1 / math.factorial(k) for k in range(2, 15)]


def _exp(h: Any, low: Any = 0.0) -> tuple[Any, Pair]:
    """exp(h + low) = 2ⁿ·(1 + s): n and s."""
    n = _round(h * 1.4426950408889634)
    p, p_rest = _product(n, LN2_REST[0])
    r, rest = _sum(h - n * _LN2, -p)
    rest = (rest - p_rest) + (low - n * LN2_REST[1])
    u = r * r * _polynomial(r, _FACTORIALS)
    return n, _sorted_sum(r, u + (rest + rest * (r + u)))


def _exp_pair(h: Any, low: Any = 0.0) -> tuple[Any, Pair]:
    """exp(h + low) = 2ⁿ·e: n and e."""
    n, (s, s_low) = _exp(h, low)
    e, rest = _sorted_sum(1.0, s)
    return n, (e, rest + s_low)


_ARTANH = [2 / (2 * k + 1) for k in range(1, 14)]


def _log(a: Any) -> Pair:
    """log a for finite a > 0: k·log 2 + log m, and log m = 2·artanh(s) for s = (m − 1)/(m + 1)."""
    k, m = exponent(a), mantissa(a)
    f = m - 1.0
    d, d_low = _sorted_sum(2.0, f)
    s, s_low = _quotient(f, d, 0.0, d_low)
    z = s * s
    high, rest = _sorted_sum(k * _LN2, 2.0 * s)
    return _sorted_sum(high, s * z * _polynomial(z, _ARTANH) + (rest + (2.0 * s_low + k * LN2_REST[0])))


def _at_most(a: Any, largest: float) -> Any:
    return where(less(largest, a), largest, a)


# --- the error function ----------------------------------------------------------------------------------------------


def _erfcx(y: Any, y_low: Any = 0.0) -> Pair:
    """exp(y²)·erfc(y) for y from 0 to 50: (1 + 2y) times it is smooth in (y − 4)/(y + 4).

    Source: Shepherd & Laframboise, *Chebyshev approximation of (1+2x)exp(x²)erfc x in 0≤x<∞*, Math. Comp. 36, 1981.
    """
    (top, top_low), (bottom, bottom_low) = _sum(y, -4.0), _sum(y, 4.0)
    t, t_low = _quotient(top, bottom, top_low, bottom_low)
    high, low = _precise(t, poly.ERFC_HEAD, poly.ERFC)
    d, d_low = _sum(1.0, 2.0 * y)
    q = div(high, d)
    slope = 2.0 * y * q - TWO_OVER_ROOT_PI[0]
    low = low + (2.0 * q + d * slope) * (0.125 * (bottom * bottom)) * t_low
    q, q_low = _quotient(high, d, low, d_low)
    return q, q_low + slope * y_low


def _tail(y: Any, square: Pair, y_low: Any = 0.0) -> Any:
    """erfc(y + y_low), whose square is given."""
    n, e = _exp_pair(-square[0], -square[1])
    p, low = _times(e, _erfcx(y, y_low))
    return scaled(p + low, n)


def erfc(x: Any) -> Any:
    """The complementary error function, ≤ 2 ulp."""
    y = _at_most(absolute(x), 28.0)
    found = _tail(y, _product(y, y))
    return where(less(x, 0.0), 2.0 - found, found)


def erf(x: Any) -> Any:
    """The error function, ≤ 1 ulp: by a polynomial up to 1 and 1 − erfc beyond."""
    z, c = x * x, (TWO_OVER_ROOT_PI[0] - 1.0) + TWO_OVER_ROOT_PI[1]
    near = x + x * multiply_add(z, _polynomial(z, poly.ERF), c)
    y = _at_most(absolute(x), 6.0)
    far = signed(1.0 - _tail(y, _product(y, y)), x)
    return where(less(absolute(x), 1.0), near, far)


def norm_cdf(x: Any) -> Any:
    """½·erfc(−x/√2), ≤ 2 ulp down to the smallest numbers."""
    a = _at_most(absolute(x), 40.0)
    square, square_low = _product(a, a)
    y, y_low = _product(a, poly.ROOT_HALF[0])
    half = 0.5 * _tail(y, (0.5 * square, 0.5 * square_low), y_low + a * poly.ROOT_HALF[1])
    return where(less(x, 0.0), half, 1.0 - half)


# --- exponentials ----------------------------------------------------------------------------------------------------


def expm1(x: Any) -> Any:
    """exp(x) − 1, ≤ 1 ulp."""
    y = _at_most(-_at_most(-x, 40.0), 710.0)
    n, (s, s_low) = _exp(y)
    p = scaled(1.0, n - 1.0)  # half of 2ⁿ, which may be beyond the largest number
    base, base_rest = _sum(p, -0.5)
    high, rest = _sum(base, p * s)
    found = 2.0 * (high + (rest + (base_rest + p * s_low)))
    return where(less(absolute(x), 1e-290), x, found)  # half of a subnormal number may be none


def _quarter_exp(x: Any) -> tuple[Any, Any, Any]:
    """exp(|x|)/4 as a pair, and exp(−|x|)/4."""
    n, (e, low) = _exp_pair(_at_most(absolute(x), 711.0))
    high = scaled(e, n - 2.0)
    return high, scaled(low, n - 2.0), div(0.0625, high)


_SINH = [1 / math.factorial(2 * k + 3) for k in range(10)]


def sinh(x: Any) -> Any:
    """≤ 1 ulp: by its series up to 1, then from exp."""
    z = x * x
    near = x + x * z * _polynomial(z, _SINH)
    high, low, other = _quarter_exp(x)
    s, rest = _sorted_sum(high, -other)
    return where(less(absolute(x), 1.0), near, signed(2.0 * (s + (rest + low)), x))


def cosh(x: Any) -> Any:
    """≤ 1 ulp."""
    high, low, other = _quarter_exp(x)
    s, rest = _sorted_sum(high, other)
    return 2.0 * (s + (rest + low))


# --- angles ----------------------------------------------------------------------------------------------------------


def tan(x: Any) -> Any:
    """≤ 1 ulp: x less a multiple of π/2, of which 140 bits are known; beyond 2²⁰ the target's own function."""
    n = _round(x * 0.6366197723675814)
    a, b, c, d = poly.HALF_PI_PARTS
    r, rest = _sum(x - n * a, -(n * b))
    r, more = _sum(r, -(n * c))
    r, low = _sorted_sum(r, (rest + more) - n * d)
    z = r * r
    u = r * z * _polynomial(z, poly.TAN)
    t = r + u
    high, t_low = _sorted_sum(r, u + low * (1.0 + t * t))
    q, q_low = _quotient(-1.0, high, 0.0, t_low)
    odd = n - 2.0 * _floor(0.5 * n)
    found = where(x, where(odd, q + q_low, high + t_low), x)
    return elsewhere(less(1048576.0, absolute(x)), found, "tan", x)


def _arctangent(q: Any, q_low: Any, base: Pair, sign: Any) -> Any:
    """base ± atan(q + q_low) for 0 ≤ q ≤ 1."""
    z = q * q
    s = q * z * _polynomial(z, poly.ATAN) + div(q_low, 1.0 + z)
    high, rest = _sorted_sum(base[0], sign * q)
    return high + (rest + (base[1] + sign * s))


def atan(x: Any) -> Any:
    """≤ 2 ulp: of 1/x beyond 1."""
    a = _at_most(absolute(x), 1e300)
    beyond = less(1.0, a)
    q, q_low = _quotient(1.0, a)
    q, q_low = where(beyond, q, a), where(beyond, q_low, 0.0)
    base = where(beyond, HALF_PI[0], 0.0), where(beyond, HALF_PI[1], 0.0)
    return signed(_arctangent(q, q_low, base, where(beyond, -1.0, 1.0)), x)


def atan2(y: Any, x: Any) -> Any:
    """≤ 2 ulp; zeros and infinities as in C's annex F."""
    a, b = absolute(x), absolute(y)
    steep = less(a, b)
    top, bottom = where(steep, a, b), where(steep, b, a)
    # Of numbers that are very small or very large the remainder of the division would not be a number.
    up = less(top, 2.0**-800) * less(bottom, 2.0**800)
    factor = where(up, 2.0**200, where(less(2.0**900, bottom), 2.0**-200, 1.0))
    q, q_low = _quotient(top * factor, bottom * factor)
    q = where(less(_LARGEST, top) * less(_LARGEST, bottom), 1.0, where(bottom, q, top))
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
    s = v * z * _polynomial(z, poly.ASIN)
    return near, v, s, where(near, s, s + root_low * (1.0 + 0.5 * w))


def asin(x: Any) -> Any:
    """≤ 2 ulp; NaN beyond ±1."""
    near, v, _, s = _arcsine(x)
    high, rest = _sorted_sum(HALF_PI[0], -2.0 * v)
    return signed(where(near, v + s, high + (rest + (HALF_PI[1] - 2.0 * s))), x)


def acos(x: Any) -> Any:
    """≤ 2 ulp; NaN beyond ±1."""
    near, v, _, s = _arcsine(x)
    positive = less(0.0, x)
    # π/2 − asin x, 2·asin √((1 − x)/2), π − 2·asin √((1 + x)/2)
    v, s = where(near, signed(v, x), v), where(near, where(positive, s, -s), s)
    base = where(near, HALF_PI[0], where(positive, 0.0, PI[0])), where(near, HALF_PI[1], where(positive, 0.0, PI[1]))
    factor = where(near, -1.0, where(positive, 2.0, -2.0))
    high, rest = _sorted_sum(base[0], factor * v)
    return high + (rest + (base[1] + factor * s))


# --- roots and remainders --------------------------------------------------------------------------------------------


def hypot(a: Any, b: Any) -> Any:
    """√(a² + b²), ≤ 1 ulp, without overflow in between; infinite if either is, even beside a NaN."""
    a, b = absolute(a), absolute(b)
    swap = less(a, b)
    large, small = where(swap, b, a), where(swap, a, b)
    big, tiny = less(2.0**500, large), less(large, 2.0**-450)
    factor = where(big, 2.0**-600, where(tiny, 2.0**600, 1.0))
    x, y = large * factor, small * factor
    (h, h_low), (g, g_low) = _product(x, x), _product(y, y)
    s, rest = _sorted_sum(h, g)
    r = sqrt(s)
    more = ((s - r * r) - product_rest(r, r)) + (rest + (h_low + g_low))
    r = where(r, r + div(more, 2.0 * r), r)
    found = r * where(big, 2.0**600, where(tiny, 2.0**-600, 1.0))
    infinite = less(_LARGEST, a) + less(_LARGEST, b)
    return where(infinite, INF, found)


def cbrt(x: Any) -> Any:
    """The cube root, also of negative numbers, ≤ 1 ulp: a polynomial of the mantissa and two of Halley's steps."""
    a = absolute(x)
    k, m = exponent(a), mantissa(a)
    third = _floor(k * (1 / 3) + 0.1)
    j = k - 3.0 * third
    start = where(j, where(j - 1.0, poly.CBRT_4[0], poly.CBRT_2[0]), 1.0)
    y, m = _polynomial(m, poly.CBRT) * start, m * where(j, where(j - 1.0, 4.0, 2.0), 1.0)
    for _ in range(2):
        cube = y * y * y
        y = y * ((cube + 2.0 * m) / (2.0 * cube + m))
    p, p_low = _product(y, y)
    q, q_low = _product(p, y)
    y = y + ((m - q) - (q_low + p_low * y)) / (3.0 * p)
    found = signed(scaled(y, third), x)
    return where(less(0.0, a) * less(a, INF), found, x)


def mod(a: Any, b: Any) -> Any:
    """a − b·⌊a/b⌋ as Python's %, exact but for one rounding where the signs differ; beyond 2⁵² multiples of b the
    target's own fmod."""
    x, y = absolute(a), absolute(b)
    q = div(x, y)
    n = _floor(q)
    r = (x - n * y) - product_rest(n, y)
    r = where(less(r, 0.0), r + y, r)  # the quotient was rounded up
    usual = less(q, 2.0**52) * less(y, INF)
    r = signed(elsewhere(1.0 - usual, r, "fmod", x, y), a)
    other = where(less(r * signed(1.0, b), 0.0), r + b, r)
    return where(r, other, signed(r, b))


# --- the gamma function's logarithm and its derivatives ------------------------------------------------------------


def _by_size(a: Any, one: Any, two: Any, four: Any) -> Any:
    """Below 2, below 4, or beyond."""
    return where(less(a, 2.0), one, where(less(a, 4.0), two, four))


def _piecewise(a: Any, u: Any, name: str) -> Pair:
    """The polynomials that serve below 2 (of u from 0 to 1), 4 and 8, in one evaluation."""
    heads = [getattr(poly, f"{name}_{k}_HEAD") for k in (1, 2, 4)]
    tails = [getattr(poly, f"{name}_{k}") for k in (1, 2, 4)]
    degree = max(map(len, tails))
    t = _by_size(a, 2.0 * u - 1.0, a - 3.0, 0.5 * a - 3.0)
    head = [tuple(_by_size(a, *(h[k][part] for h in heads)) for part in (0, 1)) for k in (0, 1)]
    tail = [_by_size(a, *(x[k] if k < len(x) else 0.0 for x in tails)) for k in range(degree)]
    return _precise(t, head, tail)


def lgamma(x: Any) -> Any:
    """log |Γ(x)|, ≤ 2 ulp for x > 0. For x < 0 the error is at most 3 ulp of the largest of 1, |lgamma x| and
    lgamma |x|, for it has a zero in every interval. Infinite at 0, −1, −2 … and at ±∞.

    Up to 8 by polynomials, near its zeros 1 and 2 by (x − 1)·(x − 2) times one; then Stirling's series; and below 0
    by Γ(−a)·Γ(a) = −π/(a·sin πa).
    """
    a = absolute(x)
    below = less(a, 1.0)
    u = where(below, a, a - 1.0)
    # (1 + u − 1)(1 + u − 2), x − 2, 1
    v, v_low = _sum(u, -1.0)
    w, w_low = _product(u, v)
    factor = _by_size(a, w, a - 2.0, 1.0), _by_size(a, w_low + u * v_low, 0.0, 0.0)
    high, low = _times(factor, _piecewise(a, u, "LGAMMA"))

    log, log_low = _log(a)
    b = a - 0.5
    p, p_low = _product(b, log)
    s, s_rest = _sum(p, -a)
    reciprocal = div(1.0, a)
    series = reciprocal * _polynomial(reciprocal * reciprocal, poly.STIRLING)
    s_low = series + ((s_rest + (p_low + b * log_low)) + poly.HALF_LOG_TWO_PI[1])
    s, more = _sum(s, poly.HALF_LOG_TWO_PI[0])
    large = less(8.0, a)
    high, low = where(large, s, high), where(large, s_low + more, low)

    d = absolute(a - _round(a))
    sine = d * multiply_add(d * d, _polynomial(d * d, poly.SIN_PI) * (1 / math.pi), 1.0)  # sin(πd)/π
    other, other_low = _log(where(below, sine, a * sine))
    negative = less(x, 0.0)
    t, t_rest = _sum(high, where(negative, other, where(below, -log, 0.0)))
    found = t + (t_rest + (low + where(negative, other_low, where(below, -log_low, 0.0))))
    found = where(less(1e17, a), a * ((log - 1.0) + log_low), found)
    found = where(negative, -found, found)
    pole = where(negative, 1.0 - less(0.0, d), less(a, 5e-324))
    return where(less(a, INF), where(pole, INF, found), a)


def digamma(x: Any) -> Any:
    """ψ(x) = Γ'(x)/Γ(x), ≤ 2 ulp for x > 0. For x < 0 the error is at most 4 ulp of the largest of 1,
    |ψ(x)|, π·|cot πx| and |ψ(1 − x)|. ψ(±0) = ∓∞ and NaN at −1, −2 … and −∞, as PyTorch and SciPy have it.

    Up to 8 by polynomials, near its zero by x − 1.4616… times one; then its asymptotic series; and below 0 by
    ψ(x) = ψ(1 − x) − π·cot πx.
    """
    negative = less(x, 0.0)
    y = where(negative, 1.0 - x, x)
    below = less(y, 1.0)
    u = where(negative, -x, where(below, y, y - 1.0))
    v, v_low = _sum(u, -PSI_ZERO[0])
    factor = _by_size(y, v, 1.0, 1.0), _by_size(y, v_low - PSI_ZERO[1], 0.0, 0.0)
    high, low = _times(factor, _piecewise(y, u, "PSI"))

    log, log_low = _log(y)
    r, r_low = _quotient(1.0, y)
    w = r * r
    s, s_rest = _sorted_sum(log, -0.5 * r)
    large = less(8.0, y)
    high = where(large, s, high)
    low = where(large, w * _polynomial(w, poly.PSI_REST) + (s_rest + log_low), low)

    d = x - _round(x)
    z = d * d
    sine = d * multiply_add(z, _polynomial(z, poly.SIN_PI), math.pi)
    cosine = multiply_add(z, _polynomial(z, poly.COS_PI), 1.0)
    cotangent = where(d, math.pi * div(cosine, sine), NAN)
    t, t_rest = _sum(high, where(negative, -cotangent, where(below, -r, 0.0)))
    found = t + (t_rest + (low + where(negative, 0.0, where(below, -r_low, 0.0))))
    found = where(less(absolute(x), 1e-300), div(-1.0, x), found)
    return where(less(absolute(x), INF), found, where(less(0.0, x), x, NAN))


# B₂ₖ/(2k)!, k = 1, 2 … (B are Bernoulli's numbers)
_BERNOULLI = [
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600,
    -3617 / 10670622842880000, 43867 / 5109094217170944000,
]  # fmt: skip
_SHIFT = 12


def polygamma(n: Any, x: Any) -> Any:
    """The n-th derivative of ψ, (−1)ⁿ⁺¹·n!·Σₖ (x + k)⁻ⁿ⁻¹, for whole n ≥ 1 and x > 0; NaN for x < 0. For n up to 5
    ≤ 8 ulp.

    The first twelve terms, and for the rest of them Euler and Maclaurin's formula.
    """
    y, s = x + float(_SHIFT), -(n + 1.0)
    first = power(y, s)
    total = 0.5 * first + div(first * y, n)
    v = div(1.0, y)
    term, step = first * v * (n + 1.0), v * v
    rest: Any = 0.0
    for k, c in enumerate(_BERNOULLI):
        rest = rest + c * term
        term = term * step * (n + float(2 * k + 2)) * (n + float(2 * k + 3))
    total = total + rest
    for k in reversed(range(_SHIFT)):
        total = total + power(x + float(k), s)
    sign = 4.0 * (0.5 * n - _floor(0.5 * n)) - 1.0  # 1 for odd n
    factorial = _round(BY_NAME["exp"](lgamma(n + 1.0)))
    found = sign * factorial * total
    return where(less(x, 0.0), NAN, where(less(x, INF), where(x, found, sign * INF), sign * div(1.0, x)))
