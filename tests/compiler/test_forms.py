"""Sums and multiples of round numbers: a form has the number that the operations on counters have."""

from __future__ import annotations

import pytest

from macrograd import ops
from macrograd.compiler.trace.forms import Form, combined, multiple

ROUND: Form = (0, ((1, 1),))
OTHER: Form = (0, ((2, 1),))
EACH = {"number": (5, ()), "i": ROUND, "j": OTHER, "4i + j - 3": (-3, ((1, 4), (2, 1))), "2 - i": (2, ((1, -1),))}


def at(form: Form | None, counters: dict[int, int]) -> int:
    assert form is not None
    return form[0] + sum(counters[c] * factor for c, factor in form[1])


@pytest.mark.parametrize("right", EACH)
@pytest.mark.parametrize("left", EACH)
def test_sums_and_differences_have_the_numbers_of_their_operands(left: str, right: str) -> None:
    a, b = EACH[left], EACH[right]
    for counters in ({1: 0, 2: 0}, {1: 3, 2: 11}, {1: 7, 2: -2}):
        x, y = at(a, counters), at(b, counters)
        assert at(combined(ops.add, [a, b]), counters) == x + y
        assert at(combined(ops.sub, [a, b]), counters) == x - y
        assert at(combined(ops.neg, [a]), counters) == -x


def test_a_product_needs_a_number_on_one_side() -> None:
    form = EACH["4i + j - 3"]
    assert combined(ops.mul, [form, (3, ())]) == combined(ops.mul, [(3, ()), form]) == multiple(form, 3)
    assert at(multiple(form, 3), {1: 2, 2: 5}) == 3 * (8 + 5 - 3)
    assert combined(ops.mul, [ROUND, OTHER]) is None


def test_counters_that_cancel_are_gone() -> None:
    """Or an element that is the same in every round would be read as one of many."""
    assert combined(ops.sub, [EACH["4i + j - 3"], (0, ((1, 4),))]) == (-3, ((2, 1),))
    assert combined(ops.sub, [ROUND, ROUND]) == (0, ())
    assert multiple(ROUND, 0) == (0, ())
