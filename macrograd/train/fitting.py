"""One training run: the loop around the engine's runs of steps, and everything that happens between them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd.optim import Schedule
from macrograd.train import checkpoint as checkpoints
from macrograd.train import diagnose
from macrograd.train import progress as shown
from macrograd.train.callbacks import Callbacks, EarlyStopping, Run, Watch
from macrograd.train.engines import Engine, Outcome, make
from macrograd.train.history import History
from macrograd.train.identity import identity
from macrograd.train.interrupt import Interrupts
from macrograd.train.objective import Objective
from macrograd.train.order import Order
from macrograd.train.split import Part
from macrograd.train.steps import DivergedError
from macrograd.value import parameter_writes

if TYPE_CHECKING:
    from macrograd.train.trainer import Trainer

Array = NDArray[Any]
Judged = Sequence[tuple[str, Callable[..., float]]]

# A run of steps takes about so many seconds: long enough that Python between the runs costs nothing, short enough for
# Ctrl-C, progress and checkpoints.
_RUN_SECONDS = 0.05
_MOST_STEPS = 1 << 18
_MOST_BYTES = 1 << 25  # of rows copied out of a file for one run


class Fitting:
    """Everything that one call of `Trainer.fit` knows; `run` does it."""

    def __init__(
        self,
        trainer: Trainer,
        part: Part,
        held: Part | None,
        order: Order,
        total: int,
        *,
        objective: Objective,
        measure: Callable[[Part, Judged], dict[str, float]],
        metrics: Judged,
        early_stopping: EarlyStopping | None,
        clip_norm: float | None,
        schedule: Callable[[int], float] | None,
        callbacks: Callbacks,
        progress: str,
    ) -> None:
        self.trainer, self.part, self.held, self.order, self.total = trainer, part, held, order, total
        self.objective, self.measure, self.metrics, self.clip_norm = objective, measure, metrics, clip_norm
        self.watch = None if early_stopping is None else Watch(early_stopping)
        self.callbacks, self.progress = callbacks, progress
        self.optimizer = trainer.optimizer
        self.first = self.optimizer.steps  # of the optimiser's own count
        # The optimiser's own schedule counts all steps that it ever made, one for this run those of the run.
        self._own = schedule is None
        self._schedule = self.optimizer.schedule if schedule is None else schedule
        self._fixed = self._schedule.fixed if isinstance(self._schedule, Schedule) else None
        self._each_epoch = bool(metrics or held or self.watch or callbacks.epoch)
        self.history = History()
        self.step = 0
        self._judged = 0  # the step of the latest epoch's end that is done with
        self.interrupts = Interrupts()
        self.engine: Engine
        self._per_run = 1
        self._seconds_before = 0.0  # of the run that this one continues

    # --- the run ------------------------------------------------------------------------------------------------

    def run(self, checkpoint: str | os.PathLike[str] | None, every: float | str, resume: bool) -> History:
        distance = checkpoints.Every.of(every, self.order.steps_per_epoch)
        path, saved = (None, None) if checkpoint is None else checkpoints.prepare(checkpoint, resume)
        if saved is not None:
            assert path is not None
            checkpoints.check_same(path, saved[1].get("run", {}), identity(self))
        self.engine = self._engine()
        self._states_in()
        if saved is not None:
            assert path is not None
            self._restore(path, *saved)
        writer = None
        if path is not None:
            writer = checkpoints.Writer(path, distance, {"run": identity(self)})
            writer.started(self.step)
        show = shown.make(self.progress, self.total, self.order.steps_per_epoch, self.step)
        state = Run(self.trainer, self.history, self.total, self.engine)
        state.step, state.epoch = self.step, self.step // self.order.steps_per_epoch
        with self.interrupts:
            try:
                self._loop(state, writer, show)
            except KeyboardInterrupt:
                self.history.stopped = self.history.stopped or "interrupted"
            finally:
                with self.interrupts.finishing():
                    self._finish(writer, show)
        for callback in self.callbacks.end:
            callback(state)
        return self.history

    def _finish(self, writer: checkpoints.Writer | None, show: shown.Shown) -> None:
        """Whatever happened, and whatever of this goes wrong: the model at a whole step, and the file."""
        try:
            self._states_out()
        finally:
            try:
                show.close()
            finally:
                if writer is not None:
                    self._close(writer)

    def _loop(self, state: Run, writer: checkpoints.Writer | None, show: shown.Shown) -> None:
        start = time.perf_counter() - self._seconds_before
        if self._judged < self.step and self._at_epochs_end():  # it was broken off there
            self._parameters_out()
            self._end_of_epoch(state)
        while self.step < self.total and not state.reason and self.history.stopped != "early stopping":
            begun, count = time.perf_counter(), self._count(writer)
            rows, lengths, run_rows = self._rows(count)
            rates = self._rates(count)
            with self.interrupts.held():
                outcome = self.engine.run(run_rows, lengths, rates, self.first + self.step + 1)
                now = time.perf_counter()
                self._record(outcome, rates, now - start)
            if outcome.why == "interrupted":
                raise KeyboardInterrupt
            if outcome.why:
                self._fail(outcome, rows, lengths, rates)
            self._adapt(count, now - begun)
            self._between(state)
            if writer is not None and writer.due(self.step):
                self._write(writer)
            show.show(self.step, self.history.last_loss, self._latest(), last=self.step == self.total)
        if state.reason:
            self.history.stopped = state.reason

    def _record(self, outcome: Outcome, rates: Array, seconds: float) -> None:
        done = outcome.done
        losses = np.asarray(outcome.losses[:done], dtype=np.float64)
        self.history.extend(losses, rates[:done] if self._fixed is None else self._fixed, seconds)
        self.step += done

    def _between(self, state: Run) -> None:
        """What callbacks, metrics and early stopping want after a run of steps."""
        state.step, state.epoch = self.step, self.step // self.order.steps_per_epoch
        ends = self._at_epochs_end()
        if self.callbacks.step or ends:
            self._parameters_out()
        for callback in self.callbacks.step:
            callback(state)
        if ends:
            self._end_of_epoch(state)

    def _at_epochs_end(self) -> bool:
        """Whether an epoch ends here that someone wants to look at."""
        return self._each_epoch and self.step % self.order.steps_per_epoch == 0

    def _end_of_epoch(self, state: Run) -> None:
        """Metrics, callbacks, early stopping. Where this is broken off, the run that goes on does it once more."""
        taken = self._take()
        if taken:
            with self.interrupts.held():
                self.history.measured(taken)
        for callback in self.callbacks.epoch:
            callback(state)
        with self.interrupts.held():
            if self.watch is not None and self.watch.sees(taken, self.engine.theta):
                self.history.stopped = "early stopping"
            self._judged = self.step

    def _take(self) -> dict[str, float]:
        """The metrics of training and validation data."""
        taken = {}
        if self.metrics:
            taken = self.measure(self.part, self.metrics)
            del taken["loss"]  # the history has it, step by step
        if self.held is not None:
            found = self.measure(self.held, self.metrics)
            taken |= {f"validation_{name}": value for name, value in found.items()}
        return taken

    def _latest(self) -> dict[str, float]:
        return {name: values[-1] for name, values in self.history.metrics.items() if values}

    # --- how many steps, and which --------------------------------------------------------------------------------

    def _count(self, writer: checkpoints.Writer | None) -> int:
        """How many steps to run before something else has to happen."""
        if self.callbacks.step:
            return 1
        most = min(self._per_run, self.total - self.step)
        left = self.order.steps_per_epoch - self.step % self.order.steps_per_epoch
        # A run across the end of a long epoch would have its rows copied together.
        if self._each_epoch or self.order.steps_per_epoch > most:
            most = min(most, left)
        if writer is not None:
            most = int(min(most, max(1, writer.next_step() - self.step)))
        return most

    def _adapt(self, count: int, seconds: float) -> None:
        """So many steps that a run of them takes the time it should; never many more at once than are known to fit."""
        wanted = count * _RUN_SECONDS / max(seconds, 1e-7)
        most = _MOST_STEPS
        if self.part.samples.streamed:
            row = self.part.samples.dtype.itemsize * max(1, math.prod(self.part.samples.shape))
            most = max(1, _MOST_BYTES // (row * self.order.batch_size))
        self._per_run = int(max(1, min(wanted, 8 * self._per_run, most)))

    def _rows(self, count: int) -> tuple[Array, Array, Array]:
        """(the samples of the next steps, how many a step, where the engine finds them): data in a file are read here,
        and only what the steps need."""
        rows, lengths = self.order.steps(self.step, count)
        if not self.part.samples.streamed:
            return rows, lengths, rows
        self.engine.load(self._arrays(rows))
        return rows, lengths, np.arange(len(rows), dtype=np.int64)

    def _rates(self, count: int) -> Array:
        if self._fixed is not None:
            return np.full(count, self._fixed)
        first = self.step + (self.first if self._own else 0)
        if type(self._schedule) is Schedule:  # a class of one's own may have its own way to be called
            rates = self._schedule.rates(first, count)
        else:
            rates = np.array([self._schedule(k) for k in range(first, first + count)], dtype=np.float64)
        if not np.isfinite(rates).all():
            k = int(np.flatnonzero(~np.isfinite(rates))[0])
            raise ValueError(f"the schedule gives the rate {rates[k]} at step {self.step + k}: rates must be finite")
        return rates

    def _arrays(self, rows: Array | None) -> list[Array]:
        """The engine's data: all of it, or copies of some rows."""
        part = self.part
        others = [part.targets] if part.weights is None else [part.targets, part.weights]
        if self.objective.draws:
            others.append(np.arange(part.samples.count, dtype=np.float64))
        if rows is None:
            return [part.samples.array(), *others]
        return [part.samples.rows(rows), *[array[rows] for array in others]]

    # --- the engine's state, and everybody else's -----------------------------------------------------------------

    def _engine(self) -> Engine:
        trainer, samples = self.trainer, self.part.samples
        streamed = samples.streamed
        arrays = self._arrays(np.arange(min(samples.count, self.order.batch_size)) if streamed else None)
        parameters = self.objective.parameters
        seed = self.order.seed if self.objective.draws else None
        key = (
            "engine", self.objective.loss, tuple(a.shape[1:] for a in arrays), self.clip_norm, self.order.batch_size,
            self.optimizer, repr(self.optimizer), seed, tuple(parameters), trainer._frozen(), trainer.l2,
            trainer.penalty,
        )  # fmt: skip
        kept = trainer._kept.get(key)
        if kept is not None:
            engine: Engine = kept
            engine.load(arrays)
            engine.theta[:] = [p.data for p in engine.parameters]
            return engine
        trainer._kept = {k: v for k, v in trainer._kept.items() if k[0] != "engine"}
        engine = make(
            trainer.engine, self.objective, arrays, self.optimizer, clip_norm=self.clip_norm,
            batch_size=self.order.batch_size, dtype=trainer.dtype, threads=trainer.threads,
        )  # fmt: skip
        known = {id(p) for p in parameters}
        for p in engine.parameters:
            if id(p) not in known:
                raise ValueError(
                    f"the loss uses {p!r}, which is no part of the model: make it an attribute of the model if it "
                    "is to be trained, or a plain number if not"
                )
        trainer._kept[key] = engine
        return engine

    def _states_in(self) -> None:
        """Give the engine the optimiser's state of the steps before, parameter by parameter."""
        engine, optimizer, trained = self.engine, self.optimizer, self.objective.parameters
        if hasattr(engine, "stop"):
            engine.stop = lambda: self.interrupts.pending
        initial = tuple(optimizer.initial_state)
        states: dict[Any, tuple[float, ...]] = {}
        before, latest = self.trainer._latest
        if latest and len(before) != len(trained):  # some were frozen or thawed in between
            self.trainer._earlier |= dict(zip(before, latest, strict=True))
        if optimizer.state:
            known = self.trainer._earlier
            if len(optimizer.state) == len(trained):
                states = dict(zip(trained, optimizer.state, strict=True))
            elif known and all(len(state) == len(initial) for state in known.values()):
                states = known
            else:
                raise ValueError(
                    f"the optimiser holds the state of {len(optimizer.state)} parameters, the model has "
                    f"{len(trained)}: use an optimiser of its own for each model"
                )
        columns = [states.get(p, initial) for p in engine.parameters]
        engine.state[:] = np.array(columns, dtype=np.float64).reshape(len(columns), len(initial)).T

    def _parameters_out(self) -> None:
        for p, number in zip(self.engine.parameters, self.engine.theta.tolist(), strict=True):
            p.data = number
        parameter_writes[0] += 1

    def _states_out(self) -> None:
        """Give the model its parameters and the optimiser its state."""
        watch = self.watch
        ended = self.history.stopped == "early stopping"
        if ended and watch is not None and watch.rule.restore and watch.theta is not None:
            self.engine.theta[:] = watch.theta
        self._parameters_out()
        initial = tuple(self.optimizer.initial_state)
        found = dict(zip(self.engine.parameters, map(tuple, self.engine.state.T.tolist()), strict=True))
        states = [found.get(p, initial) for p in self.objective.parameters] if self.first + self.step else []
        self.optimizer.load_state_dict({"steps": self.first + self.step, "state": states})
        self.trainer._latest = (self.objective.parameters, states)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _in_model_order(self) -> Array:
        """Where the engine's parameters stand among the trained ones."""
        place = {id(p): k for k, p in enumerate(self.objective.parameters)}
        return np.array([place[id(p)] for p in self.engine.parameters], dtype=np.int64)

    def _write(self, writer: checkpoints.Writer) -> None:
        tensors = {
            "parameters": np.array(self.engine.theta, dtype=np.float64),
            "order": self._in_model_order(),
            "state": np.array(self.engine.state, dtype=np.float64),
        }
        state: dict[str, Any] = {"first": self.first, "judged": self._judged, "stopped": self.history.stopped}
        if self.watch is not None and self.watch.theta is not None:
            tensors["best"] = np.array(self.watch.theta, dtype=np.float64)
            state |= {"best": self.watch.best, "since": self.watch.since}
        writer.write(self.step, tensors, self.history, state)

    def _close(self, writer: checkpoints.Writer) -> None:
        try:
            self._write(writer)
        finally:
            writer.close()

    def _restore(self, path: Any, tensors: dict[str, Array], header: dict[str, Any]) -> None:
        engine = self.engine
        count = len(engine.parameters)
        array = checkpoints.array_of
        saved, mine = tensors.get("order"), self._in_model_order()
        if saved is None or saved.shape != mine.shape or not np.array_equal(np.sort(saved), np.sort(mine)):
            raise ValueError(f"{path} is of another model: it trained other parameters")
        # Of the saved order, the place of each of the engine's parameters.
        place = np.argsort(saved)[np.argsort(np.argsort(mine))]
        engine.theta[:] = array(tensors, "parameters", (count,), path)[place]
        engine.state[:] = array(tensors, "state", (len(engine.state), count), path)[:, place]
        try:
            self.history = History.from_tensors(tensors)
            self.step, self.first = int(header["step"]), int(header["first"])
            self._judged = int(header["judged"])
            stopped = str(header["stopped"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error!r}") from None
        if len(self.history) != self.step:
            raise ValueError(f"{path} is damaged: its history has {len(self.history)} of {self.step} steps")
        if self.watch is not None and "best" in tensors:
            self.watch.theta = array(tensors, "best", (count,), path)[place]
            self.watch.best, self.watch.since = float(header["best"]), int(header["since"])
        # A run that ended by itself stays ended; one that was interrupted goes on.
        self.history.stopped = stopped if stopped == "early stopping" else ""
        self._seconds_before = self.history.last_second

    # --- what went wrong --------------------------------------------------------------------------------------------

    def _fail(self, outcome: Outcome, rows: Array, lengths: Array, rates: Array) -> None:
        """Raise what stopped the engine, with the sample, the operation and the line."""
        self._parameters_out()
        begin = int(lengths[: outcome.done].sum())
        batch = rows[begin : begin + int(lengths[outcome.done])]
        arrays = self._arrays(batch)
        self.objective.step.data = float(self.first + self.step + 1)
        if outcome.why == "index":
            raise diagnose.replay_error(self.objective, arrays, batch.tolist())
        loss = float(outcome.losses[outcome.done])
        what = "a gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
        largest = diagnose.largest_of(self.trainer.dtype if self.trainer.engine == "compiled" else "float64")
        raise DivergedError(
            f"{what} at step {self.step} (epoch {self.step // self.order.steps_per_epoch + 1}, learning rate "
            f"{rates[outcome.done]:.6g}). {diagnose.explain(self.objective, arrays, batch.tolist(), largest=largest)}. "
            "The parameters are those before this step"
        )
