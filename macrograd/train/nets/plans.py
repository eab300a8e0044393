"""The runs of many members, planned: what data and options determine is found once for members that share them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.nn import Scaled
from macrograd.train.alike import Description, Twins
from macrograd.train.callbacks import Callbacks
from macrograd.train.checks import integer
from macrograd.train.fitting import Fitting
from macrograd.train.planning import planned
from macrograd.train.samples.data import rows_of
from macrograd.train.samples.order import Order
from macrograd.train.trainer import Trainer
from macrograd.value import numbers_of

Options = dict[str, Any]

_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class _Leader:
    """The first of members that share a plan; its options are kept, so that no id in a key is used twice."""

    fitting: Fitting
    described: Description
    twins: Twins
    options: Options


class Plans:
    """Plans of runs on X and y."""

    def __init__(self, X: Any, y: Any) -> None:
        self._X, self._y = X, y
        self._known: dict[Any, list[_Leader]] = {}

    def plan(self, trainer: Trainer, options: Options) -> tuple[Fitting, Description]:
        """The run of a member, and the description of its model. Raises what `Trainer.fit` does for bad input."""
        key = _key(trainer, options)
        known = self._known.setdefault(key, []) if key is not None else []
        for leader in known[-1:]:  # most often they are all alike
            parameters = leader.twins.of(trainer.model)
            if parameters is not None:
                return self._like(leader, trainer, leader.described.of(parameters), options)
        described = Description(trainer.model)
        for leader in known:
            if leader.described.key == described.key:
                return self._like(leader, trainer, leader.described.of(described.parameters), options)
        fitting = self._alone(trainer, dict(options))
        if fitting.objective.model is not trainer.model:  # with scales, or without those of the outputs
            described = Description(fitting.objective.model)
        known.append(_Leader(fitting, described, Twins(trainer.model), options))
        return fitting, described

    def _like(
        self, leader: _Leader, trainer: Trainer, described: Description, options: Options
    ) -> tuple[Fitting, Description]:
        return like(leader.fitting, trainer, described, options, self._y), described

    def _alone(self, trainer: Trainer, options: Options) -> Fitting:
        X, y = self._X, self._y
        rows = options.pop("rows", None)
        if rows is not None:
            samples, rows = len(y), _checked(rows, len(y))
            X, y = rows_of(X, rows), rows_of(y, rows)
            weights = options.get("sample_weight")
            if weights is not None and len(weights) == samples:
                options["sample_weight"] = rows_of(weights, rows)
        return planned(trainer, X, y, **options)


def check_names(options: Options) -> None:
    """Raise TypeError for an option that members do not have."""
    known = [*(Trainer.fit.__kwdefaults__ or {}), "rows"]
    for name in options:
        if name not in known:
            import difflib  # needed only for misspellings, and slow to load

            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else "they are rows and those of Trainer.fit"
            raise TypeError(f"members have no option {name!r}; {hint}")


def _checked(rows: Any, samples: int) -> Any:
    """The rows that a member sees, or an error that names the first that is not there."""
    try:
        found, what = np.asarray(rows), ""
    except ValueError:  # lists of several lengths
        found, what = np.empty((0, 0)), "lists of several lengths"
    if found.dtype.kind not in "iub" or found.ndim != 1 or (found.dtype.kind == "b" and len(found) != samples):
        what = what or f"shape {found.shape} and dtype {found.dtype}"
        more = "; members get rows of their own by each=[{'rows': ...}, ...]" if found.ndim > 1 else ""
        raise TypeError(
            f"rows must be a list of row numbers, or True or False for each of {samples} rows, got {what}{more}"
        )
    wrong = found[(found < -samples) | (found >= samples)]  # of a mask none
    if len(wrong):
        raise IndexError(f"rows has {wrong[0]}, and there are {samples} rows, from 0 to {samples - 1}")
    return found


def _key(trainer: Trainer, options: Options) -> Any:
    """The other facts that members who share a plan have in common; None for one that shares with no other."""
    setup, held = trainer.setup, options.get("validation")
    if setup.targets is not None or setup.ranks is not None or options.get("watch") or isinstance(held, float):
        return None  # it was trained before, needs more than its data, or draws its validation data by its seed
    if trainer.scale or setup.scale_target or isinstance(setup.model, Scaled):
        return None
    given: list[Any] = [
        setup.loss,
        setup.penalty,
        setup.engine,
        setup.dtype,
        setup.threads,
        setup.strict,
        setup.smoothing,
    ]
    given += [trainer.given_classes, *(options[name] for name in sorted(options) if name != "seed")]
    return (tuple(sorted(options)), *((type(x), x) if type(x) in _PLAIN else id(x) for x in given))


def like(
    leader: Fitting,
    trainer: Trainer,
    described: Description,
    options: Options,
    y: Any,
    schedule: Callable[[int], float] | None = None,
) -> Fitting:
    """The run of a member whose model is like the leader's, on the same data with the same options, but perhaps with a
    schedule of its own."""
    setup, theirs, order = trainer.setup, leader.setup, leader.order
    if not np.isfinite(numbers_of(described.parameters)).all():
        setup.trained()  # says which parameter is not finite
    seed = integer("seed", options["seed"], 0)
    targets = theirs.fitted()
    setup.learn(targets, theirs.shape, theirs.columns, theirs.plan, y)
    setup.seed = seed
    weighted, draws = leader.objective.weighted, leader.objective.draws
    return Fitting(
        setup,
        leader.part,
        leader.held,
        Order(order.samples, order.batch_size, shuffle=order.shuffle, seed=seed, native=order.native),
        leader.total,
        objective=setup.objective(targets, described.parameters, weighted, seed if draws else None),
        trainer=trainer,
        metrics=leader.metrics,
        early_stopping=None if leader.watch is None else leader.watch.rule,
        clip_norm=leader.clip_norm,
        schedule=leader.schedule if schedule is None else schedule,
        callbacks=Callbacks(options.get("callbacks", ()), trainer.watchers),
        progress=leader.progress,
    )
