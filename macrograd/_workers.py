"""Threads that do jobs for who waits for them, whom Ctrl-C cannot leave waiting for ever.

It may come between any two instructions of who waits. Python's own pools and events would then leave a lock taken, for
which both sides would wait. Queues are in C, and a job that may not have been handed over yet is handed over again.
"""

from __future__ import annotations

import os
from _thread import start_new_thread
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

_WAIT = 0.1  # seconds; who was interrupted when a job ended, and so did not hear of it, looks that often


class Job:
    """A function that a worker runs, and the error that it ended with."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.run, self.done = run, False
        self.error: BaseException | None = None


class Worker:
    """A thread that does one job after the other. It ends when this object does, and not before its jobs are done."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._jobs, self._ended = SimpleQueue[Job | None](), SimpleQueue[None]()
        start_new_thread(_work, (self._jobs, self._ended))

    def begin(self, job: Job) -> None:
        if self._process != os.getpid():  # forked, and so without the thread
            self._begin()
        self._jobs.put(job)

    def wait(self, job: Job) -> None:
        """Wait until a job is done, which may have been begun."""
        if not job.done:
            self.begin(job)
        while not job.done:
            with suppress(Empty):
                self._ended.get(timeout=_WAIT)

    def __del__(self) -> None:
        with suppress(AttributeError):  # interrupted before it had any
            self._jobs.put(None)


def together(workers: Sequence[Worker], jobs: Sequence[Callable[[], object]], own: Callable[[], object]) -> None:
    """Let each worker do a job while `own` runs here, and wait for all of them, also when Ctrl-C comes meanwhile.
    Raises what one of them raises."""
    pairs = [(worker, Job(run)) for worker, run in zip(workers, jobs, strict=True)]
    try:
        for worker, job in pairs:
            worker.begin(job)
        own()
        _wait_for(pairs)
    except BaseException:
        surely(lambda: _wait_for(pairs))
        raise
    for _, job in pairs:
        if job.error is not None:
            raise job.error


def surely(finish: Callable[[], object]) -> None:
    """Finish what an interrupt has come into; another one does not shorten that."""
    while True:
        try:
            finish()
            return
        except KeyboardInterrupt:
            continue


def _wait_for(pairs: Sequence[tuple[Worker, Job]]) -> None:
    for worker, job in pairs:
        worker.wait(job)


def _work(jobs: SimpleQueue[Job | None], ended: SimpleQueue[None]) -> None:
    while (job := jobs.get()) is not None:
        if job.done:
            continue
        try:
            job.run()
        except BaseException as error:  # noqa: BLE001 - it is raised by who waits
            job.error = error
        job.done = True
        del job.run  # and what it holds
        ended.put(None)
