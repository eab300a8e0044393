"""The parts of good training on tables: scaled targets, smoothed labels, weights of held-out rows, `nn.Tabular`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import nn, optim
from macrograd.compiler.jit import native
from macrograd.nn import losses
from macrograd.train import EarlyStopping, known
from macrograd.train.objective import Smoothed

rng = np.random.RandomState(1)
X = rng.normal(size=(60, 2))
Z = 1000.0 + 50.0 * X[:, 0]
C = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


def fitted(loss: Any = None, outputs: int = 1, y: Any = Z, engine: str = "compiled", **options: Any) -> mg.Trainer:
    trainer = mg.Trainer(
        nn.MLP(2, [4, outputs], activation="tanh", seed=1), loss, optim.Adam(0.02), engine=engine, **options
    )
    trainer.fit(X, y, epochs=3, batch_size=16, progress=False)
    return trainer


def test_a_scaled_target_is_learned_as_if_it_had_been_scaled_before() -> None:
    there = fitted(scale_target=True)
    middle, unit = Z.mean(), Z.std()
    before = fitted(y=(Z - middle) / unit)
    assert np.allclose(there.outputs(X), before.outputs(X) * unit + middle, rtol=1e-12)
    assert np.allclose(there.history.losses, before.history.losses, rtol=1e-9)
    assert there.evaluate(X, Z)["loss"] == pytest.approx(before.evaluate(X, (Z - middle) / unit)["loss"], rel=1e-9)


def test_a_scaled_target_goes_on_in_its_units() -> None:
    once, twice = fitted(scale_target=True), fitted(scale_target=True)
    assert isinstance(twice.model, nn.Scaled)
    unit = twice.model.output_unit
    twice.fit(X, Z + 7.0, epochs=1, batch_size=16, progress=False)
    assert twice.model.output_unit == unit
    assert np.abs(twice.outputs(X) - once.outputs(X)).max() < 0.5 * unit[0]


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_label_smoothing_is_the_cross_entropy_with_smoothed_labels(engine: str) -> None:
    smooth = fitted(outputs=3, y=C, label_smoothing=0.3, engine=engine)
    soft = 0.7 * np.eye(3)[C] + 0.1
    spread = fitted("cross_entropy", outputs=3, y=soft, engine=engine)
    assert np.allclose(smooth.outputs(X), spread.outputs(X), rtol=1e-9)
    assert smooth.evaluate(X, C)["loss"] < spread.evaluate(X, soft)["loss"] - 0.01  # reported without


@pytest.mark.parametrize(("loss", "no", "yes"), [(losses.binary_cross_entropy, 0.0, 1.0), (losses.hinge, -1.0, 1.0)])
def test_with_one_output_the_other_class_has_half_of_it(loss: Any, no: float, yes: float) -> None:
    expected = 0.9 * float(loss(0.3, yes)) + 0.1 * float(loss(0.3, no))
    assert float(Smoothed(loss, 0.2)(0.3, yes)) == pytest.approx(expected, rel=1e-12)


def test_weights_of_held_out_rows_count_as_repetitions() -> None:
    weights = rng.randint(1, 4, 20)
    held = [(X[:20], Z[:20], weights), (np.repeat(X[:20], weights, axis=0), np.repeat(Z[:20], weights))]
    seen = []
    for validation in held:
        trainer = mg.Trainer(nn.MLP(2, [3, 1], seed=1), scale_target=True)
        trainer.fit(X, Z, epochs=2, validation=validation, progress=False)
        seen.append(trainer.history.metrics["validation_loss"])
    assert np.allclose(*seen, rtol=1e-12)


@pytest.mark.parametrize("restore", [True, "always"])
def test_the_best_parameters_come_back_at_the_end_of_a_run_if_asked_for(restore: Any) -> None:
    trainer = mg.Trainer(nn.MLP(2, [3, 1], seed=1), None, optim.SGD(0.3), scale_target=True)
    rates = optim.step(0.05, 30.0, 20)  # good for five epochs, and then wild
    trainer.fit(
        X, Z, epochs=8, batch_size=15, validation=(X, Z), schedule=rates, clip_norm=1.0, progress=False,
        early_stopping=EarlyStopping(50, restore=restore),
    )  # fmt: skip
    losses_ = trainer.history.metrics["validation_loss"]
    assert losses_[-1] > 1.5 * min(losses_)
    assert trainer.evaluate(X, Z)["loss"] == pytest.approx(min(losses_) if restore == "always" else losses_[-1])


@pytest.mark.parametrize(("options", "message"), [
    ({"label_smoothing": 1.0}, "label_smoothing must be from 0 up to 1, got 1.0"),
    ({"label_smoothing": "much"}, "label_smoothing must be from 0"),
])  # fmt: skip
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mg.Trainer(nn.MLP(2, [1]), **options)
    with pytest.raises(ValueError, match="restore must be True, False or 'always'"):
        EarlyStopping(3, restore="never")


def test_balanced_counts_weights() -> None:
    from macrograd.train.samples import targets, weights

    y = np.array([0, 0, 0, 1])
    kind = targets.of(y, None, 1)
    assert np.allclose(weights.of(np.array([1.0, 1.0, 1.0, 3.0]), "balanced", y, kind), [1.0, 1.0, 1.0, 3.0])
    assert np.allclose(weights.of(None, "balanced", y, kind), [2 / 3, 2 / 3, 2 / 3, 2.0])


def test_a_class_whose_rows_have_no_weight_is_balanced_as_one_without_rows() -> None:
    """Its weight would be infinite, and 0 times that not a number."""
    from macrograd.train.samples import targets, weights

    y = np.array([0, 0, 1, 2])
    found = weights.of(np.array([1.0, 1.0, 1.0, 0.0]), "balanced", y, targets.of(y, None, 3))
    assert np.allclose(found, [0.5, 0.5, 1.0, 0.0])
    labels = np.array([[0, 1], [0, 1], [1, 1]])
    found = weights.of(np.array([1.0, 1.0, 0.0]), "balanced", labels, targets.of(labels, None, 2))
    assert np.isfinite(found).all()
    assert found[2] == 0.0
    shares = np.eye(3)[y]
    with pytest.raises(ValueError, match="but y holds rows of classes: give their labels"):
        weights.of(None, "balanced", shares, targets.of(shares, None, 3))


def test_balanced_labels_multiply_as_in_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_sample_weight

    from macrograd.train.samples import targets, weights

    y = np.array([[0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1]])  # the last label tells nothing apart
    kind = targets.of(y, None, 4)
    assert np.allclose(weights.of(None, "balanced", y, kind), compute_sample_weight("balanced", y), rtol=1e-12)
    times = np.array([1, 2, 1, 3])
    repeated = compute_sample_weight("balanced", np.repeat(y, times, axis=0))[np.cumsum(times) - 1]
    assert np.allclose(weights.of(times * 1.0, "balanced", y, kind), times * repeated, rtol=1e-12)
    own = [{1: 3.0}, {}, {0: 0.5, 1: 2.0}, {0: 7.0}]
    assert weights.of(None, own, y, kind).tolist() == [2.0, 0.5, 2.0, 6.0]


def test_coslog_has_waves_that_double() -> None:
    rate = optim.coslog(0.1, 2, 3000)
    rates = rate.rates(0, 3000)
    assert rates.max() == pytest.approx(0.1, rel=1e-5)
    assert rates.min() >= 0.0
    # log₂(1 + 3t) is 1 at a third: the first wave ends there.
    assert rates[999] < 1e-4
    assert abs(rate(10_000)) < 1e-12
    with pytest.raises(ValueError, match="coslog"):
        optim.coslog(0.1, 4, 0)


# --- nn.Tabular -------------------------------------------------------------------------------------------------------


def test_tabular_computes_what_it_says() -> None:
    net = nn.Tabular(2, [3], 2, activation="tanh", members=2, seed=4)
    for p in net.parameters():
        p.data = rng.normal()
    x = np.array([0.5, -4.0])
    clipped = x / np.sqrt(1.0 + (x / 3.0) ** 2)
    answers = []
    for member in net.members:
        numbers = [[[w.data for w in row] for row in rows] for rows in member.weights]
        h = clipped * [6.0 * s.data for s in member.scale]
        h = np.tanh(np.array(numbers[0]) @ h / math.sqrt(2) + [0.1 * b.data for b in member.biases[0]])
        answers.append(np.array(numbers[1]) @ h / math.sqrt(3) + [0.1 * b.data for b in member.biases[1]])
    assert np.allclose([float(v.data) for v in net(x)], np.mean(answers, axis=0), rtol=1e-12)


def test_members_are_trained_each_by_its_own_loss() -> None:
    net = nn.Tabular(2, [4], 1, members=2, seed=4)
    alone = nn.Tabular(2, [4], 1, seed=4)  # the first member of the two
    for model in (net, alone):
        trainer = mg.Trainer(model, "squared_error", optim.SGD(0.1 if model is alone else 0.2))
        trainer.fit(X, X[:, 0], epochs=3, batch_size=20, progress=False)
    first, only = net.members[0].parameters(), alone.members[0].parameters()
    assert np.allclose([p.data for p in first], [p.data for p in only], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("wrong", [{"hidden": [0]}, {"members": 0}, {"nout": 0}])
def test_tabular_refuses_what_makes_no_net(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Tabular needs a positive integer number of"):
        nn.Tabular(**{"nin": 2, "hidden": [3], "nout": 1, **wrong})
    with pytest.raises(ValueError, match="takes 2 inputs, got 3"):
        nn.Tabular(2, [3], 1)([1.0, 2.0, 3.0])


def test_tables_of_other_scales_are_learned_by_the_same_compiled_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales are data: in a program they would make one for each table. Powers of two do not round."""
    first, second = (mg.Trainer(nn.MLP(2, [4, 1], seed=1), scale="standard") for _ in range(2))
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path))
    monkeypatch.setenv("MACROGRAD_TIERS", "first")  # better code would be made whenever it pays
    known.forget()  # what other tests compiled is in memory, and not kept again
    first.fit(X, Z, steps=8, progress=False)
    assert any(tmp_path.rglob("*"))
    known.forget()
    with monkeypatch.context() as patch:
        patch.setattr(native, "object_file", lambda *_: pytest.fail("this program is in the cache"))
        second.fit(8.0 * X, Z, steps=8, progress=False)
    assert [p.data for p in first.model.parameters()] == [p.data for p in second.model.parameters()]
    assert first.predict_one(X[0].tolist()) == pytest.approx(first.outputs(X)[0], rel=1e-12)


def test_scaled_rows_of_a_file_are_those_of_memory(tmp_path: Any) -> None:
    np.save(tmp_path / "X.npy", 100.0 + 5.0 * X)
    there = np.load(tmp_path / "X.npy", mmap_mode="r")
    streamed, held = (mg.Trainer(nn.MLP(2, [4, 1], seed=1), scale="standard") for _ in range(2))
    streamed.fit(there, Z, steps=5, progress=False)
    held.fit(np.array(there), Z, steps=5, progress=False)
    assert np.array_equal(streamed.outputs(there), held.outputs(np.array(there)))


def test_validation_takes_the_numbers_of_the_engine_where_nobody_looks_at_the_model() -> None:
    seen, quiet = (mg.Trainer(nn.MLP(2, [4, 3], seed=1)) for _ in range(2))
    options: dict[str, Any] = {"epochs": 4, "validation": (X[:20], C[:20]), "progress": False}
    losses_seen = []
    seen.fit(X, C, callbacks=lambda run: losses_seen.append(run.trainer.evaluate(X[:20], C[:20])["loss"]), **options)
    quiet.fit(X, C, **options)
    assert quiet.history.metrics == seen.history.metrics
    assert quiet.history.metrics["validation_loss"] == losses_seen
    quiet.fit(X, C, **options)  # compiled already, and other numbers
    seen.fit(X, C, **options)
    assert quiet.history.metrics == seen.history.metrics


def test_another_model_of_a_trainer_is_the_one_that_answers() -> None:
    trainer, other = fitted(), nn.MLP(2, [4, 1], activation="tanh", seed=5)
    before = trainer.outputs(X)
    trainer.model = other
    assert np.allclose(trainer.outputs(X), [other(x).data for x in X])
    assert not np.allclose(trainer.outputs(X), before)
