"""Where trials run: in this process, in others through joblib, or on a dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from typing import Any

from macrograd.tuning.trial import Outcome, Trial, Work

# A pool that lost a process is made again, unless it finished nothing this many times in a row.
_MOST_LOSSES = 3


def run(work: Work, trials: list[Trial], workers: int, on: Any) -> Iterator[Outcome]:
    """The outcomes as they come, in any order; each depends on its trial alone.

    Raises RuntimeError where workers die again and again with nothing finished in between, and what a trial raises.
    """
    if on is None and workers == 1:
        yield from map(work, trials)
        return
    left, losses = {trial.key: trial for trial in trials}, 0
    while left:
        before = len(left)
        try:
            for outcome in _pool(work, list(left.values()), workers, on):
                left.pop(outcome.trial.key)
                yield outcome
        except BrokenExecutor as error:  # a process of the pool was killed; dask runs its trials elsewhere by itself
            losses = losses + 1 if len(left) == before else 1
            if losses >= _MOST_LOSSES:
                raise RuntimeError(
                    f"{losses} pools of workers died one after the other with no trial finished, most likely for want "
                    f"of memory: take fewer than {workers} workers"
                ) from error


def check(workers: Any, on: Any) -> None:
    """Raise ValueError, TypeError or ImportError for what cannot run anything."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be an integer of 1 or more, got {workers!r}")
    if on is not None and not isinstance(on, str) and not _is_dask(on):
        raise TypeError(f"on must be a dask.distributed.Client or the name of a joblib backend, got {on!r}")
    if on is not None or workers > 1:
        try:
            import joblib  # noqa: F401 - only whether it is there
        except ImportError as error:
            raise ImportError('workers in other processes need joblib: pip install "macrograd[sweep]"') from error


def _is_dask(on: Any) -> bool:
    return type(on).__module__.split(".")[0] == "distributed"


def _pool(work: Work, trials: list[Trial], workers: int, on: Any) -> Iterator[Outcome]:
    import joblib

    options: dict[str, Any] = {"backend": on or "loky", "n_jobs": workers}
    if _is_dask(on):
        # As many as the cluster has. What all trials share is sent to its workers once.
        options = {"backend": "dask", "client": on, "n_jobs": -1}
    with joblib.parallel_config(**options):
        pool = joblib.Parallel(return_as="generator_unordered")
        outcomes = pool(joblib.delayed(work)(trial) for trial in trials)
        with contextlib.closing(outcomes):
            yield from outcomes
