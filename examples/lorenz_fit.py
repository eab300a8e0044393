"""From noisy observations back to the Lorenz system: `python examples/lorenz_fit.py [picture.png]`.

The simulation is a plain loop of 1,000 steps over single numbers. Its gradient with respect to the three parameters and
the initial state is exact, takes microseconds, and leads Adam to the numbers behind the observations.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np

import macrograd as mg
from macrograd import Value, optim

STEPS, DT, EVERY = 1000, 0.002, 5  # Euler steps, their length, and steps per observation
TRUTH = {"σ": 10.0, "ρ": 28.0, "β": 8 / 3, "x": -8.0, "y": 7.0, "z": 27.0}
GUESS = {"σ": 7.0, "ρ": 22.0, "β": 1.5, "x": -6.0, "y": 5.0, "z": 25.0}


def simulate(sigma, rho, beta, x, y, z):
    """The observed states, as numbers or Values. Source: Lorenz, J. Atmos. Sci. 20 (1963), eq. 25–27."""
    states = []
    for step in range(1, STEPS + 1):
        dx, dy, dz = sigma * (y - x), x * (rho - z) - y, x * y - beta * z
        x, y, z = x + DT * dx, y + DT * dy, z + DT * dz
        if step % EVERY == 0:
            states.append((x, y, z))
    return states


def observations(noise, seed=0):
    draw = random.Random(seed)
    return np.array([[v + draw.gauss(0, noise) for v in state] for state in simulate(*TRUTH.values())])


def fit(observed, steps):
    """The parameters found, and the mean squared error before each step."""
    parameters = {name: Value(number, name) for name, number in GUESS.items()}

    def error(observed):
        states = simulate(*parameters.values())
        return mg.mean((a - b) ** 2 for s, o in zip(states, observed, strict=True) for a, b in zip(s, o, strict=True))

    compiled = mg.compile(error)
    adam = optim.Adam(lr=optim.cosine(0.3, 0.0, steps))
    errors = []
    for _ in range(steps):
        for p in parameters.values():
            p.grad = 0.0
        errors.append(compiled.backward(observed))
        adam.step(parameters.values())
    return {name: p.data for name, p in parameters.items()}, errors


def draw(observed, found, errors, picture):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    times = DT * EVERY * np.arange(1, len(observed) + 1)
    for k, name in enumerate("xyz"):
        left.plot(times, observed[:, k], ".", color=f"C{k}", markersize=3, alpha=0.5)
        left.plot(times, np.array(simulate(*found.values()))[:, k], color=f"C{k}", label=name)
        left.plot(times, np.array(simulate(*GUESS.values()))[:, k], ":", color=f"C{k}")
    left.set(xlabel="time", title="observed (dots), first guess (dotted), fitted (lines)")
    left.legend(loc="upper left")
    right.semilogy(errors)
    right.set(xlabel="step", ylabel="mean squared error", title="1,000 Euler steps, differentiated")
    figure.savefig(picture, dpi=120)


def main(picture, steps=2000, noise=1.0):
    observed = observations(noise)
    start = time.perf_counter()
    found, errors = fit(observed, steps)
    print(f"{steps} gradients of {STEPS} steps in {time.perf_counter() - start:.2f} s, compiler included")
    print(f"mean squared error {errors[0]:.3f} → {errors[-1]:.3f}, of which {noise**2:.3f} is noise")
    for name, true in TRUTH.items():
        print(f"{name} {GUESS[name]:7.3f} → {found[name]:7.3f}  true {true:7.3f}")
    draw(observed, found, errors, picture)
    print(f"picture: {picture}")


def asked_picture():
    """The picture's path from the command line, checked before the run."""
    options = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    options.add_argument("picture", nargs="?", default="lorenz_fit.png", help="a .png, .svg or .pdf file (%(default)s)")
    picture = options.parse_args().picture
    path = Path(picture)
    if path.suffix.lower() not in (".png", ".svg", ".pdf") or path.is_dir() or not path.parent.is_dir():
        options.error(
            f"{picture!r} is not a valid picture path: name a .png, .svg or .pdf file in an existing directory"
        )
    return picture


if __name__ == "__main__":
    main(asked_picture())
