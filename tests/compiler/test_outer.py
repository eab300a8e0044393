"""Gradients of weight matrices: sums of outer products over the lanes, and which instructions are such sums."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from literal import Literal

from macrograd.compiler.jit.text import DOUBLE
from macrograd.compiler.program.program import Index, Instruction, Program, Segment, verify
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.outer import split

MACHINE = Machine(DOUBLE, vector_bytes=32, lanes=16, single=True, strict=False)


def outer(rows: int, columns: int, count: int = 1) -> Instruction:
    """u[rows × columns] = Σ over lanes and terms of v[i, t]·v[j, t]."""
    left = Index("v", 0, (1, 0), rows)
    right = Index("v", rows * count, (0, 1), columns)
    out = Index("u", 0, (columns, 1))
    return Instruction("reduce", 0, (rows, columns), out, segments=(Segment(count, left, right),))


def test_whole_vectors_of_columns_are_split_from_the_rest() -> None:
    found = split(outer(3, 10), MACHINE)
    assert found is not None
    main, rest = found
    assert main.dims == (3, 8)
    assert rest is not None
    assert (rest.dims, rest.out.base) == ((3, 2), 8)
    assert rest.segments[0].right.slots(rest.dims)[0] == 3 + 8
    exact = split(outer(3, 8), MACHINE)
    assert exact is not None
    assert (exact[0].dims, exact[1]) == ((3, 8), None)


OTHERS: dict[str, Instruction] = {
    "one row": outer(1, 8),
    "fewer columns than a vector": outer(4, 3),
    "a dot": replace(outer(4, 8), kind="dot"),
    "results with gaps": replace(outer(4, 8), out=Index("u", 0, (16, 2))),
    "columns with gaps": replace(outer(4, 8), segments=(Segment(1, Index("v", 0, (1, 0)), Index("v", 4, (0, 2))),)),
    "a uniform factor": replace(outer(4, 8), segments=(Segment(1, Index("u", 0, (1, 0)), Index("v", 4, (0, 1))),)),
    "two segments": replace(outer(4, 8), segments=outer(4, 8).segments * 2),
    "a table": replace(
        outer(4, 8),
        segments=(Segment(1, Index("v", 0, (0, 0), members=np.arange(4)[:, None]), Index("v", 4, (0, 1))),),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_sums_are_left_to_others(name: str) -> None:
    assert split(OTHERS[name], MACHINE) is None


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("rows", "columns", "count", "samples"), [(2, 16, 1, 64), (17, 33, 1, 70), (5, 40, 3, 9), (16, 64, 2, 1)]
)
def test_the_sums_are_right(rows: int, columns: int, count: int, samples: int, dtype: Any, strict: bool) -> None:
    from macrograd.compiler.targets.llvm.target import Llvm
    from macrograd.compiler.targets.target import Request

    if Llvm().missing() is not None:
        pytest.skip("llvmlite does not load here")
    inputs, size = (rows + columns) * count, rows * columns
    results = tuple(("u", k) for k in range(size))
    program = verify(
        Program((), (outer(rows, columns, count),), (), 0, inputs, np.empty(0), size, inputs, results, batch=True)
    )
    X = np.random.default_rng(0).normal(size=(samples, inputs)).astype(dtype)
    state = (
        Llvm().prepare(Request(program, (inputs,), 0, np.dtype(dtype), strict=strict, samples=samples)).state(samples)
    )
    state.load([X])
    state.run()
    expected = Literal(program, [], X).results()
    bound = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(state.u[:size], expected, rtol=bound, atol=bound * 20)
