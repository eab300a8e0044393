"""Many nets on the moons: an ensemble that doubts away from its samples, a map of rates and widths, an evolution."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PATH = Path(__file__).parents[1] / "examples" / "many_nets.py"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(PATH))


def test_the_ensemble_is_right_and_doubts_elsewhere(example: dict[str, Any]) -> None:
    model = example["ensemble"](5, 40)
    X, y = example["HELD"]
    assert np.mean(model.predict(X) == y) > 0.95
    assert model.spread(X + 4.0).mean() > 2 * model.spread(X).mean()


def test_a_net_in_each_place_of_the_map(example: dict[str, Any]) -> None:
    losses = example["heat_map"]([1e-4, 0.3], [1, 8], 10)
    assert losses.shape == (2, 2)
    assert losses[1, 1] < losses[1, 0]


def test_the_fittest_have_children(example: dict[str, Any], tmp_path: Path) -> None:
    found = example["evolution"](16, 3, 2)
    assert found[-1][0] < found[0][0]
    losses = example["heat_map"]([0.1], [2], 1)
    example["draw"](example["ensemble"](2, 1), losses, [0.1], [2], found, tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").read_text("utf-8").startswith("<?xml")
