"""Functions whose derivatives are known, and the ways to take them: what the tests of the gradients share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import macrograd as mg

Function = Callable[[Any], Any]


CASES = json.loads((Path(__file__).parents[2] / "references" / "hessians.json").read_text("utf-8"))["cases"]
PENALTY = CASES.pop()  # of a function of several arguments


def rosenbrock(x: Any) -> Any:
    return mg.sum(100.0 * (x[i] - x[i - 1] ** 2) ** 2 + (1.0 - x[i - 1]) ** 2 for i in range(1, len(x)))


def mixed(x: Any) -> Any:
    a, b, c = x
    return mg.exp(a * b) + mg.tanh(b / c) + c**3 * mg.sin(a) + mg.sqrt(1.0 + a * a) / (2.0 + mg.cos(b))


def rates(x: Any) -> Any:
    a, b, c = x
    return mg.log(a) * mg.sigmoid(b) + mg.log1p(c * c) * a**b + mg.softplus(b - c)


def entropy(x: Any) -> Any:
    return mg.logsumexp(x) - mg.dot(mg.softmax(x), x)


def kinked(x: Any) -> Any:
    a, b, c = x
    return mg.maximum(a * b, c) ** 2 + mg.relu(a - c) ** 3 + abs(b) * c + mg.minimum(a, b) * a


FUNCTIONS: dict[str, Function] = {f.__name__: f for f in (rosenbrock, mixed, rates, entropy, kinked)}


def as_is(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn


HOW = pytest.mark.parametrize("how", [as_is, mg.compile], ids=["eager", "compiled"])


EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: case["function"])
