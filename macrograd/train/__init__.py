"""Training: the `Trainer`, what came of a run (`History`), and models as files (`save`, `load`).

`fit` with a `Task` is the loop of the command line, a step at a time.
"""

from __future__ import annotations

from macrograd.train.batches import batches
from macrograd.train.callbacks import Callback, EarlyStopping, Run
from macrograd.train.history import History
from macrograd.train.loop import fit
from macrograd.train.saving import load, load_extra, save
from macrograd.train.steps import ENGINES, DivergedError, plain, predict
from macrograd.train.task import Task
from macrograd.train.trainer import Trainer

__all__ = [
    "ENGINES",
    "Callback",
    "DivergedError",
    "EarlyStopping",
    "History",
    "Run",
    "Task",
    "Trainer",
    "batches",
    "fit",
    "load",
    "load_extra",
    "plain",
    "predict",
    "save",
]
