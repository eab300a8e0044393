"""The estimators where there are very many classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from macrograd import Trainer
from macrograd.sklearn import NetClassifier


@pytest.mark.parametrize("labels", ["classes", "columns"])
def test_the_outputs_of_all_samples_are_never_held_at_once(labels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those for thousands of classes fill the memory."""
    random = np.random.RandomState(0)
    X, y = random.normal(size=(60, 3)), np.arange(60) % 3
    given = y if labels == "classes" else np.eye(3, dtype=int)[y]
    net = NetClassifier((), members=1, epochs=1, early_stopping=False, random_state=0).fit(X, given)
    many = random.normal(size=(2200, 3))
    whole = net.decision_function(many)

    held: list[int] = []
    outputs = Trainer.outputs

    def computing(self: Trainer, rows: Any) -> Any:
        held.append(len(rows))
        return outputs(self, rows)

    monkeypatch.setattr(Trainer, "outputs", computing)
    expected = net.classes_[whole.argmax(axis=1)] if labels == "classes" else (whole > 0).astype(int)
    assert net.predict(many).tolist() == expected.tolist()
    assert held == [1024, 1024, 152]
