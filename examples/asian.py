"""An Asian option and its Greeks by Monte Carlo: `python examples/asian.py [--paths 100000] [--threads 2] [--jax]`.

A path is a plain loop over the days, its shocks are drawn by the numbers of the path and the day, and the four Greeks
are one reverse sweep through it. A block of paths at a time is in memory, however many there are. With --jax the same
option is priced with JAX (scan, vmap, jit) in the same run, if it is installed, in turns.
"""

import argparse
import time
from statistics import median

import numpy as np

import macrograd as mg

DAYS, YEARS = 252, 1.0
MARKET = {"spot": 100.0, "volatility": 0.2, "rate": 0.05, "strike": 100.0}
GREEKS = {"spot": "delta", "volatility": "vega", "rate": "rho", "strike": "by strike"}


def payoff(market, path, seed=1, days=DAYS):
    """The discounted payoff of an arithmetic average call, on one path of geometric Brownian motion."""
    spot, volatility, rate, strike = market
    dt = YEARS / days
    drift, scale = (rate - 0.5 * volatility * volatility) * dt, volatility * dt**0.5

    def day(i, state):
        logarithm, total = state
        logarithm = logarithm + drift + scale * mg.random.normal(seed, path, i)
        return logarithm, total + mg.exp(logarithm)

    _, total = mg.loop(days, day, (0.0, 0.0))
    return mg.exp(-rate * YEARS) * mg.relu(spot * total / days - strike)


def compiled(threads=1, seed=1, days=DAYS):
    """The function of the path's number, and its parameters."""
    market = [mg.Value(x, name) for name, x in MARKET.items()]
    return mg.compile(lambda path: payoff(market, path, seed, days), batch=True, threads=threads), market


def price(f, market, paths):
    """The price, and the Greeks by the names of what they are derivatives by."""
    for value in market:
        value.grad = 0.0
    found = f.backward(np.arange(float(paths)))
    return found, {value.label: value.grad for value in market}


def with_jax(paths, days=DAYS):
    """A call that gives JAX's price and Greeks: compiled, float64, with JAX's own draws."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def mean(market, key):
        spot, volatility, rate, strike = market
        dt = YEARS / days
        drift, scale = (rate - 0.5 * volatility**2) * dt, volatility * dt**0.5

        def one(key):
            def day(state, key):
                logarithm = state[0] + drift + scale * jax.random.normal(key, dtype=jnp.float64)
                return (logarithm, state[1] + jnp.exp(logarithm)), None

            (_, total), _ = jax.lax.scan(day, (0.0, 0.0), jax.random.split(key, days))
            return jnp.exp(-rate * YEARS) * jnp.maximum(spot * total / days - strike, 0.0)

        return jax.vmap(one)(jax.random.split(key, paths)).mean()

    call = jax.jit(jax.value_and_grad(mean))
    market, key = jnp.array(list(MARKET.values())), jax.random.key(1)
    return lambda: jax.block_until_ready(call(market, key))


def main(paths=100_000, threads=1, jax=False, rounds=5):
    start = time.perf_counter()
    f, market = compiled(threads)
    price(f, market, 64)
    ready = time.perf_counter() - start
    calls = {"macrograd": lambda: price(f, market, paths)}
    found, greeks = calls["macrograd"]()
    print(f"ready in {ready:.2f} s; {DAYS} days, {paths:,} paths, price {found:.4f}")
    print(", ".join(f"{GREEKS[name]} {greek:.4f}" for name, greek in greeks.items()))
    if jax:
        start = time.perf_counter()
        calls["JAX"] = with_jax(paths)
        value, slopes = calls["JAX"]()
        print(f"JAX ready in {time.perf_counter() - start:.2f} s, price {float(value):.4f}")
        print(", ".join(f"{GREEKS[name]} {float(greek):.4f}" for name, greek in zip(MARKET, slopes, strict=True)))
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    for name, each in times.items():
        print(f"{name}: {median(each):.3f} s for price and Greeks")
    if jax:
        ratios = [b / a for a, b in zip(times["macrograd"], times["JAX"], strict=True)]
        print(f"JAX takes {median(ratios):.1f} times as long")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--paths", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jax", action="store_true")
    args = parser.parse_args()
    main(args.paths, args.threads, args.jax)
