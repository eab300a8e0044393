"""`jacobian` and `hessian`: against PyTorch and complex steps, and in how few sweeps."""

from __future__ import annotations

import cmath
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known import EACH, FUNCTIONS, HOW, rosenbrock

import macrograd as mg


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
