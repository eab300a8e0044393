"""Arrays of computed values that loops read by the round number: where one element is not like the others, a program
told from a few rounds would read the wrong ones behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler.trace.rounds import Rounds
from macrograd.compiler.trace.trace import trace

N = 150
Y = np.cos(np.arange(N) * 1.7) + 0.1
P = [Value(float(p)) for p in np.sin(np.arange(N) * 0.7)]
Arrays = dict[str, Callable[[list[Any]], list[Any]]]


def sums(ys: list[Any]) -> list[Any]:
    found = [ys[0] * 0.5]
    for y in ys[1:]:
        found.append(found[-1] * 0.9 + y)
    return found


EVEN: Arrays = {
    "one formula": lambda ys: [mg.maximum(y, 0.5 * y) for y in ys],
    "two formulas in turn": lambda ys: [mg.tanh(y) if k % 2 else mg.sin(y) for k, y in enumerate(ys)],
    "parameters": lambda ys: [p * y for p, y in zip(P, ys, strict=True)],
    "sums of all before": sums,
    "constants": lambda ys: [y * (0.37 * k + 0.1) for k, y in enumerate(ys)],
    "backwards": lambda ys: [mg.tanh(y) for y in ys[::-1]],
}
UNEVEN: Arrays = {
    "a function": lambda ys: [mg.sin(y) if k == 75 else mg.tanh(y) for k, y in enumerate(ys)],
    "an operand": lambda ys: [mg.tanh(ys[3 if k == 75 else k]) for k in range(N)],
    "a parameter": lambda ys: [P[5 if k == 75 else k] * y for k, y in enumerate(ys)],
    "an exponent": lambda ys: [(y * y + 1.0) ** (2.0 if k == 75 else 1.7) for k, y in enumerate(ys)],
    "a number": lambda ys: [3.0 if k == 75 else mg.tanh(y) for k, y in enumerate(ys)],
    "an argument": lambda ys: [y if k == 75 else mg.tanh(y) for k, y in enumerate(ys)],
    "the same twice": lambda ys: [mg.tanh(y) for y in [*ys[:75], ys[74], *ys[75 : N - 1]]],
    "arguments in another order": lambda ys: [*ys[:75], *ys[80:], *ys[75:80]],
    "halves": lambda ys: [mg.sin(y) if k < 75 else mg.tanh(y) for k, y in enumerate(ys)],
}
USES: dict[str, Callable[[list[Any], Any], list[Any]]] = {
    "alone": lambda a, s: [s],
    "all": lambda a, s: [mg.mean([x * s for x in a])],
    "one": lambda a, s: [mg.mean([x * s for x in a]), a[75]],
    "some": lambda a, s: [s + mg.sum([x * x for x in a[:100]])],
    "all but one": lambda a, s: [s * mg.sum(a[:75]) + mg.sum(a[76:])],
    "results with another between": lambda a, s: [*a[:100], s, *a[100:]],
}


def function(array: Callable[[list[Any]], list[Any]], use: str) -> Callable[[Any], Any]:
    def fn(ys: Any) -> Any:
        a = array(list(ys))
        return USES[use](a, mg.loop(N - 1, lambda i, s: mg.tanh(0.5 * s + mg.take(a, i)), 0.1))

    return fn


def check(array: Callable[[list[Any]], list[Any]], use: str) -> None:
    fn = function(array, use)
    expected = [getattr(x, "data", x) for x in fn([Value(y) for y in Y.tolist()])]
    np.testing.assert_allclose(mg.compile(fn, backend="numpy")(Y), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", UNEVEN)
def test_an_element_unlike_the_others_is_read_where_it_is(name: str) -> None:
    check(UNEVEN[name], "all")
    ys = [Value(y) for y in Y.tolist()]
    for p in P:
        p.grad = 0.0
    function(UNEVEN[name], "alone")(ys)[0].backward()
    slopes = [p.grad for p in P]
    for p in P:
        p.grad = 0.0
    mg.compile(lambda y: function(UNEVEN[name], "alone")(y)[0], backend="numpy").backward(Y)
    np.testing.assert_allclose([p.grad for p in P], slopes, rtol=1e-8, atol=1e-12)
    found = mg.compile(mg.grad(lambda y: function(UNEVEN[name], "all")(y)[0]), backend="numpy")(Y)
    function(UNEVEN[name], "all")(ys := [Value(y) for y in Y.tolist()])[0].backward()
    np.testing.assert_allclose(found, [y.grad for y in ys], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("use", USES)
def test_an_element_used_unlike_the_others_is_read_where_it_is(use: str) -> None:
    check(EVEN["one formula"], use)


@pytest.mark.parametrize("name", EVEN)
def test_even_arrays_need_no_writing_out(name: str) -> None:
    check(EVEN[name], "all")
    rounds = Rounds(16, frozenset())
    for use in ("alone", "all"):
        trace(function(EVEN[name], use), [(N,)], rounds=rounds)  # raises Unrolled if the array is not even
        assert rounds.counts == {N - 1}


def unevenly_used(ys: Any) -> list[Any]:
    """Parameters that the function uses in another order before a loop reads them."""
    return [p * q for p, q in zip(P, P[50:], strict=False)]


PLACES: dict[str, tuple[Callable[[Any], list[Any]], Callable[[Any], list[Any]]]] = {
    "all but one used before": (lambda ys: [p * p for k, p in enumerate(P) if k != 75], lambda ys: P),
    "some used before": (lambda ys: [p * p for p in P[:60]], lambda ys: P),
    "used before in another order": (unevenly_used, lambda ys: P[::-1]),
    "products with what was used before": (unevenly_used, lambda ys: [p * y for p, y in zip(P, ys, strict=True)]),
    "parameters, then numbers": (unevenly_used, lambda ys: [*P[:60], *[0.3] * (N - 60)]),
    "numbers, then parameters": (lambda ys: [P[0]], lambda ys: [*[0.3] * 60, *P[60:]]),
    "numbers after a parameter": (lambda ys: [P[0]], lambda ys: [P[0], *[0.3] * 60, *[0.7] * (N - 61)]),
    "Values of the function": (lambda ys: [P[0]], lambda ys: [Value(0.3 if k < 60 else 0.7) for k in range(N)]),
}


@pytest.mark.parametrize("name", PLACES)
def test_parameters_are_read_where_the_function_first_used_them(name: str) -> None:
    before, array = PLACES[name]

    def fn(ys: Any) -> Any:
        total, read = mg.sum(before(ys)), array(ys)
        return total * mg.loop(100, lambda i, s: mg.tanh(0.5 * s + mg.take(read, i)), 0.1)

    for p in P:
        p.grad = 0.0
    result = fn([Value(y) for y in Y.tolist()])
    result.backward()
    f = mg.compile(fn, backend="numpy")
    assert f(Y) == pytest.approx(result.data, rel=1e-12)
    mean, gradient = f.value_and_grad(f.theta(), Y)
    assert mean == pytest.approx(result.data, rel=1e-12)
    np.testing.assert_allclose(gradient, [p.grad for p in f.parameters], rtol=1e-9, atol=1e-15)
