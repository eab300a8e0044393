"""The losses of one sample against PyTorch's, on floats and on Values, and what they say to bad input."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import macrograd as mg
from macrograd import Value, losses

CASES = json.loads((Path(__file__).parents[2] / "references" / "losses.json").read_text())["cases"]


def name_of(case: dict[str, Any]) -> str:
    return f"{case['loss']}({case['prediction']}, {case['target']}{case['settings'] or ''})"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_as_pytorch(case: dict[str, Any]) -> None:
    loss, p, t = losses.LOSSES[case["loss"]], case["prediction"], case["target"]
    leaves = [Value(x) for x in p] if isinstance(p, list) else Value(p)
    out = loss(leaves, t, **case["settings"])
    out.backward()
    gradient = [x.grad for x in leaves] if isinstance(leaves, list) else leaves.grad
    # PyTorch's binary cross-entropy takes −30 from 30 at the worst and is off by half a last digit of 30.
    assert out.data == pytest.approx(case["value"], rel=1e-12, abs=2e-15)
    assert gradient == pytest.approx(case["gradient"], rel=1e-12, abs=1e-15)
    assert loss(p, t, **case["settings"]) == out.data  # and floats give the bits that Values give


def test_the_file_has_every_loss() -> None:
    assert {case["loss"] for case in CASES} == set(losses.LOSSES)


@given(st.floats(-50, 50), st.sampled_from([0.0, 1.0]))
def test_binary_cross_entropy_does_not_cancel(z: float, t: float) -> None:
    # For a sure and right answer the loss is exp(−|z|), to all digits, in place of 0.
    other = -z if t else z
    assert losses.binary_cross_entropy(z, t) == pytest.approx(mg.softplus(other), rel=1e-15, abs=0.0)


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=6), st.sampled_from([0.0, 2.0**20, -(2.0**20)]))
def test_cross_entropy_of_far_away_logits(logits: list[float], offset: float) -> None:
    moved = [x + offset for x in logits]
    logits = [x - offset for x in moved]  # exactly `moved`, shifted back
    for target in (0, [1.0 / len(logits)] * len(logits)):
        wanted = losses.cross_entropy(logits, target)
        assert losses.cross_entropy(moved, target) == pytest.approx(wanted, rel=1e-13, abs=1e-14)


@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(0, 1))
def test_two_classes_are_one_logit(a: float, b: float, k: int) -> None:
    assert losses.cross_entropy([a, b], k) == pytest.approx(losses.binary_cross_entropy(b - a, float(k)), abs=1e-14)


@pytest.mark.parametrize("target", [2, 2.0, np.int64(2), np.array(2), Value(2.0), [0, 0, 1], (0, 0, 1), np.eye(3)[2]])
def test_class_index_in_every_form(target: Any) -> None:
    logits = [0.5, -1.0, 2.0]
    assert float(losses.cross_entropy(logits, target)) == pytest.approx(losses.cross_entropy(logits, 2), rel=1e-15)


def test_targets_may_be_values_and_get_gradients() -> None:
    p, t = Value(2.0), Value(0.5)
    losses.squared_error(p, t).backward()
    assert (p.grad, t.grad) == (3.0, -3.0)


def test_numpy_rows() -> None:
    assert losses.squared_error(np.array([1.0, 2.0]), np.array([0.0, 4.0])) == 2.5
    assert losses.absolute_error(np.array([1.0, 2.0]), [0.0, 4.0]) == 1.5


def test_one_output_and_a_row_of_one_target() -> None:
    assert losses.squared_error(3.0, np.array([1.0])) == 4.0


def test_huber_has_finite_gradients_everywhere() -> None:
    for p in (1e308, -1e308, 1.0, -1.0, 0.0):
        value = Value(p)
        losses.huber(value, 0.0).backward()
        assert math.isfinite(value.grad)
        assert value.grad == max(-1.0, min(1.0, p))


def test_by_name() -> None:
    assert losses.get("hinge") is losses.hinge
    assert losses.get(losses.huber) is losses.huber
    assert mg.losses is mg.nn.losses


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: losses.hinge(0.5, 0),
            ValueError,
            "hinge() takes a label of −1 or +1, got 0: turn labels 0 and 1 into 2·y − 1",
        ),
        (lambda: losses.hinge([0.5, 1.0], 1), ValueError, "hinge() takes one score, got 2"),
        (lambda: losses.hinge(0.5, [1, 1]), ValueError, "hinge() takes one label, got 2"),
        (
            lambda: losses.binary_cross_entropy(0.5, -1),
            ValueError,
            "binary_cross_entropy() target must be from 0 to 1, got -1: turn labels −1 and +1 into (y + 1)/2",
        ),
        (
            lambda: losses.binary_cross_entropy([1.0, 2.0], 1),
            ValueError,
            "binary_cross_entropy() needs the same number of logits and targets, at least one, "
            "got 2 logits and 1 targets",
        ),
        (
            lambda: losses.squared_error([1.0, 2.0], 1.0),
            ValueError,
            "squared_error() needs the same number of predictions and targets, at least one, "
            "got 2 predictions and 1 targets",
        ),
        (lambda: losses.absolute_error([], []), ValueError, "got 0 predictions and 0 targets"),
        (lambda: losses.huber(1.0, 2.0, delta=0.0), ValueError, "huber() needs delta > 0, got 0.0"),
        (
            lambda: losses.cross_entropy(0.3, 0),
            ValueError,
            "cross_entropy() needs at least two logits, got 1: use binary_cross_entropy() for one",
        ),
        (
            lambda: losses.cross_entropy([0.1, 0.2], 2),
            IndexError,
            "cross_entropy() target class 2 is out of range: 2 logits have classes 0 to 1",
        ),
        (
            lambda: losses.cross_entropy([0.1, 0.2], 0.5),
            TypeError,
            "cross_entropy() target class must be an integer, got 0.5",
        ),
        (
            lambda: losses.cross_entropy([0.1, 0.2], [1.0, 0.0, 0.0]),
            ValueError,
            "cross_entropy() needs one probability per class, got 3 for 2 logits",
        ),
        (
            lambda: losses.get("l2"),
            ValueError,
            "unknown loss 'l2': use one of hinge, squared_error, absolute_error, huber, binary_cross_entropy, "
            "cross_entropy, or a function (prediction, target) → scalar",
        ),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_yes_or_no_labels_are_taken_each_for_itself() -> None:
    each = [losses.binary_cross_entropy(z, t) for z, t in ((0.5, 1.0), (-2.0, 0.0))]
    assert losses.binary_cross_entropy([0.5, -2.0], [1.0, 0.0]) == sum(each) / 2
