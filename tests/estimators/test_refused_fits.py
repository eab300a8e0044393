"""A fit that is refused leaves an estimator as it was: a net must not get the classes and columns of other data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from macrograd.sklearn import NetClassifier, NetRegressor

X = np.random.default_rng(0).normal(size=(40, 3))
ANTS = np.where(X[:, 0] > 0, "ant", "bee")
CATS = np.where(X[:, 0] > 0, "cat", "dog")
NUMBERS = X[:, 0]


def _stop(run: Any) -> None:
    raise ArithmeticError("stopped by the test")


def _made(kind: type) -> Any:
    return kind(hidden=(3,), epochs=2, random_state=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of so few epochs
@pytest.mark.parametrize(
    ("given", "options"),
    [
        ((X[:, :2], CATS[:9]), {}),
        ((X[:, :2], np.full(40, "cat")), {}),
        ((np.full((40, 3), np.nan), CATS), {}),
        ((X, CATS), {"class_weight": {"cow": 2.0}}),
        ((X, CATS), {"batch_size": 0}),
        ((X, CATS), {"callbacks": [_stop]}),
        ((X, np.eye(2, dtype=int)[(X[:, 0] > 0).astype(int)]), {"callbacks": [_stop]}),
    ],
)
def test_a_classifier_that_refuses_a_fit_is_as_before(given: tuple[Any, Any], options: dict[str, Any]) -> None:
    net = _made(NetClassifier).fit(X, ANTS)
    before, answers = dict(vars(net)), net.predict_proba(X)
    net.set_params(**options)
    with pytest.raises((ValueError, ArithmeticError)):
        net.fit(*given)
    net.set_params(**{name: before[name] for name in options})
    assert vars(net) == before
    np.testing.assert_array_equal(net.predict_proba(X), answers)
    assert set(net.predict(X)) <= {"ant", "bee"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("given", "options"),
    [
        ((X[:, :2], NUMBERS[:9]), {}),
        ((X[:, :2], np.full(40, np.inf)), {}),
        ((X, np.stack([NUMBERS, NUMBERS], axis=1)), {"callbacks": [_stop]}),
    ],
)
def test_a_regressor_that_refuses_a_fit_is_as_before(given: tuple[Any, Any], options: dict[str, Any]) -> None:
    net = _made(NetRegressor).fit(X, NUMBERS)
    before, answers = dict(vars(net)), net.predict(X)
    net.set_params(**options)
    with pytest.raises((ValueError, ArithmeticError)):
        net.fit(*given)
    net.set_params(**{name: before[name] for name in options})
    assert vars(net) == before
    np.testing.assert_array_equal(net.predict(X), answers)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_first_chunk_that_is_refused_does_not_count() -> None:
    net = _made(NetClassifier)
    with pytest.raises(ValueError, match="'cat'"):
        net.partial_fit(X[:, :2], CATS, classes=["ant", "bee"])
    assert "_trainer_" not in vars(net)
    net.partial_fit(X, CATS, classes=["cat", "dog"])
    other = _made(NetClassifier).partial_fit(X, CATS, classes=["cat", "dog"])
    np.testing.assert_array_equal(net.predict_proba(X), other.predict_proba(X))
