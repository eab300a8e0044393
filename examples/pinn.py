"""A net that obeys an equation: `python examples/pinn.py [picture.png]`.

A damped oscillator u″ + 2ζω·u′ + ω²·u = 0 with u(0) = 1, u′(0) = 0. The net sees only the equation, not its solution:
the loss is the squared residual, so u′ and u″ are derivatives inside the loss, which is differentiated again. Source:
Raissi, Perdikaris & Karniadakis, J. Comput. Phys. 378 (2019).
"""

import argparse
import time
from pathlib import Path

import numpy as np

import macrograd as mg
from macrograd import Value, nn, optim
from macrograd.compiler.step import TrainingLoop

OMEGA, ZETA = 12.0, 0.15


def exact(t):
    """The solution, for comparison."""
    damped = OMEGA * np.sqrt(1 - ZETA**2)
    return np.exp(-ZETA * OMEGA * t) * (np.cos(damped * t) + ZETA * OMEGA / damped * np.sin(damped * t))


class Oscillator:
    """u(t) = 1 + t²·net(t), which satisfies the initial conditions for any net."""

    def __init__(self, width=16, seed=0):
        self.net = nn.MLP(1, [width, width, 1], activation="tanh", seed=seed)
        self.slope = mg.grad(self.position)
        self.bend = mg.grad(self.slope)

    def position(self, t):
        # The net sees time scaled to −2 … 2: the weights of its first layer start at about 1.
        return 1.0 + t * t * OMEGA * self.net([4.0 * t - 2.0])

    def residual(self, t):
        """The equation's left side at t, in units of ω²; 0 for a solution."""
        u, du, ddu = self.position(t), self.slope(t), self.bend(t)
        return ddu / OMEGA**2 + 2 * ZETA / OMEGA * du + u

    def loss(self, t):
        return self.residual(t) ** 2


def train(model, steps, points=64):
    """Adam in native code, on points evenly spaced in time from 0 to 1; the loss before each step."""
    loss, adam = mg.compile(model.loss, batch=True), optim.Adam(lr=optim.cosine(1e-2, 0.0, steps))
    loop = TrainingLoop(loss, [(np.arange(points) + 0.5) / points], adam.rule, adam.initial_state, batch_size=points)
    rows, rates = np.tile(np.arange(points), steps), [adam.schedule(k) for k in range(steps)]
    losses = loop.run(rows, np.full(steps, points), np.array(rates)).losses
    for p, number in zip(loop.parameters, loop.theta.tolist(), strict=True):
        p.data = number
    return losses


def draw(model, losses, picture):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    times = np.linspace(0, 1, 200)
    left.plot(times, exact(times), "k", alpha=0.3, linewidth=4, label="exact")
    left.plot(times, mg.compile(model.position, batch=True)(times), label="net")
    left.plot(times, mg.compile(model.residual, batch=True)(times), "--", label="residual")
    left.set(xlabel="t", title="u″ + 2ζω·u′ + ω²·u = 0")
    left.legend()
    right.semilogy(losses)
    right.set(xlabel="step", ylabel="mean squared residual")
    figure.savefig(picture, dpi=120)


def main(picture, steps=20000):
    model = Oscillator()
    t = Value(0.3)
    seen = [f(t).data for f in (model.position, model.slope, model.bend, model.loss)]
    print(f"{len(model.net.parameters())} parameters; at t = {t.data} ", end="")
    print("u = {:.4f}, u′ = {:.4f}, u″ = {:.4f}, and the loss is {:.4f}".format(*seen))
    start = time.perf_counter()
    losses = train(model, steps)
    print(f"{steps} steps in {time.perf_counter() - start:.1f} s, compiler included")
    times = np.linspace(0, 1, 200)
    off = np.abs(mg.compile(model.position, batch=True)(times) - exact(times)).max()
    print(f"loss {losses[0]:.2e} → {losses[-1]:.2e}, largest difference from the solution {off:.1e}")
    draw(model, losses, picture)
    print(f"picture: {picture}")


def asked_picture():
    """The picture's path from the command line, checked before the run."""
    options = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    options.add_argument("picture", nargs="?", default="pinn.png", help="a .png, .svg or .pdf file (%(default)s)")
    picture = options.parse_args().picture
    path = Path(picture)
    if path.suffix.lower() not in (".png", ".svg", ".pdf") or path.is_dir() or not path.parent.is_dir():
        options.error(
            f"{picture!r} is not a valid picture path: name a .png, .svg or .pdf file in an existing directory"
        )
    return picture


if __name__ == "__main__":
    main(asked_picture())
