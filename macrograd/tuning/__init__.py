"""Hyperparameter search: `mg.sweep` tries many settings, here or on other machines, and keeps results on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from macrograd._lazy import lazy

if TYPE_CHECKING:
    from macrograd.tuning.search import Sweep, sweep
    from macrograd.tuning.space import Integers, LogUniform, Uniform
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "search": "Sweep, sweep",
            "space": "Integers, LogUniform, Uniform",
        },
    )

__all__ = ["Integers", "LogUniform", "Sweep", "Uniform", "sweep"]
