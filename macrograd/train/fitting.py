"""One training run: the loop around the engine's runs of steps, and everything between them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.targets.training import Outcome
from macrograd.nn.dropout import PERIOD
from macrograd.train import checkpoint as checkpoints
from macrograd.train import diagnose, resuming, sharing
from macrograd.train import progress as shown
from macrograd.train.callbacks import Callbacks, EarlyStopping, Run, Trains, Watch
from macrograd.train.endings import EARLY_STOPPING, INTERRUPTED
from macrograd.train.engines import Engine
from macrograd.train.graphs import no_collection
from macrograd.train.history import HEALTH, History
from macrograd.train.interrupt import Interrupts
from macrograd.train.objective import Objective
from macrograd.train.pace import Pace
from macrograd.train.predictor import Shared
from macrograd.train.rates import Rates
from macrograd.train.samples.order import Order
from macrograd.train.samples.split import Part
from macrograd.train.setup import Baked, Judged, Setup
from macrograd.train.verdict import constant_loss, verdict
from macrograd.value import Value, numbers_of, write_numbers

if TYPE_CHECKING:
    from macrograd.train.health import Health

Array = NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """The next steps: their rows in the data, how many each has, their places in the engine's data, and the rates."""

    rows: Array
    lengths: Array
    places: Array
    rates: Array


class Fitting:
    """The state of one call of `Trainer.fit`: `prepare` it, and `run` it."""

    def __init__(
        self,
        setup: Setup,
        part: Part,
        held: Part | None,
        order: Order,
        total: int,
        *,
        objective: Objective,
        trainer: Trains,
        metrics: Judged,
        early_stopping: EarlyStopping | None,
        clip_norm: float | None,
        schedule: Callable[[int], float] | None,
        callbacks: Callbacks,
        progress: str,
        health: Health | None = None,
    ) -> None:
        self.setup, self.part, self.held, self.order, self.total = setup, part, held, order, total
        self.objective, self.trainer, self.metrics, self.clip_norm = objective, trainer, metrics, clip_norm
        self.watch = None if early_stopping is None else Watch(early_stopping)
        self.callbacks, self.progress, self.health = callbacks, progress, health
        self.optimizer = setup.optimizer
        self.first = self.optimizer.steps  # by the optimiser's own count
        self.schedule, self.learning = schedule, Rates(self.optimizer, schedule)
        self._each_epoch = bool(metrics or held or self.watch or callbacks.epoch or health)
        # Without callbacks nothing reads the model between steps, and validation takes its numbers from the engine:
        # writing thousands of Values after every epoch would cost more than the epoch.
        self._looked_at = bool(metrics or callbacks.epoch or callbacks.step or health) or setup.engine == "eager"
        each_step, last_apart = bool(callbacks.step), health is not None
        self._pace = Pace(
            part.samples, order, total, each_epoch=self._each_epoch, each_step=each_step, last_apart=last_apart
        )
        self.history = History()
        self.step = 0
        self.judged = 0  # the step of the latest epoch end that has been processed
        self.interrupts = Interrupts()
        self.engine: Engine
        # Programs of another run that measure this one, too, and this run's parameters in the order of the other's.
        self.shared: Shared | None = None
        self.leaves: list[Value] = []
        self.seconds_before = 0.0  # of the run that this one resumes
        self._writer: checkpoints.Writer | None = None

    # --- the run ------------------------------------------------------------------------------------------------

    @cached_property
    def baked(self) -> Baked:
        """What is baked into the run's programs: walking the model again would take longer than a short epoch."""
        return self.setup.baked()

    def prepare(self, checkpoint: str | os.PathLike[str] | None, every: float | str, resume: bool) -> None:
        """Compile the run, and bring it to where its checkpoint left it. Raises what `Trainer.fit` does."""
        distance = checkpoints.Every.of(every, self.order.steps_per_epoch)
        ranks = self.setup.ranks
        path, saved = (None, None) if checkpoint is None else checkpoints.prepare(checkpoint, resume, ranks)
        run = {} if path is None else resuming.compared(self, saved)
        # For data in a file, the largest number of rows that a step needs.
        few = np.arange(min(self.part.samples.count, self.order.batch_size)) if self.part.samples.streamed else None
        arrays = self.arrays(few)
        sample, engine = self.setup.engine_for(self.objective, arrays, self.order, self.clip_norm, self.baked)
        self.use(engine)
        sharing.compare(ranks, self.part, self.held, self.order, self.total, self.engine)
        if path is None:
            return
        header = resuming.continued(self, saved, run, resuming.computed(self, sample, arrays))
        if ranks is None or not ranks.rank:
            self._writer = checkpoints.Writer(path, distance, header)

    def run(self) -> History:
        """Make all steps of the run that has been prepared."""
        ranks, writer = self.setup.ranks, self._writer
        if writer is not None:
            writer.started(self.step)
        how = "none" if ranks is not None and ranks.rank else self.progress
        show = shown.make(how, self.total, self.order.steps_per_epoch, self.step)
        state = self.state()
        with self.interrupts:
            try:
                self.loop(state, writer, show)
            except KeyboardInterrupt:
                self.history.stopped = self.history.stopped or INTERRUPTED
            finally:
                with self.interrupts.finishing():
                    self._finish(writer, show)
        sharing.stop(ranks, self.history.stopped)
        for callback in self.callbacks.end:
            callback(state)
        return self.history

    def use(self, engine: Engine) -> None:
        """Train with this engine, and load the optimiser's earlier state into it."""
        self.engine = engine
        self._states_in()

    def state(self) -> Run:
        """The run as callbacks see it."""
        state = Run(self.trainer, self.setup.model, self.history, self.total, self.engine, self._examples)
        state.step, state.epoch = self.step, self.step // self.order.steps_per_epoch
        return state

    def _examples(self, most: int) -> tuple[Array, Array]:
        places, rows = self.part.samples.examples(most)
        return self.setup.unseen(rows), self.part.y[places]

    @property
    def unwatched(self) -> bool:
        """Whether nothing looks at the model before the last step."""
        return not (self._each_epoch or self._looked_at or self.callbacks.pause or self.callbacks.end)

    def rates(self, count: int) -> Array:
        """The learning rates of the next steps."""
        return self.learning.of(self.step, count, self.first)

    def over(self, state: Run) -> bool:
        """Whether there is nothing left to do."""
        return self.step >= self.total or bool(state.reason) or EARLY_STOPPING.ended(self.history.stopped)

    def catch_up(self, state: Run) -> None:
        """Repeat the end of an epoch at which an earlier run was interrupted."""
        if self.judged < self.step and self._at_epochs_end():
            self.parameters_out()
            self._end_of_epoch(state)

    def record(self, outcome: Outcome, batch: Batch, seconds: float) -> None:
        """Record the steps that were made, the last of which ended `seconds` after the start."""
        done = outcome.done
        losses = np.asarray(outcome.losses[:done], dtype=np.float64)
        self.history.extend(losses, batch.rates[:done] if self.learning.fixed is None else self.learning.fixed, seconds)
        self.step += done

    def follow(self, state: Run, outcome: Outcome, batch: Batch) -> None:
        """Serve callbacks, metrics and early stopping after recorded steps. Raises DivergedError, IndexError or
        KeyboardInterrupt if a step failed."""
        if outcome.why == "interrupted":
            raise KeyboardInterrupt
        if outcome.why:
            self._fail(outcome, batch)
        self._between(state)

    def _finish(self, writer: checkpoints.Writer | None, show: shown.Shown) -> None:
        """Whatever happened, and whatever fails here: write the file, and leave the model at a complete step."""
        try:
            if writer is not None:
                # Before the best parameters are restored: a longer run goes on from the latest.
                resuming.write(self, writer)
        finally:
            try:
                self.states_out()
            finally:
                try:
                    show.close()
                finally:
                    if writer is not None:
                        writer.close()

    def loop(self, state: Run, writer: checkpoints.Writer | None, show: shown.Shown) -> None:
        start = time.perf_counter() - self.seconds_before
        self.catch_up(state)
        while not self.over(state):
            begun, count = time.perf_counter(), self.count(math.inf if writer is None else writer.next_step())
            with self._meeting():
                count = sharing.agreed(self.part.samples, count)
                batch = self.batch(count)
            with self.interrupts.held():
                number, below = self.first + self.step + 1, None if self.part.samples.streamed else self.order.samples
                # Several steps take about `pace.RUN_SECONDS`, so that Ctrl-C can wait for them.
                outcome = self.engine.run(
                    batch.places, batch.lengths, batch.rates, number, below=below, brief=count > 1
                )
                now = time.perf_counter()
                self.record(outcome, batch, now - start)
            self.follow(state, outcome, batch)
            self._pace.adapt(count, now - begun)
            if writer is not None and writer.due(self.step):
                resuming.write(self, writer)
            show.show(self.step, self.history.last_loss, self._latest(), last=self.step == self.total)
        if state.reason:
            self.history.stopped = state.reason

    def _between(self, state: Run) -> None:
        """Serve callbacks, metrics and early stopping after a run of steps."""
        state.step, state.epoch = self.step, self.step // self.order.steps_per_epoch
        ends = self._at_epochs_end()
        if self._looked_at and (self.callbacks.step or ends):
            self.parameters_out()
        for callback in self.callbacks.step:
            callback(state)
        if ends:
            self._end_of_epoch(state)
        elif self.health is not None and self._short():
            self.parameters_out()
            self.health.after(self.engine, self.history)
        if self.callbacks.pause:
            self.parameters_out()
        for callback in self.callbacks.pause:
            callback(state)

    def _meeting(self) -> AbstractContextManager[None]:
        """Where ranks meet: Ctrl-C must not part them in the middle."""
        return nullcontext() if self.setup.ranks is None else self.interrupts.held()

    def _at_epochs_end(self) -> bool:
        """Whether an epoch ends here and something depends on it."""
        return self._each_epoch and self.step % self.order.steps_per_epoch == 0

    def _short(self) -> bool:
        """Whether the run ends here, before its first epoch does."""
        return self.step == self.total < self.order.steps_per_epoch

    def _end_of_epoch(self, state: Run) -> None:
        """Metrics, callbacks, early stopping. If interrupted here, a resumed run repeats it."""
        with self._meeting():
            taken = self._take()
        if taken:
            with self.interrupts.held():
                self.history.measured(taken)
        if self.health is not None:
            self.health.after(self.engine, self.history)
        for callback in self.callbacks.epoch:
            callback(state)
        with self.interrupts.held():
            if self.watch is not None and self.watch.sees(taken, self.engine.theta):
                self.history.stopped = EARLY_STOPPING
            self.judged = self.step

    def _take(self) -> dict[str, float]:
        """Compute the metrics of training and validation data."""
        taken = {}
        if self.metrics:
            taken = self._measured(self.part)
            del taken["loss"]  # the history has it for every step
        if self.held is not None:
            found = self._measured(self.held)
            taken |= {f"validation_{name}": value for name, value in found.items()}
        return taken

    def _measured(self, part: Part) -> dict[str, float]:
        """The loss and metrics over a part of the data."""
        ranks = self.setup.ranks
        if self.shared is not None:
            numbers = self.shared.parameters, self.engine.theta
            if self._looked_at:  # the Values have them, and outputs may need more of them than losses do
                numbers = self.shared.leaves, np.array(numbers_of(self.leaves))
            return self.setup.measure(part, self.metrics, self.baked, numbers, shared=self.shared)
        if self._looked_at:
            return self.setup.measure(part, self.metrics, self.baked, ranks=ranks)
        return self.setup.measure(part, (), self.baked, (self.engine.parameters, self.engine.theta), ranks)

    def _latest(self) -> dict[str, float]:
        metrics = self.history.metrics.items()
        return {name: values[-1] for name, values in metrics if values and not name.startswith(HEALTH)}

    def verdict(
        self,
        constant: Callable[[], float] | None = None,
        *,
        history: History | None = None,
        now: Callable[[], float] | None = None,
    ) -> str:
        """The warning about a finished run in a sentence; "" if its loss fell. `constant` gives the loss of the best
        constant prediction, if it is known; `history` and `now`, which computes the loss over the training data, are
        those of a copy of this run."""
        part, setup = self.part, self.setup
        if setup.ranks is not None and setup.ranks.stopped is not None:
            return ""  # the others have left
        encoded = part.targets if part.weights is None else None
        if now is None:
            now = lambda: setup.measure(part, (), ranks=setup.ranks)["loss"]  # noqa: E731 - only called if needed
        targets = setup.fitted()
        best = partial(constant_loss, targets, encoded) if constant is None else constant
        return verdict(
            self.history if history is None else history, targets, encoded, self.order.steps_per_epoch, best, now
        )

    # --- how many steps, and which --------------------------------------------------------------------------------

    def count(self, due: float, most: int | None = None) -> int:
        """The number of steps to run before something else must happen, up to `most`; `due` is the step after which a
        checkpoint is."""
        return self._pace.count(self.step, due, most)

    def batch(self, count: int) -> Batch:
        """The samples and rates of the next steps: data in a file are read here, and only the rows needed."""
        if self.health is not None:
            self.health.before(self.engine)
        rows, lengths = self.order.steps(self.step, count)
        places = rows
        if self.part.samples.streamed:
            read, places, numbers = sharing.fetched(self.part.samples, rows, lengths, self.engine)
            self.engine.load(self.arrays(read, numbers))
        return Batch(rows, lengths, places, self.rates(count))

    def arrays(self, rows: Array | None, numbers: Array | None = None) -> list[Array]:
        """The engine's data: all rows, or copies of some, whose numbers may be known."""
        part = self.part
        others = [part.targets] if part.weights is None else [part.targets, part.weights]
        if self.objective.draws:
            others.append(np.arange(part.samples.count, dtype=np.float64))
        if rows is None:
            return [part.samples.array(), *others]
        return [part.samples.rows(rows) if numbers is None else numbers, *[array[rows] for array in others]]

    # --- the engine's state, and everybody else's -----------------------------------------------------------------

    def _states_in(self) -> None:
        """Load the optimiser's earlier state into the engine, parameter by parameter."""
        engine = self.engine
        engine.stop = lambda: self.interrupts.pending
        initial = tuple(self.optimizer.initial_state)
        states = self.setup.states(self.objective.parameters)
        if not states:
            engine.state[:] = np.array(initial, dtype=np.float64).reshape(-1, 1)
            return
        columns = [states.get(p, initial) for p in engine.parameters]
        engine.state[:] = np.array(columns, dtype=np.float64).reshape(len(columns), len(initial)).T

    def parameters_out(self) -> None:
        write_numbers(self.engine.parameters, self.engine.theta.tolist())

    def states_out(self) -> None:
        """Write the parameters back to the model and the state to the optimiser."""
        watch = self.watch
        if watch is not None and watch.theta is not None:
            ended = EARLY_STOPPING.ended(self.history.stopped)
            over = watch.rule.restore == "always" and self.step == self.total
            if (ended and watch.rule.restore) or over:
                self.engine.theta[:] = watch.theta
        self.parameters_out()
        initial = tuple(self.optimizer.initial_state)
        if not initial:
            states: list[tuple[float, ...]] = [()] * len(self.objective.parameters) if self.first + self.step else []
            self.setup.keep_states(self.objective.parameters, states, self.first + self.step)
            return
        with no_collection():  # one tuple per parameter
            found = dict(zip(self.engine.parameters, map(tuple, self.engine.state.T.tolist()), strict=True))
            states = [found.get(p, initial) for p in self.objective.parameters] if self.first + self.step else []
            self.setup.keep_states(self.objective.parameters, states, self.first + self.step)

    # --- what went wrong --------------------------------------------------------------------------------------------

    def _fail(self, outcome: Outcome, steps: Batch) -> None:
        """Raise the error that stopped the engine, with the sample, the operation and the line."""
        self.parameters_out()
        begin = int(steps.lengths[: outcome.done].sum())
        batch = steps.rows[begin : begin + int(steps.lengths[outcome.done])]
        arrays = self.arrays(batch)
        if self.objective.draws:
            arrays.append(np.full(len(batch), (self.first + self.step + 1) % PERIOD, dtype=np.float64))
        if outcome.why == "index":
            raise diagnose.replay_error(self.objective, arrays, batch.tolist())
        raise diagnose.diverged(
            self.objective,
            arrays,
            batch.tolist(),
            loss=float(outcome.losses[outcome.done]),
            when=f"at step {self.step} (epoch {self.step // self.order.steps_per_epoch + 1}, learning rate "
            f"{steps.rates[outcome.done]:.6g})",
            dtype=self.setup.dtype if self.setup.engine == "compiled" else "float64",
        )
