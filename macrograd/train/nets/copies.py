"""Members that are copies of one Trainer and differ in their numbers alone: starts, seeds and rates.

Nothing looks at their models while they train, so that their numbers stay in arrays, (members, parameters) and
(members, steps), and a member becomes a Trainer with a model of Values when somebody asks for it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from macrograd._numbers import check_unmasked
from macrograd.train import verdict as verdicts
from macrograd.train.alike import Description
from macrograd.train.checks import integer
from macrograd.train.endings import INTERRUPTED
from macrograd.train.fitting import Fitting
from macrograd.train.graphs import no_collection
from macrograd.train.history import History
from macrograd.train.interrupt import Interrupts
from macrograd.train.nets.groups import Group, grouped
from macrograd.train.nets.lanes import Member, Together, first_run, next_run
from macrograd.train.nets.plans import like
from macrograd.train.planning import planned
from macrograd.train.predictor import Measure
from macrograd.train.progress import make as shown
from macrograd.train.rates import Rates
from macrograd.train.samples.data import Samples, rows_of
from macrograd.train.samples.order import Orders
from macrograd.train.trainer import Trainer
from macrograd.value import Value, numbers_of, write_numbers

if TYPE_CHECKING:
    from macrograd.compiler.targets.nets import NetsOutcome

Array = NDArray[Any]
Options = dict[str, Any]
Schedule = Callable[[int], float]


def starts_of(trainer: Trainer, starts: Any, count: int | None) -> tuple[Array, int]:
    """(the parameters with which copies of a Trainer begin, one row for each; their number). Raises TypeError or
    ValueError if they do not fit."""
    own = numbers_of(trainer.model.parameters())
    if starts is None:
        if count is None:
            raise ValueError("train_many() with one Trainer needs the number of its copies: give count=, or starts=")
        return np.array([own]), integer("count", count, 1)
    check_unmasked("starts", starts)
    try:
        found = np.array(starts, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"starts must be an array (members, parameters) of numbers, got {starts!r}") from None
    if found.ndim != 2 or found.shape[1] != len(own) or not len(found):
        raise ValueError(
            f"starts must have a row of {len(own)} parameters for each member, got an array of shape {found.shape}"
        )
    if count is not None and count != len(found):
        raise ValueError(f"count is {count}, but there are {len(found)} starts: leave count out")
    if not np.isfinite(found).all():
        k, p = np.argwhere(~np.isfinite(found))[0]
        raise ValueError(f"starts must be finite, got {found[k, p]} for parameter {p} of member {k}")
    return found, len(found)


class Copies(Sequence[Trainer]):
    """The members as Trainers, each made when it is looked at, and their histories.

    trainer  the Trainer to copy, which stays as it is
    starts   (members, parameters), or one row for all
    """

    def __init__(self, trainer: Trainer, starts: Array, count: int) -> None:
        self._trainer, self._starts, self._count = trainer, starts, count
        self._made: dict[int, Trainer] = {}
        self.run: CopiesRun | None = None  # the run that knows what became of them, if they ran as copies

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, k: int) -> Trainer: ...
    @overload
    def __getitem__(self, k: slice) -> list[Trainer]: ...
    def __getitem__(self, k: int | slice) -> Trainer | list[Trainer]:
        if isinstance(k, slice):
            return [self[i] for i in range(*k.indices(self._count))]
        place = range(self._count)[k]
        if place not in self._made:
            with no_collection():
                self._made[place] = self.new(place) if self.run is None else self.run.ended(place)
        return self._made[place]

    def new(self, k: int) -> Trainer:
        """Member k before its run."""
        made = copy.deepcopy(self._trainer)
        write_numbers(made.model.parameters(), self.start(k).tolist())
        return made

    def made(self, trainers: Sequence[Any]) -> None:
        """Use these as the members."""
        self.run, self._made = None, dict(enumerate(trainers))

    def start(self, k: int) -> Array:
        """The parameters with which member k begins."""
        found: Array = self._starts[k if len(self._starts) > 1 else 0]
        return found

    @property
    def histories(self) -> list[History]:
        if self.run is None:
            return [trainer.history for trainer in self]
        made = self._made  # which may have been trained further
        return [made[k].history if k in made else self.run.history(k) for k in range(self._count)]

    def seen(self, k: int) -> Trainer | None:
        """Member k if it has been looked at, and may have been changed since."""
        return self._made.get(k)


class CopiesRun:
    """The run of copies on lanes.

    Use `planned`, which returns None for a run that needs the members' models: one with callbacks, metrics, validation
    or checkpoints, or whose program has no form with members on lanes.
    """

    def __init__(self, copies: Copies, trainer: Trainer, fitting: Fitting, group: Group, y: Any) -> None:
        self._copies, self._trainer, self._fitting, self.group, self._y = copies, trainer, fitting, group, y
        self.seeds = group.seeds or []
        self._schedules: list[Schedule | None] = [None] * len(copies)
        self._rates: list[Rates] = []
        self._described = group.members[0].described
        place = {id(p): k for k, p in enumerate(fitting.objective.parameters)}
        self._leaves = [place[id(p)] for p in group.members[0].leaves]
        self._runs: list[tuple[list[NetsOutcome], list[Array], float]] = []  # outcomes, rates, and the end in seconds
        self._histories: dict[int, History] = {}
        self._theta = self._state = np.empty(0)
        self._stopped = ""
        self._measure: Measure | None = None
        self.members: list[Member] = []  # if they had to be made in the end

    @classmethod
    def planned(
        cls,
        copies: Copies,
        X: Any,
        y: Any,
        seeds: list[int],
        schedules: list[Schedule | None],
        options: Options,
        threads: int,
        fewest: int,
    ) -> CopiesRun | None:
        """The run with these options of `fit`, and with the schedules that members have of their own. Raises what `fit`
        does for bad input."""
        if len(copies) < fewest:
            return None
        trainer = copies.new(0)
        fitting = planned(trainer, X, y, seed=seeds[0], **options)
        model = fitting.objective.model
        member = Member(0, fitting, Description(model))
        (group,) = grouped([member], threads, 1)
        known = {id(p) for p in fitting.objective.parameters}
        if group.obstacle or not fitting.unwatched or any(id(p) not in known for p in member.leaves):
            return None
        group.members, group.seeds = [member] * len(copies), seeds
        run = cls(copies, trainer, fitting, group, y)
        run._schedules = schedules
        run._rates = [Rates(fitting.optimizer, fitting.schedule if own is None else own) for own in schedules]
        return run

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(self, start: float) -> bool:
        """Make all steps. If a member cannot go on, all are made and continue as members that were given. False if
        there is no form with members on lanes after all."""
        fitting, order = self._fitting, self._fitting.order
        training = self.group.nets()
        if training is None:
            return False
        nets, self._places = training.nets, [self._leaves[k] for k in self.group.places]
        count = len(self._copies)
        theta = np.array([self._copies.start(k) for k in range(count)])[:, self._places]
        nets.set_all(theta, self._first_state(training.parameters[0]))
        nets.point_all(fitting.arrays(None))
        orders = Orders(order, self.seeds)
        failed, interrupts = False, Interrupts()
        show = shown(fitting.progress, fitting.total, order.steps_per_epoch, 0)
        most = first_run(theta.shape[1] * order.batch_size * count)
        with interrupts:
            try:
                while fitting.step < fitting.total and not failed:
                    begun, steps = time.perf_counter(), fitting.count(np.inf, most)
                    outcomes = self._some(training, orders, steps, interrupts, start)
                    failed = any(outcome.why for outcome in outcomes)
                    most = next_run(most, steps, time.perf_counter() - begun, nets.seconds)
                    losses = sorted(float(outcome.losses[-1]) for outcome in outcomes if len(outcome.losses))
                    middle = losses[len(losses) // 2] if losses else np.nan
                    show.show(fitting.step, middle, {}, last=fitting.step == fitting.total)
            except KeyboardInterrupt:
                self._stopped = INTERRUPTED
            finally:
                show.close()
        self._theta, self._state = nets.get_all()
        self._copies.run = self
        if failed:
            self._continue(training, start)
        return True

    def _first_state(self, parameters: list[Value]) -> Array:
        """The optimiser's state of these parameters, which an earlier run of the Trainer may have left."""
        fitting = self._fitting
        initial = tuple(fitting.optimizer.initial_state)
        states = fitting.setup.states(fitting.objective.parameters)
        columns = [states.get(p, initial) for p in parameters]
        return np.array(columns, dtype=np.float64).reshape(len(columns), len(initial)).T

    def _some(
        self, training: Any, orders: Orders, count: int, interrupts: Interrupts, start: float
    ) -> list[NetsOutcome]:
        from macrograd.compiler.many import NetSteps

        fitting = self._fitting
        step, first = fitting.step, fitting.first
        common = fitting.rates(count)
        rates = [
            common if own is None else self._rates[k].of(step, count, first) for k, own in enumerate(self._schedules)
        ]
        rows, lengths = orders.steps(step, count)
        given = [NetSteps(k, own, rates[k], first + step + 1) for k, own in enumerate(rows)]
        with interrupts.held():
            outcomes: list[NetsOutcome] = training.nets.run(given, lengths)
            self._runs.append((outcomes, rates, time.perf_counter() - start))
            fitting.step += count
        return outcomes

    def _continue(self, training: Any, start: float) -> None:
        """Make all members, and continue them together."""
        with no_collection():
            self.members = [self._member(k) for k in range(len(self._copies))]
        if not self._stopped:
            Together(self.members, self.group.places, training, start, None).run()
        self.group.members, self.group.seeds = self.members, None
        self._copies.made([member.fitting.trainer for member in self.members])

    def _member(self, k: int) -> Member:
        """Member k where it is now."""
        fitting = self._now(k)
        leader = self.group.members[0]
        parameters = fitting.objective.parameters
        leaves = [parameters[p] for p in self._leaves]
        return Member(k, fitting, leader.described.of(leaves), "", leaves, leader.loss, leader.rule)

    def _now(self, k: int) -> Fitting:
        """The run of member k where it is now: its numbers are in its model and its optimiser."""
        trainer = copy.deepcopy(self._trainer)
        write_numbers(trainer.model.parameters(), self._copies.start(k).tolist())
        described = self._described.of(trainer.model.parameters())
        fitting = like(self._fitting, trainer, described, {"seed": self.seeds[k]}, self._y, self._schedules[k])
        fitting.history = self.history(k)
        fitting.step = len(fitting.history)
        engine: Any = _Numbers([fitting.objective.parameters[p] for p in self._places], self._theta[k], self._state[k])
        fitting.engine = engine
        fitting.states_out()
        return fitting

    # --- what became of them ------------------------------------------------------------------------------------------

    def history(self, k: int) -> History:
        """The history of member k."""
        if k not in self._histories:
            self._histories[k] = found = History()
            fixed = self._rates[k].fixed
            for outcomes, rates, seconds in self._runs:
                done = outcomes[k].done
                found.extend(outcomes[k].losses[:done], rates[k][:done] if fixed is None else fixed, seconds)
            found.stopped = self._stopped
        return self._histories[k]

    def ended(self, k: int) -> Trainer:
        """Member k after its run."""
        fitting = self._now(k)
        trainer = fitting.trainer
        assert isinstance(trainer, Trainer)
        trainer._ended(fitting)
        trainer.remark = self.verdict(k)
        return trainer

    def verdicts(self) -> list[str]:
        """The verdict of each member."""
        fitting = self._fitting
        steps = fitting.step
        found = [""] * len(self._copies)
        if self._stopped:
            return found
        window = verdicts.window_of(steps, fitting.order.steps_per_epoch)
        first, last = self._mean(window, 1), self._mean(window, -1)
        for k in np.flatnonzero(verdicts.suspicious(steps, first, last, self._constant())):
            found[k] = self.verdict(int(k))
        return found

    def _mean(self, window: int, sign: int) -> Array:
        """The mean loss of each member over the first or the last steps."""
        held: list[Array] = []
        for outcomes, _, _ in self._runs[::sign]:
            if sum(piece.shape[1] for piece in held) >= window:
                break
            held.append(np.array([outcome.losses for outcome in outcomes])[:, ::sign])
        if not held:
            return np.zeros(len(self._copies))
        with np.errstate(over="ignore"):
            return np.asarray(np.concatenate(held, axis=1)[:, :window].mean(axis=1))

    def _constant(self) -> float:
        part = self._fitting.part
        return verdicts.constant_loss(self._fitting.setup.fitted(), part.targets if part.weights is None else None)

    def verdict(self, k: int) -> str:
        """The verdict of member k."""
        return self._fitting.verdict(self._constant, history=self.history(k), now=partial(self._loss, k))

    def _loss(self, k: int) -> float:
        part = self._fitting.part
        return self.loss_over(k, part.samples, part.targets, part.weights)

    def losses(self, X: Any, y: Any, rows: Sequence[Array] | None) -> list[float]:
        """The loss of each member over its rows of samples and targets."""
        found, part = [], self._trainer.part(X, y) if rows is None else None
        for k in range(len(self._copies)):
            seen = self._copies.seen(k)
            own = part if seen is None else None
            if own is None:
                given = (X, y) if rows is None else (rows_of(X, rows[k]), rows_of(y, rows[k]))
                own = (seen or self._trainer).part(*given)
            numbers = None if seen is None else np.array(numbers_of(seen.model.parameters()))
            if seen is not None and numbers is not None and len(numbers) != len(self._fitting.objective.parameters):
                found.append(seen.setup.measure(own, ())["loss"])  # some of its parameters were frozen since
                continue
            found.append(self.loss_over(k, own.samples, own.targets, own.weights, numbers))
        return found

    def loss_over(
        self, k: int, samples: Samples, targets: Array, weights: Array | None, numbers: Array | None = None
    ) -> float:
        """The loss of member k over samples, targets and weights, by one program for all; with the `numbers` of its
        parameters, if not those of its run."""
        if self._measure is None:
            self._measure = self._fitting.setup.new_measure(self._fitting.part)
        parameters = self._fitting.objective.parameters
        if numbers is None:
            numbers = self._copies.start(k).copy()
            numbers[self._places] = self._theta[k]
        return self._measure(samples, targets, weights, (parameters, numbers))


class _Numbers:
    """A member's numbers, as its run reads them from an engine."""

    def __init__(self, parameters: list[Any], theta: Array, state: Array) -> None:
        self.parameters, self.theta, self.state = parameters, theta, state
