"""Threads that are inside LLVM when the process ends, which must leave it before.

Python ends without the daemons among its threads. The C library's exit handlers then free what LLVM works on, and a
thread that is inside of it ends the process with SIGSEGV or SIGABRT, after its work was done.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

from macrograd._forks import free_in_child
from macrograd._workers import surely

Given = ParamSpec("Given")
Made = TypeVar("Made")


class Gate:
    """The way into LLVM, which closes when the process ends."""

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}  # for each thread one, which it holds while it is inside
        self._ended_by: int | None = None

    def through(self, run: Callable[[], Made]) -> Made:
        """Run what works inside. Raises SystemExit, which ends a thread, if another thread ends the process."""
        me = threading.get_ident()
        lock = self._locks.get(me) or self._locks.setdefault(me, free_in_child(threading.Lock()))
        with lock:
            if self._ended_by not in (None, me):
                raise SystemExit
            return run()

    def close(self) -> None:
        """Let no other thread in, and wait for those inside, also when Ctrl-C comes: for one module at most."""
        self._ended_by = me = threading.get_ident()
        for thread, lock in list(self._locks.items()):
            if thread != me:
                surely(partial(self.wait, lock))

    def wait(self, lock: threading.Lock) -> None:
        with lock:  # Ctrl-C cannot come between taking it and giving it back, as it could after a call
            pass


_gate = Gate()
atexit.register(_gate.close)


def leaves_at_exit(run: Callable[Given, Made]) -> Callable[Given, Made]:
    """A function that works inside LLVM: the process does not end before it returns."""

    @wraps(run)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        return _gate.through(lambda: run(*args, **kwargs))

    return call
