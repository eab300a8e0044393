"""Every mistake is found before any work is done, and its message says what to do."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

from macrograd import Value, _memory, nn, optim
from macrograd.train import Callback, EarlyStopping, Trainer

X = np.array([[0.0, 1.0], [1.0, -1.0], [2.0, 0.5], [-1.0, 0.25]])
Y = [0, 1, 1, 0]
HIDDEN = np.ma.array(X, mask=[[0, 1], [0, 0], [0, 0], [0, 0]])


class Nothing(nn.Module):
    def __call__(self, x: Any) -> Any:
        return x[0]


class Mute(nn.Module):
    def __init__(self) -> None:
        self.p = Value(1.0)


MAKING: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"model": len}, TypeError, "Trainer() takes a Module, got <built-in function len> of type"),
    ({"model": nn.MLP}, TypeError, "Trainer() takes a Module, got the class MLP: make one, as in nn.MLP(2, [16, 1])"),
    (
        {"loss": optim.SGD(0.1)},
        TypeError,
        "Trainer(model, loss) got SGD(lr=0.1) as the loss: give it by name, optimizer=SGD(lr=0.1)",
    ),
    (
        {"model": Mute()},
        TypeError,
        "a Mute cannot be called with a sample: define __call__(self, x), or give a loss (model, x, y)",
    ),
    ({"loss": "hing"}, ValueError, "unknown loss 'hing'"),
    (
        {"loss": lambda model: 0.0, "model": Mute()},
        TypeError,
        "a loss must be a function of (prediction, target) or of (model, x, y), got <lambda> with 1 arguments",
    ),
    ({"optimizer": 0.1}, TypeError, "optimizer must be one of optim, as in optim.Adam(1e-2), got 0.1"),
    ({"l2": -1.0}, ValueError, "l2 must be finite and not negative, got -1.0"),
    ({"l2": "1"}, ValueError, "l2 must be finite and not negative, got '1'"),
    (
        {"loss": lambda p: p},
        TypeError,
        "a loss must be a function of (prediction, target) or of (model, x, y), got <lambda>",
    ),
    ({"penalty": 3.0}, TypeError, "penalty must be a function (model) → scalar, got 3.0"),
    ({"engine": "steam"}, ValueError, "unknown engine 'steam': use compiled or eager"),
    ({"dtype": "float16"}, ValueError, "dtype must be 'float64' or 'float32', got 'float16'"),
    ({"threads": 0}, ValueError, "threads must be a positive integer, got 0"),
]


@pytest.mark.parametrize(("options", "kind", "message"), MAKING, ids=[m[2][:40] for m in MAKING])
def test_making(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        Trainer(**{"model": nn.MLP(2, [2, 1], seed=0), **options})
    assert str(caught.value).startswith(message)


NAN, INF = float("nan"), float("inf")

FITTING: list[tuple[dict[str, Any], type[Exception], str]] = [
    # X
    ({"X": X[:3]}, ValueError, "X has 3 samples and y 4 targets: there must be one for each"),
    ({"X": [], "y": []}, ValueError, "X is empty (shape (0,)): give at least one sample"),
    ({"X": 3.0}, ValueError, "X is a single number: it must hold samples, one per row"),
    (
        {"X": [[0, 1], [1, NAN], [2, 3], [4, INF]]},
        ValueError,
        "X[1, 1] is nan, in row 1, column 1: samples must be finite; remove the row or fill in a number",
    ),
    ({"X": [[0, 1], [1, 2], [2, 3], [4, -INF]]}, ValueError, "X[3, 1] is -inf, in row 3, column 1"),
    (
        {"X": [[0, 1], [1], [2, 3], [4, 5]]},
        ValueError,
        "row 1 of X has 1 number, row 0 has 2 numbers: all rows must have the same length",
    ),
    (
        {"X": [[0, "a"], [1, 2], [2, 3], [4, 5]]},
        TypeError,
        "X holds 'a' in row 0, column 1: samples must be numbers; encode strings as numbers",
    ),
    ({"X": X * 1j}, TypeError, "X must hold real numbers, got dtype complex128"),
    ({"X": HIDDEN}, ValueError, "X is masked at [0, 1], so there is no number: fill it in, as in array.filled(0.0)"),
    ({"X": [[10**400, 1]] * 4}, ValueError, "X[0, 0] is an integer beyond the floats: scale the data"),
    ({"X": {"a": 1}}, TypeError, "X: column 'a' is 1: give a list or an array of its cells"),
    (
        {"X": np.ones((4, 3))},
        ValueError,
        "the model cannot take a sample of shape (3,): this MLP takes 2 inputs, got 3",
    ),
    # y
    ({"y": [0, 1, 1]}, ValueError, "X has 4 samples and y 3 targets: there must be one for each"),
    ({"y": []}, ValueError, "y is empty (shape (0,)): give one target for each sample"),
    (
        {"y": [1, 1, 1, 1]},
        ValueError,
        "all targets are 1: there is nothing to tell apart (for numbers give y as floats, or loss='squared_error')",
    ),
    ({"y": [0.5, NAN, 1.0, 2.0]}, ValueError, "y is nan in row 1: targets must be finite"),
    ({"y": [[0.5, 1], [1, 2], [1, INF], [2, 2]]}, ValueError, "y is inf in row 2, column 1: targets must be finite"),
    ({"y": [[0, 1], [1], [1, 1], [2, 2]]}, ValueError, "y is ragged: every row must have the same number of targets"),
    ({"y": ["a", None, "b", "a"]}, ValueError, "y has no target in row 1: None"),
    (
        {"y": np.array(["a", 3, "b", "a"], dtype=object)},
        ValueError,
        "y mixes strings and numbers: make all labels strings, or all numbers",
    ),
    ({"y": np.zeros((4, 1, 1))}, ValueError, "y must be of shape (n,) or (n, outputs), got (4, 1, 1)"),
    ({"y": HIDDEN[:, 1]}, ValueError, "y is masked at [0], so there is no number"),
    ({"y": pd.array([False, None, True, True], dtype="boolean")}, ValueError, "y has no target in row 1: <NA>"),
    ({"y": [Value(0.0), Value(1.0)] * 2}, TypeError, "y holds Value(data=0.0, grad=0.0) in row 0, which is no number"),
    ({"y": [date(2026, 1, 2)] * 4}, TypeError, "y holds datetime.date(2026, 1, 2) in row 0, which is no number and no"),
    ({"y": [1, 10**30, 0, 1]}, ValueError, "y holds an integer beyond 64 bits in row 1: write it as a float"),
    ({"sample_weight": HIDDEN[:, 1]}, ValueError, "sample_weight is masked at [0], so there is no number"),
    ({"y": X * 1j}, TypeError, "y must hold numbers or labels, got dtype complex128"),
    (
        {"y": [0, 1, 2, 5]},
        ValueError,
        "y has 4 classes (0, 1, 2, 5) and the model has 1 output: make its last layer 4 wide; if y is a",
    ),
    (
        {"y": [[0.5, 1.0]] * 4},
        ValueError,
        "y has 2 numbers per row and the model has 1 output: make its last layer 2 wide",
    ),
    (
        {"loss": "cross_entropy"},
        ValueError,
        "y has two classes, cross_entropy takes 2 outputs and the model has 1 output: make its last layer 2 wide",
    ),
    (
        {"loss": "hinge", "y": [0, 1, 2, 1]},
        ValueError,
        "hinge is for two classes, but y has 3: use 'cross_entropy' with 3 outputs",
    ),
    (
        {"loss": "hinge", "y": [0.5, 1, 2, 1]},
        ValueError,
        "y holds numbers such as 0.5, but hinge is a loss for classes: use one of squared_error,",
    ),
    (
        {"loss": "hinge", "y": [[1, 0]] * 4},
        ValueError,
        "hinge takes one label per row, y has 2 columns: use 'binary_cross_entropy' for labels",
    ),
    (
        {"loss": "squared_error", "y": ["a", "b", "a", "b"]},
        ValueError,
        "y holds strings such as 'a', which squared_error cannot learn: use 'cross_entropy'",
    ),
    (
        {"loss": "binary_cross_entropy", "y": [0.5, 1.5, 1, 0]},
        ValueError,
        "y has 1.5 in row 1: binary_cross_entropy takes probabilities from 0 to 1 there",
    ),
    (
        {"loss": "cross_entropy", "y": [[0.5, 0.6]] * 4},
        ValueError,
        "row 0 of y has the sum 1.1: the probabilities of the classes must have the sum 1 in every row",
    ),
    (
        {"y": [["a", "b"]] * 4},
        ValueError,
        "y has 2 columns of strings: give one column of labels, such as y[:, 0], to learn its classes; several columns",
    ),
    (
        {"loss": lambda p, t: p, "y": ["a", "b", "a", "b"]},
        ValueError,
        "y holds <U1 and the loss is a custom function, which needs numbers: encode the labels, or name a loss",
    ),
    (
        {"loss": lambda p, t: [p, p]},
        TypeError,
        "the loss <lambda> must return one scalar for one sample, but returned a list of 2: return its sum or mean",
    ),
    # how
    ({"batch_size": 5}, ValueError, "batch_size 5 is larger than the 4 samples: give 4 or less, or None for all"),
    ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1, got 0"),
    ({"epochs": 1, "steps": 1}, ValueError, "give epochs or steps, not both (got epochs=1, steps=1)"),
    ({"epochs": -1}, ValueError, "epochs must be an integer of at least 0, got -1"),
    ({"steps": 1.5}, ValueError, "steps must be an integer of at least 0, got 1.5"),
    ({"seed": -1}, ValueError, "seed must be an integer of at least 0, got -1"),
    ({"clip_norm": 0.0}, ValueError, "clip_norm must be finite and positive, got 0.0"),
    ({"schedule": -0.1}, ValueError, "a learning rate must be 0 or more and finite, got -0.1"),
    ({"schedule": lambda step: NAN}, ValueError, "the schedule gives the rate nan at step 0: rates must be finite"),
    ({"callbacks": [3]}, TypeError, "a callback must be a Callback or a function (run), got 3"),
    ({"progress": "loud"}, ValueError, "progress must be one of 'auto', 'bar', 'plain', 'none', got 'loud'"),
    ({"metrics": ["auc"]}, ValueError, "unknown metric 'auc': use one of accuracy, mean_absolute_error"),
    ({"metrics": ["r2"]}, ValueError, "metric 'r2' does not apply to targets that are two classes: use accuracy"),
    (
        {"metrics": ["accuracy"], "y": [0.1, 0.2, 0.3, 0.4]},
        ValueError,
        "metric 'accuracy' does not apply to targets that are numbers: use mean_absolute_error",
    ),
    (
        {"metrics": ["accuracy"], "loss": lambda p, t: p},
        ValueError,
        "metric 'accuracy' cannot interpret the outputs of a custom loss",
    ),
    (
        {"early_stopping": 3},
        ValueError,
        "early stopping watches 'validation_loss', but there is no validation data: give validation=, or",
    ),
    (
        {"early_stopping": EarlyStopping(3, monitor="accuracy")},
        ValueError,
        "early stopping watches 'accuracy', which is not computed",
    ),
    (
        {"early_stopping": EarlyStopping(3, monitor="validation_accuracy"), "validation": (X, Y)},
        ValueError,
        "early stopping watches 'validation_accuracy', which is not computed: there are validation_loss; give",
    ),
    (
        {"early_stopping": True, "validation": (X, Y)},
        ValueError,
        "EarlyStopping patience must be a positive integer, got",
    ),
    (
        {"early_stopping": 2.5, "validation": (X, Y)},
        ValueError,
        "EarlyStopping patience must be a positive integer, got",
    ),
    ({"clip_norm": "1"}, ValueError, "clip_norm must be finite and positive, got '1'"),
    (
        {"schedule": "cosine"},
        TypeError,
        "a learning rate must be a number or a schedule, as in optim.cosine(0.1, 0.0, 1000), ",
    ),
    ({"callbacks": Callback}, TypeError, "a callback must be an object, not the class itself: pass Callback()"),
    ({"y": [0, "a", 1, "b"]}, ValueError, "y mixes strings and numbers: make all labels strings, or all numbers"),
    ({"resume": True}, ValueError, "resume=True needs a checkpoint to resume from: give checkpoint=PATH"),
    # weights
    (
        {"sample_weight": [1, 2, 3]},
        ValueError,
        "sample_weight has shape (3,), but there are 4 samples: give one for each",
    ),
    (
        {"sample_weight": [1, 2, -3, 1]},
        ValueError,
        "sample_weight is -3.0 in row 2: weights must be finite and not negative",
    ),
    (
        {"sample_weight": [0, 0, 0, 0]},
        ValueError,
        "sample_weight is 0 for every sample: there is nothing to learn from",
    ),
    (
        {"class_weight": "heavy"},
        ValueError,
        "class_weight must be 'balanced' or a dict of weights by label, got 'heavy'",
    ),
    ({"class_weight": {2: 1.0}}, ValueError, "class_weight names the label 2, which y does not have: it has 0, 1"),
    (
        {"class_weight": {0: 0.0, 1: 0}},
        ValueError,
        "class_weight is 0 for every sample: there is nothing to learn from",
    ),
    (
        {"class_weight": {1: 0.0}, "sample_weight": [0.0, 1.0, 0.0, 1.0], "y": [0, 1, 0, 1]},
        ValueError,
        "class_weight with sample_weight is 0 for every sample: there is nothing to learn from",
    ),
    ({"class_weight": {1: -1.0}}, ValueError, "class_weight of 1 is -1.0: weights must be finite and not negative"),
    (
        {"class_weight": {1: 2.0}, "y": [0.1, 0.2, 0.3, 0.4]},
        ValueError,
        "class_weight is for targets that are classes, but y holds numbers",
    ),
    # validation
    (
        {"validation": (X,)},
        ValueError,
        "validation must be (Xv, yv), (Xv, yv, weights) or a fraction of the data, got tuple",
    ),
    (
        {"validation": (np.ones((2, 3)), [0, 1])},
        ValueError,
        "Xv has samples of shape (3,), but X of shape (2,): they must match",
    ),
    ({"validation": (X, [0, 1])}, ValueError, "Xv has 4 samples and yv 2 targets: there must be one for each"),
    (
        {"validation": (X, [0, 1, 2, 0])},
        ValueError,
        "yv has the label 2 in row 2, which training did not see: known are 0, 1",
    ),
    ({"validation": ([[NAN, 0]], [0])}, ValueError, "Xv[0, 0] is nan, in row 0, column 0"),
    ({"validation": 1.5}, ValueError, "the validation fraction must be between 0 and 1, got 1.5"),
    (
        {"validation": 0.01},
        ValueError,
        "a fraction of 0.01 of 4 samples leaves 0 for validation and 4 for training: both need at least one",
    ),
    ({"validation": 0.25}, ValueError, "the split leaves no sample of the class"),
]


@pytest.mark.parametrize("engine", ["compiled", "eager"])
@pytest.mark.parametrize(("options", "kind", "message"), FITTING, ids=[m[2][:50] for m in FITTING])
def test_fitting(options: dict[str, Any], kind: type[Exception], message: str, engine: str) -> None:
    model = nn.MLP(2, [2, 1], seed=0)
    before = [p.data for p in model.parameters()]
    given = {"X": X, "y": Y, "progress": False, "steps": None if "epochs" in options else 2, **options}
    trainer = Trainer(model, given.pop("loss", None), engine=engine)
    with pytest.raises(kind) as caught:
        trainer.fit(given.pop("X"), given.pop("y"), **given)
    assert str(caught.value).startswith(message)
    assert [p.data for p in model.parameters()] == before


def test_models_that_cannot_be_trained() -> None:
    with pytest.raises(ValueError, match="this Nothing has no parameters to train: frozen parameters are not trained"):
        Trainer(Nothing()).fit(X, Y)
    model = nn.MLP(2, [1], seed=0)
    model.layers[0].neurons[0].b.data = NAN
    with pytest.raises(ValueError, match=r"the parameter layers\.0\.neurons\.0\.b is nan before training"):
        Trainer(model).fit(X, Y)


def test_a_model_beyond_the_memory_is_refused_before_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Nothing()
    model.weights = [Value(0.0) for _ in range(1000)]
    monkeypatch.setattr(_memory, "COUNTED", 1)
    monkeypatch.setattr(_memory, "there", lambda: 500_000)
    monkeypatch.setattr(Nothing, "__call__", None)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        Trainer(model, "squared_error").fit(X, Y)
    assert str(caught.value) == (
        "this Nothing has 1,000 parameters to train, which take some 0.0 GiB of memory, and the machine has 0.0: take "
        "fewer inputs or fewer neurons"
    )


def test_a_value_that_is_no_part_of_the_model() -> None:
    outside = Value(2.0, label="scale")
    trainer = Trainer(nn.MLP(2, [1], seed=0), lambda p, t: outside * (p - t) ** 2)
    with pytest.raises(ValueError, match=r"label='scale'\), which is not part of the model: make it an attribute"):
        trainer.fit(X, Y, progress=False)


def test_an_optimiser_of_another_model() -> None:
    optimizer = optim.Adam(0.1)
    Trainer(nn.MLP(2, [1], seed=0), optimizer=optimizer).fit(X, Y, steps=1, progress=False)
    with pytest.raises(
        ValueError, match="holds the state of 3 parameters, but the model has 9: use a separate optimiser"
    ):
        Trainer(nn.MLP(2, [2, 1], seed=0), optimizer=optimizer).fit(X, Y, steps=1, progress=False)


def test_a_trainer_prints_its_model_and_its_steps() -> None:
    trainer = Trainer(nn.MLP(2, [1], seed=0), optimizer=optim.SGD(0.1))
    model = "MLP of [Layer of 1 × Neuron(2, linear)]: 3 parameters"
    assert repr(trainer) == f"Trainer({model}, SGD(lr=0.1), not trained)"
    trainer.fit(X, Y, steps=2, progress=False)
    assert repr(trainer) == f"Trainer({model}, SGD(lr=0.1), 2 steps)"


def test_using_what_was_not_trained_or_does_not_fit() -> None:
    trainer = Trainer(nn.MLP(2, [1], seed=0))
    for call in (trainer.predict, trainer.outputs, trainer.probabilities, trainer.predict_one):
        with pytest.raises(RuntimeError, match="cannot interpret outputs before it is fitted: call fit first"):
            call(X)
    with pytest.raises(RuntimeError, match="call fit first"):
        trainer.evaluate(X, Y)
    trainer.fit(X, Y, steps=1, progress=False)
    with pytest.raises(ValueError, match=r"X has samples of shape \(3,\), the model was trained with \(2,\)$"):
        trainer.predict(np.ones((4, 3)))
    with pytest.raises(
        ValueError, match=r"X has samples of shape \(\), .*: a single sample must be a row, as in \[x\]"
    ):
        trainer.predict([1.0, 2.0])
    with pytest.raises(ValueError, match="y has the label 7 in row 1, which training did not see: known are 0, 1"):
        trainer.evaluate(X, [0, 7, 1, 1])
    with pytest.raises(ValueError, match="X has 4 samples and y 2 targets"):
        trainer.evaluate(X, [0, 1])
    for engine in ("compiled", "eager"):
        other = Trainer(nn.MLP(2, [1], seed=0), "hinge", engine=engine)
        other.fit(X, Y, steps=1, progress=False)
        for sample in ([1.0], [1.0, 2.0, 3.0], 1.0):
            with pytest.raises(ValueError, match=r"a sample must have shape \(2,\), got"):
                other.predict_one(sample)
        with pytest.raises(ValueError, match="the outputs of a model trained with hinge are not probabilities"):
            other.probabilities(X)


def test_early_stopping_takes_a_patience() -> None:
    with pytest.raises(ValueError, match="EarlyStopping patience must be a positive integer, got 0"):
        EarlyStopping(0)


def test_a_callback_does_nothing_by_itself() -> None:
    history = Trainer(nn.MLP(2, [1], seed=0)).fit(X, Y, steps=3, callbacks=Callback(), progress=False)
    assert len(history) == 3


def test_early_stopping_counts_changes_above_min_delta() -> None:
    def epochs(rule: EarlyStopping) -> int:
        trainer = Trainer(nn.MLP(2, [1], seed=1), "hinge", engine="eager")
        return len(trainer.fit(X, Y, epochs=6, validation=(X, Y), early_stopping=rule, progress=False))

    assert epochs(EarlyStopping(2)) == 6
    assert epochs(EarlyStopping(2, min_delta=1e9)) == 3  # the first epoch sets the mark, and two miss it
    with pytest.raises(TypeError, match="'least'"):
        EarlyStopping(2, least=0.1)


def test_targets_may_be_any_objects_that_are_numbers() -> None:
    def losses(labels: Any) -> list[float]:
        return list(Trainer(nn.MLP(2, [1], seed=1), "squared_error").fit(X, labels, steps=2, progress="none").losses)

    for labels in (np.array([False, True, True, False], dtype=object), [Fraction(0), Fraction(1), 1, 0]):
        assert losses(labels) == losses(Y)


@pytest.mark.filterwarnings("ignore")  # NumPy's, about NaN, would be an error here, and is none for users
def test_a_mask_that_hides_nothing_is_ignored() -> None:
    trainer = Trainer(nn.MLP(2, [3, 1], seed=1))
    trainer.fit(np.ma.array(X), np.ma.array(Y), steps=1, progress="none")
    assert trainer.predict(np.ma.array(X, mask=False)).tolist() == trainer.predict(X).tolist()
    for call in (trainer.predict, trainer.predict_one):
        with pytest.raises(ValueError, match=r" is masked at \[.*1\], so there is no number"):
            call(HIDDEN if call == trainer.predict else HIDDEN[0])
    with pytest.raises(ValueError, match="a sample contains an integer beyond the floats: scale the data"):
        trainer.predict_one([10**400, 1])
