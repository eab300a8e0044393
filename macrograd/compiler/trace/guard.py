"""Bound calls refuse to run while a function is traced in their thread: their numbers would become constants.

To stay cheap they do not check for this themselves. A trace swaps the function that they run, and later restores it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn
from weakref import WeakSet

_WAY_OUT = (
    "its current numbers would become constants of this program. Call the original function, f.fn, instead, or pass "
    "the result of step() as an argument"
)

#: All live bound calls; each has a `_run`.
bound_calls: WeakSet[Any] = WeakSet()


@contextmanager
def guarded_calls(refuse: Callable[[str, str], NoReturn]) -> Iterator[None]:
    """Within this context, bound calls in this thread are refused; those of other threads run."""
    thread, before = threading.get_ident(), [(call, call._run) for call in list(bound_calls)]

    def run_or_refuse(run: Callable[[], Any]) -> Any:
        if threading.get_ident() != thread:
            return run()
        refuse("a bound call (step(), from bind) was made", _WAY_OUT)

    for call, run in before:
        call._run = partial(run_or_refuse, run)
    try:
        yield
    finally:
        for call, run in before:
            call._run = run
