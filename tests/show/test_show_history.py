"""The picture of a training run: which curves, on which scales."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import macrograd as mg
from macrograd import nn, show
from macrograd.train import History


def run(losses: list[Any], metrics: Any = None) -> SimpleNamespace:
    return SimpleNamespace(losses=losses, metrics=metrics)


def curve(ax: Any) -> tuple[list[float], list[float]]:
    (line,) = ax.lines
    return list(line.get_xdata()), list(line.get_ydata())


def test_loss_and_accuracy_of_a_training_history() -> None:
    history = History()
    for step in range(3):
        history.record(1.0 / (step + 1), {"accuracy": 0.5 + 0.25 * step}, 0.1, float(step))
    below = show.history(history)
    above, same = below.figure.axes
    assert same is below
    assert curve(below) == ([0, 1, 2], [1.0, 0.5, 1 / 3])
    assert curve(above) == ([0, 1, 2], [50.0, 75.0, 100.0])
    assert (below.get_xlabel(), below.get_ylabel(), above.get_ylabel()) == ("step", "loss", "accuracy (%)")


def test_one_axes_get_both_with_a_scale_each() -> None:
    ax = Figure().subplots()
    assert show.history(run([2.0, 1.0], [0.5, 1.0]), ax) is ax
    _, right = ax.figure.axes
    assert right.get_ylabel() == "accuracy (%)"
    assert right.yaxis.get_label_position() == "right"
    assert right.spines["right"].get_visible()


def test_a_pair_of_axes_gets_one_each() -> None:
    above, below = Figure().subplots(2)
    assert show.history(run([2.0, 1.0], [0.5, 1.0]), (above, below)) is below
    assert curve(above)[1] == [50.0, 100.0]


@pytest.mark.parametrize("metrics", [None, [], {}, [None, None], {"accuracy": [math.nan, math.nan]}])
def test_without_a_metric_there_is_the_loss(metrics: Any) -> None:
    ax = show.history(run([2.0, 1.0], metrics))
    assert ax.figure.axes == [ax]


def test_another_metric_has_its_name_and_its_unit() -> None:
    below = show.history(run([2.0, 1.0], {"mean_absolute_error": [3.0, 2.0]}))
    above = below.figure.axes[0]
    assert above.get_ylabel() == "mean absolute error"
    assert curve(above)[1] == [3.0, 2.0]


def test_fewer_metrics_than_steps_stand_at_the_ends_of_their_epochs() -> None:
    above = show.history(run([1.0] * 6, [0.5, 1.0])).figure.axes[0]
    assert curve(above)[0] == [2.0, 5.0]


@pytest.mark.parametrize(
    ("losses", "scale"),
    [([1.0, 0.1], "linear"), ([1.0, 0.01], "log"), ([1.0, 0.0], "linear"), ([-1.0, 100.0], "linear")],
)
def test_a_loss_over_decades_is_on_a_logarithmic_scale(losses: list[float], scale: str) -> None:
    assert show.history(run(losses)).get_yscale() == scale


def test_a_run_that_diverged_can_be_looked_at() -> None:
    ax = show.history(run([1.0, 1e199, 1.7e308, math.inf, math.nan], [0.5, 0.5, 0.5, 0.5, None]))
    assert show._figure.picture(ax.figure, ".png").startswith(b"\x89PNG")
    assert show.history(run([math.nan])).get_yscale() == "linear"


def test_a_single_step_is_a_point() -> None:
    assert show.history(run([1.0])).lines[0].get_marker() == "o"
    assert show.history(run([1.0, 2.0])).lines[0].get_marker() == ""


def test_a_history_without_losses() -> None:
    with pytest.raises(TypeError, match=r"a training history with a list 'losses', got \[1.0, 0.5\] of type list"):
        show.history([1.0, 0.5])


def test_an_empty_history() -> None:
    with pytest.raises(ValueError, match="a history with no steps: train first, then draw"):
        show.history(History())


@pytest.mark.parametrize("ax", ["left", "lr", 3, ("a", "b")])
def test_axes_that_are_none(ax: Any) -> None:
    with pytest.raises(TypeError, match="ax must be matplotlib axes"):
        show.history(run([1.0], [1.0]), ax)


# --- validation data, Trainers, notebooks ----------------------------------------------------------------------------


def held_out() -> History:
    history = History()
    history.extend(np.array([4.0, 3.0, 2.0, 1.0]), 0.1, 1.0)
    history.measured({"validation_loss": 1.5, "accuracy": 0.5, "validation_accuracy": 0.25})
    history.extend(np.array([0.5, 0.25]), 0.1, 2.0)
    history.measured({"validation_loss": 0.75, "accuracy": 1.0, "validation_accuracy": 0.75})
    return history


def test_validation_curves_stand_beside_those_of_the_training() -> None:
    below = show.history(held_out())
    above = below.figure.axes[0]
    assert [list(line.get_xdata()) for line in below.lines] == [[0, 1, 2, 3, 4, 5], [3, 5]]
    assert [list(line.get_ydata()) for line in above.lines] == [[50.0, 100.0], [25.0, 75.0]]
    assert list(below.lines[1].get_ydata()) == [1.5, 0.75]
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["training", "validation"]
    assert above.get_ylim()[0] < 25.0


@pytest.mark.parametrize("metrics", [{}, {"accuracy": [0.5, 1.0], "validation_accuracy": [0.5, 1.0]}])
def test_no_line_runs_through_the_legend(metrics: dict[str, list[float]]) -> None:
    below = show.history(run([1.0, 2.0, 8.0, 9.0], {"validation_loss": [8.0, 9.0], **metrics}))  # it overfits
    panels = below.figure.axes
    below.figure.draw_without_rendering()
    (legend,) = filter(None, (panel.get_legend() for panel in panels))
    assert all(legend.get_window_extent().y0 >= panel.bbox.y1 - 1.0 for panel in panels)


def test_a_validation_loss_alone_is_no_metric() -> None:
    ax = show.history(run([2.0, 1.0], {"validation_loss": [1.5, 1.25]}))
    assert ax.figure.axes == [ax]
    assert [list(line.get_ydata()) for line in ax.lines] == [[2.0, 1.0], [1.5, 1.25]]


def test_a_trainer_shows_its_latest_fit() -> None:
    trainer = mg.Trainer(nn.MLP(2, [1], seed=0), engine="eager")
    trainer.fit([[0.0, 1.0], [1.0, 0.0]], [0, 1], steps=2, progress="none")
    assert curve(show.history(trainer))[1] == trainer.history.losses


def test_a_notebook_shows_the_picture_of_the_axes() -> None:
    ax = show.history(run([2.0, 1.0], [0.5, 1.0]))
    assert ax._repr_png_() == ax.figure._repr_png_()
    assert ax.figure.axes[0]._repr_png_().startswith(b"\x89PNG")


def test_a_logarithmic_scale_has_plain_numbers() -> None:
    ax = show.history(run([4.0, 0.1]))
    shown = [label.get_text() for label in (*ax.get_yticklabels(), *ax.get_yticklabels(minor=True))]
    assert "0.1" in shown
    assert not any("times" in text for text in shown)


@pytest.mark.parametrize("panel", [(0, 0), (0, 1), (1, 1)])
def test_nothing_reaches_into_a_neighbouring_panel(panel: tuple[int, int]) -> None:
    figure = Figure(figsize=(9, 5))
    panels = figure.subplots(2, 3)
    below = show.history(held_out(), panels[panel])
    tight = [ax.get_tightbbox() for ax in figure.axes if ax is below or ax not in panels.ravel().tolist()]
    assert len(tight) == 2  # the loss, and the accuracy on its right
    right = panels[panel[0], panel[1] + 1].get_tightbbox()
    assert max(box.x1 for box in tight) < right.x0
    if panel[1]:
        assert min(box.x0 for box in tight) > panels[panel[0], panel[1] - 1].get_window_extent().x1
