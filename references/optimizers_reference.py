"""50 steps of PyTorch's optimisers on a small problem, in float64: `optimizers.json`.

The problem: minimise Σ cᵢ·(pᵢ − tᵢ)²/2 + Σ pᵢ·pᵢ₊₁/10. Each case holds the gradients that the optimiser was given and
the parameters that it made of them, so that a test compares the update rules and nothing else. The third parameter's
gradient is 0 throughout.
"""

from __future__ import annotations

from typing import Any

import torch
from _writing import write

STEPS = 50
START = [1.0, -2.0, 0.5, 3.0]
CURVATURE = torch.tensor([1.0, 0.05, 0.0, 4.0], dtype=torch.float64)
TARGET = torch.tensor([0.3, 1.0, 0.0, -1.0], dtype=torch.float64)

# macrograd's optimiser, PyTorch's, and the arguments, which both spell alike.
CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("SGD", torch.optim.SGD, {"lr": 0.1}),
    ("SGD", torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    ("SGD", torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    ("SGD", torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", torch.optim.SGD, {"lr": 0.05, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1}),
    ("RMSProp", torch.optim.RMSprop, {}),
    ("RMSProp", torch.optim.RMSprop, {"lr": 0.05, "alpha": 0.9, "eps": 1e-6, "weight_decay": 0.1}),
    ("RMSProp", torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.9}),
    ("RMSProp", torch.optim.RMSprop, {"lr": 0.01, "centered": True}),
    ("RMSProp", torch.optim.RMSprop, {"lr": 0.01, "centered": True, "momentum": 0.5, "weight_decay": 0.1}),
    ("Adam", torch.optim.Adam, {}),
    ("Adam", torch.optim.Adam, {"lr": 0.1, "betas": [0.8, 0.95], "eps": 1e-6}),
    ("Adam", torch.optim.Adam, {"lr": 0.1, "weight_decay": 0.1}),
    ("AdamW", torch.optim.AdamW, {}),
    ("AdamW", torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.1, "betas": [0.8, 0.95]}),
]


def loss(p: torch.Tensor) -> torch.Tensor:
    coupled = p[[0, 1, 3]]
    return (CURVATURE * (p - TARGET) ** 2).sum() / 2 + (coupled[1:] * coupled[:-1]).sum() / 10


def case(name: str, optimizer: Any, settings: dict[str, Any]) -> dict[str, Any]:
    p = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    theirs = optimizer([p], **settings)
    gradients, parameters = [], []
    for _ in range(STEPS):
        theirs.zero_grad()
        loss(p).backward()
        gradients.append(p.grad.tolist())
        theirs.step()
        parameters.append(p.tolist())
    return {
        "optimizer": name,
        "settings": settings,
        "start": START,
        "gradients": gradients,
        "parameters": parameters,
    }


def main() -> None:
    about = f"{STEPS} steps by PyTorch {torch.__version__.split('+')[0]}"
    write("optimizers.json", about, [case(*row) for row in CASES])


if __name__ == "__main__":
    main()
