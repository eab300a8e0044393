"""Pictures: computation graphs as drawings, decision boundaries and training curves as matplotlib figures.

`draw` needs the extra "draw", the figures need the extra "plot"; each is imported when first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from macrograd.show._figure import new_figure, plain, save, tidy
from macrograd.show.activations import activations
from macrograd.show.attribution import attribution
from macrograd.show.boundary import boundary
from macrograd.show.draw import Drawing, draw
from macrograd.show.folded import FoldedDrawing
from macrograd.show.gradients import gradients
from macrograd.show.history import curves, history
from macrograd.show.landscape import landscape
from macrograd.show.live import live
from macrograd.show.sweep import sweep
from macrograd.show.weights import weights


def training_figure(
    model: Callable[[Any], Any],
    X: Any,
    y: Any,
    history: Any = None,
    *,
    predict: Callable[[Any], Any] | None = None,
    level: float = 0.0,
) -> Any:
    """A matplotlib figure with `boundary` and `history` side by side.

    `save(figure, path)` or `figure.savefig(path)` writes it. Arguments and errors are those of the two functions; the
    history may be left out if `model` is a Trainer.
    """
    figure = new_figure(11.0, 4.4)
    grid = figure.add_gridspec(2, 2, width_ratios=[3, 2], height_ratios=[2, 3])
    boundary(model, X, y, figure.add_subplot(grid[:, 0]), predict=predict, level=level)
    curves(model if history is None else history, figure, grid)
    return figure


__all__ = [
    "Drawing",
    "FoldedDrawing",
    "activations",
    "attribution",
    "boundary",
    "curves",
    "draw",
    "gradients",
    "history",
    "landscape",
    "live",
    "new_figure",
    "plain",
    "save",
    "sweep",
    "tidy",
    "training_figure",
    "weights",
]
