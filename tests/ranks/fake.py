"""A communicator whose ranks are threads of this process. Only one runs at a time, until it waits for the others, so
that every run of a test is the same."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

PATIENCE = 120.0  # seconds after which waiting ranks count as stuck


class Group:
    """The ranks of a communicator, and where they meet."""

    def __init__(self, size: int) -> None:
        self.size, self.round, self.aborted = size, 0, False
        self.turn = threading.Condition()
        self.sent: dict[int, Any] = {}
        self.gathered: list[Any] = []

    def exchange(self, rank: int, what: Any) -> list[Any]:
        """What all ranks sent; called by the thread that holds `turn`."""
        self.sent[rank] = what
        mine = self.round
        if len(self.sent) == self.size:
            self.gathered = [self.sent.pop(k) for k in range(self.size)]
            self.round += 1
            self.turn.notify_all()
        while self.round == mine:
            if self.aborted or not self.turn.wait(PATIENCE):
                self.aborted = True
                raise AssertionError(f"rank {rank} waits for ranks that never come: {sorted(self.sent)} are here")
        return self.gathered


class Comm:
    """One rank's side of it: the methods of mpi4py that macrograd calls."""

    def __init__(self, group: Group, rank: int) -> None:
        self._group, self._rank = group, rank

    def Get_rank(self) -> int:  # noqa: N802 - mpi4py's name
        return self._rank

    def Get_size(self) -> int:  # noqa: N802 - mpi4py's name
        return self._group.size

    def Allgather(self, sent: Any, received: Any) -> None:  # noqa: N802 - mpi4py's name
        every = self._group.exchange(self._rank, np.array(sent))
        received.reshape(-1)[:] = np.concatenate([part.reshape(-1) for part in every])

    def Allgatherv(self, sent: Any, received: list[Any]) -> None:  # noqa: N802 - mpi4py's name
        into, counts = received
        every = self._group.exchange(self._rank, np.array(sent))
        assert [part.size for part in every] == counts
        assert {part.dtype for part in every} == {into.dtype}
        into.reshape(-1)[:] = np.concatenate([part.reshape(-1) for part in every])

    def Alltoallv(self, sent: list[Any], received: list[Any]) -> None:  # noqa: N802 - mpi4py's name
        rows, leaving = sent
        into, coming = received
        ends = np.cumsum([0, *leaving])
        parts = [np.array(rows.reshape(-1)[a:b]) for a, b in itertools.pairwise(ends.tolist())]
        every = [theirs[self._rank] for theirs in self._group.exchange(self._rank, parts)]
        assert [part.size for part in every] == coming
        assert {part.dtype for part in every} == {into.dtype}
        into.reshape(-1)[:] = np.concatenate(every)

    def Abort(self, code: int = 0) -> None:  # noqa: N802 - mpi4py's name
        self._group.aborted = True


def on_ranks(size: int, work: Callable[[Comm], Any]) -> list[Any]:
    """What `work` returns or raises on each rank."""
    group, found = Group(size), [None] * size

    def one(rank: int) -> None:
        with group.turn:
            try:
                found[rank] = work(Comm(group, rank))
            except BaseException as error:  # noqa: BLE001 - it is a result
                found[rank] = error

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
