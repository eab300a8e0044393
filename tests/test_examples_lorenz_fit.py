"""The Lorenz fit: the gradient through its 1,000 steps, and that it finds what made the observations."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg

PATH = Path(__file__).parents[1] / "examples" / "lorenz_fit.py"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(PATH))


def test_the_gradient_through_all_steps_against_complex_steps(example) -> None:
    truth = list(example["TRUTH"].values())
    leaves = [mg.Value(v) for v in truth]
    f = mg.compile(lambda: mg.sum(v for v in example["simulate"](*leaves)[-1]))
    f()
    place = {id(p): k for k, p in enumerate(f.parameters)}
    _, gradient = f.value_and_grad(f.theta())
    for k in range(len(truth)):
        shifted = [v + 1e-30j * (i == k) for i, v in enumerate(truth)]
        exact = sum(example["simulate"](*shifted)[-1]).imag / 1e-30
        assert gradient[place[id(leaves[k])]] == pytest.approx(exact, rel=1e-9)


def test_without_noise_the_truth_is_found(example) -> None:
    found, misses = example["fit"](example["observations"](0.0), 500)
    assert misses[0] > 50
    assert misses[-1] < 0.005 * misses[0]
    for name in ("σ", "ρ", "β"):
        assert found[name] == pytest.approx(example["TRUTH"][name], rel=0.1)


def test_the_run_tells_and_draws(example, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example["main"](str(tmp_path / "fit.png"), steps=3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("3 gradients of 1000 steps in ")
    assert lines[1].endswith("of which 1.000 is noise")
    assert [line[0] for line in lines[2:8]] == list("σρβxyz")
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")


def test_equal_seeds_are_equal_observations(example) -> None:
    assert np.array_equal(example["observations"](1.0, seed=2), example["observations"](1.0, seed=2))
