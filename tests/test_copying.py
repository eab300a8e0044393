"""Pickle, copy and process pools: whatever the library hands out can be held by them, and comes back the same."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, copying, datasets, nn, ops, optim, tables
from macrograd.train import EarlyStopping, History

PROTOCOLS = [2, 3, 4, 5]


def pickled(thing: Any, protocol: int = 5) -> Any:
    return pickle.loads(pickle.dumps(thing, protocol))  # noqa: S301 - written just now


WAYS: dict[str, Callable[[Any], Any]] = {
    **{f"protocol {k}": lambda x, k=k: pickled(x, k) for k in PROTOCOLS},
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return WAYS[request.param]


# --- operations and graphs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ops.TABLE, ids=lambda op: op.name)
def test_an_operation_stays_itself(op: ops.Op, way: Callable[[Any], Any]) -> None:
    assert way(op) is op
    assert copy.copy(op) is op


def test_a_graph_keeps_numbers_names_sharing_and_order(way: Callable[[Any], Any]) -> None:
    a, b = Value(1.5, "a"), Value(-2.0, "b")
    shared = a * b
    out = mg.dot([shared, a, 2.0], [b, shared, shared]) + shared.tanh()
    out.backward()
    found, known = way((out, {"a": a, "shared": shared}))
    assert (found.data, found.grad, found.op) == (out.data, 1.0, ops.add)
    dot = found.inputs[0]
    assert dot.inputs[0] is known["shared"] is found.inputs[1].inputs[0]
    assert dot.inputs[2] is known["a"] is known["shared"].inputs[0]
    assert (known["a"].label, known["a"].grad) == ("a", a.grad)
    for x in (a, known["a"]):
        x.grad = 0.0
    out.backward()
    found.backward()
    assert known["a"].grad == a.grad


def test_a_constant_stays_a_constant(way: Callable[[Any], Any]) -> None:
    out = way(Value(2.0) * 3)
    assert out.inputs[1].op is ops.CONSTANT
    out.backward()
    assert (out.inputs[0].grad, out.inputs[1].grad) == (3.0, 0.0)


def test_gradients_that_are_values_refer_back(way: Callable[[Any], Any]) -> None:
    x = Value(0.5, "x")
    (x**3).backward(create_graph=True)
    found = way(x)
    slope = found.grad
    found.grad = 0.0
    slope.backward()
    assert found.grad == pytest.approx(3.0)


@pytest.mark.parametrize("form", ["chain", "sums", "slopes"])
def test_a_long_chain_does_not_recurse(form: str, way: Callable[[Any], Any]) -> None:
    x = Value(0.5)
    out = x
    for _ in range(5_000):
        out = mg.sum([out, x, 0.1]) if form == "sums" else (out * x + 0.1)
    if form == "slopes":
        out.backward(create_graph=True)
    found = way(out)
    assert found.data == out.data
    depth = 0
    while found.inputs:
        found, depth = found.inputs[0], depth + 1
    assert depth == (5_000 if form == "sums" else 10_000)


def test_what_pickle_could_not_write_leaves_no_trace() -> None:
    x = Value(0.5)
    out = x * x
    for _ in range(5_000):
        out = out + x
    x.label = lambda: None
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(out)
    assert not copying.being_pickled()
    x.label = ""
    assert pickled(out).data == out.data


def test_copy_copies_one_value() -> None:
    x = Value(3.0, "x")
    out = x * 2
    other = copy.copy(out)
    assert other is not out
    assert (other.data, other.op, other.inputs) == (out.data, out.op, out.inputs)
    assert copy.copy(x).label == "x"


class Named(Value):
    """A user's class with additional attributes."""


def test_a_class_of_ones_own_keeps_its_attributes(way: Callable[[Any], Any]) -> None:
    x = Named(2.0)
    x.unit = "m"
    found = way([x, x * 2])
    assert (type(found[0]), found[0].unit, found[1].inputs[0]) == (Named, "m", found[0])
    assert copy.copy(x).unit == "m"


# --- nets, optimisers, schedules --------------------------------------------------------------------------------------


class Wrapped(nn.Module):
    def __init__(self) -> None:
        self.net = nn.MLP(3, [4, 2], activation=["tanh"], output_activation=ops.sigmoid, seed=1)
        self.drop = nn.Dropout(0.25)
        self.table = {"scale": Value(0.5)}

    def __call__(self, x: Any) -> Any:
        return self.net(self.drop(x))


@pytest.mark.parametrize("activation", nn.activations.ACTIVATIONS)
def test_nets(activation: str, way: Callable[[Any], Any]) -> None:
    net = nn.MLP(2, [3, 1], activation=activation, seed=5)
    net.layers[0].freeze()
    found = way(net)
    assert found([0.3, -0.7]).data == net([0.3, -0.7]).data
    assert len(found.parameters()) == len(net.parameters()) == 4
    assert repr(found) == repr(net)


def test_modules_of_ones_own(way: Callable[[Any], Any]) -> None:
    model = Wrapped()
    found = way(model)
    assert [p.data for p in found([1.0, 2.0, 3.0])] == [p.data for p in model([1.0, 2.0, 3.0])]
    assert list(found.named_parameters()) == list(model.named_parameters())


def falling(k: int) -> float:
    return 0.1 / (1 + k)


def plain_rule(p: Any, g: Any, state: Any, rate: Any, step: Any) -> Any:
    return p - rate * g, state


SCHEDULES = {
    "constant": optim.constant(0.1),
    "linear": optim.linear(1.0, 0.1, 100),
    "step": optim.step(0.1, 0.5, 10),
    "exponential": optim.exponential(0.1, 0.99),
    "cosine": optim.cosine(0.1, 0.0, 50),
    "warm-up": optim.warm_up(optim.cosine(0.1, 0.0, 50), 10),
    "warm-up to a function": optim.warm_up(falling, 10),
    "own": optim.Schedule(falling, "falling"),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str, way: Callable[[Any], Any]) -> None:
    schedule = SCHEDULES[name]
    found = way(schedule)
    assert [found(k) for k in range(120)] == [schedule(k) for k in range(120)]
    assert repr(found) == repr(schedule)


OPTIMIZERS: dict[str, Callable[[], optim.Optimizer]] = {
    "sgd": lambda: optim.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: optim.RMSProp(0.1, momentum=0.5, centered=True),
    "adam": lambda: optim.Adam(optim.cosine(0.1, 0.0, 10)),
    "adamw": lambda: optim.AdamW(falling),
    "rule": lambda: optim.Rule(plain_rule, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_go_on_where_they_were(name: str, way: Callable[[Any], Any]) -> None:
    model, optimizer = nn.Neuron(2, seed=1), OPTIMIZERS[name]()

    def step(model: nn.Neuron, optimizer: optim.Optimizer) -> None:
        loss = (model([0.5, 2.0]) - 3.0) ** 2
        model.zero_grad()
        loss.backward()
        optimizer.step(model.parameters())

    step(model, optimizer)
    other, copied = way((model, optimizer))
    for _ in range(3):
        step(model, optimizer)
        step(other, copied)
    assert [p.data for p in other.parameters()] == [p.data for p in model.parameters()]
    assert copied.steps == 4


# --- training ---------------------------------------------------------------------------------------------------------


X, Y = datasets.make_moons(40, noise=0.1, seed=3)


def trained(engine: str = "compiled", loss: Any = "hinge") -> mg.Trainer:
    trainer = mg.Trainer(nn.MLP(2, [4, 1], seed=1), loss, optim.Adam(0.05), engine=engine, l2=1e-4)
    trainer.fit(X, Y, steps=6, batch_size=10, progress="none", metrics="accuracy" if loss == "hinge" else ())
    trainer.predict_one(X[0])
    return trainer


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_a_trainer_goes_on_with_the_same_bits(engine: str, way: Callable[[Any], Any]) -> None:
    trainer = trained(engine)
    found = way(trainer)
    assert found.history == trainer.history
    assert np.array_equal(found.predict(X), trainer.predict(X))
    assert found.predict_one(X[3]) == trainer.predict_one(X[3])
    for each in (trainer, found):
        each.fit(X, Y, steps=5, batch_size=10, progress="none")
    assert found.history.losses == trainer.history.losses
    assert [p.data for p in found.model.parameters()] == [p.data for p in trainer.model.parameters()]
    assert not {id(p) for p in found.model.parameters()} & {id(p) for p in trainer.model.parameters()}


def test_a_trainer_before_its_first_fit(way: Callable[[Any], Any]) -> None:
    found = way(mg.Trainer(nn.MLP(2, [4, 1], seed=1)))
    with pytest.raises(RuntimeError, match="call fit first"):
        found.predict(X)


@pytest.mark.parametrize(
    "thing",
    [EarlyStopping(3), datasets.make_moons(5, seed=1), History(), ops.exp, nn.losses.hinge, mg.softmax],
    ids=["early stopping", "data", "history", "op", "loss", "function"],
)
def test_parts(thing: Any, way: Callable[[Any], Any]) -> None:
    found = way(thing)
    if isinstance(thing, tuple):
        assert all(np.array_equal(a, b) for a, b in zip(found, thing, strict=True))
    else:
        assert found == thing


def test_a_table_its_plan_and_its_target(way: Callable[[Any], Any]) -> None:
    columns = {"size": np.array([1.0, 2.0, 3.0, 5.0]), "kind": np.array(["x", "y", "x", "y"], dtype=object)}
    table = tables.Table(columns, "the table")
    plan, target = tables.plan_of(table, "kind"), tables.target_of(table, "kind")
    found, its_plan, its_target = way((table, plan, target))
    assert list(found) == list(table)
    assert np.array_equal(its_plan.numbers(found)[0], plan.numbers(table)[0])
    assert np.array_equal(its_target.y, target.y)


def test_errors_come_back_from_a_process(way: Callable[[Any], Any]) -> None:
    for error in (mg.TraceError("a"), mg.CompileWarning("b"), mg.train.DivergedError("c")):
        found = way(error)
        assert (type(found), found.args) == (type(error), error.args)


# --- compiled functions and derivatives -------------------------------------------------------------------------------


W = [Value(0.5, "w0"), Value(-1.0, "w1")]


def weighted(x: Any) -> Any:
    return mg.tanh(x[0] * W[0] + x[1] * W[1])


@mg.compile
def decorated(x: Any) -> Any:
    return weighted(x) * 2


def square(x: Any) -> Any:
    return x[0] * x[0] * x[1]


DERIVED = {
    "grad": mg.grad(square),
    "value_and_grad": mg.value_and_grad(square),
    "jacobian": mg.jacobian(square),
    "hessian": mg.hessian(square),
    "twice": mg.jacobian(mg.grad(square)),
}


@pytest.mark.parametrize("name", DERIVED)
def test_derivatives(name: str, way: Callable[[Any], Any]) -> None:
    function = DERIVED[name]
    found = way(function)
    assert found([2.0, 3.0]) == function([2.0, 3.0])
    assert found.__name__ == function.__name__
    compiled = way(mg.compile(function))
    assert str(compiled([2.0, 3.0])) == str(mg.compile(function)([2.0, 3.0]))


def test_a_compiled_function_is_compiled_again(way: Callable[[Any], Any]) -> None:
    model = Wrapped()
    compiled = mg.compile(model, batch=True, dtype="float32", strict=True)
    rows = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])
    expected = compiled(rows)
    other, found = way((model, compiled))
    assert len(found.parameters) == len(compiled.parameters)  # known before its first call, as before
    assert {id(p) for p in found.parameters} <= {id(p) for p in other.parameters()}
    assert np.array_equal(found(rows), expected)
    assert (found.batch, found.dtype, found.strict) == (True, np.float32, True)
    for p in other.parameters():
        p.data = 0.0
    assert np.array_equal(found(rows), np.full((2, 2), 0.5, np.float32))
    assert np.array_equal(compiled(rows), expected)


def test_a_decorated_function_is_its_name(way: Callable[[Any], Any]) -> None:
    assert way(decorated) is decorated


def test_bound_calls_say_what_to_do(way: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"a bound call of decorated holds memory of this process .* bind\(\) it again"):
        way(decorated.bind([1.0, 2.0]))


# --- what cannot be pickled -------------------------------------------------------------------------------------------


def own_loss(p: Any, t: Any) -> Any:
    return (p - t) ** 2


def local() -> Callable[..., Any]:
    def inner(p: Any, t: Any = 0.0) -> Any:
        return (p - t) ** 2

    return inner


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "loss": (
        lambda: mg.Trainer(nn.MLP(2, [1]), lambda p, t: (p - t) ** 2),
        r"this Trainer cannot be pickled: its loss is a lambda \(.*test_copying.py:\d+\), and pickle stores a function",
    ),
    "penalty": (
        lambda: mg.Trainer(nn.MLP(2, [1]), penalty=local()),
        "this Trainer .* its penalty is the local function inner",
    ),
    "schedule": (lambda: optim.SGD(lambda k: 0.1), "this SGD .* its schedule is a lambda"),
    "rule": (lambda: optim.Rule(lambda *a: (a[0], ())), "this Rule .* its rule is a lambda"),
    "activation": (lambda: nn.MLP(2, [2, 1], activation=lambda x: x * x), "this Neuron .* its activation is a lambda"),
    "compiled": (lambda: mg.compile(local()), "the compiled inner .* its function is the local function inner"),
    "derivative": (lambda: mg.grad(lambda x: x * x), r"grad\(<lambda>\) cannot be pickled: its function is a lambda"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_functions_without_a_name_are_refused_in_words(name: str) -> None:
    make, message = REFUSED[name]
    thing = make()
    for protocol in PROTOCOLS:
        with pytest.raises(TypeError, match=message + ".*|.*Define it with def at the top level"):
            pickle.dumps(thing, protocol)
    copy.deepcopy(thing)


def test_an_own_loss_with_a_name_is_fine(way: Callable[[Any], Any]) -> None:
    trainer = trained(loss=own_loss)
    assert np.array_equal(way(trainer).predict(X), trainer.predict(X))


# --- other processes --------------------------------------------------------------------------------------------------


def in_a_process(trainer: mg.Trainer, function: Any, graph: Value) -> tuple[Any, Any, Value, mg.Trainer]:
    graph.backward()
    trainer.fit(X, Y, steps=5, batch_size=10, progress="none")
    return trainer.predict(X), function([1.0, 2.0]), graph, trainer


def test_a_spawned_process_pool() -> None:
    trainer, x = trained(), Value(0.5, "x")
    graph = x * x + 1.0
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        job = pool.submit(in_a_process, trainer, mg.compile(weighted), graph)
        named = pool.submit(decorated, [1.0, 2.0])
        predictions, number, found, there = job.result(timeout=600)
        assert named.result(timeout=600) == decorated([1.0, 2.0])
    trainer.fit(X, Y, steps=5, batch_size=10, progress="none")
    assert there.history.losses == trainer.history.losses
    assert np.array_equal(predictions, trainer.predict(X))
    assert number == mg.compile(weighted)([1.0, 2.0])
    assert (found.data, found.inputs[0].inputs[0].grad, x.grad) == (1.25, 1.0, 0.0)
