"""A callback's reasons, in the package's own words: none is taken for the package's."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd import Ensemble, Trainer, nn, train_many, tuning
from macrograd.train import EarlyStopping
from macrograd.train.callbacks import Run
from macrograd.train.endings import DIVERGED, EARLY_STOPPING, FAILED, INTERRUPTED

X = np.linspace(-1.0, 1.0, 24).reshape(12, 2)
Y = X[:, 0] ** 2
WORDS = [INTERRUPTED, EARLY_STOPPING, DIVERGED, FAILED]


def trainer(seed: int = 0) -> Trainer:
    return Trainer(nn.MLP(2, [2, 1], seed=seed), "squared_error")


class Stops:
    """Ends a run after its third epoch, for a reason of the package, as a history may hand it on."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __call__(self, run: Run) -> None:
        if run.epoch == 3:
            run.stop(self.word)


@pytest.mark.parametrize("word", WORDS)
def test_a_reason_of_a_callback_is_a_plain_string(word: str) -> None:
    history = trainer().fit(X, Y, epochs=5, callbacks=Stops(word), progress=False)
    assert history.stopped == word
    assert type(history.stopped) is str
    assert len(history) == 3


def test_early_stopping_has_a_type_also_after_pickling() -> None:
    rule = EarlyStopping(1, "validation_loss", min_delta=1e9)
    history = trainer().fit(X, Y, epochs=5, validation=(X, Y), early_stopping=rule, progress=False)
    assert history.stopped == "early stopping"
    assert EARLY_STOPPING.ended(pickle.loads(pickle.dumps(history)).stopped)  # noqa: S301 - our own
    assert not EARLY_STOPPING.ended("early stopping")


def test_a_callback_does_not_restore_the_best_parameters() -> None:
    """Only early stopping does: these parameters are those of the third epoch, not of the best, the first."""

    def left(word: str) -> list[float]:
        rule = EarlyStopping(5, "validation_loss", min_delta=1e9)
        one = trainer()
        one.fit(X, Y, epochs=5, validation=(X, Y), early_stopping=rule, callbacks=Stops(word), progress=False)
        return [p.data for p in one.model.parameters()]

    assert left("early stopping") == left("enough")


def test_a_stopped_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    def fit(word: str, **options: Any) -> int:
        path = tmp_path / f"{word}.mgckpt"
        return len(trainer().fit(X, Y, epochs=5, progress=False, checkpoint=path, **options))

    for word in ("early stopping", "enough"):
        assert fit(word, callbacks=Stops(word)) == 3
        assert fit(word, resume=True) == 5


@pytest.mark.parametrize("word", WORDS)
def test_members_and_sweeps_that_a_callback_stops_are_not_lost(word: str) -> None:
    options = {"epochs": 5, "callbacks": Stops(word)}
    many = train_many([trainer(), trainer(1)], X, Y, **options, progress=False)
    assert many.best("loss") in (0, 1)
    assert len(Ensemble(many).members) == 2

    def make(seed: int, l2: float) -> Any:
        return Trainer(nn.MLP(2, [2, 1], seed=seed), "squared_error", l2=l2), {"callbacks": Stops(word)}

    found = tuning.sweep(make, X, Y, {"l2": [0.0, 0.1]}, folds=2, epochs=5, progress=False)
    assert all(np.isfinite(line.score) and not line.error for line in found.lines)
