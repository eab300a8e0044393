"""The macros of vector code: the compiler's vector types if it has them, numbers otherwise.

A file is written once for vectors of any length. V is a vector of W numbers: the most that the processor has, up to
those of the text; I has W truths. Without vector types W is 1 and V is a number. The loops over lanes advance by W.
(GCC and Clang keep variables of a vector type in registers; arrays they do not once a function has dozens of them, nor
vectors that are longer than the processor's.) LOW1 and HIGH1, LOW2 and HIGH2, … are the elements of two vectors in
which those that are 1, 2, … apart have been exchanged: sums of elements and transposes consist of such exchanges.

In strict programs a product passes an empty piece of assembly, which a compiler cannot look into, before it is added to
anything: gcc fuses by default and ignores the standard's pragma, and clang's -ffp-contract=fast overrules it. It costs
no instruction. Where no register for it is known, the product is `volatile`; where the processor cannot fuse, nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from macrograd.compiler.jit.text import DOUBLE, SINGLE
from macrograd.compiler.targets.c.code import FUNCTIONS
from macrograd.compiler.targets.c.routines import functions as functions_of_vectors

VECTORS = (64, 32, 16)  # bytes
_X86 = "(defined(__x86_64__) || defined(__i386__))"
_HAVE = {
    64: f"{_X86} && defined(__AVX512F__)",
    32: f"{_X86} && defined(__AVX__)",
    16: f"({_X86} && defined(__SSE2__)) || defined(__aarch64__)",
}


def with_vectors(prefix: str, real: str, functions: Iterable[str], *, strict: bool, width: int = 1) -> list[str]:
    """The functions, with the macros that they use around them. Vectors have up to `width` numbers; -DMACROGRAD_PLAIN
    chooses numbers instead."""
    functions = list(functions)
    text = "\n".join(functions)
    if width > 1:
        functions = [*_Vectors(prefix, real, text, width, strict).around(functions)]
    products = [
        _PRODUCT.format(name=name, real=kind, function=f"mg_{name.lower()}", letter=letter)
        for name, kind, letter in (("MUL", "double", "D"), ("MULF", "float", "F"))
        if re.search(rf"\b{name}\(", text) or (real == kind and "PRODUCT(" in text)
    ]
    if strict and products:
        functions = [_KEEP, *products, *functions, "#undef KEEP_D\n#undef KEEP_F\n#undef MUL\n#undef MULF\n"]
    # Several files may be included in one: helpers have a file's prefix, too.
    return [re.sub(r"\bmg_(?=\w)", f"{prefix}_mg_", text) for text in functions]


_KEEP = """/* KEEP_D and KEEP_F hide a double or float from the compiler, so that it does not fuse a product with a sum.
   Where it could not anyway they are not defined. */
#if defined(__TINYC__) || defined(__AVR__) || (defined(__arm__) && !defined(__ARM_FEATURE_FMA)) || \\
    ((defined(__x86_64__) || defined(__i386__)) && !defined(__FMA__) && !defined(__FMA4__))
#elif defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define KEEP_D(x) __asm__("" : "+x"(x))
#define KEEP_F(x) __asm__("" : "+x"(x))
#elif defined(__GNUC__) && defined(__aarch64__)
#define KEEP_D(x) __asm__("" : "+w"(x))
#define KEEP_F(x) __asm__("" : "+w"(x))
#elif defined(__GNUC__) && defined(__arm__)
#define KEEP_F(x) __asm__("" : "+t"(x))
#if __ARM_FP & 8
#define KEEP_D(x) __asm__("" : "+w"(x))
#endif
#elif defined(__GNUC__) && defined(__riscv)
#if defined(__riscv_flen) && __riscv_flen >= 32
#define KEEP_F(x) __asm__("" : "+f"(x))
#endif
#if defined(__riscv_flen) && __riscv_flen >= 64
#define KEEP_D(x) __asm__("" : "+f"(x))
#endif
#else
#define KEEP_D(x) do { volatile double kept = x; x = kept; } while (0)
#define KEEP_F(x) do { volatile float kept = x; x = kept; } while (0)
#endif
"""
_PRODUCT = """#ifdef KEEP_{letter}
static inline {real} {function}({real} a, {real} b) {{
    {real} product = a * b;
    KEEP_{letter}(product);
    return product;
}}
#define {name}(a, b) {function}(a, b)
#else
#define {name}(a, b) ((a) * (b))
#endif
"""


class _Vectors:
    """The macros for the functions in `text`."""

    def __init__(self, prefix: str, real: str, text: str, width: int, strict: bool) -> None:
        self.prefix, self.real, self.strict = prefix, real, strict
        self.size = 8 if real == "double" else 4
        self.lengths = [bytes_ // self.size for bytes_ in VECTORS if bytes_ <= width * self.size]
        self.used = set(re.findall(r"\b[A-Z]+(?=\()", text))
        self.exchanged = bool(self.used & {"SUMS", "TOTAL", "TURN"})
        self.called = bool(self.used & {*FUNCTIONS.values()})

    def around(self, functions: list[str]) -> list[str]:
        """The functions, and the macros before and after them."""
        lengths = "\n".join(f"#elif {_HAVE[n * self.size]}\n{self._length(n)}" for n in self.lengths)
        parts = [
            "/* V is a vector of W numbers, as many as the processor has; a number if it has none, or with\n"
            "   -DMACROGRAD_PLAIN. */",
            "#if defined(MACROGRAD_PLAIN) || !defined(__GNUC__) || defined(__TINYC__)\n#define W 1",
            lengths,
            "#else\n#define W 1\n#endif",
            "#if W > 1",
            *self._vectors(),
            "#else",
            *self._numbers(),
            "#endif",
            self._sums() if "SUMS" in self.used else "",
            self._turn() if "TURN" in self.used else "",
            self._total() if "TOTAL" in self.used else "",
            *functions_of_vectors(self.used, self.prefix, DOUBLE if self.real == "double" else SINGLE),
        ]
        names = ["V", "I", "W", "ALL", "LOAD", "STORE", "SELECT", *sorted(self.used & _RARE), *_BELOW]
        names += [name for name in ("U", *FUNCTIONS.values()) if name in self.used or (name == "U" and self.called)]
        names += [f"{name}{d}" for d in self._distances(self.lengths[0]) for name in ("LOW", "HIGH")]
        ends = ["" if self.strict else _SLOW, _LOUD, *(f"#undef {name}" for name in names)]
        return ["\n".join(filter(None, parts)) + "\n", *functions, "\n".join(filter(None, ends)) + "\n"]

    def _distances(self, length: int) -> list[int]:
        """The powers of two below a length, for exchanges."""
        return [1 << k for k in range(length.bit_length() - 1)] if self.exchanged else []

    def _length(self, n: int) -> str:
        """What depends on the length of a vector."""
        lines = [f"#define W {n}"]
        if "FIRST" in self.used:
            lines.append(f"#define COUNT {', '.join(map(str, range(n)))}")
        for d in self._distances(n):
            low = [n + j - d if j & d else j for j in range(n)]
            high = [n + j if j & d else j + d for j in range(n)]
            lines += [f"#define {name}{d} {', '.join(map(str, x))}" for name, x in (("LOW", low), ("HIGH", high))]
        return "\n".join(lines)

    def _vectors(self) -> list[str]:
        prefix, size, used = self.prefix, self.size, self.used
        letter = "D" if self.real == "double" else "F"
        return [
            _SILENT,
            "#if defined(__aarch64__)\n#include <arm_neon.h>\n#else\n#include <immintrin.h>\n#endif" * ("ROOT" in used),
            f"typedef {self.real} {prefix}_v __attribute__((vector_size({size} * W)));",
            f"typedef {self.real} {prefix}_m __attribute__((vector_size({size} * W), aligned({size}), may_alias));",
            f"typedef int{8 * size}_t {prefix}_i __attribute__((vector_size({size} * W)));",
            f"typedef uint{8 * size}_t {prefix}_u __attribute__((vector_size({size} * W)));" * self.called,
            f"#define V {prefix}_v\n#define I {prefix}_i" + f"\n#define U {prefix}_u" * self.called,
            "#define ALL(x) ((x) - (V){0})",
            f"#define LOAD(p) (*(const {prefix}_m *)(p))",
            f"#define STORE(p, x) *({prefix}_m *)(p) = (x)",
            "#define SELECT(c, a, b) ((V)(((c) & (I)(a)) | (~(c) & (I)(b))))",
            "#define FIRST(n) ((I){COUNT} < (n) + (I){0})" * ("FIRST" in used),
            "#define ELEMENT(x, k) x[k]" * ("SUMS" in used),
            "#define START(x) ((V){x})\n#define WHOLE(n) ((n) - (n) % W)" * ("TOTAL" in used),
            _KEEP_VECTOR.format(letter=letter) * ("PRODUCT" in used),
            self._roots() * ("ROOT" in used),
            _ROOT_OF_NUMBERS * (self.strict and "ROOT" in used),
            _SHUFFLE * self.exchanged,
            _FAST * (not self.strict),
        ]

    def _roots(self) -> str:
        """The processor's root, which compilers do not use for a loop if errno must be set."""
        kind = "d" if self.real == "double" else "s"
        found = []
        for word, bytes_, function in (
            ("if", 64, f"_mm512_sqrt_p{kind}(x)"),
            ("elif", 32, f"_mm256_sqrt_p{kind}(x)"),
            ("elif defined(__aarch64__)", 0, f"vsqrtq_f{8 * self.size}(x)"),
            ("else", 0, f"_mm_sqrt_p{kind}(x)"),
        ):
            condition = f" W == {bytes_ // self.size}" if bytes_ else ""
            found.append(f"#{word}{condition}\n#define ROOT(name, x) const V name = (V){function}")
        return "\n".join([*found, "#endif"])

    def _numbers(self) -> list[str]:
        real, used = self.real, self.used
        product = f"const {real} name = {'MUL' if real == 'double' else 'MULF'}(a, b)"
        root = f"{'sqrt' if real == 'double' else 'sqrtf'}(x)"
        if self.strict:
            root = f"({real})mg_sqrt((double)(x))"
        return [
            f"#define V {real}\n#define I int",
            "#define ALL(x) (x)",
            "#define LOAD(p) (*(p))",
            "#define STORE(p, x) *(p) = (x)",
            "#define SELECT(c, a, b) ((c) ? (a) : (b))",
            "#define FIRST(n) (0 < (n))" * ("FIRST" in used),
            "#define ELEMENT(x, k) x" * ("SUMS" in used),
            "#define START(x) (x)\n#define WHOLE(n) (n)\n#define TOTAL(x) (x)" * ("TOTAL" in used),
            f"#define PRODUCT(name, a, b) {product}" * ("PRODUCT" in used),
            f"#define ROOT(name, x) const {real} name = {root}" * ("ROOT" in used),
        ]

    def _sums(self) -> str:
        joined = "\n".join(f"""#if W > {d}
    for (int j = 0; 2 * j < m; ++j) {{
        const V a = r[2 * j], b = r[2 * j + 1 < m ? 2 * j + 1 : 2 * j];
        r[j] = SHUFFLE(a, b, LOW{d}) + SHUFFLE(a, b, HIGH{d});
    }}
    m = (m + 1) / 2;
#endif""" for d in self._distances(self.lengths[0]))  # fmt: skip
        return f"""
/* The sums of the elements of n vectors, stored `step` apart or added to what is there. */
static inline void {self.prefix}_sums({self.real} *to, int32_t step, V *r, int n, int add) {{
    int m = n, k = 0;
{joined}
    if (step == 1) for (; k + W <= n; k += W) {{
        if (add) r[k / W] = LOAD(to + k) + r[k / W];
        STORE(to + k, r[k / W]);
    }}
    for (; k < n; ++k) to[k * step] = add ? to[k * step] + ELEMENT(r[k / W], k % W) : ELEMENT(r[k / W], k % W);
    (void)m;
}}
#define SUMS {self.prefix}_sums"""

    def _total(self) -> str:
        joined = "\n".join(
            f"#if W > {d}\n    x = SHUFFLE(x, x, LOW{d}) + SHUFFLE(x, x, HIGH{d});\n#endif"
            for d in reversed(self._distances(self.lengths[0]))
        )
        return f"""#if W > 1
/* The sum of the elements. */
static inline {self.real} {self.prefix}_total(V x) {{
{joined}
    return x[0];
}}
#define TOTAL {self.prefix}_total
#endif"""

    def _turn(self) -> str:
        exchanged = "\n".join(f"""#if W > {d}
    for (int k = 0; k < W; ++k) if (!(k & {d})) {{
        const V a = r[k], b = r[k + {d}];
        r[k] = SHUFFLE(a, b, LOW{d});
        r[k + {d}] = SHUFFLE(a, b, HIGH{d});
    }}
#endif""" for d in self._distances(self.lengths[0]))  # fmt: skip
        return f"""
/* Copies W rows of W numbers, `stride` apart, as columns of rows that are `step` apart. */
static inline void {self.prefix}_turn({self.real} *to, int32_t step, const {self.real} *from, int32_t stride) {{
    V r[W];
    for (int k = 0; k < W; ++k) r[k] = LOAD(from + k * stride);
{exchanged}
    for (int k = 0; k < W; ++k) STORE(to + k * step, r[k]);
}}
#define TURN {self.prefix}_turn"""


_RARE = {"FIRST", "PRODUCT", "ROOT", "START", "SUMS", "TOTAL", "TURN", "WHOLE"}
_BELOW = ("COUNT", "SHUFFLE", "ELEMENT", "KEEP_V")  # of which others consist
_KEEP_VECTOR = """#if !defined(KEEP_{letter})
#define KEEP_V(x) (void)0
#elif defined(__aarch64__)
#define KEEP_V(x) __asm__("" : "+w"(x))
#elif defined(__AVX512F__)
#define KEEP_V(x) __asm__("" : "+v"(x))
#else
#define KEEP_V(x) __asm__("" : "+x"(x))
#endif
#define PRODUCT(name, a, b) V name = (a) * (b); KEEP_V(name)"""
# Where only vectors have roots nothing calls it.
_ROOT_OF_NUMBERS = "static double mg_sqrt(double a) __attribute__((unused));"
_SHUFFLE = """#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (I){__VA_ARGS__})
#endif"""
# Which GCC and Clang, whose vectors these are, have in C++, too.
_SILENT = """#ifdef __cplusplus
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" /* which is about compound literals */
#endif"""
_LOUD = """#if W > 1 && defined(__cplusplus)
#pragma GCC diagnostic pop
#endif"""
_FAST = """#ifndef __clang__
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
#endif"""
_SLOW = """#if W > 1 && !defined(__clang__)
#pragma GCC pop_options
#endif"""
