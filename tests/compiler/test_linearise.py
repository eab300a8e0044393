"""Where values stand among those of a trace: by a table of addresses, or by a search where they lie far apart."""

from __future__ import annotations

import gc
import math
import threading
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler.trace import linearise, links
from macrograd.compiler.trace.trace import trace
from tests.memory import leaves_cycles


def test_addresses_are_ids() -> None:
    values = [Value(1.0), Value(2.0), None, (1, 2)]
    assert links.ids_of(values).tolist() == [id(x) for x in values]
    assert links.ids_of(iter(values), 2).tolist() == [id(x) for x in values[:2]]
    assert links.ids_of([]).tolist() == []


@pytest.mark.parametrize("sparse", [0, 64, 1 << 40])
def test_positions(sparse: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "SPARSE", sparse)
    random = np.random.default_rng(0)
    ids = 16 * random.permutation(5_000)[:1_000] + 1_000_000
    strangers = np.setdiff1d(16 * np.arange(-10, 6_000) + 1_000_000, ids)
    wanted = np.concatenate([ids[::-1], strangers, ids[:3]])
    expected = [*range(999, -1, -1), *[-1] * len(strangers), 0, 1, 2]
    assert links.Places(ids).of(wanted).tolist() == expected
    assert links.Places(ids[:0]).of(wanted[:2]).tolist() == [-1, -1]


def test_what_a_finalizer_makes_while_a_value_is_made_is_not_of_the_trace() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            made.append(Value(1.0) * 0.5 + 1.0)

    made: list[Value] = []
    x = Value(0.5)

    def fn() -> Value:
        gc.enable()  # as another thread may
        h = x
        for _ in range(300):
            Cycle()
            h = mg.tanh(h + x)
        return h

    before = gc.get_threshold()
    gc.set_threshold(10)
    try:
        found = str(trace(fn, []).tape)
    finally:
        gc.set_threshold(*before)
    assert len(made) > 100
    assert found.count("tanh") == 300
    assert "0.5" not in found


def test_what_another_thread_makes_is_not_of_the_trace() -> None:
    """Not even if the trace ends while it is being made."""
    x, stop = Value(0.5), threading.Event()

    def busy() -> None:
        y = Value(1.0)
        while not stop.is_set():
            for _ in range(100):
                y = y * 0.5 + 1.0

    def fn() -> Value:
        h = x
        for _ in range(300):
            h = mg.tanh(h + x)
        return h

    alone = str(trace(fn, []).tape)
    other = threading.Thread(target=busy)
    other.start()
    try:
        assert {str(trace(fn, []).tape) for _ in range(30)} == {alone}
    finally:
        stop.set()
        other.join()


RATES = [Value(0.5), Value(0.25)]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: [mg.relu(x * RATES[0]), (x + RATES[1], {"k": x})],
        lambda x: mg.loop(100, lambda i, h: mg.tanh(h * RATES[0] + mg.take(list(range(100)), i)), x),
        lambda x: mg.while_loop(lambda h: h < 3.0, lambda h: h * 1.5, x, most=30),
        lambda x: mg.implicit(lambda y: y * y - x, 1.0, most=10),
        lambda x: mg.jacobian(lambda y: [y * RATES[0], y])(x),
    ],
    ids=["nested results", "loop", "while_loop", "implicit", "jacobian"],
)
def test_the_values_of_a_trace_are_freed_at_once(fn: Any) -> None:
    assert not leaves_cycles(lambda: trace(fn, [()]))


def test_objects_that_lie_apart_share_no_place() -> None:
    values = [Value(float(k)) for k in range(2_000)]
    ids = links.ids_of(values)
    apart = Value.__basicsize__ // 16 * 16
    assert (np.diff(np.sort(ids)) >= apart).all()
    wanted = np.concatenate([ids[::7], links.ids_of([Value(1.0), Value(2.0)])])
    assert links.Places(ids, apart).of(wanted).tolist() == [*range(0, 2_000, 7), -1, -1]


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_a_tape_does_not_depend_on_how_many_values_are_linked_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = [Value(float(k)) for k in range(4)]
    before = w[0] * w[1]  # computed from parameters before the trace

    def fn(x: Any, y: Any) -> Any:
        own = Value(3.0)
        unused = x * w[3]
        z = mg.dot([x, w[2], y], [w[1], 2.0, own])
        assert unused is not z
        return [mg.where(z > 1, x / w[0], y), before + 2.0 * w[2], x, w[1], mg.maximum(x, z) ** 2]

    whole = trace(fn, [(), ()])
    monkeypatch.setattr(links, "_AT_ONCE", at_once)
    parts = trace(fn, [(), ()])
    assert str(parts.tape) == str(whole.tape)
    assert parts.parameters == whole.parameters


def test_the_lists_of_values_are_emptied_if_nobody_needs_them() -> None:
    a = Value(2.0)
    b = a * a
    nodes, results = [b], [b]
    assert str(linearise.tape_of(nodes, results, [], set())[0]) == "%0 = parameter 0\n%1 = mul %0 %0\nreturn %1"
    assert nodes == results == [b]
    linearise.tape_of(nodes, results, [], set(), last=True)
    assert nodes == results == []


def test_equal_numbers_of_a_trace_are_one_constant_also_beside_parameters() -> None:
    w = Value(2.0)
    made: list[Value] = []

    def fn() -> Value:
        made.extend([w * 3.0, 3 + w, w / 0.0, w / -0.0, w - math.nan, w + math.nan, w < 3])
        return mg.sum(made[:3])

    trace(fn, [])
    numbers = [next(y for y in x.inputs if y is not w) for x in made]
    assert numbers[0] is numbers[1]
    assert numbers[2] is not numbers[3]
    assert math.copysign(1.0, numbers[3].data) == -1.0
    assert numbers[4].data != numbers[5].data
    assert (w * 3.0).inputs[1] is not (w * 3.0).inputs[1]  # outside of a trace each Value owns its constants


def test_what_was_computed_before_a_trace_comes_before_its_first_use() -> None:
    w = [Value(2.0), Value(3.0)]
    product = w[0] * w[1]
    inner, result = mg.tanh(product), w[1] - w[0]
    found = trace(lambda x: [x * x, inner * x, mg.sum([x, product, x]), result, inner], [()]).tape
    assert str(found).splitlines() == [
        "%0 = input 0",
        "%1 = mul %0 %0",
        "%2 = parameter 0",
        "%3 = parameter 1",
        "%4 = mul %2 %3",
        "%5 = tanh %4",
        "%6 = mul %5 %0",
        "%7 = sum %0 %4 %0",
        "%8 = sub %3 %2",
        "return %1 %6 %7 %8 %5",
    ]
