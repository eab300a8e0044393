"""The picture of `--plot`: the learned function on the left, the course of training on the right."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np

from macrograd import show
from macrograd._extras import installing
from macrograd.cli import places
from macrograd.cli.data import Data
from macrograd.nn import MLP
from macrograd.train import History
from macrograd.train.predictor import Predictor
from macrograd.train.samples.data import Samples

ENDINGS = (".png", ".svg", ".pdf")
_MOST_PANELS = 9  # of labels
_MOST_NUMBERS = 20  # rows of a matrix whose numbers are large enough to read


def check(path: str) -> None:
    """Raise now what `save` would raise after the training: ValueError, OSError or ImportError."""
    if Path(path).suffix.lower() not in ENDINGS:
        raise ValueError(f"--plot {path}: the name must end in {', '.join(ENDINGS)}")
    places.check("--plot", path)
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError(f"--plot needs matplotlib: {installing('plot')}")


def save(path: str, model: MLP, data: Data, history: History, answers: Any, result: str) -> Path:
    """Draw and write the picture, whole or not at all; returns the path. `answers` are the task's, for all rows."""
    if data.labels:
        figure, grid = _frame(4.4 if len(data.labels) <= 4 else 7.0)
        show.curves(history, figure, grid)
        if data.X.shape[1] == 2 and len(data.labels) <= _MOST_PANELS:
            _boundaries(figure, grid[:, 0], model, data)
        else:
            _counts(figure.add_subplot(grid[:, 0]), data, answers)
    elif data.classes is not None and data.X.shape[1] == 2 and len(data.classes) <= 8:
        figure = show.training_figure(
            lambda x: model(data.feature_scale.scaled(np.array(x))), data.feature_scale.raw(data.X), data.y, history
        )
        axes = figure.axes[0]
        axes.set(xlabel=show.plain(data.features[0]), ylabel=show.plain(data.features[1]))
        for text, label in zip(axes.get_legend().get_texts(), data.classes, strict=True):
            text.set_text(show.plain(f"{data.target} {label}"))
    else:
        figure, grid = _frame(4.4)
        left = figure.add_subplot(grid[:, 0])
        show.curves(history, figure, grid)
        if data.classes is None:
            _predicted(left, data, answers)
        else:
            _confusion(left, data, data.classes, answers)
    if data.table is not None and data.held is not None:  # the held-out rows are not drawn
        result = f"{result} on the {len(data.X)} rows it was trained on"
    figure.suptitle(
        f"{show.plain(data.name)}: {len(model.parameters())} parameters, {len(history)} steps, {result}", fontsize=12
    )
    return show.save(figure, path)


def _frame(height: float) -> tuple[Any, Any]:
    """A figure, and its grid: the first column is the function's, the second that of the loss and the metric."""
    figure = show.new_figure(11.0, height)
    return figure, figure.add_gridspec(2, 2, width_ratios=[3, 2], height_ratios=[2, 3])


def _boundaries(figure: Any, place: Any, model: MLP, data: Data) -> None:
    """The plane for each of several labels, with the rows that have it and those that do not."""
    across = math.ceil(math.sqrt(len(data.labels)))
    grid = place.subgridspec(-(-len(data.labels) // across), across)
    outputs = Predictor(model, "compiled", "float64", 1)
    for k, label in enumerate(data.labels):

        def of_label(points: Any, k: int = k) -> Any:
            return outputs(Samples(data.feature_scale.scaled(points)))[:, k]

        axes = figure.add_subplot(grid[k // across, k % across])
        show.boundary(model, data.feature_scale.raw(data.X), data.y[:, k], axes, predict=of_label)
        axes.set(xlabel=show.plain(data.features[0]), ylabel=show.plain(data.features[1]))
        for text, answer in zip(axes.get_legend().get_texts(), ("no", "yes"), strict=True):
            text.set_text(show.plain(f"{label}: {answer}"))


def _counts(axes: Any, data: Data, decided: Any) -> None:
    """How many rows have each of several labels, and how many are predicted to."""
    right = data.y == 1
    pairs = [(has, says) for has in (False, True) for says in (False, True)]
    counts = np.stack([((right == has) & (decided == says)).sum(axis=0) for has, says in pairs], axis=1)
    axes.imshow(counts, cmap="Blues", aspect="auto")
    words = {False: "no", True: "yes"}
    axes.set_xticks(range(4), [f"{words[has]}, predicted {words[says]}" for has, says in pairs])
    axes.set_yticks(range(len(data.labels)), [show.plain(label) for label in data.labels])
    _without_frame(axes)
    axes.tick_params(axis="x", labelsize=8)
    if len(data.labels) <= _MOST_NUMBERS:
        _write_counts(axes, counts)


def _predicted(axes: Any, data: Data, predictions: Any) -> None:
    """Each sample's prediction against its target, and the line on which both are equal."""
    true, predicted = data.target_scale.raw(data.y), data.target_scale.raw(predictions)
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    axes.plot(ends, ends, color="#6b7884", linewidth=1.0)
    axes.scatter(true, predicted, s=24, color="#0072B2", edgecolor="white", linewidth=0.6, zorder=3)
    axes.set(xlabel=show.plain(data.target), ylabel=show.plain(f"predicted {data.target}"))
    show.tidy(axes)


def _confusion(axes: Any, data: Data, classes: tuple[str, ...], decided: Any) -> None:
    """The confusion matrix: the number of samples of each class by predicted class."""
    k = len(classes)
    counts = np.zeros((k, k), dtype=int)
    np.add.at(counts, (data.y, decided), 1)
    axes.imshow(counts, cmap="Blues")
    labels = [show.plain(label) for label in classes]
    axes.set_xticks(range(k), labels, rotation=90 if k > 6 else 0)
    axes.set_yticks(range(k), labels)
    axes.set(xlabel=show.plain(f"predicted {data.target}"), ylabel=show.plain(data.target))
    _without_frame(axes)
    if k <= _MOST_NUMBERS:
        _write_counts(axes, counts)


def _without_frame(axes: Any) -> None:
    """A matrix of counts needs no lines around it."""
    show.tidy(axes)
    axes.spines[:].set_visible(False)


def _write_counts(axes: Any, counts: Any) -> None:
    for i, j in np.ndindex(*counts.shape):
        dark = counts[i, j] > counts.max() / 2
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", color="white" if dark else "#1b242d")
