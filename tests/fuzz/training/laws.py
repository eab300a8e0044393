"""What must hold for every run, whatever its numbers: to the bit."""

from __future__ import annotations

import pickle
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import macrograd as mg
from macrograd import nn
from macrograd.train import Callback

from . import check, nets
from .cases import Case, options


def state(trainer: mg.Trainer) -> dict[str, Any]:
    """All that a run leaves, as numbers that can be compared."""
    history, optimizer = trainer.history, trainer.optimizer
    return {
        "parameters": [p.data for p in trainer.model.parameters()],
        "losses": list(history.losses),
        "rates": list(history.learning_rates),
        "metrics": {name: list(values) for name, values in history.metrics.items()},
        "metric_steps": list(history.metric_steps),
        "stopped": history.stopped,
        "optimiser": repr(optimizer.state_dict()),
        "learned": repr(trainer.setup.targets),
        "model": repr(trainer.model),
    }


def difference(here: dict[str, Any], there: dict[str, Any], *, but: tuple[str, ...] = ()) -> str:
    """The first entry in which two states differ; NaN is NaN."""
    for name, value in here.items():
        if name not in but and repr(value) != repr(there[name]):
            return f"{name}: {value} and {there[name]}"
    return ""


def undisturbed(case: Case, **more: Any) -> tuple[dict[str, Any], mg.Trainer]:
    """The state after the first run."""
    trainer = case.made()
    check.fitted(case, 0, trainer, **more)
    return state(trainer), trainer


def again(case: Case, rng: random.Random) -> str:
    """The same input gives the same bits, whoever looks on."""
    here, _ = undisturbed(case)
    looks: list[dict[str, Any]] = [{}, {"watch": "health"}, {"callbacks": Looks()}, {"callbacks": lambda run: run.loss}]
    look = rng.choice(looks)
    there, _ = undisturbed(case, **look)
    if "watch" in look:
        there["metrics"] = {k: v for k, v in there["metrics"].items() if not k.startswith("health")}
        there["metric_steps"] = here["metric_steps"] if not here["metric_steps"] else there["metric_steps"]
        there["learned"] = here["learned"]
    found = difference(here, there)
    return f"twice, {look}: {found}" if found else ""


class Looks(Callback):
    """Reads all that a run tells."""

    def on_step(self, run: Any) -> None:
        self.seen = run.loss, run.gradient.sum(), [p.data for p in run.parameters], run.examples(2)

    def on_end(self, run: Any) -> None:
        self.end = run.step


class Stops(Callback):
    """Stops a run after some steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, run: Any) -> None:
        if run.step >= self.step:
            run.stop("here")


def resumed(case: Case, rng: random.Random) -> str:
    """A run that is stopped at any step and resumed ends as if it had not been."""
    here, trainer = undisturbed(case)
    total = len(trainer.history)
    if total < 2:
        return "?"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.safetensors"
        at = rng.randrange(1, total)
        how = rng.choice(["callback", "steps"])
        fit = options(case.fits[0])
        shorter: dict[str, Any] = {"callbacks": Stops(at)} if how == "callback" else {"steps": at, "epochs": None}
        first = case.made()
        every = rng.choice([10.0, "1 steps", "2 steps", "1 epochs"])
        check.fitted(case, 0, first, **{**fit, **shorter}, checkpoint=path, every=every)
        second = case.made()
        if rng.random() < 0.3:  # whatever it had, the file has other numbers
            for p in second.model.parameters():
                p.data = 0.25
        check.fitted(case, 0, second, checkpoint=path, resume=True)
        there = state(second)
    found = difference(here, there)
    return f"resumed after {at} of {total} ({how}, every {every}): {found}" if found else ""


REFUSED: list[dict[str, Any]] = [
    {"batch_size": 0}, {"batch_size": 10**6}, {"epochs": -1, "steps": None}, {"epochs": 2, "steps": 2},
    {"clip_norm": 0.0}, {"clip_norm": float("nan")}, {"sample_weight": [1.0]}, {"class_weight": {"nobody": 2.0}},
    {"validation": 1.5}, {"validation": 7}, {"early_stopping": 0}, {"metrics": ["nothing"]}, {"watch": "nothing"},
    {"progress": "nothing"}, {"schedule": "fast"}, {"seed": -1}, {"shuffle": "yes"}, {"callbacks": [3]},
    {"resume": True}, {"early_stopping": 3, "validation": None},
]  # fmt: skip


def refused(case: Case, rng: random.Random) -> str:
    """An option that is refused leaves everything as it was, before the first run and after it."""
    here, undisturbed_ = undisturbed(case)
    trainer, wrong = case.made(), rng.choice(REFUSED)
    for when in ("before", "after"):
        before = state(trainer)
        try:
            with check.quiet():
                trainer.fit(case.X, case.y, **{**options(case.fits[0]), **wrong})
            return f"{wrong} is not refused"
        except (TypeError, ValueError):
            pass
        if found := difference(before, state(trainer)):
            return f"{wrong} refused {when} the run: {found}"
        if when == "before":
            check.fitted(case, 0, trainer)
            if found := difference(here, state(trainer)):
                return f"after {wrong} was refused: {found}"
    same = np.array_equal(trainer.outputs(case.X), undisturbed_.outputs(case.X), equal_nan=True)
    return "" if same else "other outputs"


def kept(case: Case, rng: random.Random) -> str:
    """A trainer that is pickled between two runs goes on with the same bits, and so does its file's model."""
    _, here = undisturbed(case)
    there = pickle.loads(pickle.dumps(case.made()))  # noqa: S301 - made here
    check.fitted(case, 0, there)
    if rng.random() < 0.5:
        there = pickle.loads(pickle.dumps(there))  # noqa: S301 - made here
    last = len(case.fits) - 1
    for trainer in (here, there):
        check.fitted(case, last, trainer)
    if found := difference(state(here), state(there)):
        return f"pickled: {found}"
    outputs = here.outputs(case.X)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = mg.save(here, Path(folder) / "net.safetensors")
        except ValueError as error:
            return "" if "finite" in str(error) else str(error)
        model = case.make(case.start + 1)
        model = nn.Scaled(model) if isinstance(here.model, nn.Scaled) else model
        loaded = mg.load(path, into=model) if isinstance(case.make(0), nets.Named) else mg.load(path)
    loss: Any = nets.OWN.get(case.loss or "", case.loss)
    known = mg.Trainer(loaded, loss, dtype=case.trainer.get("dtype", "float64"))
    return "" if np.array_equal(known.outputs(case.X), outputs, equal_nan=True) else "the file has other outputs"


def answers(case: Case, rng: random.Random) -> str:
    """Outputs, one by one and together, predictions and the loss are those of the model's Values."""
    _, trainer = undisturbed(case)
    outputs = trainer.outputs(case.X)
    single = case.trainer.get("dtype") == "float32"
    close = {"rtol": 3e-4 if single else 1e-9, "atol": 1e-4 if single else 1e-10}
    model: Any = trainer.model
    values = [model(row) for row in case.X.tolist()]
    eager = np.array([[v.data for v in out] if hasattr(out, "__len__") else out.data for out in values])
    if not np.allclose(outputs, eager, **close):
        return f"outputs {outputs}, eager {eager}"
    row = rng.randrange(len(case.X))
    if not np.allclose(trainer.predict_one(case.X[row]), eager[row], **close):
        return f"predict_one {trainer.predict_one(case.X[row])}, eager {eager[row]}"
    return ""
