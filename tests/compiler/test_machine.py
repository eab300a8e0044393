"""The machine: how many numbers a vector has, and which type they are."""

from __future__ import annotations

import numpy as np
import pytest

from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import DOUBLE, SINGLE, Float
from macrograd.compiler.targets.scalar.machine import ACCUMULATORS, Machine, kind_of


@pytest.mark.parametrize(
    ("kind", "size", "width"),
    [(DOUBLE, 64, 8), (DOUBLE, 32, 4), (SINGLE, 32, 8), (SINGLE, 16, 4), (DOUBLE, 8, 1), (DOUBLE, 4, 1)],
)
def test_the_numbers_of_a_vector(kind: Float, size: int, width: int) -> None:
    assert Machine(kind, size, lanes=16, single=True, strict=False).width == width
    assert ACCUMULATORS[size] > 0


def test_numpys_types_are_llvms() -> None:
    assert kind_of(np.float64) is kind_of("float64") is kind_of(np.dtype(np.float64)) is DOUBLE
    assert kind_of(np.float32) is kind_of("float32") is SINGLE


def test_registers_are_known_for_the_vectors_of_this_machine() -> None:
    pytest.importorskip("llvmlite")
    assert native.machine().vector_bytes in ACCUMULATORS
