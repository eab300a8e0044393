"""Random nets, tables and formulas in 8-bit integers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg

from . import integers


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("first", [0, 6])
def test_files_have_the_integers_of_the_reference(tmp_path: Path, first: int) -> None:
    assert not list(integers.check([str(k) for k in range(first, first + 6)], tmp_path))


@pytest.mark.parametrize("function", [mg.tanh, mg.sigmoid, lambda v: mg.exp(-v * v), mg.softplus])
def test_functions_that_are_flat_far_away_have_short_tables(tmp_path: Path, function: Any) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 2)) * 300.0
    made = mg.export(
        lambda x: function(x[0] + x[1] * mg.sign(x[0])), tmp_path / "t.c", np.zeros(2), dtype="int8", calibration=rows
    )
    assert made.reference is not None
    assert made.constants < 6_000
