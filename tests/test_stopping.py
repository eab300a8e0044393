"""Ctrl-C in native code: it ends long loops early, and nothing is half-updated."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, optim
from macrograd.compiler.step import TrainingLoop
from macrograd.compiler.targets.llvm import execute, stopping
from macrograd.compiler.targets.llvm import steps as native_steps
from macrograd.compiler.targets.llvm.stopping import Interruptible
from macrograd.train import pace
from tests.interrupts import interrupted

pytest.importorskip("llvmlite")
A = Value(0.3)
FOREVER = 2_000_000_000  # rounds, the most that a loop has


class Called(Exception):  # noqa: N818 - it says that the handler was called
    pass


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Once native code first runs on a thread, a signal comes whose handler sets this event and raises Called."""
    came = threading.Event()

    def handler(number: int, frame: Any) -> None:
        came.set()
        raise Called

    def started(*call: Any) -> None:
        start(*call)
        if not came.is_set():
            threading.Timer(0.1, signal.raise_signal, (signal.SIGINT,)).start()

    start, before = stopping.start_new_thread, signal.signal(signal.SIGINT, handler)
    monkeypatch.setattr(stopping, "start_new_thread", started)
    yield came
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def held(signals: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code waits until it is told to stop, so that it is never done before, and short loops look at `stop`, too."""
    begin = Interruptible.__init__

    def begins(self: Interruptible, run: Callable[[], object], stop: Callable[[int], None]) -> None:
        told = threading.Event()
        begin(self, lambda: (told.wait(), run()), lambda whether: (stop(whether), told.set())[0])

    monkeypatch.setattr(Interruptible, "__init__", begins)
    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    monkeypatch.setattr(stopping, "LONG", 1)
    monkeypatch.setattr(execute, "LONG", 1)


def decaying(x: Any, rounds: int) -> Any:
    return mg.loop(rounds, lambda i, s: s * 0.999999 + A * x, 0.0)


def endless(x: Any) -> Any:
    """It takes many minutes: what ends is ended by the signal, however late that comes."""
    return mg.loop(1_000, lambda j, s: mg.loop(FOREVER, lambda i, t: t * 0.999999 + A * x, s), 0.0)


@pytest.mark.parametrize("how", [{}, {"batch": True}, {"batch": True, "threads": 2}, {"dtype": "float32"}])
def test_ctrl_c_ends_a_loop(how: dict[str, Any], signals: threading.Event) -> None:
    given = np.linspace(0.0, 1.0, 2_000) if "batch" in how else 1.0
    f = mg.compile(endless, **how)
    with pytest.raises(Called):
        f(given)
    assert signals.is_set()


@pytest.mark.usefixtures("held")
def test_a_gradient_that_is_interrupted_adds_nothing() -> None:
    f = mg.compile(lambda x: mg.loop(10_000, lambda i, s: s * 0.999 + A * x, 0.0, memory="sqrt"))
    A.grad = 0.5
    with pytest.raises(Called):
        f.backward(1.0)
    assert A.grad == 0.5
    A.grad = 0.0


@pytest.mark.usefixtures("held")
def test_the_run_after_one_that_was_interrupted_is_whole() -> None:
    """With the same buffers and the same code."""
    f = mg.compile(lambda x: mg.loop(10_000, lambda i, s: s * 0.5 + A * x, 0.0))
    with pytest.raises(Called):
        f(1.0)
    assert abs(f(1.0) - 2.0 * A.data) < 1e-15


def test_chunks_of_rounds_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last chunk is shorter, and where other rounds are nested in one."""

    def run(x: Any) -> Any:
        return mg.loop(307, lambda i, s: mg.tanh(mg.loop(3, lambda j, t: t * 0.9 + x * A, s) + 0.001 * i), 0.0)

    def results() -> list[float]:
        A.grad = 0.0
        return [mg.compile(run)(0.3), mg.compile(run, batch=True).backward(np.linspace(0.0, 1.0, 40)), A.grad]

    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    whole = results()
    started: list[Any] = []
    start = stopping.start_new_thread
    monkeypatch.setattr(stopping, "start_new_thread", lambda *x: started.append(x) or start(*x))
    monkeypatch.setattr(stopping, "LONG", 1)
    monkeypatch.setattr(execute, "LONG", 1)
    for at_once in (1, 40, 1_000):
        monkeypatch.setattr(stopping, "AT_ONCE", at_once)
        assert results() == whole
    assert started


def test_short_programs_run_on_the_thread_that_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "start_new_thread", lambda *x: pytest.fail("a thread was started"))
    f = mg.compile(lambda x: decaying(x, 5_000))
    assert abs(f(1.0) - decaying(1.0, 5_000).data) < 1e-9


def test_a_run_on_another_thread_is_not_handed_on() -> None:
    ran: list[threading.Thread] = []
    run = Interruptible(lambda: ran.append(threading.current_thread()), lambda whether: None)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    run()
    assert ran[0] is thread
    assert ran[1] is not threading.main_thread()


def test_what_a_run_raises_is_raised_where_it_was_called() -> None:
    def run() -> None:
        raise ValueError("in the thread")

    with pytest.raises(ValueError, match="in the thread"):
        Interruptible(run, lambda whether: None)()


# --- training -----------------------------------------------------------------------------------------------------


def line(threads: int = 1) -> TrainingLoop:
    """Training of one factor."""
    factor = Value(0.5)

    def loss(x: Any, y: Any) -> Any:
        return (mg.loop(300, lambda i, s: 0.9 * s + 0.1 * factor * x, 0.0) - y) ** 2

    x = np.linspace(0.1, 1.0, 64)
    sample, rule = mg.compile(loss, batch=True, threads=threads), optim.Adam(0.1)
    return TrainingLoop(sample, [x, 2.0 * x], rule.rule, rule.initial_state)


def steps(loop: TrainingLoop, count: int, first: int = 1) -> Any:
    return loop.run(np.tile(np.arange(64), count), np.full(count, 64), np.full(count, 0.1), first)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("team", [False, True])
def test_a_step_that_is_told_to_stop_is_dropped(team: bool, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those after it are the same as without it."""
    monkeypatch.setattr(execute, "TEAM_PRODUCTS", 1 if team else 1 << 60)
    whole = line(threads)
    losses = steps(whole, 6).losses
    monkeypatch.setattr(native_steps, "LONG", 1)
    loop = line(threads)
    assert (steps(loop, 3).losses == losses[:3]).all()
    before = loop.theta.copy(), loop.state.copy()
    loop.stop = lambda: True
    with monkeypatch.context() as patch:
        begin = Interruptible.__init__

        def begins(self: Interruptible, run: Any, stop: Any, asked: Any) -> None:
            """The code runs once it has been told."""
            told = threading.Event()
            begin(self, lambda: (told.wait(), run()), lambda whether: (stop(whether), told.set())[0], asked)

        patch.setattr(Interruptible, "__init__", begins)
        found = steps(loop, 3, 4)
    assert (found.why, found.done, len(found.losses)) == ("interrupted", 0, 0)
    assert (loop.theta == before[0]).all()
    assert (loop.state == before[1]).all()
    loop.stop = lambda: False
    again = steps(loop, 3, 4)
    assert (again.why, again.losses.tolist()) == ("", losses[3:].tolist())
    assert (loop.theta == whole.theta).all()
    assert (loop.state == whole.state).all()


def test_steps_made_from_python_stop_between_two() -> None:
    factor = Value(0.5)
    sample = mg.compile(lambda x, y: (factor * x - y) ** 2, batch=True, backend="numpy")
    x = np.linspace(0.1, 1.0, 64)
    loop = TrainingLoop(sample, [x, 2.0 * x], optim.SGD(0.1).rule)
    asked = iter([False, False, True])
    loop.stop = lambda: next(asked)
    found = steps(loop, 5)
    assert (found.why, found.done, len(found.losses)) == ("interrupted", 2, 2)


@pytest.mark.parametrize("most", [1, 1 << 12])  # numbers in a step that is not long: fewer than it has, and more
def test_the_many_short_steps_of_a_fit_need_no_thread(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as take a moment run together, and a thread that only waits for them would cost a hundredth of it."""
    monkeypatch.setattr(native_steps, "LONG", most)
    monkeypatch.setattr(pace, "RUN_SECONDS", 1e9)  # 1 step, then 8, then 64
    made, threads = [], []
    run, begin = TrainingLoop.run, Interruptible.__init__
    monkeypatch.setattr(TrainingLoop, "run", lambda *x, **known: made.append(len(x[2])) or run(*x, **known))
    monkeypatch.setattr(Interruptible, "__init__", lambda *x: threads.append(made[-1]) or begin(*x))
    trainer = mg.Trainer(mg.nn.MLP(2, [4, 1], seed=0), "squared_error", optim.SGD(0.01))
    trainer.fit(np.ones((32, 2)), np.ones(32), steps=1 + 8 + 64, progress=False)
    assert made == [1, 8, 64]
    assert threads == (made if most == 1 else [])


def test_ctrl_c_ends_a_fit_in_the_middle_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step would take many minutes. The model is that of the last complete one, here the first."""
    start = stopping.start_new_thread

    def started(*call: Any) -> None:
        start(*call)
        threading.Timer(0.1, signal.raise_signal, (signal.SIGINT,)).start()

    monkeypatch.setattr(stopping, "start_new_thread", started)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        model = mg.nn.MLP(1, [1], seed=0)
        numbers = [p.data for p in model.parameters()]
        trainer = mg.Trainer(model, lambda p, t: (p - t) ** 2 + mg.detach(endless_rounds(t)))
        history = trainer.fit(np.ones((4, 1)), np.ones(4), steps=3, progress=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (history.stopped, len(history.losses)) == ("interrupted", 0)
    assert [p.data for p in model.parameters()] == numbers


def endless_rounds(t: Any) -> Any:
    return mg.loop(1_000, lambda j, s: mg.loop(FOREVER, lambda i, u: u * 0.999999 + t, s), 0.0)


def test_a_second_interrupt_still_waits_for_the_code(signals: threading.Event) -> None:
    """It uses buffers that the next run would use."""
    calls: list[int] = []
    told, ended = threading.Event(), threading.Event()

    def stop(whether: int) -> None:
        calls.append(whether)
        told.set()

    def run() -> None:
        told.wait()
        signals.clear()
        signal.raise_signal(signal.SIGINT)  # while the first one waits
        signals.wait()
        ended.set()

    with pytest.raises(Called):
        Interruptible(run, stop)()
    assert ended.is_set()
    assert calls == [1, 0]


def test_an_interrupt_between_any_two_instructions_waits_for_the_code() -> None:
    """Those of Python's own locks and queues are among them."""
    begun: list[int] = []
    ended: list[int] = []

    def run() -> None:
        begun.append(1)
        ended.append(1)

    last = 0
    while interrupted(Interruptible(run, lambda whether: None), last):
        assert begun == ended
        last += 1
    assert last > 50
    assert begun


def test_a_thread_that_begins_after_the_interrupt_does_nothing() -> None:
    ran: list[int] = []
    turn = stopping.Turn(lambda: ran.append(1))
    turn.give_up()
    turn.work()
    assert not ran
