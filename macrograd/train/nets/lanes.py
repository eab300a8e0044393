"""Members on lanes: runs whose steps are made together, each with its own history, callbacks and files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.targets.training import Outcome
from macrograd.train import resuming
from macrograd.train.alike import Description
from macrograd.train.callbacks import Run
from macrograd.train.checkpoint import Every
from macrograd.train.diagnose import DivergedError
from macrograd.train.endings import DIVERGED, FAILED, INTERRUPTED
from macrograd.train.fitting import Batch, Fitting
from macrograd.train.graphs import no_collection
from macrograd.train.interrupt import Interrupts
from macrograd.train.nets.member_files import Clock, Folder, MemberWriter
from macrograd.train.predictor import Shared
from macrograd.train.progress import make as shown
from macrograd.value import Value, numbers_of

if TYPE_CHECKING:
    from macrograd.compiler.many import TrainingNets

Array = NDArray[Any]

_RUN_SECONDS = 0.25  # of all steps between two looks at each member
_MOST_STEPS = 1 << 18
_GUESS_SECONDS = 3e-9  # for a parameter and sample


def first_run(size: int) -> int:
    """The steps of a first run, for so many parameters times samples in a step."""
    return max(1, int(_RUN_SECONDS / (size * _GUESS_SECONDS)))


def next_run(most: int, count: int, seconds: float, steps: float) -> int:
    """The most steps of the next run after one of `count`, out of `most`, that took so many seconds, of which `steps`
    were the steps themselves. What is done for each member takes no less if there are fewer steps, so it takes half of
    the time at most."""
    wanted = count * max(_RUN_SECONDS - (seconds - steps), seconds - steps) / max(steps, 1e-7)
    return int(max(1, min(wanted, 8 * most, _MOST_STEPS)))


@dataclass
class Member:
    """One member: its number, its run, and why it stopped, if it diverged. `leaves` are its parameters in the order of
    its description; `loss` and `rule` describe what a step computes, numbers included."""

    number: int
    fitting: Fitting
    described: Description  # of its model, as its loss sees it
    verdict: str = ""
    leaves: list[Value] = field(default_factory=list)
    loss: Any = None
    rule: Any = None

    def failed(self, error: Exception) -> None:
        """Note the error that a run alone would raise."""
        self.verdict = str(error)
        self.fitting.history.stopped = DIVERGED if isinstance(error, DivergedError) else FAILED


class LaneEngine:
    """One net of many, as the engine of its own run: its numbers are fetched when they are looked at."""

    def __init__(self, nets: TrainingNets, net: int, parameters: list[Value], initial_state: Sequence[float]) -> None:
        self._nets, self._net, self.parameters = nets, net, parameters
        self._theta = np.array(numbers_of(parameters), dtype=np.float64)
        self._state = np.repeat(np.array([initial_state], dtype=np.float64).T, len(parameters), axis=1)
        self.stale = False
        self.stop: Callable[[], bool] = lambda: False  # its group asks

    @property
    def theta(self) -> Array:
        self._fetch()
        return self._theta

    @property
    def state(self) -> Array:
        self._fetch()
        return self._state

    @property
    def gradient(self) -> Array:
        raise AttributeError("members that train together keep no gradients: look at them in a run alone")

    def _fetch(self) -> None:
        if self.stale:
            self.stale = False
            theta, state = self._nets.nets.get(self._net)
            self._theta, self._state = theta.astype(np.float64), state.astype(np.float64)

    def send(self) -> None:
        """Hand the numbers to the nets, which have those of their type, also if no step is made."""
        self._nets.nets.set(self._net, self._theta, self._state)
        self.stale = True

    def load(self, arrays: Sequence[Array]) -> None:
        self._nets.nets.point(self._net, arrays)

    def used(self, lengths: Array, rank: int | None = None) -> None:
        """All rows are."""

    def run(self, order: Array, lengths: Array, rates: Array, step: int = 1, **known: Any) -> Outcome:
        raise AssertionError("members that train together are run by their group")


class Together:
    """The run of several members on lanes."""

    def __init__(
        self, members: list[Member], places: list[int], nets: TrainingNets, start: float, folder: Folder | None
    ) -> None:
        """`places` are those of the nets' parameters among the leaves of each member."""
        self.members, self.nets, self.start = members, nets, start
        self.interrupts = Interrupts()
        # Steps in a run, by a guess that is more than it takes; later runs are timed.
        size = len(nets.parameters[0]) * members[0].fitting.order.batch_size * len(members)
        self.most = first_run(size)
        self.active: list[_Lane] = []
        with no_collection():  # of the Values of all members, which have no cycles
            self._open(places, folder)

    def _open(self, places: list[int], folder: Folder | None) -> None:
        nets = self.nets
        for net, member in enumerate(self.members):
            engine = LaneEngine(nets, net, [member.leaves[k] for k in places], member.fitting.optimizer.initial_state)
            member.fitting.interrupts = self.interrupts
            member.fitting.use(engine)
            self.active.append(_Lane(net, member, engine))
        self.clock: Clock | None = None
        if folder is not None:
            self._continue(folder)
        for lane in self.active:
            lane.begin()
        self._share_measures()

    def _continue(self, folder: Folder) -> None:
        """Continue what the folder holds, and write to it."""
        first = self.members[0].fitting
        self.clock = Clock(Every.of(folder.every, first.order.steps_per_epoch))
        computed: dict[Any, dict[str, Any]] = {}  # recording a program again for each member would take long
        for lane in self.active:
            fitting = lane.fitting
            key = lane.member.loss, lane.member.rule, fitting.objective.seed
            if key not in computed:
                computed[key] = resuming.computed(
                    fitting, fitting.setup.compiled(fitting.objective), fitting.arrays(None)
                )
            path, saved = folder.prepare(lane.member.number)
            run = resuming.compared(fitting, saved)
            lane.writer = MemberWriter(path, resuming.continued(fitting, saved, run, computed[key]))

    def _write(self, step: int) -> None:
        assert self.clock is not None
        begun = time.perf_counter()
        for lane in self.active:
            lane.write()
        self.clock.wrote(step, begun)

    def _share_measures(self) -> None:
        """Losses and metrics are computed by one program for all models that are equal but for parameters."""
        known: dict[Any, Shared] = {}
        for lane in self.active:
            fitting = lane.fitting
            model = fitting.setup.model
            plain = model is fitting.objective.model  # or with scales, which may differ
            key = lane.member.loss, plain or id(fitting)
            if key not in known:
                predictor = fitting.setup.predictor(fitting.baked) if plain and fitting.metrics else None
                known[key] = Shared(fitting.setup.new_measure, predictor, lane.engine.parameters, lane.member.leaves)
            fitting.shared, fitting.leaves = known[key], lane.member.leaves

    def run(self) -> None:
        with self.interrupts:
            self._run()

    def _run(self) -> None:
        first = self.members[0].fitting
        total = max(lane.fitting.total for lane in self.active)
        self.shown = shown(first.progress, total, first.order.steps_per_epoch, first.step)
        try:
            for lane in self.active:
                lane.fitting.catch_up(lane.state)
            self._drop()
            while self.active:
                step = self._some()
                losses = sorted(lane.fitting.history.last_loss for lane in self.active)
                self.shown.show(step, losses[len(losses) // 2], {}, last=step == total)
                self._drop()
        except KeyboardInterrupt:
            for lane in self.active:
                lane.fitting.history.stopped = lane.fitting.history.stopped or INTERRUPTED
        finally:
            with self.interrupts.finishing():
                self.shown.close()
                for lane in self.active:
                    lane.end()

    def _drop(self) -> None:
        """End the members that have nothing left to do."""
        with no_collection():
            for lane in self.active:
                if lane.failed or lane.fitting.over(lane.state):
                    lane.end()
        self.active = [lane for lane in self.active if not lane.ended]

    def _some(self) -> int:
        """Some steps of those members that are the furthest behind; returns the step that the first of them is at."""
        step = min(lane.fitting.step for lane in self.active)
        ahead = [lane.fitting.step for lane in self.active if lane.fitting.step > step]
        now = [lane for lane in self.active if lane.fitting.step == step]
        due = math.inf if self.clock is None else self.clock.next_step()
        count = min(lane.fitting.count(due, self.most) for lane in now)
        if ahead:
            count = min(count, min(ahead) - step)
        begun = time.perf_counter()
        batches = [lane.fitting.batch(count) for lane in now]
        steps = [lane.steps(batch) for lane, batch in zip(now, batches, strict=True)]
        with self.interrupts.held():
            outcomes = self.nets.nets.run(steps, batches[0].lengths)
            ended = time.perf_counter()
            for lane, batch, outcome in zip(now, batches, outcomes, strict=True):
                lane.record(Outcome(outcome.losses, outcome.done, outcome.why), batch, ended - self.start)
        for lane, batch in zip(now, batches, strict=True):
            lane.follow(batch)
        self.most = next_run(self.most, count, time.perf_counter() - begun, self.nets.nets.seconds)
        if self.clock is not None and self.clock.due(step + count):
            self._write(step + count)
        return now[0].fitting.step


class _Lane:
    """One member of a group on lanes."""

    def __init__(self, net: int, member: Member, engine: LaneEngine) -> None:
        self.net, self.member, self.engine, self.fitting = net, member, engine, member.fitting
        self.writer: MemberWriter | None = None
        self.state: Run
        self.outcome = Outcome(np.empty(0), 0, "")
        self.failed = self.ended = False

    def begin(self) -> None:
        self.state = self.fitting.state()
        self.engine.send()
        self.engine.load(self.fitting.arrays(None))

    def write(self) -> None:
        if self.writer is not None:
            resuming.write(self.fitting, self.writer)

    def steps(self, batch: Batch) -> Any:
        from macrograd.compiler.many import NetSteps

        return NetSteps(self.net, batch.places, batch.rates, self.fitting.first + self.fitting.step + 1)

    def record(self, outcome: Outcome, batch: Batch, seconds: float) -> None:
        self.outcome = outcome
        self.engine.stale = True
        self.fitting.record(outcome, batch, seconds)

    def follow(self, batch: Batch) -> None:
        outcome = self.outcome
        if outcome.why == "index":  # in this lane or in one beside it: alone it shows
            self._leave()
            return
        if outcome.why == "beside":
            outcome = replace(outcome, why="")
        if not outcome.done and not outcome.why:
            return
        try:
            self.fitting.follow(self.state, outcome, batch)
        except (DivergedError, IndexError) as error:
            self.member.failed(error)
            self.failed = True

    def _leave(self) -> None:
        """Go on alone."""
        fitting, lane = self.fitting, self.engine
        theta, state = lane.theta, lane.state
        fitting.parameters_out()
        _, engine = fitting.setup.engine_for(fitting.objective, fitting.arrays(None), fitting.order, fitting.clip_norm)
        fitting.use(engine)
        engine.theta[:], engine.state[:] = theta, state
        fitting.shared = None
        self.state = fitting.state()
        try:
            fitting.loop(self.state, None, shown("none", fitting.total, fitting.order.steps_per_epoch))
        except (DivergedError, IndexError) as error:
            self.member.failed(error)
        self.failed = True

    def end(self) -> None:
        if self.ended:
            return
        self.ended = True
        fitting = self.fitting
        if self.state.reason:
            fitting.history.stopped = self.state.reason
        self.write()  # before the best parameters are restored: a longer run goes on from the latest
        fitting.states_out()
        for callback in fitting.callbacks.end:
            if not self.failed:
                callback(self.state)
