"""Shared by `NetClassifier` and `NetRegressor`: from tables to a run of `Trainer`, and from nets to predictions."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

import macrograd as mg
from macrograd import nn, tables
from macrograd._numbers import check_unmasked
from macrograd._warn import warn
from macrograd.sklearn import recipe
from macrograd.train import EarlyStopping, History, Trainer, TrainingWarning, distinct
from macrograd.train.checks import check_parameters
from macrograd.train.graphs import no_collection
from macrograd.train.samples.columns import planned, warn_assumed
from macrograd.train.samples.targets import Targets

Array = NDArray[Any]
Method = TypeVar("Method", bound=Callable[..., Any])
_MOST_DENSE = 1 << 32  # bytes of rows that come as a sparse matrix


def all_or_nothing(fit: Method) -> Method:
    """A method that leaves the estimator as it was if it raises: outputs of one net must not get the classes, the
    columns or the scales of data that another call has refused."""

    @wraps(fit)
    def fits(self: Any, *args: Any, **options: Any) -> Any:
        before = dict(vars(self))
        try:
            return fit(self, *args, **options)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return cast(Method, fits)


class Net(BaseEstimator):  # type: ignore[misc]  # scikit-learn comes without types
    """The estimators' common part; see `NetClassifier`."""

    _calibrates = False  # whether answers need held-out rows, also where these are too few to choose an epoch by

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # --- training -----------------------------------------------------------------------------------------------

    def _fit(self, X: Array, y: Array, sample_weight: Any, class_weight: Any, *, again: bool) -> Any:
        """Train on checked numbers, from scratch or (`again`) from the parameters learned before."""
        rng = check_random_state(self.random_state)
        X, y, weights = self._merged(X, y, sample_weight)
        training, held, apart, early = self._parts(y, rng)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        model = self._raw() if again else self._made(X.shape[1], seed)
        size = recipe.batch_size(self.batch_size, len(training))
        epochs = recipe.epochs(self.epochs, len(training), size)
        steps = epochs * -(-len(training) // size)
        optimizer = recipe.optimizer(self.optimizer, self.learning_rate, steps, own_net=self.make_net is not None)
        trainer = self._trainer(model, optimizer)
        stopping = None
        if len(held):
            patience = max(epochs, 1) if early is True else int(early)
            stopping = EarlyStopping(patience, restore="always")
        history = self._run(
            trainer, X[training], y[training], weights[training], class_weight, seed=seed, epochs=epochs,
            batch_size=size, early_stopping=stopping,
            validation=(X[held], y[held], weights[held]) if len(held) else None,
        )  # fmt: skip
        self._trainer_, self._seed = trainer, seed
        self.n_iter_ = -(-len(history) // -(-len(training) // size))
        apart = apart if len(apart) else held
        self._finish(X[apart], y[apart], weights[apart])
        return self

    def _partial_fit(self, X: Array, y: Array, sample_weight: Any, class_weight: Any) -> Any:
        """One epoch on these rows, starting from the parameters learned before."""
        rng = check_random_state(self.random_state)
        X, y, weights = self._merged(X, y, sample_weight)
        size = recipe.batch_size(self.batch_size, len(X))
        if not hasattr(self, "_trainer_"):
            self._seed = int(rng.randint(np.iinfo(np.int32).max))
            own = self.make_net is not None
            optimizer = recipe.optimizer(self.optimizer, self.learning_rate, 1, own_net=own, steady=True)
            self._trainer_ = self._trainer(self._made(X.shape[1], self._seed), optimizer)
            self.n_iter_ = 0
        else:
            self._trainer_.model = self._raw()
        self._run(
            self._trainer_, X, y, weights, class_weight, seed=self._seed + self.n_iter_, epochs=1, batch_size=size
        )
        self.n_iter_ += 1
        self._finish(X[:0], y[:0], weights[:0])
        return self

    def _run(self, trainer: Trainer, X: Array, y: Array, weights: Array, class_weight: Any, **options: Any) -> History:
        # Scaled to mean 1, so that equal weights of any size have no effect.
        mean = weights.mean()
        relative = None if (weights == mean).all() else weights / mean
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", TrainingWarning)
            history = trainer.fit(
                X, y, sample_weight=relative, class_weight=class_weight, callbacks=list(self.callbacks or ()),
                progress=False, **options,
            )  # fmt: skip
        for warning in said:
            if not issubclass(warning.category, TrainingWarning):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
            elif trainer.remark:
                warn(trainer.remark, ConvergenceWarning)
        self.history_ = history
        return history

    def _merged(self, X: Array, y: Array, sample_weight: Any) -> tuple[Array, Array, Array]:
        return distinct(X, y, self._checked_weights(sample_weight, X))

    def _checked_weights(self, sample_weight: Any, X: Array) -> Array | None:
        if sample_weight is None:
            return None
        check_unmasked("sample_weight", sample_weight)
        found: Array = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not found.any():
            raise ValueError("sample_weight is zero for every sample: there is nothing to learn from")
        return found

    def _parts(self, y: Array, rng: np.random.RandomState) -> tuple[Array, Array, Array, bool | int]:
        """(training, validation and calibration places) of distinct rows, and how the run is stopped early."""
        by_class, no_rows = hasattr(self, "classes_") and y.ndim == 1, np.empty(0, dtype=np.int64)
        training, held, apart = np.arange(len(y)), no_rows, no_rows
        share = recipe.fraction("calibration_fraction", self.calibration_fraction, zero=True)
        if share:
            training, apart = recipe.held_out(y, share, rng, by_class=by_class)
        fraction = recipe.fraction("validation_fraction", self.validation_fraction)
        early = recipe.early_stopping(self.early_stopping, len(training), fraction)
        if early is not False:
            first, second = recipe.held_out(y[training], fraction, rng, by_class=by_class)
            training, held = training[first], training[second]
        elif self.early_stopping == "auto" and self._calibrates and not len(apart):
            training, apart = recipe.held_out(y, fraction, rng, by_class=by_class)
        return training, held, apart, early

    def _made(self, inputs: int, seed: int) -> nn.Module:
        outputs = self._outputs()
        if self.make_net is not None:
            net = self.make_net(inputs, outputs, seed)
            if not isinstance(net, nn.Module):
                raise TypeError(f"make_net must give a macrograd.nn.Module, it gave {net!r}")
            return net
        sizes = (inputs, *self.hidden, outputs)
        members = recipe.members(self.members, sizes)
        check_parameters(
            f"a net of {'-'.join(map(str, sizes))} with members={members}", nn.Tabular.count(sizes, members),
            "choose or combine columns first, as by sklearn.feature_selection.SelectKBest or "
            "sklearn.decomposition.TruncatedSVD, or take a smaller `hidden` or fewer members",
        )  # fmt: skip
        with no_collection():  # of thousands of Values
            return nn.Tabular(
                inputs, list(self.hidden), outputs, activation=self.activation, members=members, seed=seed
            )

    def _raw(self) -> nn.Module:
        """The net as training left it, without the calibration of its outputs."""
        return self._trainer_.model

    def _trainer(self, model: nn.Module, optimizer: Any) -> Trainer:
        return Trainer(
            model, self._loss(), optimizer, l2=self.l2, scale=self.scale, dtype=self.dtype, threads=1, **self._options()
        )

    def _finish(self, X: Array, y: Array, weights: Array) -> None:
        """Make the predictor, calibrated on held-out rows (perhaps none)."""
        # In float64, so that a prediction does not depend on the other rows. A pickle holds nothing compiled.
        self._answers = Trainer(self._trainer_.model, self._loss())
        self._answering = self._calibrated(self._answers, X, y, weights)

    # --- tables -------------------------------------------------------------------------------------------------

    def _numbers(self, X: Any, *, fitting: bool) -> Array:
        """The rows as numbers, checked by scikit-learn, after applying a table's plan if it has one."""
        check_unmasked("X", X)
        if fitting:
            self._plan = None
            if tables.is_frame(X) and not isinstance(X, dict) and tables.needs_plan(X):
                self._plan = tables.plan_of(tables.from_frame(X, "X"))
                warn_assumed(self._plan, "X")
                self.feature_names_in_ = np.array(list(tables.from_frame(X).columns), dtype=object)
                self.n_features_in_ = len(self.feature_names_in_)
                return self._plan.numbers(tables.from_frame(X, "X"))[0]
            return _dense(validate_data(self, X, accept_sparse=True, dtype=np.float64, ensure_min_samples=2))
        if self._plan is not None:
            if not tables.is_frame(X):
                raise ValueError(
                    f"{type(self).__name__} was fitted on a table with named columns that are not all numbers: give a "
                    f"table with {tables.listed(self._plan.needed)}"
                )
            return np.asarray(planned(X, self._plan, "X"))
        return _dense(validate_data(self, X, accept_sparse=True, dtype=np.float64, reset=False))

    def _samples(self, X: Any, y: Any, *, fitting: bool) -> tuple[Array, Any]:
        """The rows as numbers, and y as scikit-learn can check it."""
        check_unmasked("y", y)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None")
        numbers = self._numbers(X, fitting=fitting)
        return numbers, tables.column_of(y) if type(y).__module__.startswith("pyarrow") else y

    def _inputs(self, X: Any) -> Array:
        check_is_fitted(self)
        return self._numbers(X, fitting=False)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """The names of the columns that the net sees: those of the table, or "city=Rome" and "day weekday" if one
        column became several."""
        check_is_fitted(self)
        if self._plan is not None:
            return np.array(self._plan.names, dtype=object)
        names = getattr(self, "feature_names_in_", input_features)
        return np.array([f"x{i}" for i in range(self.n_features_in_)] if names is None else names, dtype=object)

    # --- answers ------------------------------------------------------------------------------------------------

    def _raw_outputs(self, numbers: Array) -> Array:
        """The net's outputs for rows as numbers."""
        return self._answers.outputs(numbers)

    @property
    def model_(self) -> nn.Module:
        """The fitted net, with everything that was learned from the table: for `mg.save`, `macrograd predict` and
        `mg.Trainer`. It takes raw numbers, and its outputs are calibrated. Raises NotFittedError before `fit`."""
        check_is_fitted(self)
        model, known = self._answering, self._trainer_.model._signature
        plan, named = self._plan, getattr(self, "feature_names_in_", None)
        columns = plan.names if plan is not None else None if named is None else tuple(map(str, named))
        model._signature = replace(known, targets=self._meaning(known.targets), columns=columns, plan=plan)
        return model

    def export(
        self, path: str | os.PathLike[str], *, kind: str = "predict", dtype: str = "float64", **options: Any
    ) -> Any:
        """Write the fitted net as a C99 file, with `mg.export`, whose options these are.

        kind  "predict": the net's outputs (logits or numbers); or what the estimator's own methods answer:
              "probabilities" of a classifier, "interval" of a regressor (low, answer, high)

        The file takes raw numbers, one sample's, in the order of `get_feature_names_out`. Raises NotFittedError before
        `fit`, ValueError for another kind.
        """
        check_is_fitted(self)
        functions = self._exports()
        if kind not in functions:
            raise ValueError(f"kind {kind!r} is not known: use one of {', '.join(functions)}")
        width = self._answers_width()
        return mg.export(functions[kind], path, np.zeros(width), dtype=dtype, **options)

    def _answers_width(self) -> int:
        return self.n_features_in_ if self._plan is None else len(self._plan.names)

    def _exports(self) -> dict[str, Callable[[Any], Any]]:
        return {"predict": partial(_called, self._answering)}

    # Implemented by the subclasses.

    def _outputs(self) -> int:
        raise NotImplementedError

    def _loss(self) -> Any:
        raise NotImplementedError

    def _options(self) -> dict[str, Any]:
        raise NotImplementedError

    def _meaning(self, targets: Targets) -> Targets:
        """The meaning of the outputs, with the labels as given."""
        return targets

    def _calibrated(self, answers: Trainer, X: Array, y: Array, weights: Array) -> nn.Module:
        raise NotImplementedError


def _dense(X: Any) -> Array:
    """A copy of the rows, without gaps. Raises ValueError for a sparse matrix that would fill the memory then."""
    if not issparse(X):
        return np.array(X)
    size = 8 * X.shape[0] * X.shape[1]
    if size > _MOST_DENSE:
        raise ValueError(
            f"X is sparse, and its {X.shape[0]} rows of {X.shape[1]} columns would take {size / 1e9:.0f} GB with their "
            "zeros, as nets see them: reduce the columns first, as by sklearn.decomposition.TruncatedSVD"
        )
    return np.asarray(X.toarray())


def _called(model: Any, x: Any) -> Any:
    return model(x)
