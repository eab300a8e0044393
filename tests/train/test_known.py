"""Fits that share programs: a net of a known kind is not traced again, and no number depends on earlier fits."""

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np
import pytest

from macrograd import Trainer, nn, optim
from macrograd.compiler import pipeline
from macrograd.train import known
from macrograd.value import Value

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 3))
CODES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
YES = (X[:, 0] > 0).astype(int)
HELD = X[:4] + 0.1


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    known.forget()
    yield
    known.forget()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that were recorded."""
    names: list[str] = []
    record = pipeline.record

    def told(*args: Any, **kwargs: Any) -> Any:
        names.append(kwargs["name"])
        return record(*args, **kwargs)

    monkeypatch.setattr(pipeline, "record", told)
    return names


def fitted(trainer: Trainer, y: Any, **options: Any) -> list[Any]:
    """All numbers that a fit leaves, as lists, which are equal where every bit is."""
    y = np.asarray(y)
    history = trainer.fit(X, y, steps=3, batch_size=7, progress=False, **options)
    theta = [p.data for p in trainer.model.parameters()]
    return [list(history.losses), history.metrics, theta, trainer.outputs(HELD).tolist()]


def plain(seed: int = 0, sizes: tuple[int, ...] = (2, 3), **options: Any) -> nn.Module:
    return nn.MLP(3, list(sizes), seed=seed, **options)


def frozen(bias: float) -> nn.Module:
    model = plain()
    model.freeze()
    values = list(model.named_parameters(frozen=True).values())
    values[0].data = bias
    for value in values[4:]:
        value.op = None
    return model


def tied(together: bool) -> nn.Module:
    model = nn.MLP(3, [3, 3], seed=0)
    first, second = list(model.modules())[2:4]
    if together:
        second.w = first.w
    return model


KINDS: list[Callable[[], tuple[Trainer, Any, dict[str, Any]]]] = [
    lambda: (Trainer(plain()), CODES, {}),
    lambda: (Trainer(plain(seed=1)), CODES, {}),
    lambda: (Trainer(plain(activation="tanh")), CODES, {}),
    lambda: (Trainer(plain(sizes=(2, 1)), "hinge"), YES, {}),
    lambda: (Trainer(plain(), label_smoothing=0.1), CODES, {"validation": (HELD, CODES[:4])}),
    lambda: (Trainer(plain(), label_smoothing=0.2), CODES, {"validation": (HELD, CODES[:4])}),
    lambda: (Trainer(plain(), l2=0.1), CODES, {}),
    lambda: (Trainer(plain(), l2=0.2), CODES, {}),
    lambda: (Trainer(plain(), strict=True), CODES, {}),
    lambda: (Trainer(plain()), CODES, {"sample_weight": np.arange(1.0, 13.0)}),
    lambda: (Trainer(plain()), CODES, {"clip_norm": 0.1}),
    lambda: (Trainer(plain(), optimizer=optim.Adam(0.1, betas=(0.5, 0.9))), CODES, {}),
    lambda: (Trainer(plain(), optimizer=optim.SGD(0.1, momentum=0.9)), CODES, {}),
    lambda: (Trainer(plain(sizes=(2, 1))), YES, {}),
    lambda: (Trainer(plain(sizes=(2, 1))), X[:, 2], {}),
    lambda: (
        Trainer(plain(sizes=(2, 1)), scale_target=True, scale="standard"),
        X[:, 2],
        {"validation": (HELD, X[:4, 2])},
    ),
    lambda: (Trainer(plain(), scale="standard"), CODES, {}),
    lambda: (Trainer(frozen(0.5)), CODES, {}),
    lambda: (Trainer(frozen(0.25)), CODES, {}),
    lambda: (Trainer(tied(together=True)), CODES, {}),
    lambda: (Trainer(tied(together=False)), CODES, {}),
    lambda: (Trainer(nn.Tabular(3, [2], 3, members=2, seed=0)), CODES, {}),
]


def test_a_fit_is_the_same_alone_and_after_all_kinds_of_others() -> None:
    together = [fitted(*made[:2], **made[2]) for made in (kind() for kind in KINDS)]
    again = [fitted(*made[:2], **made[2]) for made in (kind() for kind in reversed(KINDS))][::-1]
    for k, kind in enumerate(KINDS):
        known.forget()
        trainer, y, options = kind()
        alone = fitted(trainer, y, **options)
        assert together[k] == alone, k
        assert again[k] == alone, k


def test_a_net_of_a_known_kind_is_not_recorded(recorded: list[str]) -> None:
    first = fitted(Trainer(plain()), CODES)
    assert recorded
    recorded.clear()
    second = fitted(Trainer(plain(seed=5), optimizer=optim.Adam(0.02)), CODES[::-1])
    assert recorded == []
    assert second != first
    fitted(Trainer(plain(sizes=(5, 3))), CODES)
    assert "the training loss" in recorded


FACTOR = 1.0


class Times(nn.Module):
    """A net that reads a global name."""

    def __init__(self) -> None:
        self.w = [Value(0.5), Value(0.25), Value(-0.5)]

    def __call__(self, x: Any) -> Any:
        return FACTOR * sum(w * v for w, v in zip(self.w, x, strict=True))


def read(prediction: Any, target: Any) -> Any:
    return FACTOR * (prediction - target) ** 2


@pytest.mark.parametrize(
    "made",
    [
        lambda: Trainer(Times(), "squared_error"),
        lambda: Trainer(plain(sizes=(1,)), read),
        lambda: Trainer(plain(sizes=(1,)), wraps(nn.losses.squared_error)(read)),
        lambda: Trainer(plain(sizes=(1,)), "squared_error", penalty=lambda model: FACTOR * model.parameters()[0] ** 2),
        lambda: Trainer(plain(sizes=(2, 1), activation=lambda z: FACTOR * z), "squared_error"),
    ],
)
def test_functions_of_others_are_recorded_again(made: Callable[[], Trainer], monkeypatch: pytest.MonkeyPatch) -> None:
    first = fitted(made(), X[:, 2])
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    second = fitted(made(), X[:, 2])
    known.forget()
    assert fitted(made(), X[:, 2]) == second
    assert first != second


def test_a_model_is_gone_though_its_programs_are_kept() -> None:
    trainer = Trainer(plain())
    fitted(trainer, CODES)
    model = weakref.ref(trainer.model)
    del trainer
    gc.collect()
    assert model() is None


def test_only_the_latest_programs_are_kept(recorded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_MOST_ENTRIES", 1)
    fitted(Trainer(plain()), CODES)
    fitted(Trainer(plain(sizes=(5, 3))), CODES)
    recorded.clear()
    fitted(Trainer(plain()), CODES)
    assert "the training loss" in recorded


def test_who_watches_the_passes_sees_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted(Trainer(plain()), CODES)
    stages: list[str] = []
    monkeypatch.setattr(pipeline, "observer", lambda stage, what: stages.append(stage))
    fitted(Trainer(plain()), CODES)
    assert {"trace", "simplify", "differentiate", "roll"} <= set(stages)


@pytest.mark.parametrize("cls", [nn.Neuron, nn.Module])
def test_replaced_methods_are_seen(cls: type, monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> Trainer:
        return Trainer(plain(sizes=(1,)), "squared_error")

    first = fitted(made(), X[:, 2])
    old, name = (cls.__call__, "__call__") if cls is nn.Neuron else (None, "each")
    new = wraps(old)(lambda self, x: FACTOR * old(self, x)) if old else lambda self, x: [FACTOR * self(x)]
    monkeypatch.setattr(cls, name, new, raising=False)
    fitted(made(), X[:, 2])
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    second = fitted(made(), X[:, 2])
    known.forget()
    assert fitted(made(), X[:, 2]) == second
    assert first != second


def test_a_loss_may_have_closed_over_a_name_that_is_not_yet_defined() -> None:
    def loss(prediction: Any, target: Any) -> Any:
        return later(prediction) if target is None else (prediction - target) ** 2

    fitted(Trainer(plain(sizes=(1,)), loss), X[:, 2])

    def later(x: Any) -> Any:
        return x


class Dropped(nn.Module):
    def __init__(self) -> None:
        self.first, self.drop, self.last = nn.MLP(3, [4], seed=1), nn.Dropout(0.2), nn.MLP(4, [1], seed=2)

    def __call__(self, x: Any) -> Any:
        return self.last(self.drop(self.first(x)))


def activate(model: Any) -> None:
    """The same parameters with another activation."""
    layer = model.first.layers[0]
    for k, old in enumerate(layer.neurons):
        layer.neurons[k] = new = nn.Neuron(3, activation="tanh")
        new.w, new.b = old.w, old.b


def replace(model: Any) -> None:
    model.first = nn.MLP(3, [4], seed=7)


def drop(model: Any) -> None:
    model.drop.rate = 0.7


@pytest.mark.parametrize("change", [activate, replace, drop])
def test_a_trainer_sees_that_its_model_was_changed(change: Callable[[nn.Module], None]) -> None:
    trainer = Trainer(Dropped(), "squared_error", optim.SGD(0.01), strict=True)
    fitted(trainer, X[:, 2])
    for _ in range(3):
        before = trainer.predict(X)  # and remembers the model
    fresh = copy.deepcopy(trainer)
    for one in (trainer, fresh):
        change(one.model)
    assert np.array_equal(trainer.predict(X), fresh.predict(X))
    assert np.array_equal(before, fresh.predict(X)) == (change is drop)
    assert trainer.evaluate(X, X[:, 2]) == fresh.evaluate(X, X[:, 2])
    assert fitted(trainer, X[:, 2]) == fitted(fresh, X[:, 2])
