"""`jvp` and `hvp`: one sweep ahead, eager and compiled, against PyTorch and the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from known import EACH, FUNCTIONS, HOW, Function

import macrograd as mg


@EACH
@HOW
def test_products_with_the_hessian_are_pytorchs(case: dict[str, Any], how: Any) -> None:
    f, x, v = FUNCTIONS[case["function"]], case["x"], case["vector"]
    ahead_over_back = how(lambda x, v: mg.hvp(f, x, v))
    back_over_back = how(mg.grad(lambda x, v: mg.dot(mg.grad(f)(x), v)))
    back_over_ahead = how(mg.grad(lambda x, v: mg.jvp(f, x, v)[1]))
    for product in (ahead_over_back, back_over_back, back_over_ahead):
        np.testing.assert_allclose(product(x, v), case["product"], rtol=1e-12, atol=1e-12)


ONE = [mg.exp, mg.log, mg.log1p, mg.sqrt, mg.sin, mg.cos, mg.tanh, mg.sigmoid, mg.softplus, mg.relu, abs, mg.leaky_relu]


ONE += [mg.sign, mg.detach, lambda x: -x, lambda x: x**3, lambda x: 2.0**x, lambda x: 1.0 / x]


MANY = [
    lambda x: x[0] ** x[1],
    lambda x: mg.maximum(x[0], x[1]) * x[2],
    lambda x: mg.minimum(x[0], x[0]) - x[2] / x[1],
    lambda x: mg.where(x[0] > x[1], x[1] * x[2], x[2]),
    lambda x: mg.dot(x, [x[1], 3.0, x[0]]),
    lambda x: mg.sum([x[0], 1.0, x[0], x[2]]),
    lambda x: mg.take([x[0], x[1] * x[2]], 1),
    lambda x: mg.logsumexp(x) + mg.softmax(x)[2],
]


@pytest.mark.parametrize("f", [*[lambda x, f=f: f(x[0]) * x[1] for f in ONE], *MANY])
@HOW
def test_a_sweep_ahead_is_the_gradient_times_the_direction(f: Function, how: Any) -> None:
    x, v = [0.7, 1.3, -0.4], [0.3, -2.0, 0.9]
    value, tangent = how(lambda x, v: mg.jvp(f, x, v))(x, v)
    expected, gradient = mg.value_and_grad(f)(x)
    assert value == pytest.approx(expected, rel=1e-14)
    assert tangent == pytest.approx(np.dot(gradient, v), rel=1e-13, abs=1e-15)


def test_take_by_a_traced_index_has_a_tangent() -> None:
    f = mg.compile(lambda k, x, v: mg.jvp(lambda x: mg.take([x[0] ** 2, x[1] ** 3], k), x, v))
    assert [float(r) for r in f(1.0, [2.0, 3.0], [1.0, 0.5])] == [27.0, 13.5]
    assert [float(r) for r in f(0.0, [2.0, 3.0], [1.0, 0.5])] == [4.0, 4.0]


def test_jvp_keeps_the_nesting_of_the_result() -> None:
    def f(a: Any, b: Any) -> Any:
        return {"sum": a + b[0], "rest": (a * b[1], [7.0, b[0]])}

    value, tangent = mg.jvp(f, (2.0, [3.0, 4.0]), (1.0, [10.0, 100.0]))
    assert value == {"sum": 5.0, "rest": (8.0, [7.0, 3.0])}
    assert tangent == {"sum": 11.0, "rest": (204.0, [0.0, 10.0])}


def test_hvp_of_several_arguments_is_by_all_together() -> None:
    def f(a: Any, b: Any) -> Any:
        return a * a * b[0] + b[1] ** 3

    assert mg.hvp(f, (2.0, [3.0, 4.0]), (1.0, [10.0, 100.0])) == (6.0 + 40.0, [4.0, 2400.0])


@pytest.mark.parametrize("name", ["jvp", "hvp"])
def test_what_products_refuse(name: str) -> None:
    product = getattr(mg, name)
    with pytest.raises(TypeError, match=rf"{name}\(\) takes a function, got 'f' of type str"):
        product("f", 1.0, 1.0)
    with pytest.raises(TypeError, match=r"instead of mg"):
        product(mg.compile(mg.sin), 1.0, 1.0)
    with pytest.raises(ValueError, match=f"{name}: 2 arguments in primals but 1 in tangents: give one for each"):
        product(lambda a, b: a * b, (1.0, 2.0), (1.0,))
    with pytest.raises(
        ValueError,
        match=r"the tangent of argument 1 must have the same nesting as the argument: a list of 2, got an",
    ):
        product(lambda a, b: a * b[0], (1.0, [2.0, 3.0]), (1.0, np.ones(3)))
    with pytest.raises(ValueError, match="as the argument: one number, got a list of 1"):
        product(mg.sin, 1.0, [1.0])
    with pytest.raises(ValueError, match=r"as the argument: a list of 2 at \[1\], got a list of 1"):
        product(lambda a: a[0] * a[1][0], ([1.0, [2.0, 3.0]],), ([1.0, [2.0]],))
    with pytest.raises(TypeError, match=f"{name}: a tangent must be a number or a Value, got 'a' of type str"):
        product(mg.sin, 1.0, "a")
    with pytest.raises(TypeError, match="with respect to numbers and Values, got 'a' of type str"):
        product(mg.sin, "a", 1.0)
    with pytest.raises(TypeError):
        product(lambda x: None, 1.0, 1.0)
