"""The macros of vector code: the compiler's vector types if it has them, arrays otherwise.

GCC and Clang do not keep arrays in registers once a function has dozens of them; variables of a vector type they do. An
expression inside VECTOR, SET, STORE or SELECT applies to every element of its operands, which AT refers to: the vector
itself, or element k of the array. Everything is a macro, because passing vectors as arguments depends on the ABI.

In strict programs a product passes an empty piece of assembly, which a compiler cannot look into, before it is added to
anything: gcc fuses by default and ignores the standard's pragma, and clang's -ffp-contract=fast overrules it. It costs
no instruction. Where no register for it is known, the product is `volatile`; where the processor cannot fuse, nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_USED = re.compile(r"\b(?:VECTOR|DECLARE|SET|STORE|PRODUCT)\((\d+),")
_VECTORS = "defined(__GNUC__) && __GNUC__ >= 4 && !defined(__TINYC__) && !defined(MACROGRAD_PLAIN)"  # Clang says 4
_ROOTS = re.compile(r"\bROOT(\d+)\(")
_MACROS = (
    "VECTOR",
    "DECLARE",
    "PRODUCT",
    "SET",
    "ALL",
    "AT",
    "LOAD",
    "STORE",
    "FIRST",
    "TRUTH",
    "MASKED",
    "SELECT",
    "SHUFFLE",
)


def with_vectors(prefix: str, real: str, functions: Iterable[str], *, strict: bool) -> list[str]:
    """The functions, with the macros that they use around them. -DMACROGRAD_PLAIN chooses arrays, not vectors."""
    functions = list(functions)
    if not strict:
        return _vectors(prefix, real, functions, strict)
    text = "\n".join(functions)
    products = [
        _PRODUCT.format(name=name, real=kind, function=f"mg_{name.lower()}", letter=letter)
        for name, kind, letter in (("MUL", "double", "D"), ("MULF", "float", "F"))
        if re.search(rf"\b{name}\(", text) or (real == kind and "PRODUCT(" in text)
    ]
    if not products:
        return _vectors(prefix, real, functions, strict)
    undefined = "#undef KEEP_D\n#undef KEEP_F\n#undef MUL\n#undef MULF\n"
    return [_KEEP, *products, *_vectors(prefix, real, functions, strict), undefined]


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
_KEEP_VECTOR = """#if !defined(KEEP_{letter})
#define KEEP_V(x) (void)0
#elif defined(__aarch64__)
#define KEEP_V(x) __asm__("" : "+w"(x))
#elif defined(__AVX512F__)
#define KEEP_V(x) __asm__("" : "+v"(x))
#else
#define KEEP_V(x) __asm__("" : "+x"(x))
#endif
#define PRODUCT(n, name, a, b) VECTOR(n, name, (a) * (b)); KEEP_V(name)
"""
# Known to KEEP_V.
_KNOWN = " && (defined(__x86_64__) || defined(__i386__) || defined(__aarch64__))"


def _vectors(prefix: str, real: str, functions: list[str], strict: bool) -> list[str]:
    widths = sorted({int(width) for text in functions for width in _USED.findall(text)})
    if not widths:
        return functions
    size = 8 if real == "double" else 4
    roots = sorted({int(width) for text in functions for width in _ROOTS.findall(text)})
    intrinsics = "#ifdef __SSE2__\n#include <immintrin.h>\n#endif" if roots else ""
    looped = "\n".join(line for width in roots for line in _root(prefix, real, size, width, strict))
    # Vectors larger than those of the processor would live in memory, and be slower than loops.
    largest = size * widths[-1]
    needed = "" if largest <= 16 else " && defined(__AVX__)" if largest == 32 else " && defined(__AVX512F__)"
    vectors = _VECTORS + needed + (_KNOWN if strict else "")
    letter, mul = ("D", "MUL") if real == "double" else ("F", "MULF")
    products = any("PRODUCT(" in text for text in functions)
    kept = _KEEP_VECTOR.format(letter=letter) if products else ""
    plain = f"#define PRODUCT(n, name, a, b) VECTOR(n, name, {mul}(a, b))\n" if products else ""
    types = "\n".join(line for width in widths for line in _types(prefix, real, size, width))
    undefined = "\n".join(
        f"#undef {name}" for name in [*_MACROS, *(f"ROOT{width}" for width in roots), *(["KEEP_V"] if products else [])]
    )
    return [
        f"""/* Vectors: one expression for all elements. With -DMACROGRAD_PLAIN, or a compiler without them, loops. */
#if {vectors}
{intrinsics}
#ifdef __clang__
#define SHUFFLE(n, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
{_FAST if not strict else ""}#define SHUFFLE(n, a, b, ...) __builtin_shuffle(a, b, ({prefix}_i##n){{__VA_ARGS__}})
#endif
{types}
#define DECLARE(n, name) {prefix}_v##n name
#define VECTOR(n, name, x) {prefix}_v##n name = (x)
#define TRUTH(n, name, x) {prefix}_i##n name = ({prefix}_i##n)(x)
#define SET(n, name, x) name = (x)
#define ALL(n, x) ((x) - ({prefix}_v##n){{0}})
#define AT(x) x
#define LOAD(n, p) (*(const {prefix}_m##n *)(p))
#define STORE(n, p, x) *({prefix}_m##n *)(p) = (x)
#define FIRST(n, start, count) ({prefix}_k##n < (count) - (start) + ({prefix}_i##n){{0}})
#define MASKED(n, c, x) ((c) & ({prefix}_i##n)(x))
#define SELECT(n, c, a, b) (({prefix}_v##n)(MASKED(n, c, a) | MASKED(n, ~(c), b)))
{kept}#else
#define DECLARE(n, name) {real} name[n]
#define VECTOR(n, name, x) {real} name[n]; for (int k = 0; k < n; ++k) name[k] = (x)
#define TRUTH(n, name, x) int name[n]; for (int k = 0; k < n; ++k) name[k] = (x)
#define SET(n, name, x) for (int k = 0; k < n; ++k) name[k] = (x)
#define ALL(n, x) (x)
#define AT(x) x[k]
#define LOAD(n, p) ((p)[k])
#define STORE(n, p, x) for (int k = 0; k < n; ++k) (p)[k] = (x)
#define FIRST(n, start, count) (k < (count) - (start))
#define SELECT(n, c, a, b) ((c) ? (a) : (b))
{plain}#endif
{looped}
""",
        *functions,
        f"""{"" if strict else _SLOW.format(vectors=vectors)}{undefined}
""",
    ]


_FAST = """#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
"""
_SLOW = """#if {vectors} && !defined(__clang__)
#pragma GCC pop_options
#endif
"""


def _types(prefix: str, real: str, size: int, width: int) -> list[str]:
    """The types of a width: vectors of numbers, of unaligned numbers and of integers, and the vector 0, 1, 2, …"""
    bytes_, whole = width * size, f"int{8 * size}_t"
    return [
        f"typedef {real} {prefix}_v{width} __attribute__((vector_size({bytes_})));",
        f"typedef {real} {prefix}_m{width} __attribute__((vector_size({bytes_}), aligned({size}), may_alias));",
        f"typedef {whole} {prefix}_i{width} __attribute__((vector_size({bytes_})));",
        f"#define {prefix}_k{width} (({prefix}_i{width}){{{', '.join(map(str, range(width)))}}})",
    ]


def _root(prefix: str, real: str, size: int, width: int, strict: bool) -> list[str]:
    """Square roots of a vector by the processor's instruction, which compilers do not use for a loop if errno must be
    set."""
    needed = {64: ("__AVX512F__", "_mm512"), 32: ("__AVX__", "_mm256"), 16: ("__SSE2__", "_mm")}.get(width * size)
    suffix, function = ("d", "sqrt") if real == "double" else ("s", "sqrtf")
    root = f"{function}(x[k])" if not strict else f"({real})mg_sqrt((double)x[k])"
    each = f"for (int k = 0; k < {width}; ++k) name[k] = {root}"
    loop = f"#define ROOT{width}(name, x) DECLARE({width}, name) = {{0}}; {each}"
    if needed is None:
        return [loop]
    flag, begin = needed
    return [
        f"#if defined(SHUFFLE) && defined({flag})",
        f"#define ROOT{width}(name, x) {prefix}_v{width} name = ({prefix}_v{width}){begin}_sqrt_p{suffix}(x)",
        "#else",
        loop,
        "#endif",
    ]
