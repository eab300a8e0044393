"""NumPy's views: axes merged where they can be, members, terms and lanes where the program's slots are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from macrograd.compiler.program.program import Index, Program
from macrograd.compiler.targets.numpy.places import Places, collapsed, contiguous
from macrograd.compiler.targets.numpy.plan import NumpyPlan

LANES = 4


def places(rounds: tuple[int, ...] = ()) -> Places:
    program = Program((), (), (), 0, 0, np.empty(0), 40, 30, (), True, weight=None, first_output=0)
    found = Places(NumpyPlan(program, False), np.arange(40.0), np.arange(120.0), LANES)
    found.block, found.rounds = True, rounds
    return found


def run(found: Places) -> None:
    for function, arrays in found.found:
        function(*arrays)


def test_axes_that_follow_each_other_are_one() -> None:
    assert contiguous([2, 3, 4], 5) == [(2, 60), (3, 20), (4, 5)]
    assert collapsed([(2, 12), (3, 4), (4, 1)]) == [(24, 1)]
    assert collapsed([(2, 12, 3), (3, 4, 1), (4, 1, 0)]) == [(6, 4, 1), (4, 1, 0)]  # another array bends there
    assert collapsed([]) == []


@pytest.mark.parametrize("table", [None, np.array([5, 0, 2], dtype=np.int32)])
@pytest.mark.parametrize("space", ["u", "v"])
def test_operands_are_read_where_their_slots_are(space: str, table: Any) -> None:
    member, members = ((0,), table) if table is not None else ((2,), None)
    x = Index(space, 3, member, 1, members=members)
    found = places()
    place = found.place(x, (3,), 2, 0)
    run(found)  # what has a table is gathered first
    slots = x.slots((3,), 2)
    for term in range(2):
        view = found.members(place.at(term), (3,))
        numbers = slots[:, term] if space == "u" else LANES * slots[:, term][:, None] + np.arange(LANES)
        np.testing.assert_array_equal(view, np.broadcast_to(np.reshape(numbers, (3, -1)), (3, LANES)))
    assert found.members(place, (3,), (2, place.term)).shape == (2, 3, LANES)


def test_in_a_loop_the_rounds_come_first() -> None:
    found = places((6,))
    place = found.place(Index("u", 3, (1,), shifts=(5,)), (2,), 1, 0)
    view = found.members(place, (2,), over_lanes=True)
    np.testing.assert_array_equal(view, 3 + 5 * np.arange(6)[:, None] + np.arange(2))


def test_views_do_not_leave_their_buffer() -> None:
    with pytest.raises(ValueError, match=r"strides is incompatible|too small"):
        places().view(np.zeros(10), 4, [(4, 2)])
