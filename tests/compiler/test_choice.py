"""Choices: an invalid index raises the flag and reads nothing outside; one that members share is converted once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from written import MACHINE, agrees, before, count, in_block, operands

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Program
from macrograd.compiler.targets.llvm.target import Llvm
from macrograd.compiler.targets.scalar.choice import Takes
from macrograd.compiler.targets.target import Request


def take(dims: tuple[int, ...], index: Index, values: Index, count: int, out: Index) -> Instruction:
    return Instruction("take", ops.take.code, dims, out, (index, values), count=count)


def flagged(program: Program, parameters: Any) -> tuple[bool, list[float]]:
    """Whether the flag was raised, and the results."""
    state = Llvm().prepare(Request(program, (), 0, np.dtype(float))).state(1)
    state.u[: program.parameters] = parameters
    state.run()
    return state.flagged(), [float(state.u[slot]) for _, slot in program.results]


ONE = before(take((1,), Index("u", 0, (0,)), Index("u", 1, (0,), 1), 3, Index("u", 4, (1,))), 4)


@pytest.mark.parametrize("index", [0.0, 1.0, 2.0, -0.0])
def test_an_index_chooses_one_of_the_values(index: float) -> None:
    assert flagged(ONE, [index, 10.0, 20.0, 30.0]) == (False, [10.0 * (index + 1)])


@pytest.mark.parametrize("index", [-1.0, 3.0, 1.5, 1e300, -1e300, math.inf, -math.inf, math.nan])
def test_any_other_index_raises_the_flag(index: float) -> None:
    raised, (found,) = flagged(ONE, [index, 10.0, 20.0, 30.0])
    assert raised
    assert found in (10.0, 20.0, 30.0)  # a number that is there, not one behind the values


@pytest.mark.parametrize(
    ("member", "converted", "loops"),
    [((0, 0), 1, 2), ((1, 0), 1, 2), ((0, 1), 1, 2)],
)
def test_an_index_is_converted_outside_of_the_members_that_share_it(
    member: tuple[int, int], converted: int, loops: int
) -> None:
    at, lines = operands(axis="none", dims=(5, 6))
    Takes(at, "before").take(take((5, 6), Index("u", 0, member), Index("u", 50, (0, 3), 1), 3, Index("u", 90, (6, 1))))
    assert count(lines, "fptosi") == converted
    depth = [k for k, line in enumerate(lines) if line.startswith("loop")]
    (where,) = [k for k, line in enumerate(lines) if "fptosi" in line]
    assert len(depth) >= loops
    inside = sum(k < where for k in depth)
    assert inside == {(0, 0): 0, (1, 0): 1, (0, 1): 2}[member]


def test_takes_over_a_batch_choose_for_each_sample() -> None:
    """The index is 0 for all, as −0 counts too: values are what varies."""
    zero = Index("u", 0, (0, 0))
    program = in_block(take((2, 3), zero, Index("v", 0, (3, 1), 6), 2, Index("v", 12, (3, 1))), 1, 12)
    state = Llvm().prepare(Request(program, (12,), 6, np.dtype(float), samples=5)).state(5)
    X = np.random.default_rng(0).normal(size=(5, 12))
    for choice in (0, 1):
        state.u[0] = choice
        state.load([X])
        state.run()
        np.testing.assert_array_equal(state.out, X[:, 6 * choice : 6 * choice + 6])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("samples", [1, 16, 37])
@pytest.mark.parametrize(("dims", "member", "values"), [((1,), (0,), 10), ((3,), (0,), 10), ((4,), (1,), 3)], ids=str)
def test_few_values_are_compared_with_the_index_in_vectors(
    dims: tuple[int], member: tuple[int], values: int, samples: int, dtype: str
) -> None:
    """Members that share the index, or that each have one; NaN and infinities are values like others."""
    (n,), draw = dims, np.random.default_rng(samples)
    indices = n if member[0] else 1
    inputs = indices + n * values
    step = take(dims, Index("v", 0, member), Index("v", indices, (values,), 1), values, Index("v", inputs, (1,)))
    state = Llvm().prepare(Request(in_block(step, 0, inputs), (inputs,), n, np.dtype(dtype), samples=samples))
    state = state.state(samples)
    index = draw.integers(0, values, (samples, indices))
    rows = draw.normal(size=(samples, n, values))
    rows[0, 0], rows[-1, -1, -1] = np.nan, np.inf
    state.load([np.hstack([index, rows.reshape(samples, -1)]).astype(dtype)])
    state.run()
    right = np.take_along_axis(rows, np.broadcast_to(index, (samples, n))[..., None], axis=2)[..., 0]
    np.testing.assert_array_equal(state.out, right.astype(dtype))
    assert not state.flagged()
    for wrong in (-1.0, values, 0.5, 1e30, -math.inf, math.nan):
        X = np.hstack([index, rows.reshape(samples, -1)]).astype(dtype)
        X[samples // 2, indices - 1] = wrong
        state.load([X])
        state.run()
        assert state.flagged()


def test_what_is_compared_in_vectors_is_not_converted() -> None:
    for values, converted in ((10, 0), (60, 1)):
        at, lines = operands(dims=(1,))
        Takes(at, "block").take(take((1,), Index("v", 0, (0,)), Index("v", 1, (0,), 1), values, Index("v", 90, (1,))))
        assert count(lines, "fptosi") == converted
        assert count(lines, "fcmp oeq <4 x double>") == (0 if converted else values)


def scattered(first: int, size: int, terms: int) -> Program:
    """size sums of the terms whose index is first + k; index and term of each sample are inputs."""
    out = Index("u", 0, (1,))
    step = Instruction(
        "scatter", 0, (size,), out, (Index("v", 0, (0,), 1), Index("v", terms, (0,), 1)), count=terms, choice=first
    )
    return in_block(step, 0, 2 * terms)


@pytest.mark.parametrize("samples", [1, 16, 150])
def test_scattered_terms_are_added_where_their_index_says(samples: int) -> None:
    """In blocks, whose sums add up; an index beyond the members adds nothing."""
    program, draw = scattered(1, 5, 2), np.random.default_rng(0)
    index, term = draw.integers(0, 8, (samples, 2)), draw.normal(size=(samples, 2))
    state = Llvm().prepare(Request(program, (4,), 0, np.dtype(float), samples=samples)).state(samples)
    state.load([np.hstack([index, term])])
    for _ in range(2):  # the second run begins with 0 again
        state.run()
        found = [float(state.u[slot]) for _, slot in program.results]
        np.testing.assert_allclose(found, [term[index == 1 + k].sum() for k in range(5)], rtol=1e-12, atol=1e-13)
    assert not state.flagged()


def test_the_sums_of_a_scatter_begin_with_vectors_of_zeros() -> None:
    at, lines = operands(dims=(10,))
    out = Index("u", 0, (1,))
    step = Instruction("scatter", 0, (10,), out, (Index("v", 0, (0,)), Index("v", 1, (0,))))
    Takes(at, "block").scatter(step)
    assert count(lines, "store <4 x double> zeroinitializer") == 1  # in a loop of two
    assert count(lines, r"store double 0") == 2
    assert MACHINE.single


def test_a_take_reads_members_through_a_table() -> None:
    table = Index("u", 1, (0,), members=np.array([6, 0, 3]), term=1)
    agrees(before(take((3,), Index("u", 0, (0,)), table, 1, Index("u", 10, (1,))), 10))
