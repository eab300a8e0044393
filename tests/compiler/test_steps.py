"""Programs that run over the parameters as native code: they read and write the arrays in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from macrograd.compiler import pipeline
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.targets.llvm.steps import AlongParameters, entry

# theta, its gradient and a momentum: m ← ½·m + g and theta ← theta - rate·m
MOMENTUM = """
%0 = input 0
%1 = input 1
%2 = input 2
%3 = uniform 0
%4 = constant 0.5
%5 = dot %4 %2
%6 = add %5 %1
%7 = mul %3 %6
%8 = sub %0 %7
return %8 %6
"""


def along(count: int, dtype: Any = np.float64) -> AlongParameters:
    program = pipeline.batch_program(tapes.parse(MOMENTUM), strict=True)
    return AlongParameters(program, count, np.dtype(dtype), strict=True)


def run(of: AlongParameters) -> None:
    of.native.functions["run"](of.address)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 301])
def test_an_update_is_made_in_place(count: int, dtype: str) -> None:
    rule, draw = along(count, dtype), np.random.default_rng(0)
    theta, gradient, moment = (draw.normal(size=count).astype(dtype) for _ in range(3))
    expected, m = theta.copy(), moment.copy()
    rule.point([theta, gradient, moment])
    rule.given[0] = 0.25
    for _ in range(3):
        run(rule)
        m = np.asarray(0.5, dtype) * m + gradient
        expected = expected - np.asarray(0.25, dtype) * m
        np.testing.assert_array_equal(theta, expected)
        np.testing.assert_array_equal(moment, m)


def test_nothing_around_the_arrays_is_written() -> None:
    rule, memory = along(21), np.full((3, 40), 7.0)
    theta, gradient, moment = (row[8:29] for row in memory)
    rule.point([theta, gradient, moment])
    rule.given[0] = 1.0
    run(rule)
    assert (memory[:, :8] == 7.0).all()
    assert (memory[:, 29:] == 7.0).all()
    assert (memory[1] == 7.0).all()  # the gradient is only read
    assert (memory[0, 8:29] == 7.0 - 10.5).all()


def test_code_is_shared_and_numbers_are_not() -> None:
    one, other = along(5), along(9)
    assert entry(one.native) > 0
    one.given[0], other.given[0] = 1.0, 2.0
    assert (one.given[0], other.given[0]) == (1.0, 2.0)
    constants = one.u[one.program.parameters : one.program.first_uniform_input]
    assert 0.5 in constants
    assert constants.tolist() == one.program.constants.tolist()
