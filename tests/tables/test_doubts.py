"""Cells that can be read in two ways: what is assumed is said, and what cannot be compared with training is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from macrograd import tables
from macrograd.tables import Plan


def table(**columns: list[Any]) -> tables.Table:
    return tables.from_frame(columns, "t.csv")


def kept(plan: Plan) -> Plan:
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    return again


def read(plan: Plan, **columns: list[Any]) -> tuple[list[Any], list[str]]:
    X, notes = kept(plan).numbers(table(**columns))
    return X[:, 0].tolist(), notes


def said(plan: Plan) -> str:
    return plan.features[0].becomes()


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "numbers", "what", "other", "instead"),
    [
        (["753.469", "12", "1.204"], [753.469, 12.0, 1.204], "753.469, with a fraction", "comma", [753469, 12, 1204]),
        (["1,234", "56", "789"], [1234.0, 56.0, 789.0], "1234, in thousands", "comma", [1.234, 56, 789]),
        (["$ -1,234", "56", "789"], [-1234.0, 56.0, 789.0], "-1234, in thousands", "comma", [-1.234, 56, 789]),
    ],
)
def test_how_a_column_of_doubtful_numbers_is_read_is_said_and_can_be_changed(
    cells: list[str], numbers: list[float], what: str, other: str, instead: list[float]
) -> None:
    plan = tables.plan_of(table(a=cells))
    assert read(plan, a=cells) == (numbers, [])
    assert f"{cells[0]!r} is read as {what}; otherwise --kind a=number:{other}" in said(plan)
    assert plan.assumed == [f"column 'a': {cells[0]!r} is read as {what}"]
    plan = tables.plan_of(table(a=cells), kind={"a": f"number:{other}"})
    assert plan.assumed == []
    assert read(plan, a=cells) == (instead, [])
    # Whatever the other columns of a later table say.
    both = tables.plan_of(table(a=cells, b=["0.5", "1.5", "2.25"]), kind={"a": f"number:{other}"})
    assert read(both, a=cells, b=["0.5", "1.5", "2.25"])[0] == instead


@pytest.mark.parametrize(
    "columns",
    [
        {"a": ["753.469", "12", "1.5"]},
        {"a": ["753.469", "12"], "b": ["0.25", "1.5"]},
        {"a": ["1,234", "12,500"], "b": ["0.25", "1.5"]},
        {"a": ["0.123", "753.469"]},
        {"a": ["753.469.000", "753.469"]},
        {"a": ["1,234.5", "1,234"]},
        {"a": [753.469, 12.0]},
        {"a": ["12", "13"]},
        {"a": ["12345.678", "753.469"]},
        {"a": ["v 1.234", "v 1.235"] * 3},
    ],
)
def test_nothing_is_assumed_where_the_table_tells(columns: Mapping[str, Any]) -> None:
    assert tables.plan_of(table(**columns)).assumed == []


def test_a_zero_in_front_is_that_of_a_fraction() -> None:
    plan = tables.plan_of(table(a=["0,123", "0,456"], b=["1.234", "5.678"]))
    X, _ = plan.numbers(table(a=["0,123", "0,456"], b=["1.234", "5.678"]))
    assert X.tolist() == [[0.123, 1234.0], [0.456, 5678.0]]
    # Files of the forms before read it as they did.
    for form in (1, 2):
        earlier = Plan((tables.Feature("a", "number"),), form=form)
        assert read(earlier, a=["0,123", "-0,456"]) == ([123.0, -456.0], [])


@pytest.mark.parametrize("known", [["12", "750"], [12, 750], [12.0, 750.0], ["1 234", "56"]], ids=str)
@pytest.mark.parametrize(("cell", "fraction"), [("753.469", "753.469"), ("-753,469 ", "-753.469")])
def test_a_doubtful_number_is_refused_where_training_had_integers_without_marks(
    known: list[Any], cell: str, fraction: str
) -> None:
    plan = kept(tables.plan_of(table(a=known)))
    whole = fraction.replace(".", "")
    message = f"t.csv, column 'a': '{cell.strip()}' in row 2 may be {fraction} or {whole}, and the numbers in training"
    with pytest.raises(ValueError, match=re.escape(message) + rf".*: write {whole} or {fraction}0"):
        plan.numbers(table(a=["12", cell]))
    assert read(plan, a=["12", whole, fraction + "0"])[0] == [12.0, float(whole), float(fraction)]
    assert read(plan, a=["12", cell, "0,5"])[0][1] == float(whole if "." in cell else fraction)


def test_a_doubtful_number_is_read_as_training_was_or_it_is_said_how() -> None:
    told = tables.plan_of(table(a=["1,5", "2,25"]))
    assert read(told, a=["753.469"]) == ([753469.0], [])
    assumed = tables.plan_of(table(a=["753.469", "12.345"]))
    assert read(assumed, a=["1.234"]) == ([1.234], [])
    fractions = tables.plan_of(table(a=[0.5, 753.469]))
    note = "column 'a': '1.234' is read as 1.234, with a fraction"
    assert read(fractions, a=["1.234"]) == ([1.234], [note])
    assert read(fractions, a=["1.234", "1.5"]) == ([1.234, 1.5], [])


def test_models_saved_before_read_doubtful_numbers_as_they_did() -> None:
    for form in (1, 2):
        plan = Plan((tables.Feature("a", "number"),), form=form)
        assert read(plan, a=["753.469", "1,234"]) == ([753.469, 1234.0], [])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"y": ["753.469", "12.500", "1.204"]}, [753.469, 12.5, 1.204]),
        ({"y": ["753.469", "12.500", "1.204"], "x": ["1,5", "2", "3"]}, [753469.0, 12500.0, 1204.0]),
    ],
)
def test_a_target_says_it_too(columns: Mapping[str, Any], expected: list[float]) -> None:
    found = tables.target_of(table(**columns), "y")
    assert found.y.tolist() == expected
    note = "column 'y': '753.469' is read as 753.469, with a fraction; otherwise --kind y=number:comma"
    assert found.notes == ((note,) if "x" not in columns else ())
    asked = tables.target_of(table(**columns), "y", kind="number:comma")
    assert asked.notes == ()
    assert asked.y.tolist() == [753469.0, 12500.0, 1204.0]


# --- dates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "months", "what", "other"),
    [
        (["04.07.2018", "01.02.2019", "03.03.2019"], [7.0, 2.0, 3.0], "'04.07.2018' has the day first", "mdy"),
        (["3/3/19", "4/7/2018", "1/2/19"], [3.0, 4.0, 1.0], "'4/7/2018' has the month first", "dmy"),
    ],
)
def test_the_order_of_dates_that_do_not_tell_it_is_said(
    cells: list[str], months: list[float], what: str, other: str
) -> None:
    plan = tables.plan_of(table(d=cells))
    month = plan.names.index("d month")
    assert plan.numbers(table(d=cells))[0][:, month].tolist() == months
    assert f"{what}; otherwise --kind d=date:{other}" in said(plan)
    assert plan.assumed == [f"column 'd': {what}"]
    assert tables.plan_of(table(d=cells), kind={"d": f"date:{other}"}).assumed == []


@pytest.mark.parametrize(
    "cells",
    [["31.07.2018", "01.02.2019"], ["1/31/2018", "1/2/2018"], ["2018-01-02", "2018-03-04"], ["03.03.2018", "4.4.2018"]],
)
def test_nothing_is_said_of_dates_that_tell_their_order(cells: list[str]) -> None:
    assert tables.plan_of(table(d=cells)).assumed == []


POINTS = ["04.07.2018", "31.01.2018", "05.12.2019"]


@pytest.mark.parametrize(
    ("known", "cell", "marks"),
    [
        (POINTS, "10/03/2018", "'.' in it, and the day first"),
        (POINTS[:1] * 2 + POINTS[2:], "10-03-2018", "'.' in it, and the day first"),
        ([*POINTS, "05-12-2019"], "10/03/18", "'-' or '.' in it, and the day first"),
        (["1/31/2018", "2/3/2018"], "10.03.2018", "'/' in it, and the month first"),
    ],
)
def test_a_date_in_another_form_that_may_be_in_another_order_is_refused(
    known: list[str], cell: str, marks: str
) -> None:
    plan = kept(tables.plan_of(table(d=known)))
    message = f"t.csv, column 'd': {cell!r} may be the month 10 or 3: the dates in training had {marks}; write dates"
    with pytest.raises(ValueError, match=re.escape(message)):
        plan.numbers(table(d=[known[0], cell]))


def test_dates_of_another_form_are_read_where_they_can_only_be_one() -> None:
    plan = tables.plan_of(table(d=POINTS))
    month = plan.names.index("d month")

    def months(*cells: str) -> list[float]:
        return kept(plan).numbers(table(d=list(cells)))[0][:, month].tolist()

    assert months("10.03.2018", "3/3/2018", "25/03/2018", "2018-03-10", "10 March 2018") == [3.0] * 5
    assert months("10/03/2018", "25/03/2018") == [3.0, 3.0]  # the second tells the order of the first
    asked = tables.plan_of(table(d=POINTS), kind={"d": "date:dmy"})
    assert kept(asked).numbers(table(d=["10/03/2018"]))[0][0, month] == 3.0


def test_models_saved_before_read_dates_of_other_forms_as_they_did() -> None:
    feature = tables.Feature("d", "date", parts=("month",), middles=(1.0,), order="dmy", since="2018-01-01")
    assert read(Plan((feature,), form=2), d=["10/03/2018", "04.07.2018"]) == ([3.0, 7.0], [])


# --- notes ------------------------------------------------------------------------------------------------------------


def test_a_bad_cell_has_one_note_that_says_what_becomes_of_it() -> None:
    plan = tables.plan_of(table(a=["1.5", "2.5", "7.5"]))
    bad = "column 'a': 1 not a number, such as 'x' in row 2: taken for the median, 2.5"
    assert read(plan, a=["1.5", "x", "2"]) == ([1.5, 2.5, 2.0], [bad])
    missing = "column 'a': 1 missing, but none were in training: taken for the median, 2.5"
    assert read(plan, a=["1.5", "x", ""]) == ([1.5, 2.5, 2.5], [missing, bad])
    plan = tables.plan_of(table(a=["1.5", "2.5", "7.5", ""]))
    assert read(plan, a=["1", "x"])[1] == ["column 'a': 1 not a number, such as 'x' in row 2: counts as missing"]
    plan = tables.plan_of(table(d=POINTS))
    _, notes = plan.numbers(table(d=["04.07.2018", "never", "05.07.2018"]))
    assert notes == ["column 'd': 1 not a date, such as 'never' in row 2: taken for the medians of those in training"]


def test_a_plan_with_another_decimal_mark_is_no_plan() -> None:
    with pytest.raises(ValueError, match="';' is no decimal mark"):
        Plan.from_json({"markers": [], "features": [{"name": "a", "kind": "number", "decimal": ";"}]})
    for wrong in (10**400, float("nan"), True, "1"):
        for feature in ({"name": "a", "kind": "number", "median": wrong}, {"name": "a", "middles": [wrong]}):
            with pytest.raises(
                ValueError, match=r"median must be a finite number|middles must be a list of finite num"
            ):
                Plan.from_json({"markers": [], "features": [feature]})
    whole = {"name": "a", "kind": "number", "median": 10**30, "indicator": True}  # as some write 1e30
    found, _ = Plan.from_json({"markers": [], "features": [whole]}).numbers(table(a=[1.5, None]))
    assert found.tolist() == [[1.5, 0.0], [1e30, 1.0]]
    assert np.isfinite(kept(Plan((tables.Feature("a", "number", decimal=","),))).numbers(table(a=["1,5"]))[0]).all()
