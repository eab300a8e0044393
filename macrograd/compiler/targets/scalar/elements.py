"""Sums and transposes of the elements of vectors, by shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from macrograd.compiler.jit.text import Float

_PART = 16  # bytes of a vector that one instruction loads from anywhere, and within which the cheapest shuffles stay


class Shuffles(Protocol):
    """The part of a language that these functions need."""

    kind: Float

    def binary(self, op: str, a: str, b: str, width: int) -> str:
        """fadd."""

    def shuffle(self, a: str, b: str, mask: Sequence[int], width: int) -> str:
        """The elements of a followed by b that the mask selects."""

    def only(self, vector: str) -> str:
        """The element of a vector of width 1."""

    def element(self, base: str, index: str) -> str:
        """The address of an element."""

    def load(self, address: str, width: int) -> str:
        """The elements there."""


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


def transpose_from(code: Shuffles, rows: list[str]) -> list[str]:
    """The columns of a square of which the rows are at these addresses. Parts of vectors are loaded where they belong,
    so that shuffles are left only within them: half as many as `transpose` needs."""
    n = len(rows)
    side = min(n, _PART // code.kind.bytes)
    columns: list[str] = []
    for begin in range(0, n, side):
        found = [
            _joined(code, [code.load(code.element(row, str(begin)), side) for row in rows[k::side]], side)
            for k in range(side)
        ]
        columns += _turned_parts(code, found, n)
    return columns


def _joined(code: Shuffles, parts: list[str], size: int) -> str:
    """One vector of 2ᵏ of this size."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [code.shuffle(a, b, range(2 * size), size) for a, b in pairs]
        size *= 2
    return parts[0]


def _turned_parts(code: Shuffles, rows: list[str], n: int) -> list[str]:
    """The columns of the squares in vectors of n: element k of vector i becomes element i of vector k, in each part of
    as many elements as there are vectors."""
    side, block = len(rows), 1
    rows = [*rows[::2], *rows[1::2]]
    while block < side:
        low = [place for start in range(0, n, side) for place in _zipped(start, side // 2, block, n)]
        high = [place + side // 2 for place in low]
        pairs = zip(rows[: side // 2], rows[side // 2 :], strict=True)
        rows = [code.shuffle(a, b, mask, n) for a, b in pairs for mask in (low, high)]
        block *= 2
    return rows


def _zipped(start: int, count: int, block: int, n: int) -> list[int]:
    """`count` elements from `start` on of a vector of n, and the same of a second, in turns of a block."""
    places = range(start, start + count, block)
    return [place + k + which for place in places for which in (0, n) for k in range(block)]
