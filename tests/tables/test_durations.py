"""Durations become seconds, in every way that a table holds them; times with an offset become UTC."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest

from macrograd import tables
from macrograd.tables import dates, durations
from macrograd.tables.table import Table, of_pandas, of_polars, of_values

TIMES = [
    ("1:23:45", 5025.0),
    ("100:00:00", 360000.0),
    ("3:59.4", 239.4),
    ("-0:10:00", -600.0),
    ("2 days 03:04:05", 183845.0),
    ("-1 day, 23:59:00", -60.0),
    ("PT1H30M", 5400.0),
    ("P1DT0.5S", 86400.5),
    ("1h 30m", 5400.0),
    ("250ms", 0.25),
    ("1 day 2 hours", 93600.0),
    ("1,5 h", 5400.0),
]


@pytest.mark.parametrize(("text", "seconds"), TIMES)
def test_a_duration_is_its_seconds(text: str, seconds: float) -> None:
    assert durations.seconds_of(text) == pytest.approx(seconds, rel=1e-15)


@pytest.mark.parametrize("text", ["", "P", "PT", "5M", "10 W", "1:75:00", "12:30 pm", "1:2", "abc", "3", "2024-01-31"])
def test_what_is_no_duration(text: str) -> None:
    assert durations.seconds_of(text) is None


def _learned(column: list[str | None]) -> tables.Plan:
    cells = np.empty(len(column), dtype=object)
    cells[:] = column
    return tables.plan_of(Table({"t": cells, "x": np.arange(float(len(column)))}, "a table"))


def test_times_of_day_are_times_and_longer_ones_are_durations() -> None:
    assert [_learned(["9:30", "12:15", "23:59", "0:10"]).features[0].kind] == ["date"]
    feature = _learned(["9:30:00", "12:15:30", "30:00:00", None]).features[0]
    assert (feature.kind, feature.unit, feature.median) == ("duration", "seconds", 44130.0)
    assert _learned(["21:18", "3:1 aet", "30:28", "21:18"] * 5).features[0].kind == "category"  # scores


def test_an_offset_leads_to_utc() -> None:
    found = dates.moments(["2024-01-31T12:00:00+02:00", "2024-01-31 12:00:00Z", "2024-01-31T23:30:00-0130"])
    assert found is not None
    assert found.zoned
    assert found.values.astype(str).tolist() == ["2024-01-31T10:00:00", "2024-01-31T12:00:00", "2024-02-01T01:00:00"]
    plain = dates.moments(["2024-01-31 12:00:00", "2024-02-01 12:00:00"])
    assert plain is not None
    assert not plain.zoned


def test_days_as_eight_digits_and_months_quarters_and_weeks() -> None:
    assert dates.compact(["20240131", "20240229"])
    assert not dates.compact(["20240131", "20240230"])
    for texts, first in (
        (["Oct-18", "Nov-18"], "2018-10-01"),
        (["2024Q2", "2024Q3"], "2024-04-01"),
        (["2024-W05", "2024-W06"], "2024-01-29"),
        (["2024M03", "2024M04"], "2024-03-01"),
        (["March 2024", "May 2024"], "2024-03-01"),
    ):
        found = dates.moments(texts)
        assert found is not None
        assert str(found.values[0]).startswith(first), texts


def test_columns_of_other_libraries() -> None:
    spans = [datetime.timedelta(hours=1, seconds=2), None, datetime.timedelta(days=3)]
    expected = np.array([3_602_000_000, np.iinfo(np.int64).min, 259_200_000_000]).astype("timedelta64[us]")
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for found in (of_values(spans), of_pandas(pandas.Series(spans)), of_polars(polars.Series(spans))):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected, equal_nan=True)


def test_a_table_with_durations_is_learned_kept_and_predicted(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("race,pace,y\n1:02:03,PT4M,1\n26:00:00,PT5M30S,2\n,PT6M,4\n2:00:00,PT7M,3\n")
    table = tables.read(path)
    plan = tables.plan_of(table, target="y")
    assert [(f.kind, f.unit) for f in plan.features] == [("duration", "seconds")] * 2
    again = tables.Plan.from_json(plan.to_json())
    numbers, _ = again.numbers(table)
    race = numbers[:, plan.names.index("race")]
    assert race.tolist() == [3723.0, 93600.0, 7200.0, 7200.0]  # the missing one is the median
    assert numbers[:, plan.names.index("pace")].tolist() == [240.0, 330.0, 360.0, 420.0]
    assert "duration" in str(plan.to_json())


def test_dates_that_are_missing_are_the_middles_of_training() -> None:
    cells = np.array(["2024-01-31", "2024-03-05", "2024-06-09", None], dtype=object)
    table = Table({"d": cells, "x": np.arange(4.0)}, "a table")
    plan = tables.plan_of(table)
    feature = plan.features[0]
    assert len(feature.middles) == len(feature.parts)
    alone = Table({"d": cells[3:], "x": np.arange(1.0)}, "another")
    found, _ = tables.Plan.from_json(plan.to_json()).numbers(alone)
    assert found[0, : len(feature.parts)].tolist() == list(feature.middles)
