"""Derivatives of compiled programs, against references that know nothing of the op table's rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from analytic import COMPLEX
from hypothesis import Phase, given, settings
from interpret import interpret
from random_programs import RandomProgram, number, programs

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline

ANALYTIC = ["add", "sub", "mul", "div", "neg", "pow 3", "pow 2", "pow -1", "pow ½", "pow of two", "number pow", "exp",
            "log", "log1p", "sqrt", "tanh", "sigmoid", "softplus", "sin", "cos", "sum", "dot"]  # fmt: skip
KINKED = [*ANALYTIC, "abs", "relu", "maximum", "minimum", "where", "less", "take"]


@settings(max_examples=40)
@given(programs(names=ANALYTIC, longest=30))
def test_complex_step(backend: str, program: RandomProgram) -> None:
    """Im f(θ + ih) / h, exact to rounding: the derivative's last digits count."""
    X, index = program.data(1)
    f = mg.compile(program.loss, backend=backend)
    f.bind(X[0], index[0])
    theta, inputs = f.theta(), [*X[0].tolist(), float(index[0])]
    value, gradient = f.value_and_grad(theta, X[0], index[0])
    tape = pipeline.record(program.loss, [(program.inputs,), ()]).tape
    step = 1e-40
    expected = []
    for k in range(len(theta)):
        moved = theta.astype(complex)
        moved[k] += 1j * step
        (result,) = interpret(tape, moved.tolist(), inputs, COMPLEX)
        expected.append(complex(result).imag / step)
    largest = max(1.0, abs(value), *np.abs(expected))
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-9 * largest)


@settings(max_examples=20, phases=(Phase.generate,))  # a failure is not worth minutes of shrinking
@given(programs(names=KINKED, longest=30))
def test_random_directions(backend: str, program: RandomProgram) -> None:
    """(f(θ + hd) − f(θ − hd)) / 2h with h = 10⁻⁵, Richardson's step halved once: good to some 10⁻⁷ of the largest
    derivative. The kinks are farther away than h."""
    X, index = program.data(6)
    f = mg.compile(program.loss, batch=True, backend=backend)
    f.bind(X, index)
    random = np.random.default_rng(1)
    theta = f.theta() + random.uniform(0.005, 0.03, len(f.parameters))  # away from ties with the inputs
    value, gradient = f.value_and_grad(theta, X, index)
    for _ in range(2):
        direction = random.choice([-1.0, 1.0], len(theta))

        def slope(h: float, direction: Any = direction) -> float:
            up, _ = f.value_and_grad(theta + h * direction, X, index)
            down, _ = f.value_and_grad(theta - h * direction, X, index)
            return (up - down) / (2 * h)

        found = (4 * slope(5e-6) - slope(1e-5)) / 3
        size = max(1.0, abs(value), np.abs(gradient).sum())
        assert found == pytest.approx(gradient @ direction, rel=0, abs=3e-6 * size)


# --- grad and value_and_grad --------------------------------------------------------------------------------


def poly(x: Any, y: Any = 2.0) -> Any:
    return x**3 * y + mg.sin(x)


def test_grad_eagerly() -> None:
    value, g = mg.value_and_grad(poly)(1.5, 2.0)
    assert value == pytest.approx(1.5**3 * 2 + np.sin(1.5))
    assert g == pytest.approx(3 * 1.5**2 * 2 + np.cos(1.5))
    assert isinstance(g, float)
    assert mg.grad(poly, argnums=1)(1.5, 2.0) == pytest.approx(1.5**3)
    assert mg.grad(poly, argnums=(0, 1))(1.5, 2.0) == pytest.approx((g, 1.5**3))
    assert mg.grad(poly, argnums=-1)(1.5, 2.0) == pytest.approx(1.5**3)


def test_grad_of_nested_lists() -> None:
    def fn(x: Any) -> Any:
        return x[0][0] * x[0][1] + mg.exp(x[1])

    assert mg.grad(fn)([[2.0, 3.0], 0.0]) == [[3.0, 2.0], 1.0]
    assert mg.grad(fn)(([2.0, 3.0], 0.0)) == ([3.0, 2.0], 1.0)
    assert mg.grad(lambda x: mg.dot(x, x))(np.array([1.0, -2.0])) == [2.0, -4.0]


def test_grad_with_respect_to_values_gives_values() -> None:
    x = Value(1.5)
    g = mg.grad(poly)(x)
    g.backward()
    assert g.data == pytest.approx(3 * 1.5**2 * 2 + np.cos(1.5))
    assert x.grad == pytest.approx(12 * 1.5 - np.sin(1.5))


def test_grad_of_what_does_not_depend_is_zero() -> None:
    assert mg.grad(lambda x: 3.0)(1.0) == 0.0
    assert mg.grad(lambda x, y: y * 2)(1.0, 1.0) == 0.0


def test_grad_nests() -> None:
    second = mg.grad(mg.grad(poly))
    third = mg.grad(second)
    assert second(1.5) == pytest.approx(12 * 1.5 - np.sin(1.5))
    assert third(1.5) == pytest.approx(12 - np.cos(1.5))


def test_grad_inside_compile(backend: str) -> None:
    w = Value(0.7)

    def energy(x: Any) -> Any:
        return mg.exp(x[0] * w) * mg.sin(x[1])

    force = mg.compile(lambda x: [-d for d in mg.grad(energy)(x)], batch=True, backend=backend)
    X = np.random.default_rng(0).normal(size=(9, 2))
    expected = np.stack(
        [-0.7 * np.exp(0.7 * X[:, 0]) * np.sin(X[:, 1]), -np.exp(0.7 * X[:, 0]) * np.cos(X[:, 1])], axis=1
    )
    np.testing.assert_allclose(force(X), expected, rtol=1e-13)
    np.testing.assert_allclose(force(X), [[number(-d) for d in mg.grad(energy)(x)] for x in X.tolist()], rtol=1e-13)


def test_second_derivatives_compiled(backend: str) -> None:
    second = mg.compile(mg.grad(mg.grad(poly)), batch=True, backend=backend)
    x = np.linspace(-2, 2, 11)
    np.testing.assert_allclose(second(x), 12 * x - np.sin(x), rtol=1e-12)
    hessian = mg.compile(
        lambda x: [mg.grad(lambda y, k=k: mg.grad(lambda z: z[0] ** 2 * z[1] + z[1] ** 3)(y)[k])(x) for k in range(2)],
        backend=backend,
    )
    np.testing.assert_allclose(hessian([1.5, 2.5]), [[5.0, 3.0], [3.0, 15.0]])


def test_backward_through_a_gradient(backend: str) -> None:
    """A penalty on the slope of a net: the derivative of a derivative with respect to parameters."""
    w = [Value(0.5), Value(-0.8)]

    def penalty(x: Any) -> Any:
        g = mg.grad(lambda y: mg.tanh(y[0] * w[0] + y[1] * w[1]))(x)
        return g[0] ** 2 + g[1] ** 2

    X = np.random.default_rng(0).normal(size=(5, 2))
    f = mg.compile(penalty, batch=True, backend=backend)
    mean = f.backward(X)
    found = [p.grad for p in w]
    for p in w:
        p.grad = 0.0
    total = mg.mean([penalty([Value(a) for a in x]) for x in X.tolist()])  # of numbers the gradient is a number
    total.backward()
    assert mean == pytest.approx(total.data, rel=1e-13)
    np.testing.assert_allclose(found, [p.grad for p in w], rtol=1e-12)


def test_what_grad_refuses() -> None:
    with pytest.raises(IndexError, match="argnums=2 asks for argument 2, counted from 0, but"):
        mg.grad(poly, argnums=2)(1.0)
    with pytest.raises(TypeError, match=r"only one scalar has a gradient, and .* returned a list"):
        mg.grad(lambda x: [x, x])(1.0)
    with pytest.raises(TypeError, match=r"with respect to numbers and Values, got .a. of type str"):
        mg.grad(poly)("a")
