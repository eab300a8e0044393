"""Forward derivatives (jvp, hvp, hessian, jacobian) of loops with memory=, and of branches and loops that stop, inside
compiled functions: those of the eager engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd.compiler import pipeline
from macrograd.compiler.trace import loops, sections
from macrograd.compiler.trace.calls import Calls

N = 100
RNG = np.random.default_rng(5)
CLOSED = RNG.normal(size=2 * N).tolist()
A, B = mg.Value(0.3, "a"), mg.Value(-0.2, "b")
MANY = [mg.Value(float(x) * 0.3) for x in RNG.normal(size=N + 3)]


@pytest.fixture(autouse=True)
def short_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The eager engine takes its time for long loops, and so does the verifier."""
    monkeypatch.setattr(pipeline, "observer", None)
    monkeypatch.setattr(loops, "LEAST", 60)
    monkeypatch.setattr(sections, "SHORTEST", 8)


def again(count: int, body: Any, state: Any, **more: Any) -> Any:
    return mg.loop(count, body, state, memory="sqrt", **more)


def state(z: Any) -> Any:
    """Of three numbers one never changes with z, and has an infinite slope at its first value."""

    def body(i: Any, s: Any) -> Any:
        x = mg.take(CLOSED, i) * s["c"] + mg.take(MANY, i) * A
        return {"a": mg.tanh(s["a"] * A + z[0] * B + x), "b": s["b"] * 0.9 + s["a"] * z[1], "c": mg.sqrt(s["c"]) + 0.1}

    s = again(N, body, {"a": z[0], "b": 0.0, "c": 0.0})
    return s["a"] * s["b"] + mg.sin(s["b"]) + s["c"]


def read(z: Any) -> Any:
    ys = [z[0] * c + z[1] for c in CLOSED]
    return again(N, lambda i, s: mg.sin(s * A + mg.take(ys, 2 * N - 1 - i) * z[0]), z[1])


def collected(z: Any) -> Any:
    last, kept = again(N, lambda i, s: (mg.tanh(s * A + z[0]), (s * z[1], 0.01 * i)), z[0], collect=True)
    other = again(N, lambda i, s: mg.sin(s * B + mg.take(kept[0], i)) + mg.take(kept[1], i), last)
    return other * last + mg.sum(kept[0]) * 0.1


def in_each_other(z: Any) -> Any:
    def body(i: Any, s: Any) -> Any:
        return again(N, lambda j, u: mg.tanh(u * A + z[0] * 0.01 * j), s + z[1] * mg.take(CLOSED, i))

    return mg.loop(2, body, z[0])


def twice(s: Any, z: Any) -> Any:
    for _ in range(10):  # that makes a branch long enough to be left out
        s = mg.sin(s * A + z) + B * s * s
    return s


def branches(z: Any) -> Any:
    """The branch not taken has infinite slopes."""
    taken = mg.cond(z[0] > 0.1, lambda: twice(z[0], z[1]), lambda: twice(mg.sqrt(z[0] - 1.0), z[1]))
    goes = mg.while_loop(lambda s: s[0] < 2.0, lambda s: (s[0] + 0.1, mg.sin(s[1] * A + z[1])), (z[0], z[1]), most=300)
    return taken * goes[1] + goes[0]


FUNCTIONS = {f.__name__: f for f in (state, read, collected, in_each_other, branches)}


def values(x: Any) -> list[float]:
    if isinstance(x, (list, tuple, mg.vector.Vector, np.ndarray)):
        return [y for item in x for y in values(item)]
    return [x.data if isinstance(x, mg.Value) else float(x)]


@pytest.fixture
def tangents(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of calls whose tangents were taken."""
    found: list[int] = []
    original = Calls.tangent

    def noted(self: Calls, number: int, *more: Any) -> Any:
        found.append(number)
        return original(self, number, *more)

    monkeypatch.setattr(Calls, "tangent", noted)
    return found


def forward(fn: Callable[..., Any], z: Any) -> Any:
    return mg.jvp(fn, z, [0.7, -0.4]) if fn is collected else mg.hvp(fn, z, [0.7, -0.4])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_forward_derivatives_are_those_of_the_eager_engine(name: str, tangents: list[int]) -> None:
    fn = FUNCTIONS[name]
    z = [0.4, -0.6]
    found = mg.compile(lambda z: forward(fn, z), backend="numpy")(z)
    assert values(found) == pytest.approx(values(forward(fn, z)), rel=1e-9, abs=1e-11)
    assert tangents


def test_a_loss_of_forward_derivatives_can_be_differentiated() -> None:
    def loss(x: Any) -> Any:
        value, along = mg.jvp(state, [x, x * A], [0.7, x])
        return value + along * along + mg.jacobian(lambda y: [state([x, y]), y])(B)[0]

    samples = [0.4, -0.3]
    f = mg.compile(loss, batch=True, backend="numpy")
    given = np.array(samples)
    f(given)
    mean, slopes = f.value_and_grad(f.theta(), given)
    gradient = dict(zip(map(id, f.parameters), slopes, strict=True))
    for p in f.parameters:
        p.grad = 0.0
    total = mg.sum([loss(x) for x in samples]) / len(samples)
    total.backward()
    assert mean == pytest.approx(total.data, rel=1e-9)
    for p in f.parameters:
        assert gradient[id(p)] == pytest.approx(p.grad, rel=1e-8, abs=1e-11)


@pytest.mark.parametrize("memory", [None, "sqrt"])
@pytest.mark.parametrize("rounds", [5, 2 * N])
def test_derivatives_of_loops_at_plain_numbers(rounds: int, memory: str | None) -> None:
    """In a trace a loop has no numbers, even if only numbers go in."""

    def at_numbers(x: Any) -> Any:
        def value(z: Any) -> Any:
            return mg.loop(rounds, lambda i, s: s + 0.01 * mg.sin(s * z[1]), z[0], memory=memory)

        by = mg.grad(value)([0.5, 0.7])
        return [x, *by, mg.jvp(value, [0.5, 0.7], [2.0, 1.0])[1], *mg.hvp(value, [0.5, 0.7], [2.0, 1.0])]

    assert values(mg.compile(at_numbers, backend="numpy")(1.0)) == pytest.approx(values(at_numbers(1.0)), rel=1e-12)
