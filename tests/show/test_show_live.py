"""`mg.show.live`: the frames of a run, the widget's traits, and that watching changes nothing."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import numpy as np
import pytest

from macrograd import datasets, nn, show
from macrograd.show.frames import Frames, curve
from macrograd.train import Callback, Run, Trainer

X, Y = datasets.make_moons(40, noise=0.1, seed=1)


class Keeps(Callback):
    """Keeps the frames of a run."""

    def __init__(self) -> None:
        self.frames, self.found, self.fields = Frames(), list[dict[str, Any]](), list[tuple[str, bytes]]()
        self.gradients: list[list[float]] = []

    def on_pause(self, run: Run) -> None:
        if not self.found:
            self.frames.begin(run)
        self.found.append(self.frames.frame(run))
        self.fields.append(self.frames.field(run))
        self.gradients.append([float(np.linalg.norm(g)) for g in np.split(run.gradient, [12])])


def kept(trainer: Trainer, y: Any = Y, X: Any = X, **options: Any) -> Keeps:
    keeps = Keeps()
    trainer.watchers.append(keeps)
    trainer.fit(X, y, progress=False, **options)
    return keeps


def test_the_frames_of_a_run() -> None:
    trainer = Trainer(nn.MLP(2, [4, 1], seed=1))
    keeps = kept(trainer, steps=30, validation=0.25)
    steps = [frame["step"] for frame in keeps.found]
    assert steps[0] == 1
    assert steps == sorted(set(steps))
    assert steps[-1] == 30
    last = keeps.found[-1]
    assert last["losses"] == [[float(k + 1), loss] for k, loss in enumerate(trainer.history.losses)]
    assert [value for _, value in last["held"]] == trainer.history.metrics["validation_loss"]
    assert [name for name, _ in last["layers"]] == ["layers.0", "layers.1"]
    norms = {tuple(norm for _, norm in frame["layers"]) for frame in keeps.found}
    assert len(norms) == len(keeps.found)  # they move
    left, right, bottom, top = keeps.frames.box
    assert left < X[:, 0].min() < X[:, 0].max() < right
    assert bottom < X[:, 1].min() < X[:, 1].max() < top
    assert {label for _, _, label in keeps.frames.points} == {0, 1}
    kind, field = keeps.fields[-1]
    across, up = np.meshgrid(np.linspace(left, right, 48), np.linspace(bottom, top, 48))
    scores = trainer.outputs(np.stack([across.ravel(), up.ravel()], axis=1))
    bytes_ = np.frombuffer(field, dtype=np.uint8)
    assert kind == "score"
    assert ((bytes_ > 127.5) == (scores > 0.0))[np.abs(scores) > 0.1].all()


def test_points_are_drawn_as_given_and_classes_as_regions() -> None:
    trainer = Trainer(nn.MLP(2, [3], seed=1), scale="standard")
    keeps = kept(trainer, y=np.array(["a", "b", "c", "b"] * 10), steps=1)
    assert np.array([point[:2] for point in keeps.frames.points]) == pytest.approx(X)
    assert [label for *_, label in keeps.frames.points] == [0, 1, 2, 1] * 10
    kind, field = keeps.fields[-1]
    assert kind == "class"
    assert set(field) <= {0, 1, 2}
    assert [name for name, _ in keeps.found[-1]["layers"]] == ["net.layers.0"]


def test_samples_that_are_no_points_have_no_field() -> None:
    keeps = kept(Trainer(nn.MLP(3, [1], seed=1)), X=np.ones((5, 3)), y=np.arange(5.0), steps=1)
    assert keeps.frames.points == keeps.frames.box == []
    assert keeps.fields == [("", b"")]


def test_a_long_curve_is_averaged() -> None:
    short = curve(np.arange(10_000.0), np.full(10_000, 2.0))
    assert len(short) == 300
    assert {value for _, value in short} == {2.0}
    assert curve(np.arange(3.0), np.array([1.0, np.nan, 3.0])) == [[0.0, 1.0], [2.0, 3.0]]


def test_watching_changes_no_bit_and_copies_have_no_watchers() -> None:
    def parameters(watched: bool) -> list[float]:
        trainer = Trainer(nn.MLP(2, [4, 1], seed=1))
        if watched:
            kept(trainer, steps=200, batch_size=8)
        else:
            trainer.fit(X, Y, steps=200, batch_size=8, progress=False)
        return [p.data for p in trainer.model.parameters()]

    assert parameters(watched=True) == parameters(watched=False)
    trainer = Trainer(nn.MLP(2, [1], seed=1))
    trainer.watchers.append(Keeps())
    assert copy.deepcopy(trainer).watchers == pickle.loads(pickle.dumps(trainer)).watchers == []  # noqa: S301 - its own


def test_only_a_trainer_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="takes a Trainer, got"):
        show.live(nn.MLP(2, [1]))
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "macrograd.show._widget", raising=False)
    with pytest.raises(ImportError, match=r'live pictures need anywidget: pip install "macrograd\[live\]"'):
        show.live(Trainer(nn.MLP(2, [1])))


# --- the widget -------------------------------------------------------------------------------------------------------


def test_the_traits_move_while_fit_runs() -> None:
    pytest.importorskip("anywidget")
    trainer = Trainer(nn.MLP(2, [4, 1], seed=1))
    view: Any = show.live(trainer)
    assert view.status == "waiting for fit"
    steps: list[int] = []
    view.observe(lambda change: steps.append(change["new"]["step"]), "frame")
    trainer.fit(X, Y, steps=50, progress=False)
    assert steps[0] == 1
    assert steps[-1] == 50
    assert view.status == f"50 steps, loss {trainer.history.last_loss:.4g}"
    assert view.frame["kind"] == "score"
    assert len(view.field) == view.side**2
    assert len(view.points) == 40
    before = len(steps)
    again: Any = show.live(trainer)  # takes the place of the first
    trainer.fit(X, Y, steps=5, progress=False)
    assert len(steps) == before
    assert again.frame["step"] == 5
