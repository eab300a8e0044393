"""Another process of a sweep: tasks come through its standard input, and what they find leaves through its output."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import traceback
from typing import IO, Any

from macrograd.tuning import parcels
from macrograd.tuning.trial import Outcome, Work


def serve() -> None:
    """Answer each task with (outcomes, error, its traceback), until the input ends; this ends the process, whatever it
    computes. What trials print goes to standard error, and what they read is empty."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    source, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    parcels.begin(answers)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr  # which keeps no line until the end, when the process is killed
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(source, arrived), daemon=True).start()
    work: Work | None = None
    parcel = arrived.get()
    while True:
        task, outcomes, failed, told = arrived.get(), list[Outcome](), None, ""
        try:
            work = parcels.unpacked(*parcel) if work is None else work
            outcomes = work(task)
        except BaseException as error:  # noqa: BLE001 - it is raised where the sweep was called
            failed, told = parcels.sendable(error), traceback.format_exc()
        try:
            parcels.put(answers, (outcomes, failed, told))
        except OSError:  # the first process is gone
            os._exit(0)


def _read(source: IO[bytes], arrived: queue.SimpleQueue[Any]) -> None:
    """Hand on the parcel and the tasks, until the first process is gone or needs no more: a fit may take hours yet."""
    status = 1
    try:
        arrived.put(parcels.received(source))
        while True:
            arrived.put(parcels.got(source))
    except (EOFError, OSError):
        status = 0
    except BaseException:  # noqa: BLE001 - the process ends with it
        traceback.print_exc()
    finally:
        os._exit(status)
