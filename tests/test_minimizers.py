"""`mg.minimize`: SciPy's optimisers on scalar programs."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.minimizers import METHODS, SUPPORTED

pytest.importorskip("scipy", reason="mg.minimize is an extra")


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MACROGRAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def rosenbrock(x: Any) -> Any:
    return mg.sum(100.0 * (x[i] - x[i - 1] ** 2) ** 2 + (1.0 - x[i - 1]) ** 2 for i in range(1, len(x)))


def bowl(x: Any) -> Any:
    """Convex, as dogleg needs it; 0 at x = 1."""
    pairs = mg.sum((x[i] - x[i - 1]) ** 2 for i in range(1, len(x)))
    return pairs + mg.sum(mg.exp(v - 1.0) - v for v in x)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_bottom(method: str) -> None:
    found = mg.minimize(bowl, [0.2, 2.0, -1.0], method=method)
    assert found.success, found.message
    np.testing.assert_allclose(found.x, 1.0, atol=2e-3)
    assert 0.0 <= found.fun + 1e-12 < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_a_quadratic_whose_hessian_is_constant(method: str) -> None:
    found = mg.minimize(lambda x: mg.sum((v - 1) * (v - 1) for v in x), [0.0, 3.0], method)
    assert found.success, found.message
    np.testing.assert_allclose(found.x, 1.0, atol=2e-3)


@pytest.mark.parametrize("method", ["L-BFGS-B", "Newton-CG"])
def test_a_narrow_valley_of_many_variables(method: str) -> None:
    found = mg.minimize(rosenbrock, np.linspace(0.5, 1.5, 40), method=method)
    assert found.success, found.message
    np.testing.assert_allclose(found.x, 1.0, atol=1e-2)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (2, 1, 2)])
@pytest.mark.parametrize("method", ["L-BFGS-B", "Newton-CG", "trust-exact", "Nelder-Mead"])
def test_x_has_the_shape_of_x0(shape: tuple[int, ...], method: str) -> None:
    def distance(x: Any) -> Any:
        flat = [x]
        for _ in shape:
            flat = [item for row in flat for item in row]
        return mg.sum((v - k) ** 2 for k, v in enumerate(flat))

    x0 = np.full(shape, 0.5)
    found = mg.minimize(distance, x0, method=method, tol=1e-9)
    assert found.x.shape == shape
    np.testing.assert_allclose(found.x.ravel(), np.arange(found.x.size), atol=1e-6)
    assert (x0 == 0.5).all(), "x0 was written to"


def test_nested_lists_and_whole_numbers_are_a_start() -> None:
    found = mg.minimize(lambda m: (m[0][0] - 1) ** 2 + (m[1][0] + m[0][0]) ** 2, [[3], [4]])
    np.testing.assert_allclose(found.x, [[1.0], [-1.0]], atol=1e-6)


def test_a_fit_in_one_line() -> None:
    t = np.linspace(0, 3, 30)
    y = 2.5 * np.exp(-1.3 * t) + 0.5
    found = mg.minimize(
        lambda p: mg.sum((p[0] * mg.exp(-p[1] * a) + p[2] - b) ** 2 for a, b in zip(t, y, strict=True)),
        [1.0, 1.0, 0.0],
        method="trust-ncg",
        gtol=1e-10,
    )
    np.testing.assert_allclose(found.x, [2.5, 1.3, 0.5], rtol=1e-8)


def test_values_that_are_closed_over_stay() -> None:
    target = Value(3.0)
    assert mg.minimize(lambda x: (x - target) ** 2, 0.0).x == pytest.approx(3.0)
    assert (target.data, target.grad) == (3.0, 0.0)


def test_options_reach_scipy() -> None:
    seen: list[Any] = []
    found = mg.minimize(
        rosenbrock, [-1.0, 2.0], bounds=[(None, 0.5), (None, None)], callback=lambda x: seen.append(x.copy()), tol=1e-12
    )
    np.testing.assert_allclose(found.x, [0.5, 0.25], atol=1e-6)
    assert len(seen) == found.nit
    assert mg.minimize(rosenbrock, [-1.0, 2.0], maxiter=3).nit == 3
    assert mg.minimize(rosenbrock, [-1.0, 2.0], options={"maxiter": 2}).nit == 2
    constraint = {"type": "eq", "fun": lambda x: x[0] + x[1] - 1.0}
    assert sum(mg.minimize(rosenbrock, [0.2, 0.3], "slsqp", constraints=constraint).x) == pytest.approx(1.0)


def test_the_derivatives_are_exact_and_the_products_are_used() -> None:
    found = mg.minimize(rosenbrock, [-1.2, 1.0], method="newton-cg", xtol=1e-10)
    assert found.nhev > 0
    # With exact derivatives Newton's method ends on the spot; differences of gradients would miss by 1e-8.
    np.testing.assert_allclose(found.x, 1.0, atol=1e-10)


@pytest.mark.parametrize(
    ("x0", "error", "message"),
    [
        ([], ValueError, r"x0 is empty \(shape \(0,\)\): give at least one number to start from"),
        ([1.0, float("nan")], ValueError, "x0 holds nan at 1: all its numbers must be finite"),
        ([[1.0], [float("inf")]], ValueError, r"x0 holds inf at \(1, 0\)"),
        (float("inf"), ValueError, "x0 holds inf: all its numbers must"),
        ([[1.0], [1.0, 2.0]], ValueError, "x0 is ragged: its rows must all have the same length"),
        (["a"], TypeError, r"x0 must hold real numbers, got \['a'\]"),
        ([Value(1.0)], TypeError, "x0 must hold real numbers, got"),
    ],
)
def test_a_start_that_is_none(x0: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mg.minimize(rosenbrock, x0)


def test_what_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r"method='LBFGS'.*one of 'Nelder-Mead', .*; did you mean 'L-BFGS-B'\?"):
        mg.minimize(rosenbrock, [1.0, 2.0], method="LBFGS")
    with pytest.raises(ValueError, match=r"method=3\): method must be one of 'Nelder-Mead'"):
        mg.minimize(rosenbrock, [1.0, 2.0], method=3)
    with pytest.raises(TypeError, match=r"minimize\(\) takes a function, got 3.0 of type float"):
        mg.minimize(3.0, [1.0])
    with pytest.raises(TypeError, match=r"minimize\(\) compiles the function itself: pass fn, not mg.compile\(fn\)"):
        mg.minimize(mg.compile(rosenbrock), [1.0, 2.0])
    for method in ("L-BFGS-B", "Nelder-Mead"):
        with pytest.raises(TypeError, match=r"only one scalar|returns one number"):
            mg.minimize(lambda x: [x[0], x[0]], [1.0], method=method)
    with pytest.raises(mg.TraceError, match="a branch on a traced value"):
        mg.minimize(lambda x: x[0] if x[0] > 0 else -x[0], [1.0])


BOX = [(0.0, 1.0), (0.0, 1.0)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"jac": True},
            TypeError,
            "minimize() does not accept jac: it is derived from fn, which is compiled and differentiated",
        ),
        ({"options": {"hess": 3}}, TypeError, "minimize() does not accept hess: it is derived from fn"),
        (
            {"args": (1,)},
            TypeError,
            "minimize() does not accept args: fn must be a function of x alone, as in lambda x: fn(x, 2.0)",
        ),
        ({"options": 3}, TypeError, "minimize(options=3): options must be a dict, such as {'maxiter': 100}"),
        ({"tol": "x"}, ValueError, "minimize(tol='x'): tol must be a non-negative number"),
        ({"tol": float("nan")}, ValueError, "minimize(tol=nan): tol must be a non-negative number"),
        ({"maxiter": "a"}, ValueError, "minimize(maxiter='a'): maxiter must be a non-negative number"),
        ({"maxfun": -1}, ValueError, "minimize(maxfun=-1): maxfun must be a non-negative number"),
        ({"callback": 3}, TypeError, "minimize(callback=3): callback must be a function"),
        (
            {"maxitr": 3},
            TypeError,
            "L-BFGS-B has no option maxitr; scipy.optimize.show_options('minimize', 'L-BFGS-B')",
        ),
        ({"options": {"maxitr": 3}}, TypeError, "L-BFGS-B has no option maxitr"),
        ({"method": "bfgs", "bounds": BOX}, ValueError, "BFGS does not support bounds; Nelder-Mead, Powell, COBYLA"),
        (
            {"constraints": {"type": "eq"}},
            ValueError,
            "L-BFGS-B does not support constraints; COBYLA, COBYQA, SLSQP, trust",
        ),
        (
            {"method": "SLSQP", "constraints": 3},
            TypeError,
            "minimize(constraints=3): constraints must be a dict or a SciPy",
        ),
        (
            {"bounds": 3},
            TypeError,
            "minimize(bounds=3): bounds must be a pair (low, high) for each number of x, with None",
        ),
        ({"bounds": [("a", 1), (0, 1)]}, TypeError, "bounds must be a pair (low, high) for each number of x"),
        ({"bounds": [(0, 1)]}, ValueError, "bounds has length 1 but x has length 2: give a pair for each number"),
        (
            {"bounds": [(0, 1), (2, 0)]},
            ValueError,
            "bounds[1] is (2.0, 0.0): the lower bound must not exceed the upper",
        ),
    ],
)
def test_options_that_are_none(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        mg.minimize(rosenbrock, [0.5, 0.5], **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_methods_support_bounds_and_constraints_as_scipy_says(method: str) -> None:
    from scipy.optimize import minimize

    constraint = {"type": "ineq", "fun": lambda x: 3.0 - x[0]}
    given: dict[str, Any] = {"bounds": [(-9.0, 9.0)], "constraints": [constraint]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        minimize(lambda x: (x @ x, 2.0 * x), [2.0], method=method, jac=True, hess=lambda x: 2.0 * np.eye(1), **given)
    said = " ".join(str(warning.message) for warning in caught)
    for key, methods in SUPPORTED.items():
        assert (f"cannot handle {key}" in said) == (method not in methods)


def test_bounds_of_scipys_own_kind() -> None:
    from scipy.optimize import Bounds

    found = mg.minimize(rosenbrock, [-1.0, 0.2], bounds=Bounds(-2.0, [0.5, 2.0]))
    np.testing.assert_allclose(found.x, [0.5, 0.25], atol=1e-5)
    with pytest.raises(ValueError, match=r"bounds\[1\] is \(2.0, 1.0\): the lower bound must not exceed the upper"):
        mg.minimize(rosenbrock, [-1.0, 0.2], bounds=Bounds([0.0, 2.0], 1.0))


def test_without_scipy_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['scipy'] = None\n"
        "import macrograd as mg\n"
        "try: mg.minimize(lambda x: x * x, 1.0)\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("mg.minimize needs SciPy, which could not be imported (")
    assert done.stdout.strip().endswith(
        '): pip install "macrograd[minimize]", or in a clone of the repository pip install ".[minimize]"'
    )


@pytest.mark.parametrize("method", ["Nelder-Mead", "L-BFGS-B"])
def test_a_start_where_the_function_is_nan(method: str) -> None:
    with pytest.raises(ValueError, match=r"NaN at x0 = \[-1.0\].*choose an x0 where fn is defined"):
        mg.minimize(lambda x: mg.log(x[0]), [-1.0], method=method)


def test_least_squares_has_the_compiled_jacobian() -> None:
    t = [0.1 * k for k in range(12)]
    y = (2.0 * np.exp(-3.0 * np.array(t))).tolist()

    def residuals(p):
        return {"all": [p[0] * mg.exp(-p[1] * x) - z for x, z in zip(t, y, strict=True)]}

    found = mg.least_squares(residuals, [1.0, 1.0], method="lm")
    assert np.allclose(found.x, [2.0, 3.0])
    assert found.jac.shape == (12, 2)
    assert found.cost < 1e-20
    for options, kind, match in (
        ({"jac": "2-point"}, TypeError, "does not accept jac"),
        ({"method": "none"}, ValueError, "method"),
    ):
        with pytest.raises(kind, match=match):
            mg.least_squares(residuals, [1.0, 1.0], **options)
    with pytest.raises(ValueError, match=r"least_squares\(\): x0 is empty"):
        mg.least_squares(residuals, [])
    with pytest.raises(ValueError, match="a residual is NaN at x0"):
        mg.least_squares(lambda p: [mg.log(p[0])], [-1.0])
    with pytest.raises(TypeError, match="pass a function"):
        mg.least_squares(mg.compile(residuals), [1.0, 1.0])
