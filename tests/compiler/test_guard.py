"""The guard: a bound call does not run within a trace of its thread, and runs before, after and elsewhere."""

from __future__ import annotations

import contextlib
import threading
from typing import NoReturn

import pytest

from macrograd.compiler.trace.guard import bound_calls, guarded_calls


class Call:
    """What a bound call is to the guard."""

    def __init__(self) -> None:
        self._run = lambda: 3.0
        bound_calls.add(self)

    def __call__(self) -> float:
        return self._run()


def refuse(what: str, way_out: str) -> NoReturn:
    raise TypeError(f"{what}: {way_out}")


def test_bound_calls_of_this_thread_are_refused_for_the_time_of_a_trace() -> None:
    call, found = Call(), []
    with guarded_calls(refuse):
        with pytest.raises(TypeError, match=r"a bound call .* was made: its current numbers would become constants"):
            call()
        other = threading.Thread(target=lambda: found.append(call()))
        other.start()
        other.join()
    assert found == [3.0]
    assert call() == 3.0


def test_traces_in_traces_and_errors_leave_the_call_as_it_was() -> None:
    call = Call()
    with contextlib.suppress(ZeroDivisionError), guarded_calls(refuse):
        with guarded_calls(refuse), pytest.raises(TypeError):
            call()
        with pytest.raises(TypeError):  # still inside of the outer one
            call()
        raise ZeroDivisionError
    assert call() == 3.0
