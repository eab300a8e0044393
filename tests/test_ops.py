"""The op table, row by row: values, and derivatives against the complex step and central differences."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from analytic import COMPLEX

from macrograd import Value, ops
from macrograd.ops import BY_NAME, TABLE, Op

INF, NAN = math.inf, math.nan


# The others have kinks or steps: central differences, away from them.
KINKED = ["abs", "relu", "maximum", "minimum", "where", "onehot", "mod", "gate"]
NO_GRADIENT = ["sign", "less", "less_equal", "detach", "random", "floor", "ceil", "round"]

ANYWHERE = [-2.5, -0.3, 0.7, 1.9]
POSITIVE = [0.2, 0.9, 3.7]
POINTS: dict[str, list[tuple[float, ...]]] = {
    "pow": list(product(POSITIVE, [-2.0, -0.5, 0.5, 1.0, 3.2])),
    "log": [(x,) for x in POSITIVE],
    "log1p": [(x,) for x in (-0.9, *POSITIVE)],
    "sqrt": [(x,) for x in POSITIVE],
    "mod": [(a, b) for a, b in product(ANYWHERE, [-1.3, 0.45, 2.0])],
    "atan2": [(a, b) for a, b in product(ANYWHERE, ANYWHERE)],
    "asin": [(x,) for x in (-0.9, -0.3, 0.2, 0.7)],
    "acos": [(x,) for x in (-0.9, -0.3, 0.2, 0.7)],
    "cbrt": [(x,) for x in POSITIVE],
    "lgamma": [(x,) for x in (-2.6, -0.3, *POSITIVE, 12.5)],
    "digamma": [(x,) for x in (-2.6, -0.3, *POSITIVE, 12.5)],
    "polygamma": list(product([1.0, 2.0, 3.0], [*POSITIVE, 12.5])),
    "maximum": [(a, b) for a, b in product(ANYWHERE, ANYWHERE) if a != b],
    "minimum": [(a, b) for a, b in product(ANYWHERE, ANYWHERE) if a != b],
    "where": list(product([0.0, 1.0, -3.0], ANYWHERE, ANYWHERE)),
    "onehot": list(product([2.0], [2.0, 1.0], ANYWHERE)),
    "gate": list(product([0.0, 1.0, -3.0], ANYWHERE)),
    "sum": [(0.5,), (1.5, -2.0), (1.0, 2.0, -4.0, 0.25)],
    "dot": [(0.5, 2.0), (1.5, -2.0, 0.3, 0.7, -1.1, 4.0)],
}
NEVER_DIFFERENTIATED = {"where": [0], "gate": [0], "onehot": [0, 1], "polygamma": [0]}


def points(op: Op) -> list[tuple[float, ...]]:
    assert op.name in POINTS or op.arity is not None
    return POINTS.get(op.name) or list(product(ANYWHERE, repeat=op.arity or 0))


def complex_step(name: str, x: Sequence[float], k: int) -> float:
    h = 1e-30
    return float(COMPLEX[name](*[complex(v, h) if i == k else complex(v) for i, v in enumerate(x)]).imag / h)


def central_difference(op: Op, x: Sequence[float], k: int) -> float:
    h = 2.0**-17
    up, down = ([v + s * h if i == k else v for i, v in enumerate(x)] for s in (1.0, -1.0))
    return (op.forward(*up) - op.forward(*down)) / (2 * h)


def check_derivative(op: Op, gradient: Callable[[Sequence[float]], list[float]]) -> None:
    """Whether `gradient` (operands → derivative by each) is that of `op`, at all its points."""
    for x in points(op):
        found = gradient(x)
        for k in range(len(x)):
            if k in NEVER_DIFFERENTIATED.get(op.name, ()):
                assert found[k] == 0.0
            elif op.name in COMPLEX:
                assert found[k] == pytest.approx(complex_step(op.name, x, k), rel=2e-14, abs=1e-15), (op, x, k)
            else:
                assert found[k] == pytest.approx(central_difference(op, x, k), rel=1e-9, abs=1e-9), (op, x, k)


def eager_gradient(op: Op) -> Callable[[Sequence[float]], list[float]]:
    def gradient(x: Sequence[float]) -> list[float]:
        leaves = [Value(v) for v in x]
        op(*leaves).backward()
        return [leaf.grad for leaf in leaves]

    return gradient


DIFFERENTIABLE = [BY_NAME[name] for name in [*COMPLEX, *KINKED]]


def test_every_row_is_tested_here() -> None:
    tested = {*COMPLEX, *KINKED, *NO_GRADIENT, "take", "constant"}
    assert {op.name for op in TABLE} == tested
    assert [op.code for op in TABLE] == list(range(len(TABLE)))


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_derivative(op: Op) -> None:
    check_derivative(op, eager_gradient(op))


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_a_wrong_derivative_is_caught(op: Op) -> None:
    right = eager_gradient(op)
    with pytest.raises(AssertionError):
        check_derivative(op, lambda x: [d * (1 + 1e-3) for d in right(x)])
    with pytest.raises(AssertionError):
        check_derivative(op, lambda x: [d + 1e-3 for d in right(x)])


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_derivative_of_the_derivative(op: Op) -> None:
    """Every second derivative, from a graph of the first, against central differences of the first."""
    for x in points(op):
        for k in range(len(x)):
            if k in NEVER_DIFFERENTIATED.get(op.name, ()):
                continue
            leaves = [Value(v) for v in x]
            op(*leaves).backward(create_graph=True)
            first = leaves[k].grad
            for leaf in leaves:
                leaf.grad = 0.0
            first.backward()
            h = 2.0**-14
            for j in range(len(x)):
                if j in NEVER_DIFFERENTIATED.get(op.name, ()):
                    continue
                up, down = ([v + s * h if i == j else v for i, v in enumerate(x)] for s in (1.0, -1.0))
                expected = (eager_gradient(op)(up)[k] - eager_gradient(op)(down)[k]) / (2 * h)
                assert leaves[j].grad == pytest.approx(expected, rel=1e-5, abs=1e-6), (op, x, k, j)


@pytest.mark.parametrize("name", NO_GRADIENT)
def test_steps_let_no_gradient_through(name: str) -> None:
    op = BY_NAME[name]
    leaves = [Value(v) for v in (0.5, 2.0, 1.0)[: op.arity]]
    op(*leaves).backward()
    assert [leaf.grad for leaf in leaves] == [0.0] * len(leaves)


def test_random_numbers_depend_on_their_operands_alone() -> None:
    assert ops.random(1.0, 2.0, 3.0) == ops.random(1, 2, 3.5) == 0.6534104347229004
    assert math.isnan(ops.random(2.0**53, 0.0, 0.0))
    assert math.isnan(ops.random(0.0, NAN, 0.0))


def test_random_numbers_are_even_and_independent() -> None:
    n = 30_000
    count = np.arange(n, dtype=float)
    for columns in ((count, 5.0, 0.0), (7.0, count, 1.0), (3.0, 2.0, count), (count, -count, 9.0)):
        found = ops.random.array(np, *columns)
        assert found.min() >= 0.0
        assert found.max() < 1.0
        assert np.mean(found) == pytest.approx(0.5, abs=5 / math.sqrt(12 * n))
        shares = np.histogram(found, bins=16, range=(0.0, 1.0))[0]
        assert shares == pytest.approx(np.full(16, n / 16), abs=5 * math.sqrt(n / 16))
        # 5 standard deviations of a correlation of n independent pairs
        for lag in (1, 2, 7):
            assert abs(np.corrcoef(found[lag:], found[:-lag])[0, 1]) < 5 / math.sqrt(n)


def test_take_row() -> None:
    index, values = Value(1.0), [Value(v) for v in (5.0, 6.0, 7.0)]
    out = ops.take(index, *values)
    out.backward()
    assert out.data == 6.0
    assert (index.grad, [v.grad for v in values]) == (0.0, [0.0, 1.0, 0.0])


# --- kinks: PyTorch's conventions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "x", "gradient"),
    [
        (ops.relu, (0.0,), [0.0]),
        (ops.relu, (-0.0,), [0.0]),
        (ops.absolute, (0.0,), [0.0]),
        (ops.maximum, (1.5, 1.5), [0.5, 0.5]),
        (ops.minimum, (1.5, 1.5), [0.5, 0.5]),
        (ops.maximum, (INF, INF), [0.5, 0.5]),
        (ops.maximum, (0.0, -0.0), [0.5, 0.5]),
        (ops.power, (0.0, 0.0), [0.0, 0.0]),
        (ops.power, (0.0, 1.0), [1.0, 0.0]),
        (ops.power, (0.0, 2.0), [0.0, 0.0]),
        (ops.power, (0.0, 3.0), [0.0, 0.0]),
        (ops.power, (0.0, 0.5), [INF, 0.0]),
        (ops.power, (0.0, -1.0), [-INF, -INF]),
        (ops.power, (-2.0, 0.0), [0.0, NAN]),
        (ops.power, (-2.0, 3.0), [12.0, NAN]),
        (ops.power, (0.0, NAN), [NAN, NAN]),
        (ops.sqrt, (0.0,), [INF]),
        (ops.log, (0.0,), [INF]),
        (ops.div, (1.0, 0.0), [INF, -INF]),
        (ops.div, (0.0, 0.0), [INF, NAN]),
    ],
)
def test_kinks_and_poles(op: Op, x: tuple[float, ...], gradient: list[float]) -> None:
    assert eager_gradient(op)(x) == pytest.approx(gradient, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("op", "x", "value", "gradient"),
    [
        (ops.tanh, 1000.0, 1.0, 0.0),
        (ops.tanh, -1000.0, -1.0, 0.0),
        (ops.tanh, INF, 1.0, 0.0),
        (ops.tanh, -INF, -1.0, 0.0),
        (ops.sigmoid, 1000.0, 1.0, 0.0),
        (ops.sigmoid, -1000.0, 0.0, 0.0),
        (ops.sigmoid, INF, 1.0, 0.0),
        (ops.sigmoid, -INF, 0.0, 0.0),
        (ops.softplus, 1000.0, 1000.0, 1.0),
        (ops.softplus, -1000.0, 0.0, 0.0),
        (ops.softplus, INF, INF, 1.0),
        (ops.softplus, -INF, 0.0, 0.0),
        (ops.exp, 1000.0, INF, INF),
        (ops.exp, -INF, 0.0, 0.0),
        (ops.log, INF, INF, 0.0),
        (ops.relu, INF, INF, 1.0),
        (ops.relu, -INF, 0.0, 0.0),
    ],
)
def test_limits(op: Op, x: float, value: float, gradient: float) -> None:
    leaf = Value(x)
    out = op(leaf)
    out.backward()
    assert (out.data, leaf.grad) == (value, gradient)


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 3.0, 1e-310, 1e308, -1e308, 710.0, -745.2, INF, -INF, NAN]


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        (0.0, -0.0, 0.0),
        (-0.0, 0.0, 0.0),
        (-0.0, -0.0, -0.0),
        (NAN, 1.0, NAN),
        (1.0, NAN, NAN),
        (-INF, INF, INF),
        (2.0, 3.0, 3.0),
    ],
)
def test_maximum_and_minimum_tell_zeros_apart_and_keep_nan(a: float, b: float, value: float) -> None:
    assert math.isnan(value) or ops.maximum(a, b).hex() == value.hex()
    assert math.isnan(ops.maximum(a, b)) == math.isnan(value) == math.isnan(ops.minimum(-a, -b))
    assert math.isnan(value) or ops.minimum(-a, -b).hex() == (-value).hex()


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        (0.0, -1.0, INF),
        (-0.0, -1.0, -INF),
        (-0.0, -2.0, INF),
        (-0.0, -1.5, INF),
        (-8.0, 1 / 3, NAN),
        (-1e200, 3.0, -INF),
        (-1e200, 2.0, INF),
        (1e200, 2.0, INF),
        (NAN, 0.0, 1.0),
        (1.0, NAN, 1.0),
        (0.0, -INF, INF),
        (0.5, INF, 0.0),
        (-INF, 3.0, -INF),
    ],
)
def test_power_is_that_of_c(a: float, b: float, value: float) -> None:
    assert ops.power(a, b) == pytest.approx(value, rel=0, abs=0, nan_ok=True)


# --- how an operation is called -------------------------------------------------------------------------------------


def test_an_operation_works_on_numbers_and_values() -> None:
    assert ops.tanh(0.5) == math.tanh(0.5)
    assert type(ops.maximum(1, np.float32(2))) is float
    out = ops.maximum(1, Value(2.0))
    assert isinstance(out, Value)
    assert out.data == 2.0


@pytest.mark.parametrize("bad", ["1", b"1", None, [1.0], 1j, np.zeros(2)])
@pytest.mark.parametrize("other", [1.0, Value(1.0)])
def test_what_is_no_number_is_refused(bad: Any, other: Any) -> None:
    with pytest.raises(TypeError, match=r"^maximum\(\) takes numbers and Values, got .* of type "):
        ops.maximum(other, bad)


@pytest.mark.parametrize("operands", [(1.0, 2.0), (Value(1.0), 2.0), ()])
def test_a_wrong_number_of_operands_is_refused(operands: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=rf"^tanh\(\) takes 1 operand, got {len(operands)}$"):
        ops.tanh(*operands)
    with pytest.raises(TypeError, match=r"^where\(\) takes 3 operands, got 1$"):
        ops.where(Value(1.0))


def test_a_name_has_one_row() -> None:
    before = len(TABLE)
    with pytest.raises(ValueError, match="operation 'tanh' has two rows in the table"):
        Op("tanh", "", 1, math.tanh, (None,), array=lambda np, a: a, llvm="", c="")
    with pytest.raises(ValueError, match="operation 'new' has no array, llvm, c, and no formula to compose them from"):
        Op("new", "", 1, math.tanh, (None,))
    with pytest.raises(ValueError, match="operation 'new' needs a fixed number of operands and a derivative for each"):
        Op("new", "", 1, None, (), formula=lambda a: a)
    assert len(TABLE) == before
    assert "new" not in BY_NAME


def test_an_operation_is_one_object() -> None:
    assert copy.deepcopy(ops.tanh) is ops.tanh
    assert repr(ops.tanh) == "<op tanh>"
