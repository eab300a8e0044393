"""Where trials run: in this process and others beside it, in those of a joblib backend, or on a dask cluster."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from typing import Any

from macrograd._extras import installing
from macrograd.tuning.crew import Crew
from macrograd.tuning.tasks import Tasks
from macrograd.tuning.tied import Tied
from macrograd.tuning.trial import Outcome, Trial, Work

# A pool that lost a process is replaced, unless this many in a row finished nothing.
_MOST_LOSSES = 3


class Workers:
    """What runs the trials of a sweep; a context, at whose end other processes are gone."""

    def __init__(self, work: Work, workers: int, on: Any) -> None:
        self._work, self._workers, self._on = work, workers, on
        self._crew: Crew | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._crew is not None:
            self._crew.close()

    def run(self, trials: list[Trial]) -> Iterator[list[Outcome]]:
        """The outcomes as they arrive, in any order; each depends only on its trial. A task is several trials: they
        share a program, and handing out the task costs little beside them.

        Raises RuntimeError if workers keep dying without finishing anything, and whatever a trial raises.
        """
        if self._on is not None:
            yield from self._on_joblib(trials)
        elif self._workers > 1 and len(trials) > 1:
            if self._crew is None:
                self._crew = Crew(self._work, self._workers - 1)
            yield from self._crew.run(Tasks(self._work, trials, self._workers))
        else:
            tasks = Tasks(self._work, trials, 1)
            for some in tasks:
                yield tasks.done(self._work(some))

    def _on_joblib(self, trials: list[Trial]) -> Iterator[list[Outcome]]:
        left, losses = {trial.key: trial for trial in trials}, 0
        while left:
            before = len(left)
            try:
                for outcomes in _pool(self._work, list(left.values()), self._workers, self._on):
                    for outcome in outcomes:
                        left.pop(outcome.trial.key)
                    yield outcomes
            except BrokenExecutor as error:  # a process of the pool was killed; dask restarts its trials by itself
                losses = losses + 1 if len(left) == before else 1
                if losses >= _MOST_LOSSES:
                    raise RuntimeError(
                        f"{losses} pools of workers died in a row without finishing a trial, most likely for lack of "
                        f"memory: use fewer than {self._workers} workers"
                    ) from error


def check(workers: Any, on: Any) -> None:
    """Raise ValueError, TypeError or ImportError if trials cannot run like this."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be an integer of 1 or more, got {workers!r}")
    if on is not None and not isinstance(on, str) and not _is_dask(on):
        raise TypeError(f"on must be a dask.distributed.Client or the name of a joblib backend, got {on!r}")
    if on is not None:
        try:
            import joblib  # noqa: F401 - only whether it is there
        except ImportError as error:
            raise ImportError(f"on={on!r} needs joblib: {installing('sweep')}") from error
    if isinstance(on, str):
        _check_backend(on)


def _check_backend(name: str) -> None:
    import joblib
    from joblib.parallel import get_active_backend

    try:
        with joblib.parallel_config(backend=name):
            backend, _ = get_active_backend()
    except (ValueError, ImportError) as error:
        raise ValueError(f"on={name!r} is no joblib backend that works here: {error}") from error
    if not backend.supports_return_generator:
        raise ValueError(
            f"on={name!r} hands out results when all fits are done, and a sweep keeps each as it arrives: use "
            "on='loky', or workers alone"
        )


def _is_dask(on: Any) -> bool:
    return type(on).__module__.split(".")[0] == "distributed"


def _pool(work: Work, trials: list[Trial], workers: int, on: Any) -> Iterator[list[Outcome]]:
    import joblib

    tasks = Tasks(work, trials, len(on.nthreads()) if _is_dask(on) else workers)

    options: dict[str, Any] = {"backend": on, "n_jobs": workers}
    if _is_dask(on):
        # All workers of the cluster. The data shared by all trials is sent to each of them once.
        options = {"backend": "dask", "client": on, "n_jobs": -1}
    with joblib.parallel_config(**options):
        pool = joblib.Parallel(return_as="generator_unordered")
        run = work if _is_dask(on) else Tied(work, os.getpid())  # dask's processes have their own keepers
        found = pool(joblib.delayed(run)(some) for some in tasks)
        with contextlib.closing(found):
            for outcomes in found:
                yield tasks.done(outcomes)
