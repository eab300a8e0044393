"""New entries of a tape: what sums an adjoint comes before what uses it, from the last entry to the first."""

from __future__ import annotations

import numpy as np

from macrograd import ops
from macrograd.compiler.rewrite.entries import ADJOINTS, Entries, assembled
from macrograd.compiler.tape import tape as tapes

TAPE = tapes.parse("%0 = input 0\n%1 = parameter 0\n%2 = mul %0 %1\n%3 = tanh %2\nreturn %3\n")


def test_entries_stand_where_their_operands_are_known() -> None:
    entries, alias = Entries(len(TAPE)), np.full(len(TAPE), -1)
    two, three = np.array([2]), np.array([3])
    # In the wrong order: what uses the adjoint of %2, its sum, the seed.
    to_parameter = entries.add(ops.mul.code, [ADJOINTS + two, np.array([0])], entries.after(two))
    slope = entries.add(ops.mul.code, [ADJOINTS + three, three], entries.after(three))
    alias[2] = entries.add(ops.add.code, [slope, slope], entries.before(two))[0]
    alias[3] = entries.add(tapes.CONSTANT, [], entries.before(np.array([4])), 1.0)[0]
    made = assembled(TAPE, entries, alias, np.concatenate([three, to_parameter]))
    assert str(tapes.verify(made)).splitlines() == [
        "%0 = input 0",
        "%1 = parameter 0",
        "%2 = mul %0 %1",
        "%3 = tanh %2",
        "%4 = constant 1.0",
        "%5 = mul %4 %3",
        "%6 = add %5 %5",
        "%7 = mul %6 %0",
        "return %3 %7",
    ]


def test_an_adjoint_that_is_another_ones_is_looked_up() -> None:
    """%3 passes its adjoint on unchanged: that of %2 is the same entry."""
    entries, alias = Entries(len(TAPE)), np.full(len(TAPE), -1)
    alias[3] = entries.add(tapes.CONSTANT, [], entries.before(np.array([4])), 2.0)[0]
    alias[2], alias[1] = ADJOINTS + 3, ADJOINTS + 2
    made = assembled(TAPE, entries, alias, np.array([3, ADJOINTS + 1]))
    assert str(made).splitlines()[-2:] == ["%4 = constant 2.0", "return %3 %4"]


def test_blocks_have_one_operation_and_a_number_for_each_entry() -> None:
    entries = Entries(10)
    ids = entries.add(tapes.CONSTANT, [], entries.before(np.arange(3)), np.array([1.0, 2.0, 3.0]))
    assert ids.tolist() == [10, 11, 12]
    assert entries.add_variadic(ops.sum_.code, np.array([2, 3]), np.arange(5), np.array([40, 41])).tolist() == [13, 14]
    assert (entries.before(np.array([4])) < entries.after(np.array([4]))).all()
    assert (entries.after(np.array([5])) < entries.before(np.array([4]))).all()
