"""How trials are cut into tasks, which are handed out one by one."""

from __future__ import annotations

from collections.abc import Iterator

from macrograd.tuning.trial import Outcome, Trial, Work

_TASK_SECONDS = 1.0  # of a task: results arrive, and are on disk, about as often
_FIRST_TRIALS = 8  # in the first tasks, before it is known how long one takes: as many as a processor has lanes
_MOST_TRIALS = 256


class Tasks:
    """The trials in tasks of those that are alike, each of about a second by what earlier ones took."""

    def __init__(self, work: Work, trials: list[Trial], workers: int) -> None:
        self._groups, self._workers, self._most = work.alike(trials), workers, work.together
        self._seconds: float | None = None  # of a fit, once one is known

    def __iter__(self) -> Iterator[list[Trial]]:
        for group in self._groups:
            at = 0
            while at < len(group):
                fair = -(-(len(group) - at) // (2 * self._workers))  # the last tasks are for all workers
                wanted = _FIRST_TRIALS
                if self._seconds is not None:
                    wanted = min(_MOST_TRIALS, max(1, round(_TASK_SECONDS / self._seconds)))
                count = max(min(wanted, _FIRST_TRIALS), min(fair, wanted))
                count = min(count, self._most)
                yield group[at : at + count]
                at += count

    def done(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Note how long a task took."""
        self._seconds = max(sum(outcome.seconds for outcome in outcomes) / len(outcomes), 1e-6)
        return outcomes
