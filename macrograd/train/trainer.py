"""`Trainer`: the training loop and everything around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from macrograd import tables
from macrograd._flags import flag
from macrograd._names import unknown
from macrograd._warn import warn
from macrograd.copying import checked_state
from macrograd.nn import Module
from macrograd.optim import Optimizer
from macrograd.ranks.ranks import Ranks
from macrograd.train.callbacks import Callback, EarlyStopping, Run
from macrograd.train.checks import is_number
from macrograd.train.fitting import Fitting
from macrograd.train.history import History
from macrograd.train.planning import planned
from macrograd.train.samples import metrics as named_metrics
from macrograd.train.samples import scaling
from macrograd.train.samples import weights as weighting
from macrograd.train.samples.columns import in_order, one_in_order
from macrograd.train.samples.data import Samples
from macrograd.train.samples.split import Part
from macrograd.train.setup import Setup
from macrograd.train.sharing import together
from macrograd.train.verdict import TrainingWarning
from macrograd.value import parameter_writes

Array = NDArray[Any]

T = TypeVar("T")


_ELSEWHERE = {
    "score": "trainer.evaluate(X, y, metrics=['accuracy']) measures it",
    "predict_proba": "write trainer.probabilities(X)",
    "save": "write mg.save(trainer, path)",
    "load": "write mg.load(path)",
    "compile": "give loss and optimiser to Trainer(model, loss, optimizer)",
    "parameters": "write trainer.model.parameters()",
    "train": "write trainer.fit(X, y)",
    "summary": "print(trainer) describes it, and mg.draw(trainer) draws it",
}


class _Option(Generic[T]):
    """An option of a Trainer, shared with its runs: it is stored in the Setup."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, trainer: Trainer, owner: type) -> T:
        found: T = getattr(trainer.setup, self._name)
        return found

    def __set__(self, trainer: Trainer, given: T) -> None:
        if given is not getattr(trainer.setup, self._name):
            trainer.setup.kept = {}  # programs compiled for another value
        setattr(trainer.setup, self._name, given)


class Trainer:
    """Trains a model, predicts with it and evaluates it.

    model      a Module that can be called with one sample
    loss       a name of `nn.losses`, or a function of one sample, (prediction, target) → scalar or
               (model, x, y) → scalar; None to choose by the targets: cross-entropy for classes, binary cross-entropy
               for two classes with one output and for yes-or-no labels, the squared error for numbers
    optimizer  the optimiser; None for Adam(0.01). Parameters that the loss does not depend on are not changed,
               regardless of weight decay or momentum
    l2         adds l2·Σ parameter² to the loss
    penalty    (model) → scalar, added to the loss
    engine     "compiled", or "eager": plain Values, for inspection and comparison
    dtype      "float64" or "float32"; the eager engine computes in float64 on data of that type
    threads    the number of threads of the compiled engine
    strict     whether the compiled engine computes each sample with the eager one's rounding; see `compile`. The mean
               of several samples and the norm for `clip_norm` are added up in another order
    scale      "standard" scales every feature to mean 0 and standard deviation 1, "robust" its median to 0 and its
               interquartile range to that of standard deviation 1, both measured on the first data to fit; the model is
               then an `nn.Scaled` that takes raw numbers. None does not scale, and warns if the scales of features
               differ by a factor of more than 100
    comm       an mpi4py communicator whose ranks share every batch of `fit`, or "world" for all processes started by
               mpiexec. Every rank makes the same Trainer and calls `fit` with the same data, of which it computes a
               part; all end with the same parameters, whose bits do not depend on the number of ranks. Rank 0 writes
               the checkpoint and shows progress. All else, such as `predict`, runs on the rank that calls it
    own_rows   with comm, whether each rank passes to `fit` only the rows that it has, and their targets, weights and
               validation data. Together these are one table, the rows of rank 0 first, and the run has the same bits as
               if every rank had passed all of it. The rows of a step are sent to the ranks that compute with them
    classes    all possible labels, if the first data to fit may lack some; later data may contain any of them

    scale_target  whether to scale numeric targets to mean 0 and standard deviation 1, measured on the first data to
                  fit, before the loss sees them; predictions keep the original units, losses are in scaled units
    label_smoothing  ε, from 0 up to 1: trains as if a label were right with probability 1 − ε and otherwise any of the
                     classes. Validation losses and those of `evaluate` are not smoothed

    `watchers` is a list of callbacks that every later `fit` calls, besides those it is given. Copies have none.

    Source of label smoothing: Szegedy et al., *Rethinking the Inception Architecture*, arXiv:1512.00567, §7. Raises
    TypeError and ValueError for anything else.
    """

    model = _Option[Module]()
    loss = _Option["str | Callable[..., Any] | None"]()
    optimizer = _Option[Optimizer]()
    l2 = _Option[float]()
    penalty = _Option["Callable[[Module], Any] | None"]()
    engine = _Option[str]()
    dtype = _Option[str]()
    threads = _Option[int]()
    strict = _Option[bool]()

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
        comm: Any = None,
        own_rows: bool = False,
        scale: str | None = None,
        classes: Sequence[Any] | None = None,
        scale_target: bool = False,
        label_smoothing: float = 0.0,
        strict: bool = False,
    ) -> None:
        if scale is not None and scale not in scaling.SCALES:
            raise ValueError(f"scale must be {' or '.join(map(repr, scaling.SCALES))} or None, got {scale!r}")
        if not (is_number(label_smoothing) and 0.0 <= label_smoothing < 1.0):
            raise ValueError(f"label_smoothing must be from 0 up to 1, got {label_smoothing!r}")
        self.setup = Setup(model, loss, optimizer, l2=l2, penalty=penalty, engine=engine, dtype=dtype, threads=threads)
        self.setup.strict = flag("Trainer", "strict", strict)
        self.setup.smoothing = float(label_smoothing)
        self.setup.scale_target = flag("Trainer", "scale_target", scale_target)
        if comm is not None and engine == "eager":
            raise ValueError('Trainer(engine="eager", comm=...): only the compiled engine shares its batches')
        if flag("Trainer", "own_rows", own_rows) and comm is None:
            raise ValueError("own_rows=True is for ranks that share a run: give comm")
        self.setup.ranks, self.own_rows = Ranks.of(comm), bool(own_rows)
        self.history = History()
        self.remark = ""
        self.watchers: list[Callback] = []
        self.scale, self.given_classes = scale, None if classes is None else list(classes)
        self._one_at = -1  # the count of `parameter_writes` when `predict_one` was made

    def __repr__(self) -> str:
        trained = f"{len(self.history)} steps" if len(self.history) else "not trained"
        return f"Trainer({self.model!r}, {self.optimizer!r}, {trained})"

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
        watch: str | None = None,
    ) -> History:
        """Train on samples X (n, …) and targets y (n,) or (n, k), and return the history.

        X, y            array-likes: NumPy, lists, data frames, whose columns are matched by name from then on;
                        memory-mapped and chunked files are read in blocks. `train.samples.targets.of` decides which
                        targets are classes and which are numbers
        epochs, steps   one of them: the number of passes over the samples, or the number of updates; by default the
                        number of epochs that make 1000 steps, but at least 20
        batch_size      samples per step; the last batch of an epoch may be smaller. "auto" is 32, or all samples if
                        there are fewer; None is all samples
        shuffle, seed   a new random order in every epoch, reproducible by the seed
        sample_weight   (n,) non-negative numbers that multiply the samples' losses (the mean still divides by the
                        batch size)
        class_weight    by label, or "balanced"; of several yes-or-no labels "balanced", or a dict of the weights of 0
                        and 1 for each: those of all labels of a sample are multiplied
        validation      (Xv, yv), (Xv, yv, weights), or the fraction of the data to hold out: its loss, without
                        penalties, and its metrics are computed after every epoch
        metrics         computed after every epoch, on training and validation data: names ("accuracy",
                        "mean_absolute_error", "mean_squared_error", "r2") or functions (predictions, targets) → number
        early_stopping  a patience in epochs, or an `EarlyStopping`
        clip_norm       the largest norm of the gradient; larger gradients are scaled down to it
        schedule        maps the step, counted from 0 at the start of this fit, to the learning rate, or one rate; None
                        for the optimiser's schedule, which counts all steps it has ever made
        callbacks       `Callback`s, and functions (run) that are called after every epoch
        progress        "bar", "plain" lines, "none", or "auto": a bar on a terminal, lines elsewhere, on standard error
        checkpoint      a file that holds everything needed to resume; written every `every` seconds, or "500 steps" or
                        "2 epochs", and at the end
        resume          resume from the checkpoint, if there is one, as if the run had never stopped
        watch           "health": after every epoch measure dead and saturated units, gradients and updates of every
                        layer, which `history.health` holds, and warn (TrainingWarning), once, of what looks ill

        Ctrl-C ends the run after a complete step and returns the history so far, with `stopped` "interrupted".
        Warns (TrainingWarning, whose text `remark` keeps) if the loss grew, or ended no better than that of a constant
        prediction. Raises ValueError and TypeError for invalid input, before any work is done; DivergedError if a loss
        or gradient is not finite, with the parameters as they were before that step.
        """
        if flag("fit", "resume", resume) and checkpoint is None:
            raise ValueError("resume=True needs a checkpoint to resume from: give checkpoint=PATH")
        with together(self.setup.ranks):
            with self.setup.unless_refused():
                fitting = planned(
                    self, X, y, epochs=epochs, steps=steps, batch_size=batch_size, shuffle=shuffle, seed=seed,
                    sample_weight=sample_weight, class_weight=class_weight, validation=validation, metrics=metrics,
                    early_stopping=early_stopping, clip_norm=clip_norm, schedule=schedule, callbacks=callbacks,
                    progress=progress, watch=watch,
                )  # fmt: skip
                fitting.prepare(checkpoint, every, resume)
            try:
                fitting.run()
            finally:
                self._ended(fitting)
            self.remark = fitting.verdict()
        if self.remark:
            warn(self.remark, TrainingWarning)
        return self.history

    def _ended(self, fitting: Fitting) -> None:
        """Keep what a run leaves."""
        self.history = fitting.history
        self.__dict__.pop("predict_one", None)  # a callback may have requested it

    # --- using what was trained -----------------------------------------------------------------------------------

    def predict(self, X: Any) -> Array:
        """The model's predictions for samples X (n, …): labels as in y, (n, k) of 0 and 1 for yes-or-no labels, else
        its outputs (n,) or (n, k). Raises RuntimeError before the first fit, ValueError for the wrong width."""
        decode = self.setup.fitted().decode
        return self.setup.predictor().each(self._samples(X), decode)

    def outputs(self, X: Any) -> Array:
        """The model's outputs for samples X (n, …): (n,), or (n, k) if there are several."""
        self.setup.fitted()
        return self.setup.predictor()(self._samples(X))

    def probabilities(self, X: Any) -> Array:
        """(n, k): the predicted probability of each class, in the order of `classes`, or of each label. Raises
        ValueError if the loss does not give probabilities."""
        targets = self.setup.fitted()
        return targets.probabilities(self.outputs(X))

    def predict_one(self, x: Any) -> Any:
        """The model's output for one sample, a float or a list of floats, with minimal call overhead.

        NaN and infinities in a sample behave as in Values. The parameters are those written by `fit`, an optimiser's
        `step` or `load_parameters`; numbers that you assign to parameters directly are seen only after the next of
        these. Not thread-safe. Raises RuntimeError before the first fit, ValueError and TypeError for a sample of the
        wrong shape or type.
        """
        self.setup.fitted()
        # From now on the function itself replaces this method, at half the cost of a call. An outdated one comes back
        # here.
        found = self.__dict__.get("predict_one")
        if found is None or self._one_at != parameter_writes[0]:
            found = self.setup.predictor().one(self.setup.shape, partial(Trainer.predict_one, self))
            if self.setup.columns is not None:
                found = _by_name(found, self.setup.columns, self.setup.plan)
            self.__dict__["predict_one"], self._one_at = found, parameter_writes[0]
        return found(x)

    def evaluate(
        self, X: Any, y: Any, *, metrics: Sequence[str | Callable[..., float]] = (), sample_weight: Any = None
    ) -> dict[str, float]:
        """The mean loss over samples and targets, without penalties, and metrics as in `fit`. Raises ValueError for
        labels that training did not see, and for shapes that do not fit."""
        targets, part = self.setup.fitted(), self.part(X, y, sample_weight)
        return self.setup.measure(part, named_metrics.all_of(metrics, targets))

    def part(self, X: Any, y: Any, sample_weight: Any = None) -> Part:
        """Samples and targets as the compiled programs take them. Raises ValueError as `evaluate` does."""
        targets, samples = self.setup.fitted(), self._samples(X)
        encoded = self.setup.in_units(targets.encode(y), targets)
        if len(encoded) != samples.count:
            raise ValueError(f"X has {samples.count} samples and y {len(encoded)} targets: there must be one for each")
        return Part(samples, encoded, np.asarray(y), weighting.of(sample_weight, None, encoded, targets))

    @property
    def classes(self) -> list[Any] | None:
        """The labels, in the order of the model's outputs; None if the targets are not classes."""
        found = self.setup.fitted().classes
        return None if found is None else found.tolist()

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names of the numbers of a sample; None if the data had none."""
        return self.setup.columns

    def numbers(self, X: Any) -> Array:
        """The numbers (n, …) of samples X as the model takes them: the columns of a table in order, and encoded."""
        return Samples(self._ordered(X), name="X", dtype=self.dtype).whole()

    def objective(self, X: Any, y: Any) -> tuple[Callable[..., Any], tuple[Array, Array]]:
        """The loss of one sample, penalties included, as a function; and its two arguments for the samples X and
        targets y, one row for each, scaled and encoded: `mg.compile(loss, batch=True).backward(*arguments)`, or
        `mg.why(parameter, lambda: loss(*(a[0] for a in arguments)))`. Dropout passes everything through.

        Raises RuntimeError before the first fit (`fit(X, y, steps=0)` is enough), ValueError for labels that training
        did not see, and for shapes that do not fit.
        """
        targets, setup = self.setup.fitted(), self.setup
        encoded, samples = setup.in_units(targets.encode(y), targets), self._samples(X)
        if len(encoded) != samples.count:
            raise ValueError(f"X has {samples.count} samples and y {len(encoded)} targets: there must be one for each")
        return setup.objective(targets, setup.trained(), False), (samples.whole(), encoded)

    # --- parts ----------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        raise unknown("a Trainer", name, self, _ELSEWHERE)

    def __getstate__(self) -> dict[str, Any]:
        return checked_state(self, "predict_one", "watchers") | {"_one_at": -1, "watchers": []}

    def _ordered(self, X: Any) -> Any:
        return in_order(X, self.setup.columns, "X", self.setup.plan)

    def _samples(self, X: Any) -> Samples:
        samples, shape = Samples(self._ordered(X), name="X", dtype=self.dtype), self.setup.shape
        if samples.shape != shape:
            single = ": a single sample must be a row, as in [x]" if (samples.count, *samples.shape) == shape else ""
            raise ValueError(f"X has samples of shape {samples.shape}, the model was trained with {shape}{single}")
        return self.setup.seen(samples)


def _by_name(one: Callable[[Any], Any], columns: tuple[str, ...], plan: tables.Plan | None) -> Callable[[Any], Any]:
    """A function of one sample that also takes named numbers."""
    plain = (list, tuple, np.ndarray)

    def named(x: Any) -> Any:
        return one(x if x.__class__ in plain else one_in_order(x, columns, plan))

    return named
