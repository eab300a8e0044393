"""Shared by a `Trainer` and its runs: the model, the options, the compiled programs, and the results of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from macrograd.copying import check_importable
from macrograd.nn import Dropout, Module, Scaled
from macrograd.nn import losses as named_losses
from macrograd.nn.dropout import Draws, drawing
from macrograd.optim import Adam, Optimizer
from macrograd.ranks.ranks import Ranks
from macrograd.tables.table import listed
from macrograd.train.alike import Description, Key, Twins
from macrograd.train.engines import Engine, make_engine
from macrograd.train.graphs import no_collection
from macrograd.train.known import shared
from macrograd.train.objective import Keyed, Objective, Smoothed, takes_model
from macrograd.train.options import check_options
from macrograd.train.predictor import Measure, Numbers, Predictor, Shared
from macrograd.train.samples.data import Samples
from macrograd.train.samples.order import Order
from macrograd.train.samples.split import Part
from macrograd.train.samples.targets import Targets
from macrograd.train.signature import Signature, named
from macrograd.value import Value, numbers_of
from macrograd.vector import as_argument

if TYPE_CHECKING:
    from macrograd.compiler.compiled import Compiled
    from macrograd.tables import Plan

Array = NDArray[Any]
Judged = Sequence[tuple[str, Callable[..., float]]]
State = tuple[float, ...]
Baked = tuple[Key, tuple[Value | float, ...]]


class Setup:
    """Everything that outlives a single run.

    model, loss, optimizer, l2, penalty, engine, dtype, threads   the options of `Trainer`, documented there
    smoothing, scale_target, strict   more of them
    seed      of the latest run, from which the model's random numbers are drawn; 0 before it is known
    ranks     the processes that share every batch, if there are any
    targets   the meaning of the outputs, `shape` the shape of one sample, `columns` the names of its numbers, if any,
              and `plan` how a table's columns become these; None and () before they are known. A model that was trained
              before, or loaded, brings them
    kept      compiled programs, by what they depend on
    latest    the parameters of the latest run and the optimiser's state of each; `earlier` the state of parameters that
              only earlier runs trained

    Raises TypeError and ValueError for options that do not fit.
    """

    def __init__(
        self,
        model: Module,
        loss: str | Callable[..., Any] | None,
        optimizer: Optimizer | None,
        *,
        l2: float,
        penalty: Callable[[Module], Any] | None,
        engine: str,
        dtype: str,
        threads: int,
    ) -> None:
        check_options(model, loss, optimizer, l2, penalty, engine, dtype, threads)
        self.model, self.loss, self.l2, self.penalty = model, loss, l2, penalty
        self.optimizer = Adam(1e-2) if optimizer is None else optimizer
        self.engine, self.dtype, self.threads = engine, dtype, threads
        self.smoothing, self.scale_target, self.strict = 0.0, False, False
        self.seed = 0
        self.ranks: Ranks | None = None
        self.targets: Targets | None = None
        self.shape: tuple[int, ...] = ()
        self.columns: tuple[str, ...] | None = None
        self.plan: Plan | None = None
        self.kept: dict[Any, Any] = {}
        self.latest: tuple[list[Value], list[State]] = ([], [])
        self.earlier: dict[Value, State] = {}
        known = model._signature
        if isinstance(known, Signature):
            self.targets, self.shape = known.targets_for(loss), known.shape
            self.columns, self.plan = known.columns, known.plan

    def __getstate__(self) -> dict[str, Any]:
        """Everything except compiled programs, which are compiled again where they are used, and other processes."""
        for name, thing in vars(self).items():
            check_importable("this Trainer", name, thing)
        return vars(self) | {"kept": {}, "ranks": None}

    def fitted(self) -> Targets:
        """The targets; raises RuntimeError before they are known."""
        if self.targets is None:
            raise RuntimeError("this Trainer cannot interpret outputs before it is fitted: call fit first")
        return self.targets

    def learn(
        self, targets: Targets, shape: tuple[int, ...], columns: tuple[str, ...] | None, plan: Plan | None, y: Any
    ) -> None:
        """Set the meaning of inputs and outputs from now on, also in the model."""
        self.targets, self.shape, self.columns, self.plan = targets, shape, columns, plan
        name = getattr(y, "name", None)
        plain = replace(targets, loss=named(targets.loss))  # without functions, which a file could not hold
        self.model._signature = Signature(plain, shape, columns, name if isinstance(name, str) else None, plan=plan)

    @contextmanager
    def unless_refused(self) -> Iterator[None]:
        """Forget what is learned in here from data, unless the block is completed."""
        model, signature = self.model, self.model._signature
        known = self.targets, self.shape, self.columns, self.plan, self.seed
        try:
            yield
        except BaseException:
            self.model, model._signature = model, signature
            self.targets, self.shape, self.columns, self.plan, self.seed = known
            raise

    # --- the model ------------------------------------------------------------------------------------------------

    def trained(self) -> list[Value]:
        """The parameters to train. Raises ValueError if there are none, or one is not finite."""
        parameters = self.model.parameters()
        if not parameters:
            raise ValueError(
                f"this {type(self.model).__name__} has no parameters to train: frozen parameters are not trained"
            )
        if not np.isfinite(numbers_of(parameters)).all():
            wrong = next(p for p in parameters if not math.isfinite(p.data))
            name = next(name for name, p in self.model.named_parameters().items() if p is wrong)
            raise ValueError(f"the parameter {name} is {wrong.data} before training: parameters must be finite")
        return parameters

    def baked(self) -> Baked:
        """All of the model that is baked into compiled code: its parameters, the numbers of frozen ones, and what else
        the modules of this package compute with, such as activations and the rates of dropouts. Those of users may
        note what they like in their attributes, also while they are recorded."""
        described, twins = self.kept.get(("model",), (None, None))
        if twins is not None and twins.model is self.model and twins.unchanged():
            return described.key, twins.leaves
        leaves = None if twins is None else twins.of(self.model)
        if leaves is not None:
            self.kept[("model",)] = described, Twins(self.model)
            return described.key, tuple(leaves)
        modules = self.model.modules()
        ours = [module for module in modules if type(module).__module__.startswith("macrograd.")]
        found = Description(*ours)
        again = described is not None and described.key == found.key and len(ours) == len(modules)
        self.kept[("model",)] = found, Twins(self.model) if again else None  # quicker for who asks often
        return found.key, tuple([p if p.op is None else p.data for p in self.model._leaves()])

    def outputs(self, samples: Samples, names: Sequence[str] | None = None) -> tuple[int, bool, Any]:
        """(the number of the model's outputs, whether it draws random numbers, its output as Values or None if it
        does), tried on the first sample. For losses that call the model themselves: (0, whether it has a Dropout,
        None)."""
        if callable(self.loss) and takes_model(self.loss):
            return 0, any(isinstance(module, Dropout) for module in self.model.modules()), None
        with drawing(Draws(0.0, 0.0)) as draws:
            output = self.first_output(samples, names)
        count = len(output) if hasattr(output, "__len__") else 1
        return count, draws.used, None if draws.used else output

    def first_output(self, samples: Samples, names: Sequence[str] | None = None) -> Any:
        """The model's output for the first sample, as Values. Raises ValueError if the model cannot take it; `names`
        are those of the numbers that a table's columns became."""
        row = as_argument(samples.first())
        try:
            output = self.model(row)  # type: ignore[operator]  # checked by the constructor
        except ValueError as error:
            told = "" if names is None else f" ({len(names)} numbers: {listed(names, 12)})"
            raise ValueError(f"the model cannot take a sample of shape {samples.shape}{told}: {error}") from error
        if output is None:
            raise TypeError(
                f"the model returned None for a sample: is a return missing in {type(self.model).__name__}?"
            )
        return output

    # --- what is computed -----------------------------------------------------------------------------------------

    def objective(
        self, targets: Targets, parameters: list[Value], weighted: bool, seed: int | None = None, *, raw: bool = False
    ) -> Objective:
        """The objective to minimise for these targets, on samples as `seen` returns them or on `raw` ones; `seed` is
        that of the model's random numbers, None if it draws none. Raises ValueError for a custom loss of which a file
        stores only the name."""
        if targets.kind == "own" and isinstance(targets.loss, str):
            raise ValueError(
                f"the model was trained with the loss {targets.loss!r}, a custom function: give it to Trainer "
                "again, as in Trainer(model, loss)"
            )
        model, loss = self.model, named_losses.get(targets.loss)
        if self.scale_target and targets.kind == "numbers" and isinstance(model, Scaled):
            model = model.with_outputs()  # the targets are in the units of the net
        if self.apart and not raw:
            assert isinstance(model, Scaled)
            outputs = {"output_middle": model.output_middle, "output_unit": model.output_unit}
            model = model.net if model.answers_as_they_are else Scaled(model.net, **outputs)
        if self.smoothing and parameters and targets.kind in ("two classes", "classes"):
            loss = Smoothed(loss, self.smoothing)
        return Objective(
            model,
            loss,
            parameters,
            l2=self.l2,
            penalty=None if self.penalty is None else partial(_of, self.penalty, self.model),
            weighted=weighted,
            seed=seed,
        )

    @property
    def apart(self) -> bool:
        """Whether whole tables are scaled before the net sees them. A program with a table's scales baked in would be
        compiled for this table alone. Losses that call the model themselves pass it raw numbers."""
        whole = callable(self.loss) and takes_model(self.loss)
        return type(self.model) is Scaled and not whole

    def seen(self, samples: Samples) -> Samples:
        """Samples as the compiled programs take them: scaled, if the model is a net with scales."""
        if not self.apart:
            return samples
        assert isinstance(self.model, Scaled)
        plain = self.model.middle == (0.0,) and self.model.unit == (1.0,)
        return samples if plain else samples.scaled(self.model.middle, self.model.unit)

    def unseen(self, rows: Array) -> Array:
        """Rows of samples from `seen` as the model takes them."""
        if not self.apart:
            return rows
        assert isinstance(self.model, Scaled)
        return np.asarray(rows * np.array(self.model.unit) + np.array(self.model.middle))

    def units(self, targets: Targets) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """The middle and unit of each target if targets are scaled for training; otherwise None."""
        if not (self.scale_target and targets.kind == "numbers" and isinstance(self.model, Scaled)):
            return None
        return self.model.output_middle, self.model.output_unit

    def in_units(self, encoded: Array, targets: Targets) -> Array:
        """Targets in the units of training."""
        if (units := self.units(targets)) is None:
            return encoded
        scaled = (encoded.reshape(len(encoded), -1) - units[0]) / units[1]
        return np.asarray(scaled.reshape(encoded.shape))

    def predictor(self, baked: Baked | None = None) -> Predictor:
        """The current model as a function of samples; `baked` is the result of `baked()`, if known."""
        key = ("predictor", self.baked() if baked is None else baked)
        if key not in self.kept:
            self.kept = {k: v for k, v in self.kept.items() if k[0] != "predictor"}
            self.kept[key] = Predictor(self.model, self.engine, self.dtype, self.threads, apart=self.apart)
        found: Predictor = self.kept[key]
        return found

    def measure(
        self,
        part: Part,
        judged: Judged,
        baked: Baked | None = None,
        numbers: Numbers | None = None,
        ranks: Ranks | None = None,
        shared: Shared | None = None,
    ) -> dict[str, float]:
        """The loss and metrics over a part of the data; `baked` as for `predictor`. Without metrics, or with programs
        `shared` with other runs, `numbers` may give the parameters' numbers if the Values do not hold them. With
        `ranks`, each computes a part."""
        targets = self.fitted()
        baked = self.baked() if baked is None else baked
        key = ("measure", targets.loss, part.weights is not None, baked)
        if shared is None and key not in self.kept:
            self.kept[key] = self.new_measure(part)
        measure = self.kept[key] if shared is None else shared.measure(part)
        found = {"loss": measure(part.samples, part.targets, part.weights, numbers, ranks)}
        if judged:
            if shared is not None and shared.predictor is not None:
                outputs = shared.predictor(part.samples, numbers=numbers)
            else:
                outputs = self.predictor(baked)(part.samples, ranks)
            predictions = targets.decode(outputs)
            right = part.y.reshape(predictions.shape) if part.y.size == predictions.size else part.y
            if targets.kind == "classes" and targets.shape:
                right = part.targets.argmax(axis=1)
            found |= {name: _measured(name, metric(predictions, right)) for name, metric in judged}
        return found

    def new_measure(self, part: Part) -> Measure:
        """A function of samples that computes the mean loss, without penalties, over data like this part."""
        objective = self.objective(self.fitted(), [], part.weights is not None)
        return Measure(objective, self.engine, self.dtype, self.threads)

    def engine_for(
        self,
        objective: Objective,
        arrays: Sequence[Array],
        order: Order,
        clip_norm: float | None,
        baked: Baked | None = None,
    ) -> tuple[Compiled, Engine]:
        """(the objective of one sample as a compiled function, not yet traced for the eager engine; the engine, with
        the model's parameters and these data); `baked` as for `predictor`. Raises ValueError if the loss uses a
        parameter that the model lacks."""
        parameters = objective.parameters
        key = (
            "engine", objective.loss, tuple(a.shape[1:] for a in arrays), clip_norm, order.batch_size, self.optimizer,
            repr(self.optimizer), self.smoothing, order.seed if objective.draws else None, tuple(parameters),
            self.baked() if baked is None else baked, self.l2, self.penalty, self.strict,
        )  # fmt: skip
        kept: tuple[Compiled, Engine] | None = self.kept.get(key)
        if kept is not None:
            engine = kept[1]
            engine.load(arrays)
            engine.theta[:] = [p.data for p in engine.parameters]
            return kept
        self.kept = {k: v for k, v in self.kept.items() if k[0] != "engine"}
        sample = self.compiled(objective)
        with no_collection():  # of a trace and its programs
            engine = make_engine(
                self.engine, objective, sample, arrays, self.optimizer, clip_norm=clip_norm, batch_size=order.batch_size
            )
        known = set(map(id, parameters))
        if not known.issuperset(map(id, engine.parameters)):
            foreign = next(p for p in engine.parameters if id(p) not in known)
            raise ValueError(
                f"the loss uses {foreign!r}, which is not part of the model: make it an attribute of the model if it "
                "is to be trained, or a plain number if not"
            )
        self.kept[key] = (sample, engine)
        return sample, engine

    def compiled(self, objective: Objective | Keyed) -> Compiled:
        """The objective of one sample as a compiled function, not yet traced."""
        from macrograd.compiler import compile as compiled  # imported when needed

        found = compiled(
            objective, batch=True, dtype=self.dtype, threads=self.threads, strict=self.strict,
            uniform=objective.uniform, comm=self.ranks,
        )  # fmt: skip
        return found if isinstance(objective, Keyed) else shared(found, "objective", *objective.parts())

    # --- the optimiser's state --------------------------------------------------------------------------------------

    def states(self, parameters: list[Value]) -> dict[Value, State]:
        """The optimiser's state of these parameters, if any. Raises ValueError if it belongs to another model."""
        before, states = self.latest
        if states and len(before) != len(parameters):  # some were frozen or unfrozen in between
            self.earlier |= dict(zip(before, states, strict=True))
        optimizer, known = self.optimizer, self.earlier
        if not optimizer.state:
            return {}
        if len(optimizer.state) == len(parameters):
            return dict(zip(parameters, optimizer.state, strict=True))
        if known and all(len(state) == len(optimizer.initial_state) for state in known.values()):
            return known
        raise ValueError(
            f"the optimiser holds the state of {len(optimizer.state)} parameters, but the model has {len(parameters)}: "
            "use a separate optimiser for each model"
        )

    def keep_states(self, parameters: list[Value], states: list[State], steps: int) -> None:
        """Keep the state that a run leaves, after `steps` steps by the optimiser's own count."""
        self.optimizer.load_state_dict({"steps": steps, "state": states})
        self.latest = (parameters, states)


def _of(penalty: Callable[[Module], Any], model: Module, net: Module) -> Any:
    """The penalty of the whole model, also where the loss is of the net in it."""
    return penalty(model)


def _measured(name: str, found: Any) -> float:
    """What a metric returned, as a float. Raises TypeError if it is not a number."""
    try:
        return float(found)
    except (TypeError, ValueError):
        raise TypeError(f"the metric {name} must return a number, got {found!r}") from None
