"""Trials on several processes of this machine, of which this one is the first: it works while the others start."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.util import _args_from_interpreter_flags  # type: ignore[attr-defined]  # no other has them

from macrograd._workers import Job, Worker, surely
from macrograd.tuning.parcels import Parcel, begun, got, put
from macrograd.tuning.tasks import Tasks
from macrograd.tuning.trial import Outcome, Trial, Work

# A process that died is replaced, unless each has died so often in a row without finishing anything.
_MOST_LOSSES = 3
# Libraries of matrix products start a thread for each core in every process, unless these say otherwise.
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip

SERVE = "from macrograd.tuning.worker import serve; serve()"


class ElsewhereError(Exception):
    """The traceback of an error in another process."""

    def __str__(self) -> str:
        return f"in another process:\n{self.args[0]}"


class Crew:
    """This process and `others`, each of them with a thread here that hands it tasks.

    The others get the work pickled. Use `run` for each series of tasks, and `close` at the end.
    """

    def __init__(self, work: Work, others: int) -> None:
        self._work, self._parcel = work, Parcel(work)
        self._tasks: Tasks | None = None
        self._next: Iterator[list[Trial]] = iter(())
        self._lost: list[list[Trial]] = []  # tasks whose process died
        self._losses = self._out = 0  # deaths in a row; tasks that other processes have
        self._over = False
        self._lock = threading.Lock()
        self._changed: queue.SimpleQueue[None] = queue.SimpleQueue()  # for each of the others an element, at a change
        self._found: queue.SimpleQueue[list[Outcome] | BaseException] = queue.SimpleQueue()
        self._running: set[subprocess.Popen[bytes]] = set()
        cores = max(1, (os.cpu_count() or 1) // (others + 1))
        self._environment = {**dict.fromkeys(_THREADS, str(cores)), **os.environ}
        self._guides = [(Worker(), Job(self._guide)) for _ in range(others)]
        self._begun = False

    def run(self, tasks: Tasks) -> Iterator[list[Outcome]]:
        """The outcomes of all tasks, as they arrive. Raises RuntimeError if processes keep dying, and whatever a trial
        raises."""
        with self._lock:
            self._tasks, self._next = tasks, iter(tasks)
        if self._begun:
            self._tell()
        else:  # now: before, nobody could close this if Ctrl-C came
            self._begun = True
            for worker, guide in self._guides:
                worker.begin(guide)
        while (some := self._take()) is not None:
            yield tasks.done(self._work(some))
            yield from self._arrived()
        while self._busy():
            yield from self._arrived(wait=True)

    def _take(self) -> list[Trial] | None:
        """The next task for this process. Those whose process died are left to others: they may kill this one, too."""
        with self._lock:
            return next(self._next, None)

    def _busy(self) -> bool:
        with self._lock:
            return bool(self._out or self._lost) or not self._found.empty()

    def _arrived(self, *, wait: bool = False) -> Iterator[list[Outcome]]:
        while wait or not self._found.empty():
            wait, found = False, self._found.get()
            if isinstance(found, BaseException):
                raise found
            yield found

    def _tell(self) -> None:
        """Tell the others' threads that something has changed; one that finds nothing to do waits again."""
        for _ in self._guides:
            self._changed.put(None)

    def close(self) -> None:
        """End the other processes, whatever they do, also when Ctrl-C comes meanwhile."""
        try:
            self._close()
        except BaseException:
            surely(self._close)
            raise

    def _close(self) -> None:
        with self._lock:
            self._over = True
            for process in self._running:
                process.kill()
        self._tell()
        for worker, guide in self._guides:
            worker.wait(guide)
        self._parcel.close()

    # --- in a thread for each of the others ---------------------------------------------------------------------------

    def _guide(self) -> None:
        try:
            while not self._over:
                self._one()
        except BaseException as error:  # noqa: BLE001 - it is raised where the outcomes are awaited
            self._found.put(error)

    def _one(self) -> None:
        """Start a process, and hand it tasks until there are none or it dies."""
        process = self._started()
        if process is None:
            return
        some: list[Trial] | None = None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            begun(process.stdout)
            self._parcel.send(process.stdin)
            while (some := self._wanted()) is not None:
                put(process.stdin, some)
                self._keep(*got(process.stdout))
        except (EOFError, ConnectionError) as error:
            self._died(some, error)
        finally:
            with self._lock:
                self._running.discard(process)
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was not sent is lost
                    stream.close()

    def _wanted(self) -> list[Trial] | None:
        """The next task, once there is one; None at the end."""
        while True:
            with self._lock:
                if self._over:
                    return None
                some = self._lost.pop() if self._lost else next(self._next, None)
                if some is not None:
                    self._out += 1
                    return some
            self._changed.get()

    def _keep(self, outcomes: list[Outcome], error: BaseException | None, told: str) -> None:
        if error is not None:
            error.__cause__ = ElsewhereError(told)
        with self._lock:
            self._losses, self._out = 0, self._out - 1
            assert self._tasks is not None
            self._found.put(self._tasks.done(outcomes) if error is None else error)

    def _died(self, some: list[Trial] | None, error: Exception) -> None:
        with self._lock:
            self._losses += 1
            if some is not None:
                self._lost.append(some)
                self._out -= 1
                self._tell()
            if self._over or self._losses < _MOST_LOSSES * len(self._guides):
                return
        raise RuntimeError(
            f"{self._losses} processes died in a row without finishing a trial, most likely for lack of memory: use "
            f"fewer than {len(self._guides) + 1} workers"
        ) from error

    def _started(self) -> subprocess.Popen[bytes] | None:
        code = f"import sys; sys.path[:] = {sys.path!r}; {SERVE}"
        command = [sys.executable, *_args_from_interpreter_flags(), "-c", code]
        with self._lock:
            if self._over:
                return None
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment,
                pass_fds=self._parcel.descriptors,
            )  # fmt: skip
            self._running.add(process)
            return process
