"""The sizes of the gradients of each layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.nn import inside
from macrograd.show._figure import COLOURS, FAINT, INK, checked_axes, new_figure, plain, tidy
from macrograd.show._subject import loss_of, model_of

_LEAST = 1e-16  # of the largest: below it a gradient counts as 0
_BINS = 60


def gradients(
    model: Any, X: Any = None, y: Any = None, *, loss: str | Callable[..., Any] | None = None, ax: Any = None
) -> Any:
    """Draw how large the gradients of each layer's parameters are, and return the axes.

    Each layer is a row with the distribution of its gradients' magnitudes on a logarithmic scale, a tick at their root
    mean square, and, at the left, how many are exactly 0: rows that move to the left from the last layer to the first
    are a gradient that vanishes, rows that move to the right one that explodes.

    model  a Trainer, whose gradients over samples X and targets y are drawn; a Module with X, y and a loss (by name or
           as a function of a prediction and a target); or a Module alone, whose `.grad`s are drawn as they are
    ax     matplotlib axes; None for a new figure, which a notebook displays

    No `.grad` is touched. Raises TypeError for another model, ValueError for samples without a loss, data that do not
    fit, or gradients of which none is finite and different from 0; ImportError without matplotlib.
    """
    layers = inside.layers(model_of(model, "gradients"))
    found = _gradients(model, layers, X, y, loss)
    sizes = {name: np.abs(g) for name, g in found.items()}
    whole = np.concatenate([*sizes.values(), np.empty(0)])
    known = whole[np.isfinite(whole) & (whole > 0.0)]
    if not len(known):
        raise ValueError(
            "gradients() has nothing to draw: every gradient is 0 or not finite; give X and y, or call backward() first"
        )
    least = max(float(known.min()), _LEAST * float(known.max()))
    low, high = np.floor(np.log10(least)), np.ceil(np.log10(float(known.max())) + 0.05)
    edges = np.linspace(low, max(high, low + 1.0), _BINS + 1)
    if ax is None:
        ax = new_figure(7.0, 1.2 + 0.5 * len(sizes)).add_subplot()
    checked_axes(ax)
    for row, size in enumerate(sizes.values()):
        _row(ax, -row, size, edges)
    ax.set_yticks([-float(row) for row in range(len(sizes))], [plain(name) for name in sizes])
    ax.set(ylim=(-len(sizes) + 0.6, 1.0), xlim=(10.0 ** edges[0], 10.0 ** edges[-1]), xscale="log", xlabel="|gradient|")
    ax.grid(axis="x", color=INK, alpha=0.08)
    tidy(ax)
    ax.tick_params(axis="y", length=0)
    return ax


def _row(ax: Any, base: float, sizes: NDArray[Any], edges: NDArray[Any]) -> None:
    positive = sizes[np.isfinite(sizes) & (sizes > 0.0)]
    positive = np.maximum(positive, 10.0 ** edges[0])
    if len(positive):
        counts, _ = np.histogram(np.log10(positive), edges)
        smooth = np.convolve(counts, [0.25, 0.5, 0.25], mode="same")
        middles = 10.0 ** ((edges[1:] + edges[:-1]) / 2)
        ax.fill_between(middles, base, base + 0.8 * smooth / smooth.max(), color=COLOURS[0], alpha=0.35, linewidth=0)
        mean = float(np.sqrt(np.mean(np.square(sizes[np.isfinite(sizes)]))))
        ax.plot([mean, mean], [base, base + 0.8], color=COLOURS[1], linewidth=2.0)
    ax.axhline(base, color=FAINT, linewidth=0.6)
    zeros, odd = int(np.sum(sizes == 0.0)), int(np.sum(~np.isfinite(sizes)))
    notes = [f"{zeros} of {len(sizes)} are 0"] * (zeros > 0) + [f"{odd} not finite"] * (odd > 0)
    if notes:
        where = ax.get_yaxis_transform()
        ax.text(0.01, base + 0.12, ", ".join(notes), transform=where, fontsize=9, color=INK, va="bottom")


def _gradients(
    model: Any, layers: dict[str, list[Any]], X: Any, y: Any, loss: str | Callable[..., Any] | None
) -> dict[str, NDArray[Any]]:
    if (X is None) != (y is None):
        raise ValueError("gradients() takes samples X and targets y together, and got one of them")
    if X is None:
        if loss is not None or hasattr(model, "objective"):
            raise ValueError("gradients() needs samples X and targets y to compute the gradient of a loss")
        return {name: np.array([float(p.grad) for p in members]) for name, members in layers.items()}
    function, arguments = loss_of(model, X, y, loss, "gradients")
    function(*arguments)  # traced: from now on it knows its parameters
    _, gradient = function.value_and_grad(function.theta(), *arguments)
    place = {id(p): k for k, p in enumerate(function.parameters)}
    return {
        name: np.array([gradient[place[id(p)]] if id(p) in place else 0.0 for p in members])
        for name, members in layers.items()
    }
