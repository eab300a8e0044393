"""A net of single scalars learns the two moons: `python examples/moons.py [picture.png]`.

The same run as `macrograd train moons`, with the training loop written out.
"""

import argparse
from pathlib import Path
from types import SimpleNamespace

import macrograd as mg
from macrograd import datasets, losses, nn

STEPS = 100


def main(picture: str) -> None:
    X, y = datasets.make_moons(100, noise=0.1, seed=1337)
    model = nn.MLP(2, [16, 16, 1], seed=1337)
    parameters = model.parameters()
    print(f"{len(parameters)} parameters")

    history = SimpleNamespace(losses=[], metrics={"accuracy": []})
    for step in range(STEPS):
        # Forward: a score for every sample, a loss for every score. The hinge loss wants the classes as −1 and +1.
        scores = [model(point) for point in X.tolist()]
        targets = [1 if label == 1 else -1 for label in y.tolist()]
        data_loss = mg.mean(losses.hinge(score, target) for score, target in zip(scores, targets, strict=True))
        loss = data_loss + 1e-4 * mg.sum(p * p for p in parameters)

        # Backward: one call gives the derivative of the loss by every parameter.
        model.zero_grad()
        loss.backward()

        # Downhill, in ever smaller steps.
        learning_rate = 1.0 - 0.9 * step / STEPS
        for p in parameters:
            p.data -= learning_rate * p.grad

        right = sum((score.data > 0) == (target > 0) for score, target in zip(scores, targets, strict=True))
        history.losses.append(loss.data)
        history.metrics["accuracy"].append(right / len(X))
        if step % 10 == 0 or step == STEPS - 1:
            print(f"step {step} loss {loss.data}, accuracy {100 * right / len(X):.1f}%")

    mg.show.save(mg.show.training_figure(model, X, y, history), picture)
    print(f"picture: {picture}")


def asked_picture() -> str:
    """The picture's path from the command line, checked before the run."""
    options = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    options.add_argument("picture", nargs="?", default="moons.png", help="a .png, .svg or .pdf file (%(default)s)")
    picture = options.parse_args().picture
    path = Path(picture)
    if path.suffix.lower() not in (".png", ".svg", ".pdf") or path.is_dir() or not path.parent.is_dir():
        options.error(
            f"{picture!r} is not a valid picture path: name a .png, .svg or .pdf file in an existing directory"
        )
    return picture


if __name__ == "__main__":
    main(asked_picture())
