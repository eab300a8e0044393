"""Training: the `Trainer`, the record of a run (`History`), and models as files (`save`, `load`)."""

from __future__ import annotations

from macrograd.train.callbacks import Callback, EarlyStopping, Run
from macrograd.train.diagnose import DivergedError
from macrograd.train.distinct import distinct
from macrograd.train.engines import ENGINES
from macrograd.train.ensemble import Ensemble
from macrograd.train.graphs import plain
from macrograd.train.history import History
from macrograd.train.nets.many import Many, train_many
from macrograd.train.samples.task import Task
from macrograd.train.saving import load, load_extra, save
from macrograd.train.trainer import Trainer
from macrograd.train.verdict import TrainingWarning

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
