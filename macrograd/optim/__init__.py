"""Optimisers (scalar update rules) and learning-rate schedules."""

from macrograd.optim.optimizers import SGD, Adam, AdamW, Optimizer, RMSProp, Rule
from macrograd.optim.schedules import Schedule, constant, cosine, coslog, exponential, linear, step, warm_up

# By the names that command lines and configurations use.
OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "rmsprop": RMSProp, "adam": Adam, "adamw": AdamW}

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSProp",
    "Rule",
    "Schedule",
    "constant",
    "cosine",
    "coslog",
    "exponential",
    "linear",
    "step",
    "warm_up",
]
