"""Tables whose cells are written otherwise than in training: read as the same, or refused, but never as others."""

from __future__ import annotations

import datetime
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd import nn, tables
from macrograd.tables import show
from macrograd.tables.table import Table, of_arrow, of_values, utc
from macrograd.train import Trainer


def table(**columns: list[Any]) -> Table:
    return Table({name: of_values(column) for name, column in columns.items()}, "a table")


def learned(*cells: Any, kind: str | None = None) -> tables.Plan:
    data = table(t=list(cells), x=[float(k) for k in range(len(cells))])
    return tables.plan_of(data, "x", kind={} if kind is None else {"t": kind})


def numbers(plan: tables.Plan, *cells: Any) -> list[list[float]]:
    found, _ = plan.numbers(table(t=list(cells)))
    return found.tolist()


def shown(plan: tables.Plan, *cells: Any) -> str:
    out = io.StringIO()
    show.understood(table(t=list(cells)), None, plan, out)
    return " ".join(out.getvalue().split())


LOCAL = ["2024-01-31 12:00", "2024-02-03 18:30", "2024-03-05 06:15"]
ZONED = ["2024-01-31 12:00+02:00", "2024-02-03T18:30Z", "2024-03-05 06:15-05:00"]


def test_an_offset_against_none_is_refused_in_both_directions() -> None:
    plan = learned(*LOCAL)
    with pytest.raises(
        ValueError, match=r"'2024-02-03T18:30Z' in row 2 has an offset from UTC, and the times in train"
    ):
        numbers(plan, LOCAL[0], ZONED[1])
    plan = learned(*ZONED)
    with pytest.raises(ValueError, match=r"a table, column 't': '2024-01-31 12:00' in row 1 has no offset from UTC"):
        numbers(plan, *LOCAL)
    with pytest.raises(ValueError, match="row 2 has no offset"):
        numbers(plan, ZONED[0], LOCAL[0])
    assert numbers(plan, ZONED[0], None) == [numbers(plan, ZONED[0])[0], numbers(plan, None)[0]]


def test_times_of_day_with_an_offset_are_compared_in_the_same_way() -> None:
    plan = learned("9:30+02:00", "23:15Z", "0:45-01:00")
    assert numbers(plan, "1:30+02:00") == [[23.5]]
    with pytest.raises(ValueError, match="'9:30' in row 1 has no offset"):
        numbers(plan, "9:30")
    with pytest.raises(ValueError, match="'9:30Z' in row 1 has an offset"):
        numbers(learned("9:30", "23:15", "0:45"), "9:30Z")


def test_cells_without_an_offset_beside_others_count_as_utc_which_is_said() -> None:
    cells = [*ZONED, "2024-02-04 10:00"]
    plan = learned(*cells)
    assert "in UTC; cells without an offset count as UTC" in shown(plan, *cells)
    assert numbers(plan, "2024-02-04 10:00") == numbers(plan, "2024-02-04 11:00+01:00")
    assert tables.Plan.from_json(plan.to_json()) == plan
    assert "in UTC" in shown(learned(*ZONED), *ZONED)
    assert "UTC" not in shown(learned(*LOCAL), *LOCAL)


def moments(zone: datetime.tzinfo | None) -> list[datetime.datetime]:
    return [datetime.datetime(2024, 1, 31 - k, 10 + k, tzinfo=zone) for k in range(4)]


def frames(zone: datetime.tzinfo | None) -> list[Table]:
    """The same moments as each library holds them."""
    pandas, polars, arrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    cells = moments(zone)
    text = [cell.isoformat() for cell in cells]
    found: list[Any] = [pandas.DataFrame({"t": cells}), polars.DataFrame({"t": cells}), arrow.table({"t": cells})]
    found += [
        pandas.DataFrame({"t": pandas.array(arrow.array(cells), dtype=pandas.ArrowDtype(arrow.array(cells).type))})
    ]
    return [*map(tables.from_frame, found), table(t=cells), table(t=text)]


@pytest.mark.parametrize("zone", [None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=9))])
def test_moments_of_libraries_have_an_offset_if_they_have_a_zone(zone: datetime.tzinfo | None) -> None:
    found = frames(zone)
    for data in found:
        plan = tables.plan_of(data)
        expected = plan.numbers(data)[0]
        for other in found:
            assert np.array_equal(plan.numbers(other)[0], expected)
        for other in frames(None if zone else datetime.UTC):
            with pytest.raises(ValueError, match="offset from UTC"):
                plan.numbers(other)


def test_files_with_a_zone_are_moments_with_an_offset(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    for ending, how in ((".parquet", "parquet"), (".jsonl", "json")):
        path = tmp_path / f"zoned{ending}"
        cells = "SELECT TIMESTAMPTZ '2024-01-31 12:00:00+02' + INTERVAL 1 DAY * k AS t FROM range(3) r(k)"
        duckdb.execute(f"COPY ({cells}) TO '{path}' (FORMAT {how})")
        data = tables.read(path)
        with pytest.raises(ValueError, match="has no offset"):
            tables.plan_of(data).numbers(table(t=LOCAL))
        assert tables.plan_of(data).numbers(table(t=["2024-01-31T10:00Z"]))[0][0, 0] == pytest.approx(
            tables.plan_of(data).numbers(data)[0][0, 0]
        )


def test_a_note_of_utc_outlives_what_is_done_with_a_table() -> None:
    data = Table({"t": utc(np.array(["2024-01-31T10:00", "2024-02-01T11:00"], "M8[s]"))}, "a table")
    plan = tables.plan_of(data)
    assert plan.features[0].unit == "UTC"
    assert plan.numbers(data.rows(np.array([True, False])))[0].shape[0] == 1


# --- orders of dates --------------------------------------------------------------------------------------------------


def test_dates_that_begin_with_the_year_do_not_say_what_1_2_2024_is() -> None:
    plan = learned("2024-01-31", "2024-02-03", "2024-03-05")
    with pytest.raises(ValueError, match=r"'1/2/2024' may be the month 1 or 2, and training had dates that begin with"):
        numbers(plan, "2024-01-31", "1/2/2024")
    assert numbers(plan, "31/1/2024", "1/31/2024", "31.1.2024", "2/2/2024") == numbers(
        plan, "2024-01-31", "2024-01-31", "2024-01-31", "2024-02-02"
    )
    assert numbers(plan, "1.2.2024") == numbers(plan, "2024-02-01")
    assert numbers(learned("31/1/2024", "3/2/2024"), "1/2/2024") == numbers(plan, "2024-02-01")


def test_a_date_that_contradicts_the_order_of_training_makes_all_doubtful() -> None:
    plan = learned("31/1/2024", "3/2/2024")
    with pytest.raises(ValueError, match=r"'1/31/2024' has no month 31, and training had dates with the day first"):
        numbers(plan, *["1/2/2024"] * 20, "1/31/2024")
    plan = learned("1/31/2024", "3/2/2024")
    with pytest.raises(ValueError, match=r"'31/1/2024' has no month 31, and training had dates with the month first"):
        numbers(plan, "1/2/2024", "31/1/2024")


def test_the_point_before_a_fraction_of_a_second_is_no_mark_of_a_date() -> None:
    assert learned("1/2/2024 10:00:00.000", "3/4/2024 11:00:00.000").features[0].order == "mdy"
    with pytest.raises(ValueError, match="may be the month 1 or 2"):
        numbers(learned("2024-01-31", "2024-02-03"), "1/2/2024 10:00:00.000")


def test_months_have_names_in_other_languages() -> None:
    cells = ["5 März 2024", "1 Juni 2023", "7. Okt. 2024".replace(".", "", 1), "3 août 2022", "12 diciembre 2021"]
    plan = learned(*cells)
    assert plan.features[0].kind == "date"
    assert numbers(plan, *cells) == numbers(plan, "2024-03-05", "2023-06-01", "2024-10-07", "2022-08-03", "2021-12-12")


# --- durations --------------------------------------------------------------------------------------------------------


def test_two_numbers_are_what_the_others_of_training_say_and_it_is_said() -> None:
    plan = learned("40:18", "30:00", "25:30")
    assert "40:18 is hours and minutes; otherwise --kind t=duration:m:ss or category" in shown(plan, "40:18")
    assert numbers(plan, "40:18", "1:02:03") == [[145080.0], [3723.0]]
    plan = learned("1:02:03", "58:20", "3:59.4")
    assert "40:18 is minutes and seconds; otherwise --kind t=duration:h:mm or category" in shown(plan, "58:20")
    assert numbers(plan, "58:20") == [[3500.0]]
    plan = learned("40:18", "30:00", "25:30", kind="duration:m:ss")
    assert numbers(plan, "40:18") == [[2418.0]]
    assert tables.Plan.from_json(plan.to_json()) == plan


def test_two_numbers_without_a_model_in_training_are_refused() -> None:
    for plan in (
        learned("26:02:03", "0:58:20"),
        learned("PT4M", "PT5M"),
        learned(datetime.timedelta(1), datetime.timedelta(2)),
    ):
        with pytest.raises(
            ValueError, match="'58:20' may be hours and minutes or minutes and seconds, and training had"
        ):
            numbers(plan, "1:00:00", "58:20")


def test_python_is_told_what_cells_did_not_say() -> None:
    X = {"t": [*ZONED, "2024-02-04 10:00"], "lap": ["40:18", "30:00", "25:30", "50:00"]}
    trainer = Trainer(nn.MLP(len(tables.plan_of(tables.from_frame(X)).names), [1]), "squared_error", scale="standard")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.fit(X, [1.0, 2.0, 3.0, 4.0], steps=1, progress=False)
    otherwise = "; if that is wrong, give numbers or moments instead of text"
    assert [str(warning.message) for warning in told] == [
        "X: column 't': cells without an offset count as UTC" + otherwise,
        "X: column 'lap': 40:18 is hours and minutes" + otherwise,
    ]
    assert learned(*LOCAL).assumed == learned("26:00:00", "1:00:00").assumed == []


def test_files_that_do_not_say_what_two_numbers_are_have_hours_and_minutes() -> None:
    plan = tables.Plan((tables.Feature("t", "duration", unit="seconds", median=1.0),))
    assert numbers(plan, "40:18") == [[145080.0]]


def test_times_of_day_say_what_else_they_may_be() -> None:
    cells = ["21:18", "13:20", "9:07"]
    assert "date (hms) hour of a day; otherwise --kind t=duration or category" in shown(learned(*cells), *cells)


def test_a_target_of_two_numbers_says_how_they_are_read() -> None:
    data = table(t=["40:18", "30:00", "25:30"], x=[1.0, 2.0, 3.0])
    found = tables.target_of(data, "t")
    assert found.notes == ("'40:18' in 't' is read as hours and minutes; otherwise --kind t=duration:m:ss",)
    assert found.y.tolist() == [145080.0, 108000.0, 91800.0]
    found = tables.target_of(data, "t", kind="duration:m:ss")
    assert found.notes == ("'40:18' in 't' is read as minutes and seconds",)
    assert found.y.tolist() == [2418.0, 1800.0, 1530.0]
    for kind in ("category", "duration:x"):
        with pytest.raises(ValueError, match=f"the kind '{kind}' of the target 't' is not known: a target is a number"):
            tables.target_of(data, "t", kind=kind)
    with pytest.raises(ValueError, match="column 'x': 1 is a number and not a duration"):
        tables.target_of(data, "x", kind="duration")
    with pytest.raises(ValueError, match="'t' is a target, and has no kind: name its --task"):
        tables.plan_of(data, "t", kind={"t": "number"})
    data = table(t=["1:40:18", "30:00", "25:30"], x=[1.0, 2.0, 3.0])
    assert tables.target_of(data, "t").notes[0].startswith("'30:00' in 't' is read as minutes and seconds; otherwise")


def test_a_kind_that_most_cells_are_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"column 't': 3 of its cells are not a date, such as '40:18' in row 1"):
        learned("40:18", "30:00", "25:30", "9:15", kind="date")


@pytest.mark.parametrize("cell", [datetime.timedelta(hours=2), 7200.0, "2024-01-31"])
def test_durations_numbers_and_dates_do_not_stand_for_each_other(cell: Any) -> None:
    plans = {
        "1:00:00": learned("26:00:00", "1:00:00"),
        5.0: learned(5.0, 7.0),
        "2024-02-01": learned("2024-01-31", "2024-02-01"),
    }
    for known, plan in plans.items():
        if isinstance(cell, datetime.timedelta) and known == "1:00:00":
            assert numbers(plan, cell) == [[7200.0]]
        elif (isinstance(cell, float) and known == 5.0) or (isinstance(cell, str) and known == "2024-02-01"):
            numbers(plan, cell)
        else:
            with pytest.raises(ValueError, match=r"is not a|holds durations|is a number and not a"):
                numbers(plan, cell)


def test_categories_of_durations_are_written_as_pandas_does() -> None:
    spans = [datetime.timedelta(days=1), datetime.timedelta(days=7)] * 3
    plan = tables.Plan((tables.Feature("t", "category", categories=("1 days 00:00:00", "7 days 00:00:00")),))
    assert numbers(plan, *spans[:2]) == [[1.0, 0.0], [0.0, 1.0]]


# --- nothing but missing cells ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [("a", "a", "b", "b", None, "c"), LOCAL, (1.0, 2.0, None), ("26:00:00", "1:00:00")])
@pytest.mark.parametrize("missing", [None, "NA", float("nan")])
def test_a_row_with_a_missing_cell_is_the_same_alone_and_beside_others(cells: tuple[Any, ...], missing: Any) -> None:
    plan = learned(*cells)
    if isinstance(cells[0], float) and missing == "NA":
        return
    beside = numbers(plan, cells[0], missing if not isinstance(missing, float) else None)
    assert numbers(plan, missing) == beside[1:]
    expected = plan.cells(table(t=[cells[0], None]))[1:]
    assert np.array_equal(plan.cells(table(t=[missing])), expected, equal_nan=True)


def test_arrow_moments_in_a_zone() -> None:
    arrow = pytest.importorskip("pyarrow")
    cells = arrow.array(moments(datetime.UTC))
    assert of_arrow(cells).dtype.metadata == {"utc": True}


# --- truths -----------------------------------------------------------------------------------------------------------


def test_bools_with_gaps_are_yes_and_no_in_every_library() -> None:
    pandas, polars, arrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    cells = [True, None, False, True]
    masked = np.ma.MaskedArray([True, True, False, True], mask=[False, True, False, False])
    found = [
        pandas.DataFrame({"t": pandas.array(cells, dtype="boolean")}),
        polars.DataFrame({"t": cells}),
        arrow.table({"t": cells}),
        {"t": cells},
        {"t": masked},
        {"t": ["true", "", "false", "true"]},
    ]
    plans = [tables.plan_of(tables.from_frame(data)) for data in found]
    assert plans == plans[:1] * len(found)
    assert plans[0].features[0].kind == "yes/no"
    for data in found:
        assert plans[0].numbers(tables.from_frame(data))[0].tolist() == [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
