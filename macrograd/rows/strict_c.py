"""Replacements for <math.h> in strict C programs: functions of integers and + − × ÷, with the same bits everywhere.

A compiler may fuse a product with a sum (gcc does by default, and ignores the standard's pragma; clang has a flag that
overrides pragmas). So the text itself prevents it: products are written `MUL(a, b)`, or are exact. Numbers are taken
apart as integers by a union, which C99 allows.
"""

from __future__ import annotations

from macrograd.rows.composed import TWO_OVER_PI

STAND_INS = {"fabs": "mg_abs", "sqrt": "mg_sqrt", "floor": "mg_floor", "ceil": "mg_ceil", "rint": "mg_rint"}

_LISTED = ",\n        ".join(", ".join(map(str, TWO_OVER_PI[k : k + 10])) for k in range(0, len(TWO_OVER_PI), 10))

# By name: the other functions that it calls, and its text.
_FUNCTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "bits": (
        (),
        """static uint64_t mg_bits(double a) {
    union { double number; uint64_t bits; } x;
    x.number = a;
    return x.bits;
}
""",
    ),
    "number": (
        (),
        """static double mg_number(uint64_t bits) {
    union { double number; uint64_t bits; } x;
    x.bits = bits;
    return x.number;
}
""",
    ),
    "abs": (
        ("bits", "number"),
        """static double mg_abs(double a) {
    return mg_number(mg_bits(a) & UINT64_C(0x7FFFFFFFFFFFFFFF));
}
""",
    ),
    "signed": (
        ("bits", "number"),
        """static double mg_signed(double a, double b) {
    const uint64_t sign = UINT64_C(0x8000000000000000);
    return mg_number((mg_bits(a) & ~sign) | (mg_bits(b) & sign));
}
""",
    ),
    "trunc": (
        ("signed",),
        """static double mg_trunc(double a) {
    return a > -0x1p52 && a < 0x1p52 ? mg_signed((double)(int64_t)a, a) : a;
}
""",
    ),
    "floor": (
        ("signed",),
        """static double mg_floor(double a) {
    if (!(a > -0x1p52 && a < 0x1p52)) return a;
    const double t = (double)(int64_t)a;
    return mg_signed(t > a ? t - 1.0 : t, a);
}
""",
    ),
    "ceil": (
        ("signed",),
        """static double mg_ceil(double a) {
    if (!(a > -0x1p52 && a < 0x1p52)) return a;
    const double t = (double)(int64_t)a;
    return mg_signed(t < a ? t + 1.0 : t, a);
}
""",
    ),
    "rint": (
        ("signed",),
        """static double mg_rint(double a) {
    if (!(a > -0x1p52 && a < 0x1p52)) return a;
    const int64_t whole = (int64_t)a;
    const double rest = a - (double)whole;
    const int up = rest > 0.5 || (rest == 0.5 && whole % 2), down = rest < -0.5 || (rest == -0.5 && whole % 2);
    return mg_signed((double)(whole + up - down), a);
}
""",
    ),
    "sqrt": (
        (),
        """static double mg_sqrt(double a) {
#if defined(__GNUC__) && !defined(__TINYC__) && defined(__SSE2__)
    __asm__("sqrtsd %1, %0" : "=x"(a) : "x"(a));
    return a;
#elif defined(__GNUC__) && !defined(__TINYC__) && defined(__aarch64__)
    __asm__("fsqrt %d0, %d1" : "=w"(a) : "w"(a));
    return a;
#else
    union { double number; uint64_t bits; } taken;
    taken.number = a;
    uint64_t x = taken.bits, root = 0, sum = 0;
    int32_t k = (int32_t)(x >> 52);
    if (!(a > 0 && k < 2047)) return a < 0 ? (double)(0.0 / 0.0) : a + 0.0;
    x &= (UINT64_C(1) << 52) - 1;
    if (k) x |= UINT64_C(1) << 52;
    else for (k = 1; !(x >> 52); --k) x <<= 1;
    k -= 1023;
    if (k % 2) x <<= 1, --k;
    x <<= 1;
    for (uint64_t bit = UINT64_C(1) << 53; bit; bit >>= 1, x <<= 1)
        if (sum + bit <= x) {
            x -= sum + bit;
            sum += 2 * bit;
            root += bit;
        }
    root += root & (x != 0);
    taken.bits = (root >> 1) + ((uint64_t)(k / 2 + 1022) << 52);
    return taken.number;
#endif
}
""",
    ),
    "scaled": (
        ("number",),
        """static double mg_scaled(double a, double n) {
    if (n != n) return n;
    const int32_t whole = n > 3000.0 ? 3000 : n < -3000.0 ? -3000 : (int32_t)n, third = whole / 3;
    const double power = mg_number((uint64_t)(third + 1023) << 52);
    return MUL(a * mg_number((uint64_t)(whole - 2 * third + 1023) << 52) * power, power);
}
""",
    ),
    "exponent": (
        ("bits",),
        """static double mg_exponent(double a) {
    const int tiny = a < 0x1p-1022;
    const uint64_t moved = mg_bits(tiny ? a * 0x1p54 : a) - UINT64_C(0x3FE6A09E667F3BCD);
    const double k = (double)((int32_t)((moved + (UINT64_C(2048) << 52)) >> 52) - 2048);
    return tiny ? k - 54.0 : k;
}
""",
    ),
    "mantissa": (
        ("bits", "number"),
        """static double mg_mantissa(double a) {
    const uint64_t bits = mg_bits(a < 0x1p-1022 ? a * 0x1p54 : a), root = UINT64_C(0x3FE6A09E667F3BCD);
    const uint64_t low = (UINT64_C(1) << 52) - 1, sign = UINT64_C(2048) << 52;
    return mg_number(bits - (((bits - root + sign) & ~low) - sign));
}
""",
    ),
    "half": (
        ("bits", "number"),
        """static double mg_half(double a) {
    return mg_number((mg_bits(a) + (UINT64_C(1) << 26)) & ~((UINT64_C(1) << 27) - 1));
}
""",
    ),
    "product_rest": (
        ("abs", "half"),
        """static double mg_product_rest(double a, double b) {
    const double p = MUL(a, b), size = mg_abs(p);
    double up = 1.0, down = 1.0;
    if (!(size < 1.0 / 0.0)) return size != size ? size : 0.0;
    if (size == 0) return a == 0 || b == 0 ? 0.0 : p;
    if (size < 0x1p-900) {  /* so that no part is below the smallest number, */
        a *= 0x1p500;
        b *= 0x1p500;
        up = 0x1p1000;
        down = 0x1p-1000;
    } else if (mg_abs(a) > 0x1p900 || mg_abs(b) > 0x1p900 || size > 0x1p900) {  /* or beyond the largest */
        if (mg_abs(a) > mg_abs(b)) a *= 0x1p-200;
        else b *= 0x1p-200;
        up = 0x1p-200;
        down = 0x1p200;
    }
    /* T. J. Dekker, Numerische Mathematik 18, 1971. None of these products is rounded, so they may be fused. */
    const double a_high = mg_half(a), a_low = a - a_high, b_high = mg_half(b), b_low = b - b_high;
    double rest = a_high * b_high - p * up;
    rest += a_high * b_low;
    rest += a_low * b_high;
    rest += a_low * b_low;
    return MUL(rest, down);
}
""",
    ),
    "fmod": (
        ("abs", "bits", "scaled", "signed"),
        """static double mg_fmod(double a, double b) {
    const double x = mg_abs(a), y = mg_abs(b);
    if (!(x < 1.0 / 0.0) || !(y > 0)) return 0.0 / 0.0;
    if (x < y) return a;
    const uint64_t low = (UINT64_C(1) << 52) - 1;
    int32_t k = (int32_t)(mg_bits(x) >> 52), n = (int32_t)(mg_bits(y) >> 52);
    uint64_t rest = (mg_bits(x) & low) | (uint64_t)(k > 0) << 52;
    const uint64_t divisor = (mg_bits(y) & low) | (uint64_t)(n > 0) << 52;
    if (!k) k = 1;
    if (!n) n = 1;
    for (rest %= divisor; k > n; --k) rest = (rest << 1) % divisor;
    return mg_signed(mg_scaled((double)rest, (double)(n - 1075)), a);
}
""",
    ),
    "two_over_pi": (
        (),
        f"""static double mg_two_over_pi(double k) {{
    static const int32_t digits[{len(TWO_OVER_PI)}] = {{
        {_LISTED},
    }};
    return (double)digits[(int32_t)k];
}}
""",
    ),
}


def needed(name: str) -> dict[str, str]:
    """The texts of a function and of those that it calls, by name, callees first."""
    others, text = _FUNCTIONS[name]
    return {**{k: v for other in others for k, v in needed(other).items()}, name: text}
