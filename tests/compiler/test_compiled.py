"""Compiled functions besides their results: parameters, bound buffers, nesting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, nn


def regression() -> tuple[Any, list[Value]]:
    w, b = [Value(0.5, "w0"), Value(-1.5, "w1")], Value(0.25, "b")

    def loss(x: Any, y: Any) -> Any:
        return (mg.dot(w, x) + b - y) ** 2

    return loss, [*w, b]


def data(samples: int = 10) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    return random.normal(size=(samples, 2)), random.normal(size=samples)


def expected(theta: Any, X: Any, y: Any) -> tuple[float, Any]:
    r = X @ theta[:2] + theta[2] - y
    return float(np.mean(r * r)), 2 / len(X) * np.append(r @ X, r.sum())


# --- parameters ---------------------------------------------------------------------------------------------


def test_backward_adds_to_the_gradients(backend: str) -> None:
    loss, parameters = regression()
    X, y = data()
    f = mg.compile(loss, batch=True, backend=backend)
    value, gradient = expected(np.array([p.data for p in parameters]), X, y)
    assert f.backward(X, y) == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose([p.grad for p in parameters], gradient, rtol=1e-13)
    f.backward(X, y)
    np.testing.assert_allclose([p.grad for p in parameters], 2 * gradient, rtol=1e-13)
    assert all(type(p.grad) is float for p in parameters)
    eager = [loss(x, t) for x, t in zip(X.tolist(), y.tolist(), strict=True)]
    mg.mean(eager).backward()
    np.testing.assert_allclose([p.grad for p in parameters], 3 * gradient, rtol=1e-13)


def test_parameters_are_read_at_every_call(backend: str) -> None:
    loss, parameters = regression()
    X, y = data()
    f = mg.compile(loss, batch=True, backend=backend)
    for shift in (0.0, 1.0, -2.0):
        for p in parameters:
            p.data += shift
        theta = np.array([p.data for p in parameters])
        assert f.backward(X, y) == pytest.approx(expected(theta, X, y)[0], rel=1e-13)
        np.testing.assert_allclose(f(X, y), (X @ theta[:2] + theta[2] - y) ** 2, rtol=1e-12)


def test_theta_and_assign_and_value_and_grad(backend: str) -> None:
    loss, parameters = regression()
    X, y = data()
    f = mg.compile(loss, batch=True, backend=backend)
    f(X, y)
    assert f.parameters == parameters
    np.testing.assert_array_equal(f.theta(), [0.5, -1.5, 0.25])
    theta = np.array([1.0, 2.0, 3.0])
    value, gradient = f.value_and_grad(theta, X, y)
    want = expected(theta, X, y)
    assert value == pytest.approx(want[0], rel=1e-13)
    assert isinstance(value, float)
    np.testing.assert_allclose(gradient, want[1], rtol=1e-13)
    assert [p.data for p in parameters] == [0.5, -1.5, 0.25], "no Value is touched"
    assert [p.grad for p in parameters] == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(f.value_and_grad([1, 2, 3], X, y)[1], want[1], rtol=1e-13)
    assert np.mean(f.value(theta, X, y)) == pytest.approx(want[0], rel=1e-13)
    with pytest.raises(ValueError, match="theta is one array of 3 numbers"):
        f.value(theta[:2], X, y)
    with pytest.raises(TypeError, match=r"write value\(f\.theta"):
        f.value(X, y)
    kept = gradient.copy()
    f.value_and_grad(-theta, X, y)
    np.testing.assert_array_equal(gradient, kept)
    f.assign(theta)
    assert [p.data for p in parameters] == [1.0, 2.0, 3.0]
    assert all(type(p.data) is float for p in parameters)
    np.testing.assert_array_equal(f.theta(), theta)


def test_bound_buffers(backend: str) -> None:
    loss, parameters = regression()
    X, y = data()
    f = mg.compile(loss, batch=True, backend=backend)
    step = f.bind(X, y)
    np.testing.assert_array_equal(step.theta, [0.5, -1.5, 0.25])
    for _ in range(2):
        value = step()
        want = expected(step.theta, X, y)
        assert value == pytest.approx(want[0], rel=1e-13)
        assert step.value == value
        np.testing.assert_allclose(step.gradient, want[1], rtol=1e-13)
        step.theta -= 0.1 * step.gradient
    step.arguments[0][:] = 2 * X
    step.arguments[1][:] = y + 1
    step()
    np.testing.assert_allclose(step.gradient, expected(step.theta, 2 * X, y + 1)[1], rtol=1e-12)
    assert [p.data for p in parameters] == [0.5, -1.5, 0.25]
    other = f.bind(X, y)
    other()
    assert step.theta[0] != other.theta[0], "each has buffers of its own"


def test_a_net_trains_as_it_does_eagerly() -> None:
    X, y = data(12)
    one, two = (nn.MLP(2, [5, 1], seed=1) for _ in range(2))
    f = mg.compile(lambda x, t: (one(x) - t) ** 2, batch=True)
    for _ in range(5):
        one.zero_grad()
        two.zero_grad()
        value = f.backward(X, y)
        loss = mg.mean([(two(x) - t) ** 2 for x, t in zip(X.tolist(), y.tolist(), strict=True)])
        loss.backward()
        assert value == pytest.approx(loss.data, rel=1e-12)
        for net in (one, two):
            for p in net.parameters():
                p.data -= 0.1 * p.grad
    np.testing.assert_allclose([p.data for p in one.parameters()], [p.data for p in two.parameters()], rtol=1e-11)


def test_unused_parameters_are_none(backend: str) -> None:
    used, unused = Value(1.0), Value(2.0)

    def fn(x: Any) -> Any:
        _ = unused * x
        return used * x

    f = mg.compile(fn, backend=backend)
    f.backward(3.0)
    assert f.parameters == [used]
    assert unused.grad == 0.0


def test_a_parameter_computed_from_parameters(backend: str) -> None:
    """A graph that existed before the trace is recorded too, down to its leaves."""
    a, b = Value(2.0), Value(3.0)
    c = a * b + mg.exp(a)
    f = mg.compile(lambda x: c * x, backend=backend)
    assert f(2.0) == pytest.approx(2 * (6 + np.exp(2.0)))
    f.backward(2.0)
    assert (a.grad, b.grad) == (pytest.approx(2 * (3 + np.exp(2.0))), 4.0)
    a.data = 0.0
    assert f(1.0) == 1.0


def test_values_made_inside_are_constants(backend: str) -> None:
    w = Value(2.0)
    f = mg.compile(lambda x: x * w * Value(3.0), backend=backend)
    f.backward(1.0)
    assert f.parameters == [w]
    assert w.grad == 3.0


# --- arguments and results ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "X",
    [
        [[1, 2], [3, 4]],
        ((1.0, 2.0), (3.0, 4.0)),
        np.array([[1, 2], [3, 4]], dtype=np.int8),
        np.array([[1, 2], [3, 4]], dtype=np.float32),
        np.array([[1.0, 3.0], [2.0, 4.0]]).T,
        np.arange(8.0).reshape(2, 4)[:, ::3] * [[1, 2 / 3], [3 / 4, 4 / 7]] + [[1, 0], [0, 0]],
    ],
    ids=["lists", "tuples", "int8", "float32", "transposed", "strided"],
)
def test_arguments_of_any_kind(X: Any, backend: str) -> None:
    w = Value(10.0)
    f = mg.compile(lambda x: x[0] * w + x[1], batch=True, backend=backend)
    np.testing.assert_allclose(f(X), [12.0, 34.0], rtol=1e-6)
    assert f.backward(X) == pytest.approx(23.0, rel=1e-6)


def test_booleans_choose(backend: str) -> None:
    f = mg.compile(lambda c, x: mg.where(c, x, -x), batch=True, backend=backend)
    np.testing.assert_array_equal(f(np.array([True, False]), [1.0, 2.0]), [1.0, -2.0])


def test_results_keep_their_nesting(backend: str) -> None:
    w = Value(2.0)

    def fn(x: Any) -> Any:
        return {"a": [x[0] * w, x[1]], "b": (x[0], [[w, x[1] + 1.0]], 5.0)}

    single = mg.compile(fn, backend=backend)([3.0, 4.0])
    np.testing.assert_array_equal(single["a"], [6.0, 4.0])
    assert isinstance(single["b"], tuple)
    assert single["b"][0] == 3.0
    np.testing.assert_array_equal(single["b"][1], [[2.0, 5.0]])
    assert single["b"][2] == 5.0
    many = mg.compile(fn, batch=True, backend=backend)(np.array([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]))
    np.testing.assert_array_equal(many["a"], [[6.0, 4.0], [10.0, 6.0], [14.0, 8.0]])
    np.testing.assert_array_equal(many["b"][0], [3.0, 5.0, 7.0])
    np.testing.assert_array_equal(many["b"][1], [[[2.0, 5.0]], [[2.0, 7.0]], [[2.0, 9.0]]])
    np.testing.assert_array_equal(many["b"][2], [5.0, 5.0, 5.0])


CONSTANT = {
    "number": (lambda x: 3.0, 3.0),
    "negative zero": (lambda x: -0.0, -0.0),
    "not a number": (lambda x: math.nan, math.nan),
    "operation": (lambda x: mg.exp(0.0) + Value(3.0) * 2, 7.0),
    "derivative": (mg.grad(lambda x: 3 * x), 3.0),
    "second derivative": (mg.hessian(lambda x: x * x), 2.0),
    "list": (mg.jacobian(lambda x: [2 * x, 3.0, x]), [2.0, 0.0, 1.0]),
    "partly constant": (lambda x: [3.0, x], [3.0, 0.5]),
}


@pytest.mark.parametrize("fn", CONSTANT)
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_constant_result_is_that_constant(fn: str, batch: bool, strict: bool, dtype: str, backend: str) -> None:
    function, number = CONSTANT[fn]
    f = mg.compile(function, batch=batch, backend=backend, strict=strict, dtype=dtype)
    for x in [np.full(samples, 0.5) for samples in (1, 2, 5000)] if batch else [0.5]:
        check_constant(f, x, number, dtype)


def check_constant(f: Any, x: Any, number: Any, dtype: str) -> None:
    found = f(x)
    want = np.broadcast_to(number, (*np.shape(x), *np.shape(number))).astype(dtype)
    assert found.dtype == dtype
    assert found.shape == want.shape
    np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(want))
    assert f.explain(x).startswith(f.__name__)
    if np.ndim(number) == 0:
        value, gradient = f.value_and_grad([], x)
        step = f.bind(x)
        # The mean is a sum over the batch of numbers that were multiplied by 1/n.
        rel = 1e-12 if dtype == "float64" else 1e-4
        assert [value, f.backward(x), step()] == pytest.approx([number] * 3, rel=rel, nan_ok=True)
        assert f.parameters == []
        assert gradient.shape == step.gradient.shape == (0,)


def test_what_a_constant_result_closes_over_has_no_gradient(backend: str) -> None:
    """The branch that is chosen by a number does not use it; what is multiplied by 0 is used."""
    w = Value(2.0)
    f = mg.compile(lambda x: mg.where(1.0, 2.0, w) + 0.0 * w, backend=backend)
    assert f.backward(1.0) == 2.0
    assert w.grad == 0.0


def test_a_function_without_arguments_may_be_constant(backend: str) -> None:
    assert mg.compile(lambda: 3.0, backend=backend)() == 3.0


def test_results_belong_to_the_caller(backend: str) -> None:
    f = mg.compile(lambda x: [x * 2.0, x], batch=True, backend=backend)
    first = f(np.array([1.0, 2.0]))
    f(np.array([5.0, 6.0]))
    np.testing.assert_array_equal(first, [[2.0, 1.0], [4.0, 2.0]])
    first[:] = 0.0
    np.testing.assert_array_equal(f(np.array([1.0, 2.0])), [[2.0, 1.0], [4.0, 2.0]])


def test_arguments_are_not_written_to(backend: str) -> None:
    X = np.random.default_rng(0).uniform(0.01, 0.1, size=(40_000, 4))  # large enough to be read where it is
    kept = X.copy()
    w = Value(2.0)
    f = mg.compile(lambda x: mg.tanh(mg.dot(x, [w, w, w, w])), batch=True, backend=backend)
    f(X)
    f.backward(X)
    np.testing.assert_array_equal(X, kept)
    np.testing.assert_allclose(f(2 * X), np.tanh(4 * X.sum(axis=1)), rtol=1e-12)


def test_new_shapes_trace_anew_and_batch_sizes_do_not(backend: str) -> None:
    traces = 0

    def fn(x: Any) -> Any:
        nonlocal traces
        traces += 1
        return mg.sum(x) * w

    w = Value(2.0)
    f = mg.compile(fn, batch=True, backend=backend)
    for samples in (1, 2, 7, 8, 9, 129, 1030, 7):
        X = np.random.default_rng(samples).normal(size=(samples, 3))
        np.testing.assert_allclose(f(X), 2 * X.sum(axis=1), rtol=1e-12, atol=1e-14)
        assert f.backward(X) == pytest.approx(2 * X.sum() / samples, rel=1e-10, abs=1e-12)
    assert traces == 1
    np.testing.assert_array_equal(f(np.ones((2, 5))), [10.0, 10.0])
    assert traces == 2
    np.testing.assert_array_equal(f(np.ones((2, 3))), [6.0, 6.0])
    assert traces == 2


def test_float32(backend: str) -> None:
    loss, parameters = regression()
    X, y = data()
    f = mg.compile(loss, batch=True, dtype="float32", backend=backend)
    assert f(X, y).dtype == np.float32
    value, gradient = f.value_and_grad(np.array([0.5, -1.5, 0.25]), X, y)
    assert gradient.dtype == np.float32
    want = expected(np.array([p.data for p in parameters]), X, y)
    assert value == pytest.approx(want[0], rel=1e-5)
    np.testing.assert_allclose(gradient, want[1], rtol=1e-4)


def test_a_compiled_function_tells_what_it_is() -> None:
    loss, _ = regression()
    f = mg.compile(loss, batch=True)
    assert repr(f) == "<compiled loss, float64, batch: not yet called>"
    f(*data())
    assert repr(f) == "<compiled loss, float64, batch: ((2,), ())>"
    assert f.__name__ == "loss"


def test_a_function_without_arguments_is_traced_when_first_asked_about() -> None:
    x = Value(2.0, label="x")
    assert mg.compile(lambda: x * x).theta().tolist() == [2.0]
    assert mg.compile(lambda: x * x).parameters == [x]
    assert "(1) x · x: the value" in mg.compile(lambda: x * x).explain()
    with pytest.raises(RuntimeError, match="has not been traced yet"):
        mg.compile(lambda y: x * y).theta()
