"""Elementary functions with the same bits on every machine, for strict programs: mathematical libraries differ in them.

They are written like the special functions (`functions`) and with the same tools; each states its error against the
exact value in units in the last place (ulp) of float64. Where an argument is outside a part's range, that part's result
is never chosen.
"""

from __future__ import annotations

import math
from typing import Any

from macrograd.formulas.pairs import (
    INF,
    LN2,
    NAN,
    Pair,
    at_most,
    exact_sum,
    exp_pair,
    floor,
    log_pair,
    nearest,
    polynomial,
    quotient,
    scaled_exp,
    sorted_sum,
    times,
)
from macrograd.formulas.polynomials import HALF_PI, HALF_PI_PARTS, LN2_REST, TAN
from macrograd.ops import absolute, div, less, less_equal, where
from macrograd.rows.composed import BY_NAME, elsewhere, exponent, mantissa, scaled, signed, two_over_pi

# --- exponentials and logarithms -------------------------------------------------------------------------------------


def _limited(a: Any) -> Any:
    """An exponent limited to slightly more than the range in which exp is neither 0 nor infinite."""
    return at_most(-at_most(-a, 760.0), 720.0)


def exp(a: Any) -> Any:
    """≤ 0.6 ulp, and 1.1 where the result is subnormal."""
    n, (high, low) = exp_pair(_limited(a))
    return scaled(high + low, n)


def log(a: Any) -> Any:
    """≤ 0.51 ulp."""
    found, _ = log_pair(a)
    return _at_the_ends(found, a)


def _at_the_ends(found: Any, a: Any) -> Any:
    """The logarithm of 0, of ∞, and of numbers outside its domain."""
    found = where(less(a, INF), found, a)
    return where(less(0.0, a), found, where(a, NAN, -INF))


def log1p(a: Any) -> Any:
    """≤ 0.6 ulp: log(u + r) for 1 + a = u + r."""
    u, rest = exact_sum(1.0, a)
    high, low = log_pair(u)
    found = high + (low + div(rest, u))
    found = where(less(absolute(a), 2.0**-54), a, found)
    return where(less(-1.0, a), where(less(a, INF), found, a), where(a + 1.0, NAN, -INF))


def tanh(a: Any) -> Any:
    """≤ 1 ulp: e/(e + 2) for e = exp(2|a|) − 1."""
    n, (s, s_low) = scaled_exp(2.0 * at_most(absolute(a), 20.0))
    power = scaled(1.0, n)
    e, rest = exact_sum(power - 1.0, power * s)
    e, e_low = sorted_sum(e, rest + power * s_low)
    below, below_rest = exact_sum(e, 2.0)
    q, q_low = quotient(e, below, e_low, below_rest + e_low)
    found = where(less(absolute(a), 2.0**-28), absolute(a), q + q_low)
    return where(less_equal(a, a), signed(found, a), a)


def sigmoid(a: Any) -> Any:
    """≤ 2 ulp: 1/(1 + e) for a ≥ 0 and e/(1 + e) below, with e = exp(−|a|)."""
    e = exp(-absolute(a))
    return div(where(less(a, 0.0), e, 1.0), 1.0 + e)


def softplus(a: Any) -> Any:
    """max(a, 0) + log(1 + exp(−|a|)), ≤ 1.5 ulp."""
    return BY_NAME["maximum"](a, 0.0) + log1p(exp(-absolute(a)))


_ARTANH = [2 / (2 * k + 1) for k in range(2, 14)]
_TWO_THIRDS = (2 / 3, 2.0**-54 * 2 / 3)


def _long_log(a: Any) -> Pair:
    """log a to 65 bits: as `log_pair`, except that the second term of the series is not rounded."""
    k, m = exponent(a), mantissa(a)
    f = m - 1.0
    d, d_low = sorted_sum(2.0, f)
    s = quotient(f, d, 0.0, d_low)
    z = times(s, s)
    c, c_low = sorted_sum(_TWO_THIRDS[0], z[0] * polynomial(z[0], _ARTANH))
    u, u_low = times(times(s, z), (c, c_low + _TWO_THIRDS[1]))
    high, rest = sorted_sum(k * LN2, 2.0 * s[0])
    high, more = exact_sum(high, u)
    return sorted_sum(high, rest + (more + (k * LN2_REST[0] + (2.0 * s[1] + u_low))))


def power(a: Any, b: Any) -> Any:
    """aᵇ by |a|ᵇ = exp(b·log |a|), ≤ 0.7 ulp; zeros, infinities and negative numbers as in annex F of C."""
    size = absolute(a)
    log, log_low = _long_log(size)
    # With an exponent beyond these, the power of any number is 0, 1 or ∞.
    c = at_most(-at_most(-b, 2.0**66), 2.0**66)
    high, low = times((c, 0.0), (log, log_low))
    far = less(absolute(high), 760.0)
    n, (e, e_low) = exp_pair(where(far, high, _limited(high)), where(far, low, 0.0))
    found = scaled(e + e_low, n)
    grows = less(0.0, b)
    # Bases other than finite numbers above 0: 0 and ∞, raised to a nonzero power.
    found = where(size, found, where(grows, 0.0, INF))
    found = where(less(size, INF), found, where(grows, INF, 0.0))
    whole = less_equal(floor(b), b) * less_equal(b, floor(b))
    half = 0.5 * b
    odd = whole * (1.0 - less_equal(half, floor(half))) * less(absolute(b), 2.0**53)
    negative = less(signed(1.0, a), 0.0)
    found = where(negative, where(odd, -found, found), found)
    bad = less(a, 0.0) * (1.0 - whole) * less(size, INF)
    found = where(bad, NAN, found)
    # For an infinite exponent, only the side of 1 on which the number lies matters.
    to_nothing = where(grows, less(size, 1.0), less(1.0, size))
    at_the_end = where(less_equal(size, 1.0) * less_equal(1.0, size), 1.0, where(to_nothing, 0.0, INF))
    found = where(less(absolute(b), INF), found, at_the_end)
    found = where(less_equal(a, a), where(less_equal(b, b), found, b), a)
    one = less_equal(a, 1.0) * less_equal(1.0, a)
    return where(one, 1.0, where(b, found, 1.0))


# --- angles ----------------------------------------------------------------------------------------------------------

Turned = tuple[Any, Pair]  # the number of quarter turns, and the remainder, from −π/4 to π/4
_NEAR = 1048576.0  # up to this


def _near(x: Any) -> Turned:
    """By subtraction of multiples of π/2, of which 140 bits are known; up to 2²⁰."""
    n = nearest(x * 0.6366197723675814)
    a, b, c, d = HALF_PI_PARTS
    r, rest = exact_sum(x - n * a, -(n * b))
    r, more = exact_sum(r, -(n * c))
    return n, sorted_sum(r, (rest + more) - n * d)


def _far(x: Any) -> Turned:
    """By the relevant bits of 2/π, for any |x| (M. Payne and R. Hanek, ACM SIGNUM Newsletter 18, 1983).

    |x| = (a·2²⁷ + b)·2ᵏ with integers a and b of 27 bits; 2/π is used in integers of 24 bits, so that all products are
    exact. Multiples of 4 quarter turns are dropped as they arise.
    """
    size = absolute(x)
    k, m = exponent(size) - 53.0, mantissa(size) * 67108864.0
    a = floor(m)
    b = (m - a) * 134217728.0
    first = floor((k - 2.0) * (1 / 24))
    first = where(less(0.0, first), where(less(first, 40.0), first, 40.0), 0.0)
    unit = scaled(1.0, k - 24.0 * (first + 1.0))
    total, rest, low = 0.0, 0.0, 0.0
    for i in range(9):
        digits = two_over_pi(first + float(i))
        for part, place in ((a, 27 - 24 * i), (b, -24 * i)):
            t = part * digits * (unit * 2.0**place)
            if place > -40:
                t = t - 4.0 * floor(0.25 * t)
            total, more = exact_sum(total, t)
            rest, more = exact_sum(rest, more)
            low = low + more
    n = nearest(total)
    high, more = exact_sum(total - n, rest)
    r = times(sorted_sum(high, more + low), HALF_PI)
    negative = less(x, 0.0)
    return where(negative, -n, n), (where(negative, -r[0], r[0]), where(negative, -r[1], r[1]))


_SIN = [(-1) ** k / math.factorial(2 * k + 1) for k in range(1, 9)]
_COS = [(-1) ** k / math.factorial(2 * k) for k in range(2, 10)]


def _wave(turned: Turned, ahead: float) -> Any:
    """The sine of an angle plus `ahead` quarter turns."""
    n, (r, low) = turned
    z = r * r
    sine = r + (r * z * polynomial(z, _SIN) + low * (1.0 - 0.5 * z))
    half = 0.5 * z
    w = 1.0 - half
    cosine = w + (((1.0 - w) - half) + (z * z * polynomial(z, _COS) - r * low))
    n = n + ahead
    quarter = n - 4.0 * floor(0.25 * n)
    found = where(quarter - 2.0 * floor(0.5 * quarter), cosine, sine)
    return where(less(quarter, 2.0), found, -found)


def _far_sin(x: Any) -> Any:
    return where(less(absolute(x), INF), _wave(_far(x), 0.0), NAN)


def _far_cos(x: Any) -> Any:
    return where(less(absolute(x), INF), _wave(_far(x), 1.0), NAN)


def sin(x: Any) -> Any:
    """≤ 0.8 ulp."""
    found = where(x, _wave(_near(x), 0.0), x)
    return elsewhere(less(_NEAR, absolute(x)), found, _far_sin, x)


def cos(x: Any) -> Any:
    """≤ 0.8 ulp."""
    return elsewhere(less(_NEAR, absolute(x)), _wave(_near(x), 1.0), _far_cos, x)


def _tangent(turned: Turned) -> Any:
    n, (r, low) = turned
    z = r * r
    u = r * z * polynomial(z, TAN)
    t = r + u
    high, t_low = sorted_sum(r, u + low * (1.0 + t * t))
    q, q_low = quotient(-1.0, high, 0.0, t_low)
    odd = n - 2.0 * floor(0.5 * n)
    return where(odd, q + q_low, high + t_low)


def _far_tan(x: Any) -> Any:
    return where(less(absolute(x), INF), _tangent(_far(x)), NAN)


def tan(x: Any) -> Any:
    """≤ 1 ulp."""
    size = absolute(x)
    near = where(1.0 - less(0.0, size), x, _tangent(_near(x)))  # in this order ONNX Runtime keeps the sign of −0.0
    return elsewhere(less(_NEAR, size), near, _far_tan, x)
