"""Who is in charge of Values: what an interpreter is told, that there is one at a time, and that the eager engine is
the one behind all of them."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import macrograd as mg
from macrograd import Value, value
from macrograd.compiler.trace.recording import Recording
from macrograd.compiler.trace.traced import Traced
from macrograd.interpreter import Interpreter
from macrograd.replay import Replay
from macrograd.value import interpret, is_alone, is_interpreted


class Told(Interpreter):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.said: list[str] = []

    def new(self, kind: Any) -> Any:
        self.made.append(object.__new__(kind))
        return self.made[-1]

    def leaf(self, value: Any) -> None:
        self.said.append("leaf")

    def look(self, value: Any, what: str) -> None:
        self.said.append(what.format("x"))

    def write(self, value: Any) -> None:
        self.said.append("write")


def program(x: Any, y: Any) -> Any:
    """Every operator, a function of one, two and many operands, numbers on either side."""
    z = [
        x + y,
        x - y,
        x * y,
        x / y,
        x**y,
        2 + x,
        2 - x,
        2 * x,
        2 / x,
        2**x,
        x + 2,
        x - 2,
        x * 2,
        x / 2,
        x**2,
        -x,
        abs(x),
    ]
    return [*z, x.exp(), mg.maximum(x, y), mg.where(x, y, 1.0), mg.sum(z), mg.dot([x, y], [y, 2.0]), mg.softmax(z)[0]]


@pytest.mark.parametrize("by", [Interpreter, Told, Replay, Recording], ids=lambda kind: kind.__name__)
def test_the_numbers_are_the_eager_ones_whoever_is_in_charge(by: type[Interpreter]) -> None:
    wanted = program(Value(0.7), Value(1.9))
    x, y = Value(0.7), Value(1.9)
    found = interpret(by(), program, x, y)
    assert [v.data for v in found] == [v.data for v in wanted]
    assert all(v.__class__ is Value for v in found)
    for v in (found, wanted):
        mg.sum(v).backward()
    assert (x.grad, y.grad) == tuple(leaf.grad for leaf in wanted[0].inputs)


def test_an_interpreter_is_told_of_everything() -> None:
    told = Told()
    x = Value(3.0)

    def run() -> Value:
        y = x * x
        z = Value(1.0)
        number = x.data + float(z)
        x.data = number
        assert bool(y)
        assert int(y) == 9
        return y

    y = interpret(told, run)
    assert told.said == [
        "leaf",
        "the number of x (.data) was asked for",
        "float() of x, which math's functions take too,",
        "write",
        "a branch on x (if, while, and, or, not, max, min, sorted)",
        "int() of x",
    ]
    assert told.made == [y]
    assert x.data == 4.0  # and nothing of this
    assert len(told.said) == 6


def test_all_operations_of_a_program_reach_it() -> None:
    told, x, y = Told(), Value(0.7), Value(1.9)
    results = interpret(told, program, x, y)
    nodes = [node for node in value.topological(*results) if node not in (x, y)]
    assert {id(node) for node in nodes} <= {id(node) for node in told.made}


def test_the_one_before_is_in_charge_again_also_after_an_error() -> None:
    outer, inner = Told(), Told()

    def wrong() -> None:
        Value(1.0)
        raise ValueError("mine")

    def run() -> None:
        with pytest.raises(ValueError, match="mine"):
            interpret(inner, wrong)
        Value(2.0)

    interpret(outer, run)
    Value(3.0)
    assert (outer.said, inner.said) == (["leaf"], ["leaf"])


def test_one_of_another_thread_waits() -> None:
    order: list[str] = []

    def mine() -> None:
        thread.start()
        thread.join(0.05)
        order.append("mine")

    thread = threading.Thread(target=interpret, args=(Interpreter(), order.append, "other"))
    interpret(Interpreter(), mine)
    thread.join()
    assert order == ["mine", "other"]


def _interrupted(job: Callable[[], Any], entry: int) -> bool:
    """Whether the job ended before this entry of a function of `value.py`, at which Ctrl-C comes: there and after calls
    and rounds of loops Python looks for signals."""
    seen = 0

    def look(frame: Any, event: str, _: Any) -> None:
        nonlocal seen
        if event == "call" and frame.f_code.co_filename == value.__file__:
            seen += 1
            if seen == entry:
                sys.settrace(before)
                raise KeyboardInterrupt

    before = sys.gettrace()
    sys.settrace(look)
    try:
        job()
    except KeyboardInterrupt:
        return False
    finally:
        sys.settrace(before)
    return True


def test_an_interrupt_leaves_nobody_in_charge() -> None:
    x, entry = Value(0.5), 1
    while not _interrupted(lambda: mg.compile(lambda y: x * y + 1.0, backend="numpy")(2.0), entry):
        assert not is_interpreted()
        assert (x * 2.0).data == 1.0
        entry += 1
    assert entry > 5
    thread = threading.Thread(target=interpret, args=(Interpreter(), int), daemon=True)  # no lock is held, either
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_a_trace_lists_the_program_that_the_eager_engine_computes() -> None:
    seen: list[Any] = []

    def f(x: Any, y: Any) -> Any:
        seen.extend([x, y])
        return program(x, y)

    compiled = mg.compile(f, backend="numpy")
    found = compiled(0.7, 1.9)
    assert all(x.__class__ is Traced for x in seen)
    assert [float(v) for v in found] == pytest.approx([v.data for v in program(Value(0.7), Value(1.9))], rel=1e-15)


def test_only_the_main_thread_without_others_is_alone() -> None:
    found = list[bool]()
    if threading.active_count() == 1:
        assert is_alone()
    other = threading.Thread(target=lambda: found.append(is_alone()))
    other.start()
    other.join()
    assert found == [False]


def test_whether_a_thread_is_alone_is_told_without_letting_others_run() -> None:
    """The garbage collector runs Python code, and with it other threads: one of these may be waiting for a lock that
    Python holds while it lists the frames of all."""
    before, collected = gc.get_threshold(), list[str]()

    def callback(phase: str, info: object) -> None:
        collected.append(phase)

    gc.callbacks.append(callback)
    try:
        gc.set_threshold(1)
        count = len(collected)
        is_alone()
        assert len(collected) == count
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(callback)
