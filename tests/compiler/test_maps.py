"""Maps: powers by squaring, scalars packed into vectors, and groups whose values stay in registers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from written import MACHINE, agrees, before, count, dot, in_block, operands

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Segment
from macrograd.compiler.targets.scalar.access import SCALAR, AffineCounter, Member, Operands, SimdVector
from macrograd.compiler.targets.scalar.fuse import Fusion
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.maps import Maps

FOUR = SimdVector(AffineCounter(0, 0, 0), 4, 4)
X = Index("v", 0, (1,))


def members(n: int) -> list[Member]:
    return [(AffineCounter(0, 0, k),) for k in range(n)]


def applied(name: str, *args: Index | float, n: int = 3, at: int = 8) -> Instruction:
    space = "v" if any(isinstance(x, Index) and x.space == "v" for x in args) else "u"
    return Instruction("map", ops.BY_NAME[name].code, (n,), Index(space, at, (1,)), args)


def writer(machine: Machine = MACHINE, axis: str = "lane", n: int = 3) -> tuple[Maps, Operands, list[str]]:
    at, lines = operands(machine, axis, (n,))
    return Maps(at, np.zeros(0, dtype=np.int64)), at, lines


@pytest.mark.parametrize(("exponent", "products"), [(3, 2), (4, 2), (5, 3), (8, 3), (15, 6), (16, 4)])
def test_whole_powers_are_products(exponent: int, products: int) -> None:
    maps, _, lines = writer()
    maps.map(applied(ops.power.name, X, float(exponent)), members(1), [FOUR])
    assert count(lines, "fmul") == products
    assert count(lines, "call") == 0


@pytest.mark.parametrize(("exponent", "strict"), [(3.0, True), (2.5, False), (17.0, False)])
def test_other_powers_are_left_to_the_operation(exponent: float, strict: bool) -> None:
    maps, _, lines = writer(replace(MACHINE, strict=strict))
    maps.map(applied(ops.power.name, X, exponent), members(1), [FOUR])
    assert count(lines, "call") > 0


@pytest.mark.parametrize("exponent", [3, 7, 12, 16])
def test_products_are_the_power(exponent: int) -> None:
    agrees(in_block(applied(ops.power.name, X, float(exponent), at=3), 0, 3), 5)


def test_a_tile_has_a_value_for_each_member_and_vector() -> None:
    maps, _, lines = writer()
    maps.map(applied("add", X, Index("v", 4, (0,))), members(3), [FOUR, SimdVector(AffineCounter(0, 0, 4), 4, 4)])
    assert count(lines, "fadd <4 x double>") == 6
    assert count(lines, "load <4 x double>") == 8  # the second operand is one for all members
    assert count(lines, "store <4 x double>") == 6


def test_scalars_are_packed_into_vectors() -> None:
    """Five of them are two vectors, the second filled up with copies of the last."""
    maps, _, lines = writer(axis="none", n=5)
    maps.packed(applied("add", Index("u", 0, (2,)), 1.5, n=5), members(5))
    assert (count(lines, "fadd <4 x double>"), count(lines, "fadd double")) == (2, 0)
    assert count(lines, "extractelement") == 5
    assert count(lines, "store double") == 5


def test_packed_sums_are_products_of_vectors() -> None:
    maps, _, lines = writer(axis="none", n=4)
    x, y = Index("u", 0, (2,)), Index("u", 1, (2,))
    maps.packed(dot((4,), Index("u", 8, (1,)), Segment(1, x, y), Segment(1, -1.0, x)), members(4))
    assert (count(lines, "fmul <4 x double>"), count(lines, "fsub <4 x double>")) == (1, 1)


def test_packed_scalars_are_what_the_operation_says() -> None:
    agrees(before(applied("tanh", Index("u", 0, (2,)), n=6, at=11), 11))


def test_a_value_that_only_its_group_reads_never_reaches_memory() -> None:
    first, second = applied("add", X, 1.0), applied("mul", Index("v", 8, (1,)), 3.0, at=12)
    for stored, stores in (((False, True), 1), ((True, True), 2)):
        maps, at, lines = writer(replace(MACHINE, lanes=4), n=1)
        maps.group(Fusion((replace(first, dims=(1,)), replace(second, dims=(1,))), stored))
        assert count(lines, "load <4 x double>") == 1
        assert count(lines, "store <4 x double>") == stores
        assert (at.given, at.grouped, at.stored) == ({}, False, True)  # nothing is left for the next instruction


def test_sums_of_a_group_leave_out_lanes_without_a_sample() -> None:
    """What a reduce of the group reads is still in registers: the lanes are masked there."""
    maps, _, lines = writer(replace(MACHINE, lanes=4), n=1)
    first = replace(applied("add", X, 1.0), dims=(1,))
    total = dot((1,), Index("u", 0, (1,)), Segment(1, 1.0, Index("v", 8, (1,))), kind="reduce")
    maps.group(Fusion((first, total), (False, False)))
    assert count(lines, "icmp slt <4 x i64>") == 1
    assert count(lines, "select <4 x i1>") == 1
    assert count(lines, "load <4 x double>") == 1


def test_one_scalar_is_no_vector() -> None:
    maps, _, lines = writer(axis="none")
    maps.map(applied("add", Index("u", 0, (1,)), 1.0), members(2), [SCALAR])
    assert count(lines, "x double>") == 0
    assert count(lines, "fadd double") == 2
