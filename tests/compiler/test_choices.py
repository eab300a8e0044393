"""Strong zeros: what a choice did not take gets no derivative, whatever its slope, on every way to a derivative."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, losses, nn, ops
from macrograd.compiler import pipeline
from macrograd.compiler.rewrite.bounds import Bounds
from macrograd.compiler.tape.tape import Tape, name_of, parse

NAN, INF = math.nan, math.inf

# A function, where it is asked, its derivative and its second derivative there.
CASES: dict[str, tuple[Callable[[Any], Any], float, float, float]] = {
    "a root of a negative number": (lambda x: mg.where(x >= 0, x, mg.sqrt(-x)), 1.0, 1.0, 0.0),
    "a division by zero": (lambda x: mg.where(abs(x) <= 0, x, 1 / x), 0.0, 1.0, 0.0),
    "a division by the constant zero": (lambda x: mg.where(x > 0, x * x, ops.div(x, 0.0)), 1.0, 2.0, 2.0),
    "a division by a subnormal constant": (lambda x: mg.minimum(x * x, x / 1e-310), 1.0, 2.0, 2.0),
    "an infinite exponent": (lambda x: mg.where(x > 0, x * x, mg.maximum(x, 0.5) ** INF), 1.0, 2.0, 2.0),
    "a product with an infinite constant": (lambda x: mg.where(x > 0, x * x, x * INF), 1.0, 2.0, 2.0),
    "a product with a constant that is infinite in float32": (
        lambda x: mg.where(x > 0, x * x, x * 1e39),
        1.0,
        2.0,
        2.0,
    ),
    "a relu of one": (lambda x: mg.relu(1.0 - 1e200 * x) + x * x, 1.0, 2.0, 2.0),
    "a division by a constant that is 0 in float32": (lambda x: mg.maximum(x * x, -x / 1e-60), 1.0, 2.0, 2.0),
    "a root of one": (lambda x: mg.where(x > 0, x * x, mg.sqrt(1e-60 + 0.0 * x * x)), 1.0, 2.0, 2.0),
    "a logarithm of what cancels": (
        lambda x: mg.where(x > 0, x * x, mg.log(abs(x) * 0.0 + 1.0 + 1e-12 - 1.0)),
        1.0,
        2.0,
        2.0,
    ),
    "log1p of what is -1 in float32": (lambda x: mg.where(x > 0, x * x, mg.log1p(x * x - 1.9999999999)), 1.0, 2.0, 2.0),
    "an overflow of a power": (lambda x: mg.where(x > 0, x * x, (1 + x * x) ** (x * x * 1e4)), 1.0, 2.0, 2.0),
    "an overflow of a negative power": (lambda x: mg.where(x > 0, x * x, (x * x * 0.0 + 1e-18) ** -50), 1.0, 2.0, 2.0),
    "a relu of a division by zero": (lambda x: mg.relu(-ops.div(x, 0.0)) + x * x, 1.0, 2.0, 2.0),
    "a division of a product": (lambda x: mg.where(x > 0, (x * x) / (x - x), x), -1.0, 1.0, 0.0),
    "maximum": (lambda x: mg.maximum(x + 1, mg.sqrt(x)), 0.0, 1.0, 0.0),
    "minimum": (lambda x: mg.minimum(x - 1, mg.sqrt(x)), 0.0, 1.0, 0.0),
    "relu": (lambda x: mg.relu(mg.sqrt(x) - 1) + x, 0.0, 1.0, 0.0),
    "take": (lambda x: mg.take([x * x, mg.log(-x), x * NAN], 0), 1.0, 2.0, 2.0),
    "ops.take": (lambda x: ops.take(0.0, x * x, mg.log(-x), x * NAN), 1.0, 2.0, 2.0),
    "onehot": (lambda x: ops.onehot(0.0, 1.0, mg.sqrt(x)) + x * x, 0.0, 0.0, 2.0),
    "the square of a logarithm": (lambda x: mg.where(x > 0, mg.log(x) ** 2, 3 * x), 0.0, 3.0, 0.0),
    "the square of a NaN": (lambda x: mg.where(x > 0, mg.log(x) ** 2, x**3), -1.0, 3.0, -6.0),
    "a power": (lambda x: mg.where(x > 0, x**0.5, x * x), 0.0, 0.0, 2.0),
    "a power of itself": (lambda x: mg.where(x > 1, x**x, x * x), -1.0, -2.0, 2.0),
    "log1p": (lambda x: mg.where(x > 0, mg.log1p(x - 1), 2 * x * x), 0.0, 0.0, 4.0),
    "an overflow": (lambda x: mg.where(x > 0, x * x, mg.exp(x) - 1), 1000.0, 2000.0, 2.0),
    "a choice in a choice": (
        lambda x: mg.where(x > 0, mg.where(x > 1, mg.log(x - 1), mg.sqrt(x - 1)), x * x),
        -1.0,
        -2.0,
        2.0,
    ),
    "used by two choices": (lambda x: _shared(x, mg.sqrt(x)), 0.0, 1.0, 0.0),
    "a chain of factors": (lambda x: mg.where(x > 0, (x / (x - x)) * x * mg.sin(1 / (x + 1)), x), -1.0, 1.0, 0.0),
    # What was taken shows, and so does zero times infinity that no choice is to blame for.
    "a root that was taken": (lambda x: mg.where(x >= 0, mg.sqrt(x), x), 0.0, INF, -INF),
    "a NaN that was taken": (lambda x: mg.where(x >= 0, mg.log(-x), x), 1.0, -1.0 / -1.0, -1.0),
    "zero by arithmetic": (lambda x: mg.where(x >= 0, mg.sqrt(x), x) * 0.0, 0.0, NAN, NAN),
}
EVERY = pytest.mark.parametrize("name", CASES)
HOW = pytest.mark.parametrize(
    ("backend", "more"),
    [(b, m) for b in ("numpy", "llvm") for m in ({}, {"strict": True}, {"dtype": "float32"})],
    ids=lambda x: x if isinstance(x, str) else "-".join(map(str, x.values())) or "float64",
)


def _shared(x: Any, root: Any) -> Any:
    return mg.where(x > 0, root * root, x) + mg.relu(-root)


def _number(x: Any) -> float:
    return x.data if isinstance(x, Value) else float(x)


@EVERY
def test_eager(name: str) -> None:
    f, at, first, second = CASES[name]
    x = Value(at)
    f(x).backward()
    found = [x.grad, mg.grad(f)(at), mg.jvp(f, at, 1.0)[1], mg.jacobian(f)(at)]
    np.testing.assert_array_equal(found, [first] * 4)
    x = Value(at)
    f(x).backward(create_graph=True)
    slope, x.grad = x.grad, 0.0
    assert isinstance(slope, Value)  # also where it is a constant
    slope.backward()
    found = [mg.grad(mg.grad(f))(at), mg.hessian(f)(at), mg.hvp(f, at, 1.0)]
    if slope.inputs:
        found.append(_number(x.grad))
    np.testing.assert_array_equal(found, [second] * len(found))


@EVERY
@HOW
def test_compiled(name: str, backend: str, more: dict[str, Any]) -> None:
    f, at, first, second = CASES[name]
    p = Value(at)
    c = mg.compile(lambda x: f(p + x), backend=backend, **more)
    ways = [mg.grad(f), lambda x: mg.jvp(f, x, 1.0)[1], mg.jacobian(f)]
    found = [
        c.value_and_grad([at], 0.0)[1][0],
        *mg.compile(lambda x: [d(x) for d in ways], backend=backend, **more)(at),
    ]
    np.testing.assert_array_equal(found, [first] * 4)
    ways = [mg.grad(mg.grad(f)), mg.hessian(f), lambda x: mg.hvp(f, x, 1.0)]
    found = mg.compile(lambda x: [d(x) for d in ways], backend=backend, **more)(at).tolist()
    c = mg.compile(lambda x: mg.grad(f)(p + x), backend=backend, **more)
    if len(c.value_and_grad([at], 0.0)[1]):
        found.append(c.value_and_grad([at], 0.0)[1][0])
    np.testing.assert_array_equal(found, [second] * len(found))


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_missing_values_of_a_batch(backend: str) -> None:
    """A NaN among the data, hidden by `where`, leaves no trace, though no operation made it."""
    w = [Value(0.5), Value(-2.0)]

    def f(x: Any, known: Any) -> Any:
        return mg.sum([mg.where(k, a * b, 0.0) for a, b, k in zip(w, x, known, strict=True)]) ** 2

    X, known = np.array([[1.0, NAN], [2.0, 3.0], [INF, 1.0]]), np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    mg.compile(f, batch=True, backend=backend).backward(X, known)
    found = [p.grad for p in w]
    for p in w:
        p.grad = 0.0
    for x, k in zip(X.tolist(), known.tolist(), strict=True):
        (f(x, k) / 3.0).backward()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, [p.grad for p in w], rtol=1e-15)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_what_is_the_same_for_all_samples(backend: str) -> None:
    """√p is computed once for the batch; that some sample took it is known only after the sum over the batch."""
    p = Value(0.0)
    f = mg.compile(lambda x: mg.where(x > 0, mg.sqrt(p), 2 * p), batch=True, backend=backend)
    assert f.value_and_grad([0.0], np.array([-1.0, -2.0]))[1][0] == 2.0
    assert f.value_and_grad([0.0], np.array([-1.0, 2.0]))[1][0] == INF


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a_long_recurrence_of_choices(backend: str) -> None:
    """Masks of masks, thousands deep, in a stream or a loop."""
    p = Value(0.75)

    def f(x: Any) -> Any:
        for _ in range(3000):
            x = mg.where(x > 4, mg.sqrt(x - 9) * p, x * p + 1)
        return x

    eager = f(Value(1.0))
    eager.backward()
    c = mg.compile(f, backend=backend)
    np.testing.assert_allclose(c.value_and_grad([0.75], 1.0)[1][0], p.grad, rtol=1e-12)


# --- what it costs ----------------------------------------------------------------------------------------------------


def gates(fn: Any, *arguments: Any, **more: Any) -> int:
    """The gates of all tapes that are made for a gradient."""
    found = 0

    def observe(stage: str, what: Any) -> None:
        nonlocal found
        if isinstance(what, Tape):
            found += sum(name_of(code) == "gate" for code in what.code.tolist())

    before, pipeline.observer = pipeline.observer, observe
    try:
        mg.compile(fn, backend="numpy", **more).backward(*arguments)
    finally:
        pipeline.observer = before
    return found


@pytest.mark.parametrize("strict", [False, True])
def test_nets_need_no_gates(strict: bool) -> None:
    X, y = np.ones((4, 8)), np.ones(4)
    for activation in ("relu", "tanh", "leaky_relu"):
        net = nn.MLP(8, [6, 3], activation=activation)
        assert not gates(lambda x, t, net=net: losses.cross_entropy(net(x), t), X, y, batch=True, strict=strict)
    moons = nn.MLP(8, [16, 16, 1])
    assert not gates(lambda x, t: losses.hinge(moons(x), t), X, y, batch=True, strict=strict)
    w = [[Value(0.1) for _ in range(8)] for _ in range(4)]

    def by_hand(x: Any) -> Any:
        sums = [sum(a * b for a, b in zip(row, x, strict=True)) for row in w]
        return sum(mg.where(s > 0, s, 0.0) for s in sums)

    assert not gates(by_hand, X, batch=True, strict=strict)


def test_the_jobs_need_no_gates() -> None:
    digits = nn.MLP(64, [128, 10])
    assert not gates(lambda x, t: losses.cross_entropy(digits(x), t), np.ones((2, 64)), np.ones(2), batch=True)
    gpt = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "gpt.py"))["GPT"]("abcdefgh", seed=3)
    tokens, share = map(np.array, zip(*(gpt.encoded(d, 5) for d in ("abc", "gh")), strict=True))
    assert not gates(gpt.loss, tokens, share, batch=True)


def test_a_gate_stands_only_where_a_slope_can_be_infinite() -> None:
    p = Value(0.5)
    assert gates(lambda x: mg.where(x > 0, mg.sqrt(p * x), x), 1.0)
    assert gates(lambda x: mg.where(x > 0, p / x, x), 1.0)
    assert not gates(lambda x: mg.sqrt(p * x) + mg.where(x > 0, x, p), 1.0)  # no choice before it
    assert not gates(lambda x: p + mg.where(x > 0, mg.sqrt(1 + p * p), x), 1.0)  # never below 1
    assert not gates(lambda x: p + mg.where(x > 0, mg.exp(-abs(p)), x), 1.0)  # never above 1
    assert not gates(lambda x: p + mg.where(x > 0, mg.tanh(p) ** 3, x), 1.0)
    assert gates(lambda x: mg.where(x > 0, p * p, x), 1.0)  # p itself may be a NaN, if it is used nowhere else
    assert not gates(lambda x: mg.relu(p * p * x), 1.0)  # but is not asked for that behind a clamp
    assert not gates(lambda x: (lambda s: mg.where(x > 0, s, -s))(mg.sqrt(p)), 1.0)  # both sides take it


@pytest.mark.parametrize("taken", ["where", "take"])
def test_choices_by_one_test_share_their_mask(taken: str) -> None:
    """A quotient that all of them may take has one mask, however many there are."""
    p = Value(0.5)

    def masks(many: int) -> int:
        def f(x: Any) -> Any:
            test, inner = x > 0, p / x
            index = mg.where(test, 1.0, 0.0)
            return mg.sum(
                mg.where(test, inner, k + 2.0) if taken == "where" else mg.take([k + 2.0, inner], index)
                for k in range(many)
            )

        tape = pipeline.differentiate(pipeline.record(f, [()]).tape, batch=False, strict=True)
        return int(np.isin(tape.code, [ops.maximum.code, ops.onehot.code, ops.gate.code]).sum())

    assert masks(1) > 0
    assert masks(20) - masks(19) == masks(2) - masks(1) == (taken == "take")  # which needs an onehot for its derivative


def test_both_sides_of_one_test_are_always_taken() -> None:
    p = Value(0.5)
    assert not gates(lambda x: (lambda q: mg.where(x > 0, q, 1.0) + mg.where(x > 0, 1.0, q))(mg.sqrt(p)), 1.0)
    assert gates(lambda x: (lambda q: mg.where(x > 0, q, 1.0) + mg.where(x > 1, 1.0, q))(mg.sqrt(p)), 1.0)


def test_bounds() -> None:
    tape = parse(
        """%0 = input 0
        %1 = mul %0 %0
        %2 = constant 2.0
        %3 = add %1 %2
        %4 = tanh %0
        %5 = dot %4 %2 %2 %2
        %6 = neg %3
        %7 = div %4 %3
        %8 = maximum %6 %5
        return %8"""
    )
    assert [Bounds(tape)(i) for i in range(9)] == [
        (-INF, INF), (0.0, INF), (2.0, 2.0), (2.0, INF), (-1.0, 1.0), (2.0, 6.0), (-INF, -2.0), (-0.5, 0.5), (2.0, 6.0),
    ]  # fmt: skip


def test_bounds_are_those_of_float32_too() -> None:
    tape = parse(
        """%0 = input 0
        %1 = constant 1e-60
        %2 = mul %0 %0
        %3 = add %2 %1
        %4 = constant 1e+300
        %5 = mul %4 %4
        %6 = constant 1.0
        %7 = constant -1.0000000001
        %8 = dot %6 %7 %6 %6
        %9 = constant 1e-30
        %10 = mul %9 %9
        return %10"""
    )
    assert [Bounds(tape)(i)[0] <= 0.0 for i in (1, 3, 10)] == [True] * 3
    assert [Bounds(tape)(i)[1] for i in (4, 5)] == [INF, INF]
    assert Bounds(tape)(8)[1] >= 0.0  # which may be 0


@pytest.mark.parametrize("op", [op for op in ops.TABLE if op.arity], ids=lambda op: op.name)
def test_every_slope_is_finite_at_the_harmless_number(op: ops.Op) -> None:
    for rule in op.derivative:
        gain = None if rule is None else rule(0.0, ops.HARMLESS, *[ops.HARMLESS] * (op.arity or 0))
        assert gain is None or gain == 0.0
