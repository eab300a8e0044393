"""`mg.implicit` and `mg.custom`, eager and compiled, against closed forms and differences."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import macrograd as mg

A = mg.Value(2.0)


def root(p: Any) -> Any:
    return mg.implicit(lambda x: x * x * x - p[0] * x - p[1], 2.0)


def largest(p: list[float]) -> float:
    return float(np.roots([1.0, 0.0, -p[0], -p[1]]).real.max())


def test_a_root_has_the_derivatives_of_the_implicit_function_theorem() -> None:
    point = [2.0, 1.0]
    x = largest(point)
    slope = 3 * x * x - point[0]
    first = np.array([x, 1.0]) / slope
    # d²x: differentiate slope · dx = (x, 1) once more.
    second = (np.array([[2 * first[0], first[1]], [first[1], 0.0]]) - 6 * x * np.outer(first, first)) / slope
    assert root(point) == pytest.approx(x, rel=1e-14)
    assert np.allclose(np.array(mg.grad(root)(point)), first, rtol=1e-12)
    assert np.allclose(np.array([list(row) for row in mg.hessian(root)(point)]), second, rtol=1e-10)
    assert mg.compile(root, backend="numpy")(point) == pytest.approx(x, rel=1e-14)
    assert np.allclose(mg.compile(mg.hessian(root), backend="numpy")(point), second, rtol=1e-10)


def test_a_system_is_solved_for_each_sample_and_differentiated_by_parameters() -> None:
    def system(q):
        return mg.implicit(
            lambda v: {"x": v["x"] - v["y"] * A, "y": v["x"] ** 2 + v["y"] ** 2 - q}, {"x": 1.0, "y": 1.0}
        )

    found = mg.compile(system, batch=True, backend="numpy")([5.0, 20.0])
    assert np.allclose(found["x"], [2.0, 4.0])
    assert np.allclose(found["y"], [1.0, 2.0])
    A.grad = 0.0
    system(5.0)["x"].backward()  # x = a √(q / (1 + a²))
    assert A.grad == pytest.approx(np.sqrt(5.0) * 5.0**-1.5, rel=1e-12)


def test_float32_is_solved_to_its_own_rounding() -> None:
    """Newton's steps never get smaller than a rounding, and may go to and fro by one for ever."""

    def fn(a: Any) -> Any:
        return mg.implicit(lambda u: [u[0] + 0.3 * u[1] / (1.0 + u[1] ** 2) - a, u[1] ** 3 + u[1] + u[0]], [0.1, 0.5])

    numbers = np.linspace(-3.0, 3.0, 201)
    x, y = mg.compile(fn, batch=True, dtype="float32", backend="numpy")(numbers).T.astype(float)
    np.testing.assert_allclose(x + 0.3 * y / (1.0 + y**2), numbers, rtol=0, atol=2e-6)
    np.testing.assert_allclose(y**3 + y, -x, rtol=0, atol=2e-6)


def test_what_cannot_be_solved_is_named() -> None:
    def twice(v):
        return [v[0] + v[1], v[0] + v[1]]

    with pytest.raises(
        RuntimeError, match=r"Newton's method for <lambda>\(\) at .*test_solvers.py:\d+ did not converge in 9"
    ):
        mg.implicit(lambda x: x * x + 1.0, 0.7, most=9)
    with pytest.raises(RuntimeError, match=r"Newton's method for .* did not converge in 9 steps: give a guess nearer"):
        mg.compile(lambda c: mg.implicit(lambda x: x * x + c, 0.7, most=9), backend="numpy")(1.0)
    with pytest.raises(
        ValueError, match=r"implicit\(\): the Jacobian of the residual is singular, at .* give another guess"
    ):
        mg.implicit(twice, [1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"implicit\(\): the Jacobian of the residual is singular, at"):
        mg.compile(lambda q: mg.implicit(lambda v: [v[0] + v[1] - q, v[0] + v[1]], [1.0, 2.0]))(1.0)
    with pytest.raises(ValueError, match="returned 2 numbers for 1 unknowns"):
        mg.implicit(lambda x: [x, x], 1.0)
    with pytest.raises(TypeError, match=r"residual\(x\), got 3"):
        mg.implicit(3, 1.0)
    with pytest.raises(ValueError, match=r"guess for <lambda>\(\) at .*test_solvers.py:\d+ holds no numbers: give one"):
        mg.implicit(lambda x: x, [])
    with pytest.raises(TypeError, match=r"guess of implicit\(\) for <lambda>\(\) at .*test_solvers.py:\d+: got 'x'"):
        mg.implicit(lambda x: x, "x")
    with pytest.raises(
        TypeError, match=r"what <lambda>\(\) at .*test_solvers.py:\d+ returned to implicit\(\): got None"
    ):
        mg.implicit(lambda x: None, 1.0)


def test_the_error_of_newton_s_method_shows_the_unknowns_alone() -> None:
    with pytest.raises(RuntimeError, match=r"tolerance=\. It is at -?[\d.]+$"):
        mg.implicit(lambda x: x * x + 1.0, 0.5)
    with pytest.raises(RuntimeError, match=r"tolerance=\. It is at -?[\d.]+, -?[\d.]+$"):
        mg.implicit(lambda x: [x[0] * x[0] + 1.0, x[1] - x[0]], [0.5, 1.0])


@pytest.mark.parametrize("compiled", [False, True])
def test_limits_of_a_solver_are_checked_before_it_begins(compiled: bool) -> None:
    def solve(**limits: Any) -> Any:
        def run(x: Any) -> Any:
            return mg.implicit(lambda v: v * v - x, 1.0, **limits)

        return mg.compile(run, backend="numpy")(4.0) if compiled else run(4.0)

    for tolerance, kind in ((-1.0, ValueError), (0, ValueError), (float("nan"), ValueError), ("a", TypeError)):
        with pytest.raises(kind, match=rf"implicit\(tolerance=…\) takes a number above 0, got {tolerance!r}"):
            solve(tolerance=tolerance)
    for most, kind in ((0, ValueError), (2.5, TypeError), (True, TypeError)):
        with pytest.raises(kind, match=rf"implicit\(most=…\) takes a positive Python integer, got {most!r}"):
            solve(most=most)
    assert solve(tolerance=np.float64(1e-9), most=np.int64(9)) == pytest.approx(2.0, abs=1e-12)


def test_a_derivative_of_ones_own() -> None:
    seen: list[Any] = []

    def slope(x):
        seen.append(x)
        return 3 * x * x

    cube = mg.custom(lambda x: x**3, slope, check=True)
    assert cube(2.0) == 8.0
    assert mg.grad(cube)(2.0) == 12.0
    assert mg.grad(mg.grad(cube))(2.0) == 12.0
    assert len(seen) >= 3
    assert mg.compile(cube, backend="numpy")(2.0) == 8.0
    assert mg.compile(mg.grad(mg.grad(cube)), backend="numpy")(2.0) == 12.0
    both = mg.custom(lambda x, y: x * y[0] * y[1], lambda x, y: (y[0] * y[1], [x * y[1], x * y[0]]))
    assert mg.hessian(lambda p: both(p[0], [p[1], p[1]]))([2.0, 3.0]) == mg.Vector([[0.0, 6.0], [6.0, 4.0]])
    straight = mg.custom(lambda x: mg.where(x > 0, 1.0, -1.0), lambda x: 1.0)  # a step that lets gradients pass
    w = mg.Value(0.3)
    straight(w).backward()
    assert w.grad == 1.0


def cube(x: Any) -> Any:
    """x³."""
    return x * x * x


def slope(x: Any) -> Any:
    return 3.0 * x * x


CUBE = mg.custom(cube, slope)


def test_a_function_with_a_derivative_is_pickled_as_its_two_functions() -> None:
    again = pickle.loads(pickle.dumps(CUBE))  # noqa: S301 - written just now
    for found in (again, copy.deepcopy(CUBE), copy.copy(CUBE), CUBE):
        assert mg.grad(found)(2.0) == 12.0
        assert (found.__name__, found.__doc__, str(inspect.signature(found))) == ("cube", "x³.", "(x: 'Any') -> 'Any'")
    net = mg.nn.MLP(1, [1], activation=CUBE)
    assert pickle.loads(pickle.dumps(net))([2.0]).data == net([2.0]).data  # noqa: S301 - its own
    for made, what in [(mg.custom(cube, lambda x: x), "derivative"), (mg.custom(lambda x: x, slope), "function")]:
        with pytest.raises(TypeError, match=rf"^mg.custom\(.*\) cannot be pickled: its {what} is a lambda \(.*:\d+\)"):
            pickle.dumps(made)

    class Holder:
        method = mg.custom(lambda self, x: x * x, lambda self, x: (self, 2.0 * x))

    with pytest.raises(TypeError, match="Holder"):  # bound as other functions are, and an object is no number
        Holder().method(2.0)


def test_a_wrong_derivative_is_found_out_on_request() -> None:
    wrong = mg.custom(lambda x: x**3, lambda x: 2 * x * x, check=True)
    with pytest.raises(ValueError, match=r"by number 0 .* says 8, and central differences of .* 12, at \[2.0\]"):
        wrong(mg.Value(2.0))
    with pytest.raises(ValueError, match="must return derivatives nested as the arguments"):
        mg.custom(lambda x, y: x * y, lambda x, y: y)(mg.Value(1.0), 2.0)
    for compiled in (False, True):
        many = mg.custom(lambda x: [x, x], lambda x: 1.0)
        with pytest.raises(
            TypeError, match=r"custom\(\): <lambda>\(\) at .*test_solvers.py:\d+ must return one number"
        ):
            mg.compile(many)(1.0) if compiled else many(mg.Value(1.0))
    with pytest.raises(TypeError, match="derivative=None"):
        mg.custom(lambda x: x, None)
