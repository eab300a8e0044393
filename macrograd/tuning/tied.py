"""Processes of a joblib backend that end with the one that runs the sweep.

Loky's wait for tasks for five minutes, and do not notice that nobody is left to send any: the process that started them
was killed, or ended by SIGTERM.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

from macrograd._dataclass import dataclass
from macrograd.tuning.trial import Outcome, Trial, Work

LOOKS_EVERY = 1.0  # seconds
_owners: set[int] = set()  # that a thread here looks after


@dataclass(frozen=True, eq=False)
class Tied:
    """The work, in processes that end soon after their parent if that is the `owner` of the sweep."""

    work: Work
    owner: int

    def __call__(self, trials: Sequence[Trial]) -> list[Outcome]:
        if self.owner not in _owners and os.getppid() == self.owner:
            _owners.add(self.owner)
            threading.Thread(target=_end_with, args=(self.owner,), daemon=True).start()
        return self.work(trials)


def _end_with(owner: int) -> None:
    while os.getppid() == owner:  # an orphan gets another parent
        time.sleep(LOOKS_EVERY)
    os._exit(1)
