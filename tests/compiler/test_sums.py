"""Sums of products: in which form each is written, and that every form is the sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from written import MACHINE, agrees, before, count, dot, in_block, operands

import macrograd as mg
from macrograd import Value
from macrograd.compiler.program.program import Index, Instruction, Segment
from macrograd.compiler.targets.scalar.access import SCALAR, AffineCounter, SimdVector
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.sums import Sums, better_turned, turned


def place(offset: int) -> AffineCounter:
    return AffineCounter(0, 0, offset)


def lines_of(
    instruction: Instruction, members: int, vector: SimdVector, axis: str = "lane", machine: Machine = MACHINE
) -> list[str]:
    at, lines = operands(machine, axis, instruction.dims)
    Sums(at).dot(instruction, [(place(k),) for k in range(members)], [vector])
    return lines


FOUR = SimdVector(place(0), 4, 4)
# out[i] = Σ u[i, t]·v[t]
PRODUCT = dot((4,), Index("v", 5, (1,)), Segment(5, Index("u", 0, (5,), 1), Index("v", 0, (0,), 1)))


def test_dot_products_of_one_vector_are_a_matrix_product() -> None:
    """Each term of the vector is loaded once for all rows, and the sums stay in registers."""
    lines = lines_of(PRODUCT, 4, FOUR)
    assert count(lines, "load <4 x double>") == 5
    assert count(lines, "load double") == 20
    assert count(lines, "fmul ") == 4  # the first term
    assert count(lines, "fmuladd") == 16
    assert count(lines, "store <4 x double>") == 4


def test_long_sums_loop_over_their_terms() -> None:
    long = replace(PRODUCT, segments=(Segment(100, Index("u", 0, (100,), 1), Index("v", 0, (0,), 1)),))
    lines = lines_of(long, 4, FOUR)
    assert count(lines, r"^loop") == 1
    assert count(lines, "phi <4 x double>") == 4
    assert count(lines, "load <4 x double>") == 2  # the first term, and the one in the loop


def test_factors_of_one_and_minus_one_multiply_nothing() -> None:
    x, y, z = (Index("v", k, (1,)) for k in (0, 4, 8))
    signs = dot((4,), Index("v", 12, (1,)), Segment(1, -1.0, x), Segment(1, 1.0, y), Segment(1, -1.0, z))
    lines = lines_of(signs, 1, FOUR)
    assert [count(lines, op) for op in ("fneg", "fadd", "fsub", "fmul")] == [1, 1, 1, 0]
    assert agrees(in_block(signs, 0, 12), 5).shape == (5, 4)


def test_a_long_sum_of_scalars_is_several_sums_except_in_strict_mode() -> None:
    """Side by side they hide the latency of additions; but another order rounds otherwise."""
    long = dot((1,), Index("u", 200, (1,)), Segment(100, Index("u", 0, (0,), 1), Index("u", 100, (0,), 1)))
    fast = lines_of(long, 1, SCALAR, "none")
    slow = lines_of(long, 1, SCALAR, "none", replace(MACHINE, strict=True))
    assert (count(fast, "phi double"), count(slow, "phi double")) == (8, 1)
    assert count(slow, "fmuladd") == 0
    for strict in (False, True):
        agrees(before(long, 200), strict=strict)


def across(instruction: Instruction, members: int, axis: str, machine: Machine = MACHINE) -> list[str]:
    at, lines = operands(machine, axis, instruction.dims)
    Sums(at).across(instruction, [(place(k),) for k in range(members)], [])
    return lines


# out[i] = Σ over lanes of v[i]·v[5]
LANES = dot((4,), Index("u", 0, (1,)), Segment(1, Index("v", 0, (1,)), Index("v", 5, (0,))), kind="reduce")


def test_sums_over_lanes_are_stored_side_by_side() -> None:
    lines = across(LANES, 4, "lane")
    assert count(lines, "fmuladd.v4f64") == 4 * (MACHINE.lanes // 4)  # members times vectors
    assert count(lines, "store <4 x double>") == 1


def test_several_blocks_add_to_what_is_there() -> None:
    alone, more = across(LANES, 4, "lane"), across(LANES, 4, "lane", replace(MACHINE, single=False))
    assert count(more, "load <4 x double>") == count(alone, "load <4 x double>") + 1


def test_results_with_gaps_are_stored_one_by_one() -> None:
    lines = across(replace(LANES, out=Index("u", 0, (2,))), 4, "lane")
    assert (count(lines, "store <1 x double>|store double"), count(lines, "store <4 x double>")) == (4, 0)


def test_a_sum_in_order_adds_sample_by_sample() -> None:
    two = replace(LANES, segments=(Segment(2, Index("v", 0, (1,), 1), Index("v", 5, (0,))),))
    lines = across(two, 4, "lane", replace(MACHINE, in_order=True, strict=True))
    assert count(lines, "x double>") == 0
    assert count(lines, r"^loop") == 2  # lanes, and the terms of each
    assert count(lines, "phi double") == 8


@pytest.mark.parametrize(("terms", "sums"), [(7, 0), (64, 8), (40, 1)])
def test_contiguous_terms_are_read_as_vectors(terms: int, sums: int) -> None:
    """One running sum, or eight side by side if there are enough vectors for them."""
    total = dot((1,), Index("u", 0, (1,)), Segment(terms, Index("u", 9, (0,), 1), Index("u", 99, (0,), 1)))
    lines = across(total, 1, "term")
    assert count(lines, "phi <4 x double>") == sums
    assert count(lines, "masked.load.v4f64") == (2 if terms % 4 else 0)


V_TERMS, U_ROW = Index("v", 0, (0,), 1), Index("u", 0, (9,), 1)
FORMS: dict[str, tuple[Instruction, int, int]] = {
    "matrix product": (dot((6,), Index("v", 9, (1,)), Segment(9, U_ROW, V_TERMS)), 54, 9),
    "transposed": (dot((9,), Index("v", 6, (1,)), Segment(6, Index("u", 0, (1,), 9), V_TERMS)), 54, 6),
    "two rows": (dot((5,), Index("v", 10, (1,)), Segment(1, Index("v", 0, (1,)), Index("v", 5, (1,)))), 0, 10),
    "sum over samples": (replace(LANES, out=Index("u", 0, (1,))), 0, 6),
    "with gaps": (replace(LANES, dims=(3,), segments=(Segment(2, Index("v", 0, (2,), 1), Index("v", 1, (1,))),)), 0, 6),
    "through a table": (
        dot((3,), Index("v", 6, (1,)), Segment(4, Index("u", 0, (0,), terms=np.array([7, 0, 3, 3])),
                                               Index("v", 0, (0,), full=np.arange(12).reshape(3, 4) % 5))), 8, 6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("samples", [1, 4, 37])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_the_sum(name: str, samples: int) -> None:
    agrees(in_block(*FORMS[name]), samples)


# u[j]·v[i] over counters (i, j): only the second counter moves the operand that varies
OUTER = dot((3, 7), Index("v", 7, (7, 1)), Segment(1, Index("u", 0, (1, 0)), Index("v", 0, (0, 1))))


def test_counters_are_swapped_if_only_the_second_one_varies() -> None:
    assert better_turned(OUTER)
    assert not better_turned(turned(OUTER))
    assert not better_turned(replace(OUTER, dims=(3,)))
    both = replace(OUTER, segments=(Segment(1, Index("v", 0, (7, 1)), Index("v", 0, (0, 1))),))
    assert not better_turned(both)
    table = Index("v", 0, (0, 0), full=np.arange(21)[:, None])
    assert not better_turned(replace(OUTER, segments=(Segment(1, 1.0, table),)))


def test_swapped_counters_name_the_same_slots() -> None:
    members = Index("u", 0, (1, 0), members=np.arange(21).reshape(3, 7))
    one = replace(OUTER, segments=(Segment(1, members, Index("v", 0, (0, 1))),))
    other = turned(one)
    assert other.dims == (7, 3)
    assert turned(other).dims == one.dims
    for a, b in ((one.out, other.out), *((getattr(one.segments[0], side), getattr(other.segments[0], side))
                                         for side in ("left", "right"))):  # fmt: skip
        np.testing.assert_array_equal(a.slots((3, 7)).reshape(3, 7), b.slots((7, 3)).reshape(7, 3).T)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("tiers", ["first", "best"])
@pytest.mark.parametrize("terms", [3, 17, 71, 130])
def test_sums_of_negative_zeros_are_negative_zeros(
    terms: int, tiers: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """−0.0 is what sums begin with, and what is added where the terms fill no vector."""
    monkeypatch.setenv("MACROGRAD_TIERS", tiers)
    zeros, w = [Value(-0.0)] * terms, [Value(-0.0) for _ in range(terms)]

    def f(x: list[Value]) -> list[Value]:
        products = [mg.dot(w, [a * (k + 1.0) for a in x]) for k in range(3)]
        return [mg.sum(zeros), mg.sum(w), mg.mean(w), mg.dot(w, [abs(a) for a in x]), *products]

    found = mg.compile(f, dtype=dtype, backend="llvm")(np.linspace(1.0, 2.0, terms))
    assert (found == 0.0).all()
    assert np.signbit(found).all()
