"""`train_many`: many nets at once, each as if it were trained alone."""

from __future__ import annotations

import contextlib
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._flags import flag
from macrograd.optim.schedules import as_schedule
from macrograd.train.checks import integer
from macrograd.train.endings import DIVERGED
from macrograd.train.fitting import Fitting
from macrograd.train.graphs import no_collection
from macrograd.train.history import History
from macrograd.train.nets.copies import Copies, CopiesRun, starts_of
from macrograd.train.nets.groups import FEWEST, Group, explained, grouped
from macrograd.train.nets.lanes import Member
from macrograd.train.nets.member_files import Folder
from macrograd.train.nets.plans import Plans, check_names
from macrograd.train.predictor import Measure
from macrograd.train.samples.data import rows_of
from macrograd.train.trainer import Trainer
from macrograd.train.verdict import TrainingWarning, constant_loss
from macrograd.value import numbers_of

Array = NDArray[Any]
Make = Callable[[int], Trainer]
Options = dict[str, Any]

# Options of `fit` that belong to the whole.
WHOLE = frozenset({"progress", "checkpoint", "every", "resume"})


class Many:
    """The result of `train_many`: as many trained members as were asked for.

    trainers   the members, each fitted; copies of one Trainer are made when they are looked at
    histories  the History of each
    verdicts   for each the reason why it was not trained to its end or learned nothing, "" if it was and did
    """

    def __init__(self, trainers: Sequence[Trainer], verdicts: list[str], groups: list[Group]) -> None:
        self.trainers, self.verdicts, self._groups = trainers, verdicts, groups
        self._explained = explained(groups)

    @property
    def histories(self) -> list[History]:
        """The History of each member."""
        made = self.trainers
        return made.histories if isinstance(made, Copies) else [trainer.history for trainer in made]

    def __len__(self) -> int:
        return len(self.trainers)

    def __getitem__(self, k: int) -> Trainer:
        return self.trainers[k]

    def __iter__(self) -> Iterator[Trainer]:
        return iter(self.trainers)

    def best(self, metric: str = "validation_loss", *, lowest: bool | None = None) -> int:
        """The number of the member whose `metric` is best at its end: of `History.metrics`, or "loss", that of its last
        step. `lowest` tells whether low is good; None if it is not an accuracy or r2. Members with a verdict of
        divergence have no chance. Raises ValueError for a metric that no member has."""
        found = []
        for k, history in enumerate(self.histories):
            value = history.last_loss if metric == "loss" else (history.metrics.get(metric) or [math.nan])[-1]
            if not math.isnan(value) and not DIVERGED.ended(history.stopped):
                found.append((value, k))
        if not found:
            there = sorted({"loss", *(name for history in self.histories for name in history.metrics)})
            raise ValueError(f"no member has the metric {metric!r} at its end: there are {', '.join(there)}")
        if lowest is None:
            lowest = metric.removeprefix("validation_") not in ("accuracy", "r2")
        return (min if lowest else max)(found, key=lambda pair: pair[0])[1]

    def losses(self, X: Any, y: Any, rows: Sequence[Array] | None = None) -> list[float]:
        """The loss of each member over samples and targets, as `Trainer.evaluate` computes it, by one program for those
        that ran together. `rows` are the rows of X and y for each member; None for all."""
        if isinstance(self.trainers, Copies) and self.trainers.run is not None:
            return self.trainers.run.losses(X, y, rows)
        groups = [part for whole in self._groups for part in whole.parts or [whole] if not part.obstacle]
        together = {member.number: (group, member) for group in groups for member in group.members}
        measures: dict[Any, tuple[Measure, Member]] = {}
        found = []
        for k, trainer in enumerate(self.trainers):
            part = trainer.part(*((X, y) if rows is None else (rows_of(X, rows[k]), rows_of(y, rows[k]))))
            if k not in together:
                found.append(trainer.setup.measure(part, ())["loss"])
                continue
            group, member = together[k]
            key = id(group), member.loss
            if key not in measures:
                measures[key] = trainer.setup.new_measure(part), member
            measure, first = measures[key]
            numbers = first.leaves, np.array(numbers_of(member.leaves))
            found.append(measure(part.samples, part.targets, part.weights, numbers))
        return found

    def explain(self) -> str:
        """Which members ran together, whether lanes of the processor were members or samples, and the rule for it."""
        return self._explained

    def __getstate__(self) -> dict[str, Any]:
        """The members and what is said of them. What they shared is made again where it is needed."""
        return vars(self) | {"trainers": list(self.trainers), "_groups": []}

    def __repr__(self) -> str:
        failed = sum(bool(verdict) for verdict in self.verdicts)
        return f"Many({len(self)} members{f', {failed} with a verdict' if failed else ''})"


def train_many(
    trainers: Sequence[Trainer] | Make | Trainer,
    X: Any,
    y: Any,
    *,
    count: int | None = None,
    starts: Any = None,
    each: Sequence[Options] | Callable[[int], Options] | None = None,
    seed: int = 0,
    threads: int = 1,
    lanes: str = "auto",
    checkpoint: str | os.PathLike[str] | None = None,
    every: float | str = 10.0,
    resume: bool = False,
    **options: Any,
) -> Many:
    """Train many members on samples X (n, …) and targets y, and return them.

    Members whose nets are equal in all but numbers run in native code together; others run after one another. Either
    way each has the history and the parameters of its run alone, `trainer.fit(X, y, seed=seed + k, **options)` for
    member k: to the bit with `Trainer(..., strict=True)`, else to rounding.

    trainers  the members, or a function (k) → Trainer that makes member k of `count`. Each has its own model, with
              parameters that no other has, and its own optimiser. Or one Trainer, which stays as it is: the members are
              `count` copies of it, and none is made before it is looked at, unless something looks at its model while
              it trains (callbacks, metrics, validation) or it diverges
    starts    for one Trainer: (members, parameters), the numbers with which each begins, in the order of
              `model.parameters()`, as `nn.starts` draws them; None for those of its model
    each      what is different about a member: options of `fit` by name, one dict for each member or a function
              (k) → dict. Besides those of `fit` there is `rows`: the rows of X and y that the member sees, as in
              cross-validation. As many `sample_weight` as y has rows are those of all rows, others of the rows seen
    seed      member k shuffles with seed + k
    threads   the number of threads that share the members
    lanes     "auto", or "members" for members on lanes even if one runs alone, so that its rounding does not depend on
              which others there are
    checkpoint, every, resume   as for `Trainer.fit`, but a folder, with the checkpoint of each member
    options   those of `Trainer.fit` for all members

    A member whose loss or gradient is not finite stops before that step, alone: its history's `stopped` is "diverged",
    and its verdict says why. Ctrl-C ends all runs after a complete step. Raises TypeError and ValueError for invalid
    input, naming the member, before any work is done.
    """
    if flag("train_many", "resume", resume) and checkpoint is None:
        raise ValueError("resume=True needs a checkpoint to resume from: give checkpoint=FOLDER")
    threads = integer("threads", threads, 1)
    if lanes not in ("auto", "members"):
        raise ValueError(f"lanes must be 'auto' or 'members', got {lanes!r}")
    check_names(options)
    options.setdefault("progress", "none")
    seed, fewest = integer("seed", seed, 0), 1 if lanes == "members" else FEWEST
    start = time.perf_counter()
    if isinstance(trainers, Trainer):
        _check_rankless(trainers, 0)
        copies = Copies(trainers, *starts_of(trainers, starts, count))
        own = _own(each, len(copies))
        run = None if checkpoint is not None else _copied(copies, X, y, seed, own, options, threads, fewest)
        if run is not None and run.run(start):
            return _told(Many(copies, _verdicts_of(run), [run.group]))
        members: list[Trainer] = list(copies)
    else:
        if starts is not None:
            raise ValueError("starts are those of copies of one Trainer: give one, or members that begin there")
        with no_collection():  # of the Values of all members, which have no cycles
            members = _members(trainers, count)
        own = _own(each, len(members))
    plans, found = Plans(X, y), []
    with contextlib.ExitStack() as all_or_none, no_collection():
        for k, trainer in enumerate(members):
            all_or_none.enter_context(trainer.setup.unless_refused())
            with _named(k):
                found.append(Member(k, *plans.plan(trainer, {"seed": seed + k, **options, **own[k]})))
        _check_apart([member.fitting for member in found])
        groups = grouped(found, threads, fewest)
        folder = None if checkpoint is None else Folder(checkpoint, every, resume=resume)
    interrupted = False
    try:
        for group in groups:
            if interrupted:
                group.skip()
                continue
            group.run(start, folder)
            interrupted = group.interrupted
    finally:  # also if a callback fails
        for member in found:
            _ended(member)
    _judge(found)
    return _told(Many(members, [member.verdict for member in found], groups))


def _copied(
    copies: Copies, X: Any, y: Any, seed: int, own: list[Options], options: Options, threads: int, fewest: int
) -> CopiesRun | None:
    """The run of copies whose models nobody looks at before its end; None if these need to be made before."""
    if any(given.keys() - {"seed", "schedule"} or given.get("schedule", 0) is None for given in own):
        return None
    seeds = [seed + k for k in range(len(copies))]
    schedules: list[Callable[[int], float] | None] = [None] * len(copies)
    for k, given in enumerate(own):
        with _named(k) if given else contextlib.nullcontext():
            if "seed" in given:
                seeds[k] = integer("seed", given["seed"], 0)
            if "schedule" in given:
                schedules[k] = as_schedule(given["schedule"])
    with _named(0), no_collection():
        return CopiesRun.planned(copies, X, y, seeds, schedules, options, threads, fewest)


def _verdicts_of(run: CopiesRun) -> list[str]:
    if not run.members:
        return run.verdicts()
    for member in run.members:
        _ended(member)
    _judge(run.members)
    return [member.verdict for member in run.members]


def _ended(member: Member) -> None:
    trainer = member.fitting.trainer
    assert isinstance(trainer, Trainer)
    trainer._ended(member.fitting)


def _told(many: Many) -> Many:
    """The result, with a warning about members that have a verdict."""
    remarks = [k for k, verdict in enumerate(many.verdicts) if verdict]
    if remarks:
        warnings.warn(
            f"{len(remarks)} of {len(many)} members have a verdict; that of member {remarks[0]}: "
            f"{many.verdicts[remarks[0]]}",
            TrainingWarning,
            stacklevel=3,
        )
    return many


def _judge(members: Sequence[Member]) -> None:
    """Find the verdicts of the runs that did not fail."""
    known: dict[Any, float] = {}  # the loss of the best constant prediction, by targets
    for member in members:
        fitting = member.fitting
        trainer, part = fitting.trainer, fitting.part
        assert isinstance(trainer, Trainer)
        if not member.verdict:
            targets = fitting.setup.fitted()
            encoded = part.targets if part.weights is None else None
            if id(encoded) not in known:
                known[id(encoded)] = constant_loss(targets, encoded)
            member.verdict = trainer.remark = fitting.verdict(partial(known.__getitem__, id(encoded)))


def _members(trainers: Any, count: int | None) -> list[Trainer]:
    if callable(trainers):
        if count is None:
            raise ValueError("train_many() with a function that makes members needs their number: give count=")
        members = [trainers(k) for k in range(integer("count", count, 1))]
    elif not isinstance(trainers, Iterable):
        raise TypeError(
            f"train_many() takes Trainers, or a function (k) → Trainer that makes them, got {trainers!r} of type "
            f"{type(trainers).__name__}"
        )
    else:
        members = list(trainers)
        if count is not None and count != len(members):
            raise ValueError(f"count is {count}, but there are {len(members)} trainers: leave count out")
    if not members:
        raise ValueError("train_many() needs at least one member, got none")
    for k, trainer in enumerate(members):
        if not isinstance(trainer, Trainer):
            raise TypeError(f"member {k} must be a Trainer, got {trainer!r} of type {type(trainer).__name__}")
        _check_rankless(trainer, k)
    return members


def _check_rankless(trainer: Trainer, k: int) -> None:
    if trainer.setup.ranks is not None:
        raise ValueError(f"member {k} was made with comm=, but ranks share the batches of one net: leave comm out")


def _own(each: Any, count: int) -> list[Options]:
    if each is None:
        return [{}] * count
    if not callable(each) and not isinstance(each, Iterable):
        raise TypeError(f"each must be a list of dicts, or a function (k) → dict, got {each!r}")
    found = [each(k) for k in range(count)] if callable(each) else list(each)
    if len(found) != count:
        raise ValueError(f"each has {len(found)} entries for {count} members: give one dict for each")
    for k, options in enumerate(found):
        if not isinstance(options, dict):
            raise TypeError(f"each must hold dicts of options of fit, got {options!r} for member {k}")
        for name in sorted(WHOLE):
            if name in options:
                raise ValueError(f"{name} is an option of the whole, not of member {k}")
        with _named(k):
            check_names(options)
    return found


@contextlib.contextmanager
def _named(k: int) -> Iterator[None]:
    """Errors that name the member."""
    try:
        yield
    except (TypeError, ValueError, IndexError) as error:
        if type(error) not in (TypeError, ValueError, IndexError):
            raise
        raise type(error)(f"member {k}: {error}") from None


def _check_apart(fittings: list[Fitting]) -> None:
    """Raise ValueError if two members share a parameter or an optimiser."""
    every = [fitting.objective.parameters for fitting in fittings]
    ids = set(map(id, chain.from_iterable(every)))
    ids.update(id(fitting.optimizer) for fitting in fittings)
    if len(ids) == sum(map(len, every)) + len(fittings):
        return
    owner: dict[int, int] = {}
    for k, fitting in enumerate(fittings):
        things: list[Any] = [fitting.optimizer, *fitting.objective.parameters]
        for thing in things:
            other = owner.setdefault(id(thing), k)
            if other != k:
                what = "an optimiser" if thing is fitting.optimizer else "a parameter"
                raise ValueError(f"members {other} and {k} share {what}: give each its own")
