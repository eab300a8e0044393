"""asian: price and four Greeks of an arithmetic average call by Monte Carlo, 252 steps a path, float64.

The program is `examples/asian.py`: a loop over the days, the normal numbers of every path and day from a counter, and
one reverse sweep for the derivatives by spot, volatility, rate and strike. Every contender draws
its own numbers, as its users do, so answers differ by the error of the Monte Carlo estimate, about 0.5 %.
"""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Job, Prepared

PATHS = 100_000
FEWER = 10_000  # of PyTorch, which keeps every day of every path

JOB = Job(
    "asian",
    what=f"an Asian option: price and four Greeks, 252 steps, {PATHS:,} paths, float64",
    unit="path",
    cases=("greeks",),
    tolerance=0.03,
    baseline="macrograd",
)


@cache
def example() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[1] / "examples" / "asian.py"))


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    """Pathwise derivatives by hand, path by path in arrays of paths."""
    days, market = example()["DAYS"], example()["MARKET"]
    spot, volatility, rate, strike = market.values()
    dt = 1.0 / days
    random = np.random.default_rng(0)
    logarithm, by_volatility, total = np.zeros((3, PATHS))
    total_volatility, total_rate = np.zeros((2, PATHS))
    for day in range(1, days + 1):
        shock = random.normal(size=PATHS)
        logarithm += (rate - 0.5 * volatility**2) * dt + volatility * np.sqrt(dt) * shock
        by_volatility += np.sqrt(dt) * shock - volatility * dt
        factor = np.exp(logarithm)
        total += factor
        total_volatility += factor * by_volatility
        total_rate += factor * dt * day
    mean, paid = total / days, spot * total / days > strike
    discount = np.exp(-rate)
    value = discount * np.maximum(spot * mean - strike, 0.0)
    greeks = [
        discount * paid * mean,
        discount * paid * spot * total_volatility / days,
        discount * paid * spot * total_rate / days - value,
        -discount * paid,
    ]
    return {"price": value.mean(), "greeks": [g.mean() for g in greeks]}


def ours(threads: int) -> Prepared:
    f, market = example()["compiled"](threads)
    paths = np.arange(float(PATHS))
    example()["price"](f, market, 64)

    def run() -> tuple[float, dict[str, float]]:
        for value in market:
            value.grad = 0.0
        return float(f.backward(paths)), {value.label: value.grad for value in market}

    def answer() -> dict[str, Any]:
        price, greeks = run()
        return {"price": price, "greeks": list(greeks.values())}

    return Prepared(run, answer, units=PATHS)


@JOB.contender("macrograd", packages=("macrograd", "llvmlite.binding"), note="blocks of paths; set-up is all of ready")
def macrograd(case: str) -> Prepared:
    return ours(1)


@JOB.contender("macrograd-2", packages=("macrograd", "llvmlite.binding"), threads=2, note="the same on two threads")
def macrograd_2(case: str) -> Prepared:
    return ours(2)


@JOB.contender("jax-scan", packages=("jax",), note="scan over the days, vmap over the paths, jit")
def jax_scan(case: str) -> Prepared:
    call = example()["with_jax"](PATHS)

    def answer() -> dict[str, Any]:
        price, greeks = call()
        return {"price": price, "greeks": greeks}

    return Prepared(call, answer, units=PATHS)


@JOB.contender("torch", packages=("torch",), note=f"arrays of {FEWER:,} paths, eager")
def torch(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)
    days, start = example()["DAYS"], torch.tensor(list(example()["MARKET"].values()), dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    dt = 1.0 / days

    def run() -> tuple[Any, Any]:
        market = start.clone().requires_grad_()
        spot, volatility, rate, strike = market.unbind()
        drift, scale = (rate - 0.5 * volatility * volatility) * dt, volatility * dt**0.5
        shocks = torch.randn(days, FEWER, generator=generator, dtype=torch.float64)
        total = torch.exp(torch.cumsum(drift + scale * shocks, 0)).sum(0)
        value = (torch.exp(-rate) * torch.relu(spot * total / days - strike)).mean()
        value.backward()
        return value.detach(), market.grad

    def answer() -> dict[str, Any]:
        found = [run() for _ in range(PATHS // FEWER)]
        mean = [np.mean([float(value) for value, _ in found]), np.mean([g.numpy() for _, g in found], axis=0)]
        return dict(zip(("price", "greeks"), mean, strict=True))

    return Prepared(run, answer, units=FEWER)
