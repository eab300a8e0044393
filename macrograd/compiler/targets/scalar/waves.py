"""Sines and cosines with explicit vectors, in LLVM's terms; those of huge angles are the C library's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from macrograd.compiler.jit.text import SINGLE, Code
from macrograd.compiler.targets.scalar.composed import library
from macrograd.compiler.targets.scalar.series import plain, polynomial

# π/2 as a sum of three numbers, for float64 and float32, and the angles up to which that has enough digits.
_HALF_PI = (
    [math.pi / 2, float.fromhex("0x1.1a62633145c07p-54"), float.fromhex("-0x1.f1976b7ed8fbcp-110")],
    [float.fromhex("0x1.921fb6p+0"), float.fromhex("-0x1.777a5cp-25"), float.fromhex("-0x1.ee59dap-50")],
)
_NEAR = (2.0**30, 2.0**15)


def wave(name: str) -> Callable[[Code, int, str], str]:
    """sin(a) or cos(a): a = n·π/2 + r with |r| ≤ π/4, and ± sin(r) or ± cos(r) by its Taylor polynomial."""

    def found(code: Code, width: int, a: str) -> str:
        kind, integers = code.kind, code.kind.integers(width)
        single = kind is SINGLE
        big = 1.5 * 2.0 ** (23 if single else 52)
        shifted = code.intrinsic("fma", width, a, code.splat(2 / math.pi, width), code.splat(big, width))
        n = plain(code, "fsub", shifted, code.splat(big, width), width)
        r, low = _reduced(code, width, a, n)
        sine, cosine = _waves(code, width, r, low)
        turns = code.let(f"bitcast {kind.vector(width)} {shifted} to {integers}")
        if name == "cos":
            turns = code.let(f"add {integers} {turns}, {code.integer_splat(1, width)}")
        odd = code.let(f"and {integers} {turns}, {code.integer_splat(1, width)}")
        odd = code.let(f"icmp ne {integers} {odd}, {code.integer_splat(0, width)}")
        result = code.let(f"bitcast {kind.vector(width)} {code.select(odd, cosine, sine, width)} to {integers}")
        half = code.let(f"lshr {integers} {turns}, {code.integer_splat(1, width)}")
        sign = code.let(f"shl {integers} {half}, {code.integer_splat(kind.bits - 1, width)}")
        result = code.let(f"bitcast {integers} {code.let(f'xor {integers} {result}, {sign}')} to {kind.vector(width)}")
        if name == "sin":  # that of −0 is −0
            result = code.select(code.compare("oeq", a, code.splat(0.0, width), width), a, result, width)
        return _far(name, _NEAR[single], code, width, a, result)

    return found


def _reduced(code: Code, width: int, a: str, n: str) -> tuple[str, str]:
    """a − n·π/2, and the rest that is lost in rounding it."""
    first, second, third = (code.splat(part, width) for part in _HALF_PI[code.kind is SINGLE])
    # This is exact: a and n·first are multiples of the last bit of a result below 1.
    begun = code.intrinsic("fma", width, code.negate(n, width), first, a)
    p = plain(code, "fmul", n, second, width)
    p_low = code.intrinsic("fma", width, n, second, code.negate(p, width))
    r = plain(code, "fsub", begun, p, width)
    back = plain(code, "fsub", r, begun, width)  # and what was rounded off, by Knuth's sum
    rest = plain(code, "fsub", begun, plain(code, "fsub", r, back, width), width)
    rest = plain(code, "fsub", rest, plain(code, "fadd", p, back, width), width)
    return r, code.intrinsic("fma", width, code.negate(n, width), third, plain(code, "fsub", rest, p_low, width))


def _waves(code: Code, width: int, r: str, low: str) -> tuple[str, str]:
    """The sine and the cosine of r + low, where r is up to π/4 and low is a rest."""
    one, terms = code.splat(1.0, width), 4 if code.kind is SINGLE else 8
    z = plain(code, "fmul", r, r, width)
    series = polynomial(code, width, z, [(-1) ** k / math.factorial(2 * k + 1) for k in range(1, terms + 1)])
    more = code.intrinsic("fma", width, plain(code, "fmul", r, z, width), series, low)
    sine = plain(code, "fadd", r, more, width)
    series = polynomial(code, width, z, [(-1) ** k / math.factorial(2 * k) for k in range(2, terms + 2)])
    w = code.intrinsic("fma", width, z, code.splat(-0.5, width), one)
    lost = code.intrinsic("fma", width, z, code.splat(-0.5, width), plain(code, "fsub", one, w, width))
    lost = code.intrinsic("fma", width, code.negate(r, width), low, lost)
    more = code.intrinsic("fma", width, plain(code, "fmul", z, z, width), series, lost)
    return sine, plain(code, "fadd", w, more, width)


def _far(name: str, limit: float, code: Code, width: int, a: str, found: str) -> str:
    """`found`, with the C library's function in its place for elements beyond ±limit, and for NaN: by a call of a
    function, since that is rare."""
    size = code.intrinsic("fabs", width, a)
    outside = code.compare("ugt", size, code.splat(limit, width), width)
    beyond = outside
    if width > 1:
        bits = code.let(f"bitcast <{width} x i1> {outside} to i{width}")
        beyond = code.let(f"icmp ne i{width} {bits}, 0")
    kind = code.kind.vector(width)
    full = f"@far.{name}.{width}.{code.kind.suffix}"
    if width > 1:
        code.declared |= _each(name, full, code, width)

    def body(_: Any, values: list[str]) -> list[str]:
        other = library(name)(code, 1, a) if width == 1 else code.let(f"call {kind} {full}({kind} {a})")
        return [code.select(outside, other, values[0], width)]

    (result,) = code.loop(code.let(f"zext i1 {beyond} to i64"), body, [(kind, found)])
    return result


def _each(name: str, full: str, around: Code, width: int) -> set[str]:
    """A function that calls the C library's for each element."""
    code = Code(around.kind)
    kind = code.kind.vector(width)
    result = library(name)(code, width, "%x")
    head = f"define internal {kind} {full}({kind} %x)"
    attributes = f'noinline nounwind "min-legal-vector-width"="{max(128, width * code.kind.bits)}"'
    text = "\n".join([f"{head} {attributes} {{", "entry:", *code.lines, f"  ret {kind} {result}", "}"])
    return {text, *code.declared}
