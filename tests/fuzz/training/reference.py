"""A training run, plainly written: loops over steps, formulas of the books, and noise on every operation.

Nothing of `macrograd.train` is used but the order in which a seed shuffles. The graphs are those of the eager engine's
operations, on several replicas of the numbers, of which the first has no noise (`tests/fuzz/noise.py`)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from macrograd import Value, nn
from macrograd.graph import topological
from macrograd.nn import losses
from macrograd.nn.dropout import Draws, drawing
from macrograd.train.samples.order import Order

from .. import noise
from . import nets, rules
from .cases import Case, rate
from .data import Table, table

Array = NDArray[Any]


class UndecidableError(Exception):
    """Rounding decides what a run does next."""


@dataclass
class Answer:
    """What a run should give; arrays have the replicas first.

    theta    (replicas, parameters)
    losses   of each step, (replicas, steps)
    rates    of each step
    metrics  (replicas, epochs) validation losses
    stopped  as in a History
    diverged the step that was not applied, or −1
    """

    theta: Array
    losses: list[Array] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    metrics: list[Array] = field(default_factory=list)
    metric_steps: list[int] = field(default_factory=list)
    stopped: str = ""
    diverged: int = -1


class Training:
    """A model of replicas, and the state of its optimiser between calls of `fit`."""

    def __init__(self, case: Case) -> None:
        self.case, self.dtype = case, case.trainer.get("dtype", "float64")
        model = case.make(case.start)
        self.leaves = model.parameters()
        start = np.array([p.data for p in self.leaves], dtype=self.dtype)
        self.theta = np.tile(start, (noise.REPLICAS, 1))
        self.state = np.zeros((rules.states(case.rule), noise.REPLICAS, len(start)), dtype=self.dtype)
        self.steps, self.model = 0, model
        self.table: Table | None = None

    def fit(self, number: int) -> Answer:
        """The run of that number."""
        fit = self.case.fits[number]
        data = self.table = table(self.case, fit, self.table)
        n = len(data.X)
        size = {"auto": min(32, n), None: n}.get(fit["batch_size"], fit["batch_size"])
        order = Order(n, size, shuffle=fit.get("shuffle", True), seed=fit["seed"])
        per_epoch = order.steps_per_epoch
        total = fit["steps"] if "steps" in fit else fit["epochs"] * per_epoch
        schedule = rate(fit["schedule"]) if "schedule" in fit else None
        answer, watch = Answer(self.theta), _Watch(fit.get("early_stopping"))
        first = self.steps
        for step in range(total):
            at = rate(self.case.rule.schedule) if schedule is None else schedule
            now = at if isinstance(at, float) else at(step if schedule is not None else first + step)
            rows, _ = order.steps(step, 1)
            if not self.step(data, rows, float(now), fit, answer):
                answer.diverged = step
                break
            if data.Xv is not None and (step + 1) % per_epoch == 0:
                answer.metrics.append(self.mean_loss(data, data.Xv, data.tv, data.wv))
                answer.metric_steps.append(step + 1)
                if watch.sees(answer.metrics[-1], self.theta):
                    answer.stopped = "early stopping"
                    break
        self.steps = first + len(answer.losses)
        ended = bool(answer.stopped) or (watch.always and len(answer.losses) == total)
        if ended and watch.theta is not None and watch.restore:
            self.theta = watch.theta
        answer.theta = self.theta
        return answer

    # --- one step -------------------------------------------------------------------------------------------------

    def step(self, data: Table, rows: Array, now: float, fit: dict[str, Any], answer: Answer) -> bool:
        """Make one step; False if its loss or gradient is not finite."""
        number = float((self.steps + len(answer.losses) + 1) % nn.dropout.PERIOD)
        with noise.running(self.seed(), len(rows), self.dtype):
            parameters, model = self.twin()
            loss = self.loss(model, data, data.X[rows], data.t[rows], number, rows, fit["seed"])
            if data.w is not None:
                loss = noise.leaf(data.w[rows]) * loss
            value, share = noise.mean(loss)
            penalty = self.penalty(model, parameters)
            reached = {id(x) for out in (value if isinstance(value, Value) else loss, loss, penalty)
                       if isinstance(out, Value) for x in topological(out)}  # fmt: skip
            sums = [noise.derivatives(loss, parameters, share), noise.derivatives(penalty, parameters)]
            gradient = np.stack([noise.one(a + b) for a, b in zip(*sums, strict=True)], axis=1)
            losses_ = noise.one(value + penalty)
        used = np.array([id(p) in reached for p in parameters])
        finite = np.isfinite(losses_) & np.isfinite(gradient).all(axis=1)
        if finite.any() != finite.all():
            raise UndecidableError("some replicas are not finite")
        if not finite.all():
            return False
        answer.losses.append(losses_)
        answer.rates.append(now)
        with noise.running(self.seed(), len(self.leaves), self.dtype):
            if "clip_norm" in fit:
                gradient = _clipped(gradient, fit["clip_norm"])
            theta, state = rules.update(self.case.rule, self.theta, gradient, self.state, now, self.steps_of(answer))
        self.theta = np.where(used, theta, self.theta)
        self.state = np.where(used, state, self.state) if len(self.state) else self.state
        return True

    def steps_of(self, answer: Answer) -> int:
        return self.steps + len(answer.losses)

    def seed(self) -> int:
        self.runs = getattr(self, "runs", 0) + 1
        return self.runs

    def twin(self) -> tuple[list[Any], Any]:
        """(the parameters of all replicas, the model with them)."""
        parameters = [noise.replicas(self.theta[:, [k]]) for k in range(len(self.leaves))]
        into = {id(old): new for old, new in zip(self.leaves, parameters, strict=True)}
        return parameters, _replaced(self.model, into, {})

    def loss(self, model: Any, data: Table, X: Array, t: Array, number: float, rows: Array, seed: int) -> Any:
        """The loss of each sample of a step."""
        x = [noise.leaf(column) for column in X.T]
        target = noise.leaf(t) if t.ndim == 1 else [noise.leaf(column) for column in t.T]
        with drawing(Draws(number, noise.leaf(rows.astype(float)), seed)):
            return self.one(model, data, x, target, self.case.trainer.get("label_smoothing", 0.0))

    def one(self, model: Any, data: Table, x: Any, target: Any, smoothing: float = 0.0) -> Any:
        """One sample's loss."""
        if self.case.loss == "whole":
            return nets.whole(lambda v: model([(a - m) / u for a, m, u in zip(v, data.middle, data.unit, strict=True)]),
                              x, target)  # fmt: skip
        each = model.each(x) if hasattr(model, "each") else [model(x)]
        found = [_smoothed(data.loss, out, target, smoothing) for out in each]
        return found[0] if len(found) == 1 else mg.sum(found) / float(len(found))

    def penalty(self, model: Any, parameters: list[Any]) -> Any:
        found: Any = 0.0
        if l2 := self.case.trainer.get("l2", 0.0):
            found = l2 * mg.sum([p * p for p in parameters])
        return found + nets.PENALTIES[self.case.penalty](model) if self.case.penalty else found

    def mean_loss(self, data: Table, X: Array, t: Array, w: Array | None) -> Array:
        """The mean loss over samples, (replicas,)."""
        with noise.running(self.seed(), len(X), self.dtype):
            _, model = self.twin()
            x = [noise.leaf(column) for column in X.T]
            target = noise.leaf(t) if t.ndim == 1 else [noise.leaf(column) for column in t.T]
            loss = self.one(model, data, x, target)
            return noise.one(noise.mean(loss if w is None else noise.leaf(w) * loss)[0])


class _Watch:
    """Early stopping of all replicas, which must agree."""

    def __init__(self, rule: Any) -> None:
        self.rule, self.since = rule, 0
        self.best: Array | None = None
        self.theta: Array | None = None
        self.always = rule is not None and rule.restore == "always"
        self.restore = rule is not None and bool(rule.restore)

    def sees(self, losses_: Array, theta: Array) -> bool:
        if self.rule is None:
            return False
        better = np.array([True] * len(losses_)) if self.best is None else losses_ < self.best - self.rule.min_delta
        if better.any() != better.all():
            raise UndecidableError("early stopping")
        if better.all():
            self.best, self.since, self.theta = losses_, 0, theta
        else:
            self.since += 1
        return bool(self.since >= self.rule.patience)


def _clipped(gradient: Array, most: float) -> Array:
    norm = np.sqrt((gradient.astype(float) ** 2).sum(axis=1, keepdims=True))
    found = noise.replicas(gradient) * noise.replicas(np.minimum(1.0, most / np.maximum(norm, 1e-300)))
    return np.where(norm > most, noise.array(found), gradient)


def _smoothed(loss: str, out: Any, target: Any, share: float) -> Any:
    """A named loss, or one's own, of a label that is right with probability 1 − share and otherwise any."""
    function = nets.OWN.get(loss) or losses.LOSSES[loss]
    if not share:
        return function(out, target)
    if loss == "cross_entropy":
        k = len(out)
        some = [(1.0 - share) * (1.0 - abs(mg.sign(target - float(j)))) + share / k for j in range(k)]
        return losses.cross_entropy(out, some)
    other = 1.0 - target if loss == "binary_cross_entropy" else -target
    return (1.0 - 0.5 * share) * function(out, target) + 0.5 * share * function(out, other)


def _replaced(thing: Any, into: dict[int, Any], known: dict[int, Any]) -> Any:
    """A copy of a model with other parameters."""
    if id(thing) in known:
        return known[id(thing)]
    if isinstance(thing, Value):
        return into.get(id(thing), thing)
    if isinstance(thing, nn.Module):
        made = known[id(thing)] = copy.copy(thing)
        for name, part in list(vars(thing).items()):
            setattr(made, name, _replaced(part, into, known))
        return made
    if isinstance(thing, dict):
        return {key: _replaced(part, into, known) for key, part in thing.items()}
    if isinstance(thing, (list, tuple)):
        return type(thing)([_replaced(part, into, known) for part in thing])
    return thing


def expected(case: Case) -> list[Answer]:
    """What each call of `fit` should give. Raises UndecidableError where rounding decides what happens."""
    training, found = Training(case), []
    for number in range(len(case.fits)):
        found.append(training.fit(number))
        if not math.isfinite(float(np.abs(training.theta).max())) or found[-1].diverged >= 0:
            break
    return found
