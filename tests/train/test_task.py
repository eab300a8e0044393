"""Targets as a loss wants them, and how a prediction is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd import nn, optim, tables
from macrograd.nn import losses
from macrograd.train import Task, Trainer
from macrograd.train.samples.targets import Targets
from macrograd.train.samples.targets import of as targets_of
from macrograd.train.samples.task import FITTING


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (None, 1, [0.0, 1.0, 1.0]),
        ("hinge", 1, [-1.0, 1.0, 1.0]),
        ("squared_error", 1, [-1.0, 1.0, 1.0]),
        ("absolute_error", 1, [-1.0, 1.0, 1.0]),
        ("huber", 1, [-1.0, 1.0, 1.0]),
        ("binary_cross_entropy", 1, [0.0, 1.0, 1.0]),
        ("cross_entropy", 2, [0, 1, 1]),
    ],
)
def test_two_classes(loss: str | None, outputs: int, targets: list[Any]) -> None:
    task = Task.of([0, 1, 1], loss)
    assert (task.kind, task.loss, task.outputs) == ("two classes", loss or "binary_cross_entropy", outputs)
    assert task.targets == targets
    assert task.metric == "accuracy"
    # Every loss can be computed on its own targets, and is smaller on the right side.
    compute = losses.get(task.loss)
    low, high = (-2.0, 2.0) if outputs == 1 else ([1.0, -1.0], [-1.0, 1.0])
    for target in targets:
        right, wrong = (high, low) if target > 0 else (low, high)
        assert compute(right, target) < compute(wrong, target)
        assert task.answers(np.array([right])).tolist() == [target > 0]


def test_more_classes() -> None:
    task = Task.of(np.array([2, 0, 1]))
    assert (task.kind, task.loss, task.outputs, task.targets) == ("classes", "cross_entropy", 3, [2, 0, 1])
    answers = task.answers(np.array([[0.0, 1.0, 3.0], [0.0, 1.0, 3.0]]))
    assert answers.tolist() == [2, 2]
    assert task.score(answers, [0, 1]) == 0.5


def test_a_number() -> None:
    task = Task.of([0.5, 2.0], unit=10.0)
    assert (task.kind, task.loss, task.outputs, task.targets) == ("number", "squared_error", 1, [0.5, 2.0])
    assert task.metric == "mean_absolute_error"
    assert task.score(task.answers(np.array([0.75, 1.0])), [0, 1]) == pytest.approx(10 * (0.25 + 1.0) / 2)


def test_a_score_of_0_is_class_0_as_in_micrograd() -> None:
    task = Task.of([0, 1])
    answers = task.answers(np.array([0.0, 0.0]))
    assert answers.tolist() == [0, 0]
    assert task.score(answers, [0, 1]) == 0.5


def test_a_batch_is_judged_by_its_own_targets() -> None:
    assert Task.of([0, 1, 1, 0]).score([0, 1], [3, 2]) == 1.0
    with pytest.raises(ValueError, match="there are 1 answers for 2 rows"):
        Task.of([0, 1]).score([1], [0, 1])


def test_labels() -> None:
    task = Task.of(np.array([[0, 1, 1], [1, 1, 0]]))
    answers = task.answers(np.array([[-1.0, 2.0, 0.0], [1.0, 2.0, -3.0]]))
    assert answers.tolist() == [[False, True, False], [True, True, False]]
    assert task.score(answers, [0, 1]) == 5 / 6


def test_every_fitting_loss_exists_and_every_loss_fits_something() -> None:
    assert {loss for fitting in FITTING.values() for loss in fitting} == set(losses.LOSSES)


@pytest.mark.parametrize(
    ("y", "loss", "message"),
    [
        (
            [0, 1, 2],
            "hinge",
            "the loss 'hinge' does not fit a target of more than two classes: use cross_entropy",
        ),
        (
            [0.5, 1.0],
            "hinge",
            "the loss 'hinge' does not fit a target of a number: use squared_error or absolute_error or huber",
        ),
        ([[0], [1]], None, "targets must be numbers of shape (n,), got int64 of shape (2, 1)"),
        (["a", "b"], None, "targets must be numbers of shape (n,), got <U1 of shape (2,)"),
        ([], None, "targets must be numbers of shape (n,), got float64 of shape (0,)"),
        ([0.0, float("nan")], None, "the target of sample 1 is nan: targets must be finite"),
        ([0, 2], None, "classes must be numbered 0 … k − 1 with none left out, got [0, 2]"),
        ([-1, 1], None, "classes must be numbered 0 … k − 1 with none left out, got [-1, 1]"),
        ([0, 0], None, "all targets are of one class: there is nothing to tell apart"),
    ],
)
def test_what_does_not_fit(y: list[Any], loss: str | None, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        Task.of(y, loss)
    assert str(caught.value) == message


def test_an_unknown_loss() -> None:
    with pytest.raises(ValueError, match=r"^unknown loss 'hing': use one of hinge, "):
        Task.of([0, 1], "hing")


@pytest.mark.parametrize(
    ("y", "loss"),
    [
        *[([0, 1, 1], loss) for loss in (None, "hinge", "binary_cross_entropy", "cross_entropy")],
        *[([0, 1, 2], loss) for loss in (None, "cross_entropy")],
        *[([0.5, 1.0, 2.0], loss) for loss in (None, "squared_error", "absolute_error", "huber")],
    ],
)
def test_the_command_and_a_trainer_learn_the_same(y: list[Any], loss: str | None) -> None:
    """The loss, how many outputs it takes, and the numbers that it is given."""
    task, X = Task.of(y, loss), [[0.1], [0.2], [0.3]]
    model = nn.MLP(1, [task.outputs], seed=1)
    history = Trainer(model, loss, optim.SGD(0.1), engine="eager").fit(
        [[0.1], [0.2], [0.3]], y, steps=1, progress="none"
    )
    again = nn.MLP(1, [task.outputs], seed=1)
    twice = Trainer(again, task.loss, optim.SGD(0.1), engine="eager").fit(
        X, np.asarray(task.targets), steps=1, progress="none"
    )
    assert targets_of(y, loss, task.outputs).loss == task.loss
    assert targets_of(y, loss, task.outputs).encode(y).tolist() == task.targets
    assert history.losses == twice.losses
    assert [p.data for p in model.parameters()] == [p.data for p in again.parameters()]


def test_where_the_command_is_told_more_than_a_trainer() -> None:
    """Both differences that the module's docstring gives reasons for."""
    assert (Task.of([0, 1], "squared_error").targets, targets_of([0, 1], "squared_error", 1).kind) == (
        [-1.0, 1.0],
        "numbers",
    )
    assert (Task.of([0.0, 1.0]).loss, targets_of([0.0, 1.0], None, 1).loss) == ("squared_error", "binary_cross_entropy")


@pytest.mark.parametrize(
    ("cells", "loss"),
    [("no yes no yes", "binary_cross_entropy"), ("a b c a", "cross_entropy"), ("0.5 1.5 2.25 3", "squared_error")],
)
def test_a_table_gets_the_loss_that_its_columns_get_from_a_trainer(cells: str, loss: str, tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("x,goal\n" + "".join(f"{k},{cell}\n" for k, cell in enumerate(cells.split())), "utf-8")
    target = tables.target_of(tables.read(file), "goal")
    task = Task.of(target.y)
    assert (task.loss, targets_of(target.y, None, task.outputs).loss) == (loss, loss)


def test_the_outputs_of_all_samples_are_never_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those for thousands of classes fill the memory."""
    held: list[int] = []
    decode = Targets.decode

    def decoding(self: Any, outputs: Any) -> Any:
        held.append(len(outputs))
        return decode(self, outputs)

    X, y = np.arange(4400.0).reshape(2200, 2) / 4400, np.arange(2200) % 4
    trainer = Trainer(nn.MLP(2, [4], seed=0))
    trainer.fit(X, y, steps=1, progress=False)
    whole = trainer.outputs(X).argmax(axis=1)
    monkeypatch.setattr(Targets, "decode", decoding)
    assert trainer.predict(X).tolist() == whole.tolist()
    assert held == [1024, 1024, 152]


def test_other_samples_are_scored_by_their_own_targets() -> None:
    numbers = Task.of([1.0, 2.0, 4.0], unit=10.0)
    assert numbers.score_of([0.5, 3.0], [1.0, 1.0]) == 12.5
    assert Task.of([0, 1, 2]).score_of([2, 1, 1, 0], [2, 0, 1, 0]) == 0.75
    assert Task.of([0, 1, 1]).score_of([1, 1], [1, 0]) == 0.5
    assert Task.of([[0, 1], [1, 1]]).score_of([[True, False], [False, False]], [[1, 0], [1, 0]]) == 0.75
