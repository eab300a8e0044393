"""Operands that a sum computes where it reads them: which they are, and that no bit changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Instruction, counted
from macrograd.compiler.targets.scalar import fuse
from macrograd.compiler.targets.scalar.fuse import readers
from macrograd.compiler.targets.scalar.inside import Computed, with_computed

pytest.importorskip("llvmlite")

RNG = np.random.default_rng(3)
C = [[Value(x) for x in row] for row in RNG.normal(size=(5, 7)).tolist()]


def squared(x: Any) -> Any:
    return [mg.sum([(a - b) * (a - b) for a, b in zip(x, row, strict=True)]) for row in C]


def nearest(x: Any) -> Any:
    least = float("inf")
    for distance in squared(x):
        least = mg.minimum(least, distance)
    return least


def scaled(x: Any) -> Any:
    """Three instructions, one inside the other."""
    return [mg.tanh(mg.sum([abs((a - b) * 2.5) for a, b in zip(x, row, strict=True)])) for row in C]


def between(x: Any) -> Any:
    """The factors are different, and all of their operands vary."""
    return [mg.sum([(x[i] - x[j + 3]) * (x[i] * x[j + 3]) for j in range(4)]) for i in range(3)]


def in_a_loop(x: Any) -> Any:
    for _ in range(5):
        x = [*(a - 0.01 * d for a, d in zip(x, squared(x), strict=False)), *x[5:]]
    return squared(x)


def of(fn: Callable[..., Any]) -> tuple[list[Instruction], list[Instruction]]:
    """The instructions of a function's block, outside of loops, before and after."""
    program = pipeline.value_program(pipeline.record(fn, [(7,)]), batch=True)
    some = [x for step in program.block for x, around in counted(step) if not around]
    return some, with_computed(some, readers(program), ())


def inside(row: list[Instruction]) -> set[str]:
    return {str(x) for i in row for x, _ in i.operands() if isinstance(x, Computed)}


def test_what_only_a_sum_reads_is_computed_there() -> None:
    before, after = of(nearest)
    assert len(after) == len(before) - 1
    assert inside(after) == {  # the sums are two instructions
        "(dot + 1×(1.0 v[0+t]) + 1×(-1.0 u[0+7i+t]))",
        "(dot + 1×(1.0 v[0+t]) + 1×(-1.0 u[28+t]))",
    }
    assert any(x.startswith("(abs (mul (dot") for x in inside(of(scaled)[1]))
    assert inside(of(between)[1]) == {"(dot + 1×(1.0 v[0+i]) + 1×(-1.0 v[3+t]))", "(mul v[0+i] v[3+t])"}


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: [*squared(x), x[0] - C[0][0]],  # a difference is a result, too
        lambda x: [*squared(x), mg.tanh(x[1] - C[0][1])],  # or something else reads it
        lambda x: [mg.sum([a * mg.relu(b) for a, b in zip(row, x, strict=True)]) for row in C],  # every sum reads it
        lambda x: mg.dot(C[0][:5], [mg.relu(mg.dot(row, x)) for row in C]),  # it is in registers
        lambda x: [mg.sum([mg.exp(a - b) for a, b in zip(x, row, strict=True)]) for row in C],  # costly
    ],
)
def test_other_operands_stay_in_memory(fn: Callable[..., Any]) -> None:
    before, after = of(fn)
    assert after == before


@pytest.mark.parametrize("strict", [False, True])
def test_every_bit_is_as_with_operands_in_memory(strict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_them(x: Any) -> Any:
        return [nearest(x), *between(x), *in_a_loop(x)]

    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    x = RNG.normal(size=(19, 7))
    here = mg.compile(lambda x: [*all_of_them(x), *scaled(x)], batch=True, strict=strict)(x)
    if strict:
        eager = [[getattr(v, "data", v) for v in all_of_them(row)] for row in x.tolist()]
        assert np.array_equal(here[:, : len(eager[0])], eager)
    monkeypatch.setattr(fuse, "with_computed", lambda row, *_: list(row))
    there = mg.compile(lambda x: [*all_of_them(x), *scaled(x)], batch=True, strict=strict)(x)
    assert np.array_equal(here, there)
