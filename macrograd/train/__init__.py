"""Training: what is to be learned (`Task`), in which batches, by which engine, and what came of it (`History`)."""

from __future__ import annotations

from macrograd.train.batches import batches
from macrograd.train.history import History
from macrograd.train.loop import fit
from macrograd.train.steps import ENGINES, DivergedError, plain, predict
from macrograd.train.task import Task

__all__ = ["ENGINES", "DivergedError", "History", "Task", "batches", "fit", "plain", "predict"]
