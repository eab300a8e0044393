"""`Trainer`: the loop that one would otherwise write, with everything around it."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.copying import checked_state
from macrograd.nn import Dropout, Module
from macrograd.nn import losses as named_losses
from macrograd.nn.dropout import Draws, drawing
from macrograd.optim import Adam, Optimizer
from macrograd.optim.schedules import as_schedule
from macrograd.train import metrics as named_metrics
from macrograd.train import progress as shown
from macrograd.train import targets as kinds
from macrograd.train import weights as weighting
from macrograd.train.callbacks import Callback, Callbacks, EarlyStopping, Run, stopping_of
from macrograd.train.data import Samples
from macrograd.train.engines import ENGINES
from macrograd.train.fitting import Fitting
from macrograd.train.history import History
from macrograd.train.objective import Objective, takes_model
from macrograd.train.order import Order
from macrograd.train.predictor import Measure, Predictor
from macrograd.train.split import Part, validation_of
from macrograd.train.verdict import TrainingWarning, verdict
from macrograd.value import Value, parameter_writes

Array = NDArray[Any]

# Without `epochs` and `steps`: at least so many of each.
_EPOCHS, _STEPS = 20, 1000
_BATCH = 32


class Trainer:
    """Trains a model, and predicts and judges with it.

    model      a Module that can be called with one sample
    loss       a name of `nn.losses`, a function (prediction, target) → scalar, or a function (model, x, y) → scalar, of
               one sample each; None for the one that fits the targets: cross-entropy for classes, binary cross-entropy
               for two classes with one output and for yes-or-no labels, the squared error for numbers
    optimizer  what moves the parameters; None for Adam(0.01). One that the loss does not depend on stays as it is,
               whatever decay or momentum the optimiser has
    l2         adds l2·Σ parameter² to the loss
    penalty    (model) → scalar, added to the loss
    engine     "compiled", or "eager": plain Values, to look at and to compare with
    dtype      "float64" or "float32"; the eager engine computes in float64 on data of that type
    threads    of the compiled engine

    Raises TypeError and ValueError for anything else.
    """

    def __init__(
        self,
        model: Module,
        loss: str | Callable[..., Any] | None = None,
        optimizer: Optimizer | None = None,
        *,
        l2: float = 0.0,
        penalty: Callable[[Module], Any] | None = None,
        engine: str = "compiled",
        dtype: str = "float64",
        threads: int = 1,
    ) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"Trainer() takes a Module, got a {type(model).__name__}")
        if loss is not None:
            named_losses.get(loss)
        if callable(loss):
            takes_model(loss)
        if not callable(model) and not (callable(loss) and takes_model(loss)):
            raise TypeError(
                f"a {type(model).__name__} cannot be called with a sample: define __call__(self, x), or give a loss "
                "(model, x, y)"
            )
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be one of optim, as in optim.Adam(1e-2), got {optimizer!r}")
        if not (_is_number(l2) and 0 <= l2 < math.inf):
            raise ValueError(f"l2 must be 0 or more and finite, got {l2!r}")
        if penalty is not None and not callable(penalty):
            raise TypeError(f"penalty is a function (model) → scalar, got {penalty!r}")
        if engine not in ENGINES:
            raise ValueError(f"engine {engine!r} is not known: use {' or '.join(ENGINES)}")
        if dtype not in ("float64", "float32"):
            raise ValueError(f"dtype is 'float64' or 'float32', got {dtype!r}")
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ValueError(f"threads is a whole number from 1 on, got {threads!r}")
        self.model, self.loss, self.l2, self.penalty = model, loss, l2, penalty
        self.optimizer = Adam(1e-2) if optimizer is None else optimizer
        self.engine, self.dtype, self.threads = engine, dtype, threads
        self.history = History()
        self.remark = ""
        self._targets: kinds.Targets | None = None
        self._shape: tuple[int, ...] = ()
        self._one_at = -1  # what `parameter_writes` said when `predict_one` was made
        self._kept: dict[Any, Any] = {}  # what was compiled, by what it depends on
        # The optimiser's state by parameter: of the latest fit, and of earlier ones that trained other parameters.
        self._latest: tuple[list[Value], list[tuple[float, ...]]] = ([], [])
        self._earlier: dict[Value, tuple[float, ...]] = {}

    # --- training -----------------------------------------------------------------------------------------------

    def fit(
        self,
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
        checkpoint: str | os.PathLike[str] | None = None,
        every: float | str = 10.0,
        resume: bool = False,
    ) -> History:
        """Train on samples X (n, …) and targets y (n,) or (n, k), and return what happened.

        X, y            array-likes: NumPy, lists, pandas; memory-mapped and chunked files are read in blocks. Which
                        targets are classes and which are numbers, `train.targets.of` says
        epochs, steps   one of them: how often to see all samples, or how many updates to make; without either, as many
                        epochs as make 1000 steps, 20 at least
        batch_size      of a step; the last of an epoch may be smaller. "auto" is 32, or all samples if they are fewer;
                        None is all samples
        shuffle, seed   a new random order in every epoch, the same for the same seed
        sample_weight   (n,) numbers of 0 or more that multiply the samples' losses (the mean still divides by the
                        batch's size)
        class_weight    by label, or "balanced"
        validation      (Xv, yv), or a fraction of the data to keep for it: its loss, without penalties, and its metrics
                        are taken after every epoch
        metrics         taken after every epoch, of training and validation data: names ("accuracy",
                        "mean_absolute_error", "mean_squared_error", "r2") or functions (predictions, targets) → number
        early_stopping  a patience in epochs, or an `EarlyStopping`
        clip_norm       the largest norm of the gradient, to which larger ones are scaled down
        schedule        from the step, counted from 0 at the beginning of this fit, to the learning rate, or one rate;
                        None for the optimiser's own, which counts all steps it ever made
        callbacks       `Callback`s, and functions (run) to be called after every epoch
        progress        "bar", "plain" lines, "none", or "auto": a bar on a terminal, lines elsewhere, on standard error
        checkpoint      a file to keep everything in that going on needs; written every `every` seconds, or "500 steps"
                        or "2 epochs", and at the end
        resume          go on from the checkpoint, if there is one, as if the run had never stopped

        Ctrl-C ends the run after a whole step and returns the history so far, `stopped` then being "interrupted".
        Warns (TrainingWarning, whose text `remark` keeps) where the loss grew, or ended no better than that of a
        constant answer. Raises ValueError and TypeError for what does not fit, before any work is done; DivergedError
        for a loss or gradient that is not finite, with the parameters as they were before that step.
        """
        samples = Samples(X, name="X", dtype=self.dtype)
        parameters = self._trained()
        outputs, draws = self._outputs(samples)
        targets = kinds.of(y, self.loss, outputs)
        encoded = targets.encode(y)
        if len(encoded) != samples.count:
            raise ValueError(f"X has {samples.count} samples and y {len(encoded)} targets: there must be one for each")
        weights = weighting.of(sample_weight, class_weight, np.asarray(y).reshape(encoded.shape), targets)
        whole = Part(samples, encoded, np.asarray(y), weights)
        part, held = validation_of(validation, whole, targets, seed)
        size = _batch_size(batch_size, part.samples.count)
        order = Order(
            part.samples.count,
            size,
            shuffle=bool(shuffle),
            seed=_whole("seed", seed, 0),
            native=self.engine == "compiled",
        )
        total = _total(epochs, steps, order.steps_per_epoch)
        if clip_norm is not None and not (_is_number(clip_norm) and 0 < clip_norm < math.inf):
            raise ValueError(f"clip_norm must be above 0 and finite, got {clip_norm!r}")
        judged = [named_metrics.get(metric, targets) for metric in ([metrics] if isinstance(metrics, str) else metrics)]
        stopping = stopping_of(early_stopping, [name for name, _ in judged], held is not None)
        if checkpoint is None and resume:
            raise ValueError("resume=True needs the checkpoint to go on from: give checkpoint=PATH")
        self._targets, self._shape = targets, samples.shape
        self.__dict__.pop("predict_one", None)
        fitting = Fitting(
            self,
            part,
            held,
            order,
            total,
            objective=self._objective(targets, parameters, weights is not None, order.seed if draws else None),
            measure=self._measure,
            metrics=judged,
            early_stopping=stopping,
            clip_norm=clip_norm,
            schedule=None if schedule is None else as_schedule(schedule),
            callbacks=Callbacks(callbacks),
            progress=shown.check(progress),
        )
        try:
            fitting.run(checkpoint, every, resume)
        finally:
            self.history = fitting.history
            self.__dict__.pop("predict_one", None)  # a callback may have asked for it
        self.remark = verdict(
            self.history,
            targets,
            part.targets if weights is None else None,
            order.steps_per_epoch,
            lambda: self._measure(part, ())["loss"],
        )
        if self.remark:
            warnings.warn(self.remark, TrainingWarning, stacklevel=2)
        return self.history

    # --- using what was trained -----------------------------------------------------------------------------------

    def predict(self, X: Any) -> Array:
        """What the model answers for samples X (n, …): labels as y had them, (n, k) of 0 and 1 for yes-or-no labels,
        else its outputs (n,) or (n, k). Raises RuntimeError before the first fit, ValueError for another width."""
        return self._fitted().decode(self.outputs(X))

    def outputs(self, X: Any) -> Array:
        """The model's outputs for samples X (n, …): (n,), or (n, k) where there are several."""
        self._fitted()
        return self._predictor()(self._samples(X))

    def probabilities(self, X: Any) -> Array:
        """(n, k): how probable the model thinks each class, in the order of `classes`, or each label. Raises ValueError
        where the loss gives no probabilities."""
        targets = self._fitted()
        return targets.probabilities(self.outputs(X))

    def predict_one(self, x: Any) -> Any:
        """The model's output for one sample, a float or a list of floats: as fast as a call from Python can be.

        NaN and infinities in a sample give what they give in Values. It sees what `fit`, an optimiser's `step` and
        `load_parameters` write; numbers that you write into parameters yourself, from the next of those on. Not for
        several threads at once. Raises RuntimeError before the first fit, ValueError and TypeError for a sample of
        another shape or of what are no real numbers.
        """
        self._fitted()
        # From now on the function itself stands in this method's place, where a call costs half as much. One that is
        # old comes back here.
        found = self.__dict__.get("predict_one")
        if found is None or self._one_at != parameter_writes[0]:
            found = self._predictor().one(self._shape, partial(Trainer.predict_one, self))
            self.__dict__["predict_one"], self._one_at = found, parameter_writes[0]
        return found(x)

    def evaluate(
        self, X: Any, y: Any, *, metrics: Sequence[str | Callable[..., float]] = (), sample_weight: Any = None
    ) -> dict[str, float]:
        """The mean loss over samples and targets, without penalties, and metrics as in `fit`. Raises ValueError for
        labels that training did not see, and for shapes that do not fit."""
        targets, samples = self._fitted(), self._samples(X)
        encoded = targets.encode(y)
        if len(encoded) != samples.count:
            raise ValueError(f"X has {samples.count} samples and y {len(encoded)} targets: there must be one for each")
        weights = weighting.of(sample_weight, None, encoded, targets)
        judged = [named_metrics.get(metric, targets) for metric in ([metrics] if isinstance(metrics, str) else metrics)]
        return self._measure(Part(samples, encoded, np.asarray(y), weights), judged)

    @property
    def classes(self) -> list[Any] | None:
        """The labels, in the order of the model's outputs; None where the targets are no classes."""
        found = self._fitted().classes
        return None if found is None else found.tolist()

    # --- parts ----------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what was compiled, which is compiled again where it is used."""
        return checked_state(self, "predict_one") | {"_kept": {}, "_one_at": -1}

    def _fitted(self) -> kinds.Targets:
        if self._targets is None:
            raise RuntimeError("this Trainer does not know what outputs mean before it was fitted: call fit first")
        return self._targets

    def _samples(self, X: Any) -> Samples:
        samples = Samples(X, name="X", dtype=self.dtype)
        if samples.shape != self._shape:
            raise ValueError(
                f"X has samples of shape {samples.shape}, the model was trained with {self._shape}: one sample is a "
                "row, also where there is only one"
            )
        return samples

    def _trained(self) -> list[Value]:
        parameters = self.model.parameters()
        if not parameters:
            raise ValueError(
                f"this {type(self.model).__name__} has no parameters to train: frozen ones stay as they are"
            )
        wrong = next((p for p in parameters if not math.isfinite(p.data)), None)
        if wrong is not None:
            name = next(name for name, p in self.model.named_parameters().items() if p is wrong)
            raise ValueError(f"the parameter {name} is {wrong.data} before training: parameters must be finite")
        return parameters

    def _outputs(self, samples: Samples) -> tuple[int, bool]:
        """(how many outputs the model has, whether it draws at random), tried on the first sample. For losses that call
        the model themselves: (0, whether it has a Dropout)."""
        if callable(self.loss) and takes_model(self.loss):
            return 0, any(isinstance(module, Dropout) for module in self.model.modules())
        row = next(samples.blocks(1))[1][0].tolist()
        try:
            with drawing(Draws(0.0, 0.0)) as draws:
                output = self.model(row)  # type: ignore[operator]  # checked in __init__
        except ValueError as error:
            raise ValueError(f"the model cannot take a sample of shape {samples.shape}: {error}") from error
        return len(output) if hasattr(output, "__len__") else 1, draws.used

    def _objective(
        self, targets: kinds.Targets, parameters: list[Value], weighted: bool, seed: int | None = None
    ) -> Objective:
        return Objective(
            self.model,
            named_losses.get(targets.loss),
            parameters,
            l2=self.l2,
            penalty=self.penalty,
            weighted=weighted,
            seed=seed,
        )

    def _predictor(self) -> Predictor:
        key = ("predictor", self._frozen())
        if key not in self._kept:
            self._kept = {k: v for k, v in self._kept.items() if k[0] != "predictor"}
            self._kept[key] = Predictor(self.model, self.engine, self.dtype, self.threads)
        found: Predictor = self._kept[key]
        return found

    def _frozen(self) -> tuple[float, ...]:
        """The numbers of the frozen parameters, which compiled code has in it."""
        return tuple(p.data for p in self.model._leaves() if p.op is not None)

    def _measure(self, part: Part, judged: Sequence[tuple[str, Callable[..., float]]]) -> dict[str, float]:
        """The loss and metrics over a part of the data."""
        targets = self._fitted()
        key = ("measure", targets.loss, part.weights is not None, self._frozen())
        if key not in self._kept:
            objective = self._objective(targets, [], part.weights is not None)
            self._kept[key] = Measure(objective, self.engine, self.dtype, self.threads)
        found = {"loss": self._kept[key](part.samples, part.targets, part.weights)}
        if judged:
            predictions = targets.decode(self._predictor()(part.samples))
            right = part.y.reshape(predictions.shape) if part.y.size == predictions.size else part.y
            if targets.kind == "classes" and targets.shape:
                right = part.targets.argmax(axis=1)
            found |= {name: float(metric(predictions, right)) for name, metric in judged}
        return found


def _is_number(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool)


def _batch_size(given: int | str | None, samples: int) -> int:
    if given == "auto":
        return min(_BATCH, samples)
    if given is None:
        return samples
    size = _whole("batch_size", given, 1)
    if size > samples:
        raise ValueError(
            f"batch_size {size} is larger than the {samples} samples: give {samples} or less, or None for all"
        )
    return size


def _total(epochs: int | None, steps: int | None, per_epoch: int) -> int:
    if epochs is not None and steps is not None:
        raise ValueError(f"give epochs or steps, not both (got epochs={epochs}, steps={steps})")
    if steps is not None:
        return _whole("steps", steps, 0)
    if epochs is not None:
        return _whole("epochs", epochs, 0) * per_epoch
    return max(_EPOCHS, -(-_STEPS // per_epoch)) * per_epoch


def _whole(name: str, given: Any, least: int) -> int:
    if isinstance(given, bool) or not hasattr(given, "__index__") or given.__index__() < least:
        raise ValueError(f"{name} must be a whole number of {least} or more, got {given!r}")
    return int(given.__index__())
