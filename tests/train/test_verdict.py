"""A run that ends without an error and has learned nothing says so; one that learned says nothing."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import datasets, nn, optim
from macrograd.cli import main
from macrograd.train import TrainingWarning
from macrograd.train.history import Column
from macrograd.train.samples import targets
from macrograd.train.verdict import best_constant

X, Y = datasets.make_moons(60, noise=0.1, seed=3)


def trainer(loss: str, rate: float, outputs: int = 1, **options: Any) -> mg.Trainer:
    return mg.Trainer(nn.MLP(2, [8, outputs], seed=1), loss, optim.SGD(rate), **options)


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_a_loss_that_grew_names_the_rate(engine: str) -> None:
    job = trainer("squared_error", 2.0, engine=engine)
    with pytest.warns(TrainingWarning, match=r"^the loss grew from .* in 26 steps: .*rate 2 is .* too large, try 0.2"):
        job.fit(X, Y * 1.0, steps=26, progress="none")
    assert job.remark.startswith("the loss grew")
    assert job.history.last_loss > 1e6


@pytest.mark.parametrize(("loss", "outputs"), [("hinge", 1), ("binary_cross_entropy", 1), ("cross_entropy", 2)])
def test_accuracy_at_chance_is_named(loss: str, outputs: int) -> None:
    job = trainer(loss, 1e-9, outputs)
    for p in job.model.parameters():
        p.data = 0.0
    with pytest.warns(TrainingWarning, match=r"no better than .* the most frequent class \(50.0% of .* than 1e-09"):
        job.fit(X, Y, steps=120, progress="none")
    assert job.evaluate(X, Y, metrics="accuracy")["accuracy"] == 0.5


def test_numbers_no_better_than_their_mean() -> None:
    job = trainer("squared_error", 1e-12)
    for p in job.model.parameters():
        p.data = 0.0
    with pytest.warns(TrainingWarning, match="no better than the constant answer of their mean"):
        job.fit(X, Y * 2.0 - 1.0, steps=120, progress="none")


def one(model: nn.Module) -> float:
    """A penalty that is in every loss, and no part of the verdict."""
    return 1.0


@pytest.mark.parametrize("loss", ["hinge", "binary_cross_entropy", "squared_error"])
def test_a_run_that_learned_is_silent(loss: str) -> None:
    job = mg.Trainer(nn.MLP(2, [8, 1], seed=1), loss, optim.Adam(0.02), penalty=one)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        job.fit(X, Y if loss != "squared_error" else Y * 1.0, steps=300, progress="none")
    assert job.remark == ""


def test_the_word_of_one_run_is_gone_after_the_next() -> None:
    job = trainer("squared_error", 2.0)
    start = [p.data for p in job.model.parameters()]
    with pytest.warns(TrainingWarning):
        job.fit(X, Y * 1.0, steps=26, progress="none")
    for p, number in zip(job.model.parameters(), start, strict=True):
        p.data = number
    job.fit(X, Y * 1.0, steps=26, schedule=0.01, progress="none")
    assert job.remark == ""


def test_short_runs_are_not_judged() -> None:
    job = trainer("hinge", 1e-9)
    job.fit(X, Y, steps=19, progress="none")
    assert job.remark == ""


@pytest.mark.parametrize(
    ("loss", "y", "expected"),
    [
        ("hinge", [0, 1, 1, 1], 0.5),
        ("binary_cross_entropy", [0, 1, 1, 1], 0.5623351446188083),
        ("cross_entropy", [0, 1, 2, 2], 1.0397207708399179),
        ("squared_error", [1.0, 3.0], 1.0),
    ],
)
def test_the_best_constant_is_found(loss: str, y: list[float], expected: float) -> None:
    """Against the smallest mean loss over a grid of constants, where there is one output."""
    kind = targets.of(np.array(y), loss, 0)
    encoded = kind.encode(np.array(y))
    assert best_constant(kind, encoded) == pytest.approx(expected, rel=1e-12)
    if kind.outputs == 1:
        function = nn.losses.LOSSES[loss]
        grid = [np.mean([function(c, t) for t in encoded.tolist()]) for c in np.linspace(-3, 3, 6001).tolist()]
        assert min(grid) == pytest.approx(expected, abs=1e-6)


def test_both_ends_of_a_column() -> None:
    column = Column()
    column.add(np.array([1.0, 2.0, 3.0]))
    column.line(3, 5.0, 5.0)
    column.add(np.array([7.0]))
    for count in range(9):
        assert column.first(count).tolist() == [1, 2, 3, 5, 5, 5, 7][:count]
        assert column.last_ones(count).tolist() == [1, 2, 3, 5, 5, 5, 7][max(0, 7 - count) :]


def test_the_command_ends_with_the_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "moons", "--steps", "100", "--lr", "100", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert "accuracy 50.0%" in out
    note = "macrograd: note: the loss grew from 0.8958 to 3.901e+29 in 100 steps: the learning rate 100 is most likely"
    assert err.startswith(note)


def test_a_command_that_learned_ends_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "moons", "--steps", "100", "--quiet"]) == 0
    assert "note" not in capsys.readouterr().err
