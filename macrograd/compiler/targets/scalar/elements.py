"""Sums and transposes of the elements of vectors, by shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Shuffles(Protocol):
    """The part of a language that the two functions need."""

    def binary(self, op: str, a: str, b: str, width: int) -> str:
        """fadd."""

    def shuffle(self, a: str, b: str, mask: Sequence[int], width: int) -> str:
        """The elements of a followed by b that the mask selects."""

    def only(self, vector: str) -> str:
        """The element of a vector of width 1."""


def sum_elements(code: Shuffles, vectors: list[str], width: int) -> str:
    """The sums of the elements of 2ᵏ vectors, as one vector: pairs of vectors are folded into each other."""
    size = len(vectors)
    block = 1
    while len(vectors) > 1:
        # The sums of vector 2k and 2k+1 go to alternating blocks of one vector.
        low = [m for start in range(0, width, 2 * block) for m in _both(start, block, width)]
        high = [m for start in range(0, width, 2 * block) for m in _both(start + block, block, width)]
        vectors = [
            code.binary("fadd", code.shuffle(a, b, low, width), code.shuffle(a, b, high, width), width)
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        block *= 2
    (total,) = vectors
    while width > size:
        half = width // 2
        upper = code.shuffle(total, total, range(half, width), width)
        lower = code.shuffle(total, total, range(half), width)
        if half == 1:
            upper, lower = code.only(upper), code.only(lower)
        total = code.binary("fadd", lower, upper, half)
        width = half
    return total


def _both(start: int, block: int, width: int) -> list[int]:
    """The elements start … start+block-1 of the first vector, then those of the second."""
    return [*range(start, start + block), *range(width + start, width + start + block)]


def order_among(width: int, among: int) -> list[int]:
    """The elements of a vector in an order in which `sum_elements` adds those of it alone as it adds those of each of
    2ᵏ vectors."""
    halves, pairs = [[k] for k in range(width)], [[k] for k in range(width)]
    while len(pairs) > 1:
        half = len(pairs) // 2
        halves = [halves[k] + halves[k + half] for k in range(half)]
        if len(pairs) > width // among:
            pairs = [pairs[2 * k] + pairs[2 * k + 1] for k in range(half)]
        else:
            pairs = [pairs[k] + pairs[k + half] for k in range(half)]
    found = [0] * width
    for place, element in zip(halves[0], pairs[0], strict=True):
        found[place] = element
    return found


def transpose(code: Shuffles, rows: list[str]) -> list[str]:
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
