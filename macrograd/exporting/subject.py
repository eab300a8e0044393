"""The subject of an export: a function of one sample's numbers, and the names of these.

A trained model is more than its net: columns become numbers, numbers are scaled, outputs mean classes. All arithmetic
is part of the function here, so that it is compiled, differentiated and trained with the rest; names and dates become
tables and a few lines of C (`names_c`).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import functions, ops
from macrograd._dataclass import dataclass
from macrograd.compiler.compiled import Compiled
from macrograd.nn import Dropout, Module, Scaled
from macrograd.optim import Optimizer
from macrograd.tables import Feature, Plan, from_frame, is_frame
from macrograd.train import Trainer, load
from macrograd.train.samples.data import Samples
from macrograd.train.samples.targets import Targets
from macrograd.train.setup import Setup
from macrograd.train.signature import Signature
from macrograd.value import Value

Generator = np.random.Generator
Examples = Callable[[Generator], "list[NDArray[np.float64]]"]


@dataclass(frozen=True)
class Names:
    """The names of the numbers of a trained model.

    inputs      (what it is, how many numbers) of the numbers of a sample, in order
    categories  (column, its categories, its index among the numbers) of text columns
    dates       (column, its parts, what "elapsed" counts from, where the parts stand)
    targets     what the outputs mean
    draws       whether a sample's loss is drawn at random, from the numbers of the sample and of the step
    durations   columns whose numbers are seconds
    utc         columns of dates that are in UTC
    """

    inputs: tuple[tuple[str, int], ...]
    targets: Targets
    categories: tuple[tuple[str, tuple[str, ...], int], ...] = ()
    dates: tuple[tuple[str, tuple[str, ...], str, int], ...] = ()
    draws: bool = False
    durations: frozenset[str] = frozenset()
    utc: frozenset[str] = frozenset()

    @property
    def classes(self) -> list[str]:
        """The names of the classes that an answer is chosen from."""
        found = self.targets.classes
        chosen = found is not None and self.targets.kind in ("two classes", "classes")
        return [str(x) for x in found.tolist()] if chosen and found is not None else []

    @property
    def answers(self) -> str:
        """How outputs become an answer: "labels", yes or no for each; the "sign" of one; the "largest"; "" if the
        numbers are the answer."""
        if self.targets.kind == "labels":
            return "labels"
        return ("sign" if self.targets.outputs == 1 else "largest") if self.classes else ""


@dataclass(frozen=True)
class Subject:
    """A function and all facts that the file states about it.

    function   of one sample; for training its loss
    name       for comments
    args       examples of its arguments, for the shapes; None if not given
    dtype      None if not given
    names      of a trained model
    examples   typical arguments for the self-test; None for any numbers
    optimizer  the optimiser that trains it, and `states`, its state for each parameter that it has moved
    cells      of a trained model, rows of its arguments from a table; other rows are returned unchanged
    outputs    of a trained model that is to be trained on, what it predicts from the first of the arguments
    uniform    positions of arguments that are the same for all samples
    step       the position of the argument that is the number of the step, if a file that trains has to count it
    """

    function: Callable[..., Any]
    name: str
    args: tuple[Any, ...] | None
    dtype: str | None = None
    names: Names | None = None
    examples: Examples | None = None
    optimizer: Optimizer | None = None
    states: dict[Value, tuple[float, ...]] = field(default_factory=dict)
    cells: Callable[[Any], Any] | None = None
    outputs: Callable[..., Any] | None = None
    uniform: frozenset[int] = frozenset()
    step: int | None = None


def kept_states(
    optimizer: Optimizer, states: dict[Value, tuple[float, ...]], parameters: list[Value]
) -> list[float] | None:
    """The optimiser's state of the parameters, one array per kind; None if all are initial."""
    rows = [states.get(p, optimizer.initial_state) for p in parameters]
    if all(row == optimizer.initial_state for row in rows):
        return None
    return [row[k] for k in range(len(optimizer.initial_state)) for row in rows]


def steps_done(optimizer: Optimizer, states: dict[Value, tuple[float, ...]], parameters: list[Value]) -> int:
    """The number of steps that the optimiser has taken with these parameters, also if it keeps no state."""
    return optimizer.steps if any(p in states for p in parameters) else 0


def subject_of(what: Any, args: tuple[Any, ...], kind: str, optimizer: Optimizer | None) -> Subject:
    """The subject of an export. Raises TypeError for anything that cannot be exported, ValueError and OSError for a
    file that cannot be read, RuntimeError for a Trainer that was never fitted."""
    if isinstance(what, (str, os.PathLike)):
        found = load(what)
        if found._signature is None and not args:
            raise ValueError(
                f"{Path(what)} does not describe its inputs, as the file of a trained model does: give an example of "
                "its input, as in export(path, 'net.c', [0.0, 0.0])"
            )
        what = found
    if isinstance(what, Trainer):
        if args:
            raise TypeError("export() of a Trainer takes no example of its input: it knows the shape")
        if optimizer is not None:
            raise ValueError(
                "export() of a Trainer takes no optimizer: the Trainer has one, whose state is exported, too"
            )
        return _trained(what.setup, kind)
    if isinstance(what, Module) and isinstance(what._signature, Signature) and not args:
        return _trained(Trainer(what, optimizer=optimizer).setup, kind)
    uniform = what.settings.uniform if isinstance(what, Compiled) else frozenset()
    return Subject(*_plain(what, args, kind), optimizer=optimizer, uniform=uniform)


def _plain(what: Any, args: tuple[Any, ...], kind: str) -> tuple[Callable[..., Any], str, tuple[Any, ...] | None]:
    if isinstance(what, Compiled):
        return what.fn, what.__name__, args or tuple(np.zeros(shape) for shape in what._traced().shapes)
    if not callable(what):
        raise TypeError(
            "export() takes a compiled function, a function, a Module, a Trainer or the path of a saved model, got "
            f"{what!r} of type {type(what).__name__}"
        )
    if isinstance(what, Module):
        if kind == "train":
            raise TypeError(
                f"export(kind='train') of this {type(what).__name__} needs its loss: give the Trainer that trains it, "
                "or a function that returns one sample's loss"
            )
        if not args:
            raise TypeError(
                f"export() of this {type(what).__name__} needs an example of its input, for the shape: "
                "export(model, 'net.c', [0.0, 0.0])"
            )
    name = getattr(what, "__name__", type(what).__name__)
    if not isinstance(what, Module):
        _check_examples(what, name, args)
    return what, name, args


def _check_examples(function: Callable[..., Any], name: str, args: tuple[Any, ...]) -> None:
    """Raise TypeError if the examples do not fit the function's arguments."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # built-in functions may have none
        return
    try:
        signature.bind(*args)
    except TypeError as error:
        raise TypeError(
            f"export() of {name} needs an example of each of its arguments, for their shapes, as in "
            f"export({name}, 'net.c', [0.0, 0.0]): {error}"
        ) from None


def compiled_outputs(compiled: Compiled, subject: Subject) -> Compiled | None:
    """What a model predicts that is to be trained on, traced like its loss; None for a function."""
    if subject.outputs is None:
        return None
    assert subject.args is not None
    made = Compiled(
        subject.outputs, batch=False, dtype=compiled.dtype.name, backend="auto", threads=1, strict=compiled.strict
    )
    made(subject.args[0])
    return made


def no_gradient(name: str) -> str:
    """The message for a function without parameters, of which kind="gradient" has none to differentiate by."""
    return (
        f"{name} closes over no Values, so it has no gradient by parameters to export: for derivatives by its "
        f"arguments, export mg.value_and_grad({name}), without kind"
    )


# --- trained models ---------------------------------------------------------------------------------------------------


def _trained(setup: Setup, kind: str) -> Subject:
    """A model that knows the meaning of its inputs and outputs: its outputs, or its training loss."""
    targets, model = setup.fitted(), setup.model
    signature = model._signature
    plan = signature.plan if isinstance(signature, Signature) else None
    inputs = _Inputs(plan, setup.columns, setup.shape, model)
    name = type(model.net if isinstance(model, Scaled) else model).__name__
    names = Names(
        inputs.told(), targets, inputs.categories(), inputs.dates(), durations=inputs.durations(), utc=inputs.utc()
    )

    def outputs(x: Any) -> Any:
        return model(inputs.encoded(x))  # type: ignore[operator]  # the Trainer made sure of it

    if kind == "predict":
        return Subject(
            outputs, name, (np.zeros(inputs.shape),), setup.dtype, names, lambda g: [inputs.example(g)],
            cells=inputs.cells,
        )  # fmt: skip
    parameters, draws = setup.trained(), _draws(setup)
    objective = setup.objective(targets, parameters, weighted=False, raw=True, seed=setup.seed if draws else None)
    written = partial(_written, targets, setup.units(targets))
    # A sample that is drawn for has its number and that of the step, which a file that trains counts itself.
    numbers = [np.zeros(())] * (2 if draws else 0)
    given = len(numbers[1:] if kind == "train" else numbers)

    def loss(x: Any, y: Any, *numbers: Any) -> Any:
        return objective(inputs.encoded(x), written(y), *numbers)

    def examples(generator: Generator) -> list[NDArray[np.float64]]:
        drawn = [np.array(float(generator.integers(0, 1000))) for _ in range(given)]
        return [inputs.example(generator), _example(targets, generator), *drawn]

    return Subject(
        loss, f"{name}, with {_loss_name(targets)}", (np.zeros(inputs.shape), np.zeros(targets.shape), *numbers),
        setup.dtype, replace(names, draws=draws), examples, setup.optimizer, setup.states(parameters), outputs=outputs,
        step=3 if draws and kind == "train" else None,
    )  # fmt: skip


def _draws(setup: Setup) -> bool:
    """Whether the model draws random numbers in training."""
    if not any(isinstance(module, Dropout) and module.rate for module in setup.model.modules()):
        return False
    return setup.outputs(Samples(np.zeros((1, *setup.shape)), name="X", dtype=setup.dtype))[1]


def _loss_name(targets: Targets) -> str:
    return targets.loss if isinstance(targets.loss, str) else getattr(targets.loss, "__name__", "a custom loss")


def _written(targets: Targets, units: tuple[tuple[float, ...], tuple[float, ...]] | None, y: Any) -> Any:
    """A target in the loss's form: the number of a class is converted, and a number may be scaled."""
    if units is not None:
        numbers = [(v - m) / u for v, m, u in zip(y if targets.shape else [y], *units, strict=True)]
        return numbers if targets.shape else numbers[0]
    return 2.0 * y - 1.0 if targets.kind == "two classes" and targets.loss == "hinge" else y


def _example(targets: Targets, generator: Generator) -> NDArray[np.float64]:
    """A typical target."""
    if targets.kind in ("two classes", "classes") and not targets.shape:
        return np.array(float(generator.integers(0, len(targets.classes) if targets.classes is not None else 1)))
    if targets.kind == "classes":  # shares of the sum 1
        return np.asarray(np.eye(targets.shape[0])[generator.integers(0, targets.shape[0])])
    if targets.kind in ("labels", "probabilities"):
        return np.asarray(generator.integers(0, 2, targets.shape).astype(np.float64))
    if targets.classes is not None:
        return np.asarray(generator.choice(targets.classes.astype(np.float64), targets.shape))
    return np.asarray(generator.normal(size=targets.shape))


class _Inputs:
    """The raw numbers of a sample, and the computation of the model's inputs from them."""

    def __init__(self, plan: Plan | None, columns: Sequence[str] | None, shape: tuple[int, ...], model: Module) -> None:
        self._features = None if plan is None else [f for f in plan.features if f.kind]
        self._columns, self._plan = columns, plan
        self.shape = shape if self._features is None else (sum(_width(f) for f in self._features),)
        self._middle, self._unit = np.zeros(shape), np.ones(shape)
        if isinstance(model, Scaled) and len(shape) == 1:
            self._middle, self._unit = self._middle + model.middle, self._unit * model.unit

    def encoded(self, x: Any) -> Any:
        """The model's inputs."""
        if self._features is None:
            return x
        at, found = 0, []
        for feature in self._features:
            width = _width(feature)
            found += list(_columns(feature, [x[k] for k in range(at, at + width)]))
            at += width
        return found

    def cells(self, rows: Any) -> Any:
        """Rows of the raw numbers from a table, those with missing numbers left out; other rows as they are. Raises
        ValueError if a column is missing, or no row is complete."""
        if not is_frame(rows):
            return rows
        table = from_frame(rows, "calibration")
        columns = self._columns or tuple(table)
        plan = self._plan or Plan(tuple(Feature(name, "number") for name in columns))
        found = plan.cells(table)
        whole = ~np.isnan(found).any(axis=1)
        if not whole.any():
            raise ValueError(
                f"export(calibration=...): every row of {table.name} lacks a number, and integers have none for a "
                "missing one: give complete rows"
            )
        return found[whole]

    def _places(self) -> Iterator[tuple[Feature, int]]:
        at = 0
        for feature in self._features or ():
            yield feature, at
            at += _width(feature)

    def told(self) -> tuple[tuple[str, int], ...]:
        if self._features is None:
            return tuple((name, 1) for name in self._columns) if self._columns else (("x", int(np.prod(self.shape))),)
        return tuple((feature.name, _width(feature)) for feature in self._features)

    def categories(self) -> tuple[tuple[str, tuple[str, ...], int], ...]:
        return tuple((f.name, f.categories, at) for f, at in self._places() if f.kind == "category")

    def dates(self) -> tuple[tuple[str, tuple[str, ...], str, int], ...]:
        return tuple((f.name, f.parts, f.since, at) for f, at in self._places() if f.kind == "date")

    def durations(self) -> frozenset[str]:
        return frozenset(f.name for f, _ in self._places() if f.kind == "duration")

    def utc(self) -> frozenset[str]:
        return frozenset(f.name for f, _ in self._places() if f.kind == "date" and f.unit)

    def example(self, generator: Generator) -> NDArray[np.float64]:
        """A plausible sample: numbers of the scaled data's size, any category, sometimes a missing cell."""
        usual: NDArray[np.float64] = self._middle + self._unit * generator.normal(size=self._middle.shape)
        if self._features is None:
            return usual
        found: list[float] = []
        at = 0
        for feature in self._features:
            if feature.kind == "category":
                found.append(float(generator.integers(-1, len(feature.categories) + 1)))
            else:
                gone = feature.indicator and generator.random() < 0.25
                found += [np.nan if gone else float(x) for x in usual[at : at + _width(feature)]]
            at += len(feature.names)
        return np.array(found)


def _width(feature: Feature) -> int:
    """The number of numbers for a cell: the parts of a date, otherwise one."""
    return len(feature.parts) if feature.kind == "date" else 1


def _columns(feature: Feature, cell: list[Any]) -> Iterator[Any]:
    """`Feature.columns` for one cell: a number, NaN if missing; for a category its index, −1 if missing, or the number
    of categories if unknown."""
    x = cell[0]
    if feature.kind == "category":
        for k in range(len(feature.categories) + feature.other):
            yield ops.onehot(x, float(k), 1.0)
        if feature.indicator:
            yield ops.onehot(x, -1.0, 1.0)
        return
    there = ops.less_equal(x, x)
    for number, instead in zip(cell, feature.instead, strict=True):
        yield functions.where(there, number, instead)
    if feature.indicator:
        yield 1.0 - there
