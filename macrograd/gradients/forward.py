"""`jvp` and `hvp`: one forward sweep through the graph gives the derivatives of all results in one direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from macrograd.gradients.calls import call, check_function, checked_results, nested, one_scalar
from macrograd.rules import ahead
from macrograd.value import Value, constant
from macrograd.vector import Vector


def jvp(fn: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """fn's value at the arguments `primals` and its derivative in the direction `tangents`, the Jacobian-vector
    product, in one sweep.

    `primals` is a tuple of fn's arguments and `tangents` a tuple with the same nesting; anything but a tuple is taken
    as the only argument. fn may return numbers and Values in any nesting; both results have that nesting. They are
    plain numbers if only numbers went in.

    Raises TypeError if fn is not a function or its arguments or results are not numeric, and ValueError if primals and
    tangents differ in nesting.

    Source: forward accumulation; Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, §3.1.
    """
    check_function("jvp", fn)
    args, directions = _pair("jvp", primals, tangents)
    found = call(fn, args, {}, range(len(args)))
    checked_results("jvp", fn, found)
    found.numbers = found.numbers and not any(isinstance(t, Value) for t in directions)
    known = ahead(found.order, dict(zip(found.leaves, directions, strict=True)), found.numbers)
    found.close()

    def tangent(x: Any) -> Any:
        return found.out(known.get(x, 0.0) if isinstance(x, Value) else 0.0)

    return nested(found.result, found.out), nested(found.result, tangent)


def hvp(fn: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """The product of fn's Hessian at the arguments `primals` and the vector `tangents`, with the arguments' nesting.

    fn must return one scalar. `primals` is a tuple of fn's arguments and `tangents` a tuple with the same nesting;
    anything but a tuple is taken as the only argument. For one argument the result is its product; for several it is a
    tuple, the product of the Hessian with respect to all arguments together. The results are plain numbers if only
    numbers went in.

    This is forward over reverse mode. It applies each rule as often as reverse over reverse would, but accumulates
    nothing for values that are used twice, and its memory does not grow; reverse over reverse is never cheaper.

    Raises TypeError if fn is not a function or does not return one scalar, and ValueError if primals and tangents
    differ in nesting.

    Source: Pearlmutter, *Fast exact multiplication by the Hessian*, Neural Computation 6, 1994.
    """
    check_function("hvp", fn)
    args, directions = _pair("hvp", primals, tangents)
    found = call(fn, args, {}, range(len(args)))
    result = one_scalar("hvp", fn, found)
    found.numbers = found.numbers and not any(isinstance(t, Value) for t in directions)
    slopes = found.slopes(result)
    order = found.order_of(slopes)
    known = ahead(order, dict(zip(found.leaves, directions, strict=True)), found.numbers)
    found.close()
    products = {
        leaf: known.get(slope, 0.0) if isinstance(slope, Value) else 0.0
        for leaf, slope in zip(found.leaves, slopes, strict=True)
    }
    each = tuple([nested(x, lambda leaf: found.out(products[leaf])) for x in found.arguments])
    return each[0] if len(each) == 1 else each


def _pair(name: str, primals: Any, tangents: Any) -> tuple[tuple[Any, ...], list[Any]]:
    """The arguments, and the scalars of their tangents. Raises ValueError if their nesting differs."""
    args = primals if isinstance(primals, tuple) else (primals,)
    along = tangents if isinstance(tangents, tuple) else (tangents,)
    directions: list[Any] = []

    def scalar(x: Any) -> Any:
        if constant(x) is None:
            raise TypeError(f"{name}: a tangent must be a number or a Value, got {x!r} of type {type(x).__name__}")
        directions.append(x if isinstance(x, Value) else float(x))
        return None

    shape = nested(along, scalar)
    wanted = nested(args, lambda x: None)
    if shape != wanted:
        if len(args) != len(along):
            raise ValueError(
                f"{name}: {len(args)} arguments in primals but {len(along)} in tangents: give one for each argument"
            )
        k = next(k for k in range(len(args)) if shape[k] != wanted[k])
        place, a, b = _apart(args[k], along[k])
        raise ValueError(
            f"{name}: the tangent of argument {k} must have the same nesting as the argument: "
            f"{_described(a)}{place}, got {_described(b)}"
        )
    return args, directions


def _apart(a: Any, b: Any) -> tuple[str, Any, Any]:
    """The first place, as text, at which two nestings differ, and the item there in each."""
    place = ""
    while isinstance(a, (list, tuple, Vector)) and type(a) is type(b) and len(a) == len(b):
        shapes = ([nested(item, lambda x: None) for item in side] for side in (a, b))
        k = next((k for k, (x, y) in enumerate(zip(*shapes, strict=True)) if x != y), None)
        if k is None:
            break
        place, a, b = f"{place}[{k}]", a[k], b[k]
    return f" at {place}" if place else "", a, b


def _described(x: Any) -> str:
    """The nesting of an argument in a few words."""
    if getattr(x, "shape", ()):
        return f"an array of shape {tuple(x.shape)}"
    if isinstance(x, (list, tuple, dict, Vector)):
        return f"a {type(x).__name__} of {len(x)}"
    return "one number"
