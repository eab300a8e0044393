"""Mistakes of beginners, and the habits of other libraries: each error names the thing, the values and the remedy."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import losses, nn, optim, show, tables

X, Y = np.array([[0.0, 1.0], [1.0, 0.0]]), [0, 1]


def model() -> nn.MLP:
    return nn.MLP(2, [2, 1], seed=0)


def trainer() -> mg.Trainer:
    return mg.Trainer(model())


# --- names of other libraries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("get", "said"),
    [
        (lambda: model().fit(X, Y), r"this MLP has no attribute 'fit': mg.Trainer\(model\).fit\(X, y\) trains it"),
        (lambda: model().forward([1, 2]), r"no attribute 'forward': call the model"),
        (lambda: model().eval(), "a model has no modes"),
        (lambda: model().state_dict(), r"mg.save\(model, path\)"),
        (lambda: nn.Layer(2, 2).wight, "this Layer has no attribute 'wight'$"),
        (
            lambda: trainer().predict_proba(X),
            r"a Trainer has no attribute 'predict_proba': write trainer.probabilities",
        ),
        (lambda: trainer().save("x"), r"write mg.save\(trainer, path\)"),
        (lambda: optim.Adam(0.1).zero_grad(), r"Adam has no attribute 'zero_grad': .* model.zero_grad\(\)"),
        (lambda: mg.Value(1.0).item(), r"a Value has no attribute 'item': value.data is the plain number"),
        (lambda: mg.Value(1.0).detach(), r"a Value has no attribute 'detach': write mg.detach\(value\), or value.data"),
        (lambda: mg.Value(1.0).requires_grad, r"'requires_grad': every Value has a gradient; write mg.detach"),
        (
            lambda: mg.Vector([mg.Value(1.0)]).backward(),
            r"a Vector has no attribute 'backward': .* call backward\(\) on",
        ),
        (lambda: mg.Vector([1.0]).mean(), r"a Vector has no attribute 'mean': write mg.mean\(x\)"),
        (lambda: mg.tensor([1.0]), r"module 'macrograd' has no attribute 'tensor': numbers are mg.Value"),
        (lambda: mg.vmap, r"write mg.compile\(f, batch=True\)"),
        (lambda: nn.Linear(2, 16), r"module 'macrograd.nn' has no attribute 'Linear': nn.Layer\(2, 16\)"),
    ],
)
def test_a_name_of_another_library_leads_to_its_counterpart(get: Callable[[], Any], said: str) -> None:
    with pytest.raises(AttributeError, match=said):
        get()


def test_python_suggests_the_nearest_name() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = mg.tahn
    assert (caught.value.name, caught.value.obj) == ("tahn", mg)


@pytest.mark.parametrize("thing", [model(), trainer(), optim.Adam(0.1)])
def test_what_is_copied_and_pickled_has_the_same_attributes(thing: Any) -> None:
    for twin in (copy.copy(thing), copy.deepcopy(thing), pickle.loads(pickle.dumps(thing))):  # noqa: S301 - our own
        assert repr(twin) == repr(thing)
        assert not hasattr(twin, "forward")


def test_the_parameters_are_given_in_every_step() -> None:
    for given in ({"lr": 0.1}, {}):
        with pytest.raises(
            TypeError, match="an optimiser takes the learning rate first, and the parameters in every step"
        ):
            optim.Adam(model().parameters(), **given)


# --- values that fit nowhere ------------------------------------------------------------------------------------------


class Forgetful(nn.Module):
    def __init__(self) -> None:
        self.w = mg.Value(1.0)

    def __call__(self, x: Any) -> None:
        x[0] * self.w


class Numpyish(Forgetful):
    def __call__(self, x: Any) -> Any:
        return np.tanh(x[0] * self.w)


def wrong(predictions: Any, targets: Any) -> str:
    return "a"


def ungraded() -> mg.Value:
    value = mg.Value(1.0)
    value.grad = None
    return value


MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.MLP(2, [1], activation="rleu"), ValueError, "unknown activation 'rleu': use one of"),
    (lambda: nn.Dropout("half"), ValueError, "a number of at least 0 and less than 1, got 'half'"),
    (lambda: optim.Adam(0.1, betas=0.9), ValueError, r"Adam betas must be two numbers, as in \(0.9, 0.999\), got 0.9"),
    (lambda: optim.warm_up(0.1, "ten"), TypeError, r"warm_up\(\) takes an integer number of steps, got 'ten'"),
    (lambda: losses.hinge("a", 1), TypeError, r"hinge\(\) takes numbers and Values, got 'a' of type str"),
    (lambda: losses.squared_error(None, 1.0), TypeError, r"squared_error\(\) takes numbers and Values, got None"),
    (lambda: mg.Trainer(None), TypeError, r"Trainer\(\) takes a Module, got None of type NoneType"),
    (lambda: mg.save(3, "x"), TypeError, r"save\(\) takes a Module or a Trainer, got 3 of type int"),
    (lambda: mg.Ensemble(3), TypeError, "takes a list of Trainers or models, got one int"),
    (
        lambda: trainer().fit("data.csv", "y"),
        TypeError,
        r"got 'data.csv': read a file with macrograd.tables.read\(path\)",
    ),
    (
        lambda: trainer().fit(X, Y, callbacks=3),
        TypeError,
        r"callbacks must be a Callback, a function \(run\), or a list",
    ),
    (lambda: mg.linalg.solve([[1, 2]], [1]), ValueError, "takes a square matrix, and got 1 row of 2 numbers"),
    (lambda: mg.linalg.det([]), ValueError, "got 0 rows of no numbers"),
    (lambda: mg.implicit(lambda x: x * x + 1.0, 1.0), ValueError, r"implicit\(\): the slope of the residual is 0, at"),
    (lambda: mg.implicit(lambda x: x, "a"), TypeError, "got 'a' of type str in place of numbers and Values"),
    (lambda: mg.linalg.solve([[1.0]], 5), TypeError, "takes a list on the right side, of length 1, got 5"),
    (lambda: mg.tuning.Uniform("a", 1), TypeError, "both ends must be numbers, got 'a'"),
    (
        lambda: mg.Trainer(Forgetful()).fit(X, Y),
        TypeError,
        "returned None for a sample: is a return missing in Forgetful",
    ),
    (lambda: mg.Trainer(Numpyish()).fit(X, Y), TypeError, r"np\.tanh\(\) .*: write mg\.tanh\(x\)"),
    (
        lambda: mg.Trainer(model(), optimizer=optim.SGD(lambda k: "a")).fit(X, Y),
        TypeError,
        "gives the rate 'a' at step 0",
    ),
    (lambda: trainer().fit(X, Y, metrics=[wrong]), TypeError, "the metric wrong must return a number, got 'a'"),
    (lambda: optim.SGD(0.1).step([ungraded()]), TypeError, r"a gradient of None: p.grad = 0.0"),
    (lambda: mg.rounding(3), TypeError, "takes a function, got 3 of type int"),
    (lambda: tables.Table(3), TypeError, r"Table\(columns\) takes a mapping of names to columns, got 3"),
    (lambda: show.sweep(3), TypeError, "draws what mg.sweep returned, got 3 of type int"),
    (lambda: show.history(3), TypeError, "got 3 of type int"),
    (lambda: show.activations(model(), X[:, :1]), ValueError, "this MLP takes 2 inputs, got 1"),
    (
        lambda: show.boundary(model(), X[:, :1], Y),
        ValueError,
        r"\(n, 2\), got \(2, 1\). Train a model on two columns, or",
    ),
]


@pytest.mark.parametrize(("call", "kind", "said"), MISTAKES)
def test_an_error_names_the_values_and_the_remedy(call: Callable[[], Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        call()


def test_names_of_elsewhere_are_not_listed() -> None:
    for x in (mg.Value(1.0), mg.Vector([1.0])):
        assert not {"item", "detach", "numpy", "data_ptr"} & set(dir(x))
        assert not hasattr(x, "item")
        assert "tanh" in dir(x)


# --- NumPy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda v: np.exp(v),
            r"np.exp\(\) computes with arrays, and a Value is one number .*: write mg.exp\(x\), or value.data",
        ),
        (lambda v: np.maximum(v, 0.0), r"write mg.maximum\(a, b\), or"),
        (lambda v: np.arctan2(0.0, v), r"write mg.atan2\(a, b\), or"),
        (lambda v: np.sum(v), r"np.add.reduce\(\) .*: write mg.sum\(xs\)"),
        (lambda v: np.isnan(v), r"np.isnan\(\) .*: write value.data for the number alone"),
        (lambda v: np.ones(2) * v, r"no arithmetic with an array of shape \(2,\): loop over the elements"),
        (lambda v: np.ones(2) < v, r"no arithmetic with an array of shape \(2,\)"),
        (lambda v: np.ones((2, 3)).__iadd__(v), r"no arithmetic with an array of shape \(2, 3\)"),
        (lambda v: np.float64(2.0) // v, "// is not supported on Value"),
    ],
)
def test_a_function_of_numpy_leads_to_ours(call: Callable[[Any], Any], said: str) -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match=said):
            call(mg.Value(0.5))


MASKED = np.ma.array([[0.0, 1.0], [1.0, 0.0]], mask=[[False, True], [False, False]])


@pytest.mark.parametrize(
    "call",
    [
        lambda path: mg.minimize(lambda x: x[0] * x[0] + x[1] * x[1], MASKED[0]),
        lambda path: mg.least_squares(lambda x: [x[0], x[1]], MASKED[0]),
        lambda path: mg.train_many(trainer(), X, Y, starts=np.ma.array(np.ones((1, 9)), mask=[[True] + [False] * 8])),
        lambda path: mg.Trainer(model()).fit(list(MASKED), Y),
        lambda path: mg.Trainer(model()).fit((X[0], MASKED[0]), Y),
        lambda path: mg.datasets.make_blobs(4, centers=MASKED),
        lambda path: mg.datasets.make_blobs(4, centers=2, cluster_std=MASKED[0]),
        lambda path: show.activations(model(), MASKED),
        lambda path: show.landscape(model(), X, MASKED[0], loss="hinge"),
        lambda path: show.attribution(model(), MASKED[0]),
        lambda path: show.attribution(model(), X[0], baseline=MASKED[0]),
        lambda path: show.boundary(model(), MASKED, Y),
        lambda path: show.boundary(model(), X, MASKED[0]),
        lambda path: mg.export(lambda x: x[0], path / "f.c", X[0], dtype="int8", calibration=MASKED),
    ],
)
@pytest.mark.filterwarnings("ignore")  # NumPy's, about NaN: what is said must not need it
def test_what_is_masked_is_no_number(call: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r" is masked at \[.*\], so there is no number: fill"):
        call(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_one_masked_number_is_none() -> None:
    for call in (mg.Value, mg.grad(lambda x: x * x), lambda x: mg.maximum(x, mg.Value(1.0))):
        with pytest.raises(TypeError, match="masked"):
            call(MASKED[0, 1])


def test_numbers_of_numpy_on_the_left_are_numbers() -> None:
    v = mg.Value(0.5)
    for two in (np.float64(2.0), np.float32(2.0), np.int64(2), np.array(2.0)):
        for _ in range(2):  # the second time by another way
            for found, expected in [
                (two + v, 2.5), (two - v, 1.5), (two * v, 1.0), (two / v, 4.0), (two**v, 2.0**0.5),
            ]:  # fmt: skip
                assert isinstance(found, mg.Value)
                assert found.data == expected
        assert [two < v, two <= v, two > v, two >= v, two == v, two != v] == [False, False, True, True, False, True]
    f = mg.compile(lambda x: np.float64(2.0) / x + (np.float64(1.0) < x) * x)
    assert [float(f(x)) for x in (0.5, 4.0)] == [4.0, 4.5]


def test_a_polygamma_of_no_order_is_no_number() -> None:
    found = [mg.polygamma(n, 2.0) for n in (1.0, 1.5, 0.0, -1.0)]
    assert [bool(np.isnan(x)) for x in found] == [False, True, True, True]
