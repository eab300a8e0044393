"""What a traced function must not do: an error with the line and the remedy, and nothing is left behind."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import TraceError, Value
from tests.compiler.test_bad_input import W

# --- what a traced function must not do ---------------------------------------------------------------------


def branch(x: Any) -> Any:
    if x > 0:
        return x * W
    return -x


def loop_while(x: Any) -> Any:
    while x < 10:
        x = x * 2
    return x


def as_float(x: Any) -> Any:
    return W * float(x)


def as_int(x: Any) -> Any:
    return W * int(x)


def as_bool(x: Any) -> Any:
    return W if bool(x) else -W


def as_index(x: Any) -> Any:
    return [W, -W][x]


def largest(x: Any) -> Any:
    return max(x, W)


def smallest(x: Any) -> Any:
    return min([x, W, x * 2])


def in_order(x: Any) -> Any:
    return sorted([x, -x])[0]


def by_math(x: Any) -> Any:
    return W * math.exp(x)


def rounded(x: Any) -> Any:
    return W * round(x)


def formatted(x: Any) -> Any:
    return W * float(f"{x:.2f}")


def the_number(x: Any) -> Any:
    return W * x.data


def the_gradient(x: Any) -> Any:
    return W * x.grad


def both(x: Any) -> Any:
    return x and W


def negated(x: Any) -> Any:
    return W if not x else -W


def equal_to_number(x: Any) -> Any:
    return W if x == 1.0 else -W


def chained(x: Any) -> Any:
    return W if 0 < x < 1 else -W


REFUSED: dict[Callable[..., Any], tuple[int, str]] = {
    branch: (1, "a branch on a traced value (if, while, and, or, not, max, min, sorted)"),
    loop_while: (1, "a branch on a traced value"),
    as_float: (1, "float() of a traced value"),
    as_int: (1, "int() of a traced value"),
    as_bool: (1, "a branch on a traced value"),
    as_index: (1, "a traced value as an index (mg.take) or a count (mg.loop)"),
    largest: (1, "a branch on a traced value"),
    smallest: (1, "a branch on a traced value"),
    in_order: (1, "a branch on a traced value"),
    by_math: (1, "float() of a traced value"),
    rounded: (1, "round() of a traced value"),
    formatted: (1, "a traced value was formatted with '.2f'"),
    the_number: (1, "the number of a traced value (.data) was asked for"),
    the_gradient: (1, "the gradient of a traced value (.grad) was asked for"),
    both: (1, "a branch on a traced value"),
    negated: (1, "a branch on a traced value"),
    equal_to_number: (1, "a traced value was compared with == or !="),
    chained: (1, "a branch on a traced value"),
}


@pytest.mark.parametrize("fn", REFUSED, ids=lambda f: f.__name__)
@pytest.mark.parametrize("batch", [False, True])
def test_looking_at_a_number_is_refused_with_the_line(fn: Callable[..., Any], batch: bool) -> None:
    line, said = REFUSED[fn]
    f = mg.compile(fn, batch=batch)
    with pytest.raises(TraceError) as error:
        f(np.array([0.5]) if batch else 0.5)
    text = str(error.value)
    assert text.startswith(said)
    assert f"{__file__}:{inspect.getsourcelines(fn)[1] + line} in {fn.__name__}" in text
    remedies = ("mg.grad", "mg.value_and_grad") if fn is the_gradient else ("mg.where(condition, a, b)", "mg.maximum")
    assert all(remedy in text for remedy in remedies)
    counts = fn in (as_int, as_index)
    assert ("In place of `range(count)` write\n    state = mg.loop(count, body, state, most=100)" in text) == counts
    assert f"while {fn.__name__} was traced with argument 'x' of shape ()" in error.value.__notes__[0]


def test_numpys_functions_are_refused() -> None:
    for fn in (lambda x: np.exp(x), lambda x: np.maximum(x, 0.0), lambda x: np.sin(W) * x):
        with pytest.raises(TraceError) as error:
            mg.compile(fn)(1.0)
        assert str(error.value).startswith("a NumPy function was called on a Value while the function is traced: ")
        assert str(error.value).endswith("use mg.exp, mg.tanh … instead of math's and NumPy's")


@pytest.mark.parametrize(
    ("fn", "x", "said"),
    [
        (lambda x: x[0], 1.0, "a Value is one number and has no element [0]: give a list or an array to a function"),
        (
            lambda x: x[0] * [1.0],
            [1.0, 2.0],
            "a Value is one number and has no arithmetic with a list of 1: loop over",
        ),
        (lambda x: sum(x), 1.0, "a Value is one number and cannot be unpacked or looped over: give a list or an array"),
        (lambda x: x.shape, [1.0, 2.0], "'Vector' object has no attribute 'shape'"),
        (lambda x: x[5], [1.0, 2.0], "index 5 is out of range for a Vector of length 2"),
        (lambda x: x // 2, 1.0, "// is not supported on Value: it is not differentiable; apply it to plain numbers"),
    ],
)
def test_arguments_of_another_shape_than_the_function_thinks(fn: Callable[..., Any], x: Any, said: str) -> None:
    with pytest.raises((TypeError, AttributeError, IndexError)) as error:
        mg.compile(fn)(x)
    assert str(error.value).startswith(said)
    history, arguments = error.value.__notes__
    assert history == f"while <lambda> was traced with argument 'x' of shape {np.shape(x)}"
    assert arguments == "an argument of shape () is one value, and one of another shape (nested) Vectors of values"


def test_the_line_is_the_callers_also_through_this_package() -> None:
    def fn(x: Any) -> Any:
        return mg.take([W, W], float(x))

    with pytest.raises(TraceError, match=r"test_refusals\.py:\d+ in fn"):
        mg.compile(fn)(1.0)


def test_traced_values_print_and_compare_by_identity() -> None:
    seen: list[str] = []

    def fn(x: Any) -> Any:
        y = mg.exp(x)
        seen.extend([repr(x), str(y)])
        assert x == x
        assert x != y
        assert x in [y, x]
        return x * y

    mg.compile(fn)(1.0)
    assert seen == ["Traced(input)", "Traced(of exp)"]


def test_a_value_kept_from_another_trace_is_refused() -> None:
    kept: list[Any] = []

    def fn(x: Any) -> Any:
        kept.append(x)
        return x + kept[0]

    f = mg.compile(fn)
    f(1.0)
    again = mg.compile(fn)
    with pytest.raises(TraceError, match="a traced value of another trace was used: keep none between calls"):
        again(1.0)


def test_after_an_error_all_is_as_before() -> None:
    with pytest.raises(TraceError):
        mg.compile(branch)(1.0)
    fresh = Value(3.0)
    f = mg.compile(lambda x: x * fresh)
    assert f(2.0) == 6.0
    assert f.parameters == [fresh]
