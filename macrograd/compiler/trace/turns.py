"""One thread traces at a time: the others wait for their turn, and after a while say what for.

A traced function that waits for another thread to compile something waits forever, since that one waits for its turn.
Nobody can tell this from a long trace, so it is a warning.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from macrograd import value
from macrograd._warn import warn
from macrograd.interpreter import Interpreter

PATIENCE = 10.0  # seconds

Result = TypeVar("Result")


def in_turn(by: Interpreter, run: Callable[..., Result], *args: Any) -> Result:
    """`value.interpret`, once no other thread has an interpreter in charge."""
    # Ctrl-C, which would leave the lock taken between two lines of Python, comes to the main thread alone.
    if threading.current_thread() is threading.main_thread():
        return value.interpret(by, run, *args)
    if not value.turn.acquire(timeout=PATIENCE):
        warn(
            f"a thread has waited {PATIENCE:g} seconds to compile a function, because another thread is tracing one, "
            "and only one does at a time. If the traced function waits for this thread, as for the result of a pool, "
            "neither will go on: compile before, or in the traced function itself",
            RuntimeWarning,
        )
        value.turn.acquire()
    try:
        return value.interpret(by, run, *args)
    finally:
        value.turn.release()
