"""Threads that want to trace while another one does."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import macrograd as mg
from macrograd.compiler.trace import turns

LONG = 120.0  # seconds; only a failure waits for them


def double(x: Any) -> Any:
    return x + x


def test_a_thread_that_waits_long_says_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The traced function here goes on once it has said so, and then the thread has its turn."""
    monkeypatch.setattr(turns, "PATIENCE", 0.01)
    said, texts = threading.Event(), list[str]()

    def warn(text: str, category: type[Warning]) -> None:
        texts.append(f"{category.__name__}: {text}")
        said.set()

    monkeypatch.setattr(turns, "warn", warn)
    with ThreadPoolExecutor(1) as pool:
        waiting = []

        def traced(x: Any) -> Any:
            if not waiting:  # a function may be traced more than once
                waiting.append(pool.submit(lambda: float(mg.compile(double, backend="numpy")(4.0))))
                assert said.wait(LONG)
            return x * 3.0

        assert mg.compile(traced, backend="numpy")(2.0) == 6.0
        assert waiting[0].result(LONG) == 8.0
    (text,) = texts
    assert text.startswith("RuntimeWarning: a thread has waited 0.01 seconds to compile a function")
    assert "compile before, or in the traced function itself" in text


def test_where_warnings_are_errors_a_function_that_waits_for_a_pool_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait forever; the error is that of the thread, and the next function can be traced."""
    monkeypatch.setattr(turns, "PATIENCE", 0.01)

    def warn(text: str, category: type[Warning]) -> None:
        raise category(text)

    monkeypatch.setattr(turns, "warn", warn)
    with ThreadPoolExecutor(1) as pool:

        def traced(x: Any) -> Any:
            return x * pool.submit(lambda: float(mg.compile(double, backend="numpy")(4.0))).result(LONG)

        with pytest.raises(RuntimeWarning, match="neither will go on"):
            mg.compile(traced, backend="numpy")(2.0)
        assert pool.submit(lambda: float(mg.compile(double, backend="numpy")(4.0))).result(LONG) == 8.0
    assert mg.compile(double, backend="numpy")(2.0) == 4.0


def test_the_turn_ends_with_an_error_of_the_traced_function() -> None:
    def wrong(x: Any) -> Any:
        raise ZeroDivisionError

    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                pool.submit(lambda: mg.compile(wrong, backend="numpy")(1.0)).result(LONG)
            assert pool.submit(lambda: float(mg.compile(double, backend="numpy")(4.0))).result(LONG) == 8.0
