"""Sums and transposes by shuffles, carried out on plain tuples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from macrograd.compiler.jit.text import DOUBLE, SINGLE, Float
from macrograd.compiler.targets.scalar.elements import sum_elements, transpose, transpose_from


class Tuples:
    """A language whose vectors and addresses are tuples. It counts its instructions, and refuses vectors of another
    width."""

    def __init__(self, kind: Float = DOUBLE) -> None:
        self.kind = kind
        self.additions = self.shuffles = 0

    def element(self, base: Any, index: str) -> Any:
        return base[int(index) :]

    def load(self, address: Any, width: int) -> Any:
        assert len(address) >= width
        return address[:width]

    def binary(self, op: str, a: Any, b: Any, width: int) -> Any:
        assert op == "fadd"
        self.additions += 1
        if width == 1:
            return a + b
        assert len(a) == len(b) == width
        return tuple(x + y for x, y in zip(a, b, strict=True))

    def shuffle(self, a: Any, b: Any, mask: Sequence[int], width: int) -> Any:
        assert len(a) == len(b) == width
        self.shuffles += 1
        return tuple([*a, *b][k] for k in mask)

    def only(self, vector: Any) -> Any:
        (found,) = vector
        return found


def rows(count: int, width: int) -> list[Any]:
    """Powers of two, so that a sum tells its terms."""
    return [tuple(2 ** (width * k + i) for i in range(width)) for k in range(count)]


@pytest.mark.parametrize(
    ("count", "width"), [(1, 2), (1, 4), (2, 2), (2, 8), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)]
)
def test_the_sums_of_vectors_are_one_vector(count: int, width: int) -> None:
    code, given = Tuples(), rows(count, width)
    found = sum_elements(code, given, width)
    assert (found if count > 1 else (found,)) == tuple(sum(row) for row in given)
    assert code.additions == count - 1 + (width // count).bit_length() - 1


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_rows_become_columns(size: int) -> None:
    code, given = Tuples(), rows(size, size)
    assert transpose(code, given) == list(zip(*given, strict=True))
    assert code.shuffles == size * (size.bit_length() - 1)
    assert given == rows(size, size)  # the list that was given is left alone


@pytest.mark.parametrize("kind", [SINGLE, DOUBLE], ids=str)
@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_rows_in_memory_become_columns(size: int, kind: Float) -> None:
    code, given = Tuples(kind), rows(size, size)
    assert transpose_from(code, [(*row, -1) for row in given]) == list(zip(*given, strict=True))
    within = min(size, 16 // kind.bytes)  # a side of the squares that are left to shuffles
    joined = within * (size // within) * (size // within - 1)
    assert code.shuffles == size * (within.bit_length() - 1) + joined
