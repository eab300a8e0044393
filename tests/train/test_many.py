"""`train_many`: every member has the history and the parameters of its run alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, nn, optim
from macrograd.compiler.jit import native
from macrograd.train import DivergedError, EarlyStopping, Many, TrainingWarning
from macrograd.value import CONSTANT

X, y = mg.datasets.make_moons(30, noise=0.1, seed=1)
FOLDS = [np.flatnonzero(np.arange(30) % 5 != k) for k in range(5)]
COUNT, DIVERGING = 8, 2


def make(k: int, **options: Any) -> mg.Trainer:
    """Members of two architectures; their rates differ, and one of these is far too large."""
    net = nn.MLP(2, [3 + k // 5, 1], seed=k)
    rate: Any = 3.0 if k == DIVERGING else optim.cosine(0.01 * (k + 1), 0.001, steps=30)
    return mg.Trainer(net, "squared_error", optim.SGD(rate, momentum=0.5), **options)


def own(k: int) -> dict[str, Any]:
    """A fold for each, an epoch more for some, and an early stop."""
    held = np.setdiff1d(np.arange(30), FOLDS[k % 5])
    stopping = EarlyStopping(1 + k, min_delta=0.01, restore=bool(k % 2))
    return {
        "rows": FOLDS[k % 5],
        "validation": (X[held], y[held]),
        "epochs": 4 + k % 3,
        "early_stopping": stopping,
        "sample_weight": np.linspace(0.5, 1.5 + 0.1 * k, 30),
    }


def alone(k: int, trainer: mg.Trainer, options: dict[str, Any]) -> str:
    """Train member k as a user would; returns the error's text."""
    rows = options.pop("rows")
    options["sample_weight"] = options["sample_weight"][rows]
    try:
        trainer.fit(X[rows], y[rows], seed=7 + k, batch_size=7, progress="none", **options)
    except DivergedError as error:
        return str(error)
    return trainer.remark


def numbers(trainer: mg.Trainer) -> list[float]:
    return [p.data for p in trainer.model.parameters()]


@pytest.fixture(scope="module")
def strict() -> Many:
    with pytest.warns(TrainingWarning, match="verdict"):
        return mg.train_many(
            lambda k: make(k, strict=True), X, y, count=COUNT, each=own, seed=7, threads=2, batch_size=7
        )


@pytest.mark.filterwarnings("ignore::macrograd.train.TrainingWarning")
@pytest.mark.parametrize("k", [0, 1, DIVERGING, 3, 4, 5, 7])
def test_a_strict_member_has_the_bits_of_its_run_alone(strict: Many, k: int) -> None:
    trainer = make(k, strict=True)
    error = alone(k, trainer, own(k))
    member, history = strict[k], trainer.history
    assert strict.verdicts[k] == error
    assert member.history.losses == history.losses
    assert member.history.learning_rates == history.learning_rates
    assert member.history.metric_steps == history.metric_steps
    for name, values in history.metrics.items():
        assert np.allclose(member.history.metrics[name], values, rtol=1e-13)
    assert numbers(member) == numbers(trainer)
    assert member.optimizer.state_dict() == trainer.optimizer.state_dict()
    assert np.array_equal(member.predict(X), trainer.predict(X))
    if k != DIVERGING:
        assert member.history.stopped == history.stopped


def test_members_go_together_by_their_programs_and_one_diverges_alone(strict: Many) -> None:
    lanes = native.machine().vector_bytes // 8
    assert f"members 0–4: together, {lanes} members at a time" in strict.explain()
    assert "members 5–7: together" in strict.explain()
    assert strict[DIVERGING].history.stopped == "diverged"
    assert "step" in strict.verdicts[DIVERGING]
    assert [k for k, verdict in enumerate(strict.verdicts) if "not finite" in verdict or "inf" in verdict] == [
        DIVERGING
    ]
    assert {history.stopped for history in strict.histories} >= {"diverged", "early stopping", ""}
    best = strict.best()
    losses = [h.metrics.get("validation_loss", [math.inf])[-1] for h in strict.histories]
    assert losses[best] == min(losses[:DIVERGING] + losses[DIVERGING + 1 :])
    with pytest.raises(ValueError, match=r"no member has the metric 'validation_r2' at its end: there are loss"):
        strict.best("validation_r2")


def test_members_that_share_nothing_train_one_after_the_other() -> None:
    class Steps(mg.train.Callback):
        def on_step(self, run: mg.train.Run) -> None:
            seen.append(run.step)

    seen: list[int] = []
    many = mg.train_many(
        [
            mg.Trainer(nn.MLP(2, [3, 1], seed=0), "hinge"),
            mg.Trainer(nn.MLP(2, [3, 1], seed=1), "hinge", engine="eager"),
            mg.Trainer(nn.MLP(2, [3, 1], seed=2), "hinge"),
        ],
        X[:4], y[:4], steps=2, each=[{}, {}, {"callbacks": Steps()}],
    )  # fmt: skip
    assert seen == [1, 2]
    lines = many.explain().split("\n")
    assert lines[0].startswith("lanes are members where")
    assert len(lines) == 4
    assert "member 0: one after the other, lanes are samples: no other member has an equal program" in lines
    assert [len(history) for history in many.histories] == [2, 2, 2]


def shared() -> list[mg.Trainer]:
    net = nn.MLP(2, [3, 1], seed=1)
    return [mg.Trainer(net, "hinge"), mg.Trainer(net, "hinge")]


@pytest.mark.parametrize(
    ("trainers", "options", "error"),
    [
        (make, {}, "needs their number: give count="),
        (3, {}, r"takes Trainers, or a function \(k\) → Trainer that makes them, got 3 of type int"),
        (make, {"count": 2, "each": 3}, r"each must be a list of dicts, or a function \(k\) → dict, got 3"),
        ([make(0)], {"count": 2}, "count is 2, but there are 1 trainers"),
        ([], {}, "at least one member"),
        (lambda k: nn.MLP(2, [1]), {"count": 2}, "member 0 must be a Trainer, got .* MLP"),
        (make, {"count": 2, "each": [{}]}, "each has 1 entries for 2 members"),
        (make, {"count": 2, "each": [{}, 3]}, "each must hold dicts of options of fit, got 3 for member 1"),
        (make, {"count": 2, "each": [{}, {"resume": True}]}, "resume is an option of the whole, not of member 1"),
        (make, {"count": 2, "each": [{}, {"batch_size": 99}]}, "member 1: batch_size 99 is larger"),
        (make, {"count": 2, "each": [{}, {"batchsize": 9}]}, "member 1: .*no option 'batchsize'; .*mean 'batch_size'"),
        (make, {"count": 2, "colour": 9}, "^members have no option 'colour'; they are rows and those of Trainer.fit"),
        (make, {"count": 2, "each": [{}, {"rows": [0, 30]}]}, "^member 1: rows has 30, and there are 30 rows, from 0"),
        (make, {"count": 2, "each": [{"rows": [-31]}, {}]}, "^member 0: rows has -31, and there are 30 rows, from 0"),
        (make, {"count": 2, "each": [{"rows": [0.5]}, {}]}, "^member 0: rows must be a list of row numbers, or True"),
        (
            make,
            {"count": 2, "rows": [[0, 1], [2]]},
            "got lists of several lengths; members get rows of their own by",
        ),
        (
            make,
            {"count": 2, "rows": [[0, 1], [2, 3]]},
            r"got shape \(2, 2\) and dtype int64; members get rows of",
        ),
        (
            make,
            {"count": 2, "each": [{"rows": [True]}, {}]},
            "^member 0: rows must be .* for each of 30 rows, got shape",
        ),
        (make, {"count": 2, "threads": 0}, "threads"),
        (shared(), {}, "members 0 and 1 share a parameter: give each its own"),
    ],
)
def test_bad_input_is_named_before_any_work_begins(trainers: Any, options: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError, IndexError), match=error):
        mg.train_many(trainers, X, y, steps=1, **options)


def test_weights_of_all_rows_follow_the_rows_that_a_member_sees() -> None:
    weights = np.linspace(0.5, 2.0, 30)
    every, mask = np.arange(30)[::-1] // 2, np.arange(30) % 3 == 0
    seen: list[Any] = [every, mask, [3, -1], every]
    own = [{"rows": rows, "sample_weight": weights} for rows in seen[:3]]
    own.append({"rows": np.array([3, 4]), "sample_weight": np.array([1.0, 2.0])})  # of those rows alone
    many = mg.train_many([make(k, strict=True) for k in range(4)], X, y, each=own, steps=3, batch_size=2)
    for k, options in enumerate(own):
        rows, w = options["rows"], options["sample_weight"]
        solo = make(k, strict=True)
        solo.fit(
            X[rows], y[rows], seed=k, steps=3, batch_size=2, sample_weight=w[rows] if k < 3 else w, progress="none"
        )
        assert numbers(solo) == numbers(many[k])


def test_members_share_no_optimiser() -> None:
    rule = optim.SGD(0.1)
    members = [mg.Trainer(nn.MLP(2, [1], seed=k), "hinge", rule) for k in range(2)]
    with pytest.raises(ValueError, match="members 0 and 1 share an optimiser: give each its own"):
        mg.train_many(members, X, y, steps=1)


class Scales(nn.Module):
    """A net with a number that is no parameter."""

    def __init__(self, factor: float, own: Any = None) -> None:
        self.w, self.factor, self.own = [Value(0.1), Value(0.2)], factor, own

    def __call__(self, x: Any) -> Any:
        return self.factor * (self.w[0] * x[0] + self.w[1] * x[1])


def test_only_models_that_are_equal_but_for_their_parameters_go_together() -> None:
    from macrograd.train.alike import Description

    def scaled(factor: float) -> Any:
        return lambda x: x * factor

    def key(*things: Any) -> Any:
        return Description(*things).key

    assert key(Scales(2.0)) == key(Scales(2.0)) != key(Scales(3.0))
    assert key(Scales(2.0, object())) != key(Scales(2.0, object()))  # unknown: equal to nothing
    assert key(scaled(2.0)) == key(scaled(2.0)) != key(scaled(3.0))  # the same code, another number closed over
    assert key(mg.custom(scaled(2.0), len)) == key(mg.custom(scaled(2.0), len)) != key(mg.custom(scaled(3.0), len))
    assert key(mg.custom(scaled(2.0), len)) != key(mg.custom(scaled(2.0), abs))
    assert key(np.arange(3)) == key(np.arange(3)) != key(np.arange(3.0))
    assert key(0.0) != key(-0.0)
    assert key(1) != key(1.0) != key(True)
    frozen, other = Scales(2.0), Scales(2.0)
    frozen.freeze()
    other.freeze()
    assert key(frozen) == key(other) != key(Scales(2.0))
    other.w[0].data = 5.0
    assert key(frozen) != key(other)  # the numbers of frozen parameters are part of the program
    tied = Scales(2.0)
    tied.w[1] = tied.w[0]
    assert key(tied) != key(Scales(2.0))
    assert key(optim.SGD(0.1)) == key(optim.SGD(0.2)) != key(optim.SGD(0.1, momentum=0.5))


def test_a_walk_through_two_models_finds_twins_only() -> None:
    from macrograd.train.alike import Description, Twins

    def net(k: int, **options: Any) -> nn.MLP:
        return nn.MLP(2, [3, 1], seed=k, **options)

    second, twins = net(1), Twins(net(0))
    assert twins.of(second) == Description(second).parameters == second.parameters()
    assert twins.of(net(1, activation="tanh")) is None
    assert twins.of(nn.MLP(2, [4, 1])) is None
    assert Twins(Scales(2.0)).of(Scales(2.0)) is not None
    assert Twins(Scales(0.0)).of(Scales(-0.0)) is None
    assert Twins(Scales(2.0, object())).of(Scales(2.0, object())) is None
    assert Twins(Scales(2.0, Value(3.0))).of(Scales(2.0, Value(4.0) * 1.0)) is None  # computed
    frozen, tied = net(1), net(1)
    frozen.layers[0].freeze()
    tied.layers[0].neurons[0].w[1] = tied.layers[0].neurons[0].w[0]
    assert twins.of(frozen) is None
    assert twins.of(tied) is None
    assert Twins(tied).of(net(2)) is None
    assert Twins(Scales([1, "a"])).of(Scales([1, "a"])) is not None
    assert Twins(Scales([1, "a"])).of(Scales([1, "b"])) is None
    assert Twins(Scales(2.0, (1, (2.0, "a")))).of(Scales(2.0, (1, (2.0, "a")))) is not None
    for other in ((1, (2.0, "b")), (1, (2, "a")), (True, (2.0, "a")), [1, (2.0, "a")], (1, 2.0, "a")):
        assert Twins(Scales(2.0, (1, (2.0, "a")))).of(Scales(2.0, other)) is None
    assert Twins(Scales(2.0, (0.0,))).of(Scales(2.0, (-0.0,))) is None
    assert Twins(Scales(2.0, (Value(1.0),))).of(Scales(2.0, (Value(1.0),))) is None


def test_a_model_with_the_same_objects_in_it_is_unchanged() -> None:
    """Each change is seen, and gone once it is undone; numbers are none."""
    from macrograd.train.alike import Twins

    class Other(nn.MLP):
        pass

    model = nn.MLP(2, [3, 1], seed=0)
    twins, layer = Twins(model), model.layers[0]
    neuron, w = layer.neurons[0], layer.neurons[0].w[0]
    assert twins.unchanged()
    w.data += 1.0
    assert twins.unchanged()
    changes: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (lambda: neuron.w.append(Value(1.0)), neuron.w.pop),
        (lambda: neuron.w.__setitem__(0, Value(w.data)), lambda: neuron.w.__setitem__(0, w)),
        (lambda: neuron.w.reverse(), neuron.w.reverse),
        (lambda: setattr(model, "note", 1), lambda: delattr(model, "note")),
        (lambda: setattr(model, "__class__", Other), lambda: setattr(model, "__class__", nn.MLP)),
        (lambda: setattr(w, "op", CONSTANT), lambda: setattr(w, "op", None)),
        (lambda: model.layers.append(layer), model.layers.pop),
    ]
    for change, back in changes:
        change()
        assert not twins.unchanged()
        back()
        assert twins.unchanged()


def test_nets_on_scaled_columns_and_tabular_ones_are_told_by_a_walk() -> None:
    """Asking whether they have changed takes a fraction of a description: each prediction asks."""
    from macrograd.train.alike import Twins

    def net(seed: int, unit: float) -> nn.Module:
        return nn.Scaled(nn.Tabular(2, [3], 1, members=2, seed=seed), (0.0, 1.0), (unit, 2.0))

    twins = Twins(net(0, 3.0))
    assert twins.unchanged()
    assert twins.of(other := net(1, 3.0)) == other.parameters()
    assert twins.of(net(1, 4.0)) is None
    twins.model.unit = (3.0, 3.0)
    assert not twins.unchanged()


def test_predictions_follow_a_model_that_changes() -> None:
    """Also after many, when it is looked at in a hurry."""
    rows, targets = np.array([[0.3, -0.7], [1.0, 2.0]]), np.array([0.0, 1.0])
    model = nn.MLP(2, [4, 1], seed=0)
    trainer = mg.Trainer(model, "squared_error")
    trainer.fit(rows, targets, steps=0, progress=False)

    def right() -> list[float]:
        return [float(model(row).data) for row in rows.tolist()]

    for _ in range(4):
        np.testing.assert_allclose(trainer.predict(rows), right(), rtol=1e-12)
    model.layers[0].neurons[1].w[0] = Value(5.0)
    for _ in range(3):
        np.testing.assert_allclose(trainer.predict(rows), right(), rtol=1e-12)
    model.layers[0].neurons[1].w[0].data = -5.0
    np.testing.assert_allclose(trainer.predict(rows), right(), rtol=1e-12)
    model.layers[0].activation = "tanh"
    for _ in range(3):
        np.testing.assert_allclose(trainer.predict(rows), right(), rtol=1e-12)


def test_ctrl_c_ends_all_members_after_a_complete_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(run: Any) -> None:
        if run.epoch == 2:
            raise KeyboardInterrupt

    trainers = [mg.Trainer(nn.MLP(2, [3 + k // 2, 1], seed=k), "hinge") for k in range(4)]
    many = mg.train_many(trainers, X, y, epochs=5, batch_size=15, each=[{}, {"callbacks": interrupt}, {}, {}])
    assert [history.stopped for history in many.histories] == ["interrupted"] * 4
    assert [len(history) for history in many.histories] == [4, 4, 0, 0]
    assert {trainer.optimizer.steps for trainer in trainers[:2]} == {4}


def small(k: int) -> mg.Trainer:
    return mg.Trainer(nn.MLP(2, [2 + k // 3, 1], seed=k), "hinge", optim.SGD(0.1, momentum=0.5), strict=True)


def test_a_run_that_was_stopped_is_resumed_as_if_it_never_was(tmp_path: Path) -> None:
    options: dict[str, Any] = {"count": 4, "batch_size": 10, "validation": (X[:9], y[:9]), "early_stopping": 50}
    whole = mg.train_many(small, X, y, epochs=6, **options)
    folder = tmp_path / "members"

    def interrupt(run: mg.train.Run) -> None:
        if run.epoch == 3:
            raise KeyboardInterrupt

    first = mg.train_many(
        small, X, y, epochs=6, checkpoint=folder, each=[{}, {"callbacks": interrupt}, {}, {}], **options
    )
    assert [len(history) for history in first.histories] == [9, 9, 9, 0]
    with pytest.raises(FileExistsError, match="already exists: resume from it with resume=True"):
        mg.train_many(small, X, y, epochs=6, checkpoint=folder, **options)
    with pytest.raises(ValueError, match="from a different run: its batch size was 10, now it is 5"):
        mg.train_many(small, X, y, epochs=6, checkpoint=folder, resume=True, **options | {"batch_size": 5})
    second = mg.train_many(small, X, y, epochs=6, checkpoint=folder, resume=True, **options)
    for a, b in zip(whole, second, strict=True):
        assert a.history.losses == b.history.losses
        assert a.history.metrics == b.history.metrics
        assert numbers(a) == numbers(b)
    alone = small(1)  # each file is the checkpoint of a run alone
    alone.fit(
        X, y, epochs=6, seed=1, batch_size=10, validation=(X[:9], y[:9]), early_stopping=50, progress="none",
        checkpoint=folder / "0001.safetensors", resume=True,
    )  # fmt: skip
    assert numbers(alone) == numbers(whole[1])


class Dropping(nn.Module):
    def __init__(self, k: int) -> None:
        self.layers = [nn.Layer(2, 3, seed=k), nn.Dropout(0.2 + 0.1 * k), nn.Layer(3, 1, activation="linear", seed=k)]

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x


def test_members_have_their_own_decay_penalty_and_dropped_units() -> None:
    def decaying(k: int) -> mg.Trainer:
        rule = optim.SGD(0.1, weight_decay=0.01 + 0.02 * k)
        return mg.Trainer(Dropping(k), "hinge", rule, l2=0.003 * (k + 1), strict=True)

    many = mg.train_many(decaying, X, y, count=3, steps=7, batch_size=10, clip_norm=0.2, seed=4)
    assert "members 0–2: together" in many.explain()
    for k, member in enumerate(many):
        alone = decaying(k)
        alone.fit(X, y, steps=7, batch_size=10, clip_norm=0.2, seed=4 + k, progress="none")
        assert member.history.losses == alone.history.losses
        assert numbers(member) == numbers(alone)


def test_the_checkpoint_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"is a folder, and .*file is a file"):
        mg.train_many(small, X, y, count=2, steps=1, checkpoint=tmp_path / "file")
    with pytest.raises(ValueError, match="give checkpoint=FOLDER"):
        mg.train_many(small, X, y, count=2, steps=1, resume=True)


def test_a_bad_index_stops_its_member_alone() -> None:
    table = [-1.0, 0.5, 2.0]

    def loss(prediction: Any, target: Any) -> Any:
        return (prediction - mg.take(table, target)) ** 2

    trainers = [mg.Trainer(nn.MLP(2, [1], seed=k), loss, optim.SGD(0.1)) for k in range(3)]
    targets = np.arange(30) % 3
    targets[7] = 3
    rows = np.setdiff1d(np.arange(30), [7])
    with pytest.warns(TrainingWarning, match="1 of 3 members have a verdict; that of member 1: .*take"):
        many = mg.train_many(
            trainers,
            X,
            targets,
            batch_size=29,
            steps=3,
            each=[{"rows": rows}, {"rows": np.arange(1, 30)}, {"rows": rows}],
        )
    assert "members 0–2: together" in many.explain()
    assert [history.stopped for history in many.histories] == ["", "failed", ""]
    assert [len(history) for history in many.histories] == [3, 0, 3]


def test_members_on_the_same_data_share_what_is_found_in_them() -> None:
    from macrograd.train.nets.plans import Plans

    plans, weights = Plans(X, y), np.ones(30)
    first, _ = plans.plan(small(0), {"seed": 0, "steps": 3, "sample_weight": weights})
    twin, described = plans.plan(small(1), {"seed": 1, "steps": 3, "sample_weight": weights})
    assert twin.part is first.part
    assert twin.order.seed == 1
    assert described.parameters == twin.objective.parameters == twin.setup.model.parameters()
    for trainer, options in (
        (small(3), {"seed": 1, "steps": 3, "sample_weight": weights}),  # another architecture
        (small(1), {"seed": 1, "steps": 4, "sample_weight": weights}),
        (small(1), {"seed": 1, "steps": 3, "sample_weight": weights.copy()}),
    ):
        assert plans.plan(trainer, options)[0].part is not first.part
    wrong = small(1)
    wrong.model.parameters()[4].data = math.nan
    with pytest.raises(ValueError, match="is nan before training"):
        plans.plan(wrong, {"seed": 1, "steps": 3, "sample_weight": weights})


class Constant(nn.Module):
    """A net with a constant that is its own, and an output that its loss does not use."""

    def __init__(self, k: int) -> None:
        self.factor, self.w, self.unused = 1.3 + 0.4 * k, [Value(0.1 * k), Value(0.2)], Value(0.3 * k)

    def __call__(self, x: Any) -> Any:
        return [self.factor * mg.dot(self.w, x), self.unused * x[0]]


def first_output(outputs: Any, target: Any) -> Any:
    return (outputs[0] - target) ** 2


def spread(predictions: Any, targets: Any) -> float:
    return float(np.sum(predictions))


@pytest.mark.parametrize("metrics", [(), (spread,)])
def test_members_are_measured_by_their_own_numbers(metrics: Any) -> None:
    def constant(k: int) -> mg.Trainer:
        return mg.Trainer(Constant(k), first_output, optim.SGD(1e200 if k == 0 else 0.1))

    options: dict[str, Any] = {"epochs": 2, "batch_size": 10, "validation": (X[:7], y[:7]), "metrics": metrics}
    with pytest.warns(TrainingWarning, match="that of member 0"):
        many = mg.train_many(constant, X, y, count=4, **options)
    assert "members 0–3: together" in many.explain()
    assert many[0].model.named_parameters()["unused"].data == 0.0  # it diverged before anything was measured
    for k in (1, 2, 3):
        alone = constant(k)
        alone.fit(X, y, seed=k, progress="none", **options)
        assert many.histories[k].metrics.keys() == alone.history.metrics.keys()
        for name, values in alone.history.metrics.items():
            assert many.histories[k].metrics[name] == pytest.approx(values, rel=1e-12)
        assert numbers(many[k]) == pytest.approx(numbers(alone), rel=1e-12)


def test_members_that_train_together_show_their_progress(capsys: pytest.CaptureFixture[str]) -> None:
    mg.train_many(small, X, y, count=3, steps=4, batch_size=10, progress="plain")
    assert "step 4 of 4 (epoch 2), loss " in capsys.readouterr().err


def test_a_callback_that_fails_leaves_every_member_at_a_complete_step() -> None:
    def fails(run: mg.train.Run) -> None:
        raise LookupError("no such thing")

    trainers = [small(k) for k in range(3)]
    with pytest.raises(LookupError, match="no such thing"):
        mg.train_many(trainers, X, y, epochs=3, batch_size=10, each=[{}, {"callbacks": fails}, {}])
    for k, trainer in enumerate(trainers):
        alone = small(k)
        alone.fit(X, y, steps=len(trainer.history), batch_size=10, seed=k, progress="none")
        assert len(trainer.history) == 3
        assert numbers(trainer) == numbers(alone)
