"""The meaning of targets and outputs: labels stored as floats, outputs of one sign, and a second fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, nn, optim
from macrograd.train.samples import ranges, targets

X = np.concatenate([np.random.RandomState(0).normal(size=(40, 2)) * 0.3 + m for m in ((0, 0), (3, 0), (0, 3))])
Y = np.repeat(np.arange(3), 40)


def trained(y: Any, outputs: int = 3, **options: Any) -> mg.Trainer:
    trainer = mg.Trainer(nn.MLP(2, [8, outputs], init="he_normal", seed=1), optimizer=optim.Adam(0.03), **options)
    trainer.fit(X[: len(y)], y, steps=150, progress=False)
    return trainer


# --- labels stored as floats -----------------------------------------------------------------------------------------


def test_whole_floats_with_an_output_each_are_classes() -> None:
    trainer = trained(Y.astype(float))
    assert trainer.classes == [0.0, 1.0, 2.0]
    assert np.mean(trainer.predict(X) == Y) == 1.0


@pytest.mark.parametrize("make", [lambda y: y * 1.0, lambda y: y * 2 - 1.0, lambda y: y + 1.0], ids=["01", "±1", "12"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_two_whole_floats_are_two_classes(make: Callable[[Any], Any], outputs: int) -> None:
    y = make(Y[:80])
    trainer = trained(y, outputs)
    assert trainer.classes == np.unique(y).tolist()
    assert np.mean(trainer.predict(X[:80]) == y) == 1.0


def test_one_1_in_each_row_of_floats_is_a_class() -> None:
    trainer = trained(np.eye(3)[Y])
    assert trainer.classes == [0, 1, 2]
    assert np.mean(trainer.predict(X) == Y) == 1.0


def test_floats_stay_numbers_where_they_are_or_the_loss_says_so() -> None:
    assert trained(Y.astype(float), 1).classes is None  # one output: 0, 1 and 2 are how much
    assert trained(Y[:80] * 1.0, 1, loss="squared_error").classes is None
    assert trained(Y[:80] * 5.0, 1).classes is None  # 0 and 5
    assert trained(Y * 0.5, 1).classes is None
    assert trained(np.stack([Y[:80], 1.5 * Y[:80]], axis=1), 2).classes is None


@pytest.mark.parametrize("loss", ["squared_error", None])
def test_whole_floats_may_be_meant_as_labels(loss: str | None) -> None:
    labels = np.array([0.0, 1.0, 2.0, 1.0])
    with pytest.raises(ValueError, match="make its last layer 1 wide") as caught:
        targets.of(labels, loss, 5)
    # Somebody who names a loss for numbers, or has fractions, has no labels.
    assert ("if they are class labels, give loss='cross_entropy'" in str(caught.value)) == (loss is None)
    with pytest.raises(ValueError, match="y has a number per row"):
        targets.of(labels + 0.5, None, 5)
    with pytest.raises(ValueError, match=r"y has 3 classes \(0.0, 1.0, 2.0\) and the model has 5 outputs"):
        targets.of(labels, "cross_entropy", 5)


@pytest.mark.parametrize("y", [["a", "b", "c", "b"], [0, 1, 2, 1], [0.0, 1.0, 2.0, 1.0]])
def test_a_column_of_a_table_is_one_target_a_row(y: list[Any]) -> None:
    column = np.array(y)[:, None]
    for loss, outputs in ((None, 3), (lambda outputs, target: target, 3), ("cross_entropy", 3), (None, 0)):
        if callable(loss) and isinstance(y[0], str):
            continue
        found = targets.of(column, loss, outputs)
        assert found.kind == targets.of(y, loss, outputs).kind
        assert np.array_equal(found.encode(column), found.encode(y))


# --- outputs of one sign ---------------------------------------------------------------------------------------------


class Squared(nn.Module):
    def __init__(self) -> None:
        self.w = [Value(0.5), Value(-0.5)]

    def __call__(self, x: Any) -> Any:
        score = self.w[0] * x[0] + self.w[1] * x[1]
        return score * score + 1.0


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "softplus"])
@pytest.mark.parametrize("loss", [None, "hinge", "binary_cross_entropy"])
def test_an_output_that_is_never_negative_is_refused_before_any_work(activation: str, loss: str | None) -> None:
    model = nn.MLP(2, [4, 1], output_activation=activation, seed=1)
    before = [p.data for p in model.parameters()]
    with pytest.raises(
        ValueError, match=r"the model's output is never negative.*it would be 1 for every sample\. Use a linear"
    ):
        mg.Trainer(model, loss).fit(X[:80], Y[:80], progress=False)
    assert [p.data for p in model.parameters()] == before


def test_yes_or_no_labels_and_nets_of_ones_own_too() -> None:
    labels = np.stack([Y == 1, Y > 0], axis=1).astype(int)
    with pytest.raises(ValueError, match="since sigmoid makes it"):
        mg.Trainer(nn.MLP(2, [4, 2], output_activation="sigmoid", seed=1)).fit(X, labels, progress=False)
    with pytest.raises(ValueError, match="never negative"):
        mg.Trainer(Squared()).fit(X[:80], Y[:80], progress=False)


def test_losses_that_ask_for_no_sign_take_such_outputs() -> None:
    model = nn.MLP(2, [4, 1], output_activation="sigmoid", seed=1)
    mg.Trainer(model, "squared_error").fit(X[:80], Y[:80], steps=3, progress=False)
    model = nn.MLP(2, [4, 3], output_activation="softplus", seed=1)
    mg.Trainer(model).fit(X, Y, steps=3, progress=False)  # the largest of three


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x, False),
        (mg.sigmoid, True),
        (mg.exp, True),
        (mg.tanh, False),
        (mg.softplus, True),
        (mg.relu, True),
        (lambda x: mg.relu(x) - 1.0, False),
        (lambda x: mg.relu(x) + 1.0, True),
        (lambda x: x * x, True),
        (lambda x: x * (x + 0.0), False),
        (lambda x: mg.maximum(x, 0.5), True),
        (lambda x: mg.maximum(x, -0.5), False),
        (lambda x: mg.relu(x) * -1.0, False),
        (lambda x: -mg.sigmoid(x), False),
    ],
)
def test_what_can_be_said_of_an_output(function: Callable[[Any], Any], expected: bool) -> None:
    assert ranges.never_negative(function(Value(0.3))) is expected


def test_a_long_chain_is_not_followed() -> None:
    x: Any = Value(1.0)
    for _ in range(100_000):
        x = mg.relu(x) + x
    assert ranges.never_negative(x) is False


# --- scales ----------------------------------------------------------------------------------------------------------


def far_apart() -> Any:
    return np.stack([X[:, 0], 1000.0 * X[:, 1] + 5000.0], axis=1)


def test_features_far_apart_in_scale_are_said() -> None:
    raw, model = far_apart(), nn.MLP(2, [8, 3], seed=1)
    with pytest.warns(
        mg.train.TrainingWarning, match=r"column 1 has the deviation 1\.\d+e\+03, column 0 1\.\d+; nets learn"
    ):
        mg.Trainer(model, optimizer=optim.Adam(1e-4)).fit(raw, Y, steps=1, progress=False)


@pytest.mark.parametrize("scale", ["standard", "robust"])
@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_a_trainer_scales_and_takes_raw_numbers_ever_after(scale: str, engine: str, tmp_path: Path) -> None:
    raw = far_apart()
    model = nn.MLP(2, [8, 3], init="he_normal", seed=1)
    trainer = mg.Trainer(model, optimizer=optim.Adam(0.03), scale=scale, engine=engine)
    trainer.fit(raw, Y, steps=120, progress=False)
    assert np.mean(trainer.predict(raw) == Y) == 1.0
    outputs = trainer.outputs(raw)
    np.testing.assert_allclose(trainer.predict_one(raw[7]), outputs[7], rtol=1e-9)
    trainer.fit(raw[:50], Y[:50], steps=5, progress=False)  # on the same scales
    mg.save(trainer, tmp_path / "m")
    loaded = mg.Trainer(mg.load(tmp_path / "m"))
    np.testing.assert_allclose(loaded.outputs(raw), trainer.outputs(raw), rtol=1e-9)
    assert loaded.predict(raw).tolist() == trainer.predict(raw).tolist()


def test_scales_that_do_not_go() -> None:
    with pytest.raises(ValueError, match="scale must be 'standard' or 'robust' or None, got 'minmax'"):
        mg.Trainer(nn.MLP(2, [1]), scale="minmax")
    with pytest.raises(
        ValueError, match=r"scale='standard' needs samples that are rows of numbers, but these have shape \(\)"
    ):
        mg.Trainer(nn.MLP(1, [1]), scale="standard").fit(X[:, 0], Y * 0.5, steps=1, progress=False)


# --- a second fit ----------------------------------------------------------------------------------------------------


def test_classes_belong_to_the_net_once_it_is_trained() -> None:
    words = np.array(["cat", "dog", "fox"])[Y]
    trainer = trained(words)
    with pytest.raises(ValueError, match=r"y has the label 'ant', and the classes of this model are cat, dog, fox"):
        trainer.fit(X, np.array(["ant", "cat", "dog"])[Y], steps=1, progress=False)
    assert trainer.classes == ["cat", "dog", "fox"]
    assert np.mean(trainer.predict(X) == words) == 1.0


def test_a_chunk_that_lacks_a_class_can_be_fitted() -> None:
    words = np.array(["cat", "dog", "fox"])[Y]
    trainer = trained(words)
    trainer.fit(X[40:], words[40:], steps=5, progress=False)
    trainer.fit(X[:40], words[:40], steps=5, progress=False)  # a single class
    assert trainer.classes == ["cat", "dog", "fox"]
    assert np.mean(trainer.predict(X) == words) > 0.9


def test_classes_can_be_named_beforehand() -> None:
    words = np.array(["cat", "dog", "fox"])[Y]
    trainer = mg.Trainer(
        nn.MLP(2, [8, 3], init="he_normal", seed=1), optimizer=optim.Adam(0.03), classes=["fox", "cat", "dog"]
    )
    for _ in range(40):
        for part in (slice(0, 80), slice(80, 120)):
            trainer.fit(X[part], words[part], steps=4, progress=False)
    assert trainer.classes == ["cat", "dog", "fox"]
    assert np.mean(trainer.predict(X) == words) > 0.9
    with pytest.raises(ValueError, match="y has the label 'ant'"):
        mg.Trainer(nn.MLP(2, [2], seed=1), classes=["cat", "dog"]).fit(X[:2], ["ant", "cat"], progress=False)


def test_numbers_stay_numbers() -> None:
    trainer = trained(Y * 0.5, 1)
    trainer.fit(X, Y, steps=5, progress=False)  # whole ones this time
    assert trainer.classes is None
