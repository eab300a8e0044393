"""Running a function on fresh leaves: arguments and results of every kind, and refused ones."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.gradients import calls
from macrograd.graph import topological


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


def test_what_is_refused_says_what_it_was_and_what_to_do() -> None:
    for name in ("grad", "value_and_grad", "jacobian", "hessian"):
        make = getattr(mg, name)
        with pytest.raises(TypeError, match=rf"{name}\(\) takes a function, got 3.0 of type float"):
            make(3.0)
        with pytest.raises(TypeError, match=rf"write mg.compile\(mg.{name}\(fn\)\) instead of mg.{name}\(mg.compile"):
            make(mg.compile(mg.sin))
        with pytest.raises(
            IndexError, match=rf"^{name}: argnums=1 asks for argument 1, counted from 0, but .* 1 argument$"
        ):
            make(mg.sin, argnums=1)(0.5)
        with pytest.raises(
            IndexError, match=rf"^{name}: argnums=0 .*, but the function got 0 arguments by position and x by name: "
        ):
            make(lambda x: x * x)(x=0.5)
        with pytest.raises(ValueError, match=rf"^{name}\(argnums=\(\)\): give at least one position"):
            make(mg.sin, argnums=())(0.5)
        with pytest.raises(ValueError, match=r"argnums=\(0, -1\)\) asks for the same argument twice"):
            make(mg.sin, argnums=(0, -1))(0.5)
        with pytest.raises(
            TypeError, match=r"argnums='x'\): argnums must be a non-negative integer, or a tuple of them"
        ):
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


@pytest.mark.parametrize(
    "derived",
    [
        lambda x: mg.grad(lambda x: mg.sin(x) * x)(x),
        lambda x: mg.jacobian(lambda x: [mg.sin(x) * x])(x)[0],
        lambda x: mg.hessian(lambda x: mg.sin(x) * x)(x),
        lambda x: mg.hvp(lambda x: mg.sin(x) * x, x, x),
        lambda x: mg.jvp(lambda x: mg.sin(x) * x, x, 0.5)[1],
    ],
    ids=["grad", "jacobian", "hessian", "hvp", "jvp"],
)
def test_a_derivative_in_a_recorded_program_does_not_walk_through_what_came_before(
    derived: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    w, lengths = Value(0.1), list[int]()

    def counted(*roots: Any, **given: Any) -> list[Any]:
        found = topological(*roots, **given)
        lengths.append(len(found))
        return found

    def steps(x: Any) -> Any:
        for _ in range(40):
            x = x + w * derived(x) + w * x  # w was there before; so was the x of the step before
        return x

    monkeypatch.setattr(calls, "topological", counted)
    found = mg.compile(steps)(0.3)
    each = len(lengths) // 40
    assert lengths[each : 2 * each] == lengths[-each:]  # the first step also makes the constants
    assert found == pytest.approx(steps(0.3).data, rel=1e-12)
