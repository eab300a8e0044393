"""Array arguments and results of nets: sequences whose arithmetic goes element by element, in every place they come."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import TraceError, Value, Vector, losses, nn, ops
from macrograd._methods import Methods

X, Y = [0.5, -1.25, 2.0], [1.5, 0.25, -3.0]
ONE = [1.0]
M = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
ONE_OPERAND = [op.name for op in ops.TABLE if op.arity == 1 and hasattr(mg, op.name)]


def numbers(x: Any) -> Any:
    """The numbers of Values in any nesting, as lists."""
    if isinstance(x, (Vector, list, tuple, np.ndarray)):
        return [numbers(item) for item in x]
    return x if isinstance(x, bool) else x.data if isinstance(x, Value) else float(x)


@pytest.mark.parametrize("symbol", OPERATORS)
def test_operators_go_element_by_element_with_everything(symbol: str) -> None:
    op = OPERATORS[symbol]
    x, values = Vector(X), Vector([Value(v) for v in X])
    wanted = [op(a, b) for a, b in zip(X, Y, strict=True)]
    for left in (x, values):
        for right in (Vector(Y), Y, tuple(Y), np.array(Y), Vector([Value(v) for v in Y])):
            assert numbers(op(left, right)) == wanted
            assert type(op(left, right)) is Vector
            assert numbers(op(right, left)) == [op(b, a) for a, b in zip(X, Y, strict=True)]
        for scalar in (2, 0.5, np.float64(1.5), np.int64(3), Value(-2.0), True, np.array(2.0)):
            assert numbers(op(left, scalar)) == [op(a, float(scalar)) for a in X]
            assert numbers(op(scalar, left)) == [op(float(scalar), a) for a in X]


def test_powers_signs_and_division_by_zero_are_those_of_values() -> None:
    assert numbers(Vector([2.0, 3.0]) ** 2) == [4.0, 9.0]
    assert numbers(2 ** Vector([Value(2.0), 3.0])) == [4.0, 8.0]
    assert numbers(Vector([2.0, 3.0]) ** Vector([3.0, 2.0])) == [8.0, 9.0]
    assert (-Vector(X), +Vector(X), abs(Vector(X))) == ([-a for a in X], X, [abs(a) for a in X])
    assert Vector([1.0, -1.0]) / 0 == [math.inf, -math.inf]
    assert numbers(Vector([Value(1.0)]) / 0) == [math.inf]
    assert Vector([5, 7]) // 2 == [2, 3]
    assert Vector([5, 7]) % 2 == [1, 1]
    with pytest.raises(TypeError, match="% is not supported on Value"):
        Vector([Value(1.0)]) % 2


@pytest.mark.parametrize("name", ONE_OPERAND)
def test_functions_of_one_operand(name: str) -> None:
    function = getattr(mg, name)
    x = [0.5, 0.25, 0.75]
    for given in (Vector(x), Vector([Value(v) for v in x]), Vector([x, x])):
        found = function(given)
        assert type(found) is Vector
        assert numbers(found) == numbers(
            [[function(v) for v in x]] * 2 if len(given) == 2 else [function(v) for v in x]
        )
        if hasattr(Value, name):
            assert numbers(getattr(given, name)()) == numbers(found)


def test_functions_of_several_operands_spread_a_scalar() -> None:
    x = Vector([Value(v) for v in X])
    assert numbers(mg.maximum(x, 0.0)) == numbers(mg.maximum(Value(0.0), x)) == [0.5, 0.0, 2.0]
    assert numbers(mg.where(x < 0.0, -x, x)) == [0.5, 1.25, 2.0]
    assert numbers(mg.where(Value(1.0) < x, Y, 0.0)) == [0.0, 0.0, -3.0]
    assert numbers(mg.leaky_relu(x, 0.5)) == [0.5, -0.625, 2.0]
    assert numbers(nn.activations.gelu(x)) == [float(nn.activations.gelu(v)) for v in X]
    assert mg.minimum(Vector(X), Y) == [0.5, -1.25, -3.0]
    for function in (mg.sum, mg.mean):
        with pytest.raises(TypeError, match="takes numbers and Values, got a sequence"):
            function(Vector(M))
    assert mg.sum(x).data == sum(X)
    assert mg.dot(x, Y).data == sum(a * b for a, b in zip(X, Y, strict=True))


def test_comparisons_are_conditions_and_no_truth_value() -> None:
    x = Vector([Value(v) for v in X])
    for op in (operator.lt, operator.le, operator.gt, operator.ge):
        assert list(op(x, Y)) == [op(a, b) for a, b in zip(X, Y, strict=True)]
        assert list(op(0.5, x)) == [op(0.5, a) for a in X]
        assert list(op(Value(0.5), x)) == [op(0.5, a) for a in X]
        with pytest.raises(TypeError, match=r"one result per element.*mg\.where.*all\(condition\)"):
            bool(op(x, 0.0))
    assert all(x < 3.0)
    assert not any(x > 3.0)
    assert mg.compile(lambda a, b: mg.where(a < b, a, b))(X, Y).tolist() == list(map(min, X, Y))


def test_equality_is_that_of_lists_and_none_of_values() -> None:
    assert Vector(X) == X
    assert Vector(X) == X
    assert Vector(M) == M
    assert Vector(X) == Vector(X)
    assert Vector(X) != Y
    assert Vector(X) != X[:2]
    assert Vector(X) != "x"
    assert Vector(X) is not None
    assert Vector(X) is not None
    assert (Vector(X) == np.array(X)).all()
    assert Vector(X) == pytest.approx(X)
    assert pytest.approx(Vector(X)) == X
    values = Vector([Value(1.0)])
    assert values == values
    assert values == list(values)
    with pytest.raises(TypeError, match="whether they are the same objects: compare numbers"):
        values == Vector([Value(1.0)])  # noqa: B015 - the comparison is what is tested
    with pytest.raises(TypeError, match=r"a sequence was compared with one number.*abs\(x - y\) <= 1e-9"):
        Vector(X) == 0  # noqa: B015 - that is the test
    with pytest.raises(TypeError, match="unhashable"):
        hash(values)


def test_it_is_a_sequence() -> None:
    x = Vector(X)
    assert isinstance(x, Sequence)
    assert not isinstance(x, list)
    assert (len(x), x[0], x[-1], list(x), [*x]) == (3, 0.5, 2.0, X, X)
    assert type(x[1:]) is Vector
    assert x[1:] == X[1:]
    assert x[::-1] == X[::-1]
    assert list(reversed(x)) == X[::-1]
    a, *rest = x
    assert (a, rest) == (0.5, X[1:])
    assert list(zip(x, Y, strict=True)) == list(zip(X, Y, strict=True))
    assert 2.0 in x
    assert x.index(2.0) == 2
    assert x.count(2.0) == 1
    assert sum(x) == sum(X)
    assert max(x) == 2.0
    assert x
    assert not Vector([])
    match x:
        case [first, *_]:
            assert first == 0.5
    m = Vector(M)
    assert (m[1, 2], m[0][1], m[:, 1], m[1, ::2]) == (6.0, 2.0, [2.0, 5.0], [4.0, 6.0])
    assert type(m[0]) is Vector
    assert type(m[:, :2]) is Vector
    assert m.tolist() == M
    assert type(m.tolist()[0]) is list
    x[0] = 7.0
    x[1:] = [8.0, 9.0]
    assert x == [7.0, 8.0, 9.0]
    with pytest.raises(ValueError, match="a Vector cannot change its length: the slice has 2 elements, got 1"):
        x[1:] = [1.0]
    with pytest.raises(IndexError, match="index 3 is out of range for a Vector of length 3"):
        x[3]
    with pytest.raises(TypeError, match=r"a Value cannot be an index.*mg\.take"):
        x[Value(1.0)]
    assert repr(Vector([1.0, [2]])) == "Vector([1.0, Vector([2])])"
    assert pickle.loads(pickle.dumps(m)) == copy.deepcopy(m) == copy.copy(m) == M  # noqa: S301 - made here
    assert np.array_equal(np.asarray(m), M)
    assert np.array_equal(np.exp(x), np.exp(list(x)))
    with pytest.raises(TypeError, match=r"Vector\(items\) takes a sequence of numbers and Values, got 3"):
        Vector(3)


def test_joining_has_a_name() -> None:
    x = Vector(X)
    joined = mg.concat(x, Y, (1,), np.array([2.0]))
    assert joined == [*X, *Y, 1, 2.0]
    assert type(joined) is Vector
    assert mg.concat() == []
    for wrong in (lambda: x + ONE, lambda: ONE + x, lambda: x * Vector([1, 2]), lambda: mg.maximum(x, [1.0])):
        with pytest.raises(ValueError, match=r"is elementwise.*to join them write mg\.concat\(a, b\)"):
            wrong()
    with pytest.raises(TypeError, match=r"concat\(\) joins sequences, got 1\.0 of type float: write \[x\] for one"):
        mg.concat(x, 1.0)


def test_what_does_not_fit_is_an_error_in_words() -> None:
    with pytest.raises(TypeError, match="one of these sequences holds rows and another numbers"):
        Vector([[1.0, 2.0], [3.0, 4.0]]) + Vector([10.0, 20.0])  # NumPy would add along the other axis
    with pytest.raises(TypeError, match=r"@ is not supported on Vector: write mg\.dot"):
        Vector(X) @ Vector(Y)
    for other in ("x", None, {}):
        with pytest.raises(TypeError):
            Vector(X) + other
        with pytest.raises(TypeError):
            Vector(X) < other  # noqa: B015 - that is the test
    with pytest.raises(TypeError, match=r"exp\(\) takes numbers and Values, got 'x'"):
        mg.exp(Vector(["x"]))


# --- where they come from --------------------------------------------------------------------------------------------

ADDED = [1.0, 2.0, 3.0]  # joined, it would have been twice as long
PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "a + b": lambda a, b: a + b,
    "2 * a": lambda a, b: 2 * a,
    "a * 2": lambda a, b: a * 2,
    "a - b / 2": lambda a, b: a - b / 2,
    "-a": lambda a, b: -a,
    "a ** 2": lambda a, b: a**2,
    "a * b[0]": lambda a, b: a * b[0],
    "b[0] * a": lambda a, b: b[0] * a,
    "exp": lambda a, b: mg.exp(a),
    "tanh method": lambda a, b: (a * b).tanh(),
    "abs": lambda a, b: abs(a),
    "maximum": lambda a, b: mg.maximum(a, b),
    "where": lambda a, b: mg.where(a < b, a, 0.0),
    "slice": lambda a, b: a[1:] + b[:-1],
    "array": lambda a, b: np.array([1.0, 2.0, 3.0]) * a,
    "list": lambda a, b: ADDED + a,
    "sum of squares": lambda a, b: mg.sum((a - b) ** 2),
    "softmax": lambda a, b: mg.softmax(a) * 2,
    "concat": lambda a, b: mg.concat(a, b) * 2,
}


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_programs_are_what_numpy_would_do(name: str, batch: bool) -> None:
    f = PROGRAMS[name]
    wanted = numbers(f(Vector([Value(v) for v in X]), Vector([Value(v) for v in Y])))
    x, y = (np.array([X, X]), np.array([Y, Y])) if batch else (np.array(X), np.array(Y))
    got = mg.compile(f, batch=batch)(x, y)
    assert np.allclose(got, [wanted, wanted] if batch else wanted, rtol=1e-14, atol=0.0)
    assert np.shape(got) == np.shape([wanted, wanted] if batch else wanted)


def test_rows_of_a_table_too() -> None:
    assert mg.compile(lambda m: m * 2 + m)(M).tolist() == (np.array(M) * 3).tolist()
    assert mg.compile(lambda m: m[0] * m[1, 2] + mg.exp(m)[1] * 0)(M).tolist() == [6.0, 12.0, 18.0]
    assert mg.compile(lambda m: m[:, 1])(M).tolist() == [2.0, 5.0]
    k = mg.compile(lambda m, k: mg.take(m, k) * 2)
    assert k(M, 1).tolist() == [8.0, 10.0, 12.0]
    assert numbers(mg.take(M, 1) * 2) == [8.0, 10.0, 12.0]
    with pytest.raises(TraceError, match="a traced value as an index"):
        mg.compile(lambda m, k: m[k])(M, 1)


def test_derivatives_take_and_give_them() -> None:
    assert mg.jacobian(lambda a: a * 2)(X) == [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]]
    assert mg.jacobian(lambda a, b: a + b, argnums=(0, 1))([1.0, 2.0], [3.0, 4.0])[1] == [[1.0, 0.0], [0.0, 1.0]]
    for given in (X, np.array(X), Vector(X), tuple(X)):
        gradient = mg.grad(lambda a: mg.sum(2 * a * a))(given)
        assert numbers(gradient) == [4 * v for v in X]
    gradient = mg.grad(lambda a: mg.sum(2 * a * a))(X)
    assert numbers(X - 0.25 * gradient) == [0.0, 0.0, 0.0]
    assert (np.array(X) - 0.25 * gradient) == [0.0, 0.0, 0.0]
    value, gradient = mg.value_and_grad(lambda a: mg.dot(a, a))(X)
    assert 2 * gradient == [4 * v for v in X]
    assert value == mg.dot(X, X)
    assert mg.hessian(lambda a: mg.sum(a**2))(X) * 2 == (4 * np.eye(3)).tolist()
    assert mg.hvp(lambda a: mg.sum(a**3), X, [1.0, 1.0, 1.0]) / 6 == X
    primal, tangent = mg.jvp(lambda a: a * a, X, [1.0, 0.0, 0.0])
    assert (primal, tangent) == ([v * v for v in X], [1.0, 0.0, 0.0])
    assert mg.compile(mg.jacobian(lambda a: a * 2))(X).tolist() == (2 * np.eye(3)).tolist()
    assert mg.compile(mg.grad(lambda a: mg.sum(a * 2)))(X).tolist() == [2.0, 2.0, 2.0]


def test_a_tuple_is_no_exception() -> None:
    """Given as an argument it is one inside too, whether it was compiled or not; its derivative is a tuple again."""
    f = mg.grad(lambda a: mg.sum(a * 2))
    assert f((1.0, 2.0)) == (2.0, 2.0)
    assert mg.compile(f)((1.0, 2.0)).tolist() == [2.0, 2.0]
    assert mg.jacobian(lambda a: a * 2)((1.0, 2.0)) == [(2.0, 0.0), (0.0, 2.0)]


def test_minimize_gives_them_to_the_function() -> None:
    found = mg.minimize(lambda x: mg.sum((x - [1.0, 2.0]) ** 2), np.zeros(2))
    assert found.x == pytest.approx([1.0, 2.0], abs=1e-6)


def test_nets_return_them() -> None:
    model = nn.MLP(2, [3, 2], seed=1)
    out = model([0.5, -1.0])
    assert type(out) is Vector
    assert len(out) == 2
    assert numbers(out * 2) == [2 * v.data for v in out]
    assert numbers(model.layers[0]([0.5, -1.0]) - 1) == [v.data - 1 for v in model.layers[0]([0.5, -1.0])]
    compiled = mg.compile(lambda x: model(x) * 2, batch=True)
    assert compiled([[0.5, -1.0]]) == pytest.approx(np.array([numbers(out * 2)]), rel=1e-14)
    assert numbers(nn.Dropout(0.5)(out) + out) == numbers(out * 2)
    assert type(nn.MLP(2, [3, 1], seed=1)([0.5, -1.0])) is Value
    a, b = out
    assert [a, b] == list(out)
    assert list(zip(out, [1, 2], strict=True))[1][1] == 2


@pytest.mark.parametrize("loss", [losses.squared_error, losses.absolute_error, losses.huber, losses.cross_entropy])
def test_losses_take_them(loss: Any) -> None:
    p, t = [0.25, 0.5, -1.0], [0.0, 1.0, 0.0]
    wanted = loss(p, t)
    for prediction in (Vector(p), Vector([Value(v) for v in p]), Vector(p) * 2 / 2):
        assert numbers(loss(prediction, Vector(t))) == wanted
    assert mg.compile(lambda x, y: loss(2 * x, y + 0))(np.array(p) / 2, t) == pytest.approx(wanted, rel=1e-14)


def test_parameters_in_one_are_found_and_trained(tmp_path: Any) -> None:
    class Line(nn.Module):
        def __init__(self) -> None:
            self.w = Vector([Value(0.5), Value(-0.5)])

        def __call__(self, x: Any) -> Any:
            return mg.sum(self.w * x)

    model = Line()
    assert list(model.named_parameters()) == ["w.0", "w.1"]
    assert len(model.parameters()) == 2
    data = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    mg.Trainer(model, lambda p, t: (p - t) ** 2, optimizer=mg.optim.SGD(0.3)).fit(data, data @ [1.0, 2.0], epochs=200)
    assert numbers(model.w) == pytest.approx([1.0, 2.0], abs=1e-3)


def test_a_loss_of_the_trainers_sees_them_in_both_engines() -> None:
    data = np.array([[1.0, 0.5], [0.25, -1.0]])

    def loss(prediction: Any, target: Any) -> Any:
        return mg.sum((prediction * 2 - target * 2) ** 2)

    after = []
    for engine in ("compiled", "eager"):
        model = nn.MLP(2, [3, 2], seed=3)
        mg.Trainer(model, loss, optimizer=mg.optim.SGD(0.1), engine=engine).fit(data, data, epochs=3)
        after.append([p.data for p in model.parameters()])
    assert after[0] == pytest.approx(after[1], rel=1e-12)


@pytest.mark.parametrize("name", [name for name in vars(Methods) if not name.startswith("_")])
def test_values_and_vectors_have_the_same_functions_as_methods(name: str) -> None:
    x = [Value(0.25), Value(0.5)]
    found = getattr(Vector(x), name)()
    assert isinstance(found, Vector)
    assert (
        [v.data for v in found] == [getattr(v, name)().data for v in x] == [getattr(mg, name, abs)(v.data) for v in x]
    )
