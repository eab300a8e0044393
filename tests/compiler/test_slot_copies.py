"""Copies between slots, and of numbers to slots."""

from __future__ import annotations

from math import copysign, inf, nan

import numpy as np

import macrograd as mg
from macrograd.compiler.program.copies import copies
from macrograd.compiler.program.instruction import Index


def slots(*numbers: int) -> list[Index]:
    return [Index("u", k, (0,)) for k in numbers]


def test_equal_numbers_in_a_row_are_one_copy() -> None:
    """Equal in sign, too: a zero is not the other zero."""
    sources = [0.0, 0.0, 0.0, -0.0, 2.0, 2.0, inf, nan, nan]
    outs = slots(10, 11, 12, 13, 14, 15, 16, 17, 20)
    found = copies(outs, sources)
    assert [x.dims for x in found] == [(3,), (1,), (2,), (1,), (2,)]
    written = {}
    for x in found:
        (number,) = x.args
        assert isinstance(number, float)
        written.update(dict.fromkeys(x.out.slots(x.dims).ravel().tolist(), number))
    for out, source in zip(outs, sources, strict=True):
        there = written[out.base]
        assert np.array_equal(there, source, equal_nan=True)
        assert copysign(1.0, there) == copysign(1.0, source)


def test_numbers_and_slots_are_copied_apart() -> None:
    found = copies(slots(10, 11, 12, 13), [*slots(0, 1), 5.0, *slots(2)])
    assert [str(x) for x in found] == [
        "u[10+i] = detach u[0+i] for 2",
        "u[12] = detach 5.0 for 1",
        "u[13] = detach u[2] for 1",
    ]


def test_a_loop_that_begins_with_many_equal_numbers() -> None:
    """On every target that compiled functions have."""
    x = np.linspace(0.5, 2.0, 24)

    def last(x: object) -> object:
        def step(_: object, y: list[object]) -> list[object]:
            return [a * b + 0.125 for a, b in zip(x, [1.0, *y[:-1]], strict=True)]

        return mg.loop(40, step, [0.0] * 20 + [-1.0] * 4)[-1]

    eager = float(last(x.tolist()))
    for backend in ("llvm", "numpy"):
        for strict in (False, True):
            assert np.isclose(mg.compile(last, backend=backend, strict=strict)(x), eager, rtol=1e-14, atol=0.0)
