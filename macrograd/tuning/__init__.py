"""Hyper-parameters: `mg.sweep` tries many, here or on other machines, and keeps every result on disk."""

from __future__ import annotations

from macrograd.tuning.search import Sweep, sweep
from macrograd.tuning.space import Integers, LogUniform, Uniform

__all__ = ["Integers", "LogUniform", "Sweep", "Uniform", "sweep"]
