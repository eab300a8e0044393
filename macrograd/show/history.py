"""Training curves: the loss and a metric, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.show._figure import COLOURS, INK, LARGEST, Panel, checked_axes, new_figure, plain, tidy

Floats = NDArray[np.floating[Any]]

# If the loss spans more than this factor, a linear scale shows only the first steps and a flat line.
_LOG_FROM = 30.0

_VALIDATION = "validation_"  # as `fit` names the metrics of validation data
_HEALTH = "health."  # and those of layers


def history(history: Any, ax: Any = None) -> Any:
    """Draw the loss of every step and the metric, if there is one; return the axes of the loss.

    Those of the validation data are drawn beside them. A notebook displays the axes of a new figure as the picture.

    `history` is a `train.History`, a Trainer (its latest fit), or any object with a list `losses` and optionally
    `metrics`: a dict of lists by name, of which "accuracy" (0 to 1) or else the first is drawn, or a list of
    accuracies. Names that begin with "validation_" are those of the validation data. The loss is drawn on a logarithmic
    scale if it spans more than a factor of 30. `ax` is one matplotlib axes for both curves, the metric with a separate
    scale, or a pair of axes, the first for the metric and the second for the loss; None for a new figure.

    Raises TypeError for something without `losses`, ValueError for an empty history, ImportError without matplotlib.
    """
    losses = getattr(history, "losses", None)
    if losses is None and hasattr(history, "history"):
        history = history.history
        losses = getattr(history, "losses", None)
    if losses is None:
        raise TypeError(
            f"history() takes a training history with a list 'losses', got {history!r} of type {type(history).__name__}"
        )
    losses = _numbers(losses)
    if not len(losses):
        raise ValueError("history() got a history with no steps: train first, then draw")
    shown = metric(history)
    if ax is None:
        figure = new_figure(6.0, 4.5 if shown else 3.5)
        ax = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3]) if shown else figure.add_subplot()
    pair = isinstance(ax, (list, tuple, np.ndarray)) and len(ax) == 2
    above, below = ax if pair else (None, ax)
    panel = Panel(checked_axes(below))
    held_out = _validation(history, "loss")
    _draw_loss(below, losses, held_out, _places(history, held_out, len(losses)))
    drawn = [below]
    if shown:
        if above is None:
            above = _beside(below)
            drawn.append(above)
        else:
            checked_axes(above).grid(axis="y", color=INK, alpha=0.08)
        name, values = shown
        _draw_metric(above, name, values, _validation(history, name), _places(history, values, len(losses)))
    if len(held_out):
        _draw_legend(below, above)
    if not pair:
        panel.keep(*drawn)
    return below


def curves(run: Any, figure: Any, grid: Any) -> None:
    """Draw `history(run)` into the second column of a figure's grid of two rows and columns: the metric, if there is
    one, above the loss."""
    if metric(getattr(run, "history", run)):
        below = figure.add_subplot(grid[1, 1])
        above = figure.add_subplot(grid[0, 1], sharex=below)
        above.tick_params(labelbottom=False)
        history(run, (above, below))
    else:
        history(run, figure.add_subplot(grid[:, 1]))


def metric(history: Any) -> tuple[str, Floats] | None:
    """The name and values of the metric to draw; None if there is none."""
    found = getattr(history, "metrics", None)
    if isinstance(found, dict):
        names = [name for name in found if not name.startswith((_VALIDATION, _HEALTH))]
        name = "accuracy" if "accuracy" in names else next(iter(names), "")
        found = found.get(name)
    else:
        name = "accuracy"
    values = _numbers(found if found is not None else [])
    return (name, values) if np.isfinite(values).any() else None


def _validation(history: Any, name: str) -> Floats:
    """The numbers of the validation data; none if there are none."""
    found = getattr(history, "metrics", None)
    values = _numbers(found.get(_VALIDATION + name, [])) if isinstance(found, dict) else np.array([])
    return values if np.isfinite(values).any() else np.array([])


def _places(history: Any, values: Floats, n_steps: int) -> Floats:
    """The steps after which metrics were computed, counted from 0: the history's, or those of equal epochs."""
    steps = getattr(history, "metric_steps", ())
    if len(steps) == len(values) or not len(values):
        return np.array(steps[: len(values)], dtype=float) - 1.0
    return np.arange(1.0, len(values) + 1.0) * (n_steps / len(values)) - 1.0


def _draw_loss(ax: Any, losses: Floats, held_out: Floats, places: Floats) -> None:
    ax.plot(np.arange(len(losses)), losses, color=COLOURS[0], **_line(losses))
    if len(held_out):
        ax.plot(places, held_out, color=INK, linestyle="--", **_line(held_out))
    both = np.concatenate([losses, held_out])
    finite = both[np.isfinite(both)]
    if len(finite) and finite.min() > 0.0 and finite.max() > _LOG_FROM * finite.min():
        _logarithmic(ax)
    elif len(finite) and finite.min() >= 0.0:
        ax.set_ylim(bottom=0.0)
    ax.set(xlabel="step", ylabel="loss", xlim=(0, max(len(losses) - 1, 1)))
    ax.grid(axis="y", color=INK, alpha=0.08)
    tidy(ax)
    ax.yaxis.label.set_color(COLOURS[0])


def _logarithmic(ax: Any) -> None:
    """A logarithmic scale with numbers such as 0.2 where matplotlib writes 2 × 10⁻¹."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""  # there is no room for all

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(Plain())
    ax.yaxis.set_minor_formatter(Plain(labelOnlyBase=False))


def _draw_metric(ax: Any, name: str, values: Floats, held_out: Floats, places: Floats) -> None:
    if name == "accuracy":
        values, held_out = 100.0 * values, 100.0 * held_out
        least = float(np.nanmin(np.concatenate([values, held_out])))
        ax.set(ylabel="accuracy (%)", ylim=(min(50.0, least) - 2.0, 102.0))
    else:
        ax.set(ylabel=plain(name.replace("_", " ")))
    ax.plot(places, values, color=COLOURS[1], **_line(values))
    if len(held_out) == len(places):
        ax.plot(places, held_out, color=INK, linestyle="--", **_line(held_out))
    tidy(ax)
    ax.yaxis.label.set_color(COLOURS[1])


def _draw_legend(below: Any, above: Any) -> None:
    """One legend for both panels, above them: inside, it would cover a line."""
    from matplotlib.legend_handler import HandlerTuple

    panels = [below] if above is None else [above, below]
    training, validation = tuple(panel.lines[0] for panel in panels), below.lines[1]
    for columns in (2, 1):
        legend = panels[0].legend(
            [training, validation], ["training", "validation"], handler_map={tuple: HandlerTuple(None, pad=0.0)},
            ncols=columns, columnspacing=1.2, loc="lower right", bbox_to_anchor=(1.0, 0.99), frameon=False, fontsize=10,
        )  # fmt: skip
        if legend.get_window_extent().width <= panels[0].bbox.width:
            break


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
