"""NumPy's sums of products, along whatever axes their operands move: to the bit in strict programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Program, Segment, verify
from macrograd.compiler.targets.numpy.execute import NumpyExecutable
from macrograd.compiler.targets.target import Request

GIVEN, OUT = 400, 200  # slots of u that are given, and of results after them


def u(base: int, *member: int, term: int = 0, **tables: Any) -> Index:
    return Index("u", base, member, term, **tables)


TABLE = np.array([7, 0, 3, 5, 1], dtype=np.int32)
# By name: (members, where the results are, (count, left, right) of each segment).
SUMS: dict[str, tuple[tuple[int, ...], Index, list[tuple[int, Any, Any]]]] = {
    "an inner product": ((1,), u(GIVEN, 1), [(20, u(0, 0, term=1), u(50, 0, term=1))]),
    "a matrix and a vector": ((6,), u(GIVEN, 1), [(20, u(0, 20, term=1), u(150, 0, term=1))]),
    "a transposed matrix": ((6,), u(GIVEN, 1), [(20, u(0, 1, term=6), u(150, 0, term=2))]),
    "two matrices": ((4, 5), u(GIVEN, 5, 1), [(10, u(0, 10, 0, term=1), u(50, 0, 1, term=5))]),
    "two matrices into a transposed one": ((4, 5), u(GIVEN, 1, 4), [(10, u(0, 10, 0, term=1), u(50, 0, 10, term=1))]),
    "an outer product": ((4, 5), u(GIVEN, 5, 1), [(1, u(0, 1, 0), u(50, 0, 1))]),
    "many inner products": ((7,), u(GIVEN, 1), [(9, u(0, 9, term=1), u(100, 9, term=1))]),
    "many matrices": ((3, 2, 4), u(GIVEN, 8, 4, 1), [(5, u(0, 10, 5, 0, term=1), u(100, 20, 0, 5, term=1))]),
    "a matrix that BLAS cannot read": (
        (3, 8, 2), u(GIVEN, 16, 2, 1), [(10, u(0, 0, 2, 0, term=20), u(200, 40, 0, 1, term=3))]
    ),
    "backwards": ((6,), u(GIVEN + 5, -1), [(20, u(119, -20, term=-1), u(150, 0, term=1))]),
    "terms alone": ((6,), u(GIVEN, 1), [(1, 1.0, u(0, 1)), (1, -1.0, u(10, 1)), (2, 1.0, u(20, 1, term=9))]),
    "a subtraction alone": ((6,), u(GIVEN, 1), [(1, -1.0, u(10, 1))]),
    "products and a bias": ((6,), u(GIVEN, 1), [(20, u(0, 20, term=1), u(150, 0, term=1)), (1, 1.0, u(200, 1))]),
    "two products": (
        (6,), u(GIVEN, 1), [(9, u(0, 9, term=1), u(150, 0, term=1)), (9, u(60, 9, term=1), u(170, 0, term=1))]
    ),
    "a table of members": ((5,), u(GIVEN, 1), [(4, u(0, 0, term=20, members=TABLE), u(150, 0, term=1))]),
    "results by a table": ((5,), u(GIVEN, 0, members=TABLE), [(4, u(0, 4, term=1), u(150, 0, term=1))]),
}  # fmt: skip


def one_by_one(numbers: Any, dims: tuple[int, ...], segments: tuple[Segment, ...]) -> list[float]:
    """For each member the sum of its products, each added to those before it."""
    totals: list[float] = []
    for member in range(int(np.prod(dims))):
        products: list[float] = []
        for segment in segments:
            sides = [
                [x] * segment.count if isinstance(x, float) else numbers[x.slots(dims, segment.count)[member]].tolist()
                for x in (segment.left, segment.right)
            ]
            products += [a * b for a, b in zip(*sides, strict=True)]
        total = products[0]
        for product in products[1:]:
            total += product
        totals.append(total)
    return totals


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", SUMS)
def test_sums_have_all_their_products_and_write_nothing_else(name: str, strict: bool) -> None:
    dims, out, parts = SUMS[name]
    segments = tuple(Segment(count, left, right) for count, left, right in parts)
    step = Instruction("dot", ops.dot.code, dims, out, (), segments)
    results = tuple(("u", int(slot)) for slot in out.slots(dims).ravel())
    program = Program(
        (step,), (), (), GIVEN, 0, np.empty(0), GIVEN + OUT, 0, results, False, weight=None, first_output=0
    )
    state = NumpyExecutable(Request(verify(program), (), 0, np.dtype(float), strict)).state(1)
    given = np.random.default_rng(0).normal(size=GIVEN)
    state.u[:GIVEN] = given
    state.u[GIVEN:] = 7.0  # what was there before
    state.run()
    found = [float(state.u[slot]) for _, slot in results]
    right = one_by_one(given, dims, segments)
    if strict:
        assert found == right
    else:
        np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-13)
    others = np.setdiff1d(np.arange(GIVEN, GIVEN + OUT), [slot for _, slot in results])
    assert (state.u[others] == 7.0).all()
