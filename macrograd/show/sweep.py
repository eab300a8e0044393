"""The results of a sweep: for each hyperparameter, how the score depends on it."""

from __future__ import annotations

import math
from typing import Any

from macrograd.show._figure import COLOURS, FAINT, new_figure, plain, tidy

_PANELS = 6
_LOG_FROM = 30.0  # numbers that span more than this factor get a logarithmic axis


def sweep(found: Any) -> Any:
    """A matplotlib figure of a `tuning.Sweep`: a panel for each of the first six hyperparameters, with a dot for each
    of the settings, larger for those that reached the last rung. `save(figure, path)` writes it.

    Raises TypeError for anything else, ValueError if no fit has a score, ImportError without matplotlib.
    """
    if not hasattr(found, "lines"):
        raise TypeError(f"sweep() draws what mg.sweep returned, got {found!r} of type {type(found).__name__}")
    lines = [line for line in found.lines if math.isfinite(line.score)]
    if not lines:
        raise ValueError("sweep() has nothing to draw: every fit diverged")
    names = list(found.names)[:_PANELS]
    figure = new_figure(3.2 * len(names), 3.2)
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    last = max(line.rung for line in lines)
    for ax, name in zip(axes, names, strict=True):
        _panel(ax, name, lines, last)
    axes[0].set_ylabel(plain(f"{found.metric} on held-out rows"))
    return figure


def _panel(ax: Any, name: str, lines: list[Any], last: int) -> None:
    values = [line.values[name] for line in lines]
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if numbers:
        places = [float(value) for value in values]
        if min(places) > 0 and max(places) / min(places) > _LOG_FROM:
            ax.set_xscale("log")
    else:
        labels = sorted({str(value) for value in values})
        places = [float(labels.index(str(value))) for value in values]
        ax.set_xticks(range(len(labels)), [plain(label) for label in labels])
    for line, place in zip(lines, places, strict=True):
        done = line.rung == last
        ax.plot([place], [line.score], "o", ms=6 if done else 3, color=COLOURS[0] if done else FAINT, alpha=0.7)
    ax.plot(places[:1], [lines[0].score], "o", ms=9, mfc="none", color=COLOURS[1])  # the best
    ax.set_xlabel(plain(name))
    tidy(ax)
