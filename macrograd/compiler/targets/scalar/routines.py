"""The op table's functions in LLVM's terms: a map from the `llvm` column to code for vectors of any width.

exp, log, tanh, sin and cos are written out with explicit vectors, because the system's scalar functions are several
times slower; the rest calls LLVM's intrinsics. pow, and the sines and cosines of huge angles, are left to the system's
math library.

Errors against the exact result, in units in the last place of float64 or float32, measured in the tests: exp, log, sin
and cos below 1, tanh, sigmoid, softplus and log1p below 2. An operation without an `llvm` column is composed of others
by its formula, whose error is stated there (`macrograd.formulas`). So is in strict mode all that mathematical libraries
compute differently (`macrograd.formulas.portable`); each step is rounded as on floats, and the bits are the same on
every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from macrograd.compiler.jit.text import SINGLE, Code
from macrograd.compiler.targets.scalar.composed import composed, library
from macrograd.compiler.targets.scalar.series import plain, polynomial
from macrograd.compiler.targets.scalar.waves import wave
from macrograd.ops import HARMLESS, RANDOM_KEYS, RANDOM_MIX, Op

Routine = Callable[..., str]


def routine(row: Op, *, strict: bool = False) -> Routine:
    """The routine (code, width, *operands) → result of an operation: what its `llvm` column names, or one composed of
    other operations by its formula. Raises LookupError for an operation with neither."""
    formula = row.portable if strict and row.portable is not None else row.formula if row.llvm is None else None
    if formula is not None:
        return lambda code, width, *operands: composed(
            row.name, formula, code, width, operands, strict=strict, spelled=routine
        )
    if row.llvm is None:
        raise LookupError(f"operation {row.name!r} has neither an LLVM form nor a formula to compose one from")
    if row.llvm not in _ROUTINES:
        raise LookupError(f"operation {row.name!r} names an LLVM form that does not exist: {row.llvm!r}")
    return _ROUTINES[row.llvm]


def is_vector(row: Op) -> bool:
    """Whether the operation works on all elements of a vector at once, and not by a call for each."""
    return row.llvm != "pow"


# --- exact operations ------------------------------------------------------------------------------------------------


def _binary(op: str) -> Routine:
    return lambda code, width, a, b: code.binary(op, a, b, width)


def _intrinsic(name: str) -> Routine:
    return lambda code, width, *operands: code.intrinsic(name, width, *operands)


def _fneg(code: Code, width: int, a: str) -> str:
    return code.let(f"fneg {code.kind.vector(width)} {a}")


def _copy(code: Code, width: int, a: str) -> str:
    return a


def _relu(code: Code, width: int, a: str) -> str:
    zero = code.splat(0.0, width)
    return code.select(code.compare("ole", a, zero, width), zero, a, width)


def _largest(code: Code, width: int, a: str, b: str) -> str:
    """IEEE 754-2019's maximum: NaN for a NaN, and −0 is less than +0."""
    both = _both_ways(code, width, "ogt", "and", a, b)
    return code.select(code.compare("uno", a, b, width), plain(code, "fadd", a, b, width), both, width)


def _smallest(code: Code, width: int, a: str, b: str) -> str:
    """IEEE 754-2019's minimum; the bits of a NaN or'ed with anything are those of a NaN."""
    return _both_ways(code, width, "olt", "or", a, b)


def _both_ways(code: Code, width: int, predicate: str, combine: str, a: str, b: str) -> str:
    """One of a and b by a comparison, whose direction matters only for zeros and NaNs."""
    # LLVM's own intrinsic is a chain of ten instructions. A select on > is one instruction, which gives the second
    # operand for equal operands and NaNs. Done in both directions, the results differ only there, and combining their
    # bits gives the right one.
    kind, integers = code.kind.vector(width), code.kind.integers(width)
    ways = [code.select(code.compare(predicate, x, y, width), x, y, width) for x, y in ((a, b), (b, a))]
    bits = [code.let(f"bitcast {kind} {x} to {integers}") for x in ways]
    return code.let(f"bitcast {integers} {code.let(f'{combine} {integers} {bits[0]}, {bits[1]}')} to {kind}")


def _where(code: Code, width: int, condition: str, a: str, b: str) -> str:
    compared = code.truths.get(condition)
    if compared is None:
        compared = "une", condition, code.splat(0.0, width)
    elif width == 1:
        # For scalars, LLVM keeps one copy of a comparison for all selects, as an integer. The opposite comparison is a
        # different one.
        return code.select(code.compare(_OPPOSITE[compared[0]], *compared[1:], width), b, a, width)
    return code.select(code.compare(*compared, width), a, b, width)


def _gate(code: Code, width: int, taken: str, a: str) -> str:
    return _where(code, width, taken, a, code.splat(HARMLESS, width))


def _onehot(code: Code, width: int, index: str, k: str, a: str) -> str:
    return code.select(code.compare("oeq", index, k, width), a, code.splat(0.0, width), width)


_OPPOSITE = {"olt": "uge", "ole": "ugt"}


def _comparison(predicate: str) -> Routine:
    def compare(code: Code, width: int, a: str, b: str) -> str:
        compared = predicate, a, b
        if predicate == "olt" and b == code.splat(math.inf, width):
            # The same in a form that LLVM does not turn into a chain of integer instructions.
            compared = "ole", a, code.splat(code.kind.largest, width)
        result = code.select(code.compare(*compared, width), code.splat(1.0, width), code.splat(0.0, width), width)
        code.truths[result] = compared
        return result

    return compare


def _sign(code: Code, width: int, a: str) -> str:
    zero = code.splat(0.0, width)
    other = code.intrinsic("fabs", width, a)  # 0 for both zeros, NaN for a NaN
    negative = code.select(code.compare("olt", a, zero, width), code.splat(-1.0, width), other, width)
    return code.select(code.compare("ogt", a, zero, width), code.splat(1.0, width), negative, width)


def _random(code: Code, width: int, a: str, b: str, c: str) -> str:
    """`rows.floats.random` in 64-bit integers, whatever the width of the floats."""
    kind = code.kind.vector(width)
    whole = "i64" if width == 1 else f"<{width} x i64>"

    def splat(value: int) -> str:
        return str(value) if width == 1 else "<" + ", ".join([f"i64 {value}"] * width) + ">"

    def mixed(z: str, shift: int) -> str:
        return code.let(f"xor {whole} {z}, {code.let(f'lshr {whole} {z}, {splat(shift)}')}")

    zero = code.splat(0.0, width)
    safe, nothing = [], zero
    for x in (a, b, c):
        small = code.compare("olt", code.intrinsic("fabs", width, x), code.splat(2.0**53, width), width)
        safe.append(code.select(small, x, zero, width))  # converting a number that is too large would be undefined
        nothing = code.select(small, nothing, code.splat(math.nan, width), width)
    z = splat(0)
    for x, key in zip(safe, RANDOM_KEYS, strict=True):
        product = code.let(f"mul {whole} {code.let(f'fptosi {kind} {x} to {whole}')}, {splat(key)}")
        z = code.let(f"add {whole} {z}, {product}")
    for shift, factor in zip((30, 27), RANDOM_MIX, strict=True):
        z = code.let(f"mul {whole} {mixed(z, shift)}, {splat(factor)}")
    bits = code.let(f"lshr {whole} {mixed(z, 31)}, {splat(40)}")
    number = plain(code, "fmul", code.let(f"uitofp {whole} {bits} to {kind}"), code.splat(2.0**-24, width), width)
    return code.select(code.compare("uno", nothing, nothing, width), nothing, number, width)


# --- exp -------------------------------------------------------------------------------------------------------------


def _exp(code: Code, width: int, a: str) -> str:
    """exp(a) = 2ⁿ·exp(r) with n = round(a/ln 2) and |r| ≤ ln 2 / 2, exp(r) by its Taylor polynomial.

    2ⁿ is applied in two halves, so that results from the smallest subnormal to infinity are right.
    """
    kind = code.kind
    single = kind is SINGLE
    # Adding a number of this size rounds a/ln 2 to an integer, which is then in the last bits of the sum.
    big = 1.5 * 2.0 ** (23 if single else 52)
    shifted = code.intrinsic("fma", width, a, code.splat(1 / math.log(2), width), code.splat(big, width))
    n = plain(code, "fsub", shifted, code.splat(big, width), width)
    # ln 2 in two parts; the first has few enough digits to make n·part exact.
    part = 0.693359375 if single else float.fromhex("0x1.62e42fefap-1")
    rest = -2.12194440054690583e-4 if single else float.fromhex("0x1.cf79abc9e3b39p-40")
    r = code.intrinsic("fma", width, n, code.splat(-part, width), a)
    r = code.intrinsic("fma", width, n, code.splat(-rest, width), r)
    degree = 7 if single else 13
    tail = polynomial(code, width, r, [1 / math.factorial(k) for k in range(2, degree + 1)])
    slope = code.intrinsic("fma", width, tail, r, code.splat(1.0, width))  # (exp(r) - 1)/r
    integers = kind.integers(width)
    bits = [code.let(f"bitcast {kind.vector(width)} {x} to {integers}") for x in (shifted, code.splat(big, width))]
    power = code.let(f"sub {integers} {bits[0]}, {bits[1]}")
    half = code.let(f"ashr {integers} {power}, {code.integer_splat(1, width)}")
    first = _power_of_two(code, width, half)
    second = _power_of_two(code, width, code.let(f"sub {integers} {power}, {half}"))
    total = code.intrinsic("fma", width, slope, plain(code, "fmul", first, r, width), first)
    total = plain(code, "fmul", total, second, width)
    # Far outside the range, where the integers above would be meaningless; for NaN, `total` is NaN.
    near = code.compare("ult", code.intrinsic("fabs", width, a), code.splat(150.0 if single else 1000.0, width), width)
    above = code.compare("ogt", a, code.splat(0.0, width), width)
    limit = code.select(above, code.splat(math.inf, width), code.splat(0.0, width), width)
    return code.select(near, total, limit, width)


def _power_of_two(code: Code, width: int, exponent: str) -> str:
    kind, integers = code.kind, code.kind.integers(width)
    bias, mantissa = (127, 23) if kind is SINGLE else (1023, 52)
    biased = code.let(f"add {integers} {exponent}, {code.integer_splat(bias, width)}")
    shifted = code.let(f"shl {integers} {biased}, {code.integer_splat(mantissa, width)}")
    return code.let(f"bitcast {integers} {shifted} to {kind.vector(width)}")


# --- log -------------------------------------------------------------------------------------------------------------


def _log(code: Code, width: int, a: str) -> str:
    """log(a) = k·ln 2 + log(m), m in [√½, √2), log(m) = 2·artanh(s) with s = (m - 1)/(m + 1), by its series."""
    kind, integers = code.kind, code.kind.integers(width)
    single = kind is SINGLE
    mantissa = 23 if single else 52
    # Subnormals are scaled up first.
    tiny, scale, shift = (2.0**-126, 2.0**25, 25.0) if single else (2.0**-1022, 2.0**54, 54.0)
    small = code.compare("olt", a, code.splat(tiny, width), width)
    x = code.select(small, plain(code, "fmul", a, code.splat(scale, width), width), a, width)
    bits = code.let(f"bitcast {kind.vector(width)} {x} to {integers}")
    # Subtracting the bits of √½ splits the exponent so that the mantissa lands in [√½, √2).
    root = 0x3F3504F3 if single else 0x3FE6A09E667F3BCD
    moved = code.let(f"sub {integers} {bits}, {code.integer_splat(root, width)}")
    exponent = code.let(f"ashr {integers} {moved}, {code.integer_splat(mantissa, width)}")
    back = code.let(f"shl {integers} {exponent}, {code.integer_splat(mantissa, width)}")
    m_bits = code.let(f"sub {integers} {bits}, {back}")
    m = code.let(f"bitcast {integers} {m_bits} to {kind.vector(width)}")
    k = code.let(f"sitofp {integers} {exponent} to {kind.vector(width)}")
    k = code.select(small, plain(code, "fsub", k, code.splat(shift, width), width), k, width)
    f = plain(code, "fsub", m, code.splat(1.0, width), width)
    s = plain(code, "fdiv", f, plain(code, "fadd", f, code.splat(2.0, width), width), width)
    z = plain(code, "fmul", s, s, width)
    count = 5 if single else 11
    series = polynomial(code, width, z, [2 / (2 * j + 1) for j in range(1, count + 1)])
    # log(m) = f - s·(f - z·series): the leading term is exact (FreeBSD's e_log.c arranges it so).
    tail = code.intrinsic("fma", width, _fneg(code, width, z), series, f)
    part = 0.693359375 if single else float.fromhex("0x1.62e42fefap-1")
    rest = -2.12194440054690583e-4 if single else float.fromhex("0x1.cf79abc9e3b39p-40")
    low = code.intrinsic(
        "fma", width, k, code.splat(rest, width), _fneg(code, width, plain(code, "fmul", s, tail, width))
    )
    total = code.intrinsic("fma", width, k, code.splat(part, width), plain(code, "fadd", f, low, width))
    infinite = code.compare("oeq", a, code.splat(math.inf, width), width)
    total = code.select(infinite, a, total, width)
    zero = code.compare("oeq", a, code.splat(0.0, width), width)
    total = code.select(zero, code.splat(-math.inf, width), total, width)
    bad = code.compare("ult", a, code.splat(0.0, width), width)
    return code.select(bad, code.splat(math.nan, width), total, width)


def _log1p(code: Code, width: int, a: str) -> str:
    """log(1 + a) = log(u)·a/(u - 1), u = 1 + a rounded (Kahan; Goldberg, ACM Computing Surveys 23, 1991, thm. 4)."""
    one = code.splat(1.0, width)
    u = plain(code, "fadd", a, one, width)
    d = plain(code, "fsub", u, one, width)
    log = _log(code, width, u)
    exact = code.compare("oeq", d, a, width)  # also if both are infinite
    corrected = plain(code, "fmul", log, plain(code, "fdiv", a, d, width), width)
    total = code.select(exact, log, corrected, width)
    return code.select(code.compare("oeq", u, one, width), a, total, width)


# --- functions of exp ----------------------------------------------------------------------------------------------


def _tanh(code: Code, width: int, a: str) -> str:
    """Near 0 a rational function of a² (the coefficients of Cephes, S. Moshier), else 1 - 2/(exp(2|a|) + 1)."""
    size = code.intrinsic("fabs", width, a)
    z = plain(code, "fmul", a, a, width)
    top = code.splat(-9.64399179425052238628e-1, width)
    for c in (-9.92877231001918586564e1, -1.61468768441708447952e3):
        top = code.intrinsic("fma", width, top, z, code.splat(c, width))
    bottom = code.splat(1.0, width)
    for c in (1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3):
        bottom = code.intrinsic("fma", width, bottom, z, code.splat(c, width))
    ratio = plain(code, "fdiv", plain(code, "fmul", z, top, width), bottom, width)
    near = code.intrinsic("fma", width, a, ratio, a)
    e = _exp(code, width, plain(code, "fadd", size, size, width))
    one, two = code.splat(1.0, width), code.splat(2.0, width)
    far = plain(code, "fsub", one, plain(code, "fdiv", two, plain(code, "fadd", e, one, width), width), width)
    # An ordered comparison is false for NaN, whose `far` is NaN.
    found = code.select(code.compare("olt", size, code.splat(0.625, width), width), near, far, width)
    return code.intrinsic("copysign", width, found, a)


def _sigmoid(code: Code, width: int, a: str) -> str:
    """1/(1 + e) for a ≥ 0 and e/(1 + e) below, with e = exp(-|a|)."""
    e = _exp(code, width, _fneg(code, width, code.intrinsic("fabs", width, a)))
    one = code.splat(1.0, width)
    top = code.select(code.compare("olt", a, code.splat(0.0, width), width), e, one, width)
    return plain(code, "fdiv", top, plain(code, "fadd", one, e, width), width)


def _log1p_of_part(code: Code, width: int, a: str) -> str:
    """log(1 + a) for a in [0, 1]: as `_log`, reduced to its series, for s up to a third."""
    s = plain(code, "fdiv", a, plain(code, "fadd", a, code.splat(2.0, width), width), width)
    z = plain(code, "fmul", s, s, width)
    series = polynomial(code, width, z, [2 / (2 * j + 1) for j in range(1, 8 if code.kind is SINGLE else 17)])
    tail = code.intrinsic("fma", width, _fneg(code, width, z), series, a)
    return code.intrinsic("fma", width, _fneg(code, width, s), tail, a)


def _softplus(code: Code, width: int, a: str) -> str:
    """max(a, 0) + log(1 + exp(-|a|))."""
    e = _exp(code, width, _fneg(code, width, code.intrinsic("fabs", width, a)))
    positive = code.select(code.compare("ole", a, code.splat(0.0, width), width), code.splat(0.0, width), a, width)
    return plain(code, "fadd", positive, _log1p_of_part(code, width, e), width)


# --- the table -------------------------------------------------------------------------------------------------------

_ROUTINES: dict[str, Routine] = {
    **{op: _binary(op) for op in ("fadd", "fsub", "fmul", "fdiv")},
    **{name: _intrinsic(name) for name in ("fabs", "sqrt")},
    "maximum": _largest,
    "minimum": _smallest,
    "pow": library("pow"),
    **{name: _intrinsic(name) for name in ("floor", "ceil", "rint")},
    "fneg": _fneg,
    "copy": _copy,
    "relu": _relu,
    "where": _where,
    "onehot": _onehot,
    "less": _comparison("olt"),
    "less_equal": _comparison("ole"),
    "sign": _sign,
    "gate": _gate,
    "random": _random,
    "exp": _exp,
    "log": _log,
    "log1p": _log1p,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "sin": wave("sin"),
    "cos": wave("cos"),
}
