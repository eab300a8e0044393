"""Ctrl-C, deferred to a place where it does no harm."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interrupts:
    """While it is entered, Ctrl-C raises KeyboardInterrupt at once, except inside `held()` and `finishing()`, where it
    is deferred and `pending` set. Outside the main thread, where Python delivers no signals, it does nothing."""

    def __init__(self) -> None:
        self.pending = False
        self._holding = self._insisting = False
        self._raised = False  # it is on its way to the code that ends the run: a second one must not disturb it
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        # A program's own handler for Ctrl-C is kept.
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._received)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._insisting and self.pending:
            raise KeyboardInterrupt
        if self._holding or self._raised:
            self.pending = True
            return
        self._raised = True
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Defer Ctrl-C to the end of the block, and raise KeyboardInterrupt there."""
        self._holding, self._raised = True, False
        try:
            yield
        finally:
            self._holding = False
        if self.pending:
            self.pending, self._raised = False, True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """For the code that ends a run: one Ctrl-C in the block is dropped, since the run is ending anyway; a second is
        not."""
        self._holding, self._insisting, self.pending = True, True, False
        try:
            yield
        finally:
            self._holding = self._insisting = self.pending = False
