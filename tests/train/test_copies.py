"""`train_many` with one Trainer: its copies have the results that members given as Trainers have, and are made late."""

from __future__ import annotations

import copy
import pickle
import signal
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import nn, optim
from macrograd.nn import init
from macrograd.train import Many, TrainingWarning
from macrograd.train.nets import lanes

X, y = mg.datasets.make_moons(30, noise=0.1, seed=1)
NET = nn.MLP(2, [3, 1], seed=0)
STARTS = nn.starts(NET, 5, seed=3)
OPTIONS: dict[str, Any] = {"steps": 37, "batch_size": 7, "seed": 2}


def trainer() -> mg.Trainer:
    return mg.Trainer(copy.deepcopy(NET), "squared_error", optim.SGD(0.05, momentum=0.9), strict=True)


def member(k: int, starts: Any = STARTS) -> mg.Trainer:
    made = trainer()
    for parameter, number in zip(made.model.parameters(), starts[k].tolist(), strict=True):
        parameter.data = number
    return made


def numbers(trainer: mg.Trainer) -> list[float]:
    return [p.data for p in trainer.model.parameters()]


def same(copies: Many, members: Many) -> None:
    for mine, theirs in zip(copies, members, strict=True):
        assert numbers(mine) == numbers(theirs)
        assert mine.optimizer.state_dict() == theirs.optimizer.state_dict()
        assert (mine.history.losses, mine.history.stopped) == (theirs.history.losses, theirs.history.stopped)
        assert mine.history.learning_rates == theirs.history.learning_rates
        assert mine.remark == theirs.remark
    assert copies.verdicts == members.verdicts
    assert copies.explain() == members.explain()


@pytest.fixture(scope="module")
def members() -> Many:
    found: Many = mg.train_many([member(k) for k in range(5)], X, y, **OPTIONS)
    return found


def test_copies_have_the_bits_of_members_and_are_made_when_they_are_looked_at(
    members: Many, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    deepcopy = copy.deepcopy

    def noted(thing: Any) -> Any:
        made.append(thing)
        return deepcopy(thing)

    one = trainer()
    monkeypatch.setattr(copy, "deepcopy", noted)
    many = mg.train_many(one, X, y, starts=STARTS, **OPTIONS)
    assert numbers(one) == numbers(trainer())
    assert not len(one.history)
    before = len(made)
    assert before <= 2  # one to plan with
    assert [history.losses for history in many.histories] == [h.losses for h in members.histories]
    assert many.best("loss") == members.best("loss")
    assert many.losses(X, y) == members.losses(X, y)
    assert many.losses(X, y, [np.arange(k + 1) for k in range(5)]) == members.losses(
        X, y, [np.arange(k + 1) for k in range(5)]
    )
    assert len(made) == before
    assert many[-1] is many.trainers[4]
    assert many.trainers[3:] == [many[3], many[4]]
    assert many[4].history is many.histories[4]
    same(many, members)
    more = [
        found.fit(X, y, steps=5, batch_size=7, progress="none").losses for found in (many[1], copy.deepcopy(members[1]))
    ]
    assert more[0] == more[1]


def test_copies_run_in_pieces_and_ctrl_c_ends_all_after_a_complete_step(
    members: Many, monkeypatch: pytest.MonkeyPatch
) -> None:
    from macrograd.compiler.targets.llvm.net_steps import NativeNets
    from macrograd.train.nets import copies

    monkeypatch.setattr(copies, "first_run", lambda size: 9)  # an epoch has five steps
    monkeypatch.setattr(copies, "next_run", lambda *sizes: 9)
    same(mg.train_many(trainer(), X, y, starts=STARTS, **OPTIONS), members)
    run, runs = NativeNets.run, []

    def interrupted(nets: NativeNets, *arguments: Any) -> Any:
        runs.append(nets)
        if len(runs) == 2:
            signal.raise_signal(signal.SIGINT)
        return run(nets, *arguments)

    monkeypatch.setattr(NativeNets, "run", interrupted)
    many = mg.train_many(trainer(), X, y, starts=STARTS, **OPTIONS)
    assert len(runs) == 2
    assert {history.stopped for history in many.histories} == {"interrupted"}
    done = len(many.histories[0])
    assert 9 < done <= 18
    assert [h.losses for h in many.histories] == [h.losses[:done] for h in members.histories]
    assert many[2].optimizer.steps == done
    assert many.verdicts == [""] * 5


def test_copies_have_their_own_rates() -> None:
    each = [{}, {"schedule": 0.01}, {"schedule": optim.cosine(0.1, 0.001, steps=20), "seed": 9}]
    options = OPTIONS | {"schedule": lambda step: 0.1 / (1 + step), "each": each}
    many = mg.train_many(trainer(), X, y, starts=STARTS[:3], **options)
    others = mg.train_many([member(k) for k in range(3)], X, y, **options)
    assert many.histories[1].learning_rates == [0.01] * 37
    same(many, others)
    with pytest.raises((TypeError, ValueError), match="member 1: "):
        mg.train_many(trainer(), X, y, count=2, each=[{}, {"schedule": "fast"}])


def test_copies_of_a_trained_trainer_go_on_with_its_optimisers_state() -> None:
    before = trainer()
    before.fit(X, y, steps=5, batch_size=7, progress="none")
    many = mg.train_many(before, X, y, count=2, **OPTIONS)
    same(many, mg.train_many([copy.deepcopy(before) for _ in range(2)], X, y, **OPTIONS))
    assert many[0].optimizer.steps == 42


def test_copies_that_something_looks_at_are_made_before() -> None:
    options = {"epochs": 2, "batch_size": 15, "validation": (X[:9], y[:9]), "metrics": ["r2"], "each": lambda k: {}}
    many = mg.train_many(trainer(), X, y, starts=STARTS[:2], **options)
    others = mg.train_many([member(k) for k in range(2)], X, y, **options)
    same(many, others)
    assert [h.metrics for h in many.histories] == [h.metrics for h in others.histories]


@pytest.mark.filterwarnings("ignore::macrograd.train.TrainingWarning")
def test_a_copy_that_diverges_stops_alone_and_the_others_go_on() -> None:
    starts = STARTS[:3].copy()
    starts[1, -1] = 1e150  # whose square is finite at first
    many = mg.train_many(trainer(), X, y, starts=starts, **OPTIONS)
    others = mg.train_many([member(k, starts) for k in range(3)], X, y, **OPTIONS)
    assert [history.stopped for history in many.histories] == ["", "diverged", ""]
    assert "not finite" in many.verdicts[1] or "inf" in many.verdicts[1]
    same(many, others)


def test_copies_begin_as_the_trainer_without_starts_and_shuffle_by_their_own_seeds() -> None:
    with pytest.warns(TrainingWarning, match="no better than the constant answer"):  # the rate is 0
        many = mg.train_many(
            mg.Trainer(copy.deepcopy(NET), "squared_error", optim.SGD(0.0)),
            X, y, count=3, steps=120, batch_size=7, each=[{}, {"seed": 0}, {"seed": 5}], progress="plain",
        )  # fmt: skip
    losses = [history.losses for history in many.histories]
    assert losses[0] == losses[1] != losses[2]
    assert [bool(verdict) for verdict in many.verdicts] == [True] * 3
    assert numbers(many[2]) == numbers(trainer())


@pytest.mark.parametrize("kind", [*init.INITIALISERS, lambda rng, fan_in, fan_out: rng.random() + fan_out])
def test_starts_are_those_of_nets_made_one_by_one(kind: Any) -> None:
    net = nn.MLP(3, [4, 2], init=kind, seed=0)
    found = nn.starts(net, 3, init=kind, seed=2**32 - 1)
    for k, row in enumerate(found):
        made = nn.MLP(3, [4, 2], init=kind, seed=2**32 - 1 + k)
        assert row.tolist() == [p.data for p in made.parameters()]


def test_starts_of_other_models_and_wrong_numbers_are_refused() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            self.a, self.net = mg.Value(1.0), NET

    with pytest.raises(ValueError, match=r"draws the parameters of Neurons, but this Own has others"):
        nn.starts(Own(), 3)
    with pytest.raises(ValueError, match=r"a positive integer number of nets, got 0"):
        nn.starts(NET, 0)
    for options, error in (
        ({}, r"needs the number of its copies: give count=, or starts="),
        ({"starts": STARTS[:, :4]}, r"a row of 13 parameters for each member, got an array of shape \(5, 4\)"),
        ({"starts": STARTS, "count": 4}, "count is 4, but there are 5 starts"),
        ({"starts": np.full((5, 13), np.inf)}, "starts must be finite, got .*inf for parameter 0 of member 0"),
        ({"count": 2, "batch_size": 99}, "member 0: batch_size 99 is larger"),
        ({"count": 2, "each": [{}, {"seed": -1}]}, "member 1: seed"),
    ):
        with pytest.raises(ValueError, match=error):
            mg.train_many(trainer(), X, y, **{"steps": 3} | options)
    with pytest.raises(TypeError, match=r"an array \(members, parameters\) of numbers, got 'abc'"):
        mg.train_many(trainer(), X, y, starts="abc")
    with pytest.raises(ValueError, match="starts are those of copies of one Trainer"):
        mg.train_many([trainer()], X, y, starts=STARTS)


def test_losses_and_histories_are_those_of_members_changed_since() -> None:
    copies = mg.train_many(trainer(), X, y, starts=STARTS, epochs=2)
    before = copies.losses(X, y)
    copies[1].fit(X, y, epochs=3, progress=False)
    for p in copies[2].model.parameters():
        p.data = 0.0
    copies[3].model.layers[0].freeze()
    losses = copies.losses(X, y)
    assert losses[0] == before[0]
    assert losses[1:4] == pytest.approx([copies[k].evaluate(X, y)["loss"] for k in (1, 2, 3)], rel=1e-12)
    assert losses[1] != before[1]
    assert losses[2] != before[2]
    assert copies.histories[1] is copies[1].history
    assert len(copies.histories[1]) > len(copies.histories[0])


def test_all_members_can_be_pickled(members: Many) -> None:
    for many in (members, mg.train_many(trainer(), X, y, starts=STARTS, **OPTIONS)):
        again = pickle.loads(pickle.dumps(many))  # noqa: S301 - made here
        same(again, many)
        assert again.losses(X, y) == many.losses(X, y)
        assert again.best("loss") == many.best("loss")


@pytest.mark.parametrize("each", [1e-9, 1e-4, 0.01, 3.0])
@pytest.mark.parametrize("fixed", [0.0, 0.01, 0.2, 0.3, 5.0])
def test_what_is_done_for_each_member_takes_half_of_the_time_at_most(fixed: float, each: float) -> None:
    """On a busy machine, or with tens of thousands of members, it takes longer than a run is meant to: runs of fewer
    steps would not be shorter, and more of them."""
    most = 100
    for _ in range(30):
        count = min(most, 10_000_000)
        most = lanes.next_run(most, count, fixed + each * count, each * count)
    took = each * most
    assert most == 1 or most == 1 << 18 or took >= 0.9 * fixed
    assert most == 1 or fixed + took <= max(0.25, 2.0 * fixed) * 1.01
