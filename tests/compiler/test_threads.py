"""Threads: each chunk of a share is done once, with its sums in its row, on the caller's thread or a helper's."""

from __future__ import annotations

import _thread
import ctypes
import os
import threading
from typing import Any

import numpy as np
import pytest

from macrograd.compiler.jit.text import DOUBLE
from macrograd.compiler.targets.llvm.context import Context
from macrograd.compiler.targets.llvm.threads import Helper, ThreadShare, new_share, together, wait_for

WHOLE = np.array([10.0, 20.0, 30.0])
CHUNK, TOTAL = 8, 30  # blocks: in the last chunk there are 6


class Share:
    """A share whose code for blocks is a Python function: it adds the numbers of its blocks to the sum in slot 2."""

    def __init__(self, share: ThreadShare, first: int, last: int) -> None:
        self.own, self.sums = np.zeros(3), np.full((4, 1), -1.0)
        self.reduced = np.array([2], dtype=np.int64)
        self.context, self.seen = Context(), list[tuple[int, int]]()
        self.blocks = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._blocks)
        share.context = ctypes.addressof(self.context)
        share.blocks = ctypes.cast(self.blocks, ctypes.c_void_p).value
        share.whole, share.own, share.size = WHOLE.ctypes.data, self.own.ctypes.data, 3
        share.reduced, share.count = self.reduced.ctypes.data, 1
        share.sums, share.first, share.last, share.chunk, share.total = self.sums.ctypes.data, first, last, CHUNK, TOTAL

    def _blocks(self, _: Any) -> None:
        first, last = self.context.first, self.context.last
        self.seen.append((first, last))
        self.own[2] += sum(range(first, last))


def check(share: Share) -> None:
    assert share.seen == [(8, 16), (16, 24), (24, 30)]
    assert share.own[:2].tolist() == WHOLE[:2].tolist()  # a copy of the numbers outside of blocks
    expected = [-1.0, *(float(sum(range(first, last))) for first, last in share.seen)]  # row 0 is another thread's
    assert share.sums[:, 0].tolist() == expected


def test_the_callers_own_share() -> None:
    share, run = new_share(DOUBLE)
    made = Share(share, 1, 4)
    run(ctypes.addressof(share))
    check(made)


@pytest.mark.parametrize("spins", [0, 1000])
def test_a_helper_does_share_after_share_awake_or_asleep(spins: int) -> None:
    helper = Helper(DOUBLE)
    helper.share.spins = spins
    for _ in range(3):
        made = Share(helper.share, 1, 4)
        helper.start()
        wait_for([helper])
        check(made)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_starts_its_own_helper() -> None:
    helper = Helper(DOUBLE)
    child = os.fork()
    if not child:
        made = Share(helper.share, 1, 4)
        helper.start()
        wait_for([helper])
        os._exit(0 if len(made.seen) == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_ctrl_c_waits_for_the_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """They write to memory that the caller would free."""
    helpers, done, waiting = [Helper(DOUBLE) for _ in range(2)], list[int](), threading.Event()
    functions = helpers[0].code.functions
    wait = functions["wait"]
    monkeypatch.setitem(functions, "wait", lambda address: (waiting.set(), wait(address)))

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def work(number: int) -> None:
        waiting.wait(60.0)
        if number == 1:
            _thread.interrupt_main()
        done.append(sum(range(1_000_000)))

    def start() -> None:
        for number, helper in enumerate(helpers, 1):
            helper.work(ctypes.cast(work, ctypes.c_void_p).value, number)

    with pytest.raises(KeyboardInterrupt):
        together(helpers, start)
    assert len(done) == 2
