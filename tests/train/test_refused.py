"""A call that is refused leaves everything as it was: what it was given does not count as the first data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import nn

X = np.random.default_rng(0).normal(size=(40, 2))
FIRST = np.where(X[:, 0] > 0, "ant", "bee")
LATER = np.where(X[:, 1] > 0, "cat", "dog")

REFUSED: dict[str, dict[str, Any]] = {
    "progress": {"progress": "loud"},
    "schedule": {"schedule": "fast"},
    "callbacks": {"callbacks": [3]},
    "watch": {"watch": "wealth"},
    "batch_size": {"batch_size": 0},
    "larger batch": {"batch_size": 41},
    "clip_norm": {"clip_norm": -1.0},
    "metrics": {"metrics": "r2"},
    "early_stopping": {"early_stopping": -1},
    "seed": {"seed": -1},
    "epochs and steps": {"epochs": 1, "steps": 1},
    "validation": {"validation": (X, np.full(40, "eel"))},
    "class_weight": {"class_weight": {"eel": 1.0}},
}
IN_FILES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "every": lambda folder: {"checkpoint": folder / "run", "every": "a while"},
    "place": lambda folder: {"checkpoint": folder / "none" / "run"},
    "there": lambda folder: {"checkpoint": _written(folder / "run")},
    "no checkpoint": lambda folder: {"checkpoint": _written(folder / "run"), "resume": True},
}


def _written(path: Path) -> Path:
    path.write_text("a file of somebody else")
    return path


def a_trainer(**options: Any) -> mg.Trainer:
    return mg.Trainer(nn.MLP(2, [3, 1], seed=1), scale="standard", **options)


def _learned(trainer: mg.Trainer) -> tuple[Any, ...]:
    """The losses and the parameters of training on other data, with other labels and scales."""
    history = trainer.fit(X / 100.0, LATER, steps=5, batch_size=8, progress="none")
    return list(history.losses), [p.data for p in trainer.model.parameters()], trainer.classes


def _refuse(trainer: mg.Trainer, options: dict[str, Any]) -> None:
    model, before = trainer.model, repr(vars(trainer.setup))
    with pytest.raises((TypeError, ValueError, OSError)):
        trainer.fit(100.0 * X, FIRST, **{"steps": 5, "progress": "none"} | options)
    assert trainer.model is model
    assert mg.Trainer(model).setup.targets is None
    assert repr(vars(trainer.setup)) == before


@pytest.mark.filterwarnings("ignore::macrograd.train.TrainingWarning")  # of so few steps
@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_option_leaves_the_trainer_as_it_was(case: str) -> None:
    trainer = a_trainer()
    _refuse(trainer, REFUSED[case])
    assert _learned(trainer) == _learned(a_trainer())


@pytest.mark.filterwarnings("ignore::macrograd.train.TrainingWarning")
@pytest.mark.parametrize("case", IN_FILES)
def test_a_refused_file_leaves_the_trainer_as_it_was(case: str, tmp_path: Path) -> None:
    trainer = a_trainer()
    _refuse(trainer, IN_FILES[case](tmp_path))
    assert _learned(trainer) == _learned(a_trainer())


@pytest.mark.filterwarnings("ignore::macrograd.train.TrainingWarning")
def test_a_program_that_cannot_be_compiled_leaves_the_trainer_as_it_was() -> None:
    def asks(model: nn.MLP, x: Any, y: Any) -> Any:
        return model(x) * (1.0 if model(x) > 0.0 else 2.0)

    trainer = a_trainer(loss=asks)
    model = trainer.model
    with pytest.raises(mg.TraceError):
        trainer.fit(100.0 * X, X[:, 0], steps=5, progress="none")
    assert trainer.model is model
    assert trainer.setup.targets is None


@pytest.mark.filterwarnings("ignore::macrograd.train.TrainingWarning")
def test_a_refused_call_keeps_the_history_of_the_run_before(tmp_path: Path) -> None:
    trainer = a_trainer()
    history = trainer.fit(X, FIRST, steps=5, progress="none")
    with pytest.raises(OSError, match="does not exist"):
        trainer.fit(X, FIRST, steps=5, checkpoint=tmp_path / "none" / "run")
    assert trainer.history is history
    assert len(history) == 5
    with pytest.raises(ValueError, match="'cat'"):
        trainer.fit(X, LATER, steps=5)
    assert trainer.classes == ["ant", "bee"]


@pytest.mark.filterwarnings("ignore::macrograd.train.TrainingWarning")
@pytest.mark.parametrize("wrong", ["the last member", "folder", "every", "shared"])
def test_refused_members_are_all_left_as_they_were(wrong: str, tmp_path: Path) -> None:
    trainers = [a_trainer() for _ in range(3)]
    each: list[dict[str, Any]] = [{}, {}, {"batch_size": 0} if wrong == "the last member" else {}]
    options: dict[str, Any] = {}
    if wrong == "folder":
        options["checkpoint"] = _written(tmp_path / "folder")
    if wrong == "every":
        options |= {"checkpoint": tmp_path / "folder", "every": "a while"}
    if wrong == "shared":
        trainers[2].optimizer = trainers[0].optimizer
    models = [trainer.model for trainer in trainers]
    with pytest.raises((ValueError, OSError)):
        mg.train_many(trainers, 100.0 * X, FIRST, each=each, steps=5, **options)
    assert [trainer.model for trainer in trainers] == models
    assert all(trainer.setup.targets is None for trainer in trainers)
    assert wrong == "folder" or not list(tmp_path.iterdir())
    assert _learned(trainers[1]) == _learned(a_trainer())
