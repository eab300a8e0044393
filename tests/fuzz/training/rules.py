"""The optimisers' formulas, once more: as PyTorch's documentation has them, for all parameters and replicas at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg

from .. import noise
from .cases import Rule

Array = NDArray[Any]


def states(rule: Rule) -> int:
    """How many numbers the optimiser keeps for each parameter."""
    if rule.name == "sgd":
        return int(bool(rule.options.get("momentum")))
    if rule.name == "rmsprop":
        return 1 + bool(rule.options.get("momentum")) + bool(rule.options.get("centered"))
    return 2


def update(rule: Rule, theta: Array, gradient: Array, state: Array, rate: float, step: int) -> tuple[Array, Array]:
    """(parameters, states) after a step, counted from 1; arrays are (replicas, parameters)."""
    p, g = noise.replicas(theta), noise.replicas(gradient)
    old = [noise.replicas(one) for one in state]
    decay = rule.options.get("weight_decay", 1e-2 if rule.name == "adamw" else 0.0)
    if decay and rule.name == "adamw":
        p = p - rate * decay * p
    elif decay:
        g = g + decay * p
    move = {"sgd": _sgd, "rmsprop": _rmsprop}.get(rule.name, _adam)
    direction, new = move(rule.options, g, old, noise.replicas(np.full(theta.shape, float(step))))
    found = p - rate * direction
    kept = np.stack([np.broadcast_to(x.data, theta.shape) for x in new]) if new else state
    return np.broadcast_to(found.data, theta.shape).copy(), kept


def _sgd(options: dict[str, Any], g: Any, old: list[Any], step: Any) -> tuple[Any, list[Any]]:
    mu = options.get("momentum", 0.0)
    if not mu:
        return g, []
    velocity = mu * old[0] + g
    return (g + mu * velocity if options.get("nesterov") else velocity), [velocity]


def _rmsprop(options: dict[str, Any], g: Any, old: list[Any], step: Any) -> tuple[Any, list[Any]]:
    alpha, mu = options.get("alpha", 0.99), options.get("momentum", 0.0)
    square = alpha * old[0] + (1.0 - alpha) * g * g
    new, spread = [square], square
    if options.get("centered"):
        mean = alpha * old[1] + (1.0 - alpha) * g
        new.append(mean)
        spread = mg.maximum(square - mean * mean, 0.0)
    direction = g / (mg.sqrt(spread) + 1e-8)
    if mu:
        direction = mu * old[-1] + direction
        new.append(direction)
    return direction, new


def _adam(options: dict[str, Any], g: Any, old: list[Any], step: Any) -> tuple[Any, list[Any]]:
    (a, b), eps = options.get("betas", (0.9, 0.999)), options.get("eps", 1e-8)
    mean, square = a * old[0] + (1.0 - a) * g, b * old[1] + (1.0 - b) * g * g
    rising = 1.0 if a == 0.0 else 1.0 - a**step
    corrected, root = mean / rising, mg.sqrt(square / (1.0 - b**step))
    return corrected / (root + eps), [mean, square]
