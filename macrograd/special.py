"""More rows of the table: error and gamma functions, inverse trigonometric and hyperbolic functions, rounding.

They follow IEEE 754 and C's annex F at infinities, poles and signed zeros, where these say anything. Where a derivative
is a matter of convention, `docs/operations.md` gives ours beside those of other libraries.
"""

from __future__ import annotations

import math
from typing import Any

from macrograd.formulas import functions, gamma, portable
from macrograd.ops import Op, cos, div, exp, less, log, log1p, power, sigmoid, sin, softplus, sqrt, tanh, where
from macrograd.rows import floats

_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
_ONE_OVER_ROOT_TWO_PI = 1 / math.sqrt(2 * math.pi)


# --- derivatives that need more than one line ----------------------------------------------------------------------


def _d_digamma(g: Any, out: Any, a: Any) -> Any:
    # Below 0 by reflection, ψ'(a) = (π/sin πa)² − ψ'(1 − a). The side that is not chosen is kept away from poles.
    negative = less(a, 0.0)
    sine = sin(math.pi * where(negative, a - round_(a), 0.5))
    positive = polygamma(1.0, where(negative, 1.0 - a, a))
    return g * where(negative, div(math.pi * math.pi, sine * sine) - positive, positive)


def _d_mod_divisor(g: Any, out: Any, a: Any, b: Any) -> Any:
    return g * round_(div(out - a, b))  # −⌊a/b⌋, also where the quotient was rounded up to an integer


def _d_hypot(g: Any, out: Any, a: Any, b: Any) -> Any:
    return g * div(a, where(out, out, 1.0))


def _d_angle(g: Any, a: Any, b: Any) -> Any:
    """g·b/(a² + b²), 0 where both are 0."""
    size = hypot(a, b)
    size = where(size, size, 1.0)
    return g * div(div(b, size), size)


_C_MOD = """static double mg_mod(double a, double b) {
    const double r = fmod(a, b);
    if (r == 0) return copysign(r, b);
    return (r < 0) != (b < 0) ? r + b : r;
}
"""

# --- the rows --------------------------------------------------------------------------------------------------------

floor = Op(
    "floor",
    "⌊x⌋",
    1,
    floats.floor,
    (None,),
    array="floor",
    llvm="floor",
    c="floor({0})",
    onnx="Floor",
    tame=True,
    about="The largest integer not above x. The slope is 0 everywhere.",
)
ceil = Op(
    "ceil",
    "⌈x⌉",
    1,
    floats.ceil,
    (None,),
    array="ceil",
    llvm="ceil",
    c="ceil({0})",
    onnx="Ceil",
    tame=True,
    about="The smallest integer not below x. The slope is 0 everywhere.",
)
round_ = Op(
    "round",
    "round",
    1,
    floats.round_,
    (None,),
    array="rint",
    llvm="rint",
    c="rint({0})",
    onnx="Round",
    tame=True,
    about="The nearest integer, the even one for halves. The slope is 0 everywhere.",
)
mod = Op(
    "mod",
    "mod",
    2,
    floats.mod,
    (lambda g, out, a, b: g, _d_mod_divisor),
    formula=functions.mod,
    array="mod",
    c="mg_mod({0}, {1})",
    c_function=_C_MOD,
    cost=20,
    remedy="mod by 0 and mod of an infinity are NaN: keep the divisor away from 0",
    about="The remainder of x by y with the sign of y, as Python's %. NaN for y = 0.",
)
erf: Op = Op(
    "erf",
    "erf",
    1,
    math.erf,
    (lambda g, out, a: g * (_TWO_OVER_ROOT_PI * exp(-(a * a))),),
    formula=functions.erf,
    c="erf({0})",
    cost=120,
    tame=True,
    range=(-1.0, 1.0),
    about="The error function, 2/√π ∫₀ˣ e^(−t²) dt.",
)
erfc = Op(
    "erfc",
    "erfc",
    1,
    math.erfc,
    (lambda g, out, a: -(g * (_TWO_OVER_ROOT_PI * exp(-(a * a)))),),
    formula=functions.erfc,
    c="erfc({0})",
    cost=110,
    tame=True,
    range=(0.0, 2.0),
    about="1 − erf(x), exact for large x.",
)
norm_cdf = Op(
    "norm_cdf",
    "Φ",
    1,
    None,
    (lambda g, out, a: g * (_ONE_OVER_ROOT_TWO_PI * exp(-0.5 * (a * a))),),
    formula=functions.norm_cdf,
    cost=120,
    tame=True,
    range=(0.0, 1.0),
    about="The standard normal distribution function Φ(x), exact in both tails.",
)
expm1 = Op(
    "expm1",
    "expm1",
    1,
    floats.expm1,
    (lambda g, out, a: g * (out + 1.0),),
    formula=functions.expm1,
    array="expm1",
    c="expm1({0})",
    cost=50,
    remedy="expm1 overflows beyond 709: lower the learning rate",
    about="eˣ − 1, exact for small x.",
)
sinh: Op = Op(
    "sinh",
    "sinh",
    1,
    floats.sinh,
    (lambda g, out, a: g * cosh(a),),
    formula=functions.sinh,
    array="sinh",
    c="sinh({0})",
    cost=70,
    remedy="sinh overflows beyond ±710: lower the learning rate",
    about="The hyperbolic sine. Infinite beyond ±710.",
)
cosh: Op = Op(
    "cosh",
    "cosh",
    1,
    floats.cosh,
    (lambda g, out, a: g * sinh(a),),
    formula=functions.cosh,
    array="cosh",
    c="cosh({0})",
    cost=60,
    remedy="cosh overflows beyond ±710: lower the learning rate",
    about="The hyperbolic cosine. Infinite beyond ±710.",
)
tan = Op(
    "tan",
    "tan",
    1,
    floats.tan,
    (lambda g, out, a: g * (1.0 + out * out),),
    formula=portable.tan,
    array="tan",
    c="tan({0})",
    cost=70,
    about="The tangent of x in radians.",
)
atan = Op(
    "atan",
    "atan",
    1,
    math.atan,
    (lambda g, out, a: div(g, 1.0 + a * a),),
    formula=functions.atan,
    array="arctan",
    c="atan({0})",
    cost=60,
    tame=True,
    range=(-2.0, 2.0),
    about="The inverse tangent in radians, from −π/2 to π/2.",
)
atan2 = Op(
    "atan2",
    "atan2",
    2,
    math.atan2,
    (lambda g, out, a, b: _d_angle(g, a, b), lambda g, out, a, b: -_d_angle(g, b, a)),
    formula=functions.atan2,
    array="arctan2",
    c="atan2({0}, {1})",
    cost=80,
    about="The angle of the point (x, y) in radians, from −π to π: atan2(y, x). Both slopes are 0 at (0, 0).",
)
asin = Op(
    "asin",
    "asin",
    1,
    floats.asin,
    (lambda g, out, a: div(g, sqrt((1.0 - a) * (1.0 + a))),),
    formula=functions.asin,
    array="arcsin",
    c="asin({0})",
    cost=60,
    remedy="asin needs a number from −1 to 1, and its slope at ±1 is infinite: clip it with mg.minimum and mg.maximum",
    about="The inverse sine in radians, from −π/2 to π/2. NaN beyond ±1, where the slope is infinite.",
)
acos = Op(
    "acos",
    "acos",
    1,
    floats.acos,
    (lambda g, out, a: -div(g, sqrt((1.0 - a) * (1.0 + a))),),
    formula=functions.acos,
    array="arccos",
    c="acos({0})",
    cost=60,
    remedy="acos needs a number from −1 to 1, and its slope at ±1 is infinite: clip it with mg.minimum and mg.maximum",
    about="The inverse cosine in radians, from 0 to π. NaN beyond ±1, where the slope is infinite.",
)
hypot: Op = Op(
    "hypot",
    "hypot",
    2,
    math.hypot,
    (_d_hypot, lambda g, out, a, b: _d_hypot(g, out, b, a)),
    formula=functions.hypot,
    array="hypot",
    c="hypot({0}, {1})",
    cost=40,
    about="√(x² + y²), without overflow on the way. Both slopes are 0 at (0, 0).",
)
cbrt = Op(
    "cbrt",
    "∛",
    1,
    math.cbrt,
    (lambda g, out, a: div(g, 3.0 * (out * out)),),
    formula=functions.cbrt,
    array="cbrt",
    c="cbrt({0})",
    cost=60,
    remedy="The cube root's slope at 0 is infinite: keep its operand away from 0",
    about="The cube root, of negative numbers too. The slope at 0 is infinite.",
)
lgamma = Op(
    "lgamma",
    "lnΓ",
    1,
    None,
    (lambda g, out, a: g * digamma(a),),
    formula=gamma.lgamma,
    cost=250,
    remedy="lgamma is infinite at 0, −1, −2 …: keep its operand away from there",
    about="log |Γ(x)|. Infinite at 0, −1, −2, …",
)
digamma: Op = Op(
    "digamma",
    "ψ",
    1,
    None,
    (_d_digamma,),
    formula=gamma.digamma,
    cost=220,
    remedy="digamma has poles at 0, −1, −2 …: keep its operand away from there",
    about="ψ(x), the derivative of log Γ(x). Poles at 0, −1, −2, …",
)
polygamma: Op = Op(
    "polygamma",
    "ψ⁽ⁿ⁾",
    2,
    None,
    (None, lambda g, out, n, a: g * polygamma(ceil(n) + 1.0, a)),  # `gate` may put an order that is no integer here
    formula=gamma.polygamma,
    cost=1000,
    remedy="polygamma needs an integer n ≥ 1 and an operand above 0",
    about="ψ⁽ⁿ⁾(x), the n-th derivative of ψ, for integers n ≥ 1 and x > 0; NaN elsewhere.",
)

# In strict programs, where the libraries of two machines would differ by a bit now and then.
exp.portable, log.portable, log1p.portable = portable.exp, portable.log, portable.log1p
tanh.portable, sigmoid.portable, softplus.portable = portable.tanh, portable.sigmoid, portable.softplus
sin.portable, cos.portable, power.portable = portable.sin, portable.cos, portable.power
