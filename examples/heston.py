"""Heston's model calibrated to option prices: `python examples/heston.py`.

The price of a call is an integral of the model's characteristic function, written with pairs of numbers in place of
complex ones. `mg.least_squares` (Levenberg and Marquardt, with the compiled Jacobian) runs beside `mg.minimize` (the
compiled gradient of the sum of squares).
"""

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


def main():
    quotes = [float(x) for x in prices(list(TRUTH.values()))]
    for name, (result, seconds) in calibrated(quotes).items():
        found = ", ".join(f"{key} {x:.6f}" for key, x in zip(TRUTH, result.x, strict=True))
        cost = getattr(result, "cost", result.fun)
        print(
            f"{name}: {seconds:.2f} s with compiling, {result.nfev} evaluations, half the squares {cost:.1e}: {found}"
        )


if __name__ == "__main__":
    main()
