"""Groups: what the members of one share becomes columns of operands."""

from __future__ import annotations

import numpy as np

from macrograd import ops
from macrograd.compiler.roll.groups import Groups, group_of
from macrograd.compiler.roll.layout import Terms, layout_of, sums_of, terms_of
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import SCATTER, Tape


def terms_in(tape: Tape) -> Terms:
    varies = tapes.kinds(tape, batch=True)
    return terms_of(tape, sums_of(tape, varies, strict=False)[0], varies)


TWO_SUMS = tapes.parse("""
%0 = input 0
%1 = input 1
%2 = parameter 0
%3 = parameter 1
%4 = dot %2 %0 %1 %3
%5 = dot %3 %0 %2 %1
%6 = sub %4 %0
%7 = sub %5 %1
return %6 %7
""")


def test_a_map_has_a_column_for_each_operand() -> None:
    group = group_of(TWO_SUMS, terms_in(TWO_SUMS), np.array([6, 7]))
    assert (group.kind, group.code) == ("map", ops.sub.code)
    assert group.operands.tolist() == [[4, 0], [5, 1]]
    assert group.shifts.shape == (2, 2, 0)  # outside of any loop


def test_a_sum_has_its_left_factors_and_then_its_right_ones() -> None:
    group = group_of(TWO_SUMS, terms_in(TWO_SUMS), np.array([4, 5]))
    assert group.kind == "dot"
    assert group.operands.tolist() == [[2, 3, 0, 1], [3, 2, 0, 1]]  # parameters left, whatever was written
    assert len(group.kinds) == 2


def test_a_part_keeps_the_columns_of_its_members() -> None:
    group = group_of(TWO_SUMS, terms_in(TWO_SUMS), np.array([6, 7]))
    part = group.part(np.array([1]))
    assert (part.members.tolist(), part.operands.tolist()) == ([7], [[5, 1]])
    assert (part.kind, part.code) == (group.kind, group.code)


def test_choices_and_sums_over_the_batch_have_kinds_of_their_own() -> None:
    tape = tapes.parse("""
%0 = input 0
%1 = input 1
%2 = parameter 0
%3 = take %0 %1 %2
%4 = scatter 1 %0 %1
%5 = reduce %3
return %4 %5
""")
    kinds = {k: group_of(tape, terms_in(tape), np.array([k])) for k in (3, 4, 5)}
    assert [group.kind for group in kinds.values()] == ["take", "scatter", "reduce"]
    assert kinds[3].operands.tolist() == [[0, 1, 2]]  # the index, then the values
    assert (kinds[4].code, kinds[4].operands.tolist()) == (SCATTER, [[0, 1]])
    assert kinds[5].operands.tolist() == [[-1, 3]]  # 1·x


def test_groups_are_told_apart_by_their_bounds() -> None:
    varies = tapes.kinds(TWO_SUMS, batch=True)
    order, result = np.array([5, 4, 6, 7]), np.isin(np.arange(8), TWO_SUMS.results)
    layout = layout_of(TWO_SUMS, order, varies, result, batch=True)
    groups = Groups(TWO_SUMS, terms_in(TWO_SUMS), layout, order, [0, 2, 4])
    assert groups.group(0).members.tolist() == [5, 4]
    assert groups.group(1).members.tolist() == [6, 7]
