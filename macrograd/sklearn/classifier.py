"""`NetClassifier`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d

from macrograd import functions, nn, ops
from macrograd.nn import losses
from macrograd.sklearn import recipe
from macrograd.sklearn.base import Net, all_or_nothing
from macrograd.train import Trainer
from macrograd.train.samples.outputs import answered, predicted, softmax
from macrograd.train.samples.targets import Targets

Array = NDArray[Any]

_FITTING = ("cross_entropy", "binary_cross_entropy", "hinge")
_ONE_LABEL = ("cross_entropy", "hinge", losses.cross_entropy, losses.hinge)
_LIKELIHOODS = ("auto", "cross_entropy", "binary_cross_entropy", losses.cross_entropy, losses.binary_cross_entropy)


def _has_probabilities(estimator: Any) -> bool:
    return estimator.loss in _LIKELIHOODS


class NetClassifier(ClassifierMixin, Net):  # type: ignore[misc]  # scikit-learn comes without types
    """A neural-network classifier.

    hidden               sizes of the hidden layers
    activation           their activation: a name of `nn.activations` or a function of one scalar
    loss                 "auto" (cross-entropy), a name of `nn.losses`, or a function (outputs, class index) → scalar
    optimizer            "adam", "adamw", "sgd", "momentum", "rmsprop", or an optimiser of `optim`, which is copied
    learning_rate        "auto", a rate, or a schedule: a function from the step to the rate
    epochs, batch_size   "auto" or integers: the passes over the rows, and the rows per step
    early_stopping       True restores the parameters of the epoch that is best on held-out rows; an integer also ends
                         the run that many epochs after it; False holds out no rows. "auto" is True if at least 50 rows
                         would be held out, and False if not: fewer do not tell which epoch is best
    validation_fraction  the fraction of rows held out for that
    calibration_fraction the fraction held out only for the temperature of `predict_proba`; with 0 the validation rows
                         are used for that, too, and without any the temperature is 1
    class_weight         by label, or "balanced"; for columns of labels a list with a dict of the weights of 0 and 1 for
                         each, or "balanced": those of all labels of a sample are multiplied, as scikit-learn's are
    members              the number of nets, whose outputs are averaged; "auto" is 4, and fewer for very wide tables
    label_smoothing, l2, scale, dtype  as for `mg.Trainer`; `scale` also "robust" or None
    random_state         seed of the initial weights, the split and the order of rows
    warm_start           whether `fit` starts from the parameters learned before
    callbacks            as for `mg.Trainer.fit`
    make_net             (inputs, outputs, seed) → `nn.Module`: a custom net in place of `nn.Tabular`. Two classes have
                         one output

    y may also be columns of 0 and 1, one for each label, of which any number apply to a sample (multilabel): each gets
    an output and a binary cross-entropy, and predictions have the same columns. Labels are not smoothed then.

    A fit depends only on the distinct rows and the sums of their weights: a weight of 3 equals three repetitions, and
    the order of the rows does not matter, to the last bit (`train.distinct`). Tables with strings, dates or missing
    values are encoded as docs/tables.md describes; other data must be finite numbers.

    classes_  the labels, or the numbers of the columns of y; history_  the `History` of the latest run; n_iter_  its
              epochs; temperature_  the divisor of the logits (Guo et al., *On Calibration of Modern Neural Networks*,
              ICML 2017, §4.2)
    """

    def __init__(
        self,
        hidden: Sequence[int] = (32, 32),
        *,
        activation: str | Callable[[Any], Any] = "relu",
        loss: str | Callable[..., Any] = "auto",
        optimizer: Any = "adam",
        learning_rate: Any = "auto",
        epochs: int | str = "auto",
        batch_size: int | str = "auto",
        early_stopping: bool | int | str = "auto",
        validation_fraction: float = 0.15,
        calibration_fraction: float = 0.0,
        class_weight: Any = None,
        members: int | str = "auto",
        label_smoothing: float = 0.1,
        l2: float = 0.0,
        scale: str | None = "robust",
        dtype: str = "float32",
        random_state: Any = None,
        warm_start: bool = False,
        callbacks: Any = None,
        make_net: Any = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.calibration_fraction = calibration_fraction
        self.class_weight = class_weight
        self.members = members
        self.label_smoothing = label_smoothing
        self.l2 = l2
        self.scale = scale
        self.dtype = dtype
        self.random_state = random_state
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.make_net = make_net

    classes_: Array
    _multilabel: bool

    @all_or_nothing
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetClassifier:
        """Train on samples X (n, d), an array or a table, and labels y (n,), or (n, k) of 0 and 1; `sample_weight`
        (n,) weights the samples. Raises ValueError for invalid input."""
        recipe.check(self, _FITTING)
        again = self.warm_start and hasattr(self, "_trainer_")
        numbers, labels = self._checked(X, y, fitting=not again)
        weights = self._checked_weights(sample_weight, numbers)
        if weights is not None:  # a label of weight zero does not count
            numbers, labels, weights = numbers[weights > 0], labels[weights > 0], weights[weights > 0]
        found = np.unique(labels) if labels.ndim == 1 else np.arange(labels.shape[1])
        if len(found) < 2:
            raise ValueError(
                f"{type(self).__name__} tells classes apart, and y has one class, {found[:1].tolist()[0]!r}"
            )
        if again and not (np.isin(found, self.classes_).all() and self._multilabel == (labels.ndim == 2)):
            raise ValueError(f"warm_start continues with the classes {self.classes_}, and y has {found}")
        if not again:
            self.classes_, self._multilabel = found, labels.ndim == 2
        codes = self._codes(labels)
        fitted: NetClassifier = self._fit(numbers, codes, weights, self._class_weights(), again=again)
        return fitted

    @all_or_nothing
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> NetClassifier:
        """One epoch on more samples. The first call needs `classes`, all labels that will ever occur, unless y has a
        column for each; it also measures the scales of the features. Raises ValueError for other labels."""
        recipe.check(self, _FITTING)
        first = not hasattr(self, "_trainer_")
        numbers, labels = self._checked(X, y, fitting=first)
        if labels.ndim == 2 and classes is None:
            classes = np.arange(labels.shape[1])
        if first and classes is None:
            raise ValueError("the first call of partial_fit needs classes, all labels that there will ever be")
        if first:
            self.classes_, self._multilabel = np.unique(classes), labels.ndim == 2
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes is {classes!r}, and was {self.classes_} before")
        found: NetClassifier = self._partial_fit(numbers, self._codes(labels), sample_weight, self._class_weights())
        return found

    def _checked(self, X: Any, y: Any, *, fitting: bool) -> tuple[Array, Array]:
        numbers, y = self._samples(X, y, fitting=fitting)
        plain = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
        if plain.dtype.kind == "f":  # of which scikit-learn makes integers, to see whether they are some: NumPy warns
            assert_all_finite(plain, input_name="y")
        several = plain.ndim == 2 and plain.shape[1] > 1 and type_of_target(y).startswith("multi")
        labels = _several(plain) if several else column_or_1d(y, warn=True)
        if len(labels) != len(numbers):
            raise ValueError(f"X has {len(numbers)} samples and y {len(labels)} labels: there must be one for each")
        check_classification_targets(labels)
        return numbers, labels

    def _codes(self, labels: Array) -> Array:
        if self._multilabel or labels.ndim == 2:
            if not self._multilabel or labels.shape[1:] != self.classes_.shape:
                raise ValueError(f"y has the shape {labels.shape}, and one row of it had {self._row()} before")
            return labels
        unknown = ~np.isin(labels, self.classes_)
        if unknown.any():
            raise ValueError(f"y has the label {labels[unknown][0]!r}, which is not in classes: {self.classes_}")
        return np.searchsorted(self.classes_, labels).astype(np.int64)

    def _class_weights(self) -> Any:
        """class_weight, by class index."""
        if self._multilabel:
            return self.class_weight
        if not isinstance(self.class_weight, dict):
            if self.class_weight not in (None, "balanced"):
                raise ValueError(f"class_weight must be 'balanced', a dict or None, got {self.class_weight!r}")
            return self.class_weight
        index = {label: k for k, label in enumerate(self.classes_.tolist())}
        unknown = [label for label in self.class_weight if label not in index]
        if unknown:
            raise ValueError(f"class_weight names {unknown[0]!r}, and the classes are {self.classes_}")
        return {index[label]: weight for label, weight in self.class_weight.items()}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    # --- called by the common part ---------------------------------------------------------------------------------

    def _row(self) -> str:
        return f"{len(self.classes_)} columns" if self._multilabel else "one label"

    def _outputs(self) -> int:
        if self._multilabel:
            return len(self.classes_)
        two = len(self.classes_) == 2 and self.loss not in ("cross_entropy", losses.cross_entropy)
        return 1 if two else len(self.classes_)

    def _loss(self) -> Any:
        if self._multilabel and self.loss in _ONE_LABEL:
            raise ValueError(f"loss {self.loss!r} is for one label per sample: use 'auto' or 'binary_cross_entropy'")
        if self.loss != "auto":
            return self.loss
        return "binary_cross_entropy" if self._multilabel or self._outputs() == 1 else "cross_entropy"

    def _options(self) -> dict[str, Any]:
        plain = not callable(self._loss())
        return {
            "label_smoothing": self.label_smoothing if plain else 0.0,
            "classes": range(len(self.classes_)) if plain and not self._multilabel else None,
        }

    def _calibrated(self, answers: Trainer, X: Array, y: Array, weights: Array) -> nn.Module:
        self.temperature_, model = 1.0, answers.model
        if not len(y) or not _has_probabilities(self):
            return model
        outputs = answers.outputs(X)
        if self._multilabel:  # each label of each sample is a separate case
            weights = np.repeat(weights, y.size // len(y))
            outputs, y = outputs.reshape(-1), y.reshape(-1)
        self.temperature_ = temperature(outputs, y, weights)
        scaled = model if isinstance(model, nn.Scaled) else nn.Scaled(model)
        calibrated = scaled.with_outputs(output_unit=1.0 / self.temperature_)
        calibrated._signature = model._signature
        return calibrated

    def _meaning(self, targets: Targets) -> Targets:
        labels = self.classes_
        if self._multilabel:
            return targets
        return replace(targets, classes=labels.astype(str) if labels.dtype.kind == "O" else labels)

    def _exports(self) -> dict[str, Callable[[Any], Any]]:
        found = super()._exports()
        if _has_probabilities(self):
            found["probabilities"] = partial(_each if self._multilabel else _probabilities, self._answering)
        return found

    # --- answers ---------------------------------------------------------------------------------------------------

    def _raw_outputs(self, numbers: Array) -> Array:
        return super()._raw_outputs(numbers) * (1.0 / self.temperature_)

    def _decisions(self, numbers: Array) -> Array:
        found = self._raw_outputs(numbers)
        two = len(self.classes_) == 2 and not self._multilabel
        return found[:, 1] - found[:, 0] if two and found.ndim == 2 else found

    def decision_function(self, X: Any) -> Array:
        """The net's outputs: (n,) for two classes, the second one above 0; (n, k) for k classes or labels."""
        return self._decisions(self._inputs(X))

    def predict(self, X: Any) -> Array:
        """The label of each sample, (n,), or 0 and 1 for each label, (n, k)."""
        numbers = self._inputs(X)
        if self._multilabel:
            return answered(self._decisions, numbers, lambda found: (found > 0).astype(np.int64))
        return np.asarray(self.classes_[answered(self._decisions, numbers, predicted)])

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]  # scikit-learn comes without types
    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (n, k), in the order of `classes_`; with several columns of labels that of
        each label."""
        outputs = self._raw_outputs(self._inputs(X))
        return shares(outputs.reshape(-1))[:, 1].reshape(outputs.shape) if self._multilabel else shares(outputs)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]  # scikit-learn comes without types
    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`."""
        check_is_fitted(self)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))


def _several(found: Array) -> Array:
    """Several columns of labels, as integers 0 and 1. Raises ValueError for others."""
    if found.dtype.kind not in "biuf" or not np.isin(found, (0, 1)).all():
        raise ValueError(
            f"y has {found.shape[1]} columns, which must hold 0 and 1, one column for each label; for columns with "
            "more classes use sklearn.multioutput.MultiOutputClassifier"
        )
    return found.astype(np.int64)


def shares(outputs: Array) -> Array:
    """The softmax of logits (n, k), or of (0, logit) if there is one per sample (n,)."""
    return softmax(_logits(outputs))


def _logits(outputs: Array) -> Array:
    return np.stack([np.zeros(len(outputs)), outputs], axis=1) if outputs.ndim == 1 else outputs


def temperature(outputs: Array, y: Array, weights: Array) -> float:
    """The divisor of the logits that maximises the likelihood of these classes, from 1/20 to 20.

    Source: Guo, Pleiss, Sun & Weinberger, *On Calibration of Modern Neural Networks*, ICML 2017, §4.2. A
    normal prior of log T, of deviation 1, keeps the temperature of a few samples that are all right finite.
    """
    logits = _logits(outputs)
    logits = logits - logits.max(axis=1, keepdims=True)

    def loss(log_t: float) -> float:
        scaled = logits * math.exp(-log_t)
        per_row = np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(y)), y]
        return float(weights @ per_row) + 0.5 * log_t * log_t

    low, high = -math.log(20.0), math.log(20.0)
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(60):
        a, b = high - golden * (high - low), low + golden * (high - low)
        if loss(a) <= loss(b):
            high = b
        else:
            low = a
    return math.exp(0.5 * (low + high))


def _each(model: Any, x: Any) -> Any:
    return [ops.sigmoid(output) for output in model(x)]


def _probabilities(model: Any, x: Any) -> Any:
    outputs = model(x)
    return functions.softmax(outputs if hasattr(outputs, "__len__") else [0.0, outputs])
