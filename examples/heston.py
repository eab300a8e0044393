"""Heston's model calibrated to option prices: `python examples/heston.py [--scipy]`.

The price of a call is an integral of the model's characteristic function, written with pairs of numbers in place of
complex ones. `mg.least_squares` (Levenberg and Marquardt, with the compiled Jacobian) runs beside `mg.minimize` (the
compiled gradient of the sum of squares). With --scipy, SciPy's own `least_squares` runs beside them, on the same
formula in NumPy's complex numbers and with its Jacobian by differences.
"""

import argparse
import math
import time

import numpy as np

import macrograd as mg

SPOT, RATE = 100.0, 0.02
STRIKES, YEARS = np.linspace(80.0, 120.0, 9), (0.25, 0.5, 1.0, 2.0)
TRUTH = {"κ": 1.5, "θ": 0.06, "σ": 0.5, "ρ": -0.7, "v": 0.04}  # reversion, long variance, its volatility, …
GUESS = {"κ": 3.0, "θ": 0.1, "σ": 0.3, "ρ": -0.3, "v": 0.09}
ROOTS, WEIGHTS = np.polynomial.legendre.leggauss(48)
NODES, WEIGHTS = 25.0 * (ROOTS + 1.0) ** 2, 50.0 * (ROOTS + 1.0) * WEIGHTS  # on 0 … 100, close together near 0


class Complex:
    """A complex number of two numbers or Values."""

    def __init__(self, re, im=0.0):
        self.re, self.im = re, im

    def __add__(self, other):
        return Complex(self.re + other.re, self.im + other.im)

    def __sub__(self, other):
        return Complex(self.re - other.re, self.im - other.im)

    def __mul__(self, other):
        return Complex(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)

    def __truediv__(self, other):
        size = other.re * other.re + other.im * other.im
        return self * Complex(other.re / size, -other.im / size)

    def times(self, x):
        return Complex(self.re * x, self.im * x)

    def exp(self):
        size = mg.exp(self.re)
        return Complex(size * mg.cos(self.im), size * mg.sin(self.im))

    def log(self):
        return Complex(mg.log(self.re * self.re + self.im * self.im) / 2.0, mg.atan2(self.im, self.re))

    def sqrt(self):
        """The root with a positive real part, for numbers off the negative axis."""
        re = mg.sqrt((mg.hypot(self.re, self.im) + self.re) / 2.0)
        return Complex(re, self.im / (2.0 * re))


def characteristic(u, years, kappa, theta, sigma, rho, v):
    """That of the logarithm of the forward return, at u − i/2. Source: Albrecher et al., *The Little Heston Trap*,
    Wilmott Magazine, 2007; its form has no jumps of the logarithm."""
    xi = Complex(kappa - 0.5 * rho * sigma, -rho * sigma * u)
    d = (xi * xi + Complex(sigma * sigma * (u * u + 0.25))).sqrt()
    minus = xi - d
    g = minus / (xi + d)
    one, fading = Complex(1.0), d.times(-years).exp()
    rest = one - g * fading
    by_v = minus.times(v / (sigma * sigma)) * (one - fading) / rest
    by_theta = (minus.times(years) - (rest / (one - g)).log().times(2.0)).times(kappa * theta / (sigma * sigma))
    return (by_v + by_theta).exp()


def prices(parameters):
    """Calls by years and strikes. Source: Lewis, *Option Valuation under Stochastic Volatility*, 2000, ch. 2."""
    found = []
    for years in YEARS:
        values = [characteristic(u, years, *parameters) for u in NODES]
        for strike in STRIKES:
            x = math.log(SPOT / strike) + RATE * years
            scale = [w / (u * u + 0.25) for u, w in zip(NODES, WEIGHTS, strict=True)]
            real = [s * math.cos(u * x) for u, s in zip(NODES, scale, strict=True)]
            imaginary = [-s * math.sin(u * x) for u, s in zip(NODES, scale, strict=True)]
            total = mg.dot([*real, *imaginary], [*(f.re for f in values), *(f.im for f in values)])
            found.append(SPOT - math.sqrt(SPOT * strike) * math.exp(-RATE * years / 2.0) / math.pi * total)
    return found


def prices_in_numpy(parameters):
    """The same prices by NumPy's complex numbers, all nodes at once."""
    kappa, theta, sigma, rho, v = parameters
    xi = kappa - 0.5 * rho * sigma - 1j * rho * sigma * NODES
    d = np.sqrt(xi * xi + sigma * sigma * (NODES * NODES + 0.25))
    g = (xi - d) / (xi + d)
    found = []
    for years in YEARS:
        fading = np.exp(-d * years)
        by_v = (xi - d) * v / sigma**2 * (1.0 - fading) / (1.0 - g * fading)
        by_theta = ((xi - d) * years - 2.0 * np.log((1.0 - g * fading) / (1.0 - g))) * kappa * theta / sigma**2
        x = np.log(SPOT / STRIKES) + RATE * years
        waves = np.exp(1j * np.outer(x, NODES)) * np.exp(by_v + by_theta)
        total = waves.real @ (WEIGHTS / (NODES * NODES + 0.25))
        found.append(SPOT - np.sqrt(SPOT * STRIKES) * np.exp(-RATE * years / 2.0) / np.pi * total)
    return np.concatenate(found)


def with_scipy(quotes, start=None):
    """The result of SciPy's method with differences, and its time."""
    from scipy.optimize import least_squares

    begin = time.perf_counter()
    start = list((start or GUESS).values())
    result = least_squares(
        lambda x: prices_in_numpy(x) - quotes, start, method="lm", x_scale="jac", xtol=1e-12, ftol=1e-15
    )
    return result, time.perf_counter() - begin


def calibrated(quotes, start=None):
    """The results of both, with their times."""
    start = list((start or GUESS).values())

    def misses(parameters):
        return [a - b for a, b in zip(prices(parameters), quotes, strict=True)]

    def half_square(parameters):
        return 0.5 * mg.sum([x * x for x in misses(parameters)])

    bounds = [(0.01, 20.0), (1e-3, 1.0), (0.01, 5.0), (-0.99, 0.99), (1e-3, 1.0)]
    results = {}
    for name, run in {
        "least_squares": lambda: mg.least_squares(misses, start, method="lm", xtol=1e-12, ftol=1e-15),
        "minimize": lambda: mg.minimize(half_square, start, bounds=bounds, maxiter=1000, ftol=1e-16, gtol=1e-10),
    }.items():
        begin = time.perf_counter()
        results[name] = (run(), time.perf_counter() - begin)
    return results


def jacobian_times(quotes, rounds=21):
    """The median time of a Jacobian: compiled, and by SciPy's differences in NumPy, in turns."""
    from scipy.optimize import approx_fprime

    at = np.array(list(TRUTH.values()))
    ours = mg.compile(mg.jacobian(prices))
    calls = {"compiled": lambda: np.asarray(ours(at)), "differences": lambda: approx_fprime(at, prices_in_numpy)}
    seconds = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    return {name: sorted(each)[len(each) // 2] for name, each in seconds.items()}


def main(scipy=False):
    quotes = [float(x) for x in prices(list(TRUTH.values()))]
    results = calibrated(quotes)
    if scipy:
        results["SciPy's least_squares, differences"] = with_scipy(quotes)
    for name, (result, seconds) in results.items():
        found = ", ".join(f"{key} {x:.6f}" for key, x in zip(TRUTH, result.x, strict=True))
        cost = getattr(result, "cost", result.fun)
        print(
            f"{name}: {seconds:.2f} s with compiling, {result.nfev} evaluations, half the squares {cost:.1e}: {found}"
        )
    if scipy:
        print("a Jacobian:", ", ".join(f"{name} {1e3 * t:.2f} ms" for name, t in jacobian_times(quotes).items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--scipy", action="store_true")
    main(parser.parse_args().scipy)
