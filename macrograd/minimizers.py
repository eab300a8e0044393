"""`minimize`: SciPy's optimisers on a scalar program, with its compiled value, gradient and Hessian products."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable
from functools import wraps
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._extras import installing
from macrograd._numbers import check_unmasked
from macrograd.compiler import compile as compiled
from macrograd.compiler.compiled import Compiled
from macrograd.gradients import hessian, hvp, jacobian, value_and_grad
from macrograd.nesting import nest_of
from macrograd.vector import vector

# The derivatives that each of SciPy's methods uses; None for a method that uses only values.
METHODS: dict[str, str | None] = {
    "Nelder-Mead": None,
    "Powell": None,
    "COBYLA": None,
    "COBYQA": None,
    "CG": "gradient",
    "BFGS": "gradient",
    "L-BFGS-B": "gradient",
    "TNC": "gradient",
    "SLSQP": "gradient",
    "Newton-CG": "product",
    "trust-ncg": "product",
    "trust-krylov": "product",
    "trust-constr": "product",
    "dogleg": "hessian",
    "trust-exact": "hessian",
}
# Arguments of scipy.optimize.minimize; all other options belong to the method.
_OF_SCIPY = ("bounds", "constraints", "tol", "callback")
_DERIVED = ("fun", "jac", "hess", "hessp")  # arguments that are derived from fn
# The methods that support these; SciPy's others warn and ignore them.
SUPPORTED = {
    "bounds": ("Nelder-Mead", "Powell", "COBYLA", "COBYQA", "L-BFGS-B", "TNC", "SLSQP", "trust-constr"),
    "constraints": ("COBYLA", "COBYQA", "SLSQP", "trust-constr"),
}


def minimize(fn: Callable[..., Any], x0: Any, method: str = "L-BFGS-B", **options: Any) -> Any:
    """Minimise the scalar `fn(x)`, starting from `x0`, with SciPy's optimiser `method`.

    fn      takes x with the nesting of x0 (lists of traced values) and returns one scalar. It is compiled together with
            its gradient and, for methods that use them, its Hessian-vector products or its Hessian
    x0      the starting point: a number, or an array or nested list of numbers
    method  "Nelder-Mead", "Powell", "COBYLA", "COBYQA" use only values; "CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP" also
            the gradient; "Newton-CG", "trust-ncg", "trust-krylov", "trust-constr" also Hessian-vector products;
            "dogleg" and "trust-exact" also the Hessian
    options `bounds`, `constraints`, `tol` and `callback` as for `scipy.optimize.minimize`, on x as a flat array; all
            others are passed to the method, such as maxiter=100

    Returns SciPy's `OptimizeResult`: `x` in the shape of x0, `fun`, `success`, `message`, call counts and more.
    Values that fn closes over are not changed.

    Raises ImportError without SciPy (an extra: pip install "macrograd[minimize]"); ValueError for an unknown method,
    for options that are out of range or not supported by the method, for an x0 that is empty, ragged or not finite, and
    if fn is NaN at x0; TypeError for an x0 that is not numeric and for options that are unknown or of the wrong type;
    and the errors of `macrograd.compile` if fn cannot be traced.
    """
    try:
        import scipy.optimize
    except ImportError as error:
        raise ImportError(
            f"mg.minimize needs SciPy, which could not be imported ({error}): {installing('minimize')}"
        ) from error
    if not callable(fn):
        raise TypeError(f"minimize() takes a function, got {fn!r} of type {type(fn).__name__}")
    if isinstance(fn, Compiled):
        raise TypeError("minimize() compiles the function itself: pass fn, not mg.compile(fn)")
    name = _method(method)
    start = _start(x0)
    options = _flat(options)
    _check_options(name, options, start.size)
    further: dict[str, Any] = {key: options.pop(key) for key in _OF_SCIPY if key in options}
    function, derivatives = _functions(fn, METHODS[name], start.shape)
    further |= derivatives

    first = function(start.ravel())
    if any(np.isnan(number).any() for number in (first if isinstance(first, tuple) else (first,))):
        raise ValueError(
            f"minimize(): fn or its gradient is NaN at x0 = {start.tolist()}, so no method can start there: "
            "choose an x0 where fn is defined"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Unknown solver options", scipy.optimize.OptimizeWarning)
        try:
            found = scipy.optimize.minimize(function, start.ravel(), method=name, options=options, **further)
        except scipy.optimize.OptimizeWarning as error:
            unknown = str(error).rpartition(": ")[2]
            remedy = f"scipy.optimize.show_options('minimize', {name!r}) lists its options"
            raise TypeError(f"minimize(): {name} has no option {unknown}; {remedy}") from None
    found.x = np.reshape(found.x, start.shape)
    return found


def _functions(fn: Callable[..., Any], uses: str | None, shape: tuple[int, ...]) -> tuple[Any, dict[str, Any]]:
    """The function of a flat array that SciPy minimises, and the arguments for the derivatives that a method uses."""
    if uses is None:
        values = compiled(fn)

        def value_alone(x: NDArray[Any]) -> float:
            value = values(x.reshape(shape))
            if np.shape(value):
                raise TypeError(f"minimize() needs a function that returns one number, got shape {np.shape(value)}")
            return float(value)

        return value_alone, {}
    both = compiled(value_and_grad(fn))

    def value_and_gradient(x: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        value, gradient = both(x.reshape(shape))
        return float(value), np.ravel(gradient)

    further: dict[str, Any] = {"jac": True}
    if uses == "product":
        product = compiled(lambda x, v: hvp(fn, x, v))
        further["hessp"] = lambda x, v: np.ravel(product(x.reshape(shape), np.reshape(v, shape)))
    elif uses == "hessian":
        matrix = compiled(hessian(fn))
        further["hess"] = lambda x: np.reshape(matrix(x.reshape(shape)), (x.size, x.size))
    return value_and_gradient, further


def least_squares(fn: Callable[..., Any], x0: Any, **options: Any) -> Any:
    """Minimise half the sum of the squares of the residuals `fn(x)`, starting from `x0`, with SciPy's least squares.

    fn       takes x with the nesting of x0 and returns the residuals, in any nesting. It is compiled together with its
             Jacobian, which takes as few sweeps as its pattern allows
    x0       the starting point: a number, or an array or nested list of numbers
    options  as for `scipy.optimize.least_squares`: method="lm" (Levenberg–Marquardt), "trf" or "dogbox", bounds, loss,
             xtol, max_nfev and the others, on x as a flat array

    Returns SciPy's `OptimizeResult`: `x` in the shape of x0, `cost`, `fun`, `jac`, `success`, `message` and more.
    Values that fn closes over are not changed.

    Raises ImportError without SciPy (an extra: pip install "macrograd[minimize]"); ValueError for an x0 that is empty,
    ragged or not finite, if a residual is NaN at x0, and what SciPy raises for its options; TypeError for an x0 that is
    not numeric and for options that fn decides; and the errors of `macrograd.compile` if fn cannot be traced.
    """
    try:
        import scipy.optimize
    except ImportError as error:
        raise ImportError(
            f"mg.least_squares needs SciPy, which could not be imported ({error}): {installing('minimize')}"
        ) from error
    if not callable(fn) or isinstance(fn, Compiled):
        raise TypeError(f"least_squares() compiles the function itself: pass a function, got {fn!r}")
    for key in ("jac", "jac_sparsity", "args", "kwargs"):
        if key in options:
            raise TypeError(
                f"least_squares() does not accept {key}: fn is a function of x alone, and its Jacobian is derived"
            )
    start = _start(x0, "least_squares")
    shape = start.shape
    both = compiled(_residuals_and_jacobian(fn))
    last: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None = None  # an x, and the residuals and Jacobian there

    def at(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """A Jacobian is wanted wherever a step is accepted, and one program is ready in half the time of two."""
        nonlocal last
        if last is None or not np.array_equal(x, last[0]):
            values, slopes = both(x.reshape(shape))
            last = x.copy(), np.ravel(values), np.reshape(slopes, (-1, x.size))
        return last[1], last[2]

    def residuals(x: NDArray[Any]) -> NDArray[Any]:
        return at(x)[0].copy()  # SciPy scales them in place

    def matrix(x: NDArray[Any]) -> NDArray[Any]:
        return at(x)[1].copy()

    if np.isnan(residuals(start.ravel())).any():
        raise ValueError(
            f"least_squares(): a residual is NaN at x0 = {start.tolist()}: choose an x0 where fn is defined"
        )
    found = scipy.optimize.least_squares(residuals, start.ravel(), jac=matrix, **options)
    found.x = np.reshape(found.x, shape)
    return found


def _residuals_and_jacobian(fn: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, Any]]:
    """A function of x that returns both."""

    @wraps(fn, updated=())
    def both(x: Any) -> tuple[Any, Any]:
        found: list[Any] = []

        def residuals(x: Any) -> Any:
            found.append(vector(_numbers(fn(x))))
            return found[0]

        slopes = jacobian(residuals)(x)
        return found[0], slopes

    return both


def _numbers(found: Any) -> list[Any]:
    """The residuals in order."""
    return nest_of(found)[1]


def _method(method: Any) -> str:
    """The method as SciPy spells it; ValueError with the closest match for an unknown one."""
    known = {name.lower(): name for name in METHODS}
    if isinstance(method, str) and method.lower() in known:
        return known[method.lower()]
    letters = {name.replace("-", ""): spelt for name, spelt in known.items()}
    near = difflib.get_close_matches(str(method).lower().replace("-", "").replace("_", ""), letters, n=1)
    hint = f"; did you mean {letters[near[0]]!r}?" if near else ""
    raise ValueError(f"minimize(method={method!r}): method must be one of {', '.join(map(repr, METHODS))}{hint}")


def _flat(options: dict[str, Any]) -> dict[str, Any]:
    """The options, merged with those given in SciPy's `options` dict."""
    own = options.pop("options", {})
    if not isinstance(own, dict):
        raise TypeError(f"minimize(options={own!r}): options must be a dict, such as {{'maxiter': 100}}")
    return {**own, **options}


def _check_options(method: str, options: dict[str, Any], size: int) -> None:
    """Raise for options that SciPy would ignore, or fail on with an unhelpful message."""
    for key in _DERIVED:
        if key in options:
            raise TypeError(
                f"minimize() does not accept {key}: it is derived from fn, which is compiled and differentiated"
            )
    if "args" in options:
        raise TypeError("minimize() does not accept args: fn must be a function of x alone, as in lambda x: fn(x, 2.0)")
    for key in ("tol", "maxiter", "maxfev", "maxfun"):
        number = options.get(key)
        if number is not None and not (isinstance(number, Real) and float(number) >= 0):
            raise ValueError(f"minimize({key}={number!r}): {key} must be a non-negative number")
    if not (options.get("callback") is None or callable(options["callback"])):
        raise TypeError(f"minimize(callback={options['callback']!r}): callback must be a function")
    for key, methods in SUPPORTED.items():
        given = options.get(key)
        none = given is None or (isinstance(given, (list, tuple)) and not given)
        if not none and method not in methods:
            raise ValueError(f"minimize(): {method} does not support {key}; {', '.join(methods)} do")
    constraints = options.get("constraints", ())
    if not isinstance(constraints, (dict, list, tuple)) and not hasattr(constraints, "lb"):
        what = "a dict or a SciPy constraint object, or a list of them"
        raise TypeError(f"minimize(constraints={constraints!r}): constraints must be {what}")
    if options.get("bounds") is not None:
        _check_bounds(options["bounds"], size)


def _check_bounds(bounds: Any, size: int) -> None:
    """Raise TypeError if bounds are not pairs of numbers, ValueError for the wrong number of pairs or low > high."""
    if hasattr(bounds, "lb"):  # scipy.optimize.Bounds, where one number may stand for all
        ends = np.broadcast_arrays(bounds.lb, bounds.ub, np.empty(size))[:2]
        bounds = np.stack(ends, axis=1)
    try:
        pairs = [
            (-np.inf if low is None else float(low), np.inf if high is None else float(high)) for low, high in bounds
        ]
    except (TypeError, ValueError):
        what = "a pair (low, high) for each number of x, with None where there is no limit"
        raise TypeError(f"minimize(bounds={bounds!r}): bounds must be {what}") from None
    if len(pairs) != size:
        raise ValueError(
            f"minimize(): bounds has length {len(pairs)} but x has length {size}: give a pair for each number"
        )
    for k, (low, high) in enumerate(pairs):
        if not low <= high:
            raise ValueError(f"minimize(): bounds[{k}] is ({low}, {high}): the lower bound must not exceed the upper")


def _start(x0: Any, name: str = "minimize") -> NDArray[np.float64]:
    """A checked copy of x0 as a float64 array."""
    check_unmasked(f"{name}(): x0", x0)
    try:
        array = np.asarray(x0)
    except ValueError:
        raise ValueError(f"{name}(): x0 is ragged: its rows must all have the same length") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}(): x0 must hold real numbers, got {x0!r}")
    if not array.size:
        raise ValueError(f"{name}(): x0 is empty (shape {array.shape}): give at least one number to start from")
    if not np.isfinite(array).all():
        at = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        where = f" at {at[0] if len(at) == 1 else at}" if at else ""
        raise ValueError(f"{name}(): x0 holds {array[at]}{where}: all its numbers must be finite")
    return array.astype(np.float64)
