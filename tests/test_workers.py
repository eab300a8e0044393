"""Threads that do jobs, and Ctrl-C between any two instructions of who waits for them."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from functools import partial

import pytest

from macrograd._workers import Job, Worker, together
from tests.interrupts import interrupted


def test_no_interrupt_leaves_a_job_running_or_a_worker_that_hears_nothing() -> None:
    workers = [Worker(), Worker()]
    last, going = 0, True
    while going:
        begun, ended = list[int](), list[int]()

        def job(number: int, begun: list[int] = begun, ended: list[int] = ended) -> None:
            begun.append(number)
            ended.append(number)

        run = partial(together, workers, [partial(job, 1), partial(job, 2)], partial(job, 0))
        going = interrupted(run, last)
        assert sorted(begun) == sorted(ended)
        assert len(begun) == len({*begun})
        again = list[int]()
        together(workers, [partial(again.append, 1), partial(again.append, 2)], lambda: None)
        assert sorted(again) == [1, 2]
        last += 1
    assert sorted(ended) == [0, 1, 2]
    assert last > 100


def test_what_a_job_raises_is_raised_where_all_are_awaited() -> None:
    ended = list[int]()
    with pytest.raises(ZeroDivisionError):
        together([Worker(), Worker()], [lambda: 1 // 0, partial(ended.append, 1)], partial(ended.append, 0))
    assert sorted(ended) == [0, 1]


def test_a_second_interrupt_does_not_leave_a_job_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while the first one waits for it."""
    worker, ended, go, wait = Worker(), list[int](), threading.Event(), Worker.wait
    presses = iter(range(3))

    def pressed(self: Worker, job: Job) -> None:
        if next(presses, None) is not None:
            raise KeyboardInterrupt
        go.set()
        wait(self, job)

    monkeypatch.setattr(Worker, "wait", pressed)
    with pytest.raises(KeyboardInterrupt):
        together([worker], [lambda: (go.wait(60.0), ended.append(1))], lambda: None)
    assert ended == [1]


def test_its_thread_ends_with_a_worker() -> None:
    worker, ended = Worker(), threading.Event()
    held = Job(lambda: None)
    known = weakref.ref(held)
    worker.begin(held)
    worker.wait(held)
    del held
    worker.begin(Job(ended.set))  # is done, although nobody waits for it
    del worker
    assert ended.wait(60.0)
    gc.collect()
    assert known() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_starts_its_own_thread() -> None:
    worker = Worker()
    child = os.fork()
    if not child:
        done = list[int]()
        together([worker], [partial(done.append, 1)], lambda: None)
        os._exit(0 if done == [1] else 1)
    assert os.waitpid(child, 0)[1] == 0
