"""The net that obeys an equation: its derivatives, those of its loss, and that it learns the solution."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value

PATH = Path(__file__).parents[1] / "examples" / "pinn.py"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(PATH))


def matrices(model):
    return [
        (np.array([[w.data for w in n.w] for n in layer.neurons]), np.array([n.b.data for n in layer.neurons]))
        for layer in model.net.layers
    ]


def position(layers, omega, t):
    """The model in NumPy, on complex numbers too."""
    x = np.array([4 * t - 2.0])
    for k, (W, b) in enumerate(layers):
        x = W @ x + b
        x = np.tanh(x) if k < len(layers) - 1 else x
    return 1 + t * t * omega * x[0]


def residual(layers, omega, zeta, t, h=1e-5):
    """The equation's left side: the slope by complex steps, the bend by differences of slopes."""

    def slope(t):
        return position(layers, omega, t + 1e-30j).imag / 1e-30

    bend = (8 * (slope(t + h) - slope(t - h)) - (slope(t + 2 * h) - slope(t - 2 * h))) / (12 * h)
    return bend / omega**2 + 2 * zeta / omega * slope(t) + position(layers, omega, t)


def test_the_equation_is_that_of_the_net(example) -> None:
    model = example["Oscillator"](width=5, seed=1)
    times = np.array([0.1, 0.4, 0.9])
    want = [residual(matrices(model), example["OMEGA"], example["ZETA"], t) for t in times]
    np.testing.assert_allclose([model.residual(Value(float(t))).data for t in times], want, rtol=1e-8)
    np.testing.assert_allclose(mg.compile(model.residual, batch=True)(times), want, rtol=1e-8)


def test_the_third_derivatives_in_the_gradient_against_differences(example) -> None:
    model = example["Oscillator"](width=5, seed=1)
    times = np.array([0.1, 0.4, 0.9])
    loss = mg.compile(model.loss, batch=True)
    loss(times)
    theta, direction = loss.theta(), np.random.default_rng(0).normal(size=len(loss.parameters))
    _, gradient = loss.value_and_grad(theta, times)
    h = 1e-5
    ahead, behind = (loss.value_and_grad(theta + s * h * direction, times)[0] for s in (1, -1))
    assert gradient @ direction == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)
    for p in loss.parameters:
        p.grad = 0.0
    mg.mean(model.loss(Value(t)) for t in times.tolist()).backward()
    np.testing.assert_allclose(gradient, [p.grad for p in loss.parameters], rtol=1e-9, atol=1e-12)


def test_the_solution_obeys_the_equation(example) -> None:
    t, h = 0.37, 1e-4
    before, here, after = (example["exact"](t + s * h) for s in (-1, 0, 1))
    omega, zeta = example["OMEGA"], example["ZETA"]
    left = (after - 2 * here + before) / h**2 + 2 * zeta * omega * (after - before) / (2 * h) + omega**2 * here
    assert abs(left) < 1e-4
    assert example["exact"](0.0) == 1.0


def test_it_learns_and_draws(example, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example["main"](str(tmp_path / "pinn.png"), steps=3000)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("321 parameters; at t = 0.3 u = ")
    assert lines[1].startswith("3000 steps in ")
    assert float(lines[2].split()[-1]) < 0.15
    assert (tmp_path / "pinn.png").read_bytes().startswith(b"\x89PNG")
