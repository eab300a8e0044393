"""The record of a run."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from macrograd.train import History


@pytest.fixture
def history() -> History:
    history = History()
    history.record(0.1 + 0.2, {"accuracy": 1 / 3}, 1.0, 0.5)
    history.record(1e-300, {"accuracy": 1.0}, 0.1, 0.75)
    return history


def test_columns(history: History) -> None:
    assert len(history) == 2
    assert history.to_dict() == {
        "step": [0, 1],
        "loss": [0.1 + 0.2, 1e-300],
        "accuracy": [1 / 3, 1.0],
        "learning_rate": [1.0, 0.1],
        "seconds": [0.5, 0.75],
    }
    assert json.loads(json.dumps(history.to_dict())) == history.to_dict()


def test_the_dict_is_a_copy(history: History) -> None:
    history.to_dict()["loss"].append(0.0)
    assert len(history) == 2


def test_csv_reads_back_bit_for_bit(history: History, tmp_path: Path) -> None:
    path = history.to_csv(tmp_path / "history.csv")
    assert path == tmp_path / "history.csv"
    assert path.read_bytes().startswith(b"step,loss,accuracy,learning_rate,seconds\n0,0.30000000000000004,")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {name: [float(row[name]) for row in rows] for name in rows[0]} == history.to_dict()


def test_csv_is_written_whole_or_not_at_all(history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history.csv"
    path.write_text("old")

    def fails(*names: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(OSError, match="the disk is full"):
        history.to_csv(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_csv_of_no_steps_is_its_header(tmp_path: Path) -> None:
    assert History().to_csv(tmp_path / "h.csv").read_text() == "step,loss,learning_rate,seconds\n"


def test_every_step_has_the_same_metrics(history: History) -> None:
    before = history.to_dict()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        history.record(1.0, {"error": 1.0}, 1.0, 1.0)
    assert str(caught.value) == (
        "step 2 has the metrics ['error'], but earlier steps have ['accuracy']: every step must have the same metrics"
    )
    assert history.to_dict() == before


def test_metrics_that_are_taken_now_and_then() -> None:
    history = History()
    history.measured({"before": 0.5})
    history.extend(np.array([3.0, 2.0]), 0.1, 1.0)
    history.measured({"first": 1.0})
    history.measured({"second": 2.0, "first": 1.5})  # once more at the same step
    history.extend(np.array([1.0]), 0.1, 2.0)
    history.measured({"second": 4.0})
    assert history.metric_steps == [0, 2, 3]
    nan = pytest.approx(math.nan, nan_ok=True)
    assert history.metrics == {"before": [0.5, nan, nan], "first": [nan, 1.5, nan], "second": [nan, 2.0, 4.0]}
    assert history.to_dict()["first"] == [None, 1.5, nan]
    again = History.from_tensors({name: np.concatenate([np.empty(0), *x]) if isinstance(x, list) else x
                                  for name, x in history.tensors().items()}, list(history.metrics))  # fmt: skip
    assert again.metric_steps == history.metric_steps
    assert again.losses == history.losses == [3.0, 2.0, 1.0]
    assert again.last_second == 2.0


def test_repr(history: History) -> None:
    assert repr(history) == "History(2 steps, last loss 1e-300, accuracy 1, 0.75 s)"
    assert repr(History()) == "History(no steps)"
