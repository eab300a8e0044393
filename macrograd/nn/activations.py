"""Activation functions by name: scalar in, scalar out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from macrograd import functions

Activation = Callable[[Any], Any]


def linear(x: Any) -> Any:
    """x itself."""
    return x


def silu(x: Any) -> Any:
    """x·σ(x), also known as swish. Source: Hendrycks & Gimpel, arXiv:1606.08415, §4."""
    return x * functions.sigmoid(x)


def gelu(x: Any) -> Any:
    """x·Φ(x) in the tanh approximation. Source: Hendrycks & Gimpel, arXiv:1606.08415, §2."""
    return 0.5 * x * (1.0 + functions.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x))))


ACTIVATIONS: dict[str, Activation] = {
    "linear": linear,
    "relu": functions.relu,
    "leaky_relu": functions.leaky_relu,
    "tanh": functions.tanh,
    "sigmoid": functions.sigmoid,
    "softplus": functions.softplus,
    "sin": functions.sin,
    "silu": silu,
    "gelu": gelu,
}


def get(activation: str | Activation) -> Activation:
    """Look up an activation by name; a function is returned unchanged. Raises ValueError for an unknown name."""
    if callable(activation):
        return activation
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"unknown activation {activation!r}: use one of {', '.join(ACTIVATIONS)}, or a function of one scalar"
        )
    return ACTIVATIONS[activation]


def name_of(activation: str | Activation) -> str:
    """The name to show in a repr."""
    if isinstance(activation, str):
        return activation
    for attribute in ("__name__", "name"):  # of functions; of operations
        name = getattr(activation, attribute, None)
        if isinstance(name, str):
            return name
    return type(activation).__name__
