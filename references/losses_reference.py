"""Losses of one sample and their gradients by PyTorch, in float64: `losses.json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _writing import write
from torch.nn import functional

Numbers = float | int | list[float]


def _hinge(score: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.relu(1.0 - y * score)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "hinge": _hinge,
    "squared_error": functional.mse_loss,
    "absolute_error": functional.l1_loss,
    "huber": functional.huber_loss,
    "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
    "cross_entropy": functional.cross_entropy,
}
REGRESSION: list[tuple[Numbers, Numbers]] = [
    (0.3, 0.7),
    (2.5, -1.0),
    (1.0, 0.0),
    (-3.0, -3.0),
    (1e200, 0.0),
    ([0.1, -2.0, 5.0], [0.4, 1.0, 5.0]),
]
CASES: list[tuple[str, Numbers, Numbers, dict[str, float]]] = [
    *[("hinge", score, y, {}) for score in (0.25, -3.0, 1.0, -1.0, 40.0) for y in (1.0, -1.0)],
    *[("squared_error", p, t, {}) for p, t in REGRESSION if p != 1e200],
    *[("absolute_error", p, t, {}) for p, t in REGRESSION],
    *[("huber", p, t, {}) for p, t in REGRESSION],
    *[("huber", p, t, {"delta": 0.25}) for p, t in REGRESSION],
    *[
        ("binary_cross_entropy", z, t, {})
        for z in (0.0, 2.0, -2.0, 30.0, -30.0, 1000.0, -1000.0)
        for t in (0.0, 1.0, 0.3)
    ],
    ("cross_entropy", [0.2, -1.0, 3.0], 0, {}),
    ("cross_entropy", [0.2, -1.0, 3.0], 2, {}),
    ("cross_entropy", [1000.0, -1000.0], 1, {}),
    ("cross_entropy", [1000.0, -1000.0], 0, {}),
    ("cross_entropy", [1e300, 1e300, 0.0], 0, {}),
    ("cross_entropy", [0.2, -1.0, 3.0], [0.1, 0.2, 0.7], {}),
    ("cross_entropy", [1000.0, -1000.0], [0.5, 0.5], {}),
    ("cross_entropy", [0.2, -1.0, 3.0], [0.0, 1.0, 0.0], {}),
]


def case(name: str, prediction: Numbers, target: Numbers, settings: dict[str, float]) -> dict[str, Any]:
    leaf = torch.tensor(prediction, dtype=torch.float64, requires_grad=True)
    is_class = name == "cross_entropy" and isinstance(target, int)
    value = LOSSES[name](leaf, torch.tensor(target, dtype=torch.long if is_class else torch.float64), **settings)
    (gradient,) = torch.autograd.grad(value, leaf)
    return {
        "loss": name,
        "prediction": prediction,
        "target": target,
        "settings": settings,
        "value": value.item(),
        "gradient": gradient.tolist(),
    }


def main() -> None:
    about = f"values and gradients by PyTorch {torch.__version__.split('+')[0]}"
    write("losses.json", about, [case(*row) for row in CASES])


if __name__ == "__main__":
    main()
