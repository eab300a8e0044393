"""The table of operations: one row per operation, and the only place that describes it.

A row says how to compute the operation on Python floats, what its derivative is, and how each target spells it. The
derivative is written **in the operations themselves**: the same line runs on floats (the eager engine), on `Value`s
(derivatives of derivatives) and on traced values (the compiler). An `Op` is therefore a function: `exp(0.5)` is a
float, `exp(Value(0.5))` is a Value that remembers where it came from.

Numbers follow IEEE 754 where Python would raise: 1/0 is an infinity, log(-1) is a NaN, exp(1000) overflows to an
infinity. At kinks the derivatives are PyTorch's: relu'(0) = 0, abs'(0) = 0, and a tie in maximum or minimum gives each
side half.

**Strong zeros.** An operation that chooses (`chooses`) passes the derivative on to the operand that it took and nothing
at all to the others: not a zero, which an infinite slope further back would turn into a NaN. Its rules express this
with `picked`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from macrograd.rows import arrays, floats, in_c, in_onnx
from macrograd.rows.floats import INF, NAN
from macrograd.rows.op import BY_NAME as BY_NAME
from macrograd.rows.op import TABLE as TABLE
from macrograd.rows.op import Op as Op
from macrograd.rows.op import as_float as as_float
from macrograd.rows.op import by_name as by_name
from macrograd.rows.op import check_operands as check_operands
from macrograd.rows.op import no_number as no_number
from macrograd.rows.op import too_large as too_large

# Of `random`, for the targets that write it out.
RANDOM_KEYS, RANDOM_MIX = floats.RANDOM_KEYS, floats.RANDOM_MIX


# --- derivatives that need more than one line ----------------------------------------------------------------------


def picked(condition: Any, a: Any, b: Any) -> Any:
    """`where(condition, a, b)` in the rule of an operation that chooses; None means no derivative. Where the
    condition's number is known, this is a or b itself, so that the operand that was not taken gets nothing. During a
    trace it is not known: then 0.0 stands for nothing, and `gate` turns it into a strong zero.
    """
    number = known(condition)
    if number is None:
        return where(condition, 0.0 if a is None else a, 0.0 if b is None else b)
    return a if number else b


def known(x: Any) -> float | None:
    """The number of a float or a Value, None if a trace must not look at it."""
    return x if x.__class__ is float else x._known()


def _d_maximum_left(g: Any, out: Any, a: Any, b: Any) -> Any:
    return picked(less(b, a), g, picked(less(a, b), None, g * 0.5))


def _d_maximum_right(g: Any, out: Any, a: Any, b: Any) -> Any:
    return _d_maximum_left(g, out, b, a)


def _d_minimum_left(g: Any, out: Any, a: Any, b: Any) -> Any:
    return picked(less(a, b), g, picked(less(b, a), None, g * 0.5))


def _d_minimum_right(g: Any, out: Any, a: Any, b: Any) -> Any:
    return _d_minimum_left(g, out, b, a)


def _d_power_base(g: Any, out: Any, a: Any, b: Any) -> Any:
    # b = 0 gives 0 at every a, also at a = 0 where a**(b - 1) is infinite. The inner choice keeps that infinity out of
    # the branch not taken too, where the next derivative would find it (0·∞ is a NaN).
    if b.__class__ is float and b:  # a fixed exponent, as in x**2: the same numbers, chosen here
        return g * (b * power(a, b - 1.0))
    return where(b, g * (b * power(where(b, a, 1.0), b - 1.0)), 0.0)


def _d_power_exponent(g: Any, out: Any, a: Any, b: Any) -> Any:
    # The limit of a**b·log(a) for a → 0 is 0 for b > 0; PyTorch's convention includes b = 0.
    at_zero = where(less_equal(0.0, b), 0.0, -INF)
    return g * (out * where(a, log(where(a, a, 1.0)), at_zero))


def _d_sum(g: Any, out: Any, *terms: Any) -> Sequence[Any]:
    return [g] * len(terms)


def _d_dot(g: Any, out: Any, *pairs: Any) -> Sequence[Any]:
    contributions: list[Any] = []
    for i in range(0, len(pairs), 2):
        contributions.append(g * pairs[i + 1])
        contributions.append(g * pairs[i])
    return contributions


def _d_take(g: Any, out: Any, index: Any, *values: Any) -> Sequence[Any]:
    return [None, *(_d_onehot(g, index, float(k)) for k in range(len(values)))]


def _d_onehot(g: Any, index: Any, k: Any) -> Any:
    i, j = known(index), known(k)
    if i is None or j is None:
        return onehot(index, k, g)
    return g if i == j else None


# --- operands at which value and slope are finite ------------------------------------------------------------------

Bounds = tuple[float, float]
_LARGE = 80.0  # exp of it is finite in float32, too


_SMALL = 1e-18  # 1/x² of it is finite in float32
_CLOSE = 2.0**-23  # −1 + this is not −1 in float32


def _tame_power(base: Bounds, exponent: Bounds) -> bool:
    fixed = exponent[0] if exponent[0] == exponent[1] else NAN
    if INF > fixed >= 1.0 and (fixed == math.floor(fixed) or base[0] >= 0.0):
        return True
    if base[0] <= 0.0:
        return False
    low, high = (math.log(x) if x < INF else INF for x in base)
    if fixed < 1.0:  # large numbers have small powers, or smaller ones than they are
        return (fixed - 1.0) * low <= _LARGE
    return all(e * x <= _LARGE for e in (exponent[0] - 1.0, exponent[1]) for x in (low, high) if e)


# --- the rows --------------------------------------------------------------------------------------------------------

add = Op(
    "add",
    "+",
    2,
    lambda a, b: a + b,
    (lambda g, out, a, b: g, lambda g, out, a, b: g),
    array="add",
    llvm="fadd",
    c="({0} + {1})",
    onnx="Add",
    tame=True,
)
sub = Op(
    "sub",
    "−",
    2,
    lambda a, b: a - b,
    (lambda g, out, a, b: g, lambda g, out, a, b: -g),
    array="subtract",
    llvm="fsub",
    c="({0} - {1})",
    onnx="Sub",
    tame=True,
)
mul = Op(
    "mul",
    "×",
    2,
    lambda a, b: a * b,
    (lambda g, out, a, b: g * b, lambda g, out, a, b: g * a),
    array="multiply",
    llvm="fmul",
    c="({0} * {1})",
    onnx="Mul",
    tame=True,
)
div: Op = Op(
    "div",
    "÷",
    2,
    floats.divide,
    (lambda g, out, a, b: div(g, b), lambda g, out, a, b: -div(g * out, b)),
    array="true_divide",
    llvm="fdiv",
    c="({0} / {1})",
    onnx="Div",
    cost=5,
    remedy="The denominator is 0 or nearly 0: add a small number to it",
    tame=lambda a, b: b[0] >= _SMALL or b[1] <= -_SMALL,
)
neg = Op(
    "neg",
    "−",
    1,
    lambda a: -a,
    (lambda g, out, a: -g,),
    array="negative",
    llvm="fneg",
    c="(-{0})",
    onnx="Neg",
    tame=True,
)
absolute = Op(
    "abs",
    "|x|",
    1,
    abs,
    (lambda g, out, a: g * sign(a),),
    array="absolute",
    llvm="fabs",
    c="fabs({0})",
    onnx="Abs",
    tame=True,
    range=(0.0, INF),
    about="|x|. The slope at 0 is 0.",
)
sign: Op = Op(
    "sign",
    "sign",
    1,
    floats.sign,
    (None,),
    array="sign",
    llvm="sign",
    c="({0} != {0} ? {0} : {0} > 0 ? 1.0 : {0} < 0 ? -1.0 : 0.0)",
    onnx="Sign",
    tame=True,
    range=(-1.0, 1.0),
    about="−1, 0 or 1 by the sign of x, NaN for a NaN. The slope is 0 everywhere.",
)
power = Op(
    "pow",
    "xⁿ",
    2,
    floats.power,
    (_d_power_base, _d_power_exponent),
    array=arrays.power,
    llvm="pow",
    c="pow({0}, {1})",
    onnx="Pow",
    cost=100,
    remedy="A power of 0 or of a negative number is not finite for this exponent: add a small number, or use abs",
    tame=_tame_power,
    about="xⁿ, with C's conventions: x⁰ is 1, and a negative x has a power for integers n only, else NaN.",
)
exp = Op(
    "exp",
    "exp",
    1,
    floats.exp,
    (lambda g, out, a: g * out,),
    array="exp",
    llvm="exp",
    c="exp({0})",
    onnx="Exp",
    cost=20,
    remedy="exp overflows: subtract the maximum first (mg.logsumexp and mg.softmax do), or lower the learning rate",
    tame=lambda a: a[1] <= _LARGE,
    range=(0.0, INF),
    about="eˣ. Infinite above 709.78.",
)
log = Op(
    "log",
    "log",
    1,
    floats.log,
    (lambda g, out, a: div(g, a),),
    array="log",
    llvm="log",
    c="log({0})",
    onnx="Log",
    cost=30,
    remedy="log needs a number above 0: add a small number, or use a loss that takes logits, such as cross_entropy",
    tame=lambda a: a[0] > 0.0,
    about="The natural logarithm. −∞ at 0, NaN below.",
)
log1p = Op(
    "log1p",
    "log1p",
    1,
    floats.log1p,
    (lambda g, out, a: div(g, 1.0 + a),),
    array="log1p",
    llvm="log1p",
    c="log1p({0})",
    onnx=in_onnx.log1p,
    cost=35,
    remedy="log1p needs a number above −1",
    tame=lambda a: a[0] > -1.0 + _CLOSE,
    about="log(1 + x), exact for small x. −∞ at −1, NaN below.",
)
sqrt = Op(
    "sqrt",
    "√",
    1,
    floats.sqrt,
    (lambda g, out, a: div(g * 0.5, out),),
    array="sqrt",
    llvm="sqrt",
    c="sqrt({0})",
    onnx="Sqrt",
    remedy="sqrt needs a number of at least 0, and its slope at 0 is infinite: add a small number under the root",
    tame=lambda a: a[0] > 0.0,
    range=(0.0, INF),
    about="The square root. The slope at 0 is infinite; NaN below.",
)
tanh = Op(
    "tanh",
    "tanh",
    1,
    math.tanh,
    (lambda g, out, a: g * (1.0 - out * out),),
    array="tanh",
    llvm="tanh",
    c="tanh({0})",
    onnx=in_onnx.tanh,
    cost=35,
    tame=True,
    range=(-1.0, 1.0),
    about="The hyperbolic tangent, from −1 to 1.",
)
sigmoid = Op(
    "sigmoid",
    "σ",
    1,
    floats.sigmoid,
    (lambda g, out, a: g * (out * (1.0 - out)),),
    array=arrays.sigmoid,
    llvm="sigmoid",
    c="({0} < 0 ? exp({0}) / (1 + exp({0})) : 1 / (1 + exp(-{0})))",
    onnx=in_onnx.sigmoid,
    cost=25,
    tame=True,
    range=(0.0, 1.0),
    about="1 / (1 + e⁻ˣ), from 0 to 1, without overflow: the logistic function.",
)
softplus = Op(
    "softplus",
    "softplus",
    1,
    floats.softplus,
    (lambda g, out, a: g * sigmoid(a),),
    array=arrays.softplus,
    llvm="softplus",
    c="(fmax({0}, 0) + log1p(exp(-fabs({0}))))",
    onnx=in_onnx.softplus,
    cost=40,
    tame=True,
    range=(0.0, INF),
    about="log(1 + eˣ), without overflow: a smooth relu.",
)
relu = Op(
    "relu",
    "relu",
    1,
    lambda a: 0.0 if a <= 0.0 else a,
    (lambda g, out, a: picked(out, g, None),),  # out is 0 exactly where the gradient stops
    array=lambda np, a: np.where(a <= 0.0, 0.0, a),
    llvm="relu",
    c="({0} <= 0 ? 0 : {0})",
    onnx="Relu",
    chooses=True,
    tame=True,
    range=(0.0, INF),
    about="max(0, x). The slope at 0 is 0, and nothing is passed back where x ≤ 0, be it infinite.",
)
sin = Op(
    "sin",
    "sin",
    1,
    floats.sin,
    (lambda g, out, a: g * cos(a),),
    array="sin",
    llvm="sin",
    c="sin({0})",
    onnx="Sin",
    cost=50,
    tame=True,
    about="The sine of x in radians. NaN at ±∞.",
)
cos: Op = Op(
    "cos",
    "cos",
    1,
    floats.cos,
    (lambda g, out, a: -(g * sin(a)),),
    array="cos",
    llvm="cos",
    c="cos({0})",
    onnx="Cos",
    cost=50,
    tame=True,
    about="The cosine of x in radians. NaN at ±∞.",
)
maximum = Op(
    "maximum",
    "max",
    2,
    floats.maximum,
    (_d_maximum_left, _d_maximum_right),
    array=arrays.maximum,
    llvm="maximum",
    c="({0} > {1} || {0} != {0} ? {0} : {0} == 0 && {1} == 0 ? {0} + {1} : {1})",  # fmax would drop a NaN
    onnx=in_onnx.maximum,
    unordered=True,
    chooses=True,
    tame=True,
    about="The larger of two numbers; NaN if one is a NaN. In a tie each gets half of the gradient.",
)
minimum = Op(
    "minimum",
    "min",
    2,
    floats.minimum,
    (_d_minimum_left, _d_minimum_right),
    array=lambda np, a, b: -arrays.maximum(np, -a, -b),
    llvm="minimum",
    c="({0} < {1} || {0} != {0} ? {0} : {0} == 0 && {1} == 0 ? -(-{0} - {1}) : {1})",
    onnx=in_onnx.minimum,
    unordered=True,
    chooses=True,
    tame=True,
    about="The smaller of two numbers; NaN if one is a NaN. In a tie each gets half of the gradient.",
)
less = Op(
    "less",
    "<",
    2,
    lambda a, b: 1.0 if a < b else 0.0,
    (None, None),
    array=lambda np, a, b: np.where(np.less(a, b), 1.0, 0.0),
    llvm="less",
    c="({0} < {1} ? 1.0 : 0.0)",
    onnx=lambda o, a, b: o.real(o.Less(a, b)),
    tame=True,
    range=(0.0, 1.0),
)
less_equal = Op(
    "less_equal",
    "≤",
    2,
    lambda a, b: 1.0 if a <= b else 0.0,
    (None, None),
    array=lambda np, a, b: np.where(np.less_equal(a, b), 1.0, 0.0),
    llvm="less_equal",
    c="({0} <= {1} ? 1.0 : 0.0)",
    onnx=lambda o, a, b: o.real(o.LessOrEqual(a, b)),
    tame=True,
    range=(0.0, 1.0),
)
where: Op = Op(
    "where",
    "where",
    3,
    lambda c, a, b: a if c else b,
    (None, lambda g, out, c, a, b: picked(c, g, None), lambda g, out, c, a, b: picked(c, None, g)),
    array=lambda np, c, a, b: np.where(np.not_equal(c, 0.0), a, b),
    llvm="where",
    c="({0} != 0 ? {1} : {2})",
    onnx=lambda o, c, a, b: o.Where(o.Equal(c, 0.0), b, a),
    chooses=True,
    tame=True,
    about="x where the condition is true (not 0), else y. The other gets no gradient, be it infinite or NaN.",
)
detach = Op(
    "detach",
    "detach",
    1,
    lambda a: a,
    (None,),
    array=lambda np, a: a,
    llvm="copy",
    c="({0})",
    onnx="Identity",
    tame=True,
    about="x, without passing a gradient on. In a compiled function it is the number of each call.",
)
onehot: Op = Op(
    "onehot",
    "onehot",
    3,
    lambda index, k, a: a if index == k else 0.0,
    (None, None, lambda g, out, index, k, a: _d_onehot(g, index, k)),
    array=lambda np, index, k, a: np.where(np.equal(index, k), a, 0.0),
    llvm="onehot",
    c="({0} == {1} ? {2} : 0.0)",
    onnx=lambda o, index, k, a: o.Where(o.Equal(index, k), a, 0.0),
    chooses=True,
    tame=True,
)
# To the compiler these three are structure (sums of products, choices), not routines of a target.
sum_ = Op(
    "sum", "Σ", None, floats.sum_, _d_sum, array=arrays.sum_, c=lambda *terms: f"({' + '.join(terms)})", tame=True
)
dot = Op("dot", "Σ×", None, floats.dot, _d_dot, term=2, array=arrays.dot, c=in_c.dot, tame=True)
take = Op("take", "take", None, floats.take, _d_take, first=1, array=arrays.take, c=in_c.take, chooses=True, tame=True)

# `gate` passes on the number from which a slope behind a choice is computed: the number itself if the choice took it,
# and otherwise one at which every slope in this table is finite. The derivative is 0 there, and 0 times a finite slope
# is 0.
HARMLESS = 0.5
gate: Op = Op(
    "gate",
    "gate",
    2,
    lambda taken, a: a if taken else HARMLESS,
    (None, lambda g, out, taken, a: picked(taken, g, None)),
    array=lambda np, taken, a: np.where(np.not_equal(taken, 0.0), a, HARMLESS),
    llvm="gate",
    c="({0} != 0 ? {1} : 0.5)",
    onnx=lambda o, taken, a: o.Where(o.Equal(taken, 0.0), HARMLESS, a),
    chooses=True,
    tame=True,
)

random = Op(
    "random",
    "⚂",
    3,
    floats.random,
    (None, None, None),
    array=arrays.random,
    llvm="random",
    c="mg_random({0}, {1}, {2})",
    onnx=in_onnx.random,
    c_function=in_c.random_in_c(RANDOM_KEYS, RANDOM_MIX),
    tame=True,
)


# A plain number used in an operation becomes a leaf of this operation: it gets no gradient and is not a parameter.
CONSTANT = Op("constant", "", 0, lambda: NAN, (), array=lambda np: np.nan, c="((double)NAN)")


# --- derived from the rows -------------------------------------------------------------------------------------------


def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """x where x > 0, slope·x elsewhere (and at 0, where the gradient is the slope)."""
    try:
        return where(less(0.0, x), x, slope * x)
    except (TypeError, OverflowError):
        check_operands("leaky_relu", (x, slope))
        raise
