"""A net written in Python, in the page's form: the module that trains it, and its samples."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np

from macrograd.browser.modules import packed
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.targets.wasm.assembly import Assembly
from macrograd.exporting.subject import Names, Subject, subject_of
from macrograd.exporting.wasm import predicting, training
from macrograd.optim import Optimizer
from macrograd.tables import from_frame
from macrograd.train import Trainer

_LANES = 8
_MOST = 20_000  # numbers in all samples
_RATES = 1000  # steps of a schedule that the page follows; later ones keep the last rate


def own_net(trainer: Trainer, X: Any, y: Any) -> dict[str, Any]:
    """A fitted Trainer, with samples to continue with; a strict one is trained with the eager engine's rounding.

    Raises ValueError for samples that do not fit and for targets of several numbers, and whatever `mg.export` raises
    for a net whose training step cannot be written in WebAssembly.
    """
    subject = subject_of(trainer, (), "train", None)
    names = subject.names
    assert names is not None
    assert subject.optimizer is not None
    assert subject.args is not None
    inputs = _inputs(names)
    rows = _rows(trainer, names, inputs, X, y)
    strict = trainer.strict
    assembly = Assembly(np.dtype(np.float64), strict=strict)
    loss = _traced(subject.function, *subject.args, strict=strict)
    train = training(assembly, loss, subject.optimizer, subject.states, _LANES)
    look = predicting(assembly, _traced(subject.outputs, subject.args[0], strict=strict), _LANES, train.trained, "look")
    called = {parameter: name for name, parameter in trainer.model.named_parameters(frozen=True).items()}
    target = rows[:, -1]
    return {
        "name": subject.name,
        "inputs": inputs,
        "classes": names.classes,
        "outputs": look.numbers["outputs"],
        # JSON has no NaN.
        "rows": [[None if np.isnan(x) else x for x in row] for row in rows.tolist()],
        "categories": {at: list(categories) for _, categories, at in names.categories},
        "unit": [float(target.mean()), float(target.std()) or 1.0],
        "rate": subject.optimizer.learning_rate,
        "rates": _rates(subject.optimizer),
        "strict": strict,
        "parameters": [called[p] for p in loss._traced().parameters],
        "source": _source(trainer, subject),
        "wasm": packed(assembly.module(train.functions + look.functions, {**look.numbers, **train.numbers})),
    }


def _rates(optimizer: Optimizer) -> list[float]:
    """The rates of the next steps by the optimiser's schedule; none if they are all the same."""
    found = [float(optimizer.schedule(optimizer.steps + k)) for k in range(_RATES)]
    while len(found) > 1 and found[-2] == found[-1]:
        found.pop()
    return found if len(found) > 1 else []


def _traced(fn: Any, *examples: Any, strict: bool) -> Compiled:
    compiled = Compiled(fn, batch=False, dtype="float64", backend="auto", threads=1, strict=strict)
    compiled(*examples)
    return compiled


def _inputs(names: Names) -> list[str]:
    """The names of the inputs, one by one; those of a date's parts after its own."""
    if names.targets.shape or (names.targets.classes is not None and len(names.classes) > 10):
        raise ValueError("playground() of a Trainer needs one target for each sample: a number, or one of 10 classes")
    parts = {name: parts for name, parts, _, _ in names.dates}
    found = []
    for name, count in names.inputs:
        several = parts.get(name, range(count))
        found += [name] if count == 1 and name not in parts else [f"{name}[{part}]" for part in several]
    return found


def _rows(trainer: Trainer, names: Names, inputs: list[str], X: Any, y: Any) -> Any:
    """The samples as the module takes them: the inputs of each, followed by its target. Of a table's columns, a text is
    the number of its category, and a missing number is NaN."""
    plan = trainer.setup.plan
    X = trainer.numbers(X) if plan is None else plan.cells(from_frame(X, "X"))
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
    if X.ndim < 2 or y.shape != (len(X),) or not len(X) or X.size != len(X) * len(inputs):
        raise ValueError(
            f"playground(trainer, X, y): X has shape {X.shape} and y {y.shape}; every sample needs {len(inputs)} "
            "numbers and one target"
        )
    if X.size > _MOST:
        raise ValueError(
            f"playground(trainer, X, y): X has {X.size:,} numbers, and a page takes at most {_MOST:,}: give fewer"
        )
    if not names.classes:
        target = y.astype(np.float64)
    else:
        place = {name: float(k) for k, name in enumerate(names.classes)}
        unknown = sorted({str(label) for label in y.tolist()} - set(place))
        if unknown:
            raise ValueError(f"playground(trainer, X, y): y has {unknown[0]!r}, which is none of {names.classes}")
        target = np.array([place[str(label)] for label in y.tolist()])
    rows = np.hstack([X.reshape(len(X), -1), target[:, None]])
    if not np.isfinite(rows if plan is None else target).all() or np.isinf(rows).any():
        raise ValueError("playground(trainer, X, y): all numbers must be finite")
    return rows


def _source(trainer: Trainer, subject: Subject) -> dict[str, str]:
    """The first line of the model's own function."""
    model = trainer.model
    function = type(getattr(model, "net", model)).__call__
    try:
        lines, start = inspect.getsourcelines(function)
        return {"where": f"{Path(inspect.getfile(function)).name}:{start}", "text": lines[0].strip()}
    except (OSError, TypeError):  # it was not defined in a file
        return {"where": subject.name, "text": "its source is not known"}
