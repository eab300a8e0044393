"""Ctrl-C, deferred to a place where it does no harm."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interrupts:
    """While it is entered, Ctrl-C raises KeyboardInterrupt at once, but not inside `held()` and `finishing()`: there it
    is kept, and `pending` says so. Outside of the main thread, where Python delivers no signals, it does nothing."""

    def __init__(self) -> None:
        self.pending = False
        self._holding = self._insisting = False
        self._raised = False  # and is on its way to what ends the run: an impatient second one must not disturb that
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        # A program that has its own way with Ctrl-C keeps it.
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
        """Keep Ctrl-C until the end of the block, and raise KeyboardInterrupt there."""
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
        """What ends a run anyway: one Ctrl-C in the block has nothing left to end and is dropped, a second is not."""
        self._holding, self._insisting, self.pending = True, True, False
        try:
            yield
        finally:
            self._holding = self._insisting = self.pending = False
