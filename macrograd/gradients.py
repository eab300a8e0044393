"""`grad` and `value_and_grad`: from a function of scalars to the function of its derivatives.

They work eagerly on floats and (nested) lists, inside `macrograd.compile`, and on each other: the derivative is
computed by the op table's rules on the graph itself, so it is a graph that can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from macrograd.graph import sweep, topological
from macrograd.value import Value, constant


def value_and_grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., tuple[Any, Any]]:
    """The function that returns fn's value and its gradient with respect to the arguments at `argnums`.

    fn must return one scalar. An argument is a number, a Value, or a nested list, tuple or array of them; its gradient
    has the same nesting (arrays become lists). With `argnums` a sequence, the gradients are a tuple. Numbers in give
    numbers out; Values (or traced values) in give Values out, which can be differentiated again.

    Raises TypeError if fn does not return one scalar, and IndexError if there is no such argument.
    """
    wanted = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        given = list(args)
        leaves: list[Value] = []
        for k in wanted:
            if not -len(args) <= k < len(args):
                raise IndexError(f"argnums={argnums} asks for argument {k}, but the function got {len(args)}")
            given[k] = _map(args[k], lambda x: _leaf(x, leaves))
        plain = not any(_is_graph(x) for x in args)
        result = fn(*given, **kwargs)
        if not isinstance(result, Value) and constant(result) is None:
            raise TypeError(f"only one scalar has a gradient, and the function returned a {type(result).__name__}")
        gradients = sweep(topological(result), result) if isinstance(result, Value) else {}
        number = _number if plain else _same

        def derivative(x: Value) -> Any:
            return number(gradients.get(x, 0.0))

        found = tuple(_map(given[k], derivative) for k in wanted)
        return number(result), found[0] if isinstance(argnums, int) else found

    value_and_gradient.__name__ = f"value_and_grad({getattr(fn, '__name__', 'fn')})"
    return value_and_gradient


def grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The function that returns fn's gradient with respect to the arguments at `argnums`; see `value_and_grad`."""
    both = value_and_grad(fn, argnums)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    gradient.__name__ = f"grad({getattr(fn, '__name__', 'fn')})"
    return gradient


def _map(x: Any, function: Callable[[Any], Any]) -> Any:
    """The nesting of x with every scalar replaced; arrays become lists."""
    if isinstance(x, tuple):
        return tuple(_map(item, function) for item in x)
    if isinstance(x, list) or getattr(x, "shape", ()):
        return [_map(item, function) for item in x]
    return function(x)


def _leaf(x: Any, leaves: list[Value]) -> Value:
    """The scalar as something to differentiate with respect to: itself if it is part of a graph, a new Value if not."""
    if isinstance(x, Value):
        return x
    if constant(x) is None:
        raise TypeError(f"a gradient is taken with respect to numbers and Values, got {x!r} of type {type(x).__name__}")
    leaf = Value(float(x))
    leaves.append(leaf)
    return leaf


def _is_graph(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(_is_graph(item) for item in x)
    return isinstance(x, Value)


def _number(x: Any) -> float:
    return x.data if isinstance(x, Value) else float(x)


def _same(x: Any) -> Any:
    return x
