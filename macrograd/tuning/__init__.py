"""Hyperparameter search: `mg.sweep` tries many settings, here or on other machines, and keeps results on disk."""

from __future__ import annotations

from macrograd.tuning.search import Sweep, sweep
from macrograd.tuning.space import Integers, LogUniform, Uniform

__all__ = ["Integers", "LogUniform", "Sweep", "Uniform", "sweep"]
