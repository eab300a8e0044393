"""Gradient descent as `saddle` and `particle` ask for it, on numbers or in a compiled function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import macrograd as mg

NEAR = 1e-5  # the gradient or the step that ends it
FIRST_STEP = 1e-5
GROWS_AFTER = 10  # accepted steps


def argmin(f: Callable[[Any], Any], slope: Callable[[Any], Any], start: Any, most: int) -> Any:
    """The x where the vector `slope(x)` of a function f is small, or steps become small.

    The step is doubled after ten that made f smaller, and halved after one that did not.
    """

    def goes_on(state: Any) -> Any:
        _, _, g, _, _, done = state
        return (mg.dot(g, g) > NEAR * NEAR) * (1.0 - done)

    def step(state: Any) -> Any:
        x, fx, g, size, accepted, _ = state
        grows = mg.where(accepted >= GROWS_AFTER, 1.0, 0.0)
        there = [a - size * b for a, b in zip(x, g, strict=True)]
        f_there, g_there = f(there), slope(there)
        moved = [a - b for a, b in zip(there, x, strict=True)]
        done = mg.where(mg.dot(moved, moved) <= NEAR * NEAR, 1.0 - grows, 0.0)
        better = mg.where(f_there < fx, 1.0 - grows, 0.0) * (1.0 - done)
        return (
            [mg.where(better, a, b) for a, b in zip(there, x, strict=True)],
            mg.where(better, f_there, fx),
            [mg.where(better, a, b) for a, b in zip(g_there, g, strict=True)],
            mg.where(grows, 2.0 * size, mg.where(better, size, 0.5 * size)),
            mg.where(better, accepted + 1.0, 0.0),
            done,
        )

    x = list(start)
    return mg.while_loop(goes_on, step, (x, f(x), slope(x), FIRST_STEP, 0.0, 0.0), most=most)[0]


def slope_of(f: Callable[[Any], Any], mode: str) -> Callable[[Any], Any]:
    """The gradient of f of a vector, in reverse ("r") or forward ("f")."""
    if mode == "r":
        reverse: Callable[[Any], Any] = mg.grad(f)
        return reverse

    def forward(x: Any) -> Any:
        n = len(x)
        return [mg.jvp(f, list(x), [float(j == k) for j in range(n)])[1] for k in range(n)]

    return forward
