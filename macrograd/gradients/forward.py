"""`jvp` and `hvp`: one sweep ahead through the graph gives the derivatives of all results in one direction.

The op table has rules for the sweep back: what operand k's gradient gains is c_k(g, out, operands), linear in the
result's gradient g, so that its factor is ∂out/∂x_k. The same rules therefore serve the sweep ahead,
d(out) = Σ_k c_k(d(x_k), out, operands), and no formula is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from macrograd import ops
from macrograd.gradients.calls import between, call, check_function, checked_results, nested, one_scalar
from macrograd.graph import sweep
from macrograd.value import Value, constant
from macrograd.vector import Vector


def ahead(order: Iterable[Value], tangents: dict[Value, Any], numbers: bool) -> dict[Value, Any]:
    """Add the tangents of all of `order` to those of the leaves; none for what does not change along them."""
    get = tangents.get
    node: Any
    for node in order:
        op, a, out = node.op, node._a, node
        b: Any = node._b
        if op.arity == 2:
            t, u = get(a), get(b)
            if t is None and u is None:
                continue
            left, right = op.derivative
            x, y = a, b
            if numbers:
                out, x, y = node._data, a._data, b._data
            elif a.op is ops.CONSTANT:  # as a number it costs the rule no operations of its own
                x = a._data
            elif b.op is ops.CONSTANT:
                y = b._data
            first = None if t is None or left is None else left(t, out, x, y)
            second = None if u is None or right is None else right(u, out, x, y)
            found = second if first is None else first if second is None else first + second
        else:
            inputs: Any = node.inputs
            ts = [get(x) for x in inputs]
            if not any(t is not None for t in ts):
                continue
            operands = inputs
            if numbers:
                out, operands = node._data, [x._data for x in inputs]
            found = _of_many(op, ts, out, operands)
        if found is not None:
            tangents[node] = found
    return tangents


def _of_many(op: ops.Op, ts: list[Any], out: Any, operands: Any) -> Any:
    """The tangent of an operation that does not have two operands."""
    if op.arity is not None:
        rules = zip(ts, op.derivative, strict=True)
        flows = [rule(t, out, *operands) for t, rule in rules if t is not None and rule is not None]
        gains = [gain for gain in flows if gain is not None]
        return ops.sum_(*gains) if len(gains) > 1 else gains[0] if gains else None
    # Its one rule gives all contributions at once. To call it for every tangent would take quadratic time, so it is
    # called once, for the factors.
    factors = op.derivative(1.0, out, *operands)
    if op.chooses and not all(factor is None or factor.__class__ is float for factor in factors):
        # In a trace it is open which it takes: it takes among the tangents. Times 0, one not taken might be a NaN.
        return op(operands[0], *[0.0 if t is None else t for t in ts[1:]])
    pairs = [(t, factor) for t, factor in zip(ts, factors, strict=True) if t is not None and factor is not None]
    if all(factor.__class__ is float and factor == 1.0 for _, factor in pairs):
        return ops.sum_(*[t for t, _ in pairs]) if pairs else None
    return ops.dot(*[x for pair in pairs for x in pair])


def jvp(fn: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """fn's value at the arguments `primals`, and its derivative in the direction `tangents`: the product of the
    Jacobian and a vector, in one sweep.

    `primals` is a tuple of fn's arguments and `tangents` a tuple with the same nesting; anything but a tuple stands for
    the one argument that fn takes. fn may return numbers and Values in any nesting; both results have that nesting.
    Numbers come out if nothing but numbers went in.

    Raises TypeError if fn is no function or the results or arguments hold something else, and ValueError if primals and
    tangents differ in their nesting.

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
    """The product of fn's Hessian at the arguments `primals` and the vector `tangents`, nested as the arguments.

    fn must return one scalar. `primals` is a tuple of fn's arguments and `tangents` a tuple with the same nesting;
    anything but a tuple stands for the one argument that fn takes. For one argument the result is its product, for
    several a tuple, of the Hessian by all arguments together. Numbers come out if nothing but numbers went in.

    The sweep ahead runs over the sweep back. It applies each rule as often as a second sweep back would, but adds up
    nothing for what is used twice, and its memory does not grow; a sweep back over the sweep back is never cheaper.

    Raises TypeError if fn is no function or does not return one scalar, and ValueError if primals and tangents differ
    in their nesting.

    Source: Pearlmutter, *Fast exact multiplication by the Hessian*, Neural Computation 6, 1994.
    """
    check_function("hvp", fn)
    args, directions = _pair("hvp", primals, tangents)
    found = call(fn, args, {}, range(len(args)))
    result = one_scalar("hvp", fn, found)
    found.numbers = found.numbers and not any(isinstance(t, Value) for t in directions)
    gradient = sweep(found.order, result, active=found.active) if isinstance(result, Value) else {}
    slopes = [gradient.get(x, 0.0) for x in found.leaves]
    order, _ = between(slopes, found.leaves)
    known = ahead(order, dict(zip(found.leaves, directions, strict=True)), found.numbers)
    found.close()
    products = {
        leaf: known.get(slope, 0.0) if isinstance(slope, Value) else 0.0
        for leaf, slope in zip(found.leaves, slopes, strict=True)
    }
    each = tuple([nested(x, lambda leaf: found.out(products[leaf])) for x in found.arguments])
    return each[0] if len(each) == 1 else each


def _pair(name: str, primals: Any, tangents: Any) -> tuple[tuple[Any, ...], list[Any]]:
    """The arguments, and the scalars of their tangents. Raises ValueError if they are not nested alike."""
    args = primals if isinstance(primals, tuple) else (primals,)
    along = tangents if isinstance(tangents, tuple) else (tangents,)
    directions: list[Any] = []

    def scalar(x: Any) -> Any:
        if constant(x) is None:
            raise TypeError(f"{name}: a tangent is a number or a Value, got {x!r} of type {type(x).__name__}")
        directions.append(x if isinstance(x, Value) else float(x))
        return None

    shape = nested(along, scalar)
    wanted = nested(args, lambda x: None)
    if shape != wanted:
        if len(args) != len(along):
            raise ValueError(f"{name}: {len(args)} arguments in primals, but {len(along)} in tangents: one for each")
        k = next(k for k in range(len(args)) if shape[k] != wanted[k])
        place, a, b = _apart(args[k], along[k])
        raise ValueError(
            f"{name}: the tangent of argument {k} must be nested as the argument is: "
            f"{_described(a)}{place}, got {_described(b)}"
        )
    return args, directions


def _apart(a: Any, b: Any) -> tuple[str, Any, Any]:
    """The first place, as text, at which two nestings differ, and what stands there in each."""
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
