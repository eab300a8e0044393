"""Where trials run: in this process, in others through joblib, or on a dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from typing import Any

from macrograd._extras import installing
from macrograd.tuning.trial import Outcome, Trial, Work

# A pool that lost a process is replaced, unless this many in a row finished nothing.
_MOST_LOSSES = 3


def run(work: Work, trials: list[Trial], workers: int, on: Any) -> Iterator[Outcome]:
    """The outcomes as they arrive, in any order; each depends only on its trial.

    Raises RuntimeError if workers keep dying without finishing anything, and whatever a trial raises.
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


def _pool(work: Work, trials: list[Trial], workers: int, on: Any) -> Iterator[Outcome]:
    import joblib

    options: dict[str, Any] = {"backend": on or "loky", "n_jobs": workers}
    if _is_dask(on):
        # All workers of the cluster. The data shared by all trials is sent to each of them once.
        options = {"backend": "dask", "client": on, "n_jobs": -1}
    with joblib.parallel_config(**options):
        pool = joblib.Parallel(return_as="generator_unordered")
        outcomes = pool(joblib.delayed(work)(trial) for trial in trials)
        with contextlib.closing(outcomes):
            yield from outcomes
