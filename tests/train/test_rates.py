"""The rates of a run: whose steps a schedule counts, and which rates a checkpoint notes."""

from __future__ import annotations

import numpy as np
import pytest

from macrograd import optim
from macrograd.train.rates import Rates


def falling(k: int) -> float:
    return 1.0 / (1 + k)


def test_the_optimisers_schedule_goes_on_where_it_was_and_that_of_a_run_begins() -> None:
    mine = optim.SGD(optim.linear(1.0, 0.0, 100))
    np.testing.assert_allclose(Rates(mine, None).of(10, 3, before=20), [0.7, 0.69, 0.68])
    np.testing.assert_allclose(Rates(mine, falling).of(1, 3, before=20), [1 / 2, 1 / 3, 1 / 4])


def test_a_rate_that_never_changes_is_known() -> None:
    rates = Rates(optim.SGD(0.25), None)
    assert rates.fixed == 0.25
    assert rates.of(7, 2, before=3).tolist() == [0.25, 0.25]
    assert Rates(optim.SGD(0.25), falling).fixed is None


def test_a_rate_that_is_not_finite_is_named() -> None:
    with pytest.raises(ValueError, match="the schedule gives the rate inf at step 6: rates must be finite"):
        Rates(optim.SGD(0.1), lambda k: float("inf") if k == 6 else 0.1).of(4, 5, before=100)


def test_few_steps_are_noted_of_many() -> None:
    noted = Rates(optim.SGD(0.1), falling).noted(1000, 0, more=[77])
    assert [k for k, _ in noted] == [0, 1, 2, 3, 4, 8, 16, 32, 64, 77, 128, 256, 512, 999]
    assert all(rate == falling(int(k)) for k, rate in noted)
    own = Rates(optim.SGD(optim.linear(1.0, 0.0, 100)), None).noted(3, 50)
    np.testing.assert_allclose([rate for _, rate in own], [0.5, 0.49, 0.48])
