"""The picture of what a classifier learned: what is on the axes, and what each bad input is told."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

import macrograd as mg
from macrograd import Value, datasets, nn, show

X = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [3.0, 1.0]])
y = np.array([0, 0, 1, 1])


def plane(point: Any) -> Value:
    """A score that is 0 on the line x₁ = 1.5."""
    return Value(2.0) * (point[0] - 1.5)


def lines(ax: Any) -> list[np.ndarray]:
    """The decision boundary: the contours that are no fields."""
    return [
        path.vertices
        for c in ax.collections
        if isinstance(c, QuadContourSet) and not c.filled
        for path in c.get_paths()
        if len(path.vertices)
    ]


def fields(ax: Any) -> int:
    return sum(isinstance(c, QuadContourSet) and c.filled for c in ax.collections)


def legend(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_boundary_lies_where_the_score_is_zero() -> None:
    ax = show.boundary(plane, X, y)
    (line,) = lines(ax)
    assert line[:, 0] == pytest.approx(1.5, abs=1e-9)
    assert fields(ax) == 1


def test_the_boundary_lies_at_the_level() -> None:
    (line,) = lines(show.boundary(plane, X, y, level=1.0))
    assert line[:, 0] == pytest.approx(2.0, abs=1e-9)


def test_a_list_of_one_score_is_a_score() -> None:
    (line,) = lines(show.boundary(lambda p: [plane(p)], X, y))
    assert line[:, 0] == pytest.approx(1.5, abs=1e-9)


def test_predict_is_asked_once_for_all_points() -> None:
    asked = []

    def predict(points: np.ndarray) -> np.ndarray:
        asked.append(points.shape)
        return points[:, 0] - 1.0

    (line,) = lines(show.boundary(None, X, y, predict=predict))
    assert line[:, 0] == pytest.approx(1.0, abs=1e-9)
    assert asked == [(6400, 2)]


def test_of_several_scores_the_largest_names_the_class() -> None:
    centres = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    ax = show.boundary(lambda p: [-((p[0] - a) ** 2) - (p[1] - b) ** 2 for a, b in centres], centres, [0, 1, 2])
    assert fields(ax) == 3
    corners = np.concatenate(lines(ax))
    nearest = np.sort(np.linalg.norm(corners[:, None] - centres, axis=2), axis=1)
    assert nearest[:, 0] == pytest.approx(nearest[:, 1], abs=0.1)  # equally far from two centres


def test_samples_stand_where_they_are_with_a_colour_and_a_marker_a_class() -> None:
    ax = show.boundary(plane, X, y)
    first, second = (c for c in ax.collections if not isinstance(c, QuadContourSet))
    assert first.get_offsets().tolist() == X[:2].tolist()
    assert second.get_offsets().tolist() == X[2:].tolist()
    assert first.get_facecolor().tolist() != second.get_facecolor().tolist()
    assert len(first.get_paths()[0].vertices) != len(second.get_paths()[0].vertices)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_1$", "$x_2$")
    assert legend(ax) == ["class 0", "class 1"]


def test_labels_may_be_minus_one_and_one() -> None:
    assert legend(show.boundary(plane, X, 2 * y - 1)) == ["class -1", "class 1"]


def test_a_model_of_plain_numbers_and_a_single_sample() -> None:
    assert fields(show.boundary(lambda p: p[0], [[1.0, 1.0]], [1])) == 1


def test_a_score_that_never_changes_sign_has_no_boundary() -> None:
    ax = show.boundary(lambda p: 1.0, X, y)
    assert lines(ax) == []
    assert fields(show.boundary(lambda p: 0.0, X, y)) == 1


@pytest.mark.parametrize("score", [math.nan, math.inf, -1.7e308])
def test_scores_that_are_not_finite_leave_the_samples(score: float) -> None:
    ax = show.boundary(lambda p: score, X, y)
    assert fields(ax) == 0
    assert [t.get_text() for t in ax.texts] == ["no field: the scores are NaN, infinite or enormous"]


def test_a_large_net_gets_a_coarser_grid() -> None:
    def calls(width: int) -> int:
        net, count = nn.MLP(2, [width, width, 1], seed=0), 0

        def model(point: Any) -> Any:
            nonlocal count
            count += 1
            return net(point)

        show.boundary(model, X, y)
        return count

    assert calls(4) == 80 * 80 + 1
    assert 12 * 12 < calls(64) < 30 * 30


def test_given_axes_are_used() -> None:
    ax = Figure().subplots()
    assert show.boundary(plane, X, y, ax) is ax
    assert show.boundary(plane, X, y).figure is not ax.figure


def test_it_changes_nothing_of_the_net() -> None:
    net = nn.MLP(2, [3, 1], seed=0)
    before = [(p.data, p.grad) for p in net.parameters()]
    show.boundary(net, X, y)
    assert [(p.data, p.grad) for p in net.parameters()] == before


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad_X", "bad_y", "message"),
    [
        (np.zeros((4, 3)), y, r"X must have shape \(n, 2\), got \(4, 3\)"),
        (np.zeros(4), y, r"X must have shape \(n, 2\), got \(4,\)"),
        (np.zeros((0, 2)), [], r"X must have shape \(n, 2\), got \(0, 2\)"),
        (X, y[:3], r"one class for each of the 4 samples, got y of shape \(3,\)"),
        (X, y[:, None], r"one class for each of the 4 samples, got y of shape \(4, 1\)"),
        (X * np.nan, y, "finite numbers, but X or y contains a NaN or an infinity"),
        (X, [0, 1, math.inf, 0], "finite numbers, but X or y contains a NaN or an infinity"),
        (X, [0.5, 1.5, 2.5, 3.5], "at most 8 classes .* has 4 different values such as 0.5 and 3.5"),
        (np.zeros((9, 2)), range(9), "at most 8 classes .* has 9 different values such as 0 and 8"),
    ],
)
def test_samples_that_cannot_be_drawn(bad_X: Any, bad_y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        show.boundary(plane, bad_X, bad_y)


def test_a_model_that_cannot_be_called() -> None:
    with pytest.raises(TypeError, match="needs a model that can be called with a point, got one of type int"):
        show.boundary(3, X, y)


def test_a_model_that_gives_no_number() -> None:
    with pytest.raises(TypeError, match="a model that returns a score or a list of scores, got 'red' for a point"):
        show.boundary(lambda p: "red", X, y)


def test_a_model_whose_number_of_scores_varies() -> None:
    with pytest.raises(ValueError, match="the same number of scores for every point"):
        show.boundary(lambda p: [1.0] * (1 + (p[0] > 1)), X, y)


def test_a_predict_of_the_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"shape \(6400,\) or \(6400, k\) for 6400 points, got shape \(3, 1\)"):
        show.boundary(None, X, y, predict=lambda points: np.zeros(3))


def test_axes_that_are_none() -> None:
    with pytest.raises(TypeError, match=r"ax must be matplotlib axes .* got 'left' of type str"):
        show.boundary(plane, X, y, ax="left")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pictures need matplotlib: pip install "macrograd\[plot\]"'):
        show.boundary(plane, X, y)


# --- Trainers, labels, panels ---------------------------------------------------------------------------------------


def test_a_trainer_is_asked_for_its_outputs_and_its_classes() -> None:
    trainer = SimpleNamespace(classes=["a", "b", "c"], outputs=lambda points: np.stack([-points[:, 0]] * 3, axis=1))
    ax = show.boundary(trainer, X, ["a", "c", "c", "a"])
    assert legend(ax) == ["a", "b", "c"]  # in the order of the outputs, and of their colours
    assert [len(c.get_offsets()) for c in ax.collections if c.get_label() in "abc"] == [2, 0, 2]


def test_a_fitted_trainer_with_strings_for_classes() -> None:
    names = ["left $", "left $", "right", "right"]
    trainer = mg.Trainer(nn.MLP(2, [1], seed=0), engine="eager")
    trainer.fit(X, names, steps=1, progress="none")
    ax = show.boundary(trainer, X, names)
    assert legend(ax) == [r"left \$", "right"]
    assert [a.get_ylabel() for a in show.training_figure(trainer, X, names).axes] == ["$x_2$", "score", "loss"]
    assert ax._repr_png_().startswith(b"\x89PNG")


def test_too_many_labels() -> None:
    with pytest.raises(ValueError, match="draws at most 8 classes, but y has 9 different labels"):
        show.boundary(plane, np.arange(18.0).reshape(9, 2), list("abcdefghi"))


def test_bar_and_legend_stay_in_their_panel() -> None:
    figure = Figure(figsize=(9, 5))
    panels = figure.subplots(2, 3)
    ax = show.boundary(plane, X, ["a long name of a class"] * 2 + ["another long name"] * 2, panels[1, 1])
    drawn = [other.get_tightbbox() for other in figure.axes if other is ax or other not in panels.ravel().tolist()]
    assert len(drawn) == 2
    assert max(box.x1 for box in drawn) < panels[1, 2].get_tightbbox().x0
    assert max(box.y1 for box in drawn) < panels[0, 1].get_tightbbox().y0 + 1.0


def test_a_figure_with_a_layout_engine_is_left_to_it() -> None:
    figure = Figure(layout="constrained")
    left, _ = figure.subplots(1, 2)
    before = left.get_position().bounds
    show.boundary(plane, X, y, left)
    assert left.get_position().x0 == before[0]


# --- figures ---------------------------------------------------------------------------------------------------------


def test_both_side_by_side_and_saved(tmp_path: Path) -> None:
    points, labels = datasets.make_moons(40, noise=0.1, seed=0)
    history = SimpleNamespace(losses=[1.0, 0.5, 0.1], metrics={"accuracy": [0.5, 0.7, 1.0]})

    def figure() -> Any:
        return show.training_figure(plane, points, labels, history)

    assert [ax.get_ylabel() for ax in figure().axes] == ["$x_2$", "score", "loss", "accuracy (%)"]
    for name in ("x.svg", "x.pdf", "x.png"):
        first = show.save(figure(), tmp_path / name).read_bytes()
        assert len(first) > 10_000
        assert show.save(figure().axes[0], tmp_path / name).read_bytes() == first  # to the byte, and axes will do
    assert figure()._repr_png_() == first


def test_without_a_metric_the_loss_has_the_column_to_itself() -> None:
    figure = show.training_figure(plane, X, y, SimpleNamespace(losses=[1.0, 0.5]))
    assert [ax.get_ylabel() for ax in figure.axes] == ["$x_2$", "score", "loss"]


def test_save_refuses_other_things(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be one of \.png, \.svg, \.pdf, got '\.gif'"):
        show.save(Figure(), tmp_path / "x.gif")
    with pytest.raises(TypeError, match=r"save\(\) takes a matplotlib figure or axes, got 3 of type int"):
        show.save(3, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_pyplot_and_matplotlib_stay_out_until_wanted() -> None:
    program = (
        "import sys, macrograd as mg; mg.draw(mg.Value(1.0)).dot; assert 'matplotlib' not in sys.modules; "
        "mg.show.boundary(lambda p: p[0], [[0, 0], [1, 1]], [0, 1]).figure._repr_png_(); "
        "assert 'matplotlib' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    root = str(Path(mg.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
