"""Training: the `Trainer`, the record of a run (`History`), and models as files (`save`, `load`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from macrograd._lazy import lazy

if TYPE_CHECKING:
    from macrograd.train.callbacks import Callback, EarlyStopping, Run
    from macrograd.train.diagnose import DivergedError
    from macrograd.train.engines import ENGINES
    from macrograd.train.ensemble import Ensemble
    from macrograd.train.graphs import plain
    from macrograd.train.history import History
    from macrograd.train.nets.many import Many, train_many
    from macrograd.train.samples.repeats import distinct
    from macrograd.train.samples.task import Task
    from macrograd.train.saving import load, load_extra, save
    from macrograd.train.trainer import Trainer
    from macrograd.train.verdict import TrainingWarning
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "callbacks": "Callback, EarlyStopping, Run",
            "diagnose": "DivergedError",
            "samples.repeats": "distinct",
            "engines": "ENGINES",
            "ensemble": "Ensemble",
            "graphs": "plain",
            "history": "History",
            "nets.many": "Many, train_many",
            "samples.task": "Task",
            "saving": "load, load_extra, save",
            "trainer": "Trainer",
            "verdict": "TrainingWarning",
        },
    )

__all__ = [
    "ENGINES",
    "Callback",
    "DivergedError",
    "EarlyStopping",
    "Ensemble",
    "History",
    "Many",
    "Run",
    "Task",
    "Trainer",
    "TrainingWarning",
    "distinct",
    "load",
    "load_extra",
    "plain",
    "save",
    "train_many",
]
