"""An LSTM remembers: `python examples/lstm.py [picture.png]`.

The adding problem of Hochreiter & Schmidhuber, Neural Computation 9 (1997), section 5.4: two numbers of a sequence are
marked, and after the last one the net has to give the sum of the two. The cell is written for one time step, in single
numbers, and a Python loop runs it over the sequence; the compiler finds the loop again.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np

import macrograd as mg
from macrograd import Value, optim
from macrograd.compiler.step import TrainingLoop

LENGTH, CELLS, BATCH = 40, 8, 32


class LSTM:
    """One layer of memory cells, and a weighted sum of their outputs after the last input."""

    def __init__(self, inputs, cells, seed=0):
        draw = random.Random(seed)

        def rows():
            return [
                [Value(draw.gauss(0, (inputs + cells) ** -0.5)) for _ in range(inputs + cells)] for _ in range(cells)
            ]

        self.forget, self.enter, self.show, self.new = (
            (rows(), [Value(b) for _ in range(cells)]) for b in (2, 0, 0, 0)
        )
        self.out = [Value(draw.gauss(0, cells**-0.5)) for _ in range(cells)]
        self.bias = Value(0.0)

    def step(self, x, shown, memory):
        """The outputs and memories of the cells after one more input."""
        seen = [*x, *shown]

        def gate(weights, function):
            return [function(mg.dot(row, seen) + b) for row, b in zip(*weights, strict=True)]

        forget, enter, show = (gate(w, mg.sigmoid) for w in (self.forget, self.enter, self.show))
        new = gate(self.new, mg.tanh)
        memory = [f * m + e * n for f, m, e, n in zip(forget, memory, enter, new, strict=True)]
        return [s * mg.tanh(m) for s, m in zip(show, memory, strict=True)], memory

    def __call__(self, sequence):
        shown = memory = [0.0] * len(self.out)
        for x in sequence:
            shown, memory = self.step(x, shown, memory)
        return mg.dot(self.out, shown) + self.bias

    def memories(self, sequence):
        """The memory cells after every input, for the picture."""
        shown = memory = [0.0] * len(self.out)
        found = []
        for x in sequence:
            shown, memory = self.step(x, shown, memory)
            found.append(memory)
        return found

    def loss(self, sequence, target):
        return (self(sequence) - target) ** 2


def sequences(count, length, seed):
    """Pairs (number, mark), of shape (count, length, 2), and the sums of the two marked numbers of each."""
    draw = np.random.default_rng(seed)
    numbers, marks = draw.uniform(0, 1, (count, length)), np.zeros((count, length))
    for row in marks:  # one mark in each half
        row[[draw.integers(length // 2), draw.integers(length // 2, length)]] = 1.0
    return np.stack([numbers, marks], axis=2), (numbers * marks).sum(axis=1)


def train(model, X, y, steps, rate=0.01, seed=0):
    """The loss of each step's batch; Adam in native code, gradients clipped to the norm 1."""
    adam = optim.Adam(lr=optim.cosine(rate, 0.0, steps))
    loss = mg.compile(model.loss, batch=True)
    loop = TrainingLoop(loss, [X, y], adam.rule, adam.initial_state, clip_norm=1.0, batch_size=BATCH)
    rows = np.random.default_rng(seed).integers(len(X), size=steps * BATCH)
    rates = np.array([adam.schedule(k) for k in range(steps)])
    losses = loop.run(rows, np.full(steps, BATCH), rates).losses
    for p, number in zip(loop.parameters, loop.theta.tolist(), strict=True):
        p.data = number
    return losses


def draw(model, losses, X, y, picture):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    first.semilogy(np.convolve(losses, np.full(50, 1 / 50), "valid"))
    first.axhline(y.var(), color="k", linestyle=":", label="predicting the mean")
    first.set(xlabel="step", ylabel="squared error, mean of 50 steps")
    first.legend()
    second.plot(y, mg.compile(model, batch=True)(X), ".", markersize=3)
    second.plot([0, 2], [0, 2], "k:", linewidth=1)
    second.set(xlabel="sum of the two marked numbers", ylabel="prediction")
    third.plot([[m.data for m in memory] for memory in model.memories(X[0].tolist())])
    for k in np.flatnonzero(X[0, :, 1]):
        third.axvline(k, color="k", linestyle=":")
    third.set(xlabel="position (dotted: marks)", ylabel="memory cells over one sequence")
    figure.savefig(picture, dpi=120)


def main(picture, steps=4000):
    model = LSTM(2, CELLS)
    X, y = sequences(4000, LENGTH, seed=1)
    print(f"prediction for one sequence, by single scalars: {model(X[0].tolist()).data:.4f}, target {y[0]:.4f}")
    start = time.perf_counter()
    losses = train(model, X, y, steps)
    print(f"{steps} steps of {BATCH} sequences of {LENGTH} in {time.perf_counter() - start:.1f} s, compiler included")
    X, y = sequences(500, LENGTH, seed=2)
    error = np.mean((mg.compile(model, batch=True)(X) - y) ** 2)
    print(f"mean squared error on new sequences {error:.4f}; of predicting the mean {y.var():.4f}")
    draw(model, losses, X, y, picture)
    print(f"picture: {picture}")


def asked_picture():
    """The picture's path from the command line, checked before the run."""
    options = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    options.add_argument("picture", nargs="?", default="lstm.png", help="a .png, .svg or .pdf file (%(default)s)")
    picture = options.parse_args().picture
    path = Path(picture)
    if path.suffix.lower() not in (".png", ".svg", ".pdf") or path.is_dir() or not path.parent.is_dir():
        options.error(
            f"{picture!r} is not a valid picture path: name a .png, .svg or .pdf file in an existing directory"
        )
    return picture


if __name__ == "__main__":
    main(asked_picture())
