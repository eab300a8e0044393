"""Sums and multiples of round numbers, by which arrays are read: i, i + 1, n - 1 - i, 4 * i + j."""

from __future__ import annotations

from typing import Any

from macrograd import ops

Form = tuple[int, tuple[tuple[int, int], ...]]  # a number, and multiples of counters: (counter, factor)


def combined(op: Any, parts: list[Form]) -> Form | None:
    if op is ops.neg:
        return multiple(parts[0], -1)
    a, b = parts
    if op is ops.mul:
        if a[1] and b[1]:
            return None
        return multiple(a, b[0]) if a[1] else multiple(b, a[0])
    if op is ops.sub:
        b = multiple(b, -1)
    factors = dict(a[1])
    for c, factor in b[1]:
        factors[c] = factors.get(c, 0) + factor
    return a[0] + b[0], tuple([(c, factor) for c, factor in factors.items() if factor])


def multiple(form: Form, by: int) -> Form:
    return form[0] * by, tuple([(c, factor * by) for c, factor in form[1] if by])
