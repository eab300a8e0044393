"""Transposing a square of numbers in registers."""

from __future__ import annotations

from macrograd.compiler.targets.scalar.code import Code


def transpose(code: Code, rows: list[str]) -> list[str]:
    """The columns of a square of vectors, by exchanging ever larger blocks across the diagonal."""
    n = len(rows)
    rows = list(rows)
    size = 1
    while size < n:
        for i in range(n):
            if i & size:
                continue
            a, b = rows[i], rows[i + size]
            rows[i] = code.shuffle(a, b, [n + j - size if j & size else j for j in range(n)], n)
            rows[i + size] = code.shuffle(a, b, [n + j if j & size else j + size for j in range(n)], n)
        size *= 2
    return rows
