"""Warnings name the line of the program that called, not one of the package."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import nn
from macrograd.sklearn import NetRegressor

FRAME = {"a": ["753.469", "12.345", "1.234"] * 4, "k": ["p", "q", "r"] * 4}
Y = np.arange(12.0)


def trained(X: Any, width: int, **options: Any) -> mg.Trainer:
    trainer = mg.Trainer(nn.MLP(width, [1], seed=0), "squared_error", **options)
    trainer.fit(X, Y, steps=1, progress=False)
    return trainer


def predicted() -> None:
    trained(FRAME, 4, scale="standard").predict({"a": ["never", "1.5"], "k": ["p", "q"]})


CALLS: dict[str, Callable[[], object]] = {
    "'753.469' is read as": lambda: trained(FRAME, 4, scale="standard"),
    "1 not a number, such as 'never'": predicted,
    "the features differ in scale": lambda: trained(np.arange(24.0).reshape(12, 2) * [1.0, 1e4], 2),
    "X: column 'a': '753.469' is read as": lambda: NetRegressor([2], epochs=1).fit(_pandas(FRAME), Y),
}


def _pandas(columns: Any) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns)


@pytest.mark.parametrize("words", CALLS)
def test_a_warning_is_at_the_line_that_called(words: str) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        CALLS[words]()
    ours = [warning for warning in told if words in str(warning.message)]
    assert {Path(warning.filename).name for warning in ours} == {Path(__file__).name}
