"""Operands as vectors: their slots and addresses, which loads they need, and which are already there."""

from __future__ import annotations

import numpy as np
import pytest
from written import MACHINE, count, dot, operands

from macrograd.compiler.program.program import Index, Segment
from macrograd.compiler.targets.scalar.access import SCALAR, AffineCounter, SimdVector, Tables, key_of

FOUR = SimdVector(AffineCounter(0, 0, 0), 4, 4)
LAST = SimdVector(AffineCounter(0, 0, 8), 4, 3)


def at(offset: int, counter: str | int = 0, factor: int = 0) -> AffineCounter:
    return AffineCounter(factor, counter, offset)


def test_counters_of_one_value_make_no_other_place() -> None:
    assert key_of(Index("v", 3, (7, 1)), (1, 5)) == key_of(Index("v", 3, (9, 1)), (1, 5))
    assert key_of(Index("v", 3, (7, 1)), (2, 5)) != key_of(Index("v", 3, (9, 1)), (2, 5))


def test_equal_tables_are_stored_once() -> None:
    tables = Tables()
    first, second = np.array([5, 1, 2]), np.array([[7], [8]])
    assert [tables.add(first), tables.add(second), tables.add(first.copy())] == [0, 3, 0]
    assert tables.array().tolist() == [5, 1, 2, 7, 8, 0]  # never empty


def test_a_slot_is_folded_as_far_as_its_counters_are_known() -> None:
    found, _ = operands(dims=(4, 5))
    x = Index("v", 100, (10, 1), 1000)
    assert found.slot(x, (at(2), at(3)), 4, 9) == (100 + 20 + 3 + 4000, [])
    assert found.slot(x, (at(2, "%i", 8), at(3, 5, 2)), "%t", 9) == (100 + 20 + 13, [(80, "%i"), (1000, "%t")])


def test_tables_of_products_are_of_32_bits_or_left_to_the_code() -> None:
    tables, small, large = Tables(), np.array([3, -5]), np.array([[1 << 28, 0]])
    assert [tables.scaled(small, 16), tables.scaled(small, 1), tables.scaled(small, 16)] == [(0, 1), (2, 1), (0, 1)]
    assert [tables.scaled(large, 4), tables.scaled(large, 8)] == [(4, 1), (6, 8)]
    assert tables.scaled(-large, 8)[1] == 8
    assert tables.array().tolist() == [48, -80, 3, -5, 1 << 30, 0, 1 << 28, 0, -(1 << 28), 0, 0]


def test_a_table_with_known_counters_is_read_while_writing() -> None:
    found, lines = operands(dims=(3,))
    x = Index("u", 10, (0,), members=np.array([4, 0, 7]))
    assert [found.slot(x, (at(k),), 0, 1)[0] for k in range(3)] == [14, 10, 17]
    assert lines == []
    assert found.tables.size == 0


def test_a_table_is_looked_up_once_for_each_counter() -> None:
    found, lines = operands(dims=(3,))
    x = Index("u", 10, (0,), members=np.array([4, 0, 7]))
    member = (at(0, "%i", 1),)
    constant, (term,) = found.slot(x, member, 0, 1)
    assert (constant, term[0]) == (10, 1)
    assert found.slot(x, member, 0, 1) == (constant, [term])
    assert count(lines, "load i32") == 1
    found.slot(x, (at(1, "%i", 1),), 0, 1)
    assert count(lines, "load i32") == 2


@pytest.mark.parametrize(
    ("axis", "x", "vector", "loads"),
    [
        ("lane", Index("v", 2, (1,)), FOUR, ["load <4 x double>"]),
        ("lane", Index("u", 2, (1,)), FOUR, ["load double"]),  # the same number in all lanes
        ("member", Index("u", 2, (1,)), FOUR, ["load <4 x double>"]),
        ("member", Index("u", 2, (0,)), FOUR, ["load double"]),
        ("lane", Index("v", 2, (1,)), LAST, ["masked.load.v4f64"]),
        ("none", Index("u", 2, (1,)), SCALAR, ["load double"]),
    ],
)
def test_an_operand_is_loaded_once(axis: str, x: Index, vector: SimdVector, loads: list[str]) -> None:
    found, lines = operands(axis=axis, dims=(8,))
    member = () if axis == "member" else (at(1),)
    value = found.load(x, member, 0, 1, vector)
    assert [pattern for pattern in loads if count(lines, pattern) == 1] == loads
    written = len(lines)
    assert found.load(x, member, 0, 1, vector) == value
    assert len(lines) == written


def test_members_that_differ_only_in_what_does_not_move_it_share_a_load() -> None:
    """This alone turns dot products into a matrix product."""
    found, lines = operands(dims=(4, 4))
    row = Index("v", 0, (0, 1))
    assert found.load(row, (at(0), at(2)), 0, 1, FOUR) == found.load(row, (at(3), at(2)), 0, 1, FOUR)
    assert found.load(row, (at(0), at(1)), 0, 1, FOUR) != found.load(row, (at(0), at(2)), 0, 1, FOUR)
    assert count(lines, "load <4 x double>") == 2


def test_constants_need_no_memory() -> None:
    found, lines = operands()
    assert found.load(2.5, (at(0),), 0, 1, FOUR) == found.code.splat(2.5, 4)
    assert lines == []


def test_slots_of_v_are_rows_of_lanes() -> None:
    found, lines = operands(dims=(8,))
    found.address(Index("v", 3, (1,)), (at(2),), 0, 1, at(4))
    (line,) = lines
    assert line.endswith(f"i64 {5 * MACHINE.lanes + 4}")
    found.address(Index("u", 3, (1,)), (at(2),), 0, 1, at(4))
    assert lines[1].endswith("i64 5")  # the same for all lanes


def test_rounds_of_loops_move_an_operand() -> None:
    found, lines = operands(dims=(1,))
    found.rounds = ("%r", "%s")
    found.address(Index("u", 3, (0,), shifts=(20, 0)), (at(0),), 0, 1, None)
    assert count(lines, "%r") == 1
    assert count(lines, "%s") == 0


def test_a_result_that_only_its_group_reads_stays_in_a_register() -> None:
    found, lines = operands(dims=(6,))
    made = dot((6,), Index("v", 10, (1,)), Segment(1, 1.0, Index("v", 0, (1,))))
    found.grouped, found.stored = True, False
    found.result("%sum", made, (at(2),), FOUR)
    assert lines == []
    assert found.load(Index("v", 10, (1,)), (at(2),), 0, 1, FOUR) == "%sum"
    assert found.load(Index("v", 10, (1,)), (at(3),), 0, 1, FOUR) != "%sum"
    found.stored = True
    found.result("%sum", made, (at(2),), FOUR)
    assert count(lines, "store <4 x double> %sum") == 1


def test_a_scalar_of_u_is_held_where_it_was_written() -> None:
    found, lines = operands(axis="none", dims=(6,))
    made = dot((6,), Index("u", 10, (1,)), Segment(1, 1.0, Index("u", 0, (1,))))
    found.store("%sum", made, (at(2),), SCALAR)
    written = len(lines)
    assert found.load(Index("u", 2, (2,)), (at(5),), 0, 1, SCALAR) == "%sum"  # slot 12, however it is reached
    assert len(lines) == written


def test_part_of_a_vector_is_stored_without_the_rest() -> None:
    found, lines = operands(dims=(1,))
    made = dot((1,), Index("v", 10, (1,)), Segment(1, 1.0, Index("v", 0, (1,))))
    found.store("%sum", made, (at(0),), LAST)
    assert count(lines, "masked.store.v4f64") == 1
