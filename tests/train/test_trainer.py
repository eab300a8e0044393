"""The Trainer: both engines, all kinds of targets, and everything that `fit` takes."""

from __future__ import annotations

import io
import math
import sys
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import datasets, losses, nn, optim
from macrograd.train import Callback, EarlyStopping, History, Run, Trainer
from macrograd.train.progress import pace

MOONS = datasets.make_moons(60, noise=0.1, seed=3)
ENGINES = ("eager", "compiled")


def numbers(model: nn.Module) -> list[float]:
    return [p.data for p in model.named_parameters(frozen=True).values()]


def fitted(engine: str, *, optimizer: optim.Optimizer | None = None, **options: Any) -> tuple[nn.MLP, History]:
    X, y = MOONS
    model = nn.MLP(2, [4, 1], activation="tanh", seed=1)
    own = {k: options.pop(k) for k in ("loss", "l2", "penalty", "dtype") if k in options}
    trainer = Trainer(model, optimizer=optimizer or optim.Adam(0.05), engine=engine, **own)
    history = trainer.fit(X, y, **{"epochs": 3, "batch_size": 16, "progress": False, **options})
    return model, history


# --- the engines ------------------------------------------------------------------------------------------------------


def small(model: Any) -> Any:
    return 0.01 * abs(model.layers[0].neurons[0].b)


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sgd": {"optimizer": optim.SGD(optim.linear(0.5, 0.1, 10), momentum=0.9, nesterov=True)},
    "rmsprop": {"optimizer": optim.RMSProp(0.01, momentum=0.5, centered=True)},
    "adamw, penalties": {"optimizer": optim.AdamW(0.05), "l2": 1e-3, "penalty": small},
    "clipped": {"clip_norm": 0.1, "loss": "hinge"},
    "weighted": {"sample_weight": np.linspace(0, 2, 60), "class_weight": {0: 3.0}, "l2": 1e-2},
    "in order": {"shuffle": False, "batch_size": None},
    "own rule": {"optimizer": optim.Rule(lambda p, g, s, lr, k: (p - lr * g / k, ()), (), 0.3)},
    "schedule": {"schedule": optim.cosine(0.1, 0.0, 12)},
    "own loss": {"loss": lambda p, t: (p - t) ** 2 * 0.5},
    "whole loss": {"loss": lambda model, x, y: losses.squared_error(model(x), y) + 0.1 * model(x) ** 2},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_engines_agree(way: str) -> None:
    options = WAYS[way]
    optimizers = [options.get("optimizer"), None]
    results = []
    for engine in ENGINES:
        optimizer = options.get("optimizer")
        if optimizer is not None:  # each run begins with a fresh one
            optimizer.load_state_dict({"steps": 0, "state": []})
        results.append(fitted(engine, **options))
    del optimizers
    (eager, one), (compiled, other) = results
    assert one.losses == pytest.approx(other.losses, rel=1e-12, abs=1e-14)
    assert one.learning_rates == other.learning_rates
    assert numbers(eager) == pytest.approx(numbers(compiled), rel=1e-11, abs=1e-13)


def test_float32_agrees_to_its_rounding() -> None:
    (eager, one), (compiled, other) = (fitted(engine, dtype="float32") for engine in ENGINES)
    assert one.losses == pytest.approx(other.losses, rel=1e-4)
    assert numbers(eager) == pytest.approx(numbers(compiled), rel=1e-3, abs=1e-4)
    assert all(np.float32(x) == x for x in numbers(compiled))


def test_one_step_by_hand() -> None:
    X, y = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([0.5, 2.0])
    model = nn.MLP(2, [1], seed=1)
    w1, w2, b = numbers(model)
    history = Trainer(model, optimizer=optim.SGD(0.1), l2=0.01).fit(X, y, steps=1, sample_weight=[1, 3], progress=False)
    errors = b + X @ [w1, w2] - y
    weighted = errors * [1, 3]
    assert history.losses == pytest.approx([(weighted @ errors) / 2 + 0.01 * (w1**2 + w2**2 + b**2)], rel=1e-13)
    slopes = [*(weighted @ X), weighted.sum()]
    expected = [p - 0.1 * (g + 0.02 * p) for p, g in zip((w1, w2, b), slopes, strict=True)]
    assert numbers(model) == pytest.approx(expected, rel=1e-12)


def test_the_same_run_has_the_same_bits_however_its_steps_are_grouped() -> None:
    class Looks(Callback):
        def on_step(self, run: Run) -> None:
            pass

    (model, history), (again, other) = fitted("compiled"), fitted("compiled", callbacks=Looks())
    assert history.losses == other.losses
    assert numbers(model) == numbers(again)


def test_seeds_decide_the_order() -> None:
    first, again, other = (fitted("compiled", seed=seed)[1].losses for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_second_fit_goes_on_where_the_first_stopped() -> None:
    X, y = MOONS
    models = [nn.MLP(2, [4, 1], activation="tanh", seed=1) for _ in range(2)]
    at_once, in_two = (Trainer(m, optimizer=optim.Adam(optim.linear(0.1, 0.01, 12))) for m in models)
    options: dict[str, Any] = {"shuffle": False, "progress": False, "batch_size": 20}
    at_once.fit(X, y, epochs=4, **options)
    in_two.fit(X, y, epochs=2, **options)
    in_two.fit(X, y, epochs=2, **options)
    assert numbers(models[0]) == numbers(models[1])
    assert in_two.optimizer.steps == 12


def test_the_optimiser_serves_a_hand_written_loop_afterwards() -> None:
    model, _ = fitted("compiled", optimizer=(optimizer := optim.Adam(0.05)))
    before = numbers(model)
    model.zero_grad()
    losses.squared_error(model([0.5, 0.5]), 1.0).backward()
    optimizer.step(model.parameters())
    assert optimizer.steps == 13
    assert numbers(model) != before


# --- targets ------------------------------------------------------------------------------------------------------

KINDS: dict[str, tuple[list[Any] | np.ndarray[Any, Any], int, str, Any]] = {
    "bools": ([False, True, True, False], 1, "binary_cross_entropy", None),
    "texts": (["cat", "dog", "dog", "cat"], 1, "binary_cross_entropy", None),
    "two outputs": ([7, 9, 9, 7], 2, "cross_entropy", None),
    "three classes": (["a", "b", "c", "a"], 3, "cross_entropy", None),
    "hinge": ([0, 1, 1, 0], 1, "hinge", "hinge"),
    "signs": ([-1.0, 1.0, 1.0, -1.0], 1, "hinge", "hinge"),
    "one hot": ([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]], 3, "cross_entropy", None),
    "labels": ([[1, 1], [0, 1], [0, 0], [1, 0]], 2, "binary_cross_entropy", None),
    "numbers": ([0.25, 1.5, -0.5, 0.75], 1, "squared_error", None),
    "whole numbers": ([1, 2, 3, 4], 1, "squared_error", "squared_error"),
    "several numbers": ([[0.5, 1.0], [1.5, 2.0], [0.0, 0.5], [1.0, 0.0]], 2, "squared_error", None),
    "probabilities": ([0.25, 0.75, 0.5, 1.0], 1, "binary_cross_entropy", "binary_cross_entropy"),
    "a function of nn.losses": ([0, 1, 1, 0], 1, "hinge", losses.hinge),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_target_is_learned(kind: str, engine: str) -> None:
    y, outputs, loss, given = KINDS[kind]
    X = np.array([[0.0, 1.0], [1.0, -1.0], [2.0, 0.5], [-1.0, 0.25]])
    trainer = Trainer(nn.MLP(2, [6, outputs], activation="tanh", seed=4), given, optim.Adam(0.1), engine=engine)
    history = trainer.fit(X, y, epochs=150, progress=False)
    assert history.last_loss < 0.5 * history.losses[0]
    assert trainer.setup.targets is not None
    assert trainer.setup.targets.loss == loss
    predicted = trainer.predict(X)
    if loss in ("squared_error",):
        assert predicted == pytest.approx(np.array(y), abs=0.3)
    elif kind == "one hot":
        assert predicted.tolist() == [0, 1, 2, 0]
    elif kind != "probabilities":
        assert predicted.tolist() == y
    assert trainer.predict_one(X[1]) == pytest.approx(trainer.outputs(X)[1].tolist())


def test_what_a_newcomer_means() -> None:
    X, y = datasets.make_blobs(90, centers=3, seed=1)
    trainer = mg.Trainer(nn.MLP(2, [8, 3], seed=1))
    trainer.fit(X / 10, y, progress=False)
    assert trainer.evaluate(X / 10, y, metrics=["accuracy"])["accuracy"] > 0.95
    assert trainer.classes == [0, 1, 2]
    chances = trainer.probabilities(X / 10)
    assert chances.sum(axis=1) == pytest.approx(np.ones(90))
    assert (chances.argmax(axis=1) == trainer.predict(X / 10)).all()


def test_without_a_number_of_steps_there_are_a_thousand_at_least() -> None:
    X, y = MOONS
    history = Trainer(nn.MLP(2, [2, 1], seed=0)).fit(X, y, progress=False)
    assert len(history) == 1000
    assert len(Trainer(nn.MLP(2, [2, 1], seed=0)).fit(X, y, steps=0, progress=False)) == 0


# --- measures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_metrics_and_validation(engine: str) -> None:
    X, y = MOONS
    held = datasets.make_moons(20, noise=0.1, seed=9)
    trainer = Trainer(nn.MLP(2, [4, 1], seed=1), engine=engine)

    def share(predictions: Any, targets: Any) -> float:
        return float(np.mean(predictions))

    history = trainer.fit(X, y, epochs=3, validation=held, metrics=["accuracy", share], progress=False)
    assert list(history.metrics) == ["accuracy", "share", "validation_loss", "validation_accuracy", "validation_share"]
    assert history.metric_steps == [2, 4, 6]
    found = trainer.evaluate(*held, metrics=["accuracy", share])
    assert history.metrics["validation_loss"][-1] == found["loss"]
    assert history.metrics["validation_accuracy"][-1] == found["accuracy"]
    assert found["accuracy"] == np.mean(trainer.predict(held[0]) == held[1])
    logits = trainer.outputs(held[0])
    assert found["loss"] == pytest.approx(np.mean(np.logaddexp(0, -logits * (2 * held[1] - 1))))
    columns = history.to_dict()
    assert columns["accuracy"][::2] == [None] * 3
    assert columns["accuracy"][1::2] == history.metrics["accuracy"]


def test_a_fraction_is_held_back() -> None:
    X, y = MOONS
    trainer = Trainer(nn.MLP(2, [4, 1], seed=1))
    history = trainer.fit(X, y, epochs=1, batch_size=8, validation=0.25, progress=False)
    assert len(history) == math.ceil(45 / 8)
    assert len(history.metrics["validation_loss"]) == 1


@pytest.mark.parametrize(
    ("name", "expected"), [("mean_absolute_error", 0.5), ("mean_squared_error", 0.375), ("r2", 1 - 1.5 / 5)]
)
def test_measures_of_numbers(name: str, expected: float) -> None:
    from macrograd.train.samples.metrics import METRICS

    found = METRICS[name](np.array([1.0, 2.5, 2.5, 3.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert found == pytest.approx(expected)


# --- stopping, callbacks ------------------------------------------------------------------------------------------


def test_early_stopping_goes_back_to_the_best() -> None:
    X, y = MOONS
    seen: list[tuple[float, list[float]]] = []

    def look(run: Run) -> None:
        seen.append((run.history.metrics["validation_loss"][-1], numbers(run.model)))

    model = nn.MLP(2, [4, 1], seed=1)
    history = Trainer(model, optimizer=optim.SGD(3.0)).fit(
        X, y, epochs=500, validation=0.3, early_stopping=3, callbacks=look, progress=False
    )
    assert history.stopped == "early stopping"
    best = min(range(len(seen)), key=lambda k: seen[k][0])
    assert len(seen) == best + 4
    assert numbers(model) == seen[best][1]


def test_early_stopping_knows_what_is_better() -> None:
    X, y = MOONS
    history = Trainer(nn.MLP(2, [8, 1], seed=1), optimizer=optim.Adam(0.1)).fit(
        X, y, epochs=400, metrics="accuracy", early_stopping=EarlyStopping(30, monitor="accuracy"), progress=False
    )
    assert history.stopped == "early stopping"
    assert max(history.metrics["accuracy"]) == history.metrics["accuracy"][-31] > history.metrics["accuracy"][0]


def test_callbacks_see_steps_epochs_and_the_end_and_can_stop() -> None:
    X, y = MOONS
    log: list[Any] = []

    class Log(Callback):
        def on_step(self, run: Run) -> None:
            log.append((run.step, run.epoch, run.loss == run.history.losses[-1], len(run.gradient)))
            if run.step == 5:
                run.stop("seen enough")

        def on_epoch(self, run: Run) -> None:
            log.append("epoch")

        def on_end(self, run: Run) -> None:
            log.append("end")

    history = Trainer(nn.MLP(2, [2, 1], seed=0)).fit(X, y, epochs=9, batch_size=30, callbacks=[Log()], progress=False)
    steps = [(k, k // 2, True, 9) for k in range(1, 6)]
    assert log == [steps[0], steps[1], "epoch", steps[2], steps[3], "epoch", steps[4], "end"]
    assert (len(history), history.stopped) == (5, "seen enough")


def test_a_failing_callback_leaves_the_model_at_a_whole_step() -> None:
    X, y = MOONS
    model = nn.MLP(2, [2, 1], seed=0)
    trainer = Trainer(model)

    def fail(run: Run) -> None:
        raise OSError("the callback's own")

    with pytest.raises(OSError, match="the callback's own"):
        trainer.fit(X, y, epochs=3, callbacks=fail, progress=False)
    other = nn.MLP(2, [2, 1], seed=0)
    Trainer(other).fit(X, y, epochs=1, progress=False)
    assert numbers(model) == numbers(other)
    assert trainer.optimizer.steps == 2


# --- frozen and shared parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_frozen_parameters_stay_and_the_others_learn(engine: str) -> None:
    X, y = MOONS
    model = nn.MLP(2, [4, 1], seed=1)
    model.layers[0].freeze()
    before = numbers(model)
    trainer = Trainer(model, engine=engine, l2=0.1)
    trainer.fit(X, y, epochs=2, progress=False)
    after = numbers(model)
    assert after[:12] == before[:12]
    assert all(a != b for a, b in zip(after[12:], before[12:], strict=True))
    model.unfreeze()
    trainer.fit(X, y, epochs=2, progress=False)
    assert all(a != b for a, b in zip(numbers(model)[:12], before[:12], strict=True))


class Partly(nn.Module):
    """A net of which the loss sees a part: one parameter is not used, one output is not, one only decides."""

    def __init__(self) -> None:
        self.net, self.unused, self.decides = nn.MLP(2, [3, 2], seed=2), mg.Value(0.75), mg.Value(0.5)

    def __call__(self, x: Any) -> Any:
        first, _ = self.net(x)
        return first * mg.where(self.decides, 1.0, 2.0)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optim.AdamW(0.1, weight_decay=0.5),
        lambda: optim.SGD(0.1, 0.5, weight_decay=0.5),
        lambda: optim.Adam(0.1),
    ],
)
def test_what_the_loss_does_not_depend_on_stays_as_it_is(optimizer: Any) -> None:
    X, y = np.random.RandomState(0).randn(20, 2), np.linspace(-1.0, 1.0, 20)
    found = []
    for engine in ENGINES:
        model = Partly()
        before = model.named_parameters()
        numbers_before = {name: p.data for name, p in before.items()}
        trainer = Trainer(model, "squared_error", optimizer(), engine=engine)
        trainer.fit(X, y, steps=3, batch_size=8, progress=False)
        same = {name for name, p in before.items() if p.data == numbers_before[name]}
        assert same >= {"unused", *(f"net.layers.1.neurons.1.w.{i}" for i in range(3)), "net.layers.1.neurons.1.b"}
        assert not any(name.startswith("net.layers.0") for name in same)
        found.append((numbers(model), trainer.optimizer.state))
    (compiled, states), (eager, eager_states) = found
    assert compiled == pytest.approx(eager, rel=1e-12)
    assert np.array(states) == pytest.approx(np.array(eager_states), rel=1e-12)
    # With a penalty on all parameters the loss depends on all.
    for engine in ENGINES:
        model = Partly()
        Trainer(model, "squared_error", optimizer(), l2=0.1, engine=engine).fit(X, y, steps=2, progress=False)
        assert model.unused.data != 0.75


class Tied(nn.Module):
    """Encodes with a layer and decodes with the same weights."""

    def __init__(self) -> None:
        self.layer = nn.Layer(3, 2, nonlin=False, seed=2)

    def __call__(self, x: Any) -> Any:
        hidden = self.layer(x)
        return [mg.dot(hidden, [n.w[i] for n in self.layer.neurons]) for i in range(3)]


def test_shared_weights_learn_together_in_both_engines() -> None:
    X = np.random.RandomState(0).randn(20, 3)
    models = [Tied(), Tied()]
    histories = [
        Trainer(model, engine=engine).fit(X, X, epochs=3, progress=False)
        for model, engine in zip(models, ENGINES, strict=True)
    ]
    assert histories[0].losses == pytest.approx(histories[1].losses, rel=1e-12)
    assert numbers(models[0]) == pytest.approx(numbers(models[1]), rel=1e-11)


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_lines_in_a_pipe_and_silence_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = MOONS
    trainer = Trainer(nn.MLP(2, [2, 1], seed=0))
    trainer.fit(X, y, epochs=2, metrics=["accuracy"])
    out, err = capsys.readouterr()
    assert out == ""
    *_, last = err.splitlines()  # on a slow machine a line a second comes before it
    assert last.startswith("step 4 of 4 (epoch 2), loss ")
    assert "accuracy" in last
    assert err.endswith("0:00 left\n")
    trainer.fit(X, y, epochs=2, progress="none")
    assert capsys.readouterr() == ("", "")
    trainer.fit(X, y, epochs=2, progress="bar")
    assert "4/4" in capsys.readouterr().err


class _OutStream(io.StringIO):
    __module__ = "ipykernel.iostream"  # a kernel's standard error, which front ends show on red


def test_progress_in_a_notebook_does_not_look_like_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", _OutStream())
    Trainer(nn.MLP(2, [1], seed=0), engine="eager").fit([[0.0, 1.0], [1.0, 0.0]], [0, 1], steps=1)
    assert "step 1 of 1 (epoch 1)" in capsys.readouterr().out
    assert not sys.stderr.getvalue()


def test_a_pace_is_a_plain_number() -> None:
    assert [pace(rate) for rate in (0.125, 85.24, 1234.5, 234567.0)] == ["0.125", "85.2", "1,230", "235,000"]
