"""`train_many`, `Ensemble` and `sweep` against the runs of their members alone."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from macrograd.train import EarlyStopping
from macrograd.tuning import LogUniform

from . import check, laws, reference
from .cases import Case, Rule, options

Array = NDArray[Any]


def drawn(case: Case, rng: random.Random) -> list[Case]:
    """The members: the case with other starts, seeds, rates, decays, weights, rows and ends."""
    shared = dict(case.fits[0])
    shared.pop("schedule", None)
    same_length = rng.random() < 0.5
    found = []
    rows_differ = "sample_weight" not in shared and rng.random() < 0.3 and len(case.X) >= 5
    for k in range(rng.choice([1, 2, 3, 4, 5, 9])):
        fit = {**shared, "seed": rng.randrange(50)}
        name, arguments = case.rule.schedule
        rule = case.rule
        if name == "number" and rng.random() < 0.7:
            rule = Rule(rule.name, dict(rule.options), (name, (arguments[0] * rng.choice([0.5, 1.0, 2.0]),)))
        if rule.options.get("weight_decay") and rng.random() < 0.5:
            rule = replace(rule, options={**rule.options, "weight_decay": 0.01 * (k + 1)})
        if rng.random() < 0.2:
            fit["schedule"] = ("linear", (0.05, 0.01, 3 + k))
        if not same_length and "epochs" in fit:
            fit["epochs"] = rng.choice([0, 1, 2, 4])
        if "sample_weight" in fit and rng.random() < 0.5:
            fit["sample_weight"] = np.roll(fit["sample_weight"], k)
        if "early_stopping" in fit and rng.random() < 0.5:
            fit["early_stopping"] = EarlyStopping(1 + k % 3, restore=k % 2 == 0)
        trainer = dict(case.trainer)
        if trainer.get("l2") and rng.random() < 0.5:
            trainer["l2"] = 1e-3 * (k + 1)
        X, y = case.X, case.y
        if rows_differ:
            fit["rows"] = np.sort(np.array(rng.sample(range(len(X)), len(X))))
        found.append(replace(case, start=case.start + k, rule=rule, fits=[fit], trainer=trainer, X=X, y=y))
    return found


def together(members: list[Case], rng: random.Random, **more: Any) -> Any:
    """Train them in one call."""
    each = [options(member.fits[0]) for member in members]
    for one in each:
        one.pop("progress")
    made = [member.made() for member in members]
    first = members[0]
    with check.quiet():
        return mg.train_many(made, first.X, first.y, each=each, **more)


def many(case: Case, rng: random.Random) -> str:
    """Each member has the history and the parameters of its run alone: to the bit if strict."""
    members = drawn(case, rng)
    if rng.random() < 0.15:  # one that diverges, alone
        k = rng.randrange(len(members))
        rule = replace(members[k].rule, schedule=("number", (1e160,)))
        members[k] = replace(members[k], rule=rule)
    threads = rng.choice([1, 1, 2])
    lanes = rng.choice(["auto", "auto", "members"])
    found = together(members, rng, threads=threads, lanes=lanes)
    undecided = 0
    for k, (member, trainer) in enumerate(zip(members, found, strict=True)):
        text = _alone(member, trainer)
        undecided += text == "?"
        if text and text != "?":
            return f"member {k} of {len(members)}, threads {threads}, lanes {lanes}: {text} ({member.told()})"
    return "?" if undecided == len(members) else ""


def _alone(member: Case, trainer: mg.Trainer) -> str:
    """The difference from the run alone."""
    rows = member.fits[0].get("rows")
    alone = member if rows is None else replace(member, X=member.X[rows], y=member.y[rows])
    fit = {k: v for k, v in member.fits[0].items() if k != "rows"}
    alone = replace(alone, fits=[fit])
    here = alone.made()
    diverged = check.fitted(alone, 0, here)
    if diverged != (trainer.history.stopped == "diverged"):
        return f"stopped {trainer.history.stopped!r}, alone {'diverged' if diverged else here.history.stopped!r}"
    if member.trainer.get("strict"):
        there = laws.state(trainer)
        there["stopped"] = "" if diverged else there["stopped"]
        if found := laws.difference(laws.state(here), there):
            return f"strict, {found}"
    try:
        answer = reference.Training(alone).fit(0)
    except reference.UndecidableError:
        return "?"
    return check.compared(answer, trainer, member.trainer.get("dtype", "float64"))


def copies(case: Case, rng: random.Random) -> str:
    """Copies of one Trainer, with a row of numbers each to begin with."""
    first = case.made()
    count, parameters = rng.choice([2, 3, 8, 11]), len(first.model.parameters())
    starts = np.random.default_rng(rng.randrange(2**32)).normal(size=(count, parameters))
    fit = options(case.fits[0])
    seed = fit.pop("seed")
    fit.pop("progress")
    before = [p.data for p in first.model.parameters()]
    with check.quiet():
        found = mg.train_many(first, case.X, case.y, starts=starts, seed=seed, **fit)
    if before != [p.data for p in first.model.parameters()]:
        return "the Trainer that was copied is another"
    undecided = 0
    for k in rng.sample(range(count), min(count, 3)):
        member = replace(case, fits=[{**case.fits[0], "seed": seed + k}], make=Started(case.make, starts[k].tolist()))
        text = _alone(member, found[k])
        undecided += text == "?"
        if text and text != "?":
            return f"copy {k} of {count}: {text}"
    return "?" if undecided else ""


class Started:
    """Makes a net that begins with these numbers."""

    def __init__(self, make: Callable[[int], Any], numbers: list[float]) -> None:
        self.make, self.numbers = make, numbers

    def __call__(self, seed: int) -> Any:
        model = self.make(seed)
        for p, number in zip(model.parameters(), self.numbers, strict=True):
            p.data = number
        return model


def ensemble(case: Case, rng: random.Random) -> str:
    """Mean, spread and vote are those of the members' own answers; a file has the same."""
    members = [replace(case, start=case.start + k) for k in range(rng.choice([1, 2, 4]))]
    made = together([replace(m, fits=m.fits[:1]) for m in members], rng)
    good = [trainer for trainer in made if trainer.history.stopped != "diverged"]
    if not good:
        return "?"
    found = mg.Ensemble(good)
    shares = good[0].setup.fitted().loss in ("cross_entropy", "binary_cross_entropy")
    answers = np.stack([t.probabilities(case.X) if shares else t.outputs(case.X) for t in good])
    single = case.trainer.get("dtype") == "float32"
    close = {"rtol": 1e-4 if single else 1e-9, "atol": 1e-4 if single else 1e-11}
    for name, got, wanted in (
        ("mean", found.mean(case.X), answers.mean(axis=0)),
        ("spread", found.spread(case.X), answers.std(axis=0)),
    ):
        if not np.allclose(got, wanted, **close):
            return f"{name} {got}, of the members {wanted}"
    if case.task in ("two", "two outputs", "classes"):
        labels = np.stack([t.predict(case.X) for t in good])
        wanted = np.stack([(labels == label).mean(axis=0) for label in good[0].classes], axis=1)
        # A tie of outputs may be rounded the other way.
        if not np.allclose(found.vote(case.X), wanted) and not single:
            return f"vote {found.vote(case.X)}, of the members {wanted}"
    return _kept(case, found)


def _kept(case: Case, found: mg.Ensemble) -> str:
    """Whether the file of an ensemble answers the same."""
    if case.loss == "whole" or type(case.make(0)).__module__.startswith("tests."):
        return ""
    with tempfile.TemporaryDirectory() as folder:
        loaded = mg.load(mg.save(found, Path(folder) / "all.safetensors"))
    here, there = found.answers(case.X), loaded.answers(case.X)
    return "" if np.array_equal(here, there) else f"the file answers {there}, not {here}"


class Maker:
    """Makes a Trainer of a sweep."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __call__(self, seed: int, lr: float, decay: float) -> tuple[mg.Trainer, dict[str, Any]]:
        case = self.case
        settings = {**case.rule.options, "weight_decay": decay}
        made = replace(case, start=seed, rule=Rule(case.rule.name, settings, ("number", (lr,))))
        keep = {"batch_size", "shuffle", "clip_norm"}
        return made.made(), {k: v for k, v in case.fits[0].items() if k in keep}


def sweep(case: Case, rng: random.Random) -> str:
    """One score for each setting, whoever computes it: that of the fits alone, to the bit if strict."""
    n = len(case.X)
    if n < 12 or case.task in ("two", "two outputs", "classes"):
        return "?"  # a fold may lack a class
    fit = {**case.fits[0], "batch_size": rng.choice([1, 2, 4])}
    case = replace(case, fits=[fit], trainer={k: v for k, v in case.trainer.items() if k != "threads"})
    space: dict[str, Any] = {"lr": LogUniform(1e-3, 1e-1), "decay": [0.0, 0.01]}
    make = Maker(case)
    how: dict[str, Any] = {"n": 3, "folds": 2, "epochs": 2, "seed": 5, "progress": False}
    with check.quiet():
        here = mg.sweep(make, case.X, case.y, space, **how)
        if rng.random() < 0.15:
            there = mg.sweep(make, case.X, case.y, space, workers=2, **how)
            scores = [[(line.values, line.score) for line in one.lines] for one in (here, there)]
            if repr(scores[0]) != repr(scores[1]):
                return f"two workers: {scores[1]}, one: {scores[0]}"
        for line in here.lines:
            if text := _line(make, case, line.values, line.score):
                return text
    return ""


def _line(make: Maker, case: Case, values: dict[str, Any], score: float) -> str:
    """The difference of a line of a sweep from fits alone."""
    order = np.random.RandomState(5).permutation(len(case.y))
    fold = np.empty(len(case.y), dtype=int)
    if case.y.ndim == 1 and case.y.dtype.kind != "f":
        return ""
    fold[order] = np.arange(len(case.y)) % 2
    found = []
    for k in range(2):
        trainer, fit = make(seed=0, **values)
        trainer.fit(case.X[fold != k], case.y[fold != k], epochs=2, seed=0, progress=False, **fit)
        found.append(trainer.evaluate(case.X[fold == k], case.y[fold == k])["loss"])
    if case.trainer.get("strict"):
        return "" if (found[0] + found[1]) / 2.0 == score else f"strict, {values}: score {score}, alone {found}"
    single = case.trainer.get("dtype") == "float32"
    near = np.isclose(np.mean(found), score, rtol=1e-3 if single else 1e-8, atol=1e-5 if single else 1e-10)
    return "" if near else f"{values}: score {score}, alone {found}"
