"""`NetRegressor`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import check_array, check_is_fitted

from macrograd import nn
from macrograd.sklearn import recipe
from macrograd.sklearn.base import Net, all_or_nothing
from macrograd.train import Trainer
from macrograd.train.samples.targets import NUMBERS

Array = NDArray[Any]


class NetRegressor(RegressorMixin, Net):  # type: ignore[misc]  # scikit-learn comes without types
    """A neural-network regressor.

    loss                  "auto" (the squared error), a name of `nn.losses`, or a function (outputs, targets) → scalar,
                          which sees targets of mean 0 and deviation 1 if it is one of `nn.losses`, otherwise raw
                          targets
    calibration_fraction  the fraction of rows held out only for `predict_interval`; with 0 the validation rows are
                          used for that, too, and since they also decided the best epoch, intervals are slightly too
                          narrow. Where "auto" finds them too few to decide the epoch, they are held out for the
                          intervals alone

    The other parameters, and what a fit depends on, are those of `NetClassifier`.

    history_, n_iter_  as there; scores_  (m,) the sorted residuals |prediction − y| of the held-out rows
    """

    _calibrates = True

    def __init__(
        self,
        hidden: Sequence[int] = (32, 32),
        *,
        activation: str | Callable[[Any], Any] = "silu",
        loss: str | Callable[..., Any] = "auto",
        optimizer: Any = "adam",
        learning_rate: Any = "auto",
        epochs: int | str = "auto",
        batch_size: int | str = "auto",
        early_stopping: bool | int | str = "auto",
        validation_fraction: float = 0.15,
        calibration_fraction: float = 0.0,
        members: int | str = "auto",
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
        self.members = members
        self.l2 = l2
        self.scale = scale
        self.dtype = dtype
        self.random_state = random_state
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.make_net = make_net

    @all_or_nothing
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetRegressor:
        """Train on samples X (n, d), an array or a table, and numbers y (n,) or (n, k); `sample_weight` (n,) weights
        the samples. Raises ValueError for invalid input."""
        recipe.check(self, NUMBERS)
        again = self.warm_start and hasattr(self, "_trainer_")
        numbers, targets = self._checked(X, y, fitting=not again)
        found: NetRegressor = self._fit(numbers, targets, sample_weight, None, again=again)
        return found

    @all_or_nothing
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetRegressor:
        """One epoch on more samples. The first call measures the scales of features and targets."""
        recipe.check(self, NUMBERS)
        numbers, targets = self._checked(X, y, fitting=not hasattr(self, "_trainer_"))
        found: NetRegressor = self._partial_fit(numbers, targets, sample_weight, None)
        return found

    def _checked(self, X: Any, y: Any, *, fitting: bool) -> tuple[Array, Array]:
        numbers, y = self._samples(X, y, fitting=fitting)
        targets = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if targets.ndim == 2 and targets.shape[1] == 1:
            _say_column()
            targets = targets[:, 0]
        if len(targets) != len(numbers):
            raise ValueError(f"X has {len(numbers)} samples and y {len(targets)} targets: there must be one for each")
        width = () if targets.ndim == 1 else targets.shape[1:]
        if fitting:
            self._width = width
        elif width != self._width:
            raise ValueError(f"y has targets of shape {width}, and had {self._width} before")
        return numbers, targets

    # --- called by the common part ---------------------------------------------------------------------------------

    def _outputs(self) -> int:
        return self._width[0] if self._width else 1

    def _loss(self) -> Any:
        return "squared_error" if self.loss == "auto" else self.loss

    def _options(self) -> dict[str, Any]:
        return {"scale_target": True}

    def _calibrated(self, answers: Trainer, X: Array, y: Array, weights: Array) -> nn.Module:
        self.scores_, self._score_weights = np.empty((0, *y.shape[1:])), np.empty(0)
        if len(y):
            distances = np.abs(answers.outputs(X) - y)
            order = np.argsort(distances, axis=0, kind="stable")
            self.scores_ = np.take_along_axis(distances, order, axis=0)
            self._score_weights = weights[order]
        return answers.model

    def _exports(self) -> dict[str, Callable[[Any], Any]]:
        found = super()._exports()
        if len(self.scores_):
            found["interval"] = partial(_interval, self._answering, np.ravel(self._radius(0.9)).tolist())
        return found

    # --- answers ---------------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> Array:
        """The predictions, (n,) or (n, k)."""
        return self._raw_outputs(self._inputs(X))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Array:
        """(n, 2) or (n, k, 2): the ends of an interval that holds a new sample's number with probability `coverage`, if
        it comes from the same distribution as the held-out rows; see `calibration_fraction`.

        Split conformal prediction: Lei, G'Sell, Rinaldo, Tibshirani & Wasserman, *Distribution-Free Predictive
        Inference for Regression*, JASA 113, 2018, algorithm 2. Raises ValueError if no rows were held out, or too few
        for the coverage.
        """
        check_is_fitted(self)
        radius = self._radius(coverage)
        middle = self.predict(X)
        return np.stack([middle - radius, middle + radius], axis=-1)

    def _radius(self, coverage: float) -> Any:
        """The ⌈(n + 1)·coverage⌉-th smallest of the n scores; a row of weight k counts as k."""
        recipe.fraction("coverage", coverage)
        if not len(self.scores_):
            raise ValueError(
                "predict_interval needs rows that were held out: fit with early_stopping or a calibration_fraction"
            )
        totals = np.cumsum(self._score_weights, axis=0)
        n = totals[-1]
        wanted = (n + 1.0) * coverage
        if np.any(np.ceil(wanted - 1e-9) > n + 1e-9):
            least = math.ceil(coverage / (1.0 - coverage) * (1.0 - 1e-9))
            raise ValueError(
                f"{len(self.scores_)} rows were held out, and a coverage of {coverage} needs {least} or more: raise "
                "calibration_fraction or validation_fraction, or give more rows"
            )
        place = np.argmax(totals >= np.ceil(wanted - 1e-9) - 1e-9, axis=0)
        return np.take_along_axis(self.scores_, np.asarray(place)[None], axis=0)[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _say_column() -> None:
    import warnings

    warnings.warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples,)",
        DataConversionWarning,
        stacklevel=4,
    )


def _interval(model: Any, radius: list[float], x: Any) -> list[Any]:
    outputs = model(x)
    listed = list(outputs) if hasattr(outputs, "__len__") else [outputs]
    return [end for value, r in zip(listed, radius, strict=True) for end in (value - r, value, value + r)]
