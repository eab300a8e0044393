"""The estimators as scikit-learn asks for them, and in its tools."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array, csc_array, csr_matrix
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import macrograd as mg
from macrograd import nn, optim
from macrograd import train as training
from macrograd.sklearn import NetClassifier, NetRegressor, recipe

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.normal(size=(120, 3))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
Z = 3.0 + X[:, 0] - 2.0 * X[:, 2]


def classifier(**options: Any) -> NetClassifier:
    return NetClassifier(**{"hidden": (6,), "epochs": 20, "random_state": 0, **options})


def regressor(**options: Any) -> NetRegressor:
    return NetRegressor(**{"hidden": (6,), "epochs": 20, "random_state": 0, **options})


# --- scikit-learn's own checks ----------------------------------------------------------------------------------------
# A hundred and twenty fits: half a minute. The nets are small, the code is the same.


@pytest.mark.parametrize("estimator", [NetClassifier(hidden=(8,), epochs=40), NetRegressor(hidden=(8,), epochs=40)])
def test_all_checks_of_scikit_learn_pass_and_none_is_expected_to_fail(estimator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks provoke what they look for
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    # scikit-learn runs this one only where SciPy's array API was switched on before it was imported.
    others = {r["check_name"]: r["status"] for r in results if r["check_name"] != "check_array_api_input"}
    assert set(others.values()) == {"passed"}, others
    assert {"check_dataframe_column_names_consistency", "check_sample_weights_pandas_series"} & set(others)


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_a_label_that_is_no_number_is_refused_without_a_warning_of_numpy(missing: float) -> None:
    y = np.where(np.arange(len(Y)) == 3, missing, Y)
    for make in (classifier, regressor):
        for labels in (y, y.tolist(), np.stack([y, y], axis=1), pd.DataFrame({"a": y, "b": y})):
            with pytest.raises(ValueError, match=r"(?i)y contains (NaN|infinity)"):  # a warning is an error here
                make().fit(X, labels)


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [classifier, regressor])
@pytest.mark.parametrize("options", [{"batch_size": 8, "early_stopping": early} for early in (True, False)])
def test_a_weight_is_that_many_repetitions_to_the_last_bit(make: Any, options: dict[str, Any]) -> None:
    y = Y if make is classifier else Z
    weights = rng.randint(0, 4, len(X))
    weighted = make(**options).fit(X, y, sample_weight=weights)
    rows = np.repeat(np.arange(len(X)), weights)
    rng.shuffle(rows)
    repeated = make(**options).fit(X[rows], y[rows])
    unweighted = make(**options).fit(X, y)
    answer = weighted.predict_proba if make is classifier else weighted.predict
    other = repeated.predict_proba if make is classifier else repeated.predict
    third = unweighted.predict_proba if make is classifier else unweighted.predict
    assert np.array_equal(answer(X), other(X))
    assert not np.array_equal(answer(X), third(X))


def test_balanced_class_weights_count_repetitions() -> None:
    rare = np.r_[np.flatnonzero(Y == 0), np.flatnonzero(Y == 1)[:6]]
    weights = np.where(Y[rare] == 1, 2, 1)
    a = classifier(class_weight="balanced").fit(X[rare], Y[rare], sample_weight=weights)
    again = np.repeat(rare, weights)
    b = classifier(class_weight="balanced").fit(X[again], Y[again])
    plain = classifier().fit(X[rare], Y[rare])
    assert np.array_equal(a.predict_proba(X), b.predict_proba(X))
    assert a.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean()


def test_distinct_sums_weights_and_sorts() -> None:
    rows = np.array([[2.0], [-0.0], [2.0], [0.0], [9.0]])
    X_, y, w = training.distinct(rows, np.array([1, 0, 1, 0, 1]), np.array([1.0, 2.0, 3.0, 4.0, 0.0]))
    found = {(x, t): weight for x, t, weight in zip(X_[:, 0], y, w, strict=True)}
    assert found == {(2.0, 1): 4.0, (0.0, 0): 6.0}


# --- scikit-learn's tools ---------------------------------------------------------------------------------------------


def test_pipelines_columns_and_grids() -> None:
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "city": np.where(X[:, 2] > 0, "Rome", "Oslo")})
    columns = ColumnTransformer(
        [("n", StandardScaler(), ["a", "b"]), ("c", OneHotEncoder(sparse_output=False), ["city"])]
    )
    pipeline = make_pipeline(columns, classifier()).set_output(transform="pandas")
    search = GridSearchCV(pipeline, {"netclassifier__hidden": [(4,), (8,)]}, cv=2).fit(frame, Y)
    assert search.best_score_ > 0.8
    best = search.best_estimator_[-1]
    assert list(best.feature_names_in_) == ["n__a", "n__b", "c__city_Oslo", "c__city_Rome"]
    assert list(best.get_feature_names_out()) == list(best.feature_names_in_)


def test_sparse_rows_are_the_rows_with_their_zeros() -> None:
    rows = np.where(np.abs(X) < 0.5, 0.0, X)
    for make, y in ((classifier, Y), (regressor, Z)):
        answer = make(epochs=2).fit(rows, y).predict(rows)
        for kind in (csr_matrix, csc_array, coo_array):
            assert np.array_equal(make(epochs=2).fit(kind(rows), y).predict(kind(rows)), answer)
    cities = np.array([["Rome"], ["Oslo"], ["Lima"]])[np.arange(120) % 3]
    assert make_pipeline(OneHotEncoder(), classifier()).fit(cities, cities[:, 0]).score(cities, cities[:, 0]) == 1.0
    wide = csr_matrix(([1.0], ([0], [0])), shape=(10**5, 10**5))
    with pytest.raises(ValueError, match="its 100000 rows of 100000 columns would take 80 GB with their zeros"):
        classifier().fit(wide, np.arange(10**5) % 2)


def test_cross_validation_calibration_and_importance() -> None:
    assert cross_val_score(regressor(epochs=40), X, Z, cv=3).min() > 0.8
    calibrated = CalibratedClassifierCV(classifier(), cv=2).fit(X, Y)
    assert calibrated.predict_proba(X).shape == (120, 2)
    fitted = classifier(epochs=40).fit(X, Y)
    importance = permutation_importance(fitted, X, Y, n_repeats=3, random_state=0).importances_mean
    assert importance[:2].min() > importance[2]


def test_files_copies_and_pictures(tmp_path: Path) -> None:
    fitted = classifier().fit(X, Y)
    joblib.dump(fitted, tmp_path / "net.joblib")
    assert np.array_equal(joblib.load(tmp_path / "net.joblib").predict_proba(X), fitted.predict_proba(X))
    again = pickle.loads(pickle.dumps(regressor().fit(X, Z)))  # noqa: S301 - made in the line
    assert again.predict_interval(X, 0.8).shape == (120, 2)
    assert "NetClassifier" in fitted._repr_html_()
    assert "fitted" in fitted._repr_html_()


@pytest.mark.parametrize(("kind", "columns"), [("predict", 1), ("probabilities", 2)])
def test_a_classifier_is_exported(tmp_path: Path, kind: str, columns: int) -> None:
    fitted = classifier().fit(X, Y)
    fitted.export(tmp_path / "net.c", kind=kind)
    assert "double" in (tmp_path / "net.c").read_text()


def test_what_is_exported_answers_as_the_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mg, "export", lambda function, *_, **__: function)
    fitted, numbers = classifier().fit(X, Y), regressor().fit(X, Z)
    shares = mg.compile(fitted.export("net.c", kind="probabilities"), batch=True)(X)
    assert np.allclose(shares, fitted.predict_proba(X), rtol=1e-12)
    low, middle, high = mg.compile(numbers.export("net.c", kind="interval"), batch=True)(X).T
    assert np.allclose(np.stack([low, high], axis=1), numbers.predict_interval(X), rtol=1e-12)
    assert np.allclose(middle, numbers.predict(X), rtol=1e-12)


# --- parameters -------------------------------------------------------------------------------------------------------


def own_loss(outputs: Any, target: Any) -> Any:
    return (outputs - target) ** 2 + 0.1 * abs(outputs - target)


def own_net(inputs: int, outputs: int, seed: int) -> nn.Module:
    return nn.MLP(inputs, [5, outputs], activation="tanh", init="glorot_normal", seed=seed)


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "tanh"}, {"optimizer": "adamw"}, {"optimizer": "sgd"}, {"optimizer": "momentum"},
        {"optimizer": "rmsprop"}, {"optimizer": optim.Adam(0.02)}, {"learning_rate": 0.02},
        {"learning_rate": optim.cosine(0.05, 0.0, 200)}, {"batch_size": 200}, {"early_stopping": 5},
        {"early_stopping": False}, {"make_net": own_net}, {"members": 2}, {"scale": "standard"}, {"l2": 1e-4},
        {"dtype": "float64"}, {"hidden": ()},
    ],
)  # fmt: skip
def test_every_parameter_learns(options: dict[str, Any]) -> None:
    assert regressor(epochs=60, **options).fit(X, Z).score(X, Z) > 0.8


@pytest.mark.parametrize("loss", ["absolute_error", "huber", own_loss])
def test_losses_of_numbers(loss: Any) -> None:
    # A loss of one's own sees targets as they are, around 3, and the net starts at 0.
    assert regressor(epochs=120, loss=loss).fit(X, Z).score(X, Z) > 0.8


@pytest.mark.parametrize("loss", ["hinge", "cross_entropy", "binary_cross_entropy"])
def test_losses_of_classes(loss: str) -> None:
    fitted = classifier(loss=loss, epochs=40).fit(X, Y)
    assert fitted.score(X, Y) > 0.85
    assert hasattr(fitted, "predict_proba") == (loss != "hinge")


def test_going_on() -> None:
    fitted = classifier(warm_start=True, epochs=5, early_stopping=True).fit(X, Y)
    before = fitted.history_.metrics["validation_loss"][-1]
    assert fitted.fit(X, Y).history_.metrics["validation_loss"][0] < 1.5 * before
    with pytest.raises(ValueError, match="warm_start continues with the classes"):
        fitted.fit(X, Y + 5)
    bit = classifier()
    for k in range(150):
        rows = slice(40 * (k % 3), 40 * (k % 3) + 40)
        bit.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
    assert list(bit.classes_) == [0, 1, 2]
    assert bit.score(X, Y) > 0.85
    with pytest.raises(ValueError, match="not in classes"):
        bit.partial_fit(X, Y + 5)


def test_few_rows_with_many_columns_are_learned() -> None:
    """The best epoch on nine rows of mostly noise is any: the fit has its full length, on all rows."""
    many = np.random.RandomState(0)
    few, others = many.normal(size=(60, 80)), many.normal(size=(500, 80))
    y, truth = (few[:, :5].sum(axis=1) > 0, others[:, :5].sum(axis=1) > 0)
    fitted = NetClassifier(hidden=(4,), members=1, random_state=0).fit(few, y)
    assert fitted.score(few, y) == 1.0
    assert "validation_loss" not in fitted.history_.metrics
    stopped = NetClassifier(hidden=(4,), members=1, random_state=0, early_stopping=True).fit(few, y)
    assert fitted.score(others, truth) > stopped.score(others, truth)


def test_the_best_epoch_is_chosen_by_fifty_rows_or_more() -> None:
    assert recipe.early_stopping("auto", 333, 0.15) is True
    assert recipe.early_stopping("auto", 323, 0.15) is False
    assert recipe.early_stopping("auto", 100, 0.5) is True
    assert [recipe.early_stopping(given, 10, 0.15) for given in (True, False, 7)] == [True, False, 7]
    with pytest.raises(ValueError, match="early_stopping must be 'auto', True, False or an integer"):
        recipe.early_stopping("never", 10, 0.15)


def test_intervals_of_small_tables_have_held_out_rows() -> None:
    fitted = regressor().fit(X, Z)
    assert len(fitted.scores_) == 18
    assert "validation_loss" not in fitted.history_.metrics
    assert fitted.predict_interval(X).shape == (120, 2)


def test_callbacks_are_called() -> None:
    seen: list[int] = []
    classifier(callbacks=[lambda run: seen.append(run.epoch)], epochs=4).fit(X, Y)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "absolute"}, "loss 'absolute' does not fit: use 'auto'"),
        ({"hidden": (0,)}, "a size in hidden must be an integer of at least 1"),
        ({"batch_size": 0}, "batch_size must be 'auto' or an integer of at least 1, got 0"),
        ({"epochs": "many"}, "epochs must be 'auto' or an integer"),
        ({"optimizer": "lbfgs"}, "optimizer 'lbfgs' is not known"),
        ({"learning_rate": -1.0}, "learning_rate must be 'auto', a number above 0"),
        ({"optimizer": optim.Adam(0.1), "learning_rate": 0.1}, "the optimizer has a rate already"),
        ({"validation_fraction": 1.5}, "validation_fraction must be between 0 and 1"),
        ({"early_stopping": 0}, "early_stopping must be 'auto', True, False or an integer of at least 1, got 0"),
        ({"scale": "minmax"}, "scale must be 'robust'"),
        ({"members": 0}, "members must be 'auto' or an integer"),
        ({"label_smoothing": 1.0}, "label_smoothing must be from 0 up to 1"),
        ({"class_weight": {7: 1.0}}, "class_weight names 7"),
        ({"class_weight": "even"}, "class_weight must be 'balanced'"),
    ],
)
def test_bad_parameters_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(**options).fit(X, Y)


def test_nothing_before_fit() -> None:
    for ask in (classifier().predict_proba, regressor().predict_interval, regressor().get_feature_names_out):
        with pytest.raises(NotFittedError):
            ask(X)
    with pytest.raises(NotFittedError):
        classifier().export("net.c")


def test_a_net_that_learned_nothing_warns() -> None:
    with pytest.warns(ConvergenceWarning, match="no better than the constant answer|the loss grew"):
        regressor(learning_rate=1e-12, early_stopping=False).fit(X, Z)


# --- intervals and probabilities --------------------------------------------------------------------------------------


def test_intervals_cover_what_they_promise() -> None:
    many = np.random.RandomState(5)
    A = many.normal(size=(3000, 2))
    t = A[:, 0] + 0.5 * many.standard_normal(3000)
    fitted = regressor(calibration_fraction=0.4, epochs=10).fit(A[:1500], t[:1500])
    low, high = fitted.predict_interval(A[1500:], 0.8).T
    # 600 scores and 1500 new rows: the standard deviation of the share is √(0.16/600 + 0.16/1500) = 0.019.
    assert abs(np.mean((low <= t[1500:]) & (t[1500:] <= high)) - 0.8) < 4 * 0.019
    with pytest.raises(ValueError, match=r"a coverage of 0.9999 needs 9999 or more"):
        fitted.predict_interval(A, 0.9999)
    with pytest.raises(ValueError, match="held out"):
        regressor(early_stopping=False).fit(X, Z).predict_interval(X)


def test_the_quantile_is_the_one_of_split_conformal_prediction() -> None:
    fitted = regressor(calibration_fraction=0.2).fit(X, Z)
    n = len(fitted.scores_)
    assert n == 24
    radius = fitted.scores_[20 - 1]  # ⌈25 · 0.8⌉ = 20
    assert np.array_equal(fitted.predict_interval(X, 0.8)[:, 1], fitted.predict(X) + radius)


def test_a_temperature_makes_probabilities_honest() -> None:
    many = np.random.RandomState(6)
    A = many.normal(size=(1500, 3))
    noisy = np.where(many.rand(1500) < 0.25, many.randint(0, 2, 1500), A[:, 0] > 0)
    hot = classifier(hidden=(32,), epochs=100, early_stopping=False, calibration_fraction=0.3, label_smoothing=0.0)
    fitted = hot.fit(A[:500], noisy[:500])
    assert fitted.temperature_ > 1.1  # it had learned its rows by heart
    logits = fitted.decision_function(A[500:])
    t = noisy[500:]

    def loss(z: Any) -> float:
        return float(np.mean(np.logaddexp(0.0, np.where(t == 1, -z, z))))

    assert loss(logits) < loss(logits * fitted.temperature_)


def test_several_targets() -> None:
    both = np.stack([Z, X[:, 1]], axis=1)
    fitted = regressor(epochs=60).fit(X, both)
    assert fitted.predict(X).shape == (120, 2)
    assert fitted.score(X, both) > 0.8
    assert fitted.predict_interval(X, 0.8).shape == (120, 2, 2)


# --- tables -----------------------------------------------------------------------------------------------------------


def people(n: int = 120) -> pd.DataFrame:
    frame = pd.DataFrame({"city": np.where(X[:n, 0] > 0, "Rome", "Oslo"), "size": X[:n, 1], "day": pd.NaT})
    frame["day"] = pd.date_range("2024-01-01", periods=n, freq="13D")
    frame.loc[3, "size"] = np.nan
    return frame


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_texts_dates_and_missing_values(library: str) -> None:
    frame: Any = people()
    shuffled: Any = frame[["day", "size", "city"]]
    if library == "polars":
        import polars

        frame, shuffled = polars.DataFrame(frame.to_dict("list")), polars.DataFrame(shuffled.to_dict("list"))
    elif library == "arrow":
        import pyarrow

        frame, shuffled = pyarrow.Table.from_pandas(frame), pyarrow.Table.from_pandas(shuffled)
    fitted = classifier(epochs=40).fit(frame, (X[:, 0] > 0).astype(int))
    assert fitted.score(frame, (X[:, 0] > 0).astype(int)) > 0.95
    assert list(fitted.feature_names_in_) == ["city", "size", "day"]
    assert {"city=Oslo", "city=Rome", "size missing", "day month"} <= set(fitted.get_feature_names_out())
    assert np.array_equal(fitted.predict_proba(frame), fitted.predict_proba(shuffled))
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - made in the line
    assert np.array_equal(again.predict_proba(frame), fitted.predict_proba(frame))
    with pytest.raises(ValueError, match="fitted on a table with named columns"):
        fitted.predict(X)


def test_a_column_that_is_missing_is_named() -> None:
    fitted = classifier().fit(people(), Y)
    with pytest.raises(ValueError, match="lacks 'city'"):
        fitted.predict(people()[["size", "day"]])


def test_the_model_of_an_estimator_is_saved_whole(tmp_path: Any, capsys: Any) -> None:
    """Labels, categories and scales live in the file that the command reads."""
    from macrograd.cli import main

    X = pd.DataFrame({"city": ["Rome", "Oslo", "Oslo"] * 10, "size": [float(k % 7) for k in range(30)]})
    y = np.array(["no", "yes", "yes"] * 10)
    net = NetClassifier(hidden=(4,), epochs=20, random_state=0).fit(X, y)
    path = mg.save(net.model_, tmp_path / "m.safetensors")
    again = mg.Trainer(mg.load(path))
    assert again.predict(X[["size", "city"]]).tolist() == net.predict(X).tolist()
    assert np.allclose(again.probabilities(X), net.predict_proba(X), rtol=1e-12)
    X.to_csv(tmp_path / "t.csv", index=False)
    assert main(["predict", str(path), str(tmp_path / "t.csv")]) == 0
    assert [line.rsplit(",", 1)[1] for line in capsys.readouterr().out.splitlines()[1:]] == net.predict(X).tolist()


def test_wide_tables_get_fewer_members() -> None:
    assert [recipe.members("auto", (n, 32, 32, 2)) for n in (10, 600, 1200, 5000)] == [4, 4, 2, 1]
    assert recipe.members(7, (5000, 32, 2)) == 7
    with pytest.raises(ValueError, match="members must be 'auto' or an integer of at least 1, got 0"):
        NetClassifier(members=0).fit(X, Y)


# --- several labels for a sample --------------------------------------------------------------------------------------

LABELS = np.stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 0, X[:, 2] > 0.5], axis=1).astype(int)


def test_columns_of_labels_are_learned_one_by_one() -> None:
    fitted = classifier(epochs=60).fit(X, LABELS)
    assert fitted.score(X, LABELS) > 0.8  # all labels of a sample right
    assert fitted.classes_.tolist() == [0, 1, 2]
    shares, answers = fitted.predict_proba(X), fitted.predict(X)
    assert shares.shape == answers.shape == fitted.decision_function(X).shape == (120, 3)
    assert np.array_equal(answers, (shares > 0.5).astype(int))
    assert np.allclose(shares, 1.0 / (1.0 + np.exp(-fitted.decision_function(X))))
    short = classifier(epochs=1).fit(X, LABELS).predict_proba(X)
    for other in (pd.DataFrame(LABELS, columns=["a", "b", "c"]), csr_matrix(LABELS), LABELS.astype(float)):
        assert np.array_equal(classifier(epochs=1).fit(X, other).predict_proba(X), short)
    one_each = np.eye(3, dtype=int)[np.arange(120) % 3]  # labels all the same, though each row has one
    assert classifier(epochs=1).fit(X, one_each).predict_proba(X).sum(axis=1).std() > 1e-3


def test_columns_of_labels_in_all_ways_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = rng.randint(1, 4, size=120)
    plain = classifier(epochs=3).fit(X, LABELS, sample_weight=weights)
    repeated = classifier(epochs=3).fit(np.repeat(X, weights, axis=0), np.repeat(LABELS, weights, axis=0))
    assert np.array_equal(plain.predict_proba(X), repeated.predict_proba(X))
    more = classifier()
    for _ in range(2):
        more.partial_fit(X, LABELS)
    assert more.predict(X).shape == (120, 3)
    again = mg.Trainer(mg.load(mg.save(plain.model_, tmp_path / "m.safetensors")))
    assert np.array_equal(again.predict(X), plain.predict(X))
    assert np.allclose(again.probabilities(X), plain.predict_proba(X), rtol=1e-12)
    monkeypatch.setattr(mg, "export", lambda function, *_, **__: function)
    shares = mg.compile(plain.export("net.c", kind="probabilities"), batch=True)(X)
    assert np.allclose(shares, plain.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({}, LABELS * 2, "must hold 0 and 1"),
        ({}, LABELS * 2 - 1, "must hold 0 and 1"),
        ({}, np.array([["a", "b"]] * 120), "MultiOutputClassifier"),
        ({}, LABELS[:60], "120 samples and y 60 labels"),
        ({"loss": "hinge"}, LABELS, "is for one label per sample"),
        ({"loss": "cross_entropy"}, LABELS, "is for one label per sample"),
        ({"class_weight": {0: 1.0}}, LABELS, "for 3 labels: give 'balanced', or a list with a dict of the weights"),
        ({"class_weight": [{0: 1.0}] * 2}, LABELS, "for 3 labels: give 'balanced', or a list with a dict"),
        ({"class_weight": [{0: 1.0}, {1: 2.0}, {2: 1.0}]}, LABELS, "names the label 2, which y does not have"),
        ({"class_weight": "even"}, LABELS, "class_weight must be 'balanced'"),
    ],
)
def test_columns_that_are_not_labels_are_refused(options: dict[str, Any], y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(**options).fit(X, y)


@pytest.mark.parametrize("given", ["balanced", [{1: 3.0}, {1: 0.5}, {}]], ids=str)
def test_class_weights_of_labels_count_repetitions(given: Any) -> None:
    times = np.arange(120) % 3 + 1
    again = np.repeat(np.arange(120), times)
    repeated = classifier(class_weight=given).fit(X[again], LABELS[again])
    weighted = classifier(class_weight=given).fit(X, LABELS, sample_weight=times.astype(float))
    assert np.array_equal(repeated.predict_proba(X), weighted.predict_proba(X))
    assert not np.allclose(repeated.predict_proba(X), classifier().fit(X[again], LABELS[again]).predict_proba(X))


def test_labels_do_not_become_classes_or_others() -> None:
    fitted = classifier(epochs=1, warm_start=True).fit(X, LABELS)
    for other in (LABELS[:, :2], Y):
        with pytest.raises(ValueError, match="3 columns before" if other is not Y else "warm_start"):
            fitted.fit(X, other)
        with pytest.raises(ValueError, match="3 columns before"):
            fitted.partial_fit(X, other, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="had one label before"):
        classifier(epochs=1).fit(X, Y).partial_fit(X, LABELS[:, :2], classes=[0, 1])
