"""Derivatives where they are a matter of convention, and at the extremes: PyTorch's answers, frozen in a file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import macrograd as mg
from macrograd import Value, nn, ops

CASES = json.loads((Path(__file__).parent.parent / "references" / "kinks.json").read_text())["cases"]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(mg, name) for name in ("relu", "leaky_relu", "sqrt", "exp", "log", "log1p", "tanh", "sigmoid")},
    **{name: getattr(mg, name) for name in ("softplus", "sign", "maximum", "minimum")},
    "abs": abs,
    "silu": nn.activations.silu,
    "gelu": nn.activations.gelu,
    "square": lambda x: x**2,
    "pow_0": lambda x: x**0,
    "pow_1": lambda x: x**1,
    "pow_3": lambda x: x**3,
    "pow_half": lambda x: x**0.5,
    "pow_3_halves": lambda x: x**1.5,
    "pow_minus_1": lambda x: x**-1.0,
    "clamp": lambda x: mg.minimum(mg.maximum(x, -1.0), 1.0),
    "div": ops.div,
    "pow": ops.power,
    "logsumexp": lambda *xs: mg.logsumexp(xs),
    "softmax_0": lambda *xs: mg.softmax(xs)[0],
}


def same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-12, abs_tol=0.0) or (math.isnan(a) and math.isnan(b))


def name_of(case: dict[str, Any]) -> str:
    return f"{case['function']}{case['arguments']}"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_as_pytorch(case: dict[str, Any]) -> None:
    leaves = [Value(x) for x in case["arguments"]]
    out = FUNCTIONS[case["function"]](*leaves)
    out.backward()
    assert same(out.data, case["value"])
    if any(map(math.isnan, case["arguments"])):
        return  # A slope at NaN means nothing: PyTorch has 0 for abs, 1 for relu, NaN for tanh. The value is NaN.
    gradients = [x.grad for x in leaves]
    assert all(map(same, gradients, case["gradients"])), f"{gradients}, PyTorch has {case['gradients']}"


# `**` on two floats is Python's own operator.
@pytest.mark.parametrize("case", [c for c in CASES if c["function"][:4] not in ("pow_", "squa")], ids=name_of)
def test_on_floats_as_on_values(case: dict[str, Any]) -> None:
    assert same(FUNCTIONS[case["function"]](*case["arguments"]), case["value"])
