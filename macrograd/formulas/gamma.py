"""The logarithm of the gamma function and its derivatives; see `functions` for the method."""

from __future__ import annotations

import math
from typing import Any

from macrograd.formulas import polynomials as poly
from macrograd.formulas.pairs import (
    INF,
    NAN,
    Pair,
    exact_product,
    exact_sum,
    floor,
    log_pair,
    nearest,
    polynomial,
    precise_polynomial,
    quotient,
    sorted_sum,
    times,
)
from macrograd.formulas.polynomials import PSI_ZERO
from macrograd.ops import absolute, div, less, power, where
from macrograd.rows.composed import BY_NAME, multiply_add


def _by_size(a: Any, one: Any, two: Any, four: Any) -> Any:
    """Below 2, below 4, or beyond."""
    return where(less(a, 2.0), one, where(less(a, 4.0), two, four))


def _piecewise(a: Any, u: Any, name: str) -> Pair:
    """The polynomials for arguments below 2 (of u from 0 to 1), 4 and 8, in one evaluation."""
    heads = [getattr(poly, f"{name}_{k}_HEAD") for k in (1, 2, 4)]
    tails = [getattr(poly, f"{name}_{k}") for k in (1, 2, 4)]
    degree = max(map(len, tails))
    t = _by_size(a, 2.0 * u - 1.0, a - 3.0, 0.5 * a - 3.0)
    head = [tuple(_by_size(a, *(h[k][part] for h in heads)) for part in (0, 1)) for k in (0, 1)]
    tail = [_by_size(a, *(x[k] if k < len(x) else 0.0 for x in tails)) for k in range(degree)]
    return precise_polynomial(t, head, tail)


def lgamma(x: Any) -> Any:
    """log |Γ(x)|, ≤ 2 ulp for x > 0. For x < 0 the error is at most 3 ulp of the largest of 1, |lgamma x| and
    lgamma |x|, since it has a zero in every interval. Infinite at 0, −1, −2 … and at ±∞.

    Up to 8 by polynomials, near its zeros 1 and 2 by one times (x − 1)·(x − 2); then by Stirling's series; below 0 by
    Γ(−a)·Γ(a) = −π/(a·sin πa).
    """
    a = absolute(x)
    below = less(a, 1.0)
    u = where(below, a, a - 1.0)
    # (1 + u − 1)(1 + u − 2), x − 2, 1
    v, v_low = exact_sum(u, -1.0)
    w, w_low = exact_product(u, v)
    factor = _by_size(a, w, a - 2.0, 1.0), _by_size(a, w_low + u * v_low, 0.0, 0.0)
    high, low = times(factor, _piecewise(a, u, "LGAMMA"))

    log, log_low = log_pair(a)
    b = a - 0.5
    p, p_low = exact_product(b, log)
    s, s_rest = exact_sum(p, -a)
    reciprocal = div(1.0, a)
    series = reciprocal * polynomial(reciprocal * reciprocal, poly.STIRLING)
    s_low = series + ((s_rest + (p_low + b * log_low)) + poly.HALF_LOG_TWO_PI[1])
    s, more = exact_sum(s, poly.HALF_LOG_TWO_PI[0])
    large = less(8.0, a)
    high, low = where(large, s, high), where(large, s_low + more, low)

    d = absolute(a - nearest(a))
    sine = d * multiply_add(d * d, polynomial(d * d, poly.SIN_PI) * (1 / math.pi), 1.0)  # sin(πd)/π
    other, other_low = log_pair(where(below, sine, a * sine))
    negative = less(x, 0.0)
    t, t_rest = exact_sum(high, where(negative, other, where(below, -log, 0.0)))
    found = t + (t_rest + (low + where(negative, other_low, where(below, -log_low, 0.0))))
    found = where(less(1e17, a), a * ((log - 1.0) + log_low), found)
    found = where(negative, -found, found)
    pole = where(negative, 1.0 - less(0.0, d), less(a, 5e-324))
    return where(less(a, INF), where(pole, INF, found), a)


def digamma(x: Any) -> Any:
    """ψ(x) = Γ'(x)/Γ(x), ≤ 2 ulp for x > 0. For x < 0 the error is at most 4 ulp of the largest of 1,
    |ψ(x)|, π·|cot πx| and |ψ(1 − x)|. ψ(±0) = ∓∞ and NaN at −1, −2 … and −∞, as in PyTorch and SciPy.

    Up to 8 by polynomials, near its zero by one times x − 1.4616…; then by its asymptotic series; below 0 by ψ(x) = ψ(1
    − x) − π·cot πx.
    """
    negative = less(x, 0.0)
    y = where(negative, 1.0 - x, x)
    below = less(y, 1.0)
    u = where(negative, -x, where(below, y, y - 1.0))
    v, v_low = exact_sum(u, -PSI_ZERO[0])
    factor = _by_size(y, v, 1.0, 1.0), _by_size(y, v_low - PSI_ZERO[1], 0.0, 0.0)
    high, low = times(factor, _piecewise(y, u, "PSI"))

    log, log_low = log_pair(y)
    r, r_low = quotient(1.0, y)
    w = r * r
    s, s_rest = sorted_sum(log, -0.5 * r)
    large = less(8.0, y)
    high = where(large, s, high)
    low = where(large, w * polynomial(w, poly.PSI_REST) + (s_rest + log_low), low)

    d = x - nearest(x)
    z = d * d
    sine = d * multiply_add(z, polynomial(z, poly.SIN_PI), math.pi)
    cosine = multiply_add(z, polynomial(z, poly.COS_PI), 1.0)
    cotangent = where(d, math.pi * div(cosine, sine), NAN)
    t, t_rest = exact_sum(high, where(negative, -cotangent, where(below, -r, 0.0)))
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
    """The n-th derivative of ψ, (−1)ⁿ⁺¹·n!·Σₖ (x + k)⁻ⁿ⁻¹, for integers n ≥ 1 and x > 0; NaN for other n and x < 0.
    ≤ 8 ulp for n up to 5.

    The first twelve terms, and the Euler–Maclaurin formula for the rest.
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
    sign = 4.0 * (0.5 * n - floor(0.5 * n)) - 1.0  # 1 for odd n
    factorial = nearest(BY_NAME["exp"](lgamma(n + 1.0)))
    found = sign * factorial * total
    outside = where(less(x, 0.0), 1.0, where(less(n, 1.0), 1.0, n - floor(n)))
    return where(outside, NAN, where(less(x, INF), where(x, found, sign * INF), sign * div(1.0, x)))
