"""Two tiers: the first code is there at once, the better one takes over between calls, and no bit differs."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from first_and_last import Call
from hypothesis import HealthCheck, given, settings
from random_programs import RandomProgram, every_line, programs

import macrograd as mg
from macrograd import Value
from macrograd.compiler.jit import native, tiers
from macrograd.compiler.targets.llvm import machine_code
from macrograd.compiler.targets.llvm.kernel import cached_kernel


@pytest.fixture(autouse=True)
def _tiers_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also short modules have two tiers here, and nothing is known of them; better code comes when it is requested."""
    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    monkeypatch.delenv("MACROGRAD_TIERS", raising=False)
    monkeypatch.setattr(tiers, "DEARER", math.inf)
    monkeypatch.setattr(native, "LONG", 0)
    monkeypatch.setattr(machine_code, "MOST", 1 << 23)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("samples", [1, 5, 300])
def test_every_operation_has_the_same_bits_in_both_tiers(dtype: str, samples: int) -> None:
    program = every_line()
    bound = Call(program.loss, *program.data(samples), dtype=dtype)
    first = bound()
    assert not bound.improved
    tiers.finish()
    assert bound.improved
    assert bound() == first


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=programs())
def test_random_programs_have_the_same_bits_in_both_tiers(program: RandomProgram) -> None:
    bound = Call(program.loss, *program.data(20))
    first = bound()
    tiers.finish()
    assert bound() == first


def test_streams_have_the_same_bits_in_both_tiers() -> None:
    rng = np.random.default_rng(0)
    start = [Value(float(x)) for x in rng.uniform(-1, 1, 20)]

    def irregular(x: Any) -> Any:
        nodes = [*start, x]
        for i, j, op in rng.integers(0, 20, (2000, 3)).tolist():
            a, b = nodes[-1 - i], nodes[-1 - j]
            nodes.append(mg.tanh(a) if op < 7 else a * b if op < 14 else a - b)
        return mg.sum(nodes[-30:])

    cached_kernel.made.clear()
    bound = Call(irregular, np.linspace(-1, 1, 37))
    assert "stream" in str(bound.prepared.program)
    first = bound()
    tiers.finish()
    assert bound() == first


def chain(w: Value) -> Any:
    def f(x: Any) -> Any:
        for _ in range(5):
            x = mg.tanh(x * w)
        return x

    return f


def test_code_that_is_used_is_improved_and_other_code_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "DEARER", 0.0)  # it pays at the next time it asks
    used, unused = Call(chain(Value(0.5)), np.ones(3)), Call(chain(Value(0.25)), np.ones(4))
    for _ in range(3):
        used()
    tiers.wait()
    assert used.improved
    assert not unused.improved


def test_nothing_is_improved_before_it_pays() -> None:
    bound = Call(chain(Value(0.5)), np.ones(3))
    for _ in range(100):
        bound()
    tiers.wait()
    assert not bound.improved


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path))
    return tmp_path


class Clock:
    """In place of `time`: seconds pass when the test says so, and compiling anything takes one."""

    def __init__(self) -> None:
        self.now = self.waiting = 0.0

    def perf_counter(self) -> float:
        return self.now + self.waiting

    def process_time(self) -> float:
        return self.now

    def thread_time(self) -> float:
        self.now += 1.0
        return self.now


class Spent:
    """A module's counters: it has run for so many ticks, of a thousand a second."""

    def __init__(self, clock: Clock, a_second: int = 1000) -> None:
        self.spent = ctypes.c_uint64(0)
        self._ticks = ctypes.CFUNCTYPE(ctypes.c_uint64)(lambda: 7 + int(a_second * clock.perf_counter()))
        ticks = ctypes.cast(self._ticks, ctypes.c_void_p).value
        assert ticks
        self.use = tiers.Use(ctypes.addressof(self.spent), ticks, self)


def test_use_is_what_a_module_has_run_not_what_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "time", clock := Clock())
    module = Spent(clock)
    clock.now += 8.0
    assert module.use() == 0.0
    module.spent.value = 2000
    assert module.use() == 2.0
    clock.waiting += 8.0  # idle
    assert module.use() == 2.0


def test_use_is_no_more_than_the_processor_time_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "time", clock := Clock())
    module, without = Spent(clock), Spent(clock, a_second=0)
    module.spent.value = 9000
    clock.now, clock.waiting = 1.0, 9.0  # a processor that others had nine times in ten
    assert module.use() == 1.0
    assert without.use() == 1.0  # whose processor has no such counter


def test_a_module_adds_up_how_long_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Noting(tiers.Use):
        def __init__(self, spent: int, ticks: int, code: object) -> None:
            super().__init__(spent, ticks, code)
            made.append((ctypes.c_uint64.from_address(spent), ctypes.CFUNCTYPE(ctypes.c_uint64)(ticks)))

    monkeypatch.setattr(native, "Use", Noting)
    bound = Call(chain(Value(0.5)), np.ones(3))
    (spent, ticks), found = made[-1], []
    begin = ticks()
    for _ in range(3):
        bound()
        found.append(spent.value)
    if begin == 0:
        pytest.skip("this processor has no counter that programs read")
    assert 0 < found[0] < found[1] < found[2] <= ticks() - begin
    tiers.finish()
    bound()
    assert bound.improved
    assert spent.value == found[2]  # better code is not watched


@pytest.mark.usefixtures("folder")
def test_trampolines_are_made_once_for_all_modules_and_kept_with_their_code(monkeypatch: pytest.MonkeyPatch) -> None:
    made, compiled = [], native.object_file

    def noted(text: str, *level: int) -> bytes:
        made.append(text)
        return compiled(text, *level)

    monkeypatch.setattr(native, "object_file", noted)
    a, other = Call(chain(Value(0.5)), np.ones(3)), chain(Value(0.5))
    b = Call(lambda x: mg.exp(other(x)), np.ones(3))
    expected = a()
    assert b() != expected
    assert a() == expected  # each module enters its own code
    assert sum("@enter.0" in text for text in made) <= 1  # none, if an earlier test has needed them
    assert len([text for text in made if "@run(" in text]) == 2
    monkeypatch.setattr(native, "object_file", lambda *_: pytest.fail("all is kept"))
    monkeypatch.setattr(native, "trampolines", lambda *_: pytest.fail("with the code"))
    kept = Call(chain(Value(0.5)), np.ones(3))
    assert kept() == expected
    assert not kept.improved


@pytest.mark.usefixtures("folder")
def test_what_earlier_processes_met_is_improved_sooner_and_then_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(native, "time", clock)
    monkeypatch.setattr(native, "Use", lambda *_: lambda began=clock.now: clock.now - began)
    for factor in ("DEARER", "BRIEFER"):
        monkeypatch.setattr(tiers, factor, 1.0)

    def process(seconds: float) -> Call:
        """The code as a new process finds it, after so many seconds in use."""
        made = Call(chain(Value(0.5)), np.ones(3))
        results = [made(), made()]
        tiers.wait()
        clock.now += seconds
        assert [*results, made()] == [expected] * 3
        tiers.wait()
        return made

    expected = Call(chain(Value(0.5)), np.ones(3))()
    assert not process(0.2).improved  # the first one would have had to use it for a second, this one for a quarter
    assert process(0.1).improved
    monkeypatch.setattr(native, "object_file", lambda *_: pytest.fail("all is in the cache"))
    kept = Call(chain(Value(0.5)), np.ones(3))
    assert kept() == expected
    assert kept.improved


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("later", [True, False], ids=["brief", "not brief"])
def test_a_longer_text_is_written_when_better_code_is_made(later: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And in a later process, which finds the code of the brief one, even if it would not begin with a brief one."""
    requested: list[Callable[[], None]] = []
    monkeypatch.setattr(tiers.builder, "submit", requested.append)  # the test says when better code is made
    written = []

    def text(value: float) -> tuple[str, Any]:
        written.append(value)
        store = f"define void @one(ptr %context) {{\n  store double {value}, ptr %context\n  ret void\n}}"
        return store, np.zeros(1, dtype=np.int32)

    room = ctypes.c_double()
    for brief in (lambda: text(1.0), (lambda: text(1.0)) if later else None):
        made = native.Native(b"two texts", ("one",), lambda: text(2.0), tiers=True, brief=brief)
        made.functions["one"](ctypes.addressof(room))
        assert room.value == 1.0
    assert written == [1.0]
    tiers.finish()
    for build in requested:
        build()
    assert made.improved
    made.functions["one"](ctypes.addressof(room))
    assert room.value == 2.0
    assert written == [1.0, 2.0]


@pytest.mark.parametrize("choice", ["first", "best"])
def test_one_tier_can_be_chosen(monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    monkeypatch.setenv("MACROGRAD_TIERS", choice)
    bound = Call(chain(Value(0.5)), np.ones(3))
    bound()
    if choice == "first":
        tiers.finish()
    assert bound.improved == (choice == "best")


def test_better_code_that_cannot_be_made_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = Call(chain(Value(0.5)), np.ones(3))
    expected = bound()

    def fails(*_: Any) -> bytes:
        raise RuntimeError("LLVM ran out of something")

    monkeypatch.setattr(native, "object_file", fails)
    tiers.finish()
    assert bound() == expected
    assert not bound.improved


def test_better_code_is_not_begun_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[Callable[[], None]] = []
    monkeypatch.setattr(tiers.builder, "submit", requested.append)
    bound = Call(chain(Value(0.5)), np.ones(3))
    tiers.finish()
    monkeypatch.setattr(tiers.builder, "ends", lambda: True)  # since it was requested
    monkeypatch.setattr(native, "object_file", lambda *_: pytest.fail("nobody would wait for it"))
    for build in requested:
        build()
    assert requested
    assert not bound.improved


@pytest.mark.filterwarnings("ignore:Exception in thread macrograd-tier:pytest.PytestUnhandledThreadExceptionWarning")
def test_after_an_unexpected_error_others_are_improved() -> None:
    failing: Future[threading.Thread] = Future()

    def fails() -> None:
        failing.set_result(threading.current_thread())
        raise KeyError("a fault of ours")

    tiers.builder.submit(fails)
    failing.result().join()  # until it has told of its error
    bound = Call(chain(Value(0.5)), np.ones(3))
    bound()
    tiers.finish()
    assert bound.improved


def test_calls_go_on_while_the_code_is_replaced() -> None:
    bound = Call(chain(Value(0.5)), np.linspace(-1, 1, 500))
    expected = bound()
    begun, stop, wrong = threading.Barrier(4), threading.Event(), []

    def call() -> None:
        mine = bound.again()
        begun.wait(60.0)
        while not stop.is_set():
            if mine() != expected:
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait(60.0)
    tiers.finish()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert bound.improved


def test_code_that_is_gone_is_kept_for_the_next_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = []

    class Noting(tiers.TierUp):
        def __init__(self, build: Callable[[], None], worth: float, use: Callable[[], float]) -> None:
            builds.append(build)
            super().__init__(build, worth, use)

    monkeypatch.setattr(native, "TierUp", Noting)
    bound = Call(chain(Value(0.5)), np.ones(3))
    assert [path.stem[64:] for path in folder.glob("*.o")] == ["-baseline"]
    (build,) = builds
    del bound
    gc.collect()
    build()
    assert [path.stem[64:] for path in folder.glob("*.o")] == [""]


def test_an_interrupt_is_not_lost_in_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Native code must not call Python, which would handle a signal there and lose its exception."""
    entered = []

    def notice(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            entered.append(frame.f_code.co_name)

    watch = tiers.TierUp(lambda: None, 0.0, lambda: 0.0)
    callback = ctypes.CFUNCTYPE(None)(watch.address)
    gc.disable()  # whose callbacks are Python
    sys.setprofile(notice)
    callback()
    sys.setprofile(None)
    gc.enable()
    assert entered == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_can_compile() -> None:
    bound = Call(chain(Value(0.5)), np.ones(3))
    expected = bound()
    with tiers.builder.lock:  # the parent is about to submit something
        pid = os.fork()
        if pid == 0:
            tiers.builder.submit(lambda: None)
            tiers.wait()
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert bound() == expected
