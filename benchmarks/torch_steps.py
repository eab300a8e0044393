"""A whole training step by torch.compile: loss, gradient and update of the parameters in one compiled function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

State = list[Any]


def sgd(loss: Callable[..., Any]) -> Callable[..., Any]:
    """(parameters, rate, *batch) → (parameters, loss), compiled."""
    import torch

    both = torch.func.grad_and_value(loss)

    def step(parameters: State, rate: Any, *batch: Any) -> tuple[State, Any]:
        gradient, value = both(parameters, *batch)
        return [p - rate * g for p, g in zip(parameters, gradient, strict=True)], value

    compiled: Callable[..., Any] = torch.compile(step)
    return compiled


def adam(loss: Callable[..., Any], rate: float, betas: Sequence[float], epsilon: float) -> Callable[..., Any]:
    """(parameters, first moments, second moments, t, *batch) → (parameters, moments, loss), compiled; t is a tensor."""
    import torch

    both = torch.func.grad_and_value(loss)

    def step(parameters: State, m: State, v: State, t: Any, *batch: Any) -> tuple[State, State, State, Any]:
        gradient, value = both(parameters, *batch)
        m = [betas[0] * a + (1 - betas[0]) * g for a, g in zip(m, gradient, strict=True)]
        v = [betas[1] * a + (1 - betas[1]) * g * g for a, g in zip(v, gradient, strict=True)]
        c1, c2 = 1 - betas[0] ** t, 1 - betas[1] ** t
        moved = [p - rate * (a / c1) / (torch.sqrt(b / c2) + epsilon) for p, a, b in zip(parameters, m, v, strict=True)]
        return moved, m, v, value

    compiled: Callable[..., Any] = torch.compile(step)
    return compiled
