"""Where trials run: in this process, in others through joblib, or on a dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from typing import Any

from macrograd._extras import installing
from macrograd.tuning.trial import Outcome, Trial, Work

_TASK_SECONDS = 1.0  # of a task: results arrive, and are on disk, about as often
_FIRST_TRIALS = 8  # in the first tasks, before it is known how long one takes: as many as a processor has lanes
_MOST_TRIALS = 256
# A pool that lost a process is replaced, unless this many in a row finished nothing.
_MOST_LOSSES = 3


def run(work: Work, trials: list[Trial], workers: int, on: Any) -> Iterator[list[Outcome]]:
    """The outcomes as they arrive, in any order; each depends only on its trial. A task is several trials: they share a
    program, and handing out the task costs little beside them.

    Raises RuntimeError if workers keep dying without finishing anything, and whatever a trial raises.
    """
    if on is None and workers == 1:
        tasks = Tasks(work, trials, 1)
        for some in tasks:
            yield tasks.done(work(some))
        return
    left, losses = {trial.key: trial for trial in trials}, 0
    while left:
        before = len(left)
        try:
            for outcomes in _pool(work, list(left.values()), workers, on):
                for outcome in outcomes:
                    left.pop(outcome.trial.key)
                yield outcomes
        except BrokenExecutor as error:  # a process of the pool was killed; dask restarts its trials by itself
            losses = losses + 1 if len(left) == before else 1
            if losses >= _MOST_LOSSES:
                raise RuntimeError(
                    f"{losses} pools of workers died in a row without finishing a trial, most likely for lack of "
                    f"memory: use fewer than {workers} workers"
                ) from error


def check(workers: Any, on: Any) -> None:
    """Raise ValueError, TypeError or ImportError if trials cannot run like this."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be an integer of 1 or more, got {workers!r}")
    if on is not None and not isinstance(on, str) and not _is_dask(on):
        raise TypeError(f"on must be a dask.distributed.Client or the name of a joblib backend, got {on!r}")
    if on is not None or workers > 1:
        try:
            import joblib  # noqa: F401 - only whether it is there
        except ImportError as error:
            raise ImportError(f"workers in other processes need joblib: {installing('sweep')}") from error


def _is_dask(on: Any) -> bool:
    return type(on).__module__.split(".")[0] == "distributed"


class Tasks:
    """The trials in tasks of those that are alike, each of about a second by what earlier ones took."""

    def __init__(self, work: Work, trials: list[Trial], workers: int) -> None:
        self._groups, self._workers = work.alike(trials), workers
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
                yield group[at : at + count]
                at += count

    def done(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Note how long a task took."""
        self._seconds = max(sum(outcome.seconds for outcome in outcomes) / len(outcomes), 1e-6)
        return outcomes


def _pool(work: Work, trials: list[Trial], workers: int, on: Any) -> Iterator[list[Outcome]]:
    import joblib

    tasks = Tasks(work, trials, len(on.nthreads()) if _is_dask(on) else workers)

    options: dict[str, Any] = {"backend": on or "loky", "n_jobs": workers}
    if _is_dask(on):
        # All workers of the cluster. The data shared by all trials is sent to each of them once.
        options = {"backend": "dask", "client": on, "n_jobs": -1}
    with joblib.parallel_config(**options):
        pool = joblib.Parallel(return_as="generator_unordered")
        found = pool(joblib.delayed(work)(some) for some in tasks)
        with contextlib.closing(found):
            for outcomes in found:
                yield tasks.done(outcomes)
