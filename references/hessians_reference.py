"""Second derivatives by PyTorch, float64: `hessians.json`.

Each case: a function's name (tests/gradients/known.py has the same functions), a point, the value, the gradient, the
Hessian, its product with a vector, and what a net's weights gain from a penalty on the gradient by its input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _writing import write

Function = Callable[[torch.Tensor], torch.Tensor]


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def mixed(x: torch.Tensor) -> torch.Tensor:
    a, b, c = x
    return torch.exp(a * b) + torch.tanh(b / c) + c**3 * torch.sin(a) + torch.sqrt(1.0 + a * a) / (2.0 + torch.cos(b))


def rates(x: torch.Tensor) -> torch.Tensor:
    a, b, c = x
    return torch.log(a) * torch.sigmoid(b) + torch.log1p(c * c) * a**b + torch.nn.functional.softplus(b - c)


def entropy(x: torch.Tensor) -> torch.Tensor:
    return torch.logsumexp(x, 0) - torch.softmax(x, 0) @ x


def kinked(x: torch.Tensor) -> torch.Tensor:
    a, b, c = x
    return torch.maximum(a * b, c) ** 2 + torch.relu(a - c) ** 3 + torch.abs(b) * c + torch.minimum(a, b) * a


CASES: list[tuple[Function, list[float]]] = [
    (rosenbrock, [-1.2, 1.0, 0.3, 0.7, -0.4, 1.1]),
    (rosenbrock, [1.0, 1.0, 1.0]),
    (mixed, [0.3, -0.7, 1.1]),
    (mixed, [-1.4, 0.2, -0.6]),
    (rates, [0.8, -0.3, 1.7]),
    (rates, [2.5, 1.5, -0.9]),
    (entropy, [0.5, -1.0, 2.0, 0.1]),
    (kinked, [1.5, -0.7, 0.4]),
    (kinked, [0.9, 1.3, 0.2]),
]


def case(function: Function, point: list[float]) -> dict[str, Any]:
    x = torch.tensor(point, dtype=torch.float64)
    vector = torch.linspace(-1.0, 2.0, len(point), dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(function, x)
    return {
        "function": function.__name__,
        "x": point,
        "value": function(x).item(),
        "gradient": torch.autograd.functional.jacobian(function, x).tolist(),
        "hessian": hessian.tolist(),
        "vector": vector.tolist(),
        "product": (hessian @ vector).tolist(),
    }


def penalty() -> dict[str, Any]:
    """(|∂critic/∂x| − 1)² of a net with one hidden layer, as in WGAN-GP, and its gradient by the weights."""
    torch.manual_seed(0)
    w = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    v = torch.randn(4, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([0.4, -0.8, 1.3], dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(v @ torch.tanh(w @ x), x, create_graph=True)
    value = (torch.sqrt((slopes**2).sum()) - 1.0) ** 2
    by_w, by_v = torch.autograd.grad(value, (w, v))
    return {
        "function": "penalty",
        "x": x.tolist(),
        "w": w.tolist(),
        "v": v.tolist(),
        "value": value.item(),
        "by_w": by_w.tolist(),
        "by_v": by_v.tolist(),
    }


def main() -> None:
    cases = [case(function, point) for function, point in CASES]
    write("hessians.json", f"second derivatives by PyTorch {torch.__version__.split('+')[0]}", [*cases, penalty()])


if __name__ == "__main__":
    main()
