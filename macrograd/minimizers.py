"""`minimize`: SciPy's optimisers on a scalar program, with its compiled value, gradient and Hessian products."""

from __future__ import annotations

import difflib
from collections.abc import Callable
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

    Raises ImportError without SciPy (an extra: pip install "macrograd[minimize]"), ValueError for an unknown method or
    an x0 that is empty, ragged or not finite or where fn is NaN, TypeError for an x0 without numbers, and what
    `macrograd.compile` raises if fn cannot be traced.
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
    further: dict[str, Any] = {key: options.pop(key) for key in _OF_SCIPY if key in options}
    options = {**options.pop("options", {}), **options}

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
    found = scipy.optimize.minimize(function, start.ravel(), method=name, options=options, **further)
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
