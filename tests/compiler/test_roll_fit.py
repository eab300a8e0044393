"""Patterns: which instructions a group becomes, and that their indices name what the tape says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from literal import Literal

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Index, Instruction, Program

N = 24
Function = Callable[[Any], Any]


def parameters(count: int) -> list[Value]:
    return [Value(0.1 * k - 1.0) for k in range(count)]


def program_of(fn: Function, inputs: int = N) -> Program:
    return pipeline.value_program(pipeline.record(fn, [(inputs,)]), batch=True)


def only(program: Program, kind: str) -> list[Instruction]:
    return [i for i in program.instructions() if i.kind == kind]


def operands(instruction: Instruction) -> list[Index]:
    return [x for x, _ in instruction.operands() if isinstance(x, Index)]


P = parameters(4 * N)


def matrix(x: Any) -> list[Any]:
    return [mg.dot(P[k * N : (k + 1) * N], x) for k in range(4)]


def strided(x: Any) -> list[Any]:
    return [x[2 * k] * P[3 * k] for k in range(N // 2)]


def backwards(x: Any) -> list[Any]:
    return [x[k] * P[N - 1 - k] for k in range(N)]


def rows(x: Any) -> list[Any]:
    return [x[i] * P[j] for i in range(4) for j in range(6)]


def scattered(x: Any) -> list[Any]:
    order = np.random.default_rng(0).permutation(N).tolist()
    return [x[k] / x[order[k]] for k in range(N)]


def pieces(x: Any) -> list[Any]:
    """Two runs at different strides."""
    return [x[k] / x[k + 1] for k in range(12)] + [x[12 + k] / x[23 - 2 * k] for k in range(12)]


def signs(x: Any) -> list[Any]:
    return [x[k] * P[k] - x[k + 1] + P[k + 30] for k in range(N - 1)]


def triangles(x: Any) -> list[Any]:
    """The products of each pair of six numbers, of four times six."""
    return [x[6 * k + i] / x[6 * k + j] for k in range(4) for i in range(6) for j in range(i)]


PROGRAMS = [matrix, strided, backwards, rows, scattered, pieces, signs, triangles]


@pytest.mark.parametrize("fn", PROGRAMS, ids=lambda fn: fn.__name__)
def test_the_instructions_compute_what_was_written(fn: Function) -> None:
    X = np.random.default_rng(1).normal(size=(3, N))
    source = pipeline.record(fn, [(N,)])
    found = Literal(program_of(fn), [p.data for p in source.parameters], X).results()
    expected = [[float(getattr(value, "data", value)) for value in fn(row)] for row in X.tolist()]
    np.testing.assert_allclose(np.transpose(found), expected, rtol=1e-14, atol=1e-15)


def test_a_matrix_product_is_one_instruction_with_strides() -> None:
    (product,) = only(program_of(matrix), "dot")
    assert product.dims == (4,)
    assert product.terms == N
    by_space = {x.space: x for x in operands(product)}
    assert (by_space["u"].member, by_space["u"].term) == ((N,), 1)
    assert (by_space["v"].member, by_space["v"].term) == ((0,), 1)


@pytest.mark.parametrize(
    ("fn", "dims"), [(strided, (N // 2,)), (backwards, (N,)), (rows, (4, 6))], ids=lambda x: getattr(x, "__name__", "")
)
def test_strides_in_any_direction_and_nests_need_no_table(fn: Function, dims: tuple[int, ...]) -> None:
    (found,) = program_of(fn).instructions()
    assert found.dims == dims
    assert all(x.affine for x in operands(found))


def test_what_follows_no_pattern_is_one_instruction_with_a_table() -> None:
    (found,) = program_of(scattered).instructions()
    assert found.members == N
    assert sum(not x.affine for x in operands(found)) == 1


def test_rows_that_are_alike_share_a_table() -> None:
    (found,) = program_of(triangles).instructions()
    assert found.dims == (4, 15)
    assert all(x.member[0] == 6 and x.members is not None and x.members.shape == (1, 15) for x in operands(found))


def test_a_group_of_two_patterns_is_two_instructions() -> None:
    found = program_of(pieces).instructions()
    assert [i.members for i in found] == [12, 12]
    assert all(x.affine for i in found for x in operands(i))


def test_terms_of_other_kinds_are_segments_of_one_sum() -> None:
    found = [i for i in program_of(signs).instructions() if i.kind == "dot"]
    (total,) = found
    assert total.members == N - 1
    assert sorted(str(s.left) for s in total.segments if isinstance(s.left, float)) == ["-1.0", "1.0"]
