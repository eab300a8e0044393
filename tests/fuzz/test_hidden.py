"""A few programs of the fuzzer of what nothing takes, and that it notices faults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from macrograd.compiler import pipeline
from macrograd.compiler.tape import tape as tapes

from . import hidden


@pytest.mark.parametrize("seed", range(4, 12))
def test_what_nothing_takes_has_no_derivative_in_random_programs(seed: int) -> None:
    assert not hidden.differs(hidden.case(seed), replace(hidden.way(seed), backend="numpy"))


def test_numbers_that_are_infinite_in_float32_alone_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapes, "finite", np.isfinite)
    monkeypatch.setattr(pipeline, "observer", lambda *_: None)  # or else the right programs are on disk
    assert hidden.differs(hidden.case(8), replace(hidden.way(8), backend="numpy"))
