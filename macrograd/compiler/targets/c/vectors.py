"""The macros of vector code: the compiler's vector types if it has them, arrays otherwise.

GCC and Clang do not keep arrays in registers once a function has dozens of them; variables of a vector type they do. An
expression inside VECTOR, SET, STORE or SELECT applies to every element of its operands, which AT refers to: the vector
itself, or element k of the array. Everything is a macro, because passing vectors as arguments depends on the ABI.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_USED = re.compile(r"\b(?:VECTOR|DECLARE|SET|STORE)\((\d+),")
_VECTORS = "defined(__GNUC__) && __GNUC__ >= 4 && !defined(__TINYC__) && !defined(MACROGRAD_PLAIN)"  # Clang says 4
_ROOTS = re.compile(r"\bROOT(\d+)\(")
_MACROS = ("VECTOR", "DECLARE", "SET", "ALL", "AT", "LOAD", "STORE", "FIRST", "TRUTH", "MASKED", "SELECT", "SHUFFLE")


def with_vectors(prefix: str, real: str, functions: Iterable[str]) -> list[str]:
    """The functions, with the macros around them if they use vectors. -DMACROGRAD_PLAIN chooses the arrays."""
    functions = list(functions)
    widths = sorted({int(width) for text in functions for width in _USED.findall(text)})
    if not widths:
        return functions
    size = 8 if real == "double" else 4
    roots = sorted({int(width) for text in functions for width in _ROOTS.findall(text)})
    intrinsics = "#ifdef __SSE2__\n#include <immintrin.h>\n#endif" if roots else ""
    looped = "\n".join(line for width in roots for line in _root(prefix, real, size, width))
    # Vectors larger than the processor's would be in memory, and slower than loops.
    largest = size * widths[-1]
    needed = "" if largest <= 16 else " && defined(__AVX__)" if largest == 32 else " && defined(__AVX512F__)"
    vectors = _VECTORS + needed
    types = "\n".join(line for width in widths for line in _types(prefix, real, size, width))
    undefined = "\n".join(f"#undef {name}" for name in [*_MACROS, *(f"ROOT{width}" for width in roots)])
    return [
        f"""/* Vectors: one expression for all elements. With -DMACROGRAD_PLAIN, or a compiler without them, loops. */
#if {vectors}
{intrinsics}
#ifdef __clang__
#define SHUFFLE(n, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
#define SHUFFLE(n, a, b, ...) __builtin_shuffle(a, b, ({prefix}_i##n){{__VA_ARGS__}})
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
#else
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
#endif
{looped}
""",
        *functions,
        f"""#if {vectors} && !defined(__clang__)
#pragma GCC pop_options
#endif
{undefined}
""",
    ]


def _types(prefix: str, real: str, size: int, width: int) -> list[str]:
    """The types of a width: vectors of numbers, of unaligned numbers and of integers, and the vector 0, 1, 2, …"""
    bytes_, whole = width * size, f"int{8 * size}_t"
    return [
        f"typedef {real} {prefix}_v{width} __attribute__((vector_size({bytes_})));",
        f"typedef {real} {prefix}_m{width} __attribute__((vector_size({bytes_}), aligned({size}), may_alias));",
        f"typedef {whole} {prefix}_i{width} __attribute__((vector_size({bytes_})));",
        f"#define {prefix}_k{width} (({prefix}_i{width}){{{', '.join(map(str, range(width)))}}})",
    ]


def _root(prefix: str, real: str, size: int, width: int) -> list[str]:
    """Square roots of a vector by the processor's instruction, which compilers do not use for a loop if errno must be
    set."""
    needed = {64: ("__AVX512F__", "_mm512"), 32: ("__AVX__", "_mm256"), 16: ("__SSE2__", "_mm")}.get(width * size)
    suffix, function = ("d", "sqrt") if real == "double" else ("s", "sqrtf")
    each = f"for (int k = 0; k < {width}; ++k) name[k] = {function}(x[k])"
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
