"""The loss around the current parameters, in a plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.nn import Module, Neuron
from macrograd.show._figure import COLOURS, FAINT, INK, LARGEST, checked_axes, new_figure, tidy
from macrograd.show._subject import loss_of, model_of

_SIDE = 41
_LOG_FROM = 30.0
_LEVELS = 16


def landscape(
    model: Any,
    X: Any,
    y: Any,
    *,
    loss: str | Callable[..., Any] | None = None,
    span: float = 1.0,
    seed: int = 0,
    ax: Any = None,
) -> Any:
    """Draw the mean loss over samples X and targets y in a plane through the current parameters; return the axes.

    The plane is spanned by two random directions. In each, the weights of a neuron get random numbers with the norm of
    the neuron's own weights, so that a step of 1 changes every neuron by its own size, and landscapes of different nets
    can be compared. The point in the middle is the model as it is.

    model  a Trainer, or a Module with a loss (by name or as a function of a prediction and a target)
    span   how far the plane extends in each direction, in units of those norms
    seed   of the directions
    ax     matplotlib axes; None for a new figure, which a notebook displays

    No parameter is changed. Raises TypeError for another model, ValueError for data that do not fit, a span that is not
    positive, and a model whose loss is nowhere finite; ImportError without matplotlib.

    Source: Li, Xu, Taylor, Studer & Goldstein, *Visualizing the Loss Landscape of Neural Nets*, NeurIPS 2018,
    arXiv:1712.09913, §4 (filter-wise normalised directions).
    """
    if not (isinstance(span, (int, float)) and 0.0 < span < float("inf")):
        raise ValueError(f"landscape() takes a finite positive span, got {span!r}")
    function, arguments = loss_of(model, X, y, loss, "landscape")
    steps, heights = plane(function, arguments, model_of(model, "landscape"), span, seed)
    finite = np.abs(heights) < LARGEST
    if not finite.any():
        raise ValueError("landscape() has nothing to draw: the loss is not finite anywhere around these parameters")
    if ax is None:
        ax = new_figure(5.6, 4.6).add_subplot()
    _draw(checked_axes(ax), steps, np.where(finite, heights, np.nan))
    ax.plot([0.0], [0.0], "o", ms=7, color=COLOURS[1], markeredgecolor="white", zorder=3)
    ticks = [-span, -span / 2, 0.0, span / 2, span]
    ax.set(xlabel="direction 1", ylabel="direction 2", aspect="equal", xticks=ticks, yticks=ticks)
    tidy(ax)
    return ax


def plane(
    function: Any, arguments: tuple[Any, ...], model: Module, span: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(the steps along each direction, the mean of a compiled function at [step along the second, along the first])."""
    function(*arguments)  # traced: from now on it knows its parameters
    theta = np.array(function.theta(), dtype=np.float64)
    rng = np.random.default_rng(seed)
    across, up = (_direction(model, function.parameters, theta, rng) for _ in range(2))
    steps = np.linspace(-span, span, _SIDE)
    rows = [[function.value(theta + a * across + b * up, *arguments) for a in steps] for b in steps]
    return steps, np.mean(rows, axis=2)


def _direction(
    model: Module, parameters: list[Any], theta: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Random numbers, one for each parameter, with the norm of those of its neuron; 0 for biases.

    Parameters that belong to no neuron count as one."""
    found = rng.standard_normal(len(theta))
    place = {id(p): k for k, p in enumerate(parameters)}
    rows = [[place[id(w)] for w in m.w if id(w) in place] for m in model.modules() if isinstance(m, Neuron)]
    biases = [place[id(m.b)] for m in model.modules() if isinstance(m, Neuron) and id(m.b) in place]
    rest = sorted(set(range(len(theta))) - set(biases) - {k for row in rows for k in row})
    found[biases] = 0.0
    for row in [*rows, rest]:
        norm = np.linalg.norm(found[row])
        if norm > 0.0:
            found[row] *= np.linalg.norm(theta[row]) / norm
    return found


def _draw(ax: Any, steps: NDArray[Any], heights: NDArray[Any]) -> None:
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    low, high = float(np.nanmin(heights)), float(np.nanmax(heights))
    logarithmic = low > 0.0 and high > _LOG_FROM * low
    if high <= low:
        low, high = low - 0.5, high + 0.5
    levels = np.geomspace(low, high, _LEVELS) if logarithmic else np.linspace(low, high, _LEVELS)
    colours = LinearSegmentedColormap.from_list("loss", ["#ffffff", "#bcdaec", COLOURS[0], "#00233b"])
    norm = LogNorm(low, high) if logarithmic else None
    field = ax.contourf(steps, steps, heights, levels=levels, cmap=colours, norm=norm)
    ax.contour(steps, steps, heights, levels=levels, colors=[INK], linewidths=0.4, alpha=0.5)
    ticks = levels[:: (_LEVELS - 1) // 3]
    bar = ax.figure.colorbar(field, ax=ax, ticks=ticks, shrink=0.9, pad=0.02, aspect=30)
    bar.ax.minorticks_off()
    bar.ax.set_yticklabels([f"{tick:.3g}" for tick in ticks])
    bar.ax.tick_params(colors=FAINT, labelcolor=INK, labelsize=10, length=0)
    bar.set_label("loss", color=INK, fontsize=11)
    bar.outline.set_visible(False)
