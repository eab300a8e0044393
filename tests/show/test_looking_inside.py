"""The pictures that look into a model: what they draw, from what, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import macrograd as mg
from macrograd import datasets, losses, nn, show
from macrograd.show.attribution import contributions
from macrograd.show.landscape import plane

X, Y = datasets.make_moons(30, noise=0.1, seed=1)


class Line(nn.Module):
    """An affine function, written by hand."""

    def __init__(self) -> None:
        self.rows, self.b = [[mg.Value(1.0), mg.Value(-2.0)], [mg.Value(0.5), mg.Value(3.0)]], mg.Value(0.25)

    def __call__(self, x: Any) -> Any:
        return mg.dot(self.rows[0], x) + mg.dot(self.rows[1], x) + self.b


@pytest.fixture(scope="module")
def trainer() -> mg.Trainer:
    trainer = mg.Trainer(nn.MLP(2, [5, 1], seed=1), scale="standard", l2=0.01)
    trainer.fit(pd.DataFrame(X, columns=["wide", "high"]), Y, epochs=2, progress=False)
    for weight in trainer.model.net.layers[0].neurons[3].w:
        weight.data = 0.0
    trainer.model.net.layers[0].neurons[3].b.data = -1.0  # a dead relu
    return trainer


FRAME = pd.DataFrame(X, columns=["wide", "high"])


def test_every_picture_shows_itself_and_can_be_saved(trainer: mg.Trainer, tmp_path: Path) -> None:
    pictures = [
        show.activations(trainer, FRAME),
        show.weights(trainer),
        show.gradients(trainer, FRAME, Y),
        show.landscape(trainer, FRAME, Y),
        show.attribution(trainer, FRAME.iloc[[0]]),
    ]
    for picture in pictures:
        assert callable(picture._repr_png_)
        getattr(picture, "figure", picture).draw_without_rendering()  # lays it out, and warns if that fails
    assert show.save(pictures[1], tmp_path / "weights.png").read_bytes()[:4] == b"\x89PNG"


# --- activations ------------------------------------------------------------------------------------------------------


def test_activations_are_those_of_the_model(trainer: mg.Trainer) -> None:
    figure = show.activations(trainer, FRAME)
    first, last = figure.axes
    assert first.get_title(loc="left") == "net.layers.0: 5 relu"
    assert last.get_title(loc="left") == "net.layers.1: 1 linear"
    outputs = np.array([[out.data for out in trainer.model.net.layers[0](row)] for row in (X - X.mean(0)) / X.std(0)])
    (image,) = first.images
    assert image.get_extent() == pytest.approx([-0.5, 4.5, 0.0, outputs.max()], rel=1e-12)
    shares = np.asarray(image.get_array()) ** 2
    edges = np.linspace(0.0, outputs.max(), len(shares) + 1)
    for k in range(5):
        assert shares[:, k] == pytest.approx(np.histogram(outputs[:, k], edges)[0] / len(X))
    assert first.get_xlabel() == "neuron, 1 constant"
    (dot,) = first.lines
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([3], [0.0])


def test_activations_need_neurons() -> None:
    with pytest.raises(ValueError, match=r"shows what nn.Neurons compute, and Line has none: show.weights"):
        show.activations(Line(), X)
    with pytest.raises(ValueError, match=r"takes samples X, a row for each, got an array of shape \(0, 2\)"):
        show.activations(nn.MLP(2, [1]), X[:0])
    with pytest.raises(ValueError, match="samples of finite numbers"):
        show.activations(nn.MLP(2, [1]), X * np.nan)
    with pytest.raises(TypeError, match=r"takes a Trainer or an nn\.Module, got 3 of type int"):
        show.activations(3, X)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weights_are_matrices_with_the_biases_apart() -> None:
    model = nn.MLP(2, [3, 1], seed=1)
    first, second, _ = show.weights(model).axes
    assert first.get_title(loc="left") == "layers.0\n3 × 2"
    (image,) = first.images
    drawn = np.ma.filled(image.get_array(), np.nan)
    for row, neuron in zip(drawn, model.layers[0].neurons, strict=True):
        assert row == pytest.approx([neuron.w[0].data, neuron.w[1].data, np.nan, neuron.b.data], nan_ok=True)
    assert image.get_clim() == second.images[0].get_clim()  # a colour is the same number everywhere
    assert [label.get_text() for label in first.get_xticklabels()] == ["0", "1", "b"]
    # Numbers near 0 are white: frames show where the matrix and the biases are.
    assert [(frame.get_x(), frame.get_width()) for frame in first.patches] == [(-0.5, 2), (2.5, 1)]


def test_weights_of_other_modules_are_drawn_by_attribute() -> None:
    matrix, number, _ = show.weights(Line()).axes
    assert (matrix.get_title(loc="left"), number.get_title(loc="left")) == ("rows\n2 × 2", "b\n1 × 1")
    assert np.asarray(matrix.images[0].get_array()).tolist() == [[1.0, -2.0], [0.5, 3.0]]
    with pytest.raises(ValueError, match="Module has no parameters"):
        show.weights(nn.Module())


# --- gradients --------------------------------------------------------------------------------------------------------


def means(ax: Any) -> list[float]:
    """The places of the ticks at the root mean squares."""
    return [line.get_xdata()[0] for line in ax.lines if line.get_linewidth() == 2.0]


def test_gradients_of_a_trainer_are_those_of_its_loss(trainer: mg.Trainer) -> None:
    drawn = show.gradients(trainer, FRAME, Y)
    net = trainer.model.net
    net.zero_grad()
    rows = ((X - X.mean(0)) / X.std(0)).tolist()
    total = mg.mean(losses.binary_cross_entropy(net(row), int(t)) for row, t in zip(rows, Y, strict=True))
    (total + 0.01 * sum(p * p for p in net.parameters())).backward()
    layers = [np.array([p.grad for p in layer.parameters()]) for layer in net.layers]
    net.zero_grad()
    assert means(drawn) == pytest.approx([np.sqrt(np.mean(g * g)) for g in layers], rel=1e-9)
    assert [label.get_text() for label in drawn.get_yticklabels()] == ["net.layers.0", "net.layers.1"]
    assert [text.get_text() for text in drawn.texts] == ["2 of 15 are 0"]  # weights of the dead relu that are 0


def test_gradients_of_a_module_with_a_loss_and_as_they_are() -> None:
    model = Line()
    drawn = show.gradients(model, X, Y * 2.0 - 1.0, loss="hinge")
    assert all(p.grad == 0.0 for p in model.parameters())
    mg.mean(losses.hinge(model(row), 2.0 * t - 1.0) for row, t in zip(X.tolist(), Y.tolist(), strict=True)).backward()
    as_they_are = show.gradients(model)
    assert means(as_they_are) == pytest.approx(means(drawn), rel=1e-9)


def test_gradients_say_what_they_need(trainer: mg.Trainer) -> None:
    with pytest.raises(ValueError, match="needs samples X and targets y"):
        show.gradients(trainer)
    with pytest.raises(ValueError, match="takes samples X and targets y together"):
        show.gradients(trainer, X)
    with pytest.raises(ValueError, match="of a Module needs a loss"):
        show.gradients(Line(), X, Y)
    with pytest.raises(ValueError, match="of a Trainer shows its own loss"):
        show.gradients(trainer, FRAME, Y, loss="hinge")
    with pytest.raises(ValueError, match="got 30 samples and 29 targets"):
        show.gradients(Line(), X, Y[1:], loss="hinge")
    with pytest.raises(ValueError, match="every gradient is 0 or not finite"):
        show.gradients(Line())


# --- landscape --------------------------------------------------------------------------------------------------------


def test_the_landscape_is_the_loss_at_steps_of_the_neurons_own_size() -> None:
    model = nn.MLP(2, [3, 1], activation="tanh", seed=1)
    before = [p.data for p in model.parameters()]
    function = mg.compile(lambda x, t: losses.squared_error(model(x), t), batch=True)
    steps, heights = plane(function, (X, Y), model, 1.0, seed=0)
    middle = len(steps) // 2
    assert steps[middle] == 0.0
    assert heights[middle, middle] == pytest.approx(np.mean(function(X, Y)), rel=1e-12)
    assert [p.data for p in model.parameters()] == before
    # Of a net that is linear in one neuron, a direction of the neuron's norm gives a parabola.
    line = nn.Neuron(2, nonlin=False, seed=1)
    linear = mg.compile(lambda x, t: losses.squared_error(line(x), t), batch=True)
    steps, heights = plane(linear, (X, Y), line, 1.0, seed=0)
    assert np.diff(heights, 3, axis=1) == pytest.approx(np.zeros((41, 38)), abs=1e-12)
    assert show.landscape(line, X, Y, loss="squared_error").get_xlim() == pytest.approx((-1.0, 1.0))


def test_the_landscape_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ValueError, match="finite positive span, got -1"):
        show.landscape(Line(), X, Y, loss="hinge", span=-1)
    with pytest.raises(ValueError, match="not finite anywhere"):
        show.landscape(Line(), X, Y, loss=lambda p, t: mg.log(-mg.exp(p)))


# --- attribution ------------------------------------------------------------------------------------------------------


def test_contributions_add_up_and_are_exact_for_a_line() -> None:
    x = np.array([2.0, -1.0])
    parts, before, after, chosen = contributions(Line(), x, np.zeros(2), None)
    assert parts == pytest.approx([1.5 * 2.0, 1.0 * -1.0], rel=1e-12)
    assert (before, after, chosen) == (0.25, 2.25, None)
    model = nn.MLP(4, [8, 3], activation="tanh", seed=1)
    x = np.array([0.3, -2.0, 1.0, 0.5])
    parts, before, after, chosen = contributions(model, x, np.full(4, 0.5), None)
    assert parts.sum() == pytest.approx(after - before, abs=1e-4)
    assert parts[3] == 0.0  # as in the baseline
    assert after == max(out.data for out in model(x.tolist()))
    assert model(x.tolist())[chosen].data == after


def test_attribution_names_columns_and_classes(trainer: mg.Trainer) -> None:
    drawn = show.attribution(trainer, FRAME.iloc[[0]])
    assert sorted(text.get_text().partition(" = ")[0] for text in drawn.get_yticklabels()) == ["high", "wide"]
    assert drawn.get_title(loc="left").startswith("the output: ")
    three = mg.Trainer(nn.MLP(2, [3], seed=1))
    three.fit(X, np.array(["a", "b", "c"])[np.arange(30) % 3], steps=0, progress=False)
    assert show.attribution(three, X[0], output=2).get_title(loc="left").startswith("the score of 'c': ")
    many = nn.MLP(36, [1], seed=1)
    assert len(show.attribution(many, np.ones(36)).get_yticklabels()) == 21
    (image,) = show.attribution(many, np.ones(36), shape=(4, 9)).images
    assert np.asarray(image.get_array()).shape == (4, 9)


def test_attribution_refuses_what_does_not_fit() -> None:
    model = nn.MLP(2, [2], seed=1)
    with pytest.raises(ValueError, match="explains one sample of numbers, got 30 samples: give X"):
        show.attribution(model, X)
    with pytest.raises(ValueError, match="got output 2, and the model has outputs 0 to 1"):
        show.attribution(model, X[0], output=2)
    with pytest.raises(ValueError, match="a baseline of 2 finite numbers, or one for all"):
        show.attribution(model, X[0], baseline=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="got 1 names for 2 numbers"):
        show.attribution(model, X[0], names=["a"])
    with pytest.raises(ValueError, match=r"cannot draw 2 numbers as a picture of shape \(2, 2\)"):
        show.attribution(model, X[0], shape=(2, 2))
