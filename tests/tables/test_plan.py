"""The kinds recognised in columns, and their encoding."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd import tables
from macrograd.tables import Plan, Table, cells
from macrograd.tables.cells import Style


def table(**columns: list[Any]) -> Table:
    return tables.from_frame({name.replace("__", " "): column for name, column in columns.items()}, "t.csv")


def reason(plan: Plan, name: str) -> str:
    return next(f.reason for f in plan.features if f.name == name)


# --- what is nothing to learn from -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "Index", "rownames", "row_names", "id", "...1"])
@pytest.mark.parametrize("first", [0, 1, 17])
def test_a_column_that_counts_the_rows_is_left_out(name: str, first: int) -> None:
    counter = [str(first + i) for i in range(12)]
    plan = tables.plan_of(Table({name: np.array(counter, object), "x": np.arange(12.0) ** 2}))
    assert plan.names == ("x",)
    assert reason(plan, name) == "it numbers the rows"


def test_an_index_with_gaps_and_no_name_is_one_and_a_year_is_not() -> None:
    plan = tables.plan_of(
        tables.from_frame({"": [5, 2, 9, 1], "year": [1949, 1950, 1951, 1952], "x": [1.5, 2.5, 0.5, 4]})
    )
    assert plan.names == ("year", "x")


@pytest.mark.parametrize("name", ["PassengerId", "customer_id", "id", "order id"])
def test_identifiers_are_left_out(name: str) -> None:
    ids = np.random.RandomState(0).permutation(90_000)[:12]
    plan = tables.plan_of(tables.from_frame({name: ids, "width": np.arange(12.0) ** 2}))
    assert plan.names == ("width",)
    plan = tables.plan_of(tables.from_frame({"model": [f"car {i}" for i in ids], "width": np.arange(12.0) ** 2}))
    assert reason(plan, "model") == "it identifies the rows: each has a different string"


def test_columns_that_never_change_or_are_empty_are_left_out() -> None:
    plan = tables.plan_of(table(a=["x"] * 4, b=[3.0] * 4, c=["NA", "", "?", "-"], d=[1, 2, 3, 5]))
    assert [reason(plan, name) for name in "abc"] == [
        "it is 'x' in every row",
        "it is 3 in every row",
        "every cell is empty",
    ]
    assert plan.names == ("d",)


def test_a_table_prints_its_columns_and_not_its_cells() -> None:
    table = tables.from_frame({"a": [1, 2], "b": ["x", "y"]})
    assert repr(table) == "Table('the table': 2 rows, columns 'a', 'b')"


def test_every_column_can_be_overruled() -> None:
    data = table(id=["1", "2", "3", "4"], zip=["10", "20", "10", "20"], x=["1", "2", "4", "9"], d=["1/2/2024"] * 4)
    assert tables.plan_of(data).names == ("zip=10", "zip=20", "x")
    plan = tables.plan_of(data, only=["id", "zip"], kind={"zip": "category"})
    assert plan.names == ("id", "zip=10", "zip=20")
    assert tables.plan_of(data, drop=["zip"], kind={"x": "drop", "id": "number"}).names == ("id",)
    with pytest.raises(
        ValueError, match=r"t.csv has no column 'zap', it has 'id', 'zip', 'x', 'd'; did you mean 'zip'"
    ):
        tables.plan_of(data, drop=["zap"])
    with pytest.raises(ValueError, match=r"the kind 'colour' of 'x' is not known: use number \(also number:point,"):
        tables.plan_of(data, kind={"x": "colour"})
    with pytest.raises(ValueError, match=r"t.csv, column 'd': '1/2/2024' in row 1 is not a number"):
        tables.plan_of(data, kind={"d": "number"})
    with pytest.raises(
        ValueError, match=r"has nothing to learn 'x' from \('id': as requested; 'zip': as requested; 'd'"
    ):
        tables.plan_of(data, "x", drop=["id", "zip", "d"])


# --- missing values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", ["NA", "na", "?", "-", "N/A", "null", "None", "#N/A", "", "NaN", " NA ", "<NA>"])
def test_markers_of_missing_values(marker: str) -> None:
    data = table(a=["1", marker, "4", "7"], k=["p", "q", marker, "p"])
    plan = tables.plan_of(data)
    X, notes = plan.numbers(data)
    assert plan.names == ("a", "a missing", "k=p", "k=other", "k=missing")
    assert X.tolist() == [[1, 0, 1, 0, 0], [4, 1, 0, 1, 0], [4, 0, 0, 0, 1], [7, 0, 1, 0, 0]]
    assert notes == []


def test_more_markers_can_be_named() -> None:
    data = table(a=["1", "-999", "4", "7", "red"], b=[1, 2, -999, 4, 5])
    X, _ = tables.plan_of(data, markers=["-999", "red"]).numbers(data)
    assert X[:, 0].tolist() == [1, 4, 4, 7, 4]
    assert X[:, 2].tolist() == [1, 2, 3, 4, 5]


def test_a_few_texts_among_numbers_count_as_missing_and_are_said() -> None:
    data = table(a=[*map(str, range(30)), "broken"], b=list(range(31)))
    plan = tables.plan_of(data)
    assert plan.features[0].kind == "number"
    assert plan.features[0].becomes().endswith("1 cell counts as missing, such as 'broken' in row 31")
    assert plan.numbers(data)[0][-1].tolist() == [14.5, 1.0, 30.0]


# --- kinds -----------------------------------------------------------------------------------------------------------


def test_rare_categories_go_together_and_unseen_ones_with_them() -> None:
    data = table(k=["p"] * 5 + ["q"] * 4 + ["r", "s"], x=[i * i for i in range(11)])
    plan = tables.plan_of(data)
    assert plan.names == ("k=p", "k=q", "k=other", "x")
    X, notes = plan.numbers(table(k=["q", "new", "NA"], x=[1, 2, 3], more=[0, 0, 0]))
    assert X[:, :3].tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert notes == ["column 'k': 1 missing, but none were in training: taken for none of the known ones"]


def test_unseen_categories_are_said_where_there_are_no_rare_ones() -> None:
    plan = tables.plan_of(table(k=["p", "q"] * 4, x=list(range(8))))
    X, notes = plan.numbers(table(k=["new", "p"], x=[1, 2]))
    assert X[:, :2].tolist() == [[0, 0], [1, 0]]
    assert notes == ["column 'k': 'new' not seen in training: taken for none of the known ones"]


@pytest.mark.parametrize("pair", [("true", "false"), ("Yes", "no"), ("Y", "N"), ("TRUE", "FALSE"), ("t", "f")])
def test_yes_and_no(pair: tuple[str, str]) -> None:
    data = table(a=[pair[0], pair[1], "NA", pair[0]])
    assert tables.plan_of(data).numbers(data)[0].tolist() == [[1, 0], [0, 0], [1, 1], [1, 0]]


def test_yes_and_no_may_be_spelled_otherwise_once_they_are_known() -> None:
    plan = tables.plan_of(table(x=["yes", "no", "yes"], y=[1.5, 2.5, 0.5]))
    other = table(x=["TRUE", "No", "1", " 0.0", "n", ""], y=[0.0] * 6)
    assert plan.numbers(other)[0][:5, 0].tolist() == [1.0, 0.0, 1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"t.csv, column 'x': 'maybe' is not yes or no, true or false, 1 or 0"):
        plan.numbers(table(x=["yes", "maybe"], y=[0.0, 0.0]))
    asked = tables.plan_of(table(x=["1", "0", "yes"], y=[1.5, 2.5, 0.5]), kind={"x": "yes-no"})
    assert [f.kind for f in asked.features] == ["yes/no", "number"]


def test_numbers_in_another_unit_than_in_training_are_refused() -> None:
    share, price = (
        tables.plan_of(table(x=[f"{before}{k}{after}" for k in range(4)])) for before, after in (("", "%"), ("€ ", ""))
    )
    for plan, x in (
        (share, ["5", "6%"]),
        (share, ["0", "6%"]),
        (share, ["0", "0"]),
        (share, ["0", ""]),
        (price, ["0.5", "0.25"]),
        (price, ["5", "€ 6"]),
    ):
        assert plan.numbers(table(x=x))[1] == [] or "" in x
    plain, mixed = (tables.plan_of(table(x=x)) for x in (["1", "2", "3"], ["1", "2%", "3%"]))
    for plan, x, message in (
        (share, ["0.5", "0.25"], "its numbers are plain numbers, and were in % in training: write them as then"),
        (plain, ["5%", "6"], "its numbers are in % or none, and were plain numbers in training"),
        (price, ["$ 5", "6"], "its numbers are in $, and were in € in training"),
        (price, ["5 %", "6 %"], "its numbers are in %, and were in € in training"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            plan.numbers(table(x=x))
    for x in (["5"], ["5%"], ["5", "6%"]):
        assert mixed.numbers(table(x=x))[0][0, 0] == 5.0


def test_codes_with_zeros_in_front_are_categories() -> None:
    assert tables.plan_of(table(zip=["01234", "99999", "01234", "99999"])).names == ("zip=01234", "zip=99999")


@pytest.mark.parametrize(
    ("text", "style", "number", "unit"),
    [
        ("1.290D+00", ".", 1.29, ""),
        ("−0.76", ".", -0.76, ""),
        ("12%", ".", 12.0, "%"),
        ("1.5 %", ".", 1.5, "%"),
        ("$1,234.50", ".", 1234.5, "$"),
        ("-$5", ".", -5.0, "$"),
        ("1.234,50 €", ",", 1234.5, "€"),
        ("EUR 3", ".", 3.0, "EUR"),
        ("($1,000)", ".", -1000.0, "$"),
        ("1 234 567", ".", 1234567.0, ""),
        ("1'234.5", ".", 1234.5, ""),
        ("1,234", ".", 1234.0, ""),
        ("1,234", ",", 1.234, ""),
        (".5", ".", 0.5, ""),
        ("1_000", ".", None, ""),
        ("12,34", ".", None, ""),
        ("0x10", ".", None, ""),
        ("1 2", ".", None, ""),
        ("", ".", None, ""),
        ("9" * 10_000, ".", float("inf"), ""),
        (" " * 100 + "a" * 100_000, ".", None, ""),
    ],
)
def test_how_numbers_are_written(text: str, style: str, number: float | None, unit: str) -> None:
    assert cells.number_of(text, Style(style)) == (number, unit)


@pytest.mark.parametrize(
    ("columns", "style"),
    [
        ([["1,5", "2,25"], ["1.234", "5.678"]], Style(",")),  # the first speaks, and the second is thousands
        ([["1.5", "2.25"], ["1,234", "5,678"]], Style(".")),
        ([["1,234", "5,678"]], None),
        ([["1.234.567", "1"]], Style(",")),
        ([["1,234,567", "1"]], Style(".")),
        ([["well, so 1,5", "no"]], None),
        ([["1", "2"]], None),
    ],
)
def test_the_whole_table_says_what_a_comma_is(columns: list[list[str]], style: Style | None) -> None:
    assert cells.style_of(columns) == style


def test_a_table_in_another_style_is_predicted_from() -> None:
    plan = tables.plan_of(table(a=["1.5", "2.5", "4"], b=["1000", "2000", "5000"]))
    X, _ = plan.numbers(table(a=["1,5", "2,5"], b=["1.000", "2.000"]))
    assert X.tolist() == [[1.5, 1000], [2.5, 2000]]


def test_several_currencies_are_no_number() -> None:
    assert tables.plan_of(table(a=["$1", "€1", "$1", "€1"])).features[0].kind == "category"


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-01-31", "2024-02-01", "2025-12-24"],
        ["31.01.2024", "01.02.2024", "24.12.2025"],
        ["1/31/2024", "2/1/2024", "12/24/2025"],
        ["31/01/24", "01/02/24", "24/12/25"],
        ["31 Jan 2024", "1 February 2024", "24-Dec-2025"],
        ["Jan 31, 2024", "Feb 1, 2024", "Dec 24, 2025"],
        ["2024-01-31T00:00:00Z", "2024-02-01 00:00", "2025-12-24 12:00:00 AM"],
    ],
)
def test_dates(texts: list[str]) -> None:
    data = table(d=texts)
    plan = tables.plan_of(data)
    assert plan.names == ("d year", "d month", "d weekday", "d elapsed")
    assert plan.numbers(data)[0].tolist() == [[2024, 1, 2, 0], [2024, 2, 3, 1], [2025, 12, 2, 693]]


def test_the_order_of_a_date_can_be_said_and_is_kept() -> None:
    data = table(d=["1/2/2024", "3/4/2024", "5/6/2024"])
    month = [plan.numbers(data)[0][:, 0].tolist() for plan in (
        tables.plan_of(data), tables.plan_of(data, kind={"d": "date:dmy"})
    )]  # fmt: skip
    assert month == [[1, 3, 5], [2, 4, 6]]
    kept = Plan.from_json(tables.plan_of(data, kind={"d": "date:dmy"}).to_json())
    assert kept.numbers(table(d=["7/8/2024"]))[0][0, 0] == 8


def test_times_of_day_and_moments() -> None:
    data = table(t=["00:30", "13:45:30", "1:00 pm"], m=["2024-01-01 06:00", "2024-01-01 18:00", "NA"])
    plan = tables.plan_of(data)
    assert plan.names == ("t hour", "m hour", "m elapsed", "m missing")
    X, _ = plan.numbers(data)
    assert X[:, 0].tolist() == pytest.approx([0.5, 13.7583333, 13.0])
    assert X[:, 1:].tolist() == [[6, 0, 0], [18, 0.5, 0], [12, 0.25, 1]]


# --- the target ------------------------------------------------------------------------------------------------------


def kind_of(name: str, values: list[Any], **options: Any) -> str:
    found = tables.target_of(tables.from_frame({name: values}, "t.csv"), name, **options)
    return "number" if found.classes is None else " ".join(found.classes)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("price", [310, 250, 410, 300, 275, 390, 505, 199, 330, 610, 480, 295], "number"),  # twelve houses
        ("quality", [5, 6, 5, 7, 4, 6, 5, 8, 3, 6] * 10, "number"),
        ("count", [0, 0, 1, 2, 0, 5, 3, 1, 0, 2] * 5, "number"),
        ("year", list(range(1990, 2000)), "number"),
        ("y", [0, 1, 1, 0], "0 1"),
        ("y", [-1.0, 1.0, 1.0, -1.0], "-1 1"),
        ("y", [1, 2, 3] * 10, "1 2 3"),
        ("species", [1, 2, 3, 4, 5] * 4, "1 2 3 4 5"),
        ("digit", list(range(10)) * 3, "0 1 2 3 4 5 6 7 8 9"),
        ("y", list(range(10)) * 12, "0 1 2 3 4 5 6 7 8 9"),
        ("y", [0.5, 1, 2, 1], "number"),
        ("y", ["p", "q", "p"], "p q"),
        ("y", [True, False, True], "False True"),
        ("y", ["1", "2.0", "2"], "1 2"),
    ],
)
def test_classes_and_numbers_are_guessed_with_sense(name: str, values: list[Any], expected: str) -> None:
    assert kind_of(name, values) == expected


def test_the_guess_can_be_overruled() -> None:
    values = list(range(25)) * 2
    assert kind_of("y", values) == "number"
    assert len(kind_of("y", values, task="classification").split()) == 25
    assert kind_of("y", [1, 2, 3] * 10, task="regression") == "number"
    found = tables.target_of(table(y=[1, 2, 3] * 10), "y")
    assert found.guessed == "it has 3 different values"
    assert tables.target_of(table(y=[1, 2, 3] * 10), "y", task="regression").guessed == ""
    with pytest.raises(ValueError, match=r"column 'y': 'p' in row 1 is not a number: --task classification treats"):
        kind_of("y", ["p", "q"], task="regression")


@pytest.mark.parametrize("marker", ["NA", "?", "-", "N/A", "null", "None", "#N/A", ""])
def test_rows_without_a_target_are_left_out(marker: str) -> None:
    values = [str(41 + i * i) for i in range(30)]
    values[4] = values[24] = marker
    found = tables.target_of(table(ozone=values), "ozone")
    assert found.classes is None
    assert found.y.tolist() == [float(v) for v in values if v != marker]
    assert found.notes == ("2 rows have no 'ozone' and are left out (5, 25)",)


def test_texts_among_the_numbers_of_a_target_are_an_error_with_two_ways_out() -> None:
    values = [*map(str, range(30)), "unknown"]
    with pytest.raises(ValueError, match=r"1 other cell, such as 'unknown' in row 31: .* --missing; --task"):
        kind_of("y", values)
    assert kind_of("y", values, markers=["unknown"]) == "number"


def test_labels_that_differ_in_capitals_alone_are_said() -> None:
    found = tables.target_of(table(y=["Up", "Up", "up", "up ", "Down", "Down"]), "y")
    assert found.classes == ("Down", "Up", "up")
    assert found.notes == (
        "the classes 'Up', 'up' of 'y' differ only in capitals or spaces: correct the table if they are the same",
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([3, 3, 3], r"the target 'y' is '3' in all 3 rows, so there is nothing to tell apart: choose another target"),
        (["NA", "NA"], r"t.csv has no rows with a target in 'y': learning needs at least 2"),
        (["1", "NA"], r"t.csv has only 1 row with a target in 'y': learning needs at least 2"),
        (["2024-01-01", "2024-01-02", "2024-01-05"], r"it holds dates, which cannot be a target"),
        ([1.5, float("inf")], r"inf in row 2 is not a finite number: remove the row"),
    ],
)
def test_targets_that_cannot_be_learned(values: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind_of("y", values)


# --- files and frames ------------------------------------------------------------------------------------------------


def everything() -> dict[str, list[Any]]:
    return {
        "number": [1.5, None, 3.25, 8.0],
        "whole": [1, 2, 3, 5],
        "word": ["p", "q", None, "p"],
        "yes": [True, False, True, True],
        "day": [datetime.datetime(2024, 1, day) for day in (1, 2, 3, 5)],
    }


def test_a_plan_survives_its_file() -> None:
    data = tables.from_frame(everything())
    plan = tables.plan_of(data, markers=["-9"])
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.numbers(data)[0].tobytes() == plan.numbers(data)[0].tobytes()


@pytest.mark.parametrize("change", [
    {"features": 3}, {"features": [{"name": 3, "kind": "number"}]}, {"features": [{"name": "a", "kind": "colour"}]},
    {"features": [{"name": "a", "kind": "number", "median": float("nan")}]}, {"features": [{"name": "a"}]},
    {"features": [{"name": "a", "kind": "category", "categories": [1]}]}, {"markers": 1},
    {"features": [{"name": "a", "kind": "number", "danger": 1}]},
    {"features": [{"name": "a", "kind": "date", "since": "whenever"}]},
    {"features": [{"name": "a", "kind": "date", "parts": ["second"]}]},
    {"features": [{"name": "a", "kind": "number"}] * 2},
])  # fmt: skip
def test_plans_that_lie(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Plan.from_json({"markers": [], "features": []} | change)


def test_columns_are_found_by_name_and_missing_ones_are_named() -> None:
    data = tables.from_frame(everything())
    plan = tables.plan_of(data)
    shuffled = Table({"more": np.zeros(4), **dict(reversed(data.columns.items()))})
    assert plan.numbers(shuffled)[0].tobytes() == plan.numbers(data)[0].tobytes()
    with pytest.raises(ValueError, match=r"t.csv lacks 'number', 'word'; it has 'whole', 'yes', 'day'"):
        plan.numbers(Table({name: data.columns[name] for name in ("whole", "yes", "day")}, "t.csv"))


def test_pandas_polars_and_arrow_give_the_same(tmp_path: Path) -> None:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    data = everything()
    plan = tables.plan_of(tables.from_frame(data))
    expected = plan.numbers(tables.from_frame(data))[0]
    for frame in (
        pd.DataFrame(data),
        pd.DataFrame(data).convert_dtypes(),
        pd.DataFrame(data).astype({"word": "category", "whole": "int8"}),
        pl.DataFrame(data),
        pl.DataFrame(data).with_columns(pl.col("word").cast(pl.Categorical)).lazy(),
        pa.table(data),
        pa.table(data | {"word": pa.array(data["word"]).dictionary_encode()}),
    ):
        assert tables.is_frame(frame)
        found = tables.from_frame(frame)
        assert tables.plan_of(found) == plan
        assert plan.numbers(found)[0].tolist() == expected.tolist()
    doubled = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(ValueError, match="two columns named 'a': rename one"):
        tables.from_frame(doubled)
    with pytest.raises(
        TypeError, match="a table is one of pandas, polars or Arrow, or a mapping of columns; got a list"
    ):
        tables.from_frame([[1, 2]])
