"""Numbers of twice the precision: a float, "high", and its rounding error, "low".

Sums and products with their errors (Møller, Knuth, Dekker), and polynomials, exponentials and logarithms built on them,
for formulas that must be right to the last digit. Written in operations and without branches, as `composed` requires.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from macrograd.formulas.polynomials import LN2_REST
from macrograd.ops import div, less, where
from macrograd.rows.composed import BY_NAME, exponent, mantissa, multiply_add, product_rest

INF, NAN = math.inf, math.nan
LARGEST = 1.7976931348623157e308
LN2 = float.fromhex("0x1.62e42fefap-1")  # its first 32 bits: products with exponents are exact
Pair = tuple[Any, Any]


def nearest(a: Any) -> Any:
    return BY_NAME["round"](a)


def floor(a: Any) -> Any:
    return BY_NAME["floor"](a)


def exact_sum(a: Any, b: Any) -> Pair:
    """a + b and its rounding error (D. Knuth, *The Art of Computer Programming* 2, §4.2.2)."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def sorted_sum(a: Any, b: Any) -> Pair:
    """The same for |a| ≥ |b| or a = 0."""
    s = a + b
    return s, b - (s - a)


def exact_product(a: Any, b: Any) -> Pair:
    return a * b, product_rest(a, b)


def quotient(a: Any, b: Any, a_low: Any = 0.0, b_low: Any = 0.0) -> Pair:
    """(a + a_low)/(b + b_low)."""
    q = div(a, b)
    rest = ((a - q * b) - product_rest(q, b)) + (a_low - q * b_low)
    return q, div(rest, b)


def times(a: Pair, b: Pair) -> Pair:
    p, rest = exact_product(a[0], b[0])
    return sorted_sum(p, rest + (a[0] * b[1] + a[1] * b[0]))


def polynomial(x: Any, coefficients: Sequence[Any]) -> Any:
    """c₀ + c₁·x + c₂·x² + … by Estrin's scheme: in pairs, then pairs of pairs, which can be computed independently."""
    parts = list(coefficients)
    while len(parts) > 1:
        pairs = [multiply_add(b, x, a) for a, b in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + parts[2 * len(pairs) :]
        x = x * x
    return parts[0]


def precise_polynomial(t: Any, head: Sequence[Pair], tail: Sequence[Any]) -> Pair:
    """A polynomial whose first two coefficients are pairs, and whose first two terms are not rounded."""
    (c, c_low), (d, d_low) = head
    p, p_rest = exact_product(d, t)
    s, s_rest = exact_sum(c, p)
    return sorted_sum(s, t * t * polynomial(t, tail) + ((s_rest + p_rest) + (c_low + d_low * t)))


_FACTORIALS = [1 / math.factorial(k) for k in range(2, 15)]


def scaled_exp(h: Any, low: Any = 0.0) -> tuple[Any, Pair]:
    """exp(h + low) = 2ⁿ·(1 + s): n and s."""
    n = nearest(h * 1.4426950408889634)
    p, p_rest = exact_product(n, LN2_REST[0])
    r, rest = exact_sum(h - n * LN2, -p)
    rest = (rest - p_rest) + (low - n * LN2_REST[1])
    u = r * r * polynomial(r, _FACTORIALS)
    return n, sorted_sum(r, u + (rest + rest * (r + u)))


def exp_pair(h: Any, low: Any = 0.0) -> tuple[Any, Pair]:
    """exp(h + low) = 2ⁿ·e: n and e."""
    n, (s, s_low) = scaled_exp(h, low)
    e, rest = sorted_sum(1.0, s)
    return n, (e, rest + s_low)


_ARTANH = [2 / (2 * k + 1) for k in range(1, 14)]


def log_pair(a: Any) -> Pair:
    """log a for finite a > 0: k·log 2 + log m, and log m = 2·artanh(s) for s = (m − 1)/(m + 1)."""
    k, m = exponent(a), mantissa(a)
    f = m - 1.0
    d, d_low = sorted_sum(2.0, f)
    s, s_low = quotient(f, d, 0.0, d_low)
    z = s * s
    high, rest = sorted_sum(k * LN2, 2.0 * s)
    return sorted_sum(high, s * z * polynomial(z, _ARTANH) + (rest + (2.0 * s_low + k * LN2_REST[0])))


def at_most(a: Any, largest: float) -> Any:
    return where(less(largest, a), largest, a)
