"""Loops that a few rounds do not show: state that comes back late, and reads that meet after many rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg

# --- loops that a few rounds do not show -----------------------------------------------------------------------------

FAR = 130
SERIES = np.random.default_rng(0).normal(size=FAR)
SLOPE, EDGE = mg.Value(0.3), mg.Value(-0.2)


def delay_line(y: Any) -> Any:
    return mg.loop(FAR, lambda i, s: (*s[1:], SLOPE * mg.take(y, i)), (0.0,) * 20)[0]


def seasonal_error(y: Any) -> Any:
    def body(i: Any, state: Any) -> Any:
        total, errors = state
        error = mg.take(y, i) - SLOPE * errors[0]
        return total + error**2, [*errors[1:], error]

    return mg.loop(FAR, body, (0.0, [0.0] * 12))[0]


def heat(y: Any) -> Any:
    def body(i: Any, cells: Any) -> Any:
        u = [EDGE, *cells, 0.0]
        return [u[j] + 0.4 * SLOPE * (u[j - 1] - 2 * u[j] + u[j + 1]) for j in range(1, 13)]

    return mg.loop(FAR, body, [0.0] * 12)[-1] * y[0]


def descent(y: Any) -> Any:
    """The gradient is a sum of two parts where the reads overlap, and is squared."""

    def loss(w: Any) -> Any:
        return mg.loop(110, lambda i, s: s + (mg.take(w, i) - SLOPE * mg.take(w, i + 20)) ** 2, 0.0)

    return mg.sum([g * g for g in mg.grad(loss)([v * 0.5 for v in y])])


def from_both_ends(y: Any) -> Any:
    def loss(w: Any) -> Any:
        return mg.loop(FAR, lambda i, s: s + mg.sin(mg.take(w, i) + SLOPE * mg.take(w, FAR - 1 - i)), 0.0)

    return mg.sum([g * g for g in mg.grad(loss)(list(y))])


def three_reads(y: Any) -> Any:
    """The second and the third read meet, though the first meets only the second."""
    tripled = [*y, *y, *y]

    def loss(w: Any) -> Any:
        def body(i: Any, s: Any) -> Any:
            return s + mg.sin(SLOPE * mg.take(w, i)) + mg.cos(mg.take(w, i + 10)) + mg.take(w, i + FAR + 5) ** 2

        return mg.loop(FAR, body, 0.0)

    return mg.sum([g * g for g in mg.grad(loss)(tripled)])


@pytest.mark.parametrize("f", [delay_line, seasonal_error, heat, descent, from_both_ends, three_reads])
@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_slow_ways_through_the_state_are_seen(f: Any, backend: str) -> None:
    SLOPE.grad = EDGE.grad = 0.0
    expected = f(SERIES.tolist())
    expected.backward()
    gradient = {id(p): p.grad for p in (SLOPE, EDGE)}
    SLOPE.grad = EDGE.grad = 0.0
    compiled = mg.compile(f, backend=backend)
    assert compiled(SERIES) == pytest.approx(expected.data, rel=1e-9)
    compiled.backward(SERIES)
    assert {id(p): p.grad for p in (SLOPE, EDGE)} == pytest.approx(gradient, rel=1e-9)
    SLOPE.grad = EDGE.grad = 0.0


def test_functions_that_differ_after_many_rounds_do_not_share_a_program(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path))
    weights = [mg.Value(x) for x in np.random.default_rng(1).normal(size=200).tolist()]
    for lag in (60, 50):

        def f(x: Any, lag: int = lag) -> Any:
            def body(i: Any, s: Any) -> Any:
                return mg.tanh(s * 0.5 + mg.take(weights, i) * x + mg.take(weights, i + lag))

            return mg.loop(FAR, body, 0.1)

        assert mg.compile(f)(0.3) == pytest.approx(f(0.3).data, rel=1e-9)


def test_lists_are_read_as_they_were_at_the_read() -> None:
    def refilled(x: Any) -> Any:
        w = [1.0] * 100
        first = mg.loop(100, lambda i, s: s + x * mg.take(w, i), 0.0)
        w[:] = [2.0] * 100
        return first + mg.loop(100, lambda i, s: s + x * mg.take(w, i), 0.0)

    def grown(x: Any) -> Any:
        w, total = [0.1 * k for k in range(100)], 0.0
        for _ in range(3):
            total = total + mg.loop(len(w), lambda i, s: s * 0.9 + x * mg.take(w, i), 0.0)
            w.append(0.7)
        return total

    def swapped(x: Any) -> Any:
        def body(i: Any, s: Any) -> Any:
            v = mg.take(s, i)
            s[0], s[2] = s[2], s[0]
            return [v, *s[1:]]

        return mg.loop(3, body, [x, x + 1.0, x * x + 5.0])[0]

    for f in (refilled, grown, swapped):
        assert mg.compile(f)(1.0) == pytest.approx(f(mg.Value(1.0)).data, rel=1e-12)


def test_a_derivative_in_a_body_through_a_read_is_refused() -> None:
    def f(x: Any) -> Any:
        return mg.loop(3, lambda i, s: s + mg.grad(lambda u: mg.take([u, 2.0 * u, 3.0 * u], i))(s), x)

    with pytest.raises(mg.TraceError, match=r"a derivative taken in the body of a loop through mg.take\(\)"):
        mg.compile(f)(1.0)

    def newton(x: Any) -> Any:  # what is read does not depend on what is differentiated
        def body(i: Any, s: Any) -> Any:
            return s - 0.1 * mg.grad(lambda u: (u - mg.take(SERIES, i)) ** 2)(s)

        return mg.loop(FAR, body, x)

    assert mg.compile(newton)(1.0) == pytest.approx(float(newton(1.0)), rel=1e-12)
