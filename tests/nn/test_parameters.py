"""Freezing parameters, and loading them from numbers by name."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from macrograd import _memory, nn
from macrograd import compile as compiled


def net() -> nn.MLP:
    return nn.MLP(2, [2, 1], seed=1)


def numbers(model: nn.Module) -> list[float]:
    return [p.data for p in model.named_parameters(frozen=True).values()]


def test_frozen_parameters_are_constants_until_they_are_thawed() -> None:
    model, free = net(), net()
    model.layers[0].freeze()
    assert len(model.parameters()) == 3
    assert list(model.named_parameters(frozen=True)) == list(free.named_parameters())
    assert model([1.0, 2.0]).data == free([1.0, 2.0]).data
    for m in (model, free):
        m([1.0, 2.0]).backward()
    assert [p.grad for p in model.parameters()] == [p.grad for p in free.layers[1].parameters()]
    assert all(p.grad == 0.0 for p in model.layers[0].named_parameters(frozen=True).values())
    model.unfreeze()
    assert model.parameters() == list(model.named_parameters().values())
    assert len(model.parameters()) == 9


def test_compiled_functions_have_no_frozen_parameters() -> None:
    model = net()
    model.layers[0].freeze()
    f = compiled(lambda x: model(x) * 1.0, batch=True)
    assert f([[1.0, 2.0]]) == pytest.approx([model([1.0, 2.0]).data])
    assert {id(p) for p in f.parameters} == {id(p) for p in model.parameters()}


WAYS: dict[str, Any] = {
    "by name": lambda model: dict(zip(model.named_parameters(frozen=True), range(9), strict=True)),
    "by layer": lambda model: {"layers.0": [[0, 1, 2], [3, 4, 5]], "layers.1": np.array([6, 7, 8])},
    "mixed": lambda model: {
        "layers.0.neurons": np.arange(6.0).reshape(2, 3), "layers.1.neurons.0.w": (6, 7), "layers.1.neurons.0.b": 8.0,
    },
    "at once": lambda model: {"layers": list(range(9))},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_parameters_are_loaded_by_name(way: str) -> None:
    model = net()
    model.layers[1].freeze()
    model.load_parameters(WAYS[way](model))
    assert numbers(model) == list(map(float, range(9)))
    assert len(model.parameters()) == 6


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "load_parameters() got nothing for layers.0.neurons.0.w.0 and 8 more: give all parameters"),
    ({"layers.0": range(6)}, "load_parameters() got nothing for layers.1.neurons.0.w.0 and 2 more"),
    (
        {"layers.0": [[1, 2], [3, 4, 5]], "layers.1": [1, 2, 3]},
        "load_parameters() got 5 numbers for 'layers.0', which has 6 parameters",
    ),
    ({"layers": [0] * 9, "layer": 3}, "load_parameters() got 'layer', which this MLP does not have"),
    (
        {"layers": [0] * 8 + [float("nan")]},
        "load_parameters() got nan for layers.1.neurons.0.b: parameters must be finite numbers",
    ),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_wrong_parameters_change_nothing(given: dict[str, Any], message: str) -> None:
    model = net()
    before = numbers(model)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        model.load_parameters({k: list(v) if isinstance(v, range) else v for k, v in given.items()})
    assert str(caught.value).startswith(message)
    assert numbers(model) == before


def test_numbers_without_names_change_nothing() -> None:
    model = net()
    before = numbers(model)
    with pytest.raises(TypeError, match=r"load_parameters\(\) takes numbers by name, as in .*, got a list"):
        model.load_parameters(before)
    assert numbers(model) == before


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: nn.Neuron(20_000), "a Neuron of 20000-1 has 20,001 parameters"),
        (lambda: nn.Layer(2_000, 10), "a Layer of 2000-10 has 20,010 parameters"),
        (lambda: nn.MLP(2_000, [10, 1]), "an MLP of 2000-10-1 has 20,021 parameters"),
        (lambda: nn.MLP(3, [100, 200, 1]), "an MLP of 3-100-200-1 has 20,801 parameters"),
        (lambda: nn.Tabular(900, [10], 2, members=2), "a Tabular net of 900-10-2 has 19,864 parameters"),
    ],
)
def test_a_net_beyond_the_memory_is_refused_before_it_is_made(
    make: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_memory, "COUNTED", 1 << 16)
    monkeypatch.setattr(_memory, "there", lambda: 1 << 20)
    monkeypatch.setattr(random, "Random", never)  # nothing is drawn
    monkeypatch.setattr(random, "uniform", never)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        make()
    rest = ", which take some 0.0 GiB of memory, and the machine has 0.0: take fewer inputs or fewer neurons"
    assert str(caught.value) == told + rest


def test_a_net_that_fits_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "COUNTED", 1)
    for there in (1 << 20, None):  # None: a system that does not tell
        monkeypatch.setattr(_memory, "there", lambda there=there: there)
        assert len(nn.MLP(20, [10, 1], seed=0).parameters()) == 221


def never(*given: Any, **options: Any) -> None:
    raise AssertionError("work has begun")
