"""Another process of a sweep: tasks come through its standard input, and what they find leaves through its output."""

from __future__ import annotations

import os
import signal
import sys
import traceback

from macrograd.tuning import parcels
from macrograd.tuning.trial import Outcome, Work


def serve() -> None:
    """Answer each task with (outcomes, error, its traceback), until the input ends. What trials print goes to standard
    error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    source, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    work: Work | None = None
    try:
        parcel = parcels.received(source)
        while True:
            task, outcomes, failed, told = parcels.got(source), list[Outcome](), None, ""
            try:
                work = parcels.unpacked(*parcel) if work is None else work
                outcomes = work(task)
            except BaseException as error:  # noqa: BLE001 - it is raised where the sweep was called
                failed, told = parcels.sendable(error), traceback.format_exc()
            parcels.put(answers, (outcomes, failed, told))
    except (EOFError, OSError):  # the first process is gone, or needs no more
        return
