"""The picture of `--plot`: the learned function on the left, the course of training on the right."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from macrograd import show
from macrograd._extras import installing
from macrograd.cli import places
from macrograd.cli.data import Data
from macrograd.nn import MLP
from macrograd.train import History, Task

ENDINGS = (".png", ".svg", ".pdf")


def check(path: str) -> None:
    """Raise now what `save` would raise after the training: ValueError, OSError or ImportError."""
    if Path(path).suffix.lower() not in ENDINGS:
        raise ValueError(f"--plot {path}: the name must end in {', '.join(ENDINGS)}")
    places.check("--plot", path)
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError(f"--plot needs matplotlib: {installing('plot')}")


def save(path: str, model: MLP, data: Data, task: Task, history: History, predictions: list[Any], result: str) -> Path:
    """Draw and write the picture, whole or not at all; returns the path."""
    if data.classes is not None and data.X.shape[1] == 2 and len(data.classes) <= 8:
        figure = show.training_figure(
            lambda x: model(data.feature_scale.scaled(np.array(x))), data.feature_scale.raw(data.X), data.y, history
        )
        axes = figure.axes[0]
        axes.set(xlabel=show.plain(data.features[0]), ylabel=show.plain(data.features[1]))
        for text, label in zip(axes.get_legend().get_texts(), data.classes, strict=True):
            text.set_text(show.plain(f"{data.target} {label}"))
    else:
        figure = show.new_figure(11.0, 4.4)
        grid = figure.add_gridspec(2, 2, width_ratios=[3, 2], height_ratios=[2, 3])
        left = figure.add_subplot(grid[:, 0])
        show.curves(history, figure, grid)
        if data.classes is None:
            _predicted(left, data, np.array(predictions))
        else:
            _confusion(left, data, data.classes, [task.decide(p) for p in predictions])
    figure.suptitle(
        f"{show.plain(data.name)}: {len(model.parameters())} parameters, {len(history)} steps, {result}", fontsize=12
    )
    return show.save(figure, path)


def _predicted(axes: Any, data: Data, predictions: Any) -> None:
    """Each sample's prediction against its target, and the line on which both are equal."""
    true, predicted = data.target_scale.raw(data.y), data.target_scale.raw(predictions)
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    axes.plot(ends, ends, color="#6b7884", linewidth=1.0)
    axes.scatter(true, predicted, s=24, color="#0072B2", edgecolor="white", linewidth=0.6, zorder=3)
    axes.set(xlabel=show.plain(data.target), ylabel=show.plain(f"predicted {data.target}"))


def _confusion(axes: Any, data: Data, classes: tuple[str, ...], decided: list[int]) -> None:
    """The confusion matrix: the number of samples of each class by predicted class."""
    k = len(classes)
    counts = np.zeros((k, k), dtype=int)
    np.add.at(counts, (data.y, np.array(decided)), 1)
    axes.imshow(counts, cmap="Blues")
    labels = [show.plain(label) for label in classes]
    axes.set_xticks(range(k), labels, rotation=90 if k > 6 else 0)
    axes.set_yticks(range(k), labels)
    axes.set(xlabel=show.plain(f"predicted {data.target}"), ylabel=show.plain(data.target))
    if k <= 20:  # with more classes the numbers would be too small to read
        for i, j in np.ndindex(k, k):
            dark = counts[i, j] > counts.max() / 2
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", color="white" if dark else "#1b242d")
