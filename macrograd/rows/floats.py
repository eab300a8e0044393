"""The operations on Python floats, following IEEE 754 where Python would raise.

1/0 is an infinity, log(-1) a NaN, exp(1000) overflows to an infinity; signed zeros are told apart.
"""

from __future__ import annotations

import math

INF = math.inf
NAN = math.nan


# For `random`: odd multipliers of the three operands, and the two of the mixing step.
RANDOM_KEYS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
RANDOM_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_LARGEST_WHOLE = 2.0**53


def random(a: float, b: float, c: float) -> float:
    """24 random bits as a number in [0, 1), always the same for the same integers a, b and c.

    Fractions are dropped; NaN if one is beyond ±2⁵³, where floats no longer represent every integer. The three are
    combined into one 64-bit number, which is mixed by the finaliser of SplitMix64 (Steele, Lea & Flood, *Fast
    Splittable Pseudorandom Number Generators*, OOPSLA 2014), and its upper 24 bits are exact in float32 too.
    """
    if not (abs(a) < _LARGEST_WHOLE and abs(b) < _LARGEST_WHOLE and abs(c) < _LARGEST_WHOLE):
        return NAN
    mask = 0xFFFFFFFFFFFFFFFF
    z = (int(a) * RANDOM_KEYS[0] + int(b) * RANDOM_KEYS[1] + int(c) * RANDOM_KEYS[2]) & mask
    z = (z ^ (z >> 30)) * RANDOM_MIX[0] & mask
    z = (z ^ (z >> 27)) * RANDOM_MIX[1] & mask
    return ((z ^ (z >> 31)) >> 40) * 2.0**-24


def divide(a: float, b: float) -> float:
    try:
        return a / b
    except ZeroDivisionError:
        if a == 0.0 or a != a:
            return NAN
        return math.copysign(INF, a) * math.copysign(1.0, b)


def power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except OverflowError:
        return -INF if a < 0 and b % 2 == 1 else INF
    except ValueError:  # 0 to a negative power, or a negative base with a fractional exponent
        if a != 0.0:
            return NAN
        return math.copysign(INF, a) if b % 2 == 1 else INF


def exp(a: float) -> float:
    try:
        return math.exp(a)
    except OverflowError:
        return INF


def log(a: float) -> float:
    if a > 0.0:
        return math.log(a)
    return -INF if a == 0.0 else NAN


def log1p(a: float) -> float:
    if a > -1.0:
        return math.log1p(a)
    return -INF if a == -1.0 else NAN


def sqrt(a: float) -> float:
    return math.sqrt(a) if a >= 0.0 else NAN


def sigmoid(a: float) -> float:
    if a >= 0.0:
        return 1.0 / (1.0 + math.exp(-a))
    e = math.exp(a) if a == a else a
    return e / (1.0 + e)


def softplus(a: float) -> float:
    return max(a, 0.0) + math.log1p(math.exp(-abs(a))) if a == a else a


def sin(a: float) -> float:
    return math.sin(a) if abs(a) != INF else NAN


def cos(a: float) -> float:
    return math.cos(a) if abs(a) != INF else NAN


def expm1(a: float) -> float:
    try:
        return math.expm1(a)
    except OverflowError:
        return INF


def sinh(a: float) -> float:
    try:
        return math.sinh(a)
    except OverflowError:
        return math.copysign(INF, a)


def cosh(a: float) -> float:
    try:
        return math.cosh(a)
    except OverflowError:
        return INF


def tan(a: float) -> float:
    return math.tan(a) if abs(a) != INF else NAN


def asin(a: float) -> float:
    return math.asin(a) if abs(a) <= 1.0 else NAN


def acos(a: float) -> float:
    return math.acos(a) if abs(a) <= 1.0 else NAN


def floor(a: float) -> float:
    return math.copysign(math.floor(a), a) if abs(a) < _LARGEST_WHOLE else a  # the sign is that of −0 too


def ceil(a: float) -> float:
    return math.copysign(math.ceil(a), a) if abs(a) < _LARGEST_WHOLE else a


def round_(a: float) -> float:
    """To the nearest integer, halves to even."""
    return math.copysign(round(a), a) if abs(a) < _LARGEST_WHOLE else a


def mod(a: float, b: float) -> float:
    return a % b if b != 0.0 and abs(a) != INF else NAN


def sign(a: float) -> float:
    return 1.0 if a > 0.0 else -1.0 if a < 0.0 else abs(a)  # 0.0 for both zeros, as in NumPy and PyTorch; a NaN passes


def maximum(a: float, b: float) -> float:
    if a > b or a != a:
        return a
    return a + b if a == 0.0 == b else b  # +0.0 is larger than -0.0; the sum keeps -0.0 for two of them


def minimum(a: float, b: float) -> float:
    return -maximum(-a, -b)


def sum_(*terms: float) -> float:
    total = terms[0] if terms else 0.0
    for term in terms[1:]:
        total += term
    return total


def dot(*pairs: float) -> float:
    if not pairs:
        return 0.0
    total = pairs[0] * pairs[1]
    for i in range(2, len(pairs), 2):
        total += pairs[i] * pairs[i + 1]
    return total


def take(index: float, *values: float) -> float:
    return values[int(index)]
