"""What PyTorch answers where a derivative is a matter of convention, or overflows if one is careless: `kinks.json`.

Each case: a function's name, its arguments, its value, and the gradient with respect to each argument, in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any

import torch
from _writing import write
from torch.nn import functional

Function = Callable[..., torch.Tensor]

# The parameters of a row after the function are lists of points, each with the function's arguments.
UNARY: dict[str, tuple[Function, list[float]]] = {
    "relu": (torch.relu, [0.0, -0.0, 1e-300, -1e-300, 2.0, -2.0, inf, -inf, nan]),
    "leaky_relu": (lambda x: functional.leaky_relu(x, 0.01), [0.0, -0.0, 2.0, -2.0, inf, -inf, nan]),
    "abs": (torch.abs, [0.0, -0.0, 2.0, -2.0, inf, -inf, nan]),
    "sign": (lambda x: torch.sign(x) + 0.0 * x, [0.0, 2.0, -2.0]),
    "sqrt": (torch.sqrt, [0.0, 4.0, inf, -1.0, nan]),
    "exp": (torch.exp, [0.0, 1000.0, -1000.0, inf, -inf, nan]),
    "log": (torch.log, [0.0, 1.0, inf, -1.0, nan]),
    "log1p": (torch.log1p, [0.0, 1e-20, -1.0, inf, -2.0, nan]),
    "tanh": (torch.tanh, [0.0, 1.0, 20.0, 1000.0, -1000.0, inf, -inf, nan]),
    "sigmoid": (torch.sigmoid, [0.0, 3.0, -3.0, -40.0, 1000.0, -1000.0, inf, -inf, nan]),
    # PyTorch's own default goes over to x at 20, where the difference is still 2e-9.
    "softplus": (
        lambda x: functional.softplus(x, threshold=700.0),
        [0.0, 3.0, -3.0, 30.0, -30.0, 1000.0, -1000.0, inf, -inf, nan],
    ),
    "silu": (functional.silu, [0.0, 1.5, -1.5, 1000.0, -1000.0]),
    "gelu": (lambda x: functional.gelu(x, approximate="tanh"), [0.0, 1.5, -1.5, 1000.0, -1000.0]),
    "square": (lambda x: x**2, [0.0, -0.0, -3.0]),
    "pow_0": (lambda x: x**0, [0.0, 2.0, -2.0]),
    "pow_1": (lambda x: x**1, [0.0, 2.0, -2.0]),
    "pow_3": (lambda x: x**3, [0.0, -0.0, -2.0]),
    "pow_half": (lambda x: x**0.5, [0.0, 4.0, -4.0]),
    "pow_3_halves": (lambda x: x**1.5, [0.0, 4.0]),
    "pow_minus_1": (lambda x: x**-1.0, [0.0, 4.0, -4.0]),
    "clamp": (
        lambda x: torch.minimum(torch.maximum(x, torch.tensor(-1.0).double()), torch.tensor(1.0).double()),
        [-2.0, -1.0, 0.5, 1.0, 2.0],
    ),
}
PAIRS = [(1.0, 1.0), (1.0, 2.0), (2.0, 1.0), (0.0, 0.0), (inf, inf), (-inf, inf), (nan, 1.0), (1.0, nan)]
MORE: dict[str, tuple[Function, list[tuple[float, ...]]]] = {
    "maximum": (torch.maximum, PAIRS),
    "minimum": (torch.minimum, PAIRS),
    "div": (torch.div, [(1.0, 0.0), (-1.0, 0.0), (1.0, -0.0), (0.0, 0.0), (0.0, 2.0), (1.0, inf), (inf, 2.0)]),
    "pow": (
        torch.pow,
        [(0.0, 0.0), (0.0, 1.0), (0.0, 2.5), (2.0, 0.0), (2.0, 3.0), (-2.0, 3.0), (4.0, 0.5), (0.0, -1.0)],
    ),
    "logsumexp": (
        lambda *x: torch.logsumexp(torch.stack(x), 0),
        [(1000.0, 1000.0), (-1000.0, -1001.0), (1e300, 0.0), (0.5, -0.5, 2.0), (-inf, 1.0)],
    ),
    "softmax_0": (
        lambda *x: torch.softmax(torch.stack(x), 0)[0],
        [(1000.0, 1000.0), (-1000.0, -1001.0), (1e300, 0.0), (0.5, -0.5, 2.0), (-inf, 1.0)],
    ),
}


def case(name: str, function: Function, arguments: tuple[float, ...]) -> dict[str, Any]:
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in arguments]
    value = function(*leaves)
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    return {
        "function": name,
        "arguments": list(arguments),
        "value": value.item(),
        "gradients": [0.0 if gradient is None else gradient.item() for gradient in gradients],
    }


def main() -> None:
    cases = [case(name, function, (x,)) for name, (function, points) in UNARY.items() for x in points]
    cases += [case(name, function, point) for name, (function, points) in MORE.items() for point in points]
    write("kinks.json", f"values and gradients by PyTorch {torch.__version__.split('+')[0]}", cases)


if __name__ == "__main__":
    main()
