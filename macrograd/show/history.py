"""How training went: loss and accuracy, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.show._figure import COLOURS, INK, checked_axes, new_figure, tidy

Floats = NDArray[np.floating[Any]]

# From here on a linear scale shows the first steps and a flat line.
_LOG_FROM = 30.0


def history(history: Any, ax: Any = None) -> Any:
    """Draw the loss of every step and, where there is one, the accuracy; the axes of the loss.

    `history` is what a Trainer's `fit` returns: it has a list `losses` and, for classes, a list `metrics` with the
    accuracies from 0 to 1, one for each step or for each of equally many steps. The loss is on a logarithmic scale
    where it spans more than a factor of 30. `ax` are matplotlib axes for both curves, the accuracy with a scale of its
    own, or a pair of axes, one for the accuracy and one for the loss; None for those of a new figure.

    Raises TypeError for something without `losses`, ValueError for an empty history, ImportError without matplotlib.
    """
    losses = _curve(getattr(history, "losses", None))
    if losses is None:
        raise TypeError(f"history() takes a training history with a list 'losses', got a {type(history).__name__}")
    if not len(losses):
        raise ValueError("history() got a history with no steps: train first, then draw")
    accuracies = _curve(getattr(history, "metrics", None))
    has_accuracy = accuracies is not None and bool(np.isfinite(accuracies).any())
    if ax is None:
        figure = new_figure(6.0, 4.5 if has_accuracy else 3.5)
        ax = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3]) if has_accuracy else figure.add_subplot()
    try:
        above, below = ax
    except TypeError:
        above, below = None, ax
    _draw_loss(checked_axes(below), losses)
    if accuracies is not None and has_accuracy:
        # One for each epoch, say, stands at the epoch's last step.
        places = np.arange(1.0, len(accuracies) + 1.0) * (len(losses) / len(accuracies)) - 1.0
        if above is None:
            above = _beside(below)
        else:
            checked_axes(above).grid(axis="y", color=INK, alpha=0.08)
        _draw_accuracy(above, places, 100.0 * accuracies)
    return below


def _draw_loss(ax: Any, losses: Floats) -> None:
    ax.plot(np.arange(len(losses)), losses, color=COLOURS[0], **_line(losses))
    finite = losses[np.isfinite(losses)]
    if len(finite) and finite.min() > 0.0 and finite.max() > _LOG_FROM * finite.min():
        ax.set_yscale("log")
    elif len(finite) and finite.min() >= 0.0:
        ax.set_ylim(bottom=0.0)
    ax.set(xlabel="step", ylabel="loss", xlim=(0, max(len(losses) - 1, 1)))
    ax.grid(axis="y", color=INK, alpha=0.08)
    tidy(ax)
    ax.yaxis.label.set_color(COLOURS[0])


def _draw_accuracy(ax: Any, places: Floats, percent: Floats) -> None:
    ax.plot(places, percent, color=COLOURS[1], **_line(percent))
    ax.set(ylabel="accuracy (%)", ylim=(min(50.0, float(np.nanmin(percent))) - 2.0, 102.0))
    tidy(ax)
    ax.yaxis.label.set_color(COLOURS[1])


def _line(values: Floats) -> dict[str, Any]:
    # A single step is a point, and a line through one point is nothing.
    return {"linewidth": 2.0, "marker": "o" if len(values) == 1 else ""}


def _beside(ax: Any) -> Any:
    """Axes on top of `ax` with the same steps and a scale of their own on the right."""
    twin = ax.twinx()
    twin.spines[["left", "bottom"]].set_visible(False)
    return twin


def _curve(values: Any) -> Floats | None:
    """A list of numbers as an array, NaN for None; None for None."""
    return None if values is None else np.array([np.nan if x is None else float(x) for x in values])
