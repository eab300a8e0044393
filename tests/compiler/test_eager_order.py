"""The order of the eager engine: operands first, and comparisons read copies, which its walk does not visit."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.trace.eager_order import as_eager_walks
from macrograd.compiler.trace.sections import Section
from macrograd.graph import topological


def test_without_comparisons_it_is_the_walk_of_backward() -> None:
    x, y = Value(2.0), Value(3.0)
    out = x * y + y * x - x
    assert as_eager_walks([out], []) == topological(out)


def test_a_comparison_reads_copies_of_what_the_walk_meets_later() -> None:
    x, y = Value(2.0), Value(3.0)
    a = x * y
    test = ops.less(a, 5.0)
    choice = ops.where(test, x, y)
    out = choice * a
    order = as_eager_walks([out], [test])
    assert [node for node in order if node in {x, y, a, choice, out}] == [x, y, choice, a, out]  # as without the test
    assert test not in order
    copy = choice.inputs[0]
    assert copy.op is ops.less
    assert copy.inputs[0] is not a
    assert copy.inputs[0].inputs == a.inputs
    assert a in out.inputs
    place = {node: k for k, node in enumerate(order)}
    for node in order:
        assert all(place[x] < place[node] for x in node.inputs if x.inputs)


def test_what_the_walk_has_met_is_read_without_a_copy() -> None:
    x = Value(2.0)
    a = x * x
    test = ops.less(a, 5.0)
    choice = ops.where(test, x, 0.5)
    order = as_eager_walks([(a + 1.0) * choice], [test])
    assert choice.inputs[0].inputs[0] is a
    assert order.count(a) == 1


P, Q, R = (Value(x) for x in (0.37, -1.3, 0.71))


def long(s: Any) -> Any:
    for _ in range(20):
        s = mg.sqrt(0.3 + s * s * P) - 0.1 * Q * s
    return s


def wide(s: Any) -> Any:
    for _ in range(20):
        s = mg.relu(s * Q + 0.9) * P / (1.5 + s * s)
    return s


def used_twice(x: Any) -> Any:
    """What comes back unchanged from a branch is used here and there."""
    h = P * Q
    r = mg.cond(x > 0.0, lambda: (h, P), lambda: (0.3 * h, h))
    return 0.7 * r[0] + h * R - r[1] * 0.9 + r[0] * (r[0] + h) + 0.1 * P


def first_met(x: Any) -> Any:
    """The branches meet outer values in another order."""
    u, w = 0.3 * P / (1.7 + Q), 0.9 * P * R
    r = mg.cond(x > 0.0, lambda: u * 1.1 + w * P, lambda: 0.7 * P * w - 0.3 * P * (w - u))
    return r * 0.3 + 0.77 * w + u * P


def by_a_number(x: Any) -> Any:
    """The test is a number of the graph."""
    t = mg.relu(P * x + 0.3 * P * P)
    return mg.cond(t, lambda: P * Q + t, lambda: Q * Q - P * 0.3) * P + 0.7 * t + 0.1 * P


def chosen(x: Any) -> Any:
    h = P * x + Q * R
    return mg.cond(h > 0.0, long, wide, h) * h + h * P


def in_rounds(x: Any) -> Any:
    return mg.loop(6, lambda i, s: mg.cond(s > 0.4, long, wide, s) - 0.3 * s * s, x * P)


def nested(x: Any) -> Any:
    return mg.cond(x > 0.0, lambda: mg.cond(x > 1.0, wide, long, P * x) + wide(Q), lambda: wide(P)) * P


def stops(x: Any) -> Any:
    last = mg.while_loop(lambda s: s < x, lambda s: 0.1 * long(s) + s * P + 1.3, 0.1 * P, most=40)
    return last * P + 0.3 * Q


def none_done(x: Any) -> Any:
    """If no round is done, the first state is used beside the loop."""
    first = P * Q
    last = mg.while_loop(lambda s: s < x, lambda s: 0.1 * long(s) + s * P + 1.3, first, most=40)
    return last * P + first * 0.3 + first * last


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize(
    ("fn", "sections"),
    [
        (used_twice, 0),
        (first_met, 0),
        (by_a_number, 0),
        (chosen, 2),
        (in_rounds, 2),
        (nested, 4),
        (stops, 1),
        (none_done, 0),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_strict_branches_have_the_bits_of_the_eager_engine(fn: Any, sections: int, backend: str) -> None:
    """Also where only the branch taken is computed, as a section, and rounds are left out."""
    f = mg.compile(fn, strict=True, backend=backend)
    for x in (0.8, -0.9, 1.9):
        for p in (P, Q, R):
            p.grad = 0.0
        value = fn(x)
        value.backward()
        expected = [value.data, P.grad, Q.grad, R.grad]
        for p in (P, Q, R):
            p.grad = 0.0
        assert [f.backward(x), P.grad, Q.grad, R.grad] == expected
    made = pipeline.record(fn, [()], strict=True).sections
    assert sections == (0 if made is None else sum(isinstance(x, Section) for x in made.calls.made))


def test_a_loop_whose_sums_rise_with_the_rounds_keeps_the_bits() -> None:
    """The body meets P before its state, so that eagerly the first round contributes first: no section does."""

    def fn(x: Any) -> Any:
        return mg.while_loop(lambda s: s < 5.0, lambda s: long(P) * 0.3 + s * 0.9 + 1.0, x * P, most=60)

    P.grad = Q.grad = 0.0
    value = fn(0.3)
    value.backward()
    expected = [value.data, P.grad, Q.grad]
    P.grad = Q.grad = 0.0
    assert [mg.compile(fn, strict=True, backend="numpy").backward(0.3), P.grad, Q.grad] == expected


def test_a_test_reads_what_it_read_before_choices_were_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is used behind it, too, where it would read Values that are chosen by the test itself."""

    def fn(x: Any) -> Any:
        first = 0.6 * (0.6 * R - 0.7 * P) - 0.7 * (0.6 * Q + 0.7 * Q)
        state = P, first, 0.0
        a, b, _ = mg.while_loop(
            lambda s: s[2] < 2.5,
            lambda s: (0.4 * x + s[0] * P, 0.5 * x / (1.0 + s[1] * s[1]), s[2] + 1.0),
            state,
            most=5,
        )
        h = mg.cond(a * b > 0.05, lambda: first, lambda: mg.where(x > P, x, 0.5 * P))
        return mg.cond(h < P, lambda: h, lambda: P) * 0.94 + a * b

    f = mg.compile(fn, strict=True, backend="numpy")
    random = np.random.default_rng(0)
    for x, *numbers in random.normal(size=(20, 4)).tolist():
        for p, number in zip((P, Q, R), numbers, strict=True):
            monkeypatch.setattr(p, "data", number)
        assert float(f(x)) == fn(x).data


def test_solutions_of_equations_have_the_bits_of_the_eager_engine() -> None:
    """Where the residual is arithmetic: functions are those of Python's `math` eagerly."""

    def fn(x: Any) -> Any:
        return mg.implicit(lambda u: u + 0.1 * P * u * u * u - x * Q, 0.1)

    f = mg.compile(fn, strict=True, backend="numpy")
    for x in (0.3, -0.9, 1.7):
        P.grad = Q.grad = 0.0
        value = fn(x)
        value.backward()
        expected = [value.data, P.grad, Q.grad]
        P.grad = Q.grad = 0.0
        assert [f.backward(x), P.grad, Q.grad] == expected


def taken_twice(p: Any, x: Any, k: Any) -> Any:
    """Eagerly a take is the Value that it takes, which gets the contribution of each use, and not their sum."""
    a, b = p[0] * p[1], p[1] / (1.3 + x * x)
    some = [a, b, p[2], a]
    first = mg.take(some, k)
    second = mg.take([first, 0.3 * first, p[1], p[0], b], 3.0 - k)
    return 0.1 * first + second * second - 0.7 * first * second + 0.3 * a + first / (1.1 + b * b) + 1.3 * mg.sum(some)


def taken_in_rounds(p: Any, x: Any, k: Any) -> Any:
    table = [[0.3 * y, y * x] for y in p]

    def body(i: Any, s: Any) -> Any:
        a, b = mg.take(table, mg.mod(i + k, 3.0))
        return 0.7 * s + a * b * 0.3 - mg.take([s, a, b, p[0]], k) * 0.1 * a

    return mg.loop(3, body, x)


def taken_behind_a_branch(p: Any, x: Any, k: Any) -> Any:
    a = p[0] * p[1]
    chosen = mg.cond(x > 0.1, lambda: (a, mg.take([p[2], a], mg.mod(k, 2.0))), lambda: (mg.take(p, mg.mod(k, 3.0)), a))
    return chosen[0] * a * 0.3 + chosen[1] / (1.2 + chosen[0] * chosen[0]) + 0.77 * a + 0.1 * chosen[0]


def met_on_another_way(p: Any, x: Any, k: Any) -> Any:
    """What the first value is computed from is met behind two choices, and again behind one."""
    inner = [0.5, p[2], p[2], 0.3 * p[0]]
    outer = [p[0], x, p[1], x - x * mg.take(inner, k)]
    last = mg.take(outer, k)
    return mg.take([mg.take(outer, 3.0 - k), last, 0.5 * last, last, 0.3], k) * 1.09 + 0.1 * p[1]


def compared(p: Any, x: Any, k: Any) -> Any:
    """The walk of a derivative inside the function does not visit what is only compared."""
    a = p[0] * p[1]
    b = a * p[2] + 0.3 * p[0]
    chosen = mg.where(b * a > 0.1 * x, p[0] * a, b)
    return (
        0.7 * a * chosen + b / (1.1 + chosen * chosen) + 0.3 * p[0] * b + mg.cond(b > a, lambda: a, lambda: 0.3 * a) * b
    )


def branched(p: Any, x: Any, k: Any) -> Any:
    a, b = 0.3 * p[0] / (1.7 + p[1]), 0.9 * p[0] * p[2]
    first, second = mg.cond(
        x > 0.0, lambda: (a * 1.1 + b * p[0], b), lambda: (0.7 * p[0] * b - 0.3 * p[0] * (b - a), 0.3 * a)
    )
    return first * 0.3 + second * first + 0.77 * b + a * p[0] + 0.1 * second * a


BEHIND = [taken_twice, taken_in_rounds, taken_behind_a_branch, met_on_another_way, compared, branched]


def _points() -> list[tuple[list[float], float, float]]:
    random = np.random.default_rng(5)
    return [(random.normal(size=3).tolist(), float(random.normal()), float(n % 4)) for n in range(12)]


@pytest.mark.parametrize("fn", BEHIND, ids=lambda fn: fn.__name__)
def test_strict_gradients_behind_choices_have_the_bits_of_the_eager_engine(fn: Any) -> None:
    given = [Value(0.5), Value(0.5), Value(0.5)]
    f = mg.compile(lambda x, k: fn(given, x, k), strict=True, backend="numpy")
    for p, x, k in _points():
        for value, number in zip(given, p, strict=True):
            value.data, value.grad = number, 0.0
        result = fn(given, x, k)
        result.backward()
        expected = [result.data, *(value.grad for value in given)]
        for value in given:
            value.grad = 0.0
        assert [f.backward(x, k), *(value.grad for value in given)] == expected


def along(fn: Any) -> Any:
    """The Hessian times a vector."""
    return lambda p, x, k: mg.hvp(lambda q: fn(q, x, k), p, [0.3, -0.7, 1.1])


@pytest.mark.parametrize("derivative", [mg.grad, along, mg.jacobian], ids=lambda d: d.__name__)
@pytest.mark.parametrize("fn", BEHIND, ids=lambda fn: fn.__name__)
def test_strict_derivatives_inside_a_function_have_the_bits_of_the_eager_engine(fn: Any, derivative: Any) -> None:
    f = mg.compile(derivative(fn), strict=True, backend="numpy", batch=True)
    p, x, k = (np.array(x) for x in zip(*_points(), strict=True))
    expected = [derivative(fn)(*point) for point in _points()]
    assert f(p, x, k).tolist() == np.array(expected, dtype=float).tolist()


def test_a_take_behind_another_by_the_same_index_still_checks_it() -> None:
    """What a choice takes is read from where it is, but the index may be out of range."""

    def fn(p: Any, k: Any) -> Any:
        inner = mg.take([p[0], 2.0 * p[1]], k)
        return mg.take([inner, inner * inner, p[0], p[1]], k)

    f = mg.compile(mg.grad(fn), strict=True, backend="numpy")
    assert f([0.5, 0.7], 1.0).tolist() == list(mg.grad(fn)([0.5, 0.7], 1.0))
    with pytest.raises(IndexError, match="index 3"):
        mg.grad(fn)([0.5, 0.7], 3.0)
    with pytest.raises(IndexError, match="index 3"):
        f([0.5, 0.7], 3.0)


def test_a_test_does_not_read_what_is_right_on_another_way_only() -> None:
    """What only one value of a take uses is computed from what the take's index chooses there. A test that reads it,
    too, does so on every way."""

    def fn(x: Any, k: Any) -> Any:
        inner = mg.take([2.0 * P, 3.0 * Q], k) + R
        outer = mg.take([inner * P, Q], k)
        chosen = mg.cond(inner > 1.0, lambda: P, lambda: Q)
        return outer * 0.3 + chosen * Q + first_met(x)

    f = mg.compile(fn, strict=True, backend="numpy")
    for x, k in ((0.5, 0.0), (0.5, 1.0), (-0.5, 0.0), (-0.5, 1.0)):
        for p in (P, Q, R):
            p.grad = 0.0
        value = fn(x, k)
        value.backward()
        expected = [value.data, P.grad, Q.grad, R.grad]
        for p in (P, Q, R):
            p.grad = 0.0
        assert [f.backward(x, k), P.grad, Q.grad, R.grad] == expected


def test_a_result_is_right_on_every_way() -> None:
    """A Value that is a result, and before that one value of a take or of a branch."""

    def fn(x: Any, k: Any) -> Any:
        inner = mg.take([2.0 * P, 3.0 * Q, x], k) ** 3.0
        outer = mg.take([P, inner, Q], k)
        side = mg.where(x > P, inner * R, Q)
        chosen = mg.cond(x > P, lambda: side + inner, lambda: R)
        return [outer, chosen, first_met(x), side, inner]

    f = mg.compile(fn, strict=True, backend="numpy")
    for x in (0.5, -0.5):
        for k in (0.0, 1.0, 2.0):
            assert [float(y) for y in f(x, k)] == [float(getattr(y, "data", y)) for y in fn(x, k)]


def clamped(p: Any, x: Any, k: Any) -> Any:
    """Maximum, minimum, relu and where are operations eagerly, but what they do not take gets no contribution."""
    a, b = p[0] * p[1], 0.3 * x - p[2]
    high, low = mg.maximum(a, b * p[0]), mg.minimum(a * b, 0.3 * p[1])
    chosen = mg.where(high * low < 0.1, a, high)
    return (
        0.7 * a * chosen
        + mg.relu(low + b) * high / (1.1 + a * a)
        + 0.3 * chosen * low
        + 0.1 * mg.dot([a, b], [high, a])
    )


def branches_in_branches(p: Any, x: Any, k: Any) -> Any:
    """Three branches that each hold one."""
    a, b, c = p[0] * x, 0.3 * p[1] / (1.1 + p[0] * p[0]), p[2] + 0.1 * x
    found = 0.3 * a * p[1] + b / (1.3 + a * a) + p[0] * c
    for u, v in ((a, b), (b, c), (c, a)):
        inner = partial(mg.cond, u * v > 0.05, lambda u=u, v=v: u * v, lambda v=v: 0.7 * v)
        found = found + u * mg.cond(u < v, lambda u=u, inner=inner: inner() * u, lambda v=v, inner=inner: v + inner())
    return found


def twice(fn: Any) -> Any:
    """The gradient of the gradient times a vector."""
    return lambda p, x, k: mg.grad(lambda q: mg.dot(mg.grad(fn)(q, x, k), [0.3, -0.7, 1.1]))(p)


TWICE = [taken_behind_a_branch, met_on_another_way, compared, branched, clamped]


@pytest.mark.parametrize("fn", TWICE, ids=lambda fn: fn.__name__)
def test_strict_second_derivatives_behind_choices_have_the_bits_of_the_eager_engine(fn: Any) -> None:
    """Eagerly what a choice does not take gets no contribution, so that the graph of the first derivative depends on
    what the choices take."""
    f = mg.compile(twice(fn), strict=True, backend="numpy", batch=True)
    p, x, k = (np.array(x) for x in zip(*_points(), strict=True))
    expected = [twice(fn)(*point) for point in _points()]
    assert f(p, x, k).tolist() == np.array(expected, dtype=float).tolist()


@pytest.mark.parametrize("fn", [*TWICE, branches_in_branches], ids=lambda fn: fn.__name__)
def test_strict_gradients_of_derivatives_have_the_bits_of_the_eager_engine(fn: Any) -> None:
    given = [Value(0.5), Value(0.5), Value(0.5)]

    def slope(x: Any, k: Any) -> Any:
        return mg.grad(fn, argnums=1)(given, x, k) + 0.1 * given[0]

    f = mg.compile(slope, strict=True, backend="numpy")
    for p, x, k in _points():
        for value, number in zip(given, p, strict=True):
            value.data, value.grad = number, 0.0
        result = slope(x, k)
        result.backward()
        expected = [result.data, *(value.grad for value in given)]
        for value in given:
            value.grad = 0.0
        assert [f.backward(x, k), *(value.grad for value in given)] == expected
