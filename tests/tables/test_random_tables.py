"""Random tables: a row alone as among others, columns in any order, and the same from every library and form."""

from __future__ import annotations

import calendar
import datetime
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from macrograd import tables
from macrograd.tables.table import Table, of_values

MONTHS = list(calendar.month_name)[1:]

DAYS: dict[str, Callable[[datetime.datetime], str]] = {
    "iso": lambda m: f"{m:%Y-%m-%d}",
    "one digit": lambda m: f"{m.year}/{m.month}/{m.day}",
    "points": lambda m: f"{m:%d.%m.%Y}",
    "words": lambda m: f"{m.day} {MONTHS[m.month - 1]} {m.year}",
    "month first": lambda m: f"{MONTHS[m.month - 1][:3]} {m.day}, {m.year}",
    "dashes": lambda m: f"{m.day:02}-{MONTHS[m.month - 1][:3]}-{m.year}",
}
CLOCKS: dict[str, Callable[[datetime.datetime], str]] = {
    "none": lambda m: "",
    "minutes": lambda m: f" {m:%H:%M}",
    "seconds": lambda m: f" {m:%H:%M:%S}.000",
    "half a day": lambda m: f" {m:%I:%M %p}",
}
SPANS: dict[str, Callable[[int], str]] = {
    "clock": lambda s: f"{s // 3600}:{s // 60 % 60:02}:{s % 60:02}",
    "iso": lambda s: f"PT{s // 3600}H{s // 60 % 60}M{s % 60}S",
    "words": lambda s: f"{s // 3600}h {s // 60 % 60}m {s % 60}s",
    "pandas": lambda s: f"{s // 86400} days {s // 3600 % 24:02}:{s // 60 % 60:02}:{s % 60:02}",
}


def moment(draw: random.Random, day: bool) -> datetime.datetime:
    found = datetime.datetime(2015, 1, 1) + datetime.timedelta(minutes=draw.randrange(10 * 365 * 1440))
    return found.replace(hour=0, minute=0) if day else found


def written(m: datetime.datetime, form: tuple[str, str, bool], draw: random.Random) -> str:
    """A moment of UTC in one form, in a random zone if it has one."""
    day, clock, zoned = form
    ahead = draw.choice([0, 120, -300, 330]) if zoned else 0
    local = m + datetime.timedelta(minutes=ahead)
    sign, far = "-" if ahead < 0 else "+", abs(ahead)
    return DAYS[day](local) + CLOCKS[clock](local) + (f"{sign}{far // 60:02}:{far % 60:02}" if zoned else "")


def table(**columns: list[Any]) -> Table:
    return Table({name: of_values(column) for name, column in columns.items()}, "a table")


def with_gaps(cells: list[Any], draw: random.Random, share: float) -> list[Any]:
    return [draw.choice(["", "NA", None]) if draw.random() < share else cell for cell in cells]


def alike(plan: tables.Plan, columns: dict[str, list[Any]], draw: random.Random) -> np.ndarray:
    """The numbers of a table, which are those of its rows alone, of its columns in another order, and of the plan read
    from a file."""
    found, _ = plan.numbers(table(**columns))
    names = draw.sample(list(columns), len(columns))
    assert np.array_equal(found, plan.numbers(table(more=["1"] * len(found), **{n: columns[n] for n in names}))[0])
    again = tables.Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    for k, row in enumerate(found):
        alone = {name: cells[k : k + 1] for name, cells in columns.items()}
        assert np.array_equal(again.numbers(table(**alone))[0][0], row)
    return found


@pytest.mark.parametrize("seed", range(60))
def test_moments_are_the_same_in_every_form(seed: int) -> None:
    draw = random.Random(seed)
    day = draw.random() < 0.4
    zoned = not day and draw.random() < 0.5
    forms = [(draw.choice(list(DAYS)), "none" if day else draw.choice(list(CLOCKS)[1:]), zoned) for _ in range(2)]
    known, asked = ([moment(draw, day) for _ in range(count)] for count in (20, 5))
    cells = [written(m, forms[0], draw) for m in known]
    plan = tables.plan_of(table(t=with_gaps(cells, draw, 0.1), x=[draw.random() for _ in known]))
    feature = plan.features[0]
    assert (feature.kind, bool(feature.unit)) == ("date", zoned)
    found = alike(plan, {"t": [written(m, forms[1], draw) for m in asked], "x": [0.5] * 5}, draw)
    for m, row in zip(asked, found, strict=True):
        elapsed = (m - datetime.datetime.fromisoformat(feature.since)) / datetime.timedelta(days=1)
        parts = {"year": m.year, "month": m.month, "weekday": m.weekday(), "hour": m.hour + m.minute / 60}
        right = [(parts | {"elapsed": elapsed})[part] for part in feature.parts]
        assert row[: len(right)].tolist() == pytest.approx(right, rel=1e-14, abs=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_durations_are_the_same_in_every_form(seed: int) -> None:
    draw = random.Random(seed)
    known, asked = ([draw.randrange(10**6) for _ in range(count)] for count in (20, 5))
    one, other = draw.choice(list(SPANS)), draw.choice(list(SPANS))
    cells = with_gaps([SPANS[one](s) for s in known], draw, 0.1)
    plan = tables.plan_of(table(t=cells, x=[draw.random() for _ in known]))
    assert plan.features[0].kind == "duration"
    found = alike(plan, {"t": [SPANS[other](s) for s in asked], "x": [0.5] * 5}, draw)
    assert found[:, 0].tolist() == asked


@pytest.mark.parametrize("seed", range(12))
def test_libraries_hold_the_same_columns(seed: int) -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    draw = random.Random(seed)
    zone = datetime.UTC if seed % 2 else None
    makers: dict[str, Callable[[], Any]] = {
        "number": lambda: round(draw.gauss(0, 100), 3),
        "category": lambda: draw.choice(["Rome", "Oslo", "é"]),
        "truth": lambda: draw.random() < 0.5,
        "moment": lambda: moment(draw, False).replace(tzinfo=zone),
        "span": lambda: datetime.timedelta(seconds=draw.randrange(10**6)),
        "time": lambda: moment(draw, False).time(),
    }
    share = draw.choice([0.0, 0.2])
    tall, short = (
        {name: [None if draw.random() < share else make() for _ in range(count)] for name, make in makers.items()}
        for count in (30, 6)
    )
    text = {name: [None if x is None else str(x) for x in cells] for name, cells in short.items()}
    plan = tables.plan_of(tables.from_frame(tall))
    found = alike(plan, short, draw)
    for frame in (pandas.DataFrame(short), polars.DataFrame(short), polars.DataFrame(short).to_arrow(), text):
        assert np.array_equal(plan.numbers(tables.from_frame(frame))[0], found)
