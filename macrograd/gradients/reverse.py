"""`grad` and `value_and_grad`: one reverse sweep gives the derivatives with respect to all arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from macrograd.gradients.calls import Derived, call, check_function, nested, one_scalar, positions
from macrograd.value import Value


def value_and_grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., tuple[Any, Any]]:
    """A function that returns fn's value and its gradient with respect to the arguments at `argnums`.

    fn must return one scalar. An argument is a number, a Value, or a nested list, tuple, dict or array of them; its
    gradient has the same nesting (arrays become lists). If `argnums` is a sequence, the gradients are a tuple. The
    results are plain numbers if fn used only numbers, else Values (or traced values), which can be differentiated
    again.

    Raises TypeError if fn is not a function or does not return one scalar, IndexError if there is no such argument, and
    ValueError if `argnums` is empty or names an argument twice.

    Source: reverse accumulation; Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, §3.2.
    """
    check_function("value_and_grad", fn)
    return Derived("value_and_grad", fn, _value_and_gradient, argnums)


def grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that returns fn's gradient with respect to the arguments at `argnums`; see `value_and_grad`."""
    check_function("grad", fn)
    return Derived("grad", fn, _gradient, argnums)


def _gradient(fn: Callable[..., Any], argnums: int | Sequence[int], args: tuple[Any, ...], kwargs: Any) -> Any:
    return _both("grad", fn, argnums, args, kwargs)[1]


def _value_and_gradient(
    fn: Callable[..., Any], argnums: int | Sequence[int], args: tuple[Any, ...], kwargs: Any
) -> tuple[Any, Any]:
    return _both("value_and_grad", fn, argnums, args, kwargs)


def _both(
    name: str, fn: Callable[..., Any], argnums: int | Sequence[int], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    wanted = positions(name, argnums, len(args), kwargs)
    found = call(fn, args, kwargs, wanted)
    result = one_scalar(name, fn, found)
    gradients = found.gradients(result)
    found.close()

    def derivative(x: Value) -> Any:
        return found.out(gradients.get(x, 0.0))

    each = tuple([nested(x, derivative) for x in found.arguments])
    return found.out(result), each[0] if isinstance(argnums, int) else each
