"""`Trainer(strict=True)` rounds as the eager engine does, sample by sample; only the mean of several is another sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from macrograd import Trainer, nn, optim

X = np.random.default_rng(0).normal(size=(11, 2))
Y = (X[:, 0] > 0.1).astype(int)

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "a penalty": {"l2": 0.01},
    "a penalty of one's own": {"penalty": lambda model: 0.01 * abs(model.parameters()[0])},
    "weights": {"sample_weight": np.linspace(0.0, 2.0, 11)},
    "a momentum": {"optimizer": lambda: optim.SGD(0.05, momentum=0.9, weight_decay=0.01)},
}


def trained(engine: str, batch_size: int | None, **options: Any) -> tuple[bytes, list[float]]:
    model = nn.MLP(2, [4, 1], seed=1)
    optimizer = options.pop("optimizer", lambda: optim.Adam(0.02))()
    weights = options.pop("sample_weight", None)
    trainer = Trainer(model, "hinge", optimizer, engine=engine, strict=engine == "compiled", **options)
    history = trainer.fit(X, Y, epochs=3, batch_size=batch_size, sample_weight=weights, seed=3, progress=False)
    return np.array(history.losses).tobytes(), [p.data for p in model.parameters()]


@pytest.mark.parametrize("name", OPTIONS)
def test_steps_of_one_sample_have_the_eager_bits(name: str) -> None:
    assert trained("compiled", 1, **OPTIONS[name]) == trained("eager", 1, **OPTIONS[name])
