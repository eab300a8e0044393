"""Polynomials in LLVM's terms, each step rounded as it is written."""

from __future__ import annotations

from macrograd.compiler.jit.text import Code


def polynomial(code: Code, width: int, x: str, coefficients: list[float]) -> str:
    """c₀ + c₁·x + c₂·x² + … by Estrin's scheme: in pairs, then pairs of pairs, which are independent."""
    parts = [code.splat(c, width) for c in coefficients]
    while len(parts) > 1:
        pairs = [code.intrinsic("fma", width, b, x, a) for a, b in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + parts[2 * len(pairs) :]
        x = plain(code, "fmul", x, x, width)
    return parts[0]


def plain(code: Code, op: str, a: str, b: str, width: int) -> str:
    """An operation that must not be regrouped with its neighbours."""
    return code.let(f"{op} {code.kind.vector(width)} {a}, {b}")
