"""A fit that is refused leaves an estimator as it was: a net must not get the classes and columns of other data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from macrograd import _memory, nn
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


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        (NetClassifier, {}, "a net of 3-3-1 with members=4 has 76 parameters to train"),
        (NetRegressor, {"hidden": (9, 5), "members": 2}, "a net of 3-9-5-1 with members=2 has 190 parameters to train"),
    ],
)
def test_a_net_beyond_the_memory_is_refused_before_it_is_made(
    kind: Any, options: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_memory, "COUNTED", 1)
    monkeypatch.setattr(_memory, "there", lambda: 40_000)
    monkeypatch.setattr(nn, "Tabular", type("Never", (), {"count": nn.Tabular.count}))  # takes no arguments
    net = _made(kind).set_params(**options)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        net.fit(X, ANTS if kind is NetClassifier else NUMBERS)
    assert str(caught.value) == (
        f"{told}, which take some 0.0 GiB of memory, and the machine has 0.0: choose or combine columns first, as by "
        "sklearn.feature_selection.SelectKBest or sklearn.decomposition.TruncatedSVD, or take a smaller `hidden` or "
        "fewer members"
    )
