"""Layout: where every entry is stored, and which products every sum has."""

from __future__ import annotations

import numpy as np
import pytest

from macrograd.compiler.roll.layout import Layout, Terms, arranged, layout_of, sums_of, terms_of
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import Tape


def layout(tape: Tape, order: list[int], *, batch: bool = True) -> Layout:
    result = np.isin(np.arange(len(tape)), tape.results)
    return layout_of(tape, np.array(order), tapes.kinds(tape, batch=batch), result, batch)


def sums(tape: Tape, *, strict: bool = False) -> tuple[list[int], list[bool]]:
    found, used = sums_of(tape, tapes.kinds(tape, batch=True), strict)
    return found.tolist(), used.tolist()


def terms(tape: Tape) -> Terms:
    varies = tapes.kinds(tape, batch=True)
    return terms_of(tape, sums_of(tape, varies, strict=False)[0], varies)


MIXED = tapes.parse("""
%0 = parameter 0
%1 = constant 2.5
%2 = uniform 0
%3 = input 0
%4 = exp %0
%5 = mul %1 %2
%6 = mul %3 %4
%7 = tanh %6
%8 = mul %3 %5
return %8 %7
""")


def test_leaves_come_first_then_results_then_groups_in_order() -> None:
    """Of each space: u holds the parameter, the constant, the uniform argument; v the input."""
    found = layout(MIXED, [5, 4, 6, 7, 8])
    assert found.varies.tolist() == [False, False, False, True, False, False, True, True, True]
    assert found.slot[:4].tolist() == [0, 1, 2, 0]
    assert found.slot[[5, 4]].tolist() == [3, 4]  # in the order of the groups, not of the tape
    assert found.slot[[8, 7]].tolist() == [1, 2]  # in the order of the results
    assert found.slot[6] == 3
    assert (found.uniform, found.varying) == (5, 4)
    assert found.constants.tolist() == [2.5]


def test_without_a_batch_nothing_varies_and_inputs_follow_the_uniform_arguments() -> None:
    found = layout(MIXED, [5, 4, 6, 7, 8], batch=False)
    assert not found.varies.any()
    assert found.slot[3] == 3
    assert (found.uniform, found.varying) == (9, 0)
    assert sorted(found.slot.tolist()) == list(range(9))


def test_slots_of_no_entry_come_after_all_others() -> None:
    found = layout(MIXED, [5, 4, 6, 7, 8])
    assert found.more_varying(2).tolist() == [4, 5]
    assert found.more_varying(1).tolist() == [6]


def test_results_keep_their_order() -> None:
    found = layout(MIXED, [5, 4, 6, 7, 8])
    assert found.fixed(np.array([6, 7]))
    assert not found.fixed(np.array([5, 6]))


def test_a_sum_over_the_batch_takes_in_the_sum_that_only_it_reads() -> None:
    tape = tapes.parse("%0 = input 0\n%1 = input 1\n%2 = dot %0 %1 %1 %1\n%3 = reduce %2\nreturn %3")
    assert sums(tape) == ([-1, -1, -1, 2], [True, True, False, True])
    assert sums(tape, strict=True) == ([-1, -1, 2, 3], [True] * 4)  # a sample's sum is rounded first


def test_a_single_product_is_taken_in_also_in_strict_mode() -> None:
    tape = tapes.parse("%0 = input 0\n%1 = input 1\n%2 = mul %0 %1\n%3 = reduce %2\nreturn %3")
    assert sums(tape) == sums(tape, strict=True) == ([-1, -1, -1, 2], [True, True, False, True])


@pytest.mark.parametrize(
    ("factor", "taken"), [("constant 2.0", True), ("constant inf", False), ("parameter 0", False), ("input 1", True)]
)
def test_a_factor_that_may_be_infinite_for_all_samples_stays_outside(factor: str, taken: bool) -> None:
    """A lane without a sample holds 0, and 0·∞ would enter the sum."""
    tape = tapes.parse(f"%0 = input 0\n%1 = {factor}\n%2 = mul %0 %1\n%3 = reduce %2\nreturn %3")
    found, used = sums(tape)
    assert (found[3], used[2]) == ((2, False) if taken else (3, True))


def test_a_product_that_is_read_twice_is_computed_once() -> None:
    tape = tapes.parse("%0 = input 0\n%1 = mul %0 %0\n%2 = reduce %1\nreturn %2 %1")
    assert sums(tape) == ([-1, -1, 2], [True] * 3)


TERMS = tapes.parse("""
%0 = input 0
%1 = parameter 0
%2 = constant 1.0
%3 = constant -1.0
%4 = exp %0
%5 = dot %0 %1 %4 %0 %0 %2 %3 %4 %1 %1
return %5
""")


def test_factors_are_put_in_one_order() -> None:
    """Constants, parameters, inputs, others; but what varies always right."""
    found = terms(TERMS)
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == [(1, 0), (0, 4), (2, 0), (3, 4), (1, 1)]
    assert found.owner.tolist() == [5] * 5
    assert found.start.tolist() == [0] * 6 + [5]


def test_the_kind_of_a_term_says_what_multiplies_what() -> None:
    found = terms(TERMS).kind.tolist()
    assert len(set(found)) == 5
    one, minus = tapes.parse("%0 = input 0\n%1 = reduce %0\nreturn %1"), found[3]
    assert terms(one).kind.tolist() == [found[2]]  # 1·x, written or not
    assert minus not in (found[0], found[2])


def test_products_are_sorted_except_in_strict_mode() -> None:
    tape = tapes.parse("""
%0 = input 0
%1 = input 1
%2 = input 2
%3 = parameter 0
%4 = parameter 1
%5 = parameter 2
%6 = dot %4 %1 %5 %2 %3 %0
%7 = dot %3 %2 %4 %1
return %6 %7
""")
    written, place = terms(tape), layout(tape, [6, 7])
    found = arranged(written, place, strict=False)
    assert found.left.tolist() == [3, 4, 5, 3, 4]
    assert found.right.tolist() == [0, 1, 2, 2, 1]
    assert found.owner.tolist() == written.owner.tolist()
    assert arranged(written, place, strict=True) is written
