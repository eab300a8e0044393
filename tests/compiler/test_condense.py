"""Condensing: a long trace gives the same tape, and whoever holds its Values does not notice."""

from __future__ import annotations

import itertools
import linecache
import math
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from random_programs import RandomProgram, programs

import macrograd as mg
from macrograd import Value
from macrograd.compiler.tape import walks
from macrograd.compiler.trace import condense
from macrograd.compiler.trace.condense import Condensed, Condenser
from macrograd.compiler.trace.refusals import TraceError
from macrograd.compiler.trace.trace import trace
from macrograd.compiler.trace.traced import Traced
from macrograd.graph import topological
from macrograd.ops import CONSTANT
from tests.memory import leaves_cycles


@pytest.fixture(params=[1, 4, 9])
def often(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces are condensed every few Values, however many of them are held."""
    monkeypatch.setattr(condense, "AT_ONCE", request.param)
    monkeypatch.setattr(condense, "MOST_HELD", 1.0)


def never(fn: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(condense, "AT_ONCE", 1 << 60)
        return fn()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs())
def test_the_tape_is_the_same(often: None, program: RandomProgram) -> None:
    found, whole = (make() for make in (traced(program), lambda: never(traced(program))))
    assert str(found.tape) == str(whole.tape)
    assert found.parameters == whole.parameters


def traced(program: RandomProgram) -> Callable[[], Any]:
    return lambda: trace(program.loss, [(program.inputs,), ()])


W = [Value(0.3 * k - 1.0, label=f"w{k}") for k in range(6)]


class Model:
    """Keeps some of what it computes, as users do to look at it later."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def __call__(self, x: Any) -> Any:
        penalty = own = Value(0.5)
        h = x
        for k in range(40):
            h = mg.tanh(h * W[k % 6] + W[(k + 1) % 6]) - h / 3.0
            penalty = penalty + W[k % 6] ** 2 * 1.5
            own = mg.sqrt(own + 1.0)
            if k == 11:
                h.label = "hidden"
                self.kept["h"] = h
            if k == 20:
                self.kept["penalty"] = penalty
                self.kept["both"] = mg.dot([h, penalty, own], [penalty, W[2], h])
        self.kept["own"] = own
        return h * h + penalty + own


def described(kept: dict[str, Any]) -> list[tuple[Any, ...]]:
    """A graph as text: everything that can be seen of it."""
    order = topological(*kept.values())
    number = {id(x): k for k, x in enumerate(order)}
    return [
        (type(x), x.op, x.label, None if isinstance(x, Traced) else x.data, [number[id(y)] for y in x.inputs], x in W)
        for x in order
    ]


def test_values_that_are_kept_are_what_they_were(often: None) -> None:
    model, other = Model(), Model()
    trace(model, [()])
    never(lambda: trace(other, [()]))
    assert described(model.kept) == described(other.kept)
    assert not any(isinstance(x, Condensed) for x in topological(*model.kept.values()))
    grads = []
    for kept in (model.kept, other.kept):
        for w in W:
            w.grad = 0.0
        kept["penalty"].backward()
        grads.append([w.grad for w in W])
    assert grads[0] == grads[1]
    assert any(grads[0])


@pytest.mark.parametrize(
    "ask",
    [
        lambda h, y: mg.grad(lambda z: mg.tanh(z * h))(h) * y,
        lambda h, y: mg.sum([*h.inputs]) + y.inputs[0],
        lambda h, y: mg.where(y > 0.1, h, y),
        lambda h, y: mg.loop(5, lambda i, s: s * y + h, h),
        lambda h, y: h if len(topological(h, y)) > 20 else y,
    ],
    ids=["derivative", "inputs", "comparison", "loop", "graph"],
)
def test_a_function_that_asks_for_operands_gets_them(often: None, ask: Callable[[Any, Any], Any]) -> None:
    def fn(x: Any) -> Any:
        h, y = x, W[1]
        for k in range(12):
            h, y = mg.tanh(h + W[k % 6]), y * W[2] + 0.5
        z = ask(h, y)
        for _ in range(25):
            z = z * W[3] + h / y
        return z

    found, whole = trace(fn, [()]), never(lambda: trace(fn, [()]))
    assert str(found.tape) == str(whole.tape)
    assert found.parameters == whole.parameters


def test_numbers_of_parameters_are_refused_and_own_numbers_are_not(often: None) -> None:
    def chained(start: Any) -> Any:
        for _ in range(30):
            start = start * 0.5 + 1.0
        return start

    def fn(x: Any) -> Any:
        return x if chained(Value(1.0)).data > 1.5 else -x

    assert str(trace(fn, [()]).tape) == "%0 = input 0\nreturn %0"
    with pytest.raises(TraceError, match="a value computed from parameters"):
        trace(lambda x: x * float(chained(W[0])), [()])


def test_a_trace_that_fails_leaves_its_values_whole(often: None) -> None:
    model = Model()

    def fn(x: Any) -> Any:
        model(x)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        trace(fn, [()])
    assert len(topological(model.kept["penalty"])) > 60
    assert model.kept["penalty"].data == pytest.approx(0.5 + sum(1.5 * W[k % 6].data ** 2 for k in range(21)))


def test_values_that_were_computed_before(often: None) -> None:
    before = W[0] * W[1] + 2.0

    def fn(x: Any) -> Any:
        h = x
        for _ in range(20):
            h = h * W[2] + 1.0
        for _ in range(20):
            h = mg.tanh(h + before * W[3])
        return h

    assert str(trace(fn, [()]).tape) == str(never(lambda: trace(fn, [()])).tape)


def test_both_sides_of_an_operation(often: None) -> None:
    """Of Values from parameters and of traced ones, either may have been condensed before."""

    def fn(x: Any) -> Any:
        value, traced = W[1], x
        for k in range(12):
            value, traced = value * 0.5 + 1.0, traced * 0.5 + 1.0
            for a, b in ((value, traced), (traced, value), (value, value)):
                for made in (a + b, a - b, a * b, a / b, mg.maximum(a, b), a**2.0, mg.where(a, b, 1.0)):
                    x = x + made
            x = x - (value < traced) * k + 2.0 / value + (1.0 - value)
        return x

    found = trace(fn, [()])
    assert str(found.tape) == str(never(lambda: trace(fn, [()])).tape)
    compiled = mg.compile(fn, backend="numpy")  # no thread compiles it again meanwhile
    assert compiled(0.25) == pytest.approx(fn(Value(0.25)).data, rel=1e-12)


def test_nothing_of_a_condensed_trace_is_left_to_the_collector(often: None) -> None:
    def fn(x: Any) -> Any:
        h = x
        for k in range(60):
            h = h * W[k % 6] + W[1] * W[2]
        return h

    walks.compiled()  # ctypes makes classes, which are cycles
    assert not leaves_cycles(lambda: trace(fn, [()]))


def test_long_traces_let_go_of_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condense, "AT_ONCE", 100)
    monkeypatch.setattr(condense, "SAMPLE", 50)
    alive: list[int] = []
    condensed = Condenser.condense

    def counted(self: Condenser) -> bool:
        found = condensed(self)
        alive.append(len(self._listed) + len(self._held))
        return found

    monkeypatch.setattr(Condenser, "condense", counted)

    def chain(x: Any) -> Any:
        for _ in range(2000):
            x = mg.tanh(x + W[0])
        return x

    trace(chain, [()])
    assert len(alive) == 40
    assert max(alive) < 5
    alive.clear()

    def history(x: Any) -> Any:
        states = [x]
        for _ in range(2000):
            states.append(states[-1] * 0.5)
        assert not any(isinstance(s, Condensed) for s in states)
        return states

    trace(history, [()])
    assert len(alive) == 1  # a function that holds most of it is left alone
    assert math.isfinite(alive[0])


def eagerly(k: int) -> list[float]:
    """Numbers of a program that other threads compute while this one traces."""
    a, b = Value(0.1 * k - 0.7), Value(0.3)
    x = a
    for _ in range(30):
        x = mg.tanh(x * 1.5 + b) - 0.25
    (slope,) = (mg.grad(lambda z: mg.maximum(z, b) * mg.where(z > b, z, -0.0))(a),)
    y = mg.loop(5, lambda i, s: s * a + 0.5, x) * slope
    y.backward()
    return [y.data, a.grad, b.grad]


@pytest.mark.parametrize("held", [False, True])
def test_other_threads_neither_disturb_a_trace_nor_are_disturbed(held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condense, "AT_ONCE", 400)
    monkeypatch.setattr(condense, "SAMPLE", 100)

    def fn(x: Any) -> Any:
        h, penalty, kept = x, W[0] * 0.5, []
        for k in range(800):
            h = mg.tanh(h * W[k % 6] + W[(k + 1) % 6]) - h / 3.0
            penalty = penalty + W[k % 6] ** 2 * 1.5
            if held and k % 50 == 3:
                kept += [h, penalty]
        return h * penalty + mg.sum(kept)

    expected, whole = [eagerly(k) for k in range(20)], str(trace(fn, [()]).tape)
    stopped, found = threading.Event(), list[Any]()

    def work() -> None:
        try:
            while not stopped.is_set():
                found.append([eagerly(k) for k in range(20)])
        except BaseException as error:  # noqa: BLE001 - shown below
            found.append(error)

    workers = [threading.Thread(target=work) for _ in range(2)]
    between = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for worker in workers:
            worker.start()
        tapes = {str(trace(fn, [()]).tape) for _ in range(4)}
    finally:
        stopped.set()
        for worker in workers:
            worker.join()
        sys.setswitchinterval(between)
    assert tapes == {whole}
    assert all(x == expected for x in found), [x for x in found if isinstance(x, BaseException)]


@pytest.mark.parametrize("before", [False, True], ids=["alone before", "not alone"])
def test_threads_of_the_function_itself(before: bool, often: None) -> None:
    """They compute with traced Values and with parameters, and may ask for operands."""

    def part(x: Any) -> Any:
        for k in range(30):
            x = mg.tanh(x * W[k % 6] + W[1] * W[2])
        return x + x.inputs[0]

    def fn(x: Any, run: Callable[..., Any]) -> Any:
        y = part(x)
        parts = [*run(part, [x * y, y, x])]
        return mg.sum(parts) + part(y)

    def threaded(x: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return fn(x, pool.map)

    whole = never(lambda: trace(lambda x: fn(x, map), [()]))
    waiting = threading.Event()
    other = threading.Thread(target=waiting.wait, args=(60,))
    if before:
        other.start()
    try:
        found = trace(threaded, [()])
    finally:
        waiting.set()
    assert str(found.tape) == str(whole.tape)
    assert found.parameters == whole.parameters


def test_an_interrupted_condensing_leaves_values_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may come before any line that Python lets it come before."""
    monkeypatch.setattr(condense, "AT_ONCE", 10)
    kept: list[Any] = []

    def fn(x: Any) -> Any:
        for k in range(12):
            x = x * W[k % 6] + 1.0
            if k % 3 == 0:
                kept.append(x)
        return x

    def interrupted(last: int) -> bool:
        lines = itertools.count()

        def watch(frame: FrameType, event: str, _: Any) -> Any:
            if event != "line" or "with _condensing" in linecache.getline(condense.__file__, frame.f_lineno):
                pass  # no signal is handled between a lock and what it is for
            elif next(lines) == last:
                raise KeyboardInterrupt
            return watch if frame.f_code.co_filename == condense.__file__ else None

        before = sys.gettrace()
        sys.settrace(watch)
        try:
            trace(fn, [()])
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    last = 0
    while interrupted(last):
        order = topological(*kept)
        assert sum(x.op is not None and x.op is not CONSTANT for x in order) == max(6 * len(kept) - 4, 0)
        assert not any(isinstance(x, Condensed) for x in order)
        kept.clear()
        last += 1
    assert last > 100
    with ThreadPoolExecutor(1) as other:  # no lock is left behind
        assert str(other.submit(trace, fn, [()]).result(60).tape) == str(never(lambda: trace(fn, [()])).tape)


def test_looking_whether_more_is_held_asks_nobody_for_operands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condense, "AT_ONCE", 64)
    monkeypatch.setattr(condense, "SAMPLE", 16)
    restored: list[int] = []
    monkeypatch.setattr(Condenser, "restore", lambda self: restored.append(self.condensed))

    def function(x: Any) -> Any:
        layer = [x * w for w in W]  # used long after it was condensed
        h = x
        for k in range(1000):
            h = mg.tanh(h + layer[k % 6])
        return h

    found = trace(function, [()]).tape
    assert not restored
    monkeypatch.undo()
    assert str(found) == str(never(lambda: trace(function, [()])).tape)
