"""`grad` and `value_and_grad`: nested to any order, inside programs, and through weights that are closed over."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from known import HOW, PENALTY, Function

import macrograd as mg
from macrograd import Value


def penalty(w: Any, v: Any, x: Any) -> Any:
    def critic(x: Any) -> Any:
        return mg.dot(v, [mg.tanh(mg.dot(row, x)) for row in w])

    return (mg.sqrt(mg.sum(g * g for g in mg.grad(critic)(x))) - 1.0) ** 2


@HOW
def test_a_penalty_on_gradients_is_pytorchs(how: Any) -> None:
    value, (by_w, by_v) = how(mg.value_and_grad(penalty, argnums=(0, 1)))(PENALTY["w"], PENALTY["v"], PENALTY["x"])
    assert value == pytest.approx(PENALTY["value"], rel=1e-13)
    np.testing.assert_allclose(by_w, PENALTY["by_w"], rtol=1e-12)
    np.testing.assert_allclose(by_v, PENALTY["by_v"], rtol=1e-12)


@pytest.mark.parametrize("way", ["grad", "create_graph", "compiled"])
def test_a_penalty_on_gradients_reaches_weights_that_are_closed_over(way: str) -> None:
    """The inputs are plain numbers, as data are: the gradient by them must still know the weights."""
    w = [[Value(x) for x in row] for row in PENALTY["w"]]
    v = [Value(x) for x in PENALTY["v"]]
    if way == "grad":
        penalty(w, v, PENALTY["x"]).backward()
    elif way == "compiled":
        mg.compile(lambda x: penalty(w, v, x)).backward(PENALTY["x"])
    else:
        x = [Value(a) for a in PENALTY["x"]]
        mg.dot(v, [mg.tanh(mg.dot(row, x)) for row in w]).backward(create_graph=True)
        slopes = [a.grad for a in x]
        for p in (*v, *(a for row in w for a in row)):
            p.grad = 0.0
        ((mg.sqrt(mg.sum(g * g for g in slopes)) - 1.0) ** 2).backward()
    np.testing.assert_allclose([[a.grad for a in row] for row in w], PENALTY["by_w"], rtol=1e-12)
    np.testing.assert_allclose([a.grad for a in v], PENALTY["by_v"], rtol=1e-12)


def slope_ahead(f: Function, x: Any) -> Any:
    return mg.jvp(f, x, 1.0)[1]


@HOW
def test_gradients_nest_to_any_order(how: Any) -> None:
    f: Any = mg.sin
    for k in range(7):
        expected = math.sin(0.5 + k * math.pi / 2)
        assert float(how(f)(0.5)) == pytest.approx(expected, rel=1e-13)
        f = mg.grad(f) if k % 2 else partial(slope_ahead, f)


@HOW
def test_the_inner_derivative_does_not_take_the_outer_variable_for_its_own(how: Any) -> None:
    """d/dx (x · d/dy (x·y) at y = x) = 2x; a derivative by x itself would make 4x of it."""
    inner: list[Callable[[Any], Any]] = [
        lambda x: mg.grad(lambda y: x * y)(x),
        lambda x: mg.jvp(lambda y: x * y, x, 1.0)[1],
        lambda x: mg.jacobian(lambda y: x * y)(x),
        lambda x: mg.hvp(lambda y: x * y * y, x, 0.5),
        lambda x: mg.hessian(lambda y: x * y * y)(x) / 2.0,
    ]
    for derivative in inner:
        f = mg.grad(lambda x, derivative=derivative: x * derivative(x))
        assert how(lambda x, f=f: f(x))(3.0) == pytest.approx(6.0, rel=1e-15)


@HOW
def test_a_gradient_inside_a_loop_is_differentiated_through(how: Any) -> None:
    """Two steps of gradient descent on k·x⁴, differentiated by the step's size."""

    def after(rate: Any) -> Any:
        x: Any = 1.0
        for _ in range(2):
            x = x - rate * mg.grad(lambda x: x**4)(x)
        return x

    r = 0.1
    first = 1 - 4 * r
    expected = -4 + -4 * first**3 + r * 12 * first**2 * 4
    assert how(mg.grad(after))(r) == pytest.approx(expected, rel=1e-13)


def test_a_long_chain_needs_no_recursion() -> None:
    def chain(x: Any) -> Any:
        for _ in range(10_000):
            x = x * 0.99999 + 0.5
        return x * x

    slope = 0.99999**10_000
    assert mg.grad(chain)(0.5) == pytest.approx(2 * slope * math.sqrt(chain(0.5)), rel=1e-9)
    assert mg.hessian(chain)(0.5) == pytest.approx(2 * slope**2, rel=1e-9)
    assert mg.jvp(chain, 0.5, 1.0)[1] == pytest.approx(mg.grad(chain)(0.5), rel=1e-9)
