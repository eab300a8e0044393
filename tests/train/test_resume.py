"""A run goes on only as the run that it was: what it computes is compared, and every kill leaves the same history."""

from __future__ import annotations

import copy
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import macrograd as mg
from macrograd import datasets, nn, optim
from macrograd.nn import losses
from macrograd.train import History, Trainer, TrainingWarning, files

X, Y = datasets.make_moons(50, noise=0.1, seed=3)


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        self.net, self.factor = nn.MLP(2, [3, 1], activation="tanh", seed=1), factor

    def __call__(self, x: Any) -> Any:
        return self.factor * self.net(x)


class Dropped(nn.Module):
    def __init__(self, rate: float) -> None:
        self.first, self.drop, self.last = (
            nn.Layer(2, 4, seed=1),
            nn.Dropout(rate),
            nn.Layer(4, 1, nonlin=False, seed=2),
        )

    def __call__(self, x: Any) -> Any:
        return self.last(self.drop(self.first(x)))


def weighted(weight: float) -> Callable[[Any, Any], Any]:
    def loss(prediction: Any, target: Any) -> Any:
        return weight * losses.binary_cross_entropy(prediction, target)

    return loss


def decay(factor: float) -> optim.Optimizer:
    return optim.Rule(lambda p, g, state, rate, step: (p - rate * g - factor * p, state), lr=0.1)


def mlp(*sizes: int, **options: Any) -> nn.MLP:
    return nn.MLP(2, [*sizes, 1], seed=1, **options)


def falling(end: float) -> Callable[[int], float]:
    return lambda step: 0.1 if step < 8 else end


Trained = tuple[nn.Module, dict[str, Any], dict[str, Any]]
CHANGES: dict[str, tuple[Trained, Trained, str]] = {
    "the activation": (
        (mlp(3), {}, {}),
        (mlp(3, activation="tanh"), {}, {}),
        "the loss of a sample was computed by another program: the model's layers.0.neurons.0.activation was 'relu', "
        "now it is 'tanh'",
    ),
    "the output's activation": (
        (mlp(3), {}, {}),
        (mlp(3, output_activation="tanh"), {}, {}),
        "the loss of a sample was computed by another program: the model's layers.1.neurons.0.activation was",
    ),
    "layers of the same total": (  # 3·2 + 2·4 + 3 = 17 parameters, and 2·3 + 1·4 + 3·2 + 1 = 17
        (nn.MLP(2, [1, 3, 1, 1], seed=1), {}, {}),
        (nn.MLP(2, [2, 2, 1], seed=1), {}, {}),
        "",
    ),
    "a constant of the loss": (
        (mlp(3), {"loss": weighted(2.0)}, {}),
        (mlp(3), {"loss": weighted(3.0)}, {}),
        "the loss of a sample was computed by another program: it had the constant 2, now it has the constant 3",
    ),
    "a constant of a module": (
        (Scaled(2.0), {}, {}),
        (Scaled(0.7), {}, {}),
        "the loss of a sample was computed by another program: the model's factor was 2.0, now it is 0.7",
    ),
    "a penalty": (
        (mlp(3), {}, {}),
        (mlp(3), {"penalty": lambda model: 0.1 * mg.sum([abs(p) for p in model.parameters()])}, {}),
        "its penalty was None, now it is '<lambda>'",
    ),
    "a penalty's constant": (
        (mlp(3), {"penalty": lambda model: 0.25 * model.parameters()[0] ** 2}, {}),
        (mlp(3), {"penalty": lambda model: 0.75 * model.parameters()[0] ** 2}, {}),
        "the loss of a sample was computed by another program: it had the constant 0.25, now it has the constant 0.75",
    ),
    "the dropout's rate": (
        (Dropped(0.25), {}, {}),
        (Dropped(0.5), {}, {}),
        "the loss of a sample was computed by another program: the model's drop.rate was 0.25, now it is 0.5",
    ),
    "the schedule": (
        (mlp(3), {}, {"schedule": falling(0.01)}),
        (mlp(3), {}, {"schedule": falling(0.02)}),
        "its schedule gave step 8 the learning rate 0.01, now it gives 0.02",
    ),
    "the optimiser's schedule": (
        (mlp(3), {"optimizer": optim.SGD(falling(0.01))}, {}),
        (mlp(3), {"optimizer": optim.SGD(falling(0.02))}, {}),
        "its schedule gave step 8 the learning rate 0.01, now it gives 0.02",
    ),
    "the update rule": (
        (mlp(3), {"optimizer": decay(0.1)}, {}),
        (mlp(3), {"optimizer": decay(0.2)}, {}),
        "the update rule was computed by another program: it had the constant 0.1",
    ),
    "the order of an update rule": (
        (mlp(3), {"optimizer": optim.Rule(lambda p, g, state, rate, step: (p - rate * g, state), lr=0.1)}, {}),
        (mlp(3), {"optimizer": optim.Rule(lambda p, g, state, rate, step: (p - g * rate, state), lr=0.1)}, {}),
        "the update rule was computed by another program: the same operations have other operands, as after a change "
        "of the code, such as an update of macrograd; resume with the same settings",
    ),
}


@pytest.mark.parametrize("engine", ["compiled", "eager"])
@pytest.mark.parametrize("what", CHANGES)
def test_a_run_that_computes_something_else_is_refused(tmp_path: Path, what: str, engine: str) -> None:
    (model, options, fit), (other, more, again), message = copy.deepcopy(CHANGES[what])
    path = tmp_path / "c.safetensors"
    given = {"steps": 12, "batch_size": 8, "progress": False, "checkpoint": path, "resume": True}
    start = [p.data for p in other.parameters()]
    Trainer(model, engine=engine, **options).fit(X, Y, **(given | fit | {"steps": 10}))
    content = path.read_bytes()
    Trainer(model, engine=engine, **options).fit(X, Y, **(given | fit))  # the same goes on
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        Trainer(other, engine=engine, **more).fit(X, Y, **(given | again))
    assert str(caught.value).startswith(f"{path} is from a different run: {message}")
    assert path.read_bytes() == content
    assert [p.data for p in other.parameters()] == start


def test_what_is_not_computed_may_differ(tmp_path: Path) -> None:
    model = mlp(3)
    given: dict[str, Any] = {"batch_size": 8, "progress": False, "checkpoint": tmp_path / "c", "resume": True}
    Trainer(model).fit(X, Y, steps=10, **given)
    model.note = "an attribute that no number depends on"
    assert len(Trainer(model).fit(X, Y, steps=12, **given)) == 12


def test_an_eager_program_that_branches_on_numbers_goes_on(tmp_path: Path) -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            self.net = mlp(3)

        def __call__(self, x: Any) -> Any:
            return self.net(x) if x[0] > 0 else 2 * self.net(x)

    given: dict[str, Any] = {"batch_size": 8, "progress": False, "checkpoint": tmp_path / "c", "resume": True}
    Trainer(Branches(), engine="eager").fit(X, Y, steps=4, **given)
    assert len(Trainer(Branches(), engine="eager").fit(X, Y, steps=6, **given)) == 6


# --- every kill leaves the same history -------------------------------------------------------------------------------


def rows(history: History) -> Any:
    """All that is known of a run but its times, in its order."""
    table = {name: column for name, column in history.to_dict().items() if name != "seconds"}
    return list(table.items()), list(history.metrics.items()), history.metric_steps, history.stopped


@pytest.mark.parametrize("engine", ["compiled", "eager"])
@pytest.mark.parametrize(
    ("options", "every"),
    [
        ({"validation": 0.3, "early_stopping": 5}, "1 step"),
        ({"validation": 0.3, "early_stopping": 5, "metrics": ["accuracy"]}, "3 steps"),
        ({"metrics": ["accuracy", lambda p, t: float(p.mean())]}, "1 step"),
        ({"validation": 0.2}, "1 epoch"),
    ],
)
def test_killed_behind_any_checkpoint_it_ends_with_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], every: str, engine: str
) -> None:
    def fit(path: Path, *, every: float | str = every, **more: Any) -> tuple[Any, list[float]]:
        model = nn.MLP(2, [4, 1], activation="tanh", seed=1)
        trainer = Trainer(model, optimizer=optim.Adam(0.05), engine=engine)
        history = trainer.fit(
            X, Y, steps=40, batch_size=8, progress=False, checkpoint=path, every=every, **options, **more
        )
        return rows(history), [p.data for p in model.parameters()]

    copies: list[Path] = []
    write = files.write

    def writes(path: Any, *given: Any) -> Path:
        written = write(path, *given)
        copies.append(tmp_path / f"killed-{len(copies)}")
        shutil.copy(written, copies[-1])
        return written

    with monkeypatch.context() as context:
        context.setattr(files, "write", writes)
        expected = fit(tmp_path / "whole")
    assert len(copies) > 5
    for killed in copies:
        assert fit(killed, resume=True, every=1000.0) == expected


def test_an_end_of_an_epoch_done_again_leaves_the_same_row(tmp_path: Path) -> None:
    def fit(path: Path | None, **more: Any) -> Any:
        model = nn.MLP(2, [4, 1], activation="tanh", seed=1)
        return rows(
            Trainer(model, optimizer=optim.Adam(0.05)).fit(
                X, Y, epochs=6, batch_size=8, validation=0.2, metrics=["accuracy"], early_stopping=4, progress=False,
                checkpoint=path, **more,
            )
        )  # fmt: skip

    expected = fit(None)
    for at in range(1, 7):
        calls = iter(range(1, 100))

        def stops(run: Any, at: int = at, calls: Any = calls) -> None:
            if next(calls) == at:  # behind the metrics, and before early stopping has seen them
                raise OSError("broken off")

        path = tmp_path / f"{at}"
        with pytest.raises(OSError, match="broken off"):
            fit(path, callbacks=stops)
        assert fit(path, resume=True) == expected


# --- what killed writes leave behind ----------------------------------------------------------------------------------


def test_the_remains_of_killed_writes_are_removed_when_they_are_old(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    old, fresh = tmp_path / ".c.safetensors.ab12_xyz", tmp_path / ".c.safetensors.ab12_xyw"
    others = [
        tmp_path / name for name in (".d.safetensors.ab12_xyz", ".c.safetensors.ab12_xyz1", ".c.safetensors.bak", "c")
    ]
    for place in (old, fresh, *others):
        place.write_bytes(b"half a checkpoint")
        if place is not fresh:
            os.utime(place, (time.time() - 3600,) * 2)
    (tmp_path / ".c.safetensors.director").mkdir()
    Trainer(mlp(3)).fit(X, Y, steps=3, progress=False, checkpoint=path)
    assert not old.exists()
    assert all(place.exists() for place in (fresh, *others, path))
    assert (tmp_path / ".c.safetensors.director").is_dir()
    os.utime(fresh, (time.time() - 3600,) * 2)
    Trainer(mlp(3)).fit(X, Y, steps=4, progress=False, checkpoint=path, resume=True)
    assert not fresh.exists()


class TwoHeads(nn.Module):
    """A net whose second output has parameters that no loss reads."""

    def __init__(self, seed: int) -> None:
        self.net, self.other = nn.MLP(2, [3, 1], activation="tanh", seed=seed), nn.Neuron(2, seed=seed)

    def __call__(self, x: Any) -> Any:
        return [self.net(x), self.other(x)]


def first_output(prediction: Any, target: Any) -> Any:
    return losses.squared_error(prediction[0], target)


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_parameters_that_the_loss_does_not_read_go_on_too(tmp_path: Path, engine: str) -> None:
    def trained(seed: int, steps: int, **options: Any) -> list[list[float]]:
        trainer = Trainer(TwoHeads(seed), first_output, optim.SGD(0.1), engine=engine)
        trainer.fit(X[:8], Y[:8], steps=steps, batch_size=4, progress=False, **options)
        found: list[list[float]] = trainer.outputs(X).tolist()
        return found

    path = tmp_path / "run.safetensors"
    trained(1, 2, checkpoint=path)
    assert trained(2, 4, checkpoint=path, resume=True) == trained(1, 4)


@pytest.mark.parametrize("many", [False, True])
def test_a_longer_run_goes_on_from_the_latest_parameters_not_from_the_best(tmp_path: Path, many: bool) -> None:
    def trained(epochs: int, **options: Any) -> list[list[float]]:
        rule = mg.train.EarlyStopping(50, restore="always")
        trainers = [Trainer(mlp(3), optimizer=optim.SGD(8.0 + k, momentum=0.5)) for k in range(1 + many)]
        how = {"epochs": epochs, "batch_size": 16, "validation": 0.3, "early_stopping": rule, "progress": False}
        if many:
            mg.train_many(trainers, X, Y, **how, **options)
        else:
            trainers[0].fit(X, Y, **how, **options)
        losses_ = trainers[0].history.metrics["validation_loss"]
        assert losses_[-1] > min(losses_)  # so that the best are not the latest
        return [[*trainer.history.losses, *(p.data for p in trainer.model.parameters())] for trainer in trainers]

    path = tmp_path / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        short = trained(5, checkpoint=path)
        assert trained(5, checkpoint=path, resume=True) == short
        assert trained(9, checkpoint=path, resume=True) == trained(9)
