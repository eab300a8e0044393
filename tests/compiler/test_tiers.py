"""Two tiers: the first code is there at once, the better one takes over between calls, and no bit differs."""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from random_programs import RandomProgram, every_line, programs

import macrograd as mg
from macrograd import Value
from macrograd.compiler.jit import native, tiers
from macrograd.compiler.targets.llvm.execute import LlvmState
from macrograd.compiler.targets.llvm.kernel import _kernel


@pytest.fixture(autouse=True)
def _tiers_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also short modules have two tiers here, and nothing is known of them."""
    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    monkeypatch.setattr(native, "LONG", 0)


def bits(x: Any) -> Any:
    """NaNs are one: their signs and payloads are the processor's business."""
    x = np.asarray(x)
    return np.where(np.isnan(x), np.nan, x).tobytes()


def state_of(bound: Any) -> LlvmState:
    state = bound._state
    assert isinstance(state, LlvmState)
    return state


def improve(bound: Any) -> None:
    """Have the better code made, now."""
    state_of(bound).native._watch.pays()
    tiers.wait()


def is_improved(bound: Any) -> bool:
    return state_of(bound).native.improved


def answers(bound: Any) -> tuple[Any, Any]:
    return bits(bound()), bits(bound.gradient)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("samples", [1, 5, 300])
def test_every_operation_has_the_same_bits_in_both_tiers(dtype: str, samples: int) -> None:
    program = every_line()
    bound = mg.compile(program.loss, batch=True, dtype=dtype, backend="llvm").bind(*program.data(samples))
    first = answers(bound)
    assert not is_improved(bound)
    improve(bound)
    assert is_improved(bound)
    assert answers(bound) == first


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=programs())
def test_random_programs_have_the_same_bits_in_both_tiers(program: RandomProgram) -> None:
    bound = mg.compile(program.loss, batch=True, backend="llvm").bind(*program.data(20))
    first = answers(bound)
    improve(bound)
    assert answers(bound) == first


def test_streams_have_the_same_bits_in_both_tiers() -> None:
    rng = np.random.default_rng(0)
    start = [Value(float(x)) for x in rng.uniform(-1, 1, 20)]

    def irregular(x: Any) -> Any:
        nodes = [*start, x]
        for i, j, op in rng.integers(0, 20, (2000, 3)).tolist():
            a, b = nodes[-1 - i], nodes[-1 - j]
            nodes.append(mg.tanh(a) if op < 7 else a * b if op < 14 else a - b)
        return mg.sum(nodes[-30:])

    _kernel.cache_clear()
    bound = mg.compile(irregular, batch=True, backend="llvm").bind(np.linspace(-1, 1, 37))
    assert "stream" in str(bound._prepared.program)
    first = answers(bound)
    tiers.finish()
    assert answers(bound) == first


def chain(w: Value) -> Any:
    def f(x: Any) -> Any:
        for _ in range(5):
            x = mg.tanh(x * w)
        return x

    return mg.compile(f, batch=True, backend="llvm")


def test_code_that_is_used_is_improved_and_other_code_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "_DEARER", 0.0)  # it pays at the next time it asks
    used, unused = chain(Value(0.5)).bind(np.ones(3)), chain(Value(0.25)).bind(np.ones(4))
    for _ in range(3):
        used()
    tiers.wait()
    assert is_improved(used)
    assert not is_improved(unused)


def test_nothing_is_improved_before_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "_DEARER", 1e9)
    bound = chain(Value(0.5)).bind(np.ones(3))
    for _ in range(100):
        bound()
    tiers.wait()
    assert not is_improved(bound)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_what_an_earlier_process_met_is_improved_at_once_and_then_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    first = chain(Value(0.5)).bind(np.ones(3))
    expected = answers(first)
    again = chain(Value(0.5)).bind(np.ones(3))
    assert answers(again) == expected
    tiers.wait()
    assert is_improved(again)
    monkeypatch.setattr(native, "_compile", lambda *_: pytest.fail("all is in the cache"))
    kept = chain(Value(0.5)).bind(np.ones(3))
    assert answers(kept) == expected
    assert is_improved(kept)


@pytest.mark.parametrize("choice", ["first", "best"])
def test_one_tier_can_be_chosen(monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    monkeypatch.setenv("MACROGRAD_TIERS", choice)
    bound = chain(Value(0.5)).bind(np.ones(3))
    answers(bound)
    if choice == "first":
        improve(bound)
    assert is_improved(bound) == (choice == "best")


def test_better_code_that_cannot_be_made_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = chain(Value(0.5)).bind(np.ones(3))
    expected = answers(bound)

    def fails(*_: Any) -> bytes:
        raise RuntimeError("LLVM ran out of something")

    monkeypatch.setattr(native, "_compile", fails)
    improve(bound)
    assert answers(bound) == expected
    assert not is_improved(bound)


def test_calls_go_on_while_the_code_is_replaced() -> None:
    f = chain(Value(0.5))
    X = np.linspace(-1, 1, 500)
    bound = f.bind(X)
    expected = answers(bound)
    stop, wrong = threading.Event(), []

    def call() -> None:
        mine = f.bind(X)
        while not stop.is_set():
            if answers(mine) != expected:
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    improve(bound)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert is_improved(bound)


def test_code_that_is_gone_is_kept_for_the_next_process(folder: Path) -> None:
    bound = chain(Value(0.5)).bind(np.ones(3))
    assert [path.stem[64:] for path in folder.glob("*.o")] == ["-baseline"]
    build = state_of(bound).native._watch._build
    assert build is not None
    del bound
    gc.collect()
    build()
    assert [path.stem[64:] for path in folder.glob("*.o")] == [""]


def test_an_interrupt_is_not_lost_in_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """What native code calls must be no Python, in which a signal would be handled and its exception go nowhere."""
    bound = chain(Value(0.5)).bind(np.ones(3))
    entered = []

    def notice(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            entered.append(frame.f_code.co_name)

    callback = state_of(bound).native._watch._callback
    sys.setprofile(notice)
    callback()
    sys.setprofile(None)
    assert entered == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_can_compile() -> None:
    bound = chain(Value(0.5)).bind(np.ones(3))
    with tiers._builder._lock:  # the parent is about to submit something
        pid = os.fork()
        if pid == 0:
            tiers._builder.submit(lambda: None)
            tiers.wait()
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert np.isfinite(bound())
