"""`minimize`: SciPy's optimisers on a scalar program, with its compiled value, gradient and Hessian products."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler import compile as compiled
from macrograd.compiler.compiled import Compiled
from macrograd.gradients import hessian, hvp, value_and_grad

# What each of SciPy's methods can use. None for a method that asks for values alone.
_METHODS: dict[str, str | None] = {
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
# Arguments of scipy.optimize.minimize; every other option is the method's own.
_OF_SCIPY = ("bounds", "constraints", "tol", "callback")
_DERIVED = ("fun", "jac", "hess", "hessp")  # arguments that are made of fn
# The methods that heed these; SciPy's others warn, and go on without them.
_HEEDED = {
    "bounds": ("Nelder-Mead", "Powell", "COBYLA", "COBYQA", "L-BFGS-B", "TNC", "SLSQP", "trust-constr"),
    "constraints": ("COBYLA", "COBYQA", "SLSQP", "trust-constr"),
}


def minimize(fn: Callable[..., Any], x0: Any, method: str = "L-BFGS-B", **options: Any) -> Any:
    """Find the x where the scalar `fn(x)` is smallest, from `x0` on, by SciPy's optimiser `method`.

    fn      takes x nested as x0 (lists of traced values) and returns one scalar. It is compiled, with its gradient and,
            for the methods that use them, the products of its Hessian with vectors or the Hessian
    x0      one number, or an array or nested list of them, where the search begins
    method  "Nelder-Mead", "Powell", "COBYLA", "COBYQA" use the values; "CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP" the
            gradient too; "Newton-CG", "trust-ncg", "trust-krylov", "trust-constr" Hessian products; "dogleg" and
            "trust-exact" the Hessian
    options `bounds`, `constraints`, `tol` and `callback` as `scipy.optimize.minimize` takes them, on x as a flat array;
            all others are the method's own, such as maxiter=100

    Returns SciPy's `OptimizeResult`: `x` in the shape of x0, `fun`, `success`, `message`, the counts of calls and more.
    Values that fn closes over stay as they are.

    Raises ImportError without SciPy (an extra: pip install "macrograd[minimize]"), ValueError for an unknown method,
    for options out of their range or that the method does not heed, and for an x0 that is empty, ragged or not finite
    or where fn is NaN, TypeError for an x0 without numbers and for options of a wrong type or that the method does not
    have, and what `macrograd.compile` raises if fn cannot be traced.
    """
    try:
        import scipy.optimize
    except ImportError as error:
        raise ImportError(
            f"mg.minimize uses SciPy's optimisers, and SciPy does not load here ({error}): "
            'pip install "macrograd[minimize]"'
        ) from error
    if not callable(fn):
        raise TypeError(f"minimize() takes a function, got {fn!r} of type {type(fn).__name__}")
    if isinstance(fn, Compiled):
        raise TypeError("minimize() compiles the function itself: give it fn and not mg.compile(fn)")
    name = _method(method)
    start = _start(x0)
    shape = start.shape
    uses = _METHODS[name]
    options = _flat(options)
    _check_options(name, options, start.size)
    further: dict[str, Any] = {key: options.pop(key) for key in _OF_SCIPY if key in options}

    function: Any
    if uses is None:
        values = compiled(fn)

        def function(x: NDArray[Any]) -> float:
            value = values(x.reshape(shape))
            if np.shape(value):
                raise TypeError(f"minimize() takes a function that returns one number, got shape {np.shape(value)}")
            return float(value)

    else:
        both = compiled(value_and_grad(fn))

        def function(x: NDArray[Any]) -> tuple[float, NDArray[Any]]:
            value, gradient = both(x.reshape(shape))
            return float(value), np.ravel(gradient)

        further["jac"] = True
    if uses == "product":
        product = compiled(lambda x, v: hvp(fn, x, v))
        further["hessp"] = lambda x, v: np.ravel(product(x.reshape(shape), np.reshape(v, shape)))
    elif uses == "hessian":
        matrix = compiled(hessian(fn))
        further["hess"] = lambda x: np.reshape(matrix(x.reshape(shape)), (x.size, x.size))

    first = function(start.ravel())
    if any(np.isnan(number).any() for number in (first if isinstance(first, tuple) else (first,))):
        raise ValueError(
            f"minimize(): fn or its gradient is NaN at x0 = {start.tolist()}, and no method knows where to go from "
            "there: begin where fn is defined"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Unknown solver options", scipy.optimize.OptimizeWarning)
        try:
            found = scipy.optimize.minimize(function, start.ravel(), method=name, options=options, **further)
        except scipy.optimize.OptimizeWarning as error:
            unknown = str(error).rpartition(": ")[2]
            remedy = f"scipy.optimize.show_options('minimize', {name!r}) tells its options"
            raise TypeError(f"minimize(): {name} has no option {unknown}; {remedy}") from None
    found.x = np.reshape(found.x, shape)
    return found


def _method(method: Any) -> str:
    """SciPy's spelling of a method; ValueError with the nearest names for an unknown one."""
    known = {name.lower(): name for name in _METHODS}
    if isinstance(method, str) and method.lower() in known:
        return known[method.lower()]
    letters = {name.replace("-", ""): spelt for name, spelt in known.items()}
    near = difflib.get_close_matches(str(method).lower().replace("-", "").replace("_", ""), letters, n=1)
    hint = f"; did you mean {letters[near[0]]!r}?" if near else ""
    raise ValueError(f"minimize(method={method!r}): method is one of {', '.join(map(repr, _METHODS))}{hint}")


def _flat(options: dict[str, Any]) -> dict[str, Any]:
    """The options, with those that were given as SciPy's own `options` among them."""
    own = options.pop("options", {})
    if not isinstance(own, dict):
        raise TypeError(f"minimize(options={own!r}): options is a dict, such as {{'maxiter': 100}}")
    return {**own, **options}


def _check_options(method: str, options: dict[str, Any], size: int) -> None:
    """Raise for what SciPy would ignore, or fail on without a word about where it came from."""
    for key in _DERIVED:
        if key in options:
            raise TypeError(f"minimize() takes no {key}: it is made of fn, which is compiled and differentiated")
    if "args" in options:
        raise TypeError("minimize() takes no args: fn is a function of x alone, as in lambda x: fn(x, 2.0)")
    for key in ("tol", "maxiter", "maxfev", "maxfun"):
        number = options.get(key)
        if number is not None and not (isinstance(number, Real) and float(number) >= 0):
            raise ValueError(f"minimize({key}={number!r}): {key} is a number of 0 or more")
    if not (options.get("callback") is None or callable(options["callback"])):
        raise TypeError(f"minimize(callback={options['callback']!r}): callback is a function")
    for key, methods in _HEEDED.items():
        given = options.get(key)
        none = given is None or (isinstance(given, (list, tuple)) and not given)
        if not none and method not in methods:
            raise ValueError(f"minimize(): {method} does not heed {key}; {', '.join(methods)} do")
    constraints = options.get("constraints", ())
    if not isinstance(constraints, (dict, list, tuple)) and not hasattr(constraints, "lb"):
        what = "a dict or a constraint object of SciPy's, or a list of them"
        raise TypeError(f"minimize(constraints={constraints!r}): constraints is {what}")
    if options.get("bounds") is not None:
        _check_bounds(options["bounds"], size)


def _check_bounds(bounds: Any, size: int) -> None:
    """Raise TypeError for bounds that are no pairs of numbers, ValueError if they are too few, too many, or empty."""
    if hasattr(bounds, "lb"):  # SciPy's own kind, in which one number may stand for all
        ends = np.broadcast_arrays(bounds.lb, bounds.ub, np.empty(size))[:2]
        bounds = np.stack(ends, axis=1)
    try:
        pairs = [
            (-np.inf if low is None else float(low), np.inf if high is None else float(high)) for low, high in bounds
        ]
    except (TypeError, ValueError):
        what = "a pair (low, high) for each number of x, with None where there is no limit"
        raise TypeError(f"minimize(bounds={bounds!r}): bounds is {what}") from None
    if len(pairs) != size:
        raise ValueError(
            f"minimize(): bounds has length {len(pairs)} and x has length {size}: give a pair for each number"
        )
    for k, (low, high) in enumerate(pairs):
        if not low <= high:
            raise ValueError(f"minimize(): bounds[{k}] is ({low}, {high}): the first must not be above the second")


def _start(x0: Any) -> NDArray[np.float64]:
    """x0 as an array of its own, checked."""
    try:
        array = np.asarray(x0)
    except ValueError:
        raise ValueError("minimize(): x0 is ragged: its rows must all have the same length") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"minimize(): x0 must hold real numbers, got {x0!r}")
    if not array.size:
        raise ValueError(f"minimize(): x0 is empty (shape {array.shape}): give at least one number to start from")
    if not np.isfinite(array).all():
        at = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        where = f" at {at[0] if len(at) == 1 else at}" if at else ""
        raise ValueError(f"minimize(): x0 holds {array[at]}{where}: the search must start at finite numbers")
    return array.astype(np.float64)
