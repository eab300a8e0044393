"""macrograd: write the scalar, get the matrix.

A scalar autograd engine and a small neural-network library with no machine-learning library underneath, and a compiler
that finds the matrices in the scalars.

The engine itself is loaded at once; everything that needs NumPy or more is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from macrograd import _began as _began
from macrograd._names import unknown
from macrograd.control import cond, loop, while_loop
from macrograd.functions import (
    acos,
    asin,
    atan,
    atan2,
    cbrt,
    ceil,
    concat,
    cos,
    cosh,
    detach,
    digamma,
    dot,
    erf,
    erfc,
    exp,
    expm1,
    floor,
    hypot,
    leaky_relu,
    lgamma,
    log,
    log1p,
    logsumexp,
    maximum,
    mean,
    minimum,
    mod,
    norm_cdf,
    polygamma,
    relu,
    round,
    sigmoid,
    sign,
    sin,
    sinh,
    softmax,
    softplus,
    sqrt,
    static,
    sum,
    take,
    tan,
    tanh,
    where,
)
from macrograd.value import Value
from macrograd.vector import Vector

__version__ = "0.1.0"

# Public name → the module that has it; a module's own name stands for the module.
_LAZY = {
    "CompileWarning": "macrograd.compiler",
    "GradientWarning": "macrograd.slips",
    "TraceError": "macrograd.compiler",
    "Ensemble": "macrograd.train",
    "Trainer": "macrograd.train",
    "compile": "macrograd.compiler",
    "compiler": "macrograd.compiler",
    "course": "macrograd.course",
    "custom": "macrograd.solvers",
    "export": "macrograd.exporting",
    "from_playground": "macrograd.browser",
    "sweep": "macrograd.tuning",
    "tuning": "macrograd.tuning",
    "grad": "macrograd.gradients",
    "hessian": "macrograd.gradients",
    "hvp": "macrograd.gradients",
    "implicit": "macrograd.solvers",
    "jacobian": "macrograd.gradients",
    "jvp": "macrograd.gradients",
    "minimize": "macrograd.minimizers",
    "value_and_grad": "macrograd.gradients",
    "why": "macrograd.reasons",
    "datasets": "macrograd.datasets",
    "draw": "macrograd.show",
    "engine": "macrograd.engine",
    "least_squares": "macrograd.minimizers",
    "linalg": "macrograd.linalg",
    "load": "macrograd.train",
    "losses": "macrograd.nn.losses",
    "nn": "macrograd.nn",
    "optim": "macrograd.optim",
    "playground": "macrograd.browser",
    "random": "macrograd.random",
    "rounding": "macrograd.roundings",
    "save": "macrograd.train",
    "show": "macrograd.show",
    "train": "macrograd.train",
    "train_many": "macrograd.train",
}


_SCALAR = "numbers are mg.Value(2.0), one at a time, and lists of them"
_ELSEWHERE = {
    **dict.fromkeys(("tensor", "Tensor", "array", "Variable"), _SCALAR),
    "no_grad": "mg.detach(x) is a number without a derivative, and value.data the plain number",
    "stop_gradient": "write mg.detach(x)",
    "jit": "write mg.compile(f)",
    "vmap": "write mg.compile(f, batch=True)",
    "abs": "write abs(x)",
    "pow": "write x ** n",
    "max": "write mg.maximum(a, b)",
    "min": "write mg.minimum(a, b)",
    **dict.fromkeys(("scan", "fori_loop"), "write mg.loop(count, body, state)"),
    **dict.fromkeys(("jacrev", "jacfwd"), "write mg.jacobian(f)"),
    "Sequential": "write mg.nn.MLP(2, [16, 1])",
    "MLP": "write mg.nn.MLP",
    "Adam": "write mg.optim.Adam",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise unknown("module 'macrograd'", name, sys.modules[__name__], _ELSEWHERE)
    module = importlib.import_module(_LAZY[name])
    is_module = _LAZY[name].rpartition(".")[2] == name
    found = module if is_module else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "CompileWarning",
    "Ensemble",
    "GradientWarning",
    "TraceError",
    "Trainer",
    "Value",
    "Vector",
    "acos",
    "asin",
    "atan",
    "atan2",
    "cbrt",
    "ceil",
    "compile",
    "concat",
    "cond",
    "cos",
    "cosh",
    "course",
    "custom",
    "datasets",
    "detach",
    "digamma",
    "dot",
    "draw",
    "engine",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "floor",
    "from_playground",
    "grad",
    "hessian",
    "hvp",
    "hypot",
    "implicit",
    "jacobian",
    "jvp",
    "leaky_relu",
    "least_squares",
    "lgamma",
    "linalg",
    "load",
    "log",
    "log1p",
    "logsumexp",
    "loop",
    "losses",
    "maximum",
    "mean",
    "minimize",
    "minimum",
    "mod",
    "nn",
    "norm_cdf",
    "optim",
    "playground",
    "polygamma",
    "random",
    "relu",
    "round",
    "rounding",
    "save",
    "show",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "sqrt",
    "static",
    "sum",
    "sweep",
    "take",
    "tan",
    "tanh",
    "train",
    "train_many",
    "tuning",
    "value_and_grad",
    "where",
    "while_loop",
    "why",
]
