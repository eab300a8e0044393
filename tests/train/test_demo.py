"""micrograd's published run: `references/demo.json` holds what micrograd itself answers over all 100 steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from macrograd import datasets, nn, optim
from macrograd.train import History, Trainer

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parents[2] / "references" / "demo.json").read_text("utf-8"))

# The figures that stand in micrograd's notebook.
PUBLISHED = {
    0: 0.8958441028683222,
    1: 1.7235905336972022,
    2: 0.7429006313851131,
    3: 0.7705641260584198,
    98: 0.010978888332907229,
    99: 0.010978370135492717,
}


def run(
    steps: int, *, seed: int = 1337, batch_size: int | None = None, engine: str = "compiled"
) -> tuple[nn.MLP, History]:
    X, y = datasets.make_moons(100, noise=0.1, seed=1337)
    model = nn.MLP(2, [16, 16, 1], seed=1337)
    trainer = Trainer(model, "hinge", optim.SGD(optim.linear(1.0, 0.1, 100)), l2=1e-4, engine=engine)
    shuffle = batch_size is not None
    metrics = [] if shuffle else ["accuracy"]
    return model, trainer.fit(
        X, y, steps=steps, batch_size=batch_size, shuffle=shuffle, seed=seed, metrics=metrics, progress="none"
    )


@pytest.fixture(scope="module")
def demo() -> tuple[nn.MLP, History]:
    return run(100)


def test_it_has_337_parameters(demo: tuple[nn.MLP, History]) -> None:
    assert len(demo[0].parameters()) == REFERENCE["parameters"] == 337


@pytest.mark.parametrize("step", PUBLISHED)
def test_the_published_losses(demo: tuple[nn.MLP, History], step: int) -> None:
    assert demo[1].losses[step] == pytest.approx(PUBLISHED[step], rel=1e-9, abs=0)


def test_all_100_losses_and_accuracies_are_micrograds(demo: tuple[nn.MLP, History]) -> None:
    history = demo[1]
    assert len(history) == len(REFERENCE["losses"]) == 100
    assert history.losses == pytest.approx(REFERENCE["losses"], rel=1e-9, abs=0)
    # Reference accuracies are from before a step's update, the history's from after it.
    assert history.metrics["accuracy"][:-1] == REFERENCE["accuracies"][1:]
    assert history.metrics["accuracy"][-1] == 1.0


def test_the_eager_engine_has_the_published_losses_to_their_last_digits() -> None:
    assert run(4, engine="eager")[1].losses == pytest.approx([PUBLISHED[k] for k in range(4)], rel=4e-16, abs=0)


def test_the_recorded_run_is_the_published_one() -> None:
    for step, loss in PUBLISHED.items():
        assert REFERENCE["losses"][step] == pytest.approx(loss, rel=1e-12, abs=0)
    assert REFERENCE["spread"] < 1e-12


def test_the_learning_rate_falls_as_published(demo: tuple[nn.MLP, History]) -> None:
    assert demo[1].learning_rates == [1.0 - 0.9 * k / 100 for k in range(100)]


def test_the_same_run_has_the_same_bits() -> None:
    (model, history), (again, other) = run(3), run(3)
    assert history.losses == other.losses
    assert [p.data for p in model.parameters()] == [p.data for p in again.parameters()]


def test_random_batches_follow_their_own_seed() -> None:
    first, again, other = (run(4, seed=seed, batch_size=32)[1].losses for seed in (1, 1, 2))
    assert first == again
    assert first != other
