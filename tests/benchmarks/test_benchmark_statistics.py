"""The arithmetic of the report: medians, differences, what counts as a regression, and how a time is written."""

import math

import numpy as np
import pytest

from benchmarks import report, statistics


def test_summary_gives_median_and_quartiles():
    got = statistics.summary([5.0, 1.0, 2.0, 4.0, 3.0])
    assert got == {"median": 3.0, "q1": 2.0, "q3": 4.0, "min": 1.0, "max": 5.0, "rounds": 5}


def test_summary_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one round"):
        statistics.summary([])


def test_difference_is_relative_to_the_largest_number_of_the_part():
    reference = {"a": np.array([100.0, 1e-9]), "b": 2e-50}
    assert statistics.difference({"a": [100.0, 1e-9], "b": 2e-50}, reference) == (0.0, "")
    gap, where = statistics.difference({"a": [100.0, 1.0], "b": 2e-50}, reference)
    assert (gap, where) == (pytest.approx(0.01), "a")
    gap, where = statistics.difference({"a": [100.0, 1e-9], "b": 3e-50}, reference)
    assert (gap, where) == (pytest.approx(0.5), "b")


@pytest.mark.parametrize(
    "answer",
    [{"a": [1.0, math.nan]}, {"a": [1.0, math.inf]}, {"a": [1.0]}, {"other": 1.0}],
    ids=["nan", "inf", "shape", "missing"],
)
def test_a_wrong_kind_of_answer_is_infinitely_different(answer):
    assert statistics.difference(answer, {"a": [1.0, 2.0]})[0] == math.inf


def row(median, spread=0.02, **more):
    return {
        "kind": "macrograd",
        "name": "macrograd",
        "median": median,
        "q1": median * (1 - spread),
        "q3": median * (1 + spread),
        **more,
    }


def result(*rows):
    return {"cases": {"moons/step": {"baseline": "c", "rows": list(rows)}}}


def test_regression_beyond_the_spread_is_named_with_its_factor():
    (line,) = report.regressions(result(row(2.0)), result(row(1.0)))
    assert "moons/step: macrograd is 2.00 × slower" in line


def test_changes_within_the_spread_or_of_the_whole_machine_are_no_regression():
    assert report.regressions(result(row(1.06)), result(row(1.0))) == []
    floor = {"name": "c", "kind": "floor", "median": 1.0}
    slow_machine = result(row(2.0), {**floor, "median": 2.0})
    assert report.regressions(slow_machine, result(row(1.0), floor)) == []


def test_a_figure_that_is_gone_is_a_regression():
    (line,) = report.regressions(
        result({"name": "macrograd", "kind": "macrograd", "failed": "failed: boom"}), result(row(1.0))
    )
    assert "gives no figure any more: failed: boom" in line


def test_peers_are_not_judged():
    assert report.regressions(result(row(2.0, kind="peer")), result(row(1.0, kind="peer"))) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.264e-6, "1.26 µs"), (45.12e-3, "45.1 ms"), (321e-9, "321 ns"), (1130.0, "1,130 s"), (2.5e-10, "0.25 ns")],
)
def test_durations_have_three_digits_and_a_unit(seconds, text):
    assert report.duration(seconds) == text
