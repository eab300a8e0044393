"""Training curves: the loss and a metric, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.show._figure import COLOURS, INK, LARGEST, checked_axes, new_figure, plain, tidy

Floats = NDArray[np.floating[Any]]

# If the loss spans more than this factor, a linear scale shows only the first steps and a flat line.
_LOG_FROM = 30.0


def history(history: Any, ax: Any = None) -> Any:
    """Draw the loss of every step and the metric, if there is one; return the axes of the loss.

    `history` is a `train.History`, or any object with a list `losses` and optionally `metrics`: a dict of lists by
    name, of which "accuracy" (0 to 1) or else the first is drawn, or a list of accuracies. The loss is drawn on a
    logarithmic scale if it spans more than a factor of 30. `ax` is one matplotlib axes for both curves, the metric with
    a separate scale, or a pair of axes, the first for the metric and the second for the loss; None for a new figure.

    Raises TypeError for something without `losses`, ValueError for an empty history, ImportError without matplotlib.
    """
    losses = getattr(history, "losses", None)
    if losses is None:
        raise TypeError(f"history() takes a training history with a list 'losses', got a {type(history).__name__}")
    losses = _numbers(losses)
    if not len(losses):
        raise ValueError("history() got a history with no steps: train first, then draw")
    shown = metric(history)
    if ax is None:
        figure = new_figure(6.0, 4.5 if shown else 3.5)
        ax = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3]) if shown else figure.add_subplot()
    pair = isinstance(ax, (list, tuple, np.ndarray)) and len(ax) == 2
    above, below = ax if pair else (None, ax)
    _draw_loss(checked_axes(below), losses)
    if shown:
        if above is None:
            above = _beside(below)
        else:
            checked_axes(above).grid(axis="y", color=INK, alpha=0.08)
        _draw_metric(above, *shown, n_steps=len(losses))
    return below


def metric(history: Any) -> tuple[str, Floats] | None:
    """The name and values of the metric to draw; None if there is none."""
    found = getattr(history, "metrics", None)
    if isinstance(found, dict):
        name = "accuracy" if "accuracy" in found else next(iter(found), "")
        found = found.get(name)
    else:
        name = "accuracy"
    values = _numbers(found if found is not None else [])
    return (name, values) if np.isfinite(values).any() else None


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


def _draw_metric(ax: Any, name: str, values: Floats, n_steps: int) -> None:
    if name == "accuracy":
        values = 100.0 * values
        ax.set(ylabel="accuracy (%)", ylim=(min(50.0, float(np.nanmin(values))) - 2.0, 102.0))
    else:
        ax.set(ylabel=plain(name.replace("_", " ")))
    # A value per epoch, for example, is drawn at the epoch's last step.
    places = np.arange(1.0, len(values) + 1.0) * (n_steps / len(values)) - 1.0
    ax.plot(places, values, color=COLOURS[1], **_line(values))
    tidy(ax)
    ax.yaxis.label.set_color(COLOURS[1])


def _line(values: Floats) -> dict[str, Any]:
    # A single step is drawn as a point: a line through one point is invisible.
    return {"linewidth": 2.0, "marker": "o" if len(values) == 1 else ""}


def _beside(ax: Any) -> Any:
    """Axes on top of `ax` with the same steps and a separate scale on the right."""
    twin = ax.twinx()
    twin.spines[["left", "bottom"]].set_visible(False)
    return twin


def _numbers(values: Any) -> Floats:
    """A list of numbers as an array, with NaN for None and for numbers too large for any scale."""
    numbers = np.array([np.nan if x is None else float(x) for x in values])
    return np.where(np.abs(numbers) < LARGEST, numbers, np.nan)
