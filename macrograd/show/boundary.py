"""A classifier of points in the plane as a picture: the samples, the score field, the decision boundary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._numbers import check_unmasked
from macrograd.graph import topological
from macrograd.show._figure import COLOURS, FAINT, INK, LARGEST, MARKERS, Panel, checked_axes, new_figure, plain, tidy
from macrograd.value import Value
from macrograd.vector import Vector, as_argument

Floats = NDArray[np.float64]

# A field of at least 60 by 60 points looks smooth. The net runs once for each, so a large net gets a coarser grid: the
# number of points is limited to this many scalars, which take the eager engine about two seconds.
_SCALARS = 4_000_000
_FINEST, _COARSEST = 80, 12

_MARGIN = 0.12


def boundary(
    model: Callable[[Any], Any],
    X: Any,
    y: Any,
    ax: Any = None,
    *,
    predict: Callable[[Floats], Any] | None = None,
    level: float = 0.0,
) -> Any:
    """Draw the samples, the scores of `model` between them and its decision boundary; return the axes.

    A notebook displays the axes of a new figure as the picture.

    model    a fitted Trainer; or called with a point [x₁, x₂]: returns one score (a Value or number; above `level` is
             the second class), or a list of k scores, the largest of which is the predicted class
    X, y     samples, shape (n, 2), and their classes, shape (n,): strings or integers, such as 0 and 1, −1 and +1
    ax       matplotlib axes; None for a new figure
    predict  like `model`, but for all points at once: array (n, 2) → array (n,) or (n, k); used instead if given
    level    the score at the boundary; 0.5 for a model that ends in a sigmoid

    Raises ValueError for other shapes, for numbers that are not finite, and if y does not hold classes; TypeError if
    the model cannot be called; ImportError without matplotlib.
    """
    X, classes, labels = _samples(X, y, getattr(model, "classes", None))
    if predict is None and not callable(model):
        predict = getattr(model, "outputs", None)  # a Trainer's
    if predict is None and not callable(model):
        raise TypeError(
            f"boundary() needs a model that can be called with a point, got one of type {type(model).__name__}"
        )
    low, high = X.min(axis=0), X.max(axis=0)
    margin = np.where(high > low, (high - low) * _MARGIN, 1.0)
    low, high = low - margin, high + margin
    side = _FINEST if predict is not None else _side(model, X[0])
    across, up = np.linspace(low[0], high[0], side), np.linspace(low[1], high[1], side)
    points = np.stack([axis.ravel() for axis in np.meshgrid(across, up)], axis=1)
    scores = _scores(
        predict(points) if predict is not None else [model(point) for point in as_argument(points)], len(points)
    )

    ax = checked_axes(ax) if ax is not None else new_figure(6.0, 4.6).add_subplot()
    panel, bars = Panel(ax), []
    columns = [column.reshape(side, side) for column in scores.T]
    if not (np.abs(scores) < LARGEST).all():  # also false for a NaN
        ax.text(
            0.5,
            0.97,
            "no field: the scores are NaN, infinite or enormous",
            transform=ax.transAxes,
            ha="center",
            va="top",
            color=INK,
        )
    elif len(columns) == 1:
        bars.append(_draw_score(ax, across, up, columns[0] - level, level))
    else:
        _draw_regions(ax, across, up, columns)
    _draw_samples(ax, X, classes, labels)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="$x_1$", ylabel="$x_2$")
    tidy(ax)
    _draw_legend(ax)
    panel.keep(ax, *bars)
    return ax


def _draw_samples(ax: Any, X: Floats, classes: list[Any], labels: NDArray[np.int64]) -> None:
    for index, label in enumerate(classes):
        chosen = X[labels == index]
        ax.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=34,
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            edgecolor="white",
            linewidth=0.8,
            label=plain(label) if isinstance(label, str) else f"class {label:g}",
            zorder=3,
        )


def _draw_legend(ax: Any) -> None:
    """The classes, in as many columns as fit."""
    # Above the axes: inside them it would cover samples.
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.99), "frameon": False, "fontsize": 10}
    for columns_of_names in (4, 3, 2, 1):
        legend = ax.legend(**place, ncols=columns_of_names, handletextpad=0.1, columnspacing=1.2)
        if legend.get_window_extent().width <= ax.bbox.width:
            break


def _samples(X: Any, y: Any, known: list[Any] | None) -> tuple[Floats, list[Any], NDArray[np.int64]]:
    """X as an array, the classes, and the class index of each sample. Raises ValueError for bad input.

    The classes are the sorted ones in y, or those that the model knows, in the order of its outputs.
    """
    check_unmasked("boundary(): X", X)
    check_unmasked("boundary(): y", y)
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
    texts = y.dtype.kind in "US" or (y.dtype.kind == "O" and all(isinstance(label, str) for label in y.flat))
    y = y.astype(str if texts else np.float64)
    if X.ndim != 2 or X.shape[1] != 2 or not len(X):
        raise ValueError(
            f"boundary() draws points in the plane: X must have shape (n, 2), got {X.shape}. Train a model on two "
            "columns, or look at one of more with show.activations, show.gradients or show.attribution"
        )
    if y.shape != (len(X),):
        raise ValueError(f"boundary() needs one class for each of the {len(X)} samples, got y of shape {y.shape}")
    if not (np.isfinite(X).all() and (texts or np.isfinite(y).all())):
        raise ValueError("boundary() needs finite numbers, but X or y contains a NaN or an infinity")
    classes, labels = np.unique(y, return_inverse=True)
    if texts and len(classes) > len(COLOURS):
        raise ValueError(f"boundary() draws at most {len(COLOURS)} classes, but y has {len(classes)} different labels")
    if not texts and ((classes != np.round(classes)).any() or len(classes) > len(COLOURS)):
        raise ValueError(
            f"boundary() draws at most {len(COLOURS)} classes with integer labels, "
            f"but y has {len(classes)} different values such as {classes[0]:g} and {classes[-1]:g}"
        )
    found = classes.tolist()
    if known and set(found) <= set(known):  # y may lack some
        places = np.array([known.index(label) for label in found])
        return X, known, places[labels]
    return X, found, labels


def _side(model: Callable[[Any], Any], point: Floats) -> int:
    """The number of grid points per side, from the number of scalars that the model computes for one point."""
    found = model(as_argument(point))
    roots = found if isinstance(found, (list, tuple, Vector)) else [found]
    nodes = topological(*[root for root in roots if isinstance(root, Value)])
    # A dot product of a thousand terms is one node, but costs more than one.
    scalars = sum(1 + len(node.inputs) for node in nodes)
    return int(np.clip(np.sqrt(_SCALARS / max(scalars, 1)), _COARSEST, _FINEST))


def _scores(found: Any, n: int) -> Floats:
    """The model's scores as an array (n, k). Raises ValueError for other shapes, TypeError if not numeric."""
    if not isinstance(found, np.ndarray):
        rows = [list(row) if isinstance(row, (list, tuple, Vector)) else [row] for row in found]
        if len({len(row) for row in rows}) > 1:
            raise ValueError(
                "boundary() needs a model with the same number of scores for every point; this model's number varies"
            )
        try:
            found = [[float(score) for score in row] for row in rows]
        except (TypeError, ValueError):
            said = rows[0] if len(rows[0]) > 1 else rows[0][0]
            raise TypeError(
                f"boundary() needs a model that returns a score or a list of scores, got {said!r} for a point"
            ) from None
    scores = np.asarray(found, dtype=np.float64)
    if scores.ndim == 1:
        scores = scores[:, None]
    if scores.ndim != 2 or len(scores) != n or not scores.shape[1]:
        raise ValueError(
            f"boundary() needs scores of shape ({n},) or ({n}, k) for {n} points, got shape {scores.shape}"
        )
    return scores


def _draw_score(ax: Any, across: Floats, up: Floats, score: Floats, level: float) -> Any:
    """The score as a field from blue to orange, white at the boundary, which is a line; returns the axes of its bar."""
    from matplotlib.colors import LinearSegmentedColormap

    # A few extreme corners must not wash out everything else.
    reach = float(np.quantile(np.abs(score), 0.95)) or 1.0
    steps = np.linspace(-reach, reach, 21)
    # The class colours, paler, so that the samples stand out. (Not transparent: the seams of the bands would show.)
    colours = LinearSegmentedColormap.from_list("score", ["#4a9aca", "#bcdaec", "#ffffff", "#f6d2ba", "#e08a4d"])
    field = ax.contourf(across, up, score, levels=steps, cmap=colours, extend="both")
    bar = ax.figure.colorbar(field, ax=ax, ticks=[-reach, 0.0, reach], shrink=0.9, pad=0.02, aspect=30)
    bar.ax.set_yticklabels([f"{tick + level:.2g}".replace("-", "−") for tick in (-reach, 0.0, reach)])
    bar.ax.tick_params(colors=FAINT, labelcolor=INK, labelsize=10, length=0)
    bar.set_label("score", color=INK, fontsize=11)
    bar.outline.set_visible(False)
    if score.min() < 0.0 < score.max():
        ax.contour(across, up, score, levels=[0.0], colors=[INK], linewidths=1.6)
    return bar.ax


def _draw_regions(ax: Any, across: Floats, up: Floats, columns: list[Floats]) -> None:
    """Where each class has the largest score, with a line around it."""
    scores = np.stack(columns)
    for index, score in enumerate(scores):
        # Positive exactly where this class wins, and linear in between, so that the lines are smooth.
        lead = score - np.delete(scores, index, axis=0).max(axis=0)
        if lead.max() > 0.0:
            ax.contourf(across, up, lead, levels=[0.0, np.inf], colors=[COLOURS[index % len(COLOURS)]], alpha=0.22)
        if lead.min() < 0.0 < lead.max():
            ax.contour(across, up, lead, levels=[0.0], colors=[INK], linewidths=1.3)
