"""A few runs of the training fuzzer, and that it notices faults."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .training import cases, check, reference, session


# Quick ones of each kind.
@pytest.mark.parametrize("number", [2, 3, 5, 7, 9, 10, 11, 13, 17, 34, 43, 47, 55])
def test_random_runs_are_those_of_the_reference(number: int) -> None:
    with session.compiling("first"):
        kind, found, told = session.one(f"4:{number}")
    assert not found, f"{kind}: {found}\n{told}"


def test_a_run_with_another_option_is_noticed() -> None:
    rule, fit = cases.Rule("sgd", {}, ("number", (0.05,))), {"progress": False, "seed": 3, "epochs": 2, "batch_size": 2}
    case = replace(cases.case("4:59"), fits=[fit], trainer={"l2": 0.01}, rule=rule)
    case = replace(case, X=case.X[:5], y=case.y[:5])
    answer = reference.expected(case)[0]
    others = [
        replace(case, rule=cases.Rule("sgd", {}, ("number", (0.05000001,)))),
        replace(case, fits=[{**fit, "batch_size": 3}]),
        replace(case, trainer={"l2": 0.0100001}),
        replace(case, fits=[{**fit, "seed": 4}]),
        replace(case, fits=[{**fit, "sample_weight": [1.0000001] * 5}]),
        replace(case, fits=[{**fit, "clip_norm": 0.01}]),
        replace(case, trainer={"l2": 0.01, "scale": "standard"}),
    ]
    for other in [case, *others]:
        trainer = other.made()
        check.fitted(other, 0, trainer)
        assert bool(check.compared(answer, trainer, "float64")) == (other is not case)
