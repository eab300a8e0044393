"""The functions: on floats and Values alike, exact in their limits, with gradients and clear errors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, functions

INF = math.inf


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (mg.exp, 0.5, math.exp(0.5)),
        (mg.log, 0.5, math.log(0.5)),
        (mg.log1p, 0.5, math.log1p(0.5)),
        (mg.sqrt, 0.5, math.sqrt(0.5)),
        (mg.tanh, 0.5, math.tanh(0.5)),
        (mg.sigmoid, 0.5, 1 / (1 + math.exp(-0.5))),
        (mg.softplus, 0.5, math.log(1 + math.exp(0.5))),
        (mg.relu, -0.5, 0.0),
        (mg.leaky_relu, -0.5, -0.005),
        (mg.sin, 0.5, math.sin(0.5)),
        (mg.cos, 0.5, math.cos(0.5)),
        (mg.sign, -0.5, -1.0),
        (mg.detach, 0.5, 0.5),
        (abs, -0.5, 0.5),
    ],
)
def test_unary_functions_on_floats_and_values(function: Callable[[Any], Any], x: float, expected: float) -> None:
    assert function(x) == pytest.approx(expected, rel=1e-15)
    assert type(function(x)) is float
    out = function(Value(x))
    assert type(out) is Value
    assert out.data == function(x)


@pytest.mark.parametrize("name", ["exp", "log", "log1p", "sqrt", "tanh", "sigmoid", "softplus", "relu", "sin", "cos"])
def test_unary_functions_are_methods_too(name: str) -> None:
    assert getattr(Value(0.5), name)().data == getattr(mg, name)(0.5)
    assert Value(-0.5).abs().data == 0.5


def test_every_function_is_public() -> None:
    assert functions.__all__ == sorted(functions.__all__)
    assert set(functions.__all__) < set(mg.__all__)
    for name in functions.__all__:
        assert getattr(mg, name) is getattr(functions, name)


def test_leaky_relu_slope() -> None:
    x = Value(-2.0)
    out = mg.leaky_relu(x, 0.25)
    out.backward()
    assert (out.data, x.grad) == (-0.5, 0.25)
    assert x.leaky_relu(slope=0.5).data == -1.0
    at_zero = Value(0.0)
    at_zero.leaky_relu().backward()
    assert at_zero.grad == 0.01
    assert math.isnan(mg.leaky_relu(math.nan))


def test_detach_stops_the_gradient() -> None:
    x = Value(3.0)
    (x * mg.detach(x)).backward()
    assert x.grad == 3.0


def test_where_chooses_and_only_the_chosen_learns() -> None:
    a, b = Value(2.0), Value(3.0)
    out = mg.where(a < b, a * 5, b)
    out.backward()
    assert (out.data, a.grad, b.grad) == (10.0, 5.0, 0.0)
    assert mg.where(0.0, 1.0, 2.0) == 2.0


# --- n-ary ----------------------------------------------------------------------------------------------------------


def test_sum() -> None:
    assert mg.sum([]) == 0.0
    assert mg.sum([1, 2.5]) == 3.5
    assert mg.sum([1.0], start=2.0) == 3.0
    x = [Value(v) for v in (1.0, 2.0, 4.0)]
    out = mg.sum(v * v for v in x)
    out.backward()
    assert (out.data, [v.grad for v in x]) == (21.0, [2.0, 4.0, 8.0])
    assert mg.sum(x, start=x[0]).inputs == (x[0], *x)
    # From left to right, as the doc says: the other order would keep the 1.
    assert mg.sum([1.0, 1e100, -1e100]) == 0.0


def test_dot() -> None:
    w, x = [Value(2.0), Value(-1.0)], [Value(3.0), Value(0.5)]
    out = mg.dot(w, x)
    out.backward()
    assert out.data == 5.5
    assert [v.grad for v in (*w, *x)] == [3.0, 0.5, 2.0, -1.0]
    assert mg.dot([1, 2], [3, 4]) == 11.0
    assert mg.dot([], []) == 0.0
    assert mg.dot(w, [3.0, 0.5]).data == 5.5
    same = mg.dot(w, w)
    w[0].grad = 0.0
    same.backward()
    assert w[0].grad == 4.0


def test_mean() -> None:
    x = [Value(1.0), Value(2.0), Value(6.0)]
    out = mg.mean(x)
    out.backward()
    assert out.data == 3.0
    assert [v.grad for v in x] == pytest.approx([1 / 3] * 3, rel=1e-15)
    assert mg.mean([1, 2]) == 1.5


@pytest.mark.parametrize(
    ("x", "expected", "gradient"),
    [
        ([0.0], 0.0, [1.0]),
        ([1000.0, 1000.0], 1000.0 + math.log(2), [0.5, 0.5]),
        ([-1000.0, -1000.0], -1000.0 + math.log(2), [0.5, 0.5]),
        ([1000.0, -1000.0], 1000.0, [1.0, 0.0]),
        ([1e308, 0.0], 1e308, [1.0, 0.0]),
        ([-INF, 0.0], 0.0, [0.0, 1.0]),
    ],
)
def test_logsumexp_in_its_limits(x: list[float], expected: float, gradient: list[float]) -> None:
    leaves = [Value(v) for v in x]
    out = mg.logsumexp(leaves)
    out.backward()
    assert out.data == pytest.approx(expected, rel=1e-15)
    assert [v.grad for v in leaves] == pytest.approx(gradient, rel=1e-15)
    assert mg.logsumexp(x) == out.data


def test_logsumexp_of_infinities() -> None:
    assert mg.logsumexp([INF, 0.0]) == INF
    assert mg.logsumexp([INF, INF]) == INF
    assert mg.logsumexp([-INF, -INF]) == -INF
    assert math.isnan(mg.logsumexp([math.nan, 0.0]))


def test_softmax() -> None:
    x = [Value(v) for v in (0.5, -1.0, 2.0)]
    out = mg.softmax(x)
    assert mg.sum(out).data == pytest.approx(1.0, rel=1e-15)
    out[2].backward()
    p = [v.data for v in out]
    assert [v.grad for v in x] == pytest.approx([-p[2] * p[0], -p[2] * p[1], p[2] * (1 - p[2])], rel=1e-13)
    assert mg.softmax([1000.0, 1000.0]) == [0.5, 0.5]
    assert mg.softmax([1000.0, -1000.0]) == [1.0, 0.0]
    assert mg.softmax([-INF, 3.0]) == [0.0, 1.0]


def test_logsumexp_has_softmax_as_gradient_and_its_own_second_derivative() -> None:
    x = [Value(v) for v in (0.3, 1.2, -0.4)]
    mg.logsumexp(x).backward(create_graph=True)
    p = [v.data for v in mg.softmax(x)]
    assert [v.grad.data for v in x] == pytest.approx(p, rel=1e-13)
    first = x[1].grad
    for v in x:
        v.grad = 0.0
    first.backward()
    assert [v.grad for v in x] == pytest.approx([-p[1] * p[0], p[1] * (1 - p[1]), -p[1] * p[2]], rel=1e-12)


@pytest.mark.parametrize("index", [1, 1.0, True, np.int64(1), np.float32(1), Value(1.0)])
def test_take(index: Any) -> None:
    values = [Value(5.0), Value(6.0), Value(7.0)]
    chosen = mg.take(values, index)
    (chosen * 3.0).backward()
    assert chosen.data == 6.0
    assert [v.grad for v in values] == [0.0, 3.0, 0.0]
    assert mg.take([1.0, 2.0], index) == 2.0
    assert mg.take([[1.0, 2.0], [3.0, 4.0]], index) == [3.0, 4.0]
    assert mg.take(np.array([[1.0, 2.0], [3.0, 4.0]]), index) == [3.0, 4.0]


# --- errors ---------------------------------------------------------------------------------------------------------


EACH = ": pass its elements, one number at a time"
HERE = f", at {__file__}:… in <lambda>"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: mg.dot([1.0], [1.0, 2.0]),
            ValueError,
            "dot() takes two sequences of the same length, got 1 and 2 numbers",
        ),
        (lambda: mg.mean([]), ValueError, "mean() needs at least one value, got none"),
        (lambda: mg.logsumexp([]), ValueError, "logsumexp() needs at least one value, got none"),
        (lambda: mg.softmax(iter([])), ValueError, "softmax() needs at least one value, got none"),
        (lambda: mg.sum(["a", 1.0]), TypeError, "sum() takes numbers and Values, got 'a' of type str"),
        (lambda: mg.exp(None), TypeError, "exp() takes numbers and Values, got None of type NoneType"),
        (lambda: mg.take([1.0, 2.0], 2), IndexError, "take() index 2 is outside 0 … 1" + HERE),
        (lambda: mg.take([1.0, 2.0], -1), IndexError, "take() index -1 is outside 0 … 1" + HERE),
        (lambda: mg.take([1.0, 2.0], 0.5), TypeError, "take() needs an integer index, got 0.5" + HERE),
        (lambda: mg.take([1.0, 2.0], INF), TypeError, "take() needs an integer index, got inf" + HERE),
        (lambda: mg.take([1.0, 2.0], math.nan), TypeError, "take() needs an integer index, got nan" + HERE),
        (lambda: mg.take([1.0, 2.0], "1"), TypeError, "take() takes numbers and Values, got '1' of type str"),
        (
            lambda: mg.take([], 0),
            IndexError,
            "take() needs at least one value to choose from, got an empty sequence",
        ),
        (lambda: mg.take([1.0, 2.0], 1e300), IndexError, "take() index 1e+300 is outside 0 … 1" + HERE),
        (lambda: mg.take("abc", 0), TypeError, "take() takes numbers and Values, got 'a' of type str"),
        (lambda: mg.take([None, 1.0], 0), TypeError, "take() takes numbers and Values, got None of type NoneType"),
        (lambda: mg.take([[1.0, None]], 0), TypeError, "take() takes numbers and Values, got None of type NoneType"),
        (
            lambda: mg.take([[[1.0]], [[2.0]]], 0),
            TypeError,
            "take() takes numbers and Values, got [1.0] of type list" + EACH,
        ),
        (
            lambda: mg.take([[1.0, 2.0], [3.0]], 0),
            ValueError,
            "take() needs rows of equal length, got rows of 1 to 2 numbers",
        ),
        (
            lambda: mg.take([[1.0, 2.0], 3.0], 0),
            TypeError,
            "take() chooses from numbers or from rows of numbers, got both",
        ),
        (
            lambda: mg.dot(3.0, [1.0]),
            TypeError,
            "dot() takes a sequence of numbers and Values, got 3.0 of type float",
        ),
        (lambda: mg.mean(["a"]), TypeError, "mean() takes numbers and Values, got 'a' of type str"),
        (lambda: mg.logsumexp([None]), TypeError, "logsumexp() takes numbers and Values, got None of type NoneType"),
        (lambda: mg.softmax([[1.0]]), TypeError, "softmax() takes numbers and Values, got [1.0] of type list" + EACH),
        (lambda: mg.softmax("ab"), TypeError, "softmax() takes numbers and Values, got 'a' of type str"),
        (lambda: mg.leaky_relu("x"), TypeError, "leaky_relu() takes numbers and Values, got 'x' of type str"),
        (lambda: Value(1.0).leaky_relu("a"), TypeError, "leaky_relu() takes numbers and Values, got 'a' of type str"),
        (lambda: mg.exp(10**400), OverflowError, "exp() takes numbers up to 1.8e308, got an integer of 401 digits"),
        (
            lambda: mg.mean([10**5000]),
            OverflowError,
            "mean() takes numbers up to 1.8e308, got an integer of 5001 digits",
        ),
        (
            lambda: mg.exp(Fraction(10**400)),
            OverflowError,
            "exp() takes numbers up to 1.8e308, got a larger Fraction",
        ),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert re.sub(r"(?<=:)[0-9]+(?= in )", "…", str(caught.value)) == message


@pytest.mark.parametrize("function", [mg.sum, mg.mean, mg.logsumexp, mg.softmax, lambda x: mg.take(x, 0)])
@pytest.mark.parametrize("bad", [None, 3.0, Value(1.0)])
def test_what_is_no_sequence_is_refused(function: Callable[[Any], Any], bad: Any) -> None:
    name = "take" if function.__name__ == "<lambda>" else function.__name__
    with pytest.raises(TypeError) as caught:
        function(bad)
    assert (
        str(caught.value)
        == f"{name}() takes a sequence of numbers and Values, got {bad!r} of type {type(bad).__name__}"
    )


def test_an_error_of_a_generator_is_its_own() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        mg.sum(x + "a" for x in (1.0, 2.0))


def test_take_from_any_iterable() -> None:
    assert mg.take((x * x for x in (1.0, 2.0, 3.0)), 1) == 4.0
    assert mg.take(range(5), 3) == 3


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 33, 100])
def test_softmax_of_any_number_of_values(n: int) -> None:
    x = [math.sin(3.0 * k) * 700.0 for k in range(n)]
    exact = [math.exp(v - max(x)) for v in x]
    assert mg.softmax(x) == pytest.approx([e / math.fsum(exact) for e in exact], rel=1e-14)
    for k in range(n):  # wherever the largest stands
        assert mg.softmax([1e308 if i == k else 0.0 for i in range(n)])[k] == 1.0
        assert math.isnan(mg.logsumexp([math.nan if i == k else 0.0 for i in range(n)]))
