"""Makes docs/images/moons.gif, the README's picture of a net that learns: `python docs/pictures.py`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

import macrograd as mg
from macrograd import datasets, nn, optim
from macrograd.show import boundary, new_figure

STEPS = (0, 1, 2, 3, 4, 6, 8, 10, 12, 15, 18, 21, 25, 30, 35, 40, 46, 52, 60, 70, 80, 90, 100)
PAUSE, LAST = 160, 2500  # milliseconds that a frame is shown


def frame(trainer: mg.Trainer, X: np.ndarray, y: np.ndarray, step: int) -> Image.Image:
    figure = new_figure(6.4, 3.4)
    ax = boundary(trainer.model, X, y, figure.add_subplot(), predict=trainer.outputs)
    right = np.mean(trainer.predict(X) == y)
    ax.set_title(f"step {step}: {right:.0%} right", loc="left", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return Image.open(buffer).convert("RGB")


def main() -> None:
    X, y = datasets.make_moons(100, noise=0.1, seed=1337)
    rate = optim.linear(1.0, 0.1, 100)  # micrograd's
    trainer = mg.Trainer(nn.MLP(2, [16, 16, 1], seed=1337), "hinge", optim.SGD(rate), l2=1e-4)
    frames = []
    for before, step in zip((0, *STEPS), STEPS, strict=False):
        trainer.fit(X, y, steps=step - before, batch_size=None, progress="none")
        frames.append(frame(trainer, X, y, step))
    palette = frames[-1].quantize(64)
    shown = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in frames]
    shown[0].save(
        Path(__file__).parent / "images" / "moons.gif",
        save_all=True,
        append_images=shown[1:],
        duration=[PAUSE] * (len(shown) - 1) + [LAST],
        loop=0,
        optimize=True,
    )


if __name__ == "__main__":
    main()
