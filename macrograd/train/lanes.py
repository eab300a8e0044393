"""Groups of members that train together: on lanes where their programs are equal, one after the other elsewhere.

The rule: members whose programs are equal but for their numbers, and who take steps of the same sizes, run with lanes
as members if there are several of them and the compiler has such a form of the program, whose numbers fit into a core's
cache. All others run alone, with lanes as samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.program.nets import Different
from macrograd.compiler.targets.training import Outcome
from macrograd.nn.dropout import PERIOD, key_of
from macrograd.train.alike import Description
from macrograd.train.callbacks import Run
from macrograd.train.checkpoint import Every
from macrograd.train.diagnose import DivergedError
from macrograd.train.fitting import Batch, Fitting
from macrograd.train.graphs import no_collection
from macrograd.train.interrupt import Interrupts
from macrograd.train.member_files import Clock, Folder, MemberWriter
from macrograd.train.objective import Keyed
from macrograd.train.predictor import Measure
from macrograd.train.progress import make as shown
from macrograd.value import Value, numbers_of
from macrograd.vector import as_argument

if TYPE_CHECKING:
    from macrograd.compiler.compiled import Compiled
    from macrograd.compiler.many import TrainingNets

Array = NDArray[Any]

FEWEST = 2  # members that are worth a program of their own
_RUN_SECONDS = 0.25  # of all steps between two looks at each member
_MOST_STEPS = 1 << 18
_GUESS_SECONDS = 3e-9  # for a parameter and sample
INTERRUPTED = "interrupted"


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
        self.fitting.history.stopped = "diverged" if isinstance(error, DivergedError) else "failed"


@dataclass
class Group:
    """Members that run together, and how: `obstacle` says why they do not share lanes, "" if they do; `parts` are the
    groups that it fell into, if it did."""

    members: list[Member]
    threads: int
    obstacle: str = ""
    lanes: int = 0
    places: list[int] = field(default_factory=list)
    parts: list[Group] = field(default_factory=list)
    fewest: int = FEWEST

    def run(self, start: float, folder: Folder | None) -> None:
        """Train all members to their ends, or to Ctrl-C, which stops those that have not begun, too."""
        try:
            nets = None if self.obstacle else self._nets()
        except Different:
            self._split()
            for part in self.parts:
                part.run(start, folder)
                if part.interrupted:
                    break
            return
        if nets is not None:
            _Together(self, nets, start, folder).run()
            return
        for k, member in enumerate(self.members):
            _alone(member, folder)
            if self.interrupted:
                self.skip(k + 1)
                return

    def _split(self) -> None:
        """Into parts of equal programs, after those that differ in numbers turned out to differ in more."""
        parts: dict[Any, Group] = {}
        for member in self.members:
            parts.setdefault((member.loss, member.rule), Group([], self.threads, fewest=self.fewest)).members.append(
                member
            )
        self.parts = list(parts.values())
        for part in self.parts:
            part.check()

    def check(self) -> None:
        """Note if there are too few members to share lanes."""
        if not self.obstacle and len(self.members) < self.fewest:
            self.obstacle = "no other member has an equal program"

    def _keys(self) -> Array | None:
        """The keys of each member's random numbers; None if they draw none."""
        first = self.members[0].fitting
        if not first.objective.draws:
            return None
        count = first.objective.count_draws(*[as_argument(array[0]) for array in first.arrays(None)[:2]])
        seeds = [member.fitting.objective.seed or 0 for member in self.members]
        return np.array([[key_of(seed, k) for k in range(count)] for seed in seeds])

    def skip(self, first: int = 0) -> None:
        """Leave the members from the `first` of the group as they are: the whole was interrupted before they began."""
        for member in self.members[first:]:
            member.fitting.history.stopped = INTERRUPTED

    @property
    def interrupted(self) -> bool:
        return any(member.fitting.history.stopped == INTERRUPTED for member in self.members)

    def _nets(self) -> TrainingNets | None:
        """The members' nets on lanes; None, with the obstacle noted, if there is no such form."""
        from macrograd.compiler import TraceError
        from macrograd.compiler.many import NetsError, TrainingNets

        first = self.members[0].fitting
        losses, loss_of = _distinct([member.loss for member in self.members])
        rules, rule_of = _distinct([member.rule for member in self.members])
        leaders = [self.members[k] for k in losses]
        try:
            with no_collection():  # of a trace and its programs
                nets = TrainingNets(
                    [_sample(member.fitting) for member in leaders],
                    loss_of,
                    [self.members[k].fitting.optimizer.rule for k in rules],
                    rule_of,
                    first.arrays(None),
                    first.optimizer.initial_state,
                    self._keys(),
                    batch_size=first.order.batch_size,
                    period=PERIOD,
                    threads=self.threads,
                )
        except Different:
            raise
        except NetsError as error:
            self.obstacle = str(error)
            return None
        except (TraceError, TypeError, ValueError):
            self.obstacle = "a program that cannot be recorded"  # alone, the first says so
            return None
        places = [_places(leader, found) for leader, found in zip(leaders, nets.parameters, strict=True)]
        if None in places:
            self.obstacle = "a parameter that is not the model's"
            return None
        if any(place != places[0] for place in places):
            raise Different("programs that use their parameters in another order")
        self.places = places[0] or []
        self.lanes = nets.nets.lanes
        return nets


def _sample(fitting: Fitting) -> Compiled:
    """A sample's loss, with the keys of its random numbers as an argument if it draws some."""
    objective = fitting.objective
    return fitting.setup.compiled(Keyed(objective) if objective.draws else objective)


def _distinct(keys: list[Any]) -> tuple[list[int], list[int]]:
    """(the first place of each distinct key, which of these each key is)."""
    known: dict[Any, int] = {}
    of = [known.setdefault(key, len(known)) for key in keys]
    return [of.index(k) for k in range(len(known))], of


def _places(member: Member, parameters: list[Value]) -> list[int] | None:
    """The places of these parameters among the member's leaves; None if one is not the model's."""
    known = {id(p) for p in member.fitting.objective.parameters}
    place = {id(p): k for k, p in enumerate(member.leaves)}
    return [place[id(p)] for p in parameters] if all(id(p) in known for p in parameters) else None


def explained(groups: Sequence[Group]) -> str:
    """The rule, and what it made of the members."""
    lines = [
        "lanes are members where their programs are equal but for their numbers, and fit into a core's cache; "
        "elsewhere lanes are samples"
    ]
    alone: dict[str, list[int]] = {}
    for group in [part for whole in groups for part in whole.parts or [whole]]:
        numbers = [member.number for member in group.members]
        if group.obstacle:
            alone.setdefault(group.obstacle, []).extend(numbers)
        else:
            lines.append(f"{_listed(numbers)}: together, {group.lanes} members at a time")
    for obstacle, numbers in alone.items():
        lines.append(f"{_listed(sorted(numbers))}: one after the other, lanes are samples: {obstacle}")
    return "\n".join(lines)


def grouped(members: Sequence[Member], threads: int, fewest: int = FEWEST) -> list[Group]:
    """The members in groups, in the order of their first members; groups of fewer than `fewest` run alone."""
    groups: dict[Any, Group] = {}
    for member in members:
        key: Any = _key(member)
        if isinstance(key, str):
            found = Group([member], threads, key)
            groups[id(member)] = found
            continue
        groups.setdefault(key, Group([], threads)).members.append(member)
    for group in groups.values():
        group.fewest = fewest
        group.check()
    return list(groups.values())


def _key(member: Member) -> Any:
    """What must be equal for members to share a program; a sentence if this one shares with nobody."""
    fitting = member.fitting
    setup, objective, order = fitting.setup, fitting.objective, fitting.order
    if setup.engine != "compiled":
        return "the eager engine"
    if fitting.part.samples.streamed:
        return "samples that stay in their file"
    if fitting.callbacks.step:
        return "a callback after every step"
    if setup.ranks is not None:
        return "batches that other processes share"
    if fitting.health is not None:
        return "the health of its layers, which needs gradients"
    if fitting.clip_norm is not None:
        return "a largest norm of the gradient, which is a sum over parameters"
    model = member.described
    if objective.extra is not None:  # which knows the model, too
        model = Description(objective.model, objective.extra)
    loss, rule = Description(objective.loss), Description(fitting.optimizer)
    member.leaves = model.parameters
    member.loss, member.rule = (model.key, loss.key, objective.l2), rule.key
    shapes = tuple(array.shape[1:] for array in fitting.arrays(None))
    return (
        model.alike, loss.alike, objective.l2 == 0.0, rule.alike, fitting.optimizer.initial_state, objective.draws,
        objective.weighted, setup.dtype, setup.strict, shapes, order.samples, order.batch_size,
    )  # fmt: skip


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
        """Hand the numbers to the nets."""
        self._nets.nets.set(self._net, self._theta, self._state)

    def load(self, arrays: Sequence[Array]) -> None:
        self._nets.nets.point(self._net, arrays)

    def used(self, lengths: Array) -> None:
        """All rows are."""

    def run(self, order: Array, lengths: Array, rates: Array, step: int = 1) -> Outcome:
        raise AssertionError("members that train together are run by their group")


class _Together:
    """The run of a group on lanes."""

    def __init__(self, group: Group, nets: TrainingNets, start: float, folder: Folder | None) -> None:
        self.group, self.nets, self.start = group, nets, start
        self.interrupts = Interrupts()
        # Steps in a run, by a guess that is more than it takes; later runs are timed.
        size = len(nets.parameters[0]) * group.members[0].fitting.order.batch_size * len(group.members)
        self.most = max(1, int(_RUN_SECONDS / (size * _GUESS_SECONDS)))
        self.active = []
        for net, member in enumerate(group.members):
            engine = LaneEngine(
                nets, net, [member.leaves[k] for k in group.places], member.fitting.optimizer.initial_state
            )
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
        first = self.group.members[0].fitting
        self.clock = Clock(Every.of(folder.every, first.order.steps_per_epoch))
        computed: dict[Any, dict[str, Any]] = {}  # recording a program again for each member would take long
        for lane in self.active:
            fitting = lane.fitting
            key = lane.member.loss, lane.member.rule, fitting.objective.seed
            if key not in computed:
                computed[key] = fitting.computed(fitting.setup.compiled(fitting.objective), fitting.arrays(None))
            path, saved = folder.prepare(lane.member.number)
            lane.writer = MemberWriter(path, fitting.continued(saved, computed[key]))

    def _write(self, step: int) -> None:
        assert self.clock is not None
        begun = time.perf_counter()
        for lane in self.active:
            lane.write()
        self.clock.wrote(step, begun)

    def _share_measures(self) -> None:
        """Validation losses are computed by one program, with the numbers of each member."""
        first = self.group.members[0].fitting
        measures: dict[bool, Measure] = {}
        for lane in self.active:
            fitting, held = lane.fitting, lane.fitting.held
            if held is not None:
                weighted = held.weights is not None
                if weighted not in measures:
                    measures[weighted] = first.setup.new_measure(held)
                fitting.measure = measures[weighted], self.nets.parameters[0]

    def run(self) -> None:
        with self.interrupts:
            self._run()

    def _run(self) -> None:
        try:
            for lane in self.active:
                lane.fitting.catch_up(lane.state)
            self._drop()
            while self.active:
                self._some()
                self._drop()
        except KeyboardInterrupt:
            for lane in self.active:
                lane.fitting.history.stopped = lane.fitting.history.stopped or INTERRUPTED
        finally:
            with self.interrupts.finishing():
                for lane in self.active:
                    lane.end()

    def _drop(self) -> None:
        """End the members that have nothing left to do."""
        for lane in self.active:
            if lane.failed or lane.fitting.over(lane.state):
                lane.end()
        self.active = [lane for lane in self.active if not lane.ended]

    def _some(self) -> None:
        """Some steps of those members that are the furthest behind."""
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
        wanted = count * _RUN_SECONDS / max(ended - begun, 1e-7)
        self.most = int(max(1, min(wanted, 8 * self.most, _MOST_STEPS)))
        if self.clock is not None and self.clock.due(step + count):
            self._write(step + count)


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
            self.fitting.write(self.writer)

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
        fitting._parameters_out()
        _, engine = fitting.setup.engine_for(fitting.objective, fitting.arrays(None), fitting.order, None)
        fitting.use(engine)
        engine.theta[:], engine.state[:] = theta, state
        fitting.measure = None
        self.state = fitting.state()
        try:
            fitting._loop(self.state, None, shown("none", fitting.total, fitting.order.steps_per_epoch))
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
        fitting._states_out()
        self.write()
        for callback in fitting.callbacks.end:
            if not self.failed:
                callback(self.state)


def _alone(member: Member, folder: Folder | None) -> None:
    try:
        if folder is None:
            member.fitting.run(None, math.inf, False)
        else:
            member.fitting.run(folder.file(member.number), folder.every, folder.resume)
    except (DivergedError, IndexError) as error:
        member.failed(error)


def _listed(numbers: list[int]) -> str:
    """The numbers of members in words, ranges in short."""
    parts: list[str] = []
    begin = 0
    while begin < len(numbers):
        end = begin
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        parts.append(str(numbers[begin]) if begin == end else f"{numbers[begin]}–{numbers[end]}")
        begin = end + 1
    shown_ = ", ".join(parts if len(parts) <= 8 else [*parts[:7], f"… {parts[-1]}"])
    return f"member{'s' if len(numbers) > 1 else ''} {shown_}"
