"""What a run writes into its checkpoints, and how it goes on from one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from macrograd.optim import Optimizer
from macrograd.train import checkpoint as checkpoints
from macrograd.train import fingerprint
from macrograd.train.callbacks import Watch
from macrograd.train.endings import EARLY_STOPPING, written
from macrograd.train.engines import Engine
from macrograd.train.history import History
from macrograd.train.identity import identity
from macrograd.train.objective import Objective
from macrograd.train.rates import Rates
from macrograd.train.samples.order import Order
from macrograd.train.samples.split import Part
from macrograd.train.setup import Judged, Setup
from macrograd.value import Value, numbers_of, write_numbers

if TYPE_CHECKING:
    from macrograd.compiler.compiled import Compiled

Array = NDArray[Any]


class Writes(Protocol):
    """A writer of checkpoints."""

    def write(self, step: int, tensors: checkpoints.Tensors, history: History, state: dict[str, Any]) -> None:
        """Write one."""


class Resumable(Protocol):
    """The part of a run that its checkpoints know: `fitting.Fitting` says what each is."""

    setup: Setup
    part: Part
    held: Part | None
    order: Order
    total: int
    objective: Objective
    optimizer: Optimizer
    learning: Rates
    metrics: Judged
    watch: Watch | None
    clip_norm: float | None
    engine: Engine
    history: History
    step: int
    first: int
    judged: int
    seconds_before: float


def run_of(fitting: Resumable) -> dict[str, Any]:
    """The data and options that tell a run from others."""
    rule = None if fitting.watch is None else fitting.watch.rule
    names = [name for name, _ in fitting.metrics]
    return identity(
        fitting.setup, fitting.part, fitting.held, fitting.order, clip_norm=fitting.clip_norm, metrics=names,
        early_stopping=rule,
    )  # fmt: skip


def computed(fitting: Resumable, sample: Compiled, arrays: list[Array]) -> dict[str, Any]:
    """The fingerprint of all that a step computes; `sample` is the objective of one sample."""
    shapes = [*(a.shape[1:] for a in arrays), *[()] * fitting.objective.draws]
    return {
        "model": fingerprint.described(fitting.setup.model),
        **fingerprint.programs(sample, shapes, fitting.optimizer),
    }


def compared(fitting: Resumable, saved: checkpoints.Saved | None) -> dict[str, Any]:
    """What `run_of` says. Raises ValueError, naming the difference, if that is not what wrote a saved run."""
    run = run_of(fitting)
    if saved is not None:
        saved.check_run(run)
    return run


def continued(
    fitting: Resumable, saved: checkpoints.Saved | None, run: dict[str, Any], computed: dict[str, Any]
) -> dict[str, Any]:
    """Continue a saved run, which `compared` has told to be this one, if it computes the same; returns the header of
    this run's checkpoints. Raises ValueError, naming the difference, if it computes something else."""
    programs = computed | {"rates": _rates(fitting, saved)}
    if saved is not None:
        saved.check_programs(programs)
        _restore(fitting, saved)
    return {"run": run, "programs": programs}


def write(fitting: Resumable, writer: Writes) -> None:
    """Write a checkpoint of this moment."""
    engine, watch = fitting.engine, fitting.watch
    tensors = {
        "parameters": np.array(engine.theta, dtype=np.float64),
        "order": _places(fitting),
        "state": np.array(engine.state, dtype=np.float64),
    }
    if others := _others(fitting):
        tensors["others"] = np.array(numbers_of(others))
    stopped = written(fitting.history.stopped)
    state: dict[str, Any] = {"first": fitting.first, "judged": fitting.judged, "stopped": stopped}
    if watch is not None and watch.theta is not None:
        tensors["best"] = np.array(watch.theta, dtype=np.float64)
        state |= {"best": watch.best, "since": watch.since}
    writer.write(fitting.step, tensors, fitting.history, state)


def _rates(fitting: Resumable, saved: checkpoints.Saved | None) -> list[list[float]]:
    """The learning rates of some steps, including those that a saved run noted."""
    if saved is None:
        return fitting.learning.noted(fitting.total, fitting.first)
    noted = [int(k) for k, _ in saved.header["programs"]["rates"]]
    return fitting.learning.noted(fitting.total, saved.header["first"], noted)


def _places(fitting: Resumable) -> Array:
    """The positions of the engine's parameters among the trained ones."""
    place = {id(p): k for k, p in enumerate(fitting.objective.parameters)}
    return np.array([place[id(p)] for p in fitting.engine.parameters], dtype=np.int64)


def _others(fitting: Resumable) -> list[Value]:
    """The trained parameters that the loss does not depend on: outputs may."""
    known = set(map(id, fitting.engine.parameters))
    return [p for p in fitting.objective.parameters if id(p) not in known]


def _restore(fitting: Resumable, saved: checkpoints.Saved) -> None:
    engine, watch, header = fitting.engine, fitting.watch, saved.header
    # The place of each of the engine's parameters in the saved order.
    place = saved.places(_places(fitting), len(engine.state))
    history = saved.history()
    engine.theta[:] = saved.tensors["parameters"][place]
    engine.state[:] = saved.tensors["state"][:, place]
    if "others" in saved.tensors:  # older files have none
        others = _others(fitting)
        if len(others) != len(saved.tensors["others"]):
            saved.damaged(f"the tensor 'others' has {len(saved.tensors['others'])} numbers, not {len(others)}")
        write_numbers(others, saved.tensors["others"].tolist())
    fitting.history, fitting.step, fitting.first = history, header["step"], header["first"]
    fitting.judged = header["judged"]
    if watch is not None and "best" in saved.tensors:
        watch.theta = saved.tensors["best"][place]
        watch.best, watch.since = float(header["best"]), header["since"]
    # A run that ended normally stays ended; one that was interrupted continues.
    fitting.history.stopped = EARLY_STOPPING if header["stopped"] == EARLY_STOPPING else ""
    fitting.seconds_before = fitting.history.last_second
