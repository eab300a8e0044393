"""A parameter's number is not to be had while a function is traced: what is done with today's would be baked in."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import TraceError, Value, losses, nn, value
from macrograd.graph import topological

BACKENDS = ["numpy", "llvm"]


def parameters() -> tuple[Value, Value]:
    return Value(1.0, "a"), Value(2.0, "b")


READERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "a > 2": lambda x, a, b: x if a > 2 else 2 * x,
    "a < b": lambda x, a, b: x if a < b else 2 * x,
    "a >= b": lambda x, a, b: x if a >= b else 2 * x,
    "2 <= a": lambda x, a, b: x if a >= 2 else 2 * x,
    "a * 2 > b": lambda x, a, b: x if a * 2 > b else 2 * x,
    "a - 1": lambda x, a, b: x if a - 1.0 else 2 * x,
    "not": lambda x, a, b: x if not a else 2 * x,
    "and": lambda x, a, b: x * (a and b),
    "while": lambda x, a, b: [None for _ in iter(lambda: bool(a), False)],
    "assert": lambda x, a, b: x if bool(a > 0) else None,
    "max": lambda x, a, b: x * max(a, b),
    "min": lambda x, a, b: x * min(a * 1.0, b),
    "sorted": lambda x, a, b: x * sorted([a, b])[0],
    "float": lambda x, a, b: x * float(a),
    "float of computed": lambda x, a, b: x * float(mg.tanh(a) + 1.0),
    "float of detached": lambda x, a, b: x * float(mg.detach(a)),
    "int": lambda x, a, b: x * int(a),
    "complex": lambda x, a, b: x * complex(a).real,
    "math.exp": lambda x, a, b: x * math.exp(a),
    "math.floor": lambda x, a, b: x * math.floor(a),
    "data": lambda x, a, b: x * a.data,
    "data of computed": lambda x, a, b: x * (a + b).data,
    "a count": lambda x, a, b: mg.sum(x for _ in range(int(a.data))),
    "range": lambda x, a, b: mg.sum(x for _ in range(a)),
    "an index": lambda x, a, b: [x, 2 * x][a],
    "round": lambda x, a, b: x * round(a),
    "round to digits": lambda x, a, b: x * round(a, 2),
    "format": lambda x, a, b: x * float(f"{a:.3f}"),
    "array": lambda x, a, b: x * float(np.array([a, b], dtype=float)[0]),
    "backward": lambda x, a, b: (a * b).backward() or x,
    "backward of an input": lambda x, a, b: (a * x).backward() or x,
    "loss": lambda x, a, b: x * a if losses.squared_error(a, b) > 1 else x,
    "a compiled function": lambda x, a, b: x * mg.compile(lambda y: y * a)(2.0),
}


@pytest.mark.parametrize("name", READERS)
def test_no_number_of_a_parameter_is_baked_in(name: str) -> None:
    a, b = parameters()
    with pytest.raises(TraceError) as error:
        mg.compile(lambda x: READERS[name](x, a, b))(1.0)
    said = str(error.value)
    assert "test_trace_numbers.py:" in said
    assert all(way in said for way in ("mg.where", "mg.maximum", "argument") if "backward of an input" not in name)
    assert value.recording() is None
    assert float(a) == 1.0
    assert a < b
    assert max(a, b) is b


def test_the_message_names_the_parameter_and_every_remedy() -> None:
    a, _ = parameters()
    with pytest.raises(TraceError, match=r"float\(\) of a parameter 'a'.*mg\.detach\(p\).*argument.*mg\.static\(p\)"):
        mg.compile(lambda x: x * float(a))(1.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch", [False, True])
def test_comparisons_of_parameters_are_recorded(backend: str, batch: bool) -> None:
    a, b = parameters()

    def f(x: Any) -> Any:
        return [
            mg.where(a < b, x * 10, x), mg.where(a <= b, x * 10, x), mg.where(a > 2.5, x * 10, x),
            mg.where(b >= a * a, x * 10, x), mg.where(a < 1.5, x * 10, x), mg.where(a < x, x * 10, x),
        ]  # fmt: skip

    compiled = mg.compile(f, backend=backend, batch=batch)
    for a.data, b.data in [(1.0, 2.0), (3.0, 2.0), (2.0, 2.0), (2.5, 7.0), (-1.0, 1.0)]:
        got = compiled(np.array([2.0]) if batch else 2.0)
        assert np.array_equal(np.ravel(got), [r.data for r in f(Value(2.0))])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_remedies_follow_the_parameter(backend: str) -> None:
    a, b = parameters()
    compiled = mg.compile(
        lambda x: [mg.maximum(a, b) * x, mg.exp(mg.detach(a)) * x, mg.take([x, 2 * x, 3 * x, 4 * x], a)],
        backend=backend,
    )
    for number in (1.0, 3.0, 0.0):
        a.data = number
        assert compiled(1.5) == pytest.approx([max(number, 2.0) * 1.5, math.exp(number) * 1.5, (number + 1) * 1.5])


def test_an_index_that_is_a_parameter_is_read_at_every_call() -> None:
    k = Value(1.0)
    compiled = mg.compile(lambda x: mg.take(x, k))
    assert compiled([[1.0, 2.0], [3.0, 4.0]]).tolist() == [3.0, 4.0]
    k.data = 0.0
    assert compiled([[1.0, 2.0], [3.0, 4.0]]).tolist() == [1.0, 2.0]
    k.data = 7.0
    with pytest.raises(IndexError, match="outside 0 … 1"):
        compiled([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(IndexError, match="index 7 is outside 0 … 1"):
        mg.compile(lambda x: mg.take([x, 2 * x], k))(1.0)


def test_static_is_a_constant_of_the_program() -> None:
    a, _ = parameters()
    compiled = mg.compile(lambda x: mg.sum(x * mg.static(a) for _ in range(int(mg.static(a * 3)))))
    assert compiled(2.0) == 6.0
    a.data = 2.0
    assert compiled(2.0) == 6.0  # recorded once
    assert not compiled.parameters
    assert compiled([2.0, 3.0][1]) == 9.0
    assert (mg.static(Value(2.5)), mg.static(3), mg.static(mg.Vector([Value(1.0), 2]))) == (2.5, 3.0, [1.0, 2.0])
    assert type(mg.static(3)) is float
    with pytest.raises(TraceError, match="traced value"):
        mg.compile(lambda x: x * mg.static(x))(1.0)
    with pytest.raises(TypeError, match=r"static\(\) takes numbers and Values, got 'x'"):
        mg.static("x")


def test_constants_are_free_to_be_looked_at() -> None:
    model = nn.MLP(2, [2, 1], seed=1)
    frozen = model.parameters()
    model.freeze()

    def f(x: Any) -> Any:
        made, number = Value(2.0), Value(1.0)
        chain = made
        steps = 0
        while chain > 1e-3:  # every state of it is looked at
            chain = chain * 0.9
            steps += 1
        assert (made * 3).data == 6.0
        assert made.data == 2.0
        assert round(made.data) == 2
        assert max(made, number) is made
        assert (made > number) is True
        assert float(frozen[0]) == frozen[0].data
        assert f"{made:.1f}" == "2.0"
        assert mg.grad(lambda t: t * t)(3.0) == 6.0
        return x * steps

    assert mg.compile(f)(1.0) == 73.0


def test_what_is_computed_from_parameters_before_the_trace_has_no_number_either() -> None:
    a, b = parameters()
    before = a * b
    with pytest.raises(TraceError, match="value computed from parameters"):
        mg.compile(lambda x: x if before > 1 else 2 * x)(1.0)
    chosen = mg.compile(lambda x: mg.where(before > 1, x, 2 * x))
    assert chosen(1.0) == 1.0
    a.data = 0.1
    assert chosen(1.0) == 2.0


def test_numbers_are_not_set_in_a_trace() -> None:
    a, _ = parameters()
    for target in (lambda x: a, lambda x: Value(1.0), lambda x: x):
        with pytest.raises(TraceError, match=r"was set while the function is traced, at .*test_trace_numbers"):
            mg.compile(lambda x, target=target: setattr(target(x), "data", 3.0) or x)(1.0)
    assert a.data == 1.0


def test_another_thread_computes_as_ever_while_this_one_traces() -> None:
    """Its graphs are those of the eager engine: rules that look at numbers see them, and signs of zeros stay."""

    def described() -> list[Any]:
        a, b = Value(1.0), Value(-2.0)
        slope = mg.grad(lambda x: mg.maximum(x, b) * mg.where(x > b, x, 0.0) + mg.take([x, b], 0) * -0.0)(a)
        repeated = mg.loop(2, lambda i, s: mg.cond(s > a, lambda t: t * b, lambda t: -t, s), slope * 0.5)
        order = topological(repeated)
        number = {id(x): k for k, x in enumerate(order)}
        return [(x.op, x.data, math.copysign(1.0, x.data), [number[id(y)] for y in x.inputs]) for x in order]

    seen: list[Any] = []

    def f(x: Any) -> Any:
        thread = threading.Thread(target=lambda: seen.append(described()))
        thread.start()
        thread.join()
        return x * x

    alone = described()
    for strict in (False, True):
        assert mg.compile(f, strict=strict)(2.0) == 4.0
        assert seen.pop() == alone


def test_another_thread_reads_while_this_one_traces() -> None:
    a, b = parameters()
    traced, looked = threading.Event(), threading.Event()
    seen: list[Any] = []

    def look() -> None:
        traced.wait(60)
        try:
            seen.extend([a.data, float(a), a < b, bool(a), max(a, b) is b, (a * b).data])
            a.data = 1.0
        except TraceError as error:
            seen.append(error)
        looked.set()

    def f(x: Any) -> Any:
        traced.set()
        assert looked.wait(60)
        return x * a

    thread = threading.Thread(target=look)
    thread.start()
    assert mg.compile(f)(2.0) == 2.0
    thread.join()
    assert seen == [1.0, 1.0, True, True, True, 2.0]


def test_a_trace_in_a_trace_watches_for_itself() -> None:
    a, b = parameters()

    def f(x: Any) -> Any:
        made = Value(5.0)
        inner = mg.compile(lambda y: y * 2 if made > b else y)  # to this one, `made` is a parameter
        with pytest.raises(TraceError):
            inner(1.0)
        assert made > 2.0  # to this one a constant
        with pytest.raises(TraceError):
            bool(a > 2.0)
        return x * mg.where(a < b, 3.0, made)

    compiled = mg.compile(f)
    assert compiled(1.0) == 3.0
    a.data = 4.0
    assert compiled(1.0) == 5.0
    assert value.recording() is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives_within_a_compiled_function_follow_parameters(backend: str) -> None:
    a, b = parameters()

    def f(x: Any) -> Any:
        inside = mg.grad(lambda t: mg.where(a < b, a * t * t, b * t))(x)
        return (
            inside + mg.hessian(lambda t: a * t[0] * t[1] ** 2)([x, 2 * x])[0][1] + mg.hvp(lambda t: b * t**3, x, 1.0)
        )

    compiled = mg.compile(f, backend=backend)
    for a.data in (1.0, 3.0):
        assert compiled(1.5) == pytest.approx(f(Value(1.5)).data, rel=1e-14)


def test_a_training_run_leaves_the_branch_of_its_first_weights() -> None:
    """Compiled and eager agree at every step although the weight crosses the threshold on the way."""
    w, threshold = Value(2.0), Value(1.0)

    def loss(x: Any) -> Any:
        return mg.where(w > threshold, w * w * x, (w - 0.25) ** 2 * x)

    compiled, found = mg.compile(loss), []
    for _ in range(12):
        w.grad = threshold.grad = 0.0
        got = compiled.backward(1.0)
        assert got == pytest.approx(loss(Value(1.0)).data, rel=1e-14)
        w.data -= 0.2 * w.grad
        found.append(got)
    assert found[-1] < 0.05


def test_a_chain_that_is_looked_at_again_and_again_is_walked_once() -> None:
    walked = 0

    class Counted(set):
        def __contains__(self, x: object) -> bool:
            nonlocal walked
            walked += 1
            return super().__contains__(x)

    def f(x: Any) -> Any:
        value.recording().found_constant = Counted()
        t = Value(1.0)
        for _ in range(300):
            t = t * 0.999
            assert t < 2.0
        return x * t

    mg.compile(f)(1.0)
    assert walked < 300 * 12


# --- gradients, and calls that hold numbers of their own ------------------------------------------------------------


def set_gradient(p: Value) -> float:
    p.grad = 0.0
    return 0.0


def added_up(p: Value) -> float:
    p.grad += 1.0
    return 0.0


@pytest.mark.parametrize(
    ("slip", "said"),
    [
        (lambda p: p.grad, r"the gradient of a parameter 'p' \(\.grad\) was asked for"),
        (lambda p: (p * 2.0).grad, r"the gradient of a value computed from parameters \(\.grad\) was asked for"),
        (set_gradient, r"the gradient of a parameter 'p' \(\.grad = …\) was set"),
        (added_up, r"the gradient of a parameter 'p' \(\.grad\) was asked for"),
    ],
)
def test_gradients_of_an_earlier_backward_are_not_baked_in(slip: Any, said: str) -> None:
    p = Value(2.0, "p")
    (p * 3.0).backward()
    with pytest.raises(TraceError, match=said + " while the function is traced, at .*test_trace_numbers.py:.*mg.grad"):
        mg.compile(lambda x: x + slip(p))(1.0)
    assert p.grad == 3.0
    added_up(p)
    assert p.grad == 4.0


def test_gradients_of_what_the_function_makes_itself_are_constants() -> None:
    def f(x: Any) -> Any:
        a = Value(1.5)
        (a * a).backward()
        return x * a.grad

    assert mg.compile(f)(2.0) == 6.0


@pytest.mark.parametrize("results", [1, 2])
def test_bound_calls_are_not_baked_in(results: int) -> None:
    p = Value(2.0, "p")
    step = mg.compile(lambda x: x * p if results == 1 else [x * p, x], backend="numpy").bind(3.0)
    with pytest.raises(TraceError, match=r"a bound call \(step\(\), from bind\) was made while the function is traced"):
        mg.compile(lambda x: x + np.sum(step()))(1.0)
    assert np.sum(step()) == (6.0 if results == 1 else 9.0)  # it goes on after the trace


def test_a_bound_call_of_another_thread_goes_on_during_a_trace() -> None:
    p = Value(2.0)
    step = mg.compile(lambda x: x * p, backend="numpy").bind(3.0)

    def f(x: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(step).result() == 6.0
        return x * p

    assert mg.compile(f, backend="numpy")(5.0) == 10.0
