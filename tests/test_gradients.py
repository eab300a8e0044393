"""Derivatives of functions to any order, eager and compiled: against PyTorch's, nested complex steps and each other."""

from __future__ import annotations

import cmath
import inspect
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import macrograd as mg
from macrograd import Value
from macrograd.gradients import sparsity

Function = Callable[[Any], Any]
CASES = json.loads((Path(__file__).parent.parent / "references" / "hessians.json").read_text("utf-8"))["cases"]
PENALTY = CASES.pop()


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


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from or left in the user's cache directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MACROGRAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# --- against PyTorch -------------------------------------------------------------------------------------------------


@EACH
@HOW
def test_first_and_second_derivatives_are_pytorchs(case: dict[str, Any], how: Any) -> None:
    f, x = FUNCTIONS[case["function"]], case["x"]
    value, gradient = how(mg.value_and_grad(f))(x)
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(value, case["value"], **close)
    np.testing.assert_allclose(gradient, case["gradient"], **close)
    for hessian in (mg.hessian(f), mg.jacobian(mg.grad(f)), mg.jacobian(mg.jacobian(f))):
        np.testing.assert_allclose(how(hessian)(x), case["hessian"], **close)


@EACH
@HOW
def test_products_with_the_hessian_are_pytorchs(case: dict[str, Any], how: Any) -> None:
    f, x, v = FUNCTIONS[case["function"]], case["x"], case["vector"]
    ahead_over_back = how(lambda x, v: mg.hvp(f, x, v))
    back_over_back = how(mg.grad(lambda x, v: mg.dot(mg.grad(f)(x), v)))
    back_over_ahead = how(mg.grad(lambda x, v: mg.jvp(f, x, v)[1]))
    for product in (ahead_over_back, back_over_back, back_over_ahead):
        np.testing.assert_allclose(product(x, v), case["product"], rtol=1e-12, atol=1e-12)


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


# --- against nested complex steps ------------------------------------------------------------------------------------


class Bicomplex:
    """a + b·j, where a and b are complex numbers with a unit i of their own; i² = j² = −1 and ij = ji.

    The coefficient of ij in f(x + (i + j)·h) is h²·f″(x), without cancellation. Source: Lantoine, Russell & Dargent,
    *Using multicomplex variables for automatic computation of high-order derivatives*, ACM TOMS 38, 2012.
    """

    def __init__(self, a: complex, b: complex = 0.0) -> None:
        self.a, self.b = a, b

    def __add__(self, o: Bicomplex) -> Bicomplex:
        return Bicomplex(self.a + o.a, self.b + o.b)

    def __mul__(self, o: Bicomplex) -> Bicomplex:
        return Bicomplex(self.a * o.a - self.b * o.b, self.a * o.b + self.b * o.a)

    def __truediv__(self, o: Bicomplex) -> Bicomplex:
        norm = o.a * o.a + o.b * o.b
        return self * Bicomplex(o.a / norm, -o.b / norm)

    def exp(self) -> Bicomplex:
        return Bicomplex(cmath.exp(self.a) * cmath.cos(self.b), cmath.exp(self.a) * cmath.sin(self.b))

    def sin(self) -> Bicomplex:
        return Bicomplex(cmath.sin(self.a) * cmath.cosh(self.b), cmath.cos(self.a) * cmath.sinh(self.b))

    def log(self) -> Bicomplex:
        return Bicomplex(0.5 * cmath.log(self.a * self.a + self.b * self.b), cmath.atan(self.b / self.a))


def analytic(x: Any) -> Any:
    a, b, c = x
    return (a * b).exp() * c + (b / c).sin() + ((a * a + c * c).log() + b * c).sin() / (a.exp() + b * b)


@pytest.mark.parametrize("point", [[0.3, -0.7, 1.1], [1.4, 0.2, 0.6], [-0.5, 2.0, -1.5]])
@HOW
def test_hessians_are_those_of_nested_complex_steps(point: list[float], how: Any) -> None:
    h = 1e-40
    expected = [
        [
            analytic([Bicomplex(x + 1j * h * (k == i), h * (k == j)) for k, x in enumerate(point)]).b.imag / h**2
            for j in range(3)
        ]
        for i in range(3)
    ]
    np.testing.assert_allclose(how(mg.hessian(analytic))(point), expected, rtol=1e-12, atol=1e-13)


# --- nesting ---------------------------------------------------------------------------------------------------------


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


# --- forward, and all operations -------------------------------------------------------------------------------------

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


# --- the shapes and kinds of results ---------------------------------------------------------------------------------


@HOW
def test_jacobians_are_nested_as_the_result_and_then_the_argument(how: Any) -> None:
    def f(a: Any, b: Any) -> Any:
        return [a[0] * b, a[1] * a[2], 5.0]

    a, b = [2.0, 3.0, 4.0], 7.0
    np.testing.assert_array_equal(how(mg.jacobian(f))(a, b), [[7, 0, 0], [0, 4, 3], [0, 0, 0]])
    np.testing.assert_array_equal(how(mg.jacobian(f, argnums=-1))(a, b), [2, 0, 0])
    by_b, by_a = how(mg.jacobian(f, argnums=(1, 0)))(a, b)
    np.testing.assert_array_equal(by_b, [2, 0, 0])
    np.testing.assert_array_equal(by_a, [[7, 0, 0], [0, 4, 3], [0, 0, 0]])


@HOW
def test_hessians_of_several_arguments_are_blocks(how: Any) -> None:
    def f(a: Any, b: Any) -> Any:
        return a[0] * a[1] * b + a[1] ** 3 * b**2

    (aa, ab), (ba, bb) = how(mg.hessian(f, argnums=(0, 1)))([2.0, 3.0], 5.0)
    np.testing.assert_allclose(aa, [[0.0, 5.0], [5.0, 450.0]], rtol=1e-14)
    np.testing.assert_allclose(ab, [3.0, 272.0], rtol=1e-14)
    np.testing.assert_allclose(ba, [3.0, 272.0], rtol=1e-14)
    np.testing.assert_allclose(bb, 54.0, rtol=1e-14)


def test_arguments_may_be_arrays_tables_tuples_and_dicts() -> None:
    def f(table: Any, pair: Any, named: Any) -> Any:
        return mg.sum(x * x for row in table for x in row) * pair[0] + named["k"] * pair[1]

    gradient = mg.grad(f, argnums=(0, 1, 2))(np.array([[1, 2], [3, 4]]), (2.0, 3.0), {"k": 5.0})
    assert gradient == ([[4.0, 8.0], [12.0, 16.0]], (30.0, 5.0), {"k": 3.0})


def test_numbers_come_out_where_numbers_went_in_and_values_where_values_did() -> None:
    w = Value(3.0)
    assert type(mg.grad(lambda x: x * x)(2.0)) is float
    assert type(mg.hessian(lambda x: x * x)(2)) is float
    assert all(type(x) is float for x in (*mg.jvp(mg.exp, 1.0, 1.0), mg.hvp(mg.exp, 1.0, 1.0)))
    for derivative in (
        mg.grad(lambda x: w * x)(2.0),
        mg.grad(lambda x: x * x)(Value(2.0)),
        mg.grad(lambda x: 5.0 * x)(Value(2.0)),
        mg.jacobian(lambda x: w * x)(2.0),
        mg.hvp(lambda x: x * x, 2.0, w),
        mg.jvp(lambda x: x * x, 2.0, w)[1],
    ):
        assert isinstance(derivative, Value)


def test_a_result_without_the_argument_has_derivative_zero() -> None:
    assert mg.value_and_grad(lambda x: 3.0)(1.0) == (3.0, 0.0)
    assert mg.grad(lambda x, y: y * y)(1.0, 2.0) == 0.0
    assert mg.hessian(lambda x: 3.0 * x[0])([1.0, 2.0]) == [[0.0, 0.0], [0.0, 0.0]]
    assert mg.jacobian(lambda x: [])([1.0]) == []
    assert mg.grad(lambda x: 1.0)([]) == []


def test_the_signature_is_the_functions_own_so_that_names_work_when_compiled() -> None:
    def f(weight: Any, point: Any) -> Any:
        return weight * point * point

    for derivative in (mg.grad(f), mg.value_and_grad(f), mg.jacobian(f), mg.hessian(f)):
        assert list(inspect.signature(derivative).parameters) == ["weight", "point"]
    assert mg.compile(mg.grad(f, argnums=1))(point=3.0, weight=2.0) == 12.0
    assert mg.grad(f)(2.0, point=3.0) == 9.0
    assert mg.grad(f).__name__ == "grad(f)"


# --- fewer sweeps for zeros ------------------------------------------------------------------------------------------


def sweeps(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts the sweeps that matrices take."""
    from macrograd.gradients import calls, matrices

    count = {"ahead": 0, "back": 0}
    ahead = matrices.ahead

    def counted_ahead(*args: Any) -> Any:
        count["ahead"] += 1
        return ahead(*args)

    def counted(back: Callable[..., Any]) -> Callable[..., Any]:
        def counted_back(*args: Any, **kwargs: Any) -> Any:
            count["back"] += 1
            return back(*args, **kwargs)

        return counted_back

    monkeypatch.setattr(matrices, "ahead", counted_ahead)
    monkeypatch.setattr(calls, "sweep", counted(calls.sweep))
    monkeypatch.setattr(calls, "of_numbers", counted(calls.of_numbers))
    return count


def banded(x: Any) -> Any:
    return [x[max(i - 1, 0)] * x[i] * x[min(i + 1, len(x) - 1)] for i in range(len(x))]


def arrow(x: Any) -> Any:
    return mg.sum(mg.sin(x[i] * x[-1]) for i in range(len(x) - 1))


def test_a_band_takes_as_many_sweeps_as_it_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.linspace(-1, 2, 40)
    expected = np.stack([mg.grad(lambda x, i=i: banded(x)[i])(x) for i in range(40)])
    count = sweeps(monkeypatch)
    np.testing.assert_allclose(mg.jacobian(banded)(x), expected, rtol=1e-15)
    assert count == {"ahead": 3, "back": 0}
    mg.hessian(rosenbrock)(x)
    assert count == {"ahead": 6, "back": 1}


def test_a_short_jacobian_takes_a_sweep_back_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x: Any) -> Any:
        return [mg.dot(x, x), mg.sum(x[:10]), mg.sin(x[10]) + x[39]]

    x = np.linspace(-1, 2, 40)
    expected = np.stack([mg.grad(lambda x, i=i: f(x)[i])(x) for i in range(3)])
    count = sweeps(monkeypatch)
    np.testing.assert_allclose(mg.jacobian(f)(x), expected, rtol=1e-15)
    assert count == {"ahead": 0, "back": 2}  # the second and third row have no entry in common


def test_an_arrow_shaped_hessian_takes_two_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.linspace(-1, 2, 30)
    expected = mg.jacobian(mg.grad(arrow))(x)
    count = sweeps(monkeypatch)
    np.testing.assert_allclose(mg.hessian(arrow)(x), expected, rtol=1e-13, atol=1e-15)
    assert count == {"ahead": 2, "back": 1}


@HOW
def test_sparse_matrices_are_right_compiled_too(how: Any) -> None:
    x = np.linspace(-1, 2, 12)
    for f in (rosenbrock, arrow):
        columns = [mg.hvp(f, x, row) for row in np.eye(12)]
        np.testing.assert_allclose(how(mg.hessian(f))(x), np.transpose(columns), rtol=1e-12, atol=1e-14)


patterns = st.integers(1, 9).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.integers(0, 2**n - 1), min_size=1, max_size=9))
)


@given(patterns)
def test_no_two_columns_of_a_colour_share_a_row(drawn: tuple[int, list[int]]) -> None:
    n, rows = drawn
    groups = sparsity.colours(rows, n)
    used = 0
    for bits in rows:
        used |= bits
    assert sum(groups) & used == used
    assert all(not a & b for k, a in enumerate(groups) for b in groups[:k])
    assert all((bits & group).bit_count() <= 1 for bits in rows for group in groups)


@given(st.integers(1, 9).flatmap(lambda n: st.lists(st.booleans(), min_size=n * n, max_size=n * n)))
def test_each_entry_of_a_symmetric_pattern_can_be_read_or_mirrored(drawn: list[bool]) -> None:
    n = math.isqrt(len(drawn))
    dense = np.array(drawn).reshape(n, n)
    dense |= dense.T
    rows = [sum(1 << j for j in range(n) if dense[i, j]) for i in range(n)]
    assert sparsity.transposed(rows, n) == rows
    groups = sparsity.star_colours(rows)
    alone = {
        (i, (bits & g).bit_length() - 1) for i, bits in enumerate(rows) for g in groups if (bits & g).bit_count() == 1
    }
    assert all((i, j) in alone or (j, i) in alone for i in range(n) for j in range(n) if dense[i, j])


@given(st.lists(st.sampled_from("+*smw"), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_hessians_of_random_programs_are_symmetric_and_those_of_products(program: list[str], random: Any) -> None:
    plan = [(name, random.randrange(4 + k), random.randrange(4 + k)) for k, name in enumerate(program)]

    def f(x: Any) -> Any:
        values = list(x)
        for name, i, j in plan:
            a, b = values[i], values[j]
            made = {
                "+": lambda a, b: a - 0.5 * b,
                "*": lambda a, b: a * b,
                "s": lambda a, b: mg.sin(a) + b,
                "m": lambda a, b: mg.dot([a, b, a], [b, 0.25, b]),
                "w": lambda a, b: mg.where(a > 0.1, mg.tanh(b), a * a),
            }[name]
            values.append(made(a, b))
        return values[-1]

    x = [random.uniform(-1, 1) for _ in range(4)]
    hessian = np.array(mg.hessian(f)(x))
    scale = abs(hessian).max() + 1e-300
    assert abs(hessian - hessian.T).max() <= 1e-12 * scale
    columns = [mg.grad(lambda x, k=k: mg.grad(f)(x)[k])(x) for k in range(4)]
    assert abs(hessian - np.array(columns)).max() <= 1e-12 * scale


# --- errors ----------------------------------------------------------------------------------------------------------


def test_what_is_refused_says_what_it_was_and_what_to_do() -> None:
    for name in ("grad", "value_and_grad", "jacobian", "hessian"):
        make = getattr(mg, name)
        with pytest.raises(TypeError, match=rf"{name}\(\) takes a function, got 3.0 of type float"):
            make(3.0)
        with pytest.raises(TypeError, match=rf"write mg.compile\(mg.{name}\(fn\)\) in place of mg.{name}\(mg.compile"):
            make(mg.compile(mg.sin))
        with pytest.raises(IndexError, match=rf"^{name}: argnums=1 asks for argument 1, but the function got 1$"):
            make(mg.sin, argnums=1)(0.5)
        with pytest.raises(
            IndexError, match=rf"^{name}: argnums=0 .*, but the function got 0 by position and x by name: "
        ):
            make(lambda x: x * x)(x=0.5)
        with pytest.raises(ValueError, match=rf"^{name}\(argnums=\(\)\): give at least one position"):
            make(mg.sin, argnums=())(0.5)
        with pytest.raises(ValueError, match=r"argnums=\(0, -1\)\) asks for the same argument twice"):
            make(mg.sin, argnums=(0, -1))(0.5)
        with pytest.raises(TypeError, match=r"argnums='x'\): argnums is a position from 0 on, or a tuple of them"):
            make(mg.sin, argnums="x")(0.5)
        with pytest.raises(TypeError, match="with respect to numbers and Values, got 'a' of type str"):
            make(mg.sin)("a")
    for make in (mg.grad, mg.value_and_grad, mg.hessian):
        with pytest.raises(
            TypeError, match=r"only one scalar has a gradient, and the function returned a list: .*mg.jac"
        ):
            make(lambda x: [x, x])(0.5)
        with pytest.raises(TypeError, match="the function returned a NoneType"):
            make(lambda x: None)(0.5)
    with pytest.raises(
        TypeError, match=r"jacobian\(.*\): the function must return numbers and Values.*got None of type"
    ):
        mg.jacobian(lambda x: [x, None])(0.5)


@pytest.mark.parametrize("name", ["jvp", "hvp"])
def test_what_products_refuse(name: str) -> None:
    product = getattr(mg, name)
    with pytest.raises(TypeError, match=rf"{name}\(\) takes a function, got 'f' of type str"):
        product("f", 1.0, 1.0)
    with pytest.raises(TypeError, match=r"in place of mg"):
        product(mg.compile(mg.sin), 1.0, 1.0)
    with pytest.raises(ValueError, match=f"{name}: 2 arguments in primals, but 1 in tangents: one for each"):
        product(lambda a, b: a * b, (1.0, 2.0), (1.0,))
    with pytest.raises(
        ValueError,
        match=r"the tangent of argument 1 must be nested as the argument is: a list of 2, got an array of sha",
    ):
        product(lambda a, b: a * b[0], (1.0, [2.0, 3.0]), (1.0, np.ones(3)))
    with pytest.raises(ValueError, match="the argument is: one number, got a list of 1"):
        product(mg.sin, 1.0, [1.0])
    with pytest.raises(ValueError, match=r"as the argument is: a list of 2 at \[1\], got a list of 1"):
        product(lambda a: a[0] * a[1][0], ([1.0, [2.0, 3.0]],), ([1.0, [2.0]],))
    with pytest.raises(TypeError, match=f"{name}: a tangent is a number or a Value, got 'a' of type str"):
        product(mg.sin, 1.0, "a")
    with pytest.raises(TypeError, match="with respect to numbers and Values, got 'a' of type str"):
        product(mg.sin, "a", 1.0)
    with pytest.raises(TypeError):
        product(lambda x: None, 1.0, 1.0)
