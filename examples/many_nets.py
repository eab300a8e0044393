"""Many small nets trained at once on the two moons: `python examples/many_nets.py [picture.png]`.

Left: an ensemble of nets that differ in their start and the order of their samples. They agree on the moons and
disagree away from them, which their spread shows. Middle: rate × width as a heat map, one net in each place. Right: an
evolution strategy. In each generation every net trains for a few steps. The quarter with the lowest validation loss has
children, which begin with the numbers of a parent, and with its learning rate times a random factor.
"""

import argparse
import math
import random
import warnings
from pathlib import Path

import numpy as np

import macrograd as mg
from macrograd import datasets, nn, optim

X, Y = datasets.make_moons(100, noise=0.15, seed=1)
HELD = datasets.make_moons(100, noise=0.15, seed=2)


def ensemble(count, epochs):
    """Nets of other starts, as one model."""

    def make(k):
        return mg.Trainer(nn.MLP(2, [16, 16, 1], seed=k), optimizer=optim.Adam(0.01))

    return mg.Ensemble(mg.train_many(make, X, Y, count=count, epochs=epochs))


def heat_map(rates, widths, epochs):
    """The validation loss of a net of each width, trained at each rate."""
    places = [(rate, width) for width in widths for rate in rates]

    def make(k):
        rate, width = places[k]
        return mg.Trainer(nn.MLP(2, [width, 1], seed=1), optimizer=optim.SGD(rate))

    with warnings.catch_warnings():  # of places that learn nothing, which the map shows
        warnings.simplefilter("ignore", mg.train.TrainingWarning)
        many = mg.train_many(make, X, Y, count=len(places), epochs=epochs, validation=HELD)
    losses = [history.metrics.get("validation_loss", [math.nan])[-1] for history in many.histories]
    return np.array(losses).reshape(len(widths), len(rates))


def evolution(population, generations, epochs, seed=0):
    """(the lowest validation loss and the rate of its net, by generation)."""
    draw = random.Random(seed)
    nets = [nn.MLP(2, [8, 8, 1], seed=k) for k in range(population)]
    rates = [10 ** draw.uniform(-5, 0) for _ in nets]
    found = []
    for generation in range(generations):
        trainers = [mg.Trainer(net, optimizer=optim.SGD(rate)) for net, rate in zip(nets, rates, strict=True)]
        with warnings.catch_warnings():  # of rates that are too large, which have no children
            warnings.simplefilter("ignore", mg.train.TrainingWarning)
            many = mg.train_many(trainers, X, Y, epochs=epochs, validation=HELD, seed=generation * population)
        losses = [history.metrics.get("validation_loss", [math.inf])[-1] for history in many.histories]
        order = sorted(range(population), key=lambda k: (not math.isfinite(losses[k]), losses[k]))
        found.append((losses[order[0]], rates[order[0]]))
        parents = order[: population // 4]
        for child in order[population // 4 :]:
            parent = draw.choice(parents)
            for mine, theirs in zip(nets[child].parameters(), nets[parent].parameters(), strict=True):
                mine.data = theirs.data
            rates[child] = rates[parent] * math.exp(draw.gauss(0, 0.7))
    return found


def draw(model, losses, rates, widths, evolved, picture):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    across, up = np.meshgrid(np.linspace(-2.5, 3.5, 80), np.linspace(-2, 2.5, 80))
    spread = model.spread(np.stack([across.ravel(), up.ravel()], axis=1))[:, 1].reshape(across.shape)
    shown = left.contourf(across, up, spread, levels=12, cmap="viridis")
    left.scatter(*X.T, c=Y, cmap="coolwarm", edgecolors="white", s=18)
    figure.colorbar(shown, ax=left, label="spread of the probability")
    left.set_title(f"{len(model)} nets disagree away from the samples")
    shown = middle.imshow(np.minimum(losses, 1.0), origin="lower", aspect="auto", cmap="viridis_r")
    middle.set_xticks(range(len(rates)), [f"{rate:.2g}" for rate in rates])
    middle.set_yticks(range(len(widths)), widths)
    middle.set(xlabel="learning rate", ylabel="width", title="validation loss")
    figure.colorbar(shown, ax=middle)
    right.semilogy([loss for loss, _ in evolved], "o-", label="lowest validation loss")
    right.semilogy([rate for _, rate in evolved], "s--", label="its rate")
    right.set(xlabel="generation", title="evolution of nets and rates")
    right.legend()
    figure.savefig(picture, dpi=120)


def main(picture, count=20, epochs=100):
    model = ensemble(count, epochs)
    near, far = model.spread(X).mean(), model.spread(X + 4.0).mean()
    print(f"ensemble: accuracy {np.mean(model.predict(HELD[0]) == HELD[1]):.2f}, spread {near:.3f}, far away {far:.3f}")
    rates, widths = [0.003 * 4**k for k in range(6)], [1, 2, 4, 8, 16]
    losses = heat_map(rates, widths, epochs // 2)
    row, column = np.unravel_index(np.nanargmin(losses), losses.shape)
    print(
        f"heat map: the lowest loss {losses[row, column]:.3f} with {widths[row]} neurons and rate {rates[column]:.2g}"
    )
    evolved = evolution(4 * count, 12, max(1, epochs // 20))
    print(f"evolution: validation loss {evolved[0][0]:.3f} → {evolved[-1][0]:.3f}, rate {evolved[-1][1]:.2g}")
    draw(model, losses, rates, widths, evolved, picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    options.add_argument("picture", nargs="?", default="many_nets.png", help="a .png, .svg or .pdf file (%(default)s)")
    path = Path(options.parse_args().picture)
    if path.suffix.lower() not in (".png", ".svg", ".pdf") or path.is_dir() or not path.parent.is_dir():
        options.error(
            f"{str(path)!r} is not a valid picture path: name a .png, .svg or .pdf file in an existing directory"
        )
    main(path)
