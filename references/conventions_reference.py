"""What PyTorch, JAX and casadi answer where a derivative is a matter of convention: `conventions.json`.

Each case: a function's name, its arguments, and for each library that has the function its value and the gradient with
respect to each argument, in float64. The table in `docs/operations.md` shows them beside macrograd's.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import casadi
import jax
import jax.numpy as jnp
import jax.scipy.special as special
import torch
from _writing import write

jax.config.update("jax_enable_x64", True)
Functions = dict[str, Callable[..., Any]]

PYTORCH: Functions = {
    "round": torch.round,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "mod": torch.remainder,
    "hypot": torch.hypot,
    "atan2": torch.atan2,
    "asin": torch.asin,
    "acos": torch.acos,
    "lgamma": torch.lgamma,
    "digamma": torch.digamma,
}
JAX: Functions = {
    "round": jnp.round,
    "floor": jnp.floor,
    "ceil": jnp.ceil,
    "mod": jnp.mod,
    "hypot": jnp.hypot,
    "atan2": jnp.arctan2,
    "asin": jnp.arcsin,
    "acos": jnp.arccos,
    "cbrt": jnp.cbrt,
    "lgamma": special.gammaln,
    "digamma": special.digamma,
}
CASADI: Functions = {
    "floor": casadi.floor,
    "ceil": casadi.ceil,
    "mod": casadi.fmod,
    "hypot": casadi.hypot,
    "atan2": casadi.atan2,
    "asin": casadi.asin,
    "acos": casadi.acos,
}
POINTS: dict[str, list[tuple[float, ...]]] = {
    "floor": [(2.0,), (0.3,)],
    "ceil": [(2.0,)],
    "round": [(2.5,)],
    "mod": [(5.0, 3.0), (-5.0, 3.0), (5.0, -3.0), (6.0, 3.0), (1.0, 0.0), (1.0, inf)],
    "hypot": [(0.0, 0.0), (3.0, 0.0), (inf, 1.0)],
    "atan2": [(0.0, 0.0), (0.0, -1.0), (1.0, 0.0)],
    "asin": [(1.0,), (2.0,)],
    "acos": [(1.0,)],
    "cbrt": [(0.0,)],
    "lgamma": [(0.0,), (-1.0,)],
    "digamma": [(0.0,), (-1.0,)],
}


def pytorch(function: Callable[..., Any], x: tuple[float, ...]) -> list[Any]:
    leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in x]
    value = function(*leaves)
    return [value.item(), [g.item() for g in torch.autograd.grad(value, leaves)]]


def of_jax(function: Callable[..., Any], x: tuple[float, ...]) -> list[Any]:
    return [float(function(*x)), [float(g) for g in jax.grad(function, tuple(range(len(x))))(*x)]]


def of_casadi(function: Callable[..., Any], x: tuple[float, ...]) -> list[Any]:
    symbols = [casadi.SX.sym("x") for _ in x]
    value = function(*symbols)
    answers = casadi.Function("f", symbols, [value, *[casadi.gradient(value, s) for s in symbols]])(*x)
    return [float(answers[0]), [float(g) for g in answers[1:]]]


def main() -> None:
    cases = []
    for name, points in POINTS.items():
        for x in points:
            case: dict[str, Any] = {"function": name, "arguments": list(x)}
            for library, functions, ask in (
                ("pytorch", PYTORCH, pytorch),
                ("jax", JAX, of_jax),
                ("casadi", CASADI, of_casadi),
            ):
                if name in functions:
                    case[library] = ask(functions[name], x)
            cases.append(case)
    versions = f"PyTorch {torch.__version__.split('+')[0]}, JAX {jax.__version__}, casadi {casadi.__version__}"
    write("conventions.json", f"values and gradients by {versions}", cases)


if __name__ == "__main__":
    main()
