"""Random irregular programs, which run as streams with the compiler's own thresholds, against the eager engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, ops

SPECIAL = [np.inf, -np.inf, np.nan, 0.0, -0.0, 5e-324, -1e-310, 1e308, -1e200, 2.0**53, 1.0, -1.0]
INPUTS, ROWS = 8, 9
Nodes = list[Any]


def irregular(seed: int, functions: tuple[ops.Op, ...] = ()) -> Callable[[Any], Nodes]:
    """Some sums of 2 to 70 terms, products of up to 7 factors, choices and functions of numbers at random, as results;
    some numbers stand in a sum several times, others nowhere."""
    rng = np.random.default_rng(seed)
    rows = [(rng.choice(8), rng.integers(0, 1 << 30, 70), rng.choice([-1.0, 1.0, 0.5], 70)) for _ in range(300)]
    lengths = rng.integers(2, 71, 300)

    def f(x: Any) -> Nodes:
        nodes: Nodes = list(x)
        for (kind, places, weights), length in zip(rows, lengths.tolist(), strict=True):
            few = [nodes[k % len(nodes)] for k in places.tolist()]
            if kind <= 2:
                terms = few[: length if kind else 2 + length % 3]
                nodes.append(mg.dot(weights[: len(terms)].tolist(), terms))
            elif kind == 3:
                nodes.append(mg.sum([few[0] * few[1], -few[2], few[3] * few[4] * 0.25, few[2]]))
            elif kind == 4:
                product = few[0]
                for factor in few[1 : 2 + length % 6]:
                    product = product * factor
                nodes.append(product)
            elif kind == 5:
                nodes.append(mg.where(ops.less(few[0], few[1]), few[2], few[3]) - mg.maximum(few[4], few[5]))
            elif kind == 6:
                nodes.append(ops.div(few[0], few[1]) + mg.relu(few[2]))
            else:
                nodes.append(functions[length % len(functions)](few[0]) if functions else -few[0])
        return nodes[INPUTS::9] + nodes[-2:]

    return f


def numbers(seed: int, special: bool) -> Any:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(ROWS, INPUTS))
    return np.where(rng.random(X.shape) < 0.15, rng.choice(SPECIAL, X.shape), X) if special else X


def assert_same_bits(found: Any, expected: Any) -> None:
    found, expected = (np.where(np.isnan(x), np.nan, x) for x in (np.asarray(found), np.asarray(expected)))
    np.testing.assert_array_equal(found.view(np.uint64), expected.view(np.uint64))


def compiled(f: Any, X: Any, **settings: Any) -> Any:
    """The results of a compiled program, which is a stream."""
    program = mg.compile(f, strict=True, **settings)
    found = np.asarray(program(X))
    assert "one by one" in program.explain()
    return found


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
@pytest.mark.parametrize("seed", range(3))
def test_strict_values_have_the_eager_engines_bits(seed: int, backend: str) -> None:
    f, X = irregular(seed), numbers(seed, special=seed > 0)
    expected = [[v.data for v in f([Value(x) for x in row])] for row in X.tolist()]
    assert_same_bits(compiled(f, X, batch=True, backend=backend), expected)
    assert_same_bits(compiled(f, X[0], backend=backend), expected[0])


@pytest.mark.parametrize("seed", [3, 4])
def test_strict_derivatives_have_the_eager_engines_bits(seed: int) -> None:
    def loss(x: Any) -> Any:
        return mg.sum([mg.relu(out) for out in irregular(seed)(x)[:20]])

    X = numbers(seed, special=False)
    expected = [mg.grad(loss)(row) for row in X.tolist()]
    assert np.isfinite(expected).any()
    assert_same_bits(compiled(mg.grad(loss), X, batch=True), expected)
    assert_same_bits(compiled(mg.grad(loss), X[0]), expected[0])


def test_strict_functions_have_the_same_bits_on_both_targets() -> None:
    functions = tuple(ops.BY_NAME[name] for name in ("tanh", "sin", "sigmoid", "softplus", "erf"))
    f, X = irregular(5, functions), numbers(5, special=False)
    assert_same_bits(*(compiled(f, X, batch=True, backend=backend) for backend in ("llvm", "numpy")))
