"""Random training runs: a net, data, a loss, an optimiser, and the options of one or two calls of `fit`."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from macrograd import optim
from macrograd.train import EarlyStopping

from . import nets

Array = NDArray[Any]

TASKS = ["numbers", "numbers", "several", "two", "two", "two outputs", "classes", "labels", "shares"]
LOSSES = {
    "numbers": ["squared_error", "absolute_error", "huber", None, "log_cosh", "quartic", "quantile", "whole"],
    "several": ["squared_error", "absolute_error", "huber", "log_cosh", "quartic", "whole"],
    "two": ["hinge", "binary_cross_entropy", None],
    "two outputs": ["cross_entropy", None],
    "classes": ["cross_entropy", None],
    "labels": ["binary_cross_entropy", None],
    "shares": ["binary_cross_entropy"],
}
EXACT_LOSSES = {"numbers": ["squared_error", "absolute_error", "huber", "quartic", "quantile"], "two": ["hinge"]}


@dataclass(frozen=True)
class Rule:
    """An optimiser by name, with its options; `schedule` makes the rate."""

    name: str
    options: dict[str, Any]
    schedule: tuple[str, tuple[Any, ...]]

    def make(self) -> optim.Optimizer:
        found: optim.Optimizer = optim.OPTIMIZERS[self.name](rate(self.schedule), **self.options)
        return found


def rate(given: tuple[str, tuple[Any, ...]]) -> Any:
    """The schedule, or the number, that (name, arguments) tell."""
    name, arguments = given
    if name == "number":
        return arguments[0]
    if name == "own":
        return halving
    if name == "warm_up":
        return optim.warm_up(rate(arguments[0]), arguments[1])
    return getattr(optim, name)(*arguments)


def halving(step: int) -> float:
    """A schedule of one's own."""
    return 0.02 / (1 + step % 4)


@dataclass(frozen=True)
class Case:
    """One run, or two after each other.

    task      of TASKS
    fits      the options of each call of `fit`, without the data
    trainer   options of the Trainer
    """

    seed: str
    task: str
    net: str
    make: nets.Make
    start: int
    X: Array
    y: Array
    loss: str | None
    rule: Rule
    fits: list[dict[str, Any]]
    trainer: dict[str, Any] = field(default_factory=dict)
    penalty: str | None = None

    def made(self, **more: Any) -> mg.Trainer:
        """A new Trainer."""
        loss: Any = nets.OWN.get(self.loss or "", self.loss)
        penalty = nets.PENALTIES[self.penalty] if self.penalty else None
        options = {**self.trainer, **more}
        return mg.Trainer(self.make(self.start), loss, self.rule.make(), penalty=penalty, **options)

    def told(self) -> str:
        """The case in words."""
        fits = [{k: v if not isinstance(v, (tuple, np.ndarray)) else "…" for k, v in f.items()} for f in self.fits]
        return (
            f"{self.task}, {self.net}, X {self.X.shape}, loss {self.loss}, {self.rule}, penalty {self.penalty}, "
            f"{self.trainer}, fits {fits}"
        )


def case(seed: str) -> Case:
    """The case of this seed."""
    rng = random.Random(seed)
    numbers = np.random.default_rng(rng.randrange(2**32))
    strict = rng.random() < 0.25
    exact = strict and rng.random() < 0.6
    task = rng.choice([t for t in TASKS if not exact or t in EXACT_LOSSES])
    nin, n = rng.choice([1, 2, 2, 3, 5]), rng.choice([3, 5, 7, 8, 13, 16, 21, 33])
    X, y, nout = _data(rng, numbers, task, n, nin)
    loss = rng.choice((EXACT_LOSSES if exact else LOSSES)[task])
    net, make = nets.draw(rng, nin, nout, exact=exact)
    rule = _rule(rng)
    trainer = _trainer(rng, task, loss, strict)
    penalty = rng.choice([*nets.PENALTIES]) if rng.random() < 0.15 else None
    first = _fit(rng, numbers, task, loss, X, y)
    if exact and rng.random() < 0.8:
        first |= {"batch_size": 1}
        first.pop("clip_norm", None)
        trainer["l2"], penalty = 0.0, None
    fits = [first]
    if rng.random() < 0.3:  # a restart with other options
        fits.append(_fit(rng, numbers, task, loss, X, y))
    return Case(seed, task, net, make, rng.randrange(1000), X, y, loss, rule, fits, trainer, penalty)


def _data(rng: random.Random, numbers: Any, task: str, n: int, nin: int) -> tuple[Array, Array, int]:
    """(X, y, the number of outputs)."""
    X = numbers.normal(size=(n, nin))
    if rng.random() < 0.3:
        X = np.round(X * 4.0) / 4.0
    if rng.random() < 0.2:
        X = X * numbers.uniform(0.1, 6.0, nin) + numbers.normal(size=nin)
    score = X @ numbers.normal(size=nin) + 0.3 * numbers.normal(size=n)
    if task == "numbers":
        return X, score, 1
    if task == "several":
        k = rng.choice([2, 3])
        return X, np.stack([score * (j + 1) - j for j in range(k)], axis=1), k
    if task == "labels":
        k = rng.choice([2, 3])
        y = (numbers.normal(size=(n, k)) + score[:, None] > 0).astype(int)  # floats would be numbers
        y[0], y[1] = 1, 0  # no rows that look like one class each
        return X, y, k
    if task == "shares":
        y = np.round(numbers.uniform(size=n), 2)
        y[0] = 0.37
        return X, y, 1
    k = rng.choice([3, 4]) if task == "classes" else 2
    index = np.argsort(np.argsort(score)) * k // n if n >= k else np.arange(n)
    index = np.where(np.arange(n) < k, np.arange(n), index)[:n]
    names = rng.choice([np.arange(k), np.arange(k) * 3 - 1, np.array([f"c{j}" for j in range(k)])])
    nout = {"two": 1, "two outputs": 2}.get(task, len(set(index.tolist())))
    return X, names[index], nout


def _schedule(rng: random.Random, size: float) -> tuple[str, tuple[Any, ...]]:
    name = rng.choice(["number"] * 4 + ["linear", "step", "exponential", "cosine", "coslog", "warm_up", "own"])
    if name == "number":
        return name, (size,)
    steps = rng.choice([1, 3, 7, 20])
    if name == "step":
        return name, (size, 0.5, steps)
    if name == "exponential":
        return name, (size, 0.9)
    if name == "coslog":
        return name, (size, 2, steps)
    if name == "warm_up":
        return name, (_schedule(rng, size), steps)
    return name, () if name == "own" else (size, 0.1 * size, steps)


def _rule(rng: random.Random) -> Rule:
    name = rng.choice(["sgd", "sgd", "adam", "adamw", "rmsprop"])
    options: dict[str, Any] = {}
    if rng.random() < 0.4:
        options["weight_decay"] = rng.choice([1e-3, 0.1])
    if name in ("sgd", "rmsprop") and rng.random() < 0.5:
        options["momentum"] = rng.choice([0.5, 0.9])
        if name == "sgd" and rng.random() < 0.5:
            options["nesterov"] = True
    if name == "rmsprop":
        options |= {"centered": True} if rng.random() < 0.3 else {}
        options |= {"alpha": 0.9} if rng.random() < 0.5 else {}
    if name.startswith("adam") and rng.random() < 0.4:
        options |= {"betas": rng.choice([(0.5, 0.9), (0.0, 0.99), (0.9, 0.95)]), "eps": rng.choice([1e-8, 1e-3])}
    size = {"sgd": [0.005, 0.05, 0.3], "rmsprop": [0.001, 0.02]}.get(name, [0.003, 0.03, 0.1])
    return Rule(name, options, _schedule(rng, rng.choice(size)))


def _trainer(rng: random.Random, task: str, loss: str | None, strict: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"strict": strict}
    if rng.random() < 0.25:
        found["dtype"] = "float32"
    if rng.random() < 0.15:
        found["threads"] = 2
    if rng.random() < 0.25:
        found["l2"] = rng.choice([1e-3, 0.05])
    if rng.random() < 0.3:
        found["scale"] = rng.choice(["standard", "robust"])
    if task in ("numbers", "several") and rng.random() < 0.25:
        found["scale_target"] = True
    if task in ("two", "two outputs", "classes") and rng.random() < 0.25:
        found["label_smoothing"] = rng.choice([0.1, 0.4])
    return found


def _fit(rng: random.Random, numbers: Any, task: str, loss: str | None, X: Array, y: Array) -> dict[str, Any]:
    n = len(X)
    found: dict[str, Any] = {"progress": False, "seed": rng.randrange(100)}
    found |= rng.choice([{"epochs": rng.choice([0, 1, 2, 3, 5])}, {"steps": rng.choice([1, 2, 5, 9, 17])}])
    sizes = ["auto", None, 1, 2, 3, 4, 7, 8, n, max(1, n - 1)]
    found["batch_size"] = rng.choice([s for s in sizes if not isinstance(s, int) or s <= n])
    if rng.random() < 0.3:
        found["shuffle"] = False
    if rng.random() < 0.25:
        found["sample_weight"] = np.round(numbers.uniform(0.0, 3.0, n), 1) + (np.arange(n) == 0)
    named = loss not in nets.OWN
    if task in ("two", "two outputs", "classes") and named and rng.random() < 0.3:
        label = np.unique(y)[0]
        found["class_weight"] = rng.choice(["balanced", {label.item(): 2.5}])
    if rng.random() < 0.4:
        found |= _validation(rng, numbers, task, X, y)
        if "early_stopping" in found:
            found.pop("steps", None)
        if isinstance(found["validation"], float) and isinstance(found["batch_size"], int):
            found["batch_size"] = min(found["batch_size"], n - round(n * found["validation"]))
    if rng.random() < 0.3:
        found["clip_norm"] = rng.choice([0.05, 0.5, 3.0])
    if rng.random() < 0.25:
        found["schedule"] = _schedule(rng, rng.choice([0.01, 0.05]))
    return found


def _validation(rng: random.Random, numbers: Any, task: str, X: Array, y: Array) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if len(X) >= 7 and task in ("numbers", "several", "shares") and rng.random() < 0.5:
        found["validation"] = rng.choice([0.2, 0.4])
    else:
        rows = numbers.integers(0, len(X), rng.choice([1, 2, 5, 9]))
        Xv = X[rows] + 0.1 * numbers.normal(size=(len(rows), X.shape[1]))
        weights = [np.round(numbers.uniform(0.5, 2.0, len(rows)), 1)] if rng.random() < 0.4 else []
        found["validation"] = (Xv, y[rows], *weights)
    if rng.random() < 0.6:
        found["early_stopping"] = EarlyStopping(
            rng.choice([1, 2, 4]), min_delta=rng.choice([0.0, 0.01]), restore=rng.choice([True, False, "always"])
        )
        found["epochs"] = rng.choice([3, 8])
    return found


def options(fit: dict[str, Any]) -> dict[str, Any]:
    """The options of a fit as `Trainer.fit` takes them."""
    found = dict(fit)
    if "schedule" in found:
        found["schedule"] = rate(found["schedule"])
    return found
