"""The examples of simulations and fits: an Asian option, Heston's model and Robertson's reaction, at small sizes."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def differences(f, x, h=1e-5):
    """Central differences of a function of an array."""
    x = np.asarray(x, dtype=float)
    steps = h * np.diag(np.maximum(1.0, np.abs(x)))
    return np.array([(np.asarray(f(x + s)) - np.asarray(f(x - s))) / (2.0 * s.sum()) for s in steps])


def test_asian_greeks_are_those_of_the_same_paths() -> None:
    example, days, paths = load("asian"), 5, 40
    f, market = example["compiled"](days=days)
    found, greeks = example["price"](f, market, paths)
    shocks = np.array([[mg.random.normal(1, float(p), float(i)) for i in range(days)] for p in range(paths)])

    def price(numbers):
        spot, volatility, rate, strike = numbers
        steps = (rate - volatility**2 / 2) / days + volatility * shocks / math.sqrt(days)
        means = spot * np.exp(steps.cumsum(1)).mean(1)
        return math.exp(-rate) * np.maximum(means - strike, 0.0).mean()

    numbers = list(example["MARKET"].values())
    assert found == pytest.approx(price(numbers), rel=1e-12)
    assert list(greeks.values()) == pytest.approx(differences(price, numbers), rel=1e-6)


def test_asian_takes_no_more_memory_for_more_paths() -> None:
    """The states of all steps are kept for a block of paths."""
    example = load("asian")
    f, market = example["compiled"](days=5)
    small, _ = example["price"](f, market, 1_000)
    words = f.explain(np.arange(1000.0))
    assert "for each block of samples" in words
    large, greeks = example["price"](f, market, 4_000)
    assert large == pytest.approx(small, rel=0.2)
    assert 0.4 < greeks["spot"] < 0.8


def test_heston_prices_are_black_and_scholes_without_a_random_variance() -> None:
    example = load("heston")
    found = [float(x) for x in example["prices"]([1.0, 0.09, 1e-3, 0.0, 0.09])]
    for years, row in zip(example["YEARS"], np.reshape(found, (-1, len(example["STRIKES"]))), strict=True):
        for strike, price in zip(example["STRIKES"], row, strict=True):
            spread = 0.3 * math.sqrt(years)
            forward = example["SPOT"] / strike * math.exp(example["RATE"] * years)
            d = math.log(forward) / spread + spread / 2.0
            wanted = example["SPOT"] * mg.norm_cdf(d) - strike * math.exp(-example["RATE"] * years) * mg.norm_cdf(
                d - spread
            )
            assert price == pytest.approx(wanted, abs=1e-5)


def test_heston_prices_are_those_of_complex_numbers() -> None:
    example = load("heston")
    truth = list(example["TRUTH"].values())
    ours = [float(x) for x in example["prices"](truth)]
    np.testing.assert_allclose(ours, example["prices_in_numpy"](truth), rtol=1e-11)


def test_heston_is_found_by_both_optimisers() -> None:
    pytest.importorskip("scipy")
    example = load("heston")
    prices = example["prices"].__globals__
    nodes, weights = np.polynomial.legendre.leggauss(12)
    prices |= {
        "NODES": 15.0 * (nodes + 1.0),
        "WEIGHTS": 15.0 * weights,
        "YEARS": (1.0,),
        "STRIKES": np.linspace(80, 120, 6),
    }
    truth = list(example["TRUTH"].values())
    quotes = [float(x) for x in example["prices"](truth)]
    near = {name: 1.1 * x for name, x in example["TRUTH"].items()}
    results = example["calibrated"](quotes, near)
    assert results["least_squares"][0].cost < 1e-16
    assert results["least_squares"][0].x == pytest.approx(truth, rel=1e-3)
    assert results["minimize"][0].fun < 1e-5


def test_robertson_steps_are_implicit_euler_and_their_rates_are_found() -> None:
    pytest.importorskip("scipy")
    example = load("robertson")
    times, rates = np.array([0.0, 1e-3, 1.0, 40.0, 400.0]), example["RATES"]
    found = np.array([float(x) for x in example["concentrations"](rates.tolist(), times)]).reshape(-1, 3)
    before = np.array([1.0, 0.0])
    for h, (first, second, third) in zip(np.diff(times), found, strict=True):
        now = np.array([first, second / 1e5])
        assert np.allclose(now - before, h * np.array(example["change"](now, rates)), rtol=1e-7, atol=1e-12)
        assert now.sum() + third == pytest.approx(1.0)
        before = now
    observed = example["observations"](0.0, times=times)
    slopes = mg.compile(mg.jacobian(example["misses"](observed, times)))(np.log(rates))
    by_differences = differences(
        lambda x: [float(m) for m in example["misses"](observed, times)(x.tolist())], np.log(rates)
    )
    assert np.allclose(slopes, by_differences.T, rtol=1e-5, atol=1e-7)


def test_robertson_tells_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy")
    load("robertson")["main"](times=np.array([0.0, 1e-3, 1.0, 40.0]))
    lines = capsys.readouterr().out.splitlines()
    assert "Jacobians in" in lines[0]
    assert [line[:3] for line in lines[1:]] == ["k1:", "k2:", "k3:"]
