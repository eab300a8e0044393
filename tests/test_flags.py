"""Switches of public functions take True or False; "no" or 0 would otherwise count as one of them, silently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import datasets, nn, optim
from macrograd.sklearn import NetRegressor

X, Y = np.zeros((4, 2)), np.arange(4.0)


def _trainer(**options: Any) -> mg.Trainer:
    return mg.Trainer(nn.MLP(2, [1]), "squared_error", **options)


SWITCHES: list[tuple[str, str, Callable[[Any], object]]] = [
    ("Trainer", "own_rows", lambda given: _trainer(own_rows=given)),
    ("Trainer", "scale_target", lambda given: _trainer(scale_target=given)),
    ("Trainer", "strict", lambda given: _trainer(strict=given)),
    ("fit", "shuffle", lambda given: _trainer().fit(X, Y, epochs=1, shuffle=given, progress="none")),
    ("fit", "resume", lambda given: _trainer().fit(X, Y, epochs=1, resume=given, progress="none")),
    ("train_many", "resume", lambda given: mg.train_many([_trainer()], X, Y, epochs=1, resume=given)),
    ("compile", "batch", lambda given: mg.compile(lambda x: x, batch=given)),
    ("compile", "own_rows", lambda given: mg.compile(lambda x: x, own_rows=given)),
    ("compile", "strict", lambda given: mg.compile(lambda x: x, strict=given)),
    ("loop", "collect", lambda given: mg.loop(2, lambda i, x: x, 1.0, collect=given)),
    ("custom", "check", lambda given: mg.custom(lambda x: x, lambda x: 1.0, check=given)),
    ("triangular_solve", "lower", lambda given: mg.linalg.triangular_solve([[1.0]], [1.0], lower=given)),
    ("SGD", "nesterov", lambda given: optim.SGD(0.1, nesterov=given)),
    ("RMSProp", "centered", lambda given: optim.RMSProp(0.1, centered=given)),
    ("NetRegressor", "warm_start", lambda given: NetRegressor([2], warm_start=given, epochs=1).fit(X, Y)),
    ("Neuron", "nonlin", lambda given: nn.Neuron(1, nonlin=given)),
    ("make_moons", "shuffle", lambda given: datasets.make_moons(4, shuffle=given)),
    ("make_circles", "shuffle", lambda given: datasets.make_circles(4, shuffle=given)),
    ("make_blobs", "shuffle", lambda given: datasets.make_blobs(4, shuffle=given)),
    ("make_spirals", "shuffle", lambda given: datasets.make_spirals(4, shuffle=given)),
]


@pytest.mark.parametrize(("call", "name", "called"), SWITCHES, ids=[f"{call}-{name}" for call, name, _ in SWITCHES])
def test_a_switch_is_true_or_false(call: str, name: str, called: Callable[[Any], object]) -> None:
    for given in ("no", None, 0, np.array([True])):
        with pytest.raises(ValueError, match=rf"{call}\({name}=.*\): {name} must be True or False"):
            called(given)
    called(np.False_)


@pytest.mark.parametrize("name", ["header", "strict"])
def test_a_switch_of_export_is_true_or_false(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"export\({name}='no'\): {name} must be True or False"):
        mg.export(nn.MLP(2, [1]), tmp_path / "net.c", **{name: "no"})
    assert not list(tmp_path.iterdir())
