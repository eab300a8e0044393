"""`fit(watch="health")`: what it measures, and that it warns of what was planted and of nothing else."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import datasets, nn, optim
from macrograd.show.history import metric
from macrograd.train import History, Trainer, TrainingWarning

X, Y = datasets.make_moons(60, noise=0.1, seed=1)


def watched(model: nn.Module, **options: Any) -> tuple[History, list[str]]:
    """The history of a short run, and what it warned of."""
    of_trainer = {k: options.pop(k) for k in ("loss", "optimizer", "engine", "scale", "l2") if k in options}
    options = {"epochs": 3, "batch_size": 16, **options}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        history = Trainer(model, **of_trainer).fit(X, Y, progress=False, watch="health", **options)
    assert all(w.category is TrainingWarning and w.filename == __file__ for w in said)
    return history, [str(w.message) for w in said]


def net(activation: str = "relu", depth: int = 2, seed: int = 1) -> nn.MLP:
    return nn.MLP(2, [*[8] * depth, 1], activation=activation, init="he_normal", seed=seed)


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_the_numbers_of_a_step_by_hand() -> None:
    model = nn.MLP(2, [4, 1], activation="tanh", seed=3)
    before = [p.data for p in model.parameters()]
    trainer = Trainer(model, "squared_error", optim.SGD(0.1))
    trainer.fit(X, Y.astype(float), steps=1, batch_size=None, shuffle=False, progress=False, watch="health")
    after, health = [p.data for p in model.parameters()], trainer.history.health
    assert list(health) == ["layers.0", "layers.1"]
    step = np.subtract(after, before)
    for layer, part in (("layers.0", slice(0, 12)), ("layers.1", slice(12, 17))):
        size = np.linalg.norm(step[part])
        assert health[layer]["gradient"] == pytest.approx([size / 0.1], rel=1e-12)
        assert health[layer]["update"] == pytest.approx([size / np.linalg.norm(before[part])], rel=1e-12)
    slopes = [
        [1 - np.tanh(n.b.data + np.dot([w.data for w in n.w], x)) ** 2 for n in model.layers[0].neurons] for x in X
    ]
    assert health["layers.0"]["saturated"] == [np.mean(np.array(slopes) < 0.05)]
    assert health["layers.0"]["dead"] == [0.0]
    assert health["layers.1"].keys() == {"gradient", "update"}  # a linear unit is never dead


@pytest.mark.parametrize("batch", [None, 16])
def test_watching_changes_no_bit(batch: int | None) -> None:
    def numbers(**options: Any) -> list[float]:
        model = net()
        Trainer(model).fit(X, Y, epochs=3, batch_size=batch, progress=False, **options)
        return [p.data for p in model.parameters()]

    assert numbers(watch="health") == numbers()


def test_both_engines_measure_the_same() -> None:
    found = []
    for engine in ("compiled", "eager"):
        model = nn.MLP(2, [3, 1], activation="sigmoid", seed=2)
        trainer = Trainer(model, engine=engine)
        history = trainer.fit(X[:12], Y[:12], epochs=1, batch_size=6, progress=False, watch="health")
        found.append(history.health)
    assert found[0].keys() == found[1].keys()
    for layer in found[0]:
        for name, numbers in found[0][layer].items():
            assert numbers == pytest.approx(found[1][layer][name], rel=1e-9), (layer, name)


def test_members_that_train_together_are_measured_as_alone() -> None:
    def member(k: int) -> Trainer:
        return Trainer(nn.MLP(2, [4, 1], activation="tanh", seed=k), strict=True)

    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "progress": False, "watch": "health"}
    many = mg.train_many(member, X, Y, count=2, lanes="members", **options)
    for k, trainer in enumerate(many.trainers):
        alone = member(k).fit(X, Y, seed=k, **options).health
        assert trainer.history.health.keys() == alone.keys()
        for layer, numbers in trainer.history.health.items():
            for name, values in numbers.items():
                assert values == pytest.approx(alone[layer][name], rel=1e-12), (layer, name)


def test_a_run_shorter_than_an_epoch_is_measured_at_its_end() -> None:
    history, _ = watched(net(), epochs=None, steps=2)
    assert history.metric_steps == [2]


def test_nets_of_other_modules() -> None:
    class Line(nn.Module):
        def __init__(self) -> None:
            self.w, self.b = [mg.Value(0.1), mg.Value(0.2)], mg.Value(0.0)

        def __call__(self, x: Any) -> Any:
            return mg.dot(self.w, x) + self.b

    def gap(model: Any, x: Any, y: Any) -> Any:
        return (model(x) - y) ** 2

    assert list(watched(Line(), epochs=1)[0].health) == ["w", "b"]
    of_members = watched(nn.Tabular(2, [4], 1, members=2, seed=1), epochs=1)[0].health
    assert of_members["members.1"].keys() == {"dead"}
    assert of_members["members.1.weights"].keys() == {"gradient", "update"}
    assert "dead" not in watched(net(), loss=gap, epochs=1)[0].health["layers.0"]
    assert list(watched(net(), scale="standard", epochs=1)[0].health) == [f"net.layers.{k}" for k in range(3)]
    assert list(watched(nn.Neuron(2, activation="tanh", seed=1), epochs=1)[0].health) == ["Neuron"]


def test_the_numbers_are_kept_with_a_checkpoint_and_apart_from_the_metrics(tmp_path: Path) -> None:
    def run(epochs: int, path: Path, **options: Any) -> History:
        return watched(net(depth=1), epochs=epochs, validation=0.2, checkpoint=path, **options)[0]

    whole = run(4, tmp_path / "a")
    run(2, tmp_path / "b")
    resumed = run(4, tmp_path / "b", resume=True)
    assert resumed.health == whole.health
    assert "health" not in repr(whole)
    assert metric(whole) is None  # `mg.show.history` does not draw them


def test_another_word_is_an_error() -> None:
    with pytest.raises(ValueError, match="watch must be 'health' or None, got 'wealth'"):
        Trainer(net()).fit(X, Y, watch="wealth")


# --- the warnings -----------------------------------------------------------------------------------------------------


def dead(model: nn.MLP) -> None:
    for neuron in model.layers[0].neurons[:5]:
        neuron.b.data = -50.0


def saturated(model: nn.MLP) -> None:
    for neuron in model.layers[1].neurons:
        for w in neuron.w:
            w.data *= 100.0


def nothing(model: nn.MLP) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "plant", "options", "message"),
    [
        (net, dead, {}, "5 of 8 units of layers.0 are dead"),
        (lambda: net("tanh"), saturated, {}, r"layers.1 is saturated for \d\d% of units and samples"),
        (lambda: net("sigmoid", 7), nothing, {}, "the gradient vanishes on its way to layers.0"),
        (lambda: net(depth=0), nothing, {"optimizer": optim.SGD(9.0)}, r"a step changes layers.0 by \d+% of its size"),
    ],
)
def test_what_was_planted_is_found_and_said_once(
    make: Callable[[], nn.MLP], plant: Callable[[nn.MLP], None], options: dict[str, Any], message: str
) -> None:
    model = make()
    plant(model)
    _, said = watched(model, **options)
    assert len([text for text in said if re.search(message, text)]) == 1, said


def test_of_sound_nets_nothing_is_said() -> None:
    for seed, activation in enumerate(("relu", "tanh", "gelu")):
        assert watched(net(activation, seed=seed))[1] == [], activation
