"""From what `Trainer.fit` is given to a run that is ready to begin: all is checked before any work is done."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from macrograd._flags import flag
from macrograd._warn import warn
from macrograd.nn import Scaled
from macrograd.optim.schedules import as_schedule
from macrograd.train import progress as shown
from macrograd.train.callbacks import Callback, Callbacks, EarlyStopping, Run, Trains, stopping_of
from macrograd.train.checks import check_parameters, integer, is_number, number_of_steps, size_of_batch
from macrograd.train.fitting import Fitting
from macrograd.train.samples import metrics as named_metrics
from macrograd.train.samples import ranges, scaling, spread
from macrograd.train.samples import targets as kinds
from macrograd.train.samples import weights as weighting
from macrograd.train.samples.columns import in_order, names_of, plan_of
from macrograd.train.samples.data import Samples
from macrograd.train.samples.order import Order
from macrograd.train.samples.split import Part, validation_of
from macrograd.train.setup import Setup
from macrograd.train.verdict import TrainingWarning

Array = NDArray[Any]


class Planned(Trains, Protocol):
    """The part of a `Trainer` that decides about its next run."""

    setup: Setup
    scale: str | None
    given_classes: list[Any] | None
    own_rows: bool
    watchers: list[Callback]


def planned(
    trainer: Planned,
    X: Any,
    y: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | str | None = "auto",
    shuffle: bool = True,
    seed: int = 0,
    sample_weight: Any = None,
    class_weight: Any = None,
    validation: Any = None,
    metrics: Sequence[str | Callable[..., float]] = (),
    early_stopping: int | EarlyStopping | None = None,
    clip_norm: float | None = None,
    schedule: float | Callable[[int], float] | None = None,
    callbacks: Callback | Callable[[Run], None] | Sequence[Callback | Callable[[Run], None]] = (),
    progress: str | bool = "auto",
    watch: str | None = None,
) -> Fitting:
    """The run with these options of `Trainer.fit`, which documents them. Raises what it does for bad input; the setup
    may know of the data then (`Setup.unless_refused`)."""
    setup = trainer.setup
    table = _Table(trainer, X, y, sample_weight, class_weight, validation)
    part, held = table.split(seed)
    size = size_of_batch(batch_size, part.samples.count)
    shuffle, seed = flag("fit", "shuffle", shuffle), integer("seed", seed, 0)
    order = Order(part.samples.count, size, shuffle=shuffle, seed=seed, native=setup.engine == "compiled")
    total = number_of_steps(epochs, steps, order.steps_per_epoch)
    if clip_norm is not None and not (is_number(clip_norm) and 0 < clip_norm < math.inf):
        raise ValueError(f"clip_norm must be finite and positive, got {clip_norm!r}")
    judged = named_metrics.all_of(metrics, table.targets)
    stopping = stopping_of(early_stopping, [name for name, _ in judged], held is not None)
    if watch not in (None, "health"):
        raise ValueError(f"watch must be 'health' or None, got {watch!r}")
    table.learn()
    setup.seed = seed
    weighted, drawn = part.weights is not None, seed if table.draws else None
    return Fitting(
        setup,
        part,
        held,
        order,
        total,
        objective=setup.objective(table.targets, table.parameters, weighted, drawn),
        trainer=trainer,
        metrics=judged,
        early_stopping=stopping,
        clip_norm=clip_norm,
        schedule=None if schedule is None else as_schedule(schedule),
        callbacks=Callbacks(callbacks, trainer.watchers),
        progress=shown.check(progress),
        health=_health(setup, part) if watch else None,
    )


class _Table:
    """The data of a run: as they were given, and as the engine takes them.

    targets     what the numbers of y mean
    parameters  those that are trained
    draws       whether the model draws random numbers
    """

    def __init__(
        self, trainer: Planned, X: Any, y: Any, sample_weight: Any, class_weight: Any, validation: Any
    ) -> None:
        self._trainer, self._setup, self._answers = trainer, trainer.setup, y
        setup = self._setup
        self._plan = plan = setup.plan if setup.columns is not None else plan_of(X, "X")
        self._columns = setup.columns or (names_of(X) if plan is None else plan.names)
        samples, seen = Samples(in_order(X, self._columns, "X", plan), name="X", dtype=setup.dtype), setup.seen
        if setup.ranks is not None and trainer.own_rows:
            samples, y, sample_weight = spread.gathered(setup.ranks, samples, y, sample_weight, plan)
            validation, seen = spread.validation(setup.ranks, validation), partial(spread.seen, setup.ranks, setup.seen)
        self._validation, self._seen = validation, seen
        self.parameters = setup.trained()
        if setup.engine == "compiled":
            what = f"this {type(setup.model).__name__}"
            check_parameters(what, len(self.parameters), "take fewer inputs or fewer neurons")
        self.targets = self._meant(samples, y)
        encoded = self.targets.encode(y)
        if len(encoded) != samples.count:
            raise ValueError(f"X has {samples.count} samples and y {len(encoded)} targets: there must be one for each")
        own = weighting.of(sample_weight, None, encoded, self.targets)
        weights = weighting.of(own, class_weight, np.asarray(y).reshape(encoded.shape), self.targets)
        self._bring_to_scale(samples, encoded, own)
        self._whole = Part(setup.seen(samples), setup.in_units(encoded, self.targets), np.asarray(y), weights)

    def split(self, seed: int) -> tuple[Part, Part | None]:
        """The samples to train on, and those to validate with."""
        setup, targets = self._setup, self.targets
        return validation_of(
            self._validation, self._whole, targets, seed, partial(in_order, columns=self._columns, plan=self._plan),
            lambda y, name: setup.in_units(targets.encode(y, name), targets), self._seen,
        )  # fmt: skip

    def learn(self) -> None:
        """Let the setup know what samples and targets are from now on."""
        self._setup.learn(self.targets, self._whole.samples.shape, self._columns, self._plan, self._answers)

    def _meant(self, samples: Samples, y: Any) -> kinds.Targets:
        """The targets for `y`, for which the outputs of the model must be in range."""
        setup, names = self._setup, None if self._plan is None else self._plan.names
        outputs, self.draws, first = setup.outputs(samples, names)
        targets = self._known(y, outputs)
        if targets.kind in ("two classes", "labels"):
            ranges.check(setup.first_output(samples, names) if self.draws else first, targets)
        return targets

    def _known(self, y: Any, outputs: int) -> kinds.Targets:
        """The targets for `y`: as the model learned them before, or judged by the numbers."""
        setup, known, given = self._setup, self._setup.targets, self._trainer.given_classes
        if callable(setup.loss):
            return kinds.of(y, setup.loss, outputs)
        if known is None and given is not None:
            known = kinds.of(given, setup.loss, outputs)
        found = None if known is None else kinds.again(known, y, outputs)
        return kinds.of(y, setup.loss, outputs) if found is None else found

    def _bring_to_scale(self, samples: Samples, encoded: Array, weights: Array | None) -> None:
        """Wrap the model in scales at its first training, or warn that it might need them."""
        setup = self._setup
        if setup.targets is not None or isinstance(setup.model, Scaled):
            return
        if self._trainer.scale is not None:
            scale = scaling.found(self._trainer.scale, samples, weights)
            setup.model = Scaled(setup.model, scale.middle.tolist(), scale.unit.tolist())
        elif message := scaling.warning(samples):
            warn(message, TrainingWarning)
        if setup.scale_target and self.targets.kind == "numbers":
            scale = scaling.Scale.of(encoded.reshape(len(encoded), -1).astype(np.float64), weights)
            model = setup.model if isinstance(setup.model, Scaled) else Scaled(setup.model)
            setup.model = model.with_outputs(scale.middle.tolist(), scale.unit.tolist())


def _health(setup: Setup, part: Part) -> Any:
    from macrograd.train.health import Health  # few runs are watched

    return Health(setup, part)
