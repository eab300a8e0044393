"""`Feature`: how one column of a table is encoded for a net, learned from some of its rows."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.tables import cells, dates, durations, kinds
from macrograd.tables.cells import Style
from macrograd.tables.kinds import Understood
from macrograd.tables.table import listed

Array = NDArray[Any]

# A category gets a separate column if it has this many rows, or this share of them; at most this many do.
_LEAST_ROWS, _LEAST_SHARE, _MOST_CATEGORIES = 2, 0.005, 50
MISSING, OTHER = "missing", "other"


@dataclass(frozen=True)
class Feature:
    """One column of a table, and the columns of numbers that it becomes.

    name, kind  of the column; kind "" for one that is left out, with a reason
    missing     how many cells were empty
    median      the replacement for a missing number; NaN if none is known, so that missing ones are refused
    indicator   whether another column tells where numbers were missing
    categories  in order; rare ones share one column `other`, and missing ones another if `indicator`
    order       of dates and of durations, see `kinds.Understood`
    parts       for dates: the numbers made of them; `middles` are the replacements of missing ones, and `since` is the
                origin of elapsed time, as ISO 8601
    decimal     how the table wrote numbers; "" if neither it nor the column told
    whole       whether all numbers were integers
    marks       of dates, see `kinds.Understood`; "" if the user said their order
    doubt       a cell of the table that could be read in two ways, where none told in which
    said        whether the user said how the cells are read
    """

    name: str
    kind: str
    missing: int = 0
    reason: str = ""
    unit: str = ""
    median: float = 0.0
    indicator: bool = False
    categories: tuple[str, ...] = ()
    other: bool = False
    order: str = ""
    parts: tuple[str, ...] = ()
    middles: tuple[float, ...] = ()
    since: str = ""
    decimal: str = "."
    spoilt: int = 0
    example: str = ""
    whole: bool = False
    marks: str = ""
    doubt: str = ""
    said: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the columns of numbers."""
        if self.kind == "category":
            found = [f"{self.name}={category}" for category in self.categories]
            return [*found, *[f"{self.name}={OTHER}"] * self.other, *[f"{self.name}={MISSING}"] * self.indicator]
        if self.kind == "date":
            found = [f"{self.name} {part}" for part in self.parts]
        else:
            found = [self.name] if self.kind else []
        return [*found, *[f"{self.name} {MISSING}"] * self.indicator]

    @property
    def first_form(self) -> bool:
        """Whether this is a date of a file without `middles`. When such files were written, the replacements of missing
        dates were the medians of the rows at hand, 0 if there were none, and offsets from UTC in text were ignored."""
        return self.kind == "date" and not self.middles

    @property
    def instead(self) -> tuple[float, ...]:
        """The replacement of each number of a missing cell, if it is the only row."""
        if self.kind == "date":
            return self.middles or (0.0,) * len(self.parts)
        return (self.median,)

    @property
    def assumed(self) -> list[tuple[str, str]]:
        """What the cells of the table did not say, in words, and the kinds by which it can be said."""
        found = []
        if self.unit == kinds.SOME_UTC:
            found.append(("cells without an offset count as UTC", ""))
        if self.kind == "duration" and self.order in durations.MEANINGS:
            other = durations.HOURS if self.order == durations.MINUTES else durations.MINUTES
            found.append((f"40:18 is {durations.MEANINGS[self.order]}", f"duration:{other} or category"))
        if self.doubt and self.kind == "number":
            found.append(cells.as_read(self.doubt, Style(self.decimal)))
        if self.doubt and self.kind == "date":
            first, other = ("day", "mdy") if self.order == "dmy" else ("month", "dmy")
            found.append((f"{self.doubt!r} has the {first} first", f"date:{other}"))
        return found

    def becomes(self) -> str:
        """The encoding of the column, in words."""
        if not self.kind:
            return f"left out: {self.reason}"
        told = []
        if self.kind == "category":
            count = len(self.categories)
            told.append(f"{count} column{'s' * (count != 1)} of 0 and 1")
            told += ["rare ones together"] * self.other + ["missing ones, too"] * self.indicator
        elif self.kind == "date":
            of_a_day = " of a day" if self.order == "hms" else ""
            told.append(", ".join(self.parts) + of_a_day + (" in UTC" if self.unit else ""))
            if of_a_day:
                told.append(f"otherwise --kind {self.name}=duration or category")
            told += ["a column for missing ones"] * self.indicator
        elif self.kind == "yes/no":
            told += ["0 or 1"] + ["a column for missing ones"] * self.indicator
        else:
            told.append(f"as it is{f', in {self.unit}' if self.unit else ''}")
            told += [f"missing ones {self.median:.6g}, and a column for them"] * self.indicator
        for what, otherwise in self.assumed:
            told += [what] + [f"otherwise --kind {self.name}={otherwise}"] * bool(otherwise)
        if self.spoilt:
            many = "1 cell counts" if self.spoilt == 1 else f"{self.spoilt} cells count"
            told.append(f"{many} as missing, such as {self.example}")
        return "; ".join(told)

    def columns(self, found: Understood) -> list[Array]:
        """The columns of numbers for a column read as this kind."""
        gone = found.gone
        flag = [gone.astype(np.float64)] if self.indicator else []
        if self.kind == "category":
            index = self._index(found)
            return [(index == k).astype(np.float64) for k in range(len(self.categories) + self.other)] + flag
        if self.kind == "date":
            numbers, instead = self._parts(found), self.instead
            if self.first_form and not gone.all():
                instead = tuple(float(np.median(column[~gone])) for column in numbers)
            return [np.where(gone, m, c) for c, m in zip(numbers, instead, strict=True)] + flag
        return [np.where(gone, self.median, found.values), *flag] if self.kind else []

    def cells(self, found: Understood) -> list[Array]:
        """The cells of a column read as this kind, as numbers: see `Plan.cells`."""
        if self.kind == "category":
            return [self._index(found).astype(np.float64)]
        return self._parts(found) if self.kind == "date" else [found.values.astype(np.float64)]

    def _index(self, found: Understood) -> NDArray[np.int64]:
        """The index of each cell's category, -1 if missing, their number if unknown."""
        place = {category: k for k, category in enumerate(self.categories)}
        indices = (-1 if x is None else place.get(x, len(place)) for x in found.values)
        return np.fromiter(indices, np.int64, len(found.values))

    def _parts(self, found: Understood) -> list[Array]:
        return list(dates.parts(found.values, self.parts, np.datetime64(self.since or 0, "s")))


def read_as(feature: Feature, column: Array, style: Style | None, markers: Collection[str]) -> tuple[Understood, str]:
    """(a column of another table as a feature's kind; why its cells cannot be compared with those of training, or "").
    Raises ValueError for cells that are not of this kind."""
    order = feature.order or None
    if feature.first_form and order == "ymd":
        order = "dmy"  # for those that do not begin with the year
    if feature.kind == "duration" and not order:
        order = durations.HOURS  # files that do not say it
    if feature.kind == "category" and column.dtype.kind == "m":
        column = np.array([None if x is None else _as_pandas(x) for x in column.tolist()], dtype=object)
    if style is None or feature.said:
        known, style = bool(feature.decimal), Style(feature.decimal or ".")
    else:
        known = True
    found = kinds.understand(
        column, style=style, markers=markers, kind=feature.kind, order=order, local=feature.first_form,
        marks=feature.marks,
    )  # fmt: skip
    if known and found.kind == "number":
        found = replace(found, doubt="")
    if np.isnan(feature.median) and found.gone.any():
        row = int(np.argmax(found.gone)) + 1
        raise ValueError(
            f"row {row} has no number, and the model, trained on numbers alone, knows none to take instead: fill it "
            "in, or remove the row"
        )
    if found.kind == "number":
        return found, _other_unit(feature.unit, found) or (_no_mark(column, found.doubt) if feature.whole else "")
    return found, "" if feature.first_form else _other_offset(feature.unit, column, found)


def _other_unit(unit: str, found: Understood) -> str:
    """For numbers in percent if those of training were not, the other way round, and for those in another currency.
    Plain numbers may be in the currency of training."""
    percent = (cells.PERCENT, cells.SOME_PERCENT)
    if unit in (found.unit, cells.SOME_PERCENT) or not np.nan_to_num(found.values).any():
        return ""
    if (unit in percent) == (found.unit in percent) and (not unit or not found.unit or unit in percent):
        return ""
    was, now = (f"in {unit}" if unit else "plain numbers" for unit in (unit, found.unit))
    return f"its numbers are {now}, and were {was} in training: write them as then"


def _no_mark(column: Array, cell: str) -> str:
    """For a number that may be thousands or a fraction, if those of training were integers without marks."""
    if not cell:
        return ""
    row = next(k for k, text in enumerate(column) if text is not None and text.strip() == cell)
    fraction, thousands = cells.two_ways(cell)
    return (
        f"{cell!r} in row {row + 1} may be {fraction} or {thousands}, and the numbers in training were integers "
        f"without marks: write {thousands} or {fraction}0"
    )


def _other_offset(unit: str, column: Array, found: Understood) -> str:
    """For times with an offset from UTC if those of training had none, and the other way round."""
    if found.zoned is None or unit == kinds.SOME_UTC:
        return ""
    odd = found.zoned if not unit else ~found.zoned & ~found.gone
    if not odd.any():
        return ""
    row = int(np.argmax(odd))
    cell = f"{str(column[row]).strip()!r} in row {row + 1}"
    if unit:
        return (
            f"{cell} has no offset from UTC, and the times in training had one: add it, as in 2024-01-31T12:00:00Z or "
            "2024-01-31T12:00:00+02:00"
        )
    return (
        f"{cell} has an offset from UTC, and the times in training had none, so that they cannot be compared: write "
        "times without an offset, on the clock of training"
    )


def _as_pandas(span: timedelta) -> str:
    """A duration as pandas writes it."""
    minutes, seconds = divmod(span.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{span.microseconds:06d}" * bool(span.microseconds)
    return f"{span.days} days {hours:02d}:{minutes:02d}:{seconds:02d}{fraction}"


def learn(name: str, found: Understood, rows: Array, style: Style | None, *, said: bool = False) -> Feature:
    """The encoding of a column, learned from some of its rows. `style` is None if nothing tells it, and `said` whether
    the user says how the cells are read."""
    gone = found.gone
    told: dict[str, Any] = {
        "missing": int(gone.sum()), "spoilt": found.spoilt, "example": found.example, "said": said,
    }  # fmt: skip
    indicator = bool(gone.any())
    there = found.values[rows][~gone[rows]]
    if not len(there):
        return Feature(name, "", reason="every cell is empty", **told)
    if found.kind in ("number", "duration", "yes/no"):
        if found.kind == "number":
            doubt = found.doubt if style is None else ""
            told |= {"doubt": doubt, "whole": bool((there == np.floor(there)).all())}
            told["decimal"] = style.decimal if style is not None else "." * bool(doubt)
        median = float(np.median(there))
        return Feature(name, found.kind, unit=found.unit, median=median, indicator=indicator, order=found.order, **told)
    if found.kind == "date":
        parts = dates.telling(there, found.order)
        if not parts:
            return Feature(name, "", reason=f"it is {kinds.shown(there[0], found.order)} in every row", **told)
        since = str(there.min())
        middles = tuple(float(np.median(column)) for column in dates.parts(there, parts, there.min()))
        return Feature(
            name, "date", unit=found.unit, parts=tuple(parts), middles=middles, order=found.order, since=since,
            indicator=indicator, marks="" if said else found.marks, doubt=found.doubt, **told,
        )  # fmt: skip
    counts = Counter(there.tolist())
    least = max(_LEAST_ROWS, math.ceil(_LEAST_SHARE * len(rows)))
    kept = sorted(c for c, n in counts.most_common(_MOST_CATEGORIES) if n >= least)
    if not kept:
        return Feature(name, "", reason="almost all of its strings are different", **told)
    other = len(kept) < len(counts)
    return Feature(name, "category", categories=tuple(kept), other=other, indicator=indicator, **told)


def _is_number(x: Any) -> bool:
    """Whether a JSON value is a finite number, which may be written as an integer of any length."""
    return type(x) in (int, float) and abs(x) <= sys.float_info.max


def _is_text(x: Any) -> bool:
    return isinstance(x, str)


def feature_of(item: Mapping[str, Any]) -> Feature:
    """The feature that these JSON values describe. Raises ValueError if they describe none."""
    values: dict[str, Any] = {}
    for name, value in item.items():
        plain = getattr(Feature("", ""), name)
        if isinstance(plain, tuple):
            numbers = name == "middles"
            good, what = (_is_number, "finite numbers") if numbers else (_is_text, "strings")
            if not isinstance(value, list) or not all(map(good, value)):
                raise ValueError(f"{name} must be a list of {what}")
            value = tuple(map(float, value)) if numbers else tuple(value)
        elif isinstance(plain, float):
            if not _is_number(value):
                raise ValueError(f"{name} must be a finite number")
            value = float(value)
        elif type(value) is not type(plain):
            raise ValueError(f"{name} must be a {type(plain).__name__}")
        values[name] = value
    found = Feature(**values)
    if found.decimal not in ("", *cells.DECIMALS.values()):
        raise ValueError(f"{found.decimal!r} is no decimal mark")
    if found.kind and found.kind not in kinds.KINDS:
        raise ValueError(f"the kind {found.kind!r} of a column is not known")
    if not set(found.parts) <= {"year", "month", "weekday", "hour", "elapsed"}:
        raise ValueError(f"a date has no parts {found.parts}")
    if found.middles and (len(found.middles) != len(found.parts) or not np.isfinite(found.middles).all()):
        raise ValueError(f"a date of the parts {found.parts} has no middles {found.middles}")
    if found.since:
        np.datetime64(found.since, "s")
    return found


def check_finite(table: str, column: str, found: Understood) -> None:
    """Raises ValueError, with the row and the remedy, if the column has an infinity; NaN is a missing cell."""
    if found.values.dtype.kind == "f" and np.isinf(found.values).any():
        row = int(np.argmax(np.isinf(found.values)))
        raise ValueError(
            f"{table}, row {row + 1}, column {column!r}: {found.values[row]} is not a finite number; remove the row, "
            "or leave the column out with --drop"
        )


def surprises(feature: Feature, found: Understood) -> list[str]:
    """Notes for predictions: cells of a kind that training had not seen."""
    notes = []
    gone = int(found.gone.sum())
    instead = "none of the known ones" if feature.kind == "category" else f"the median, {feature.median:.6g}"
    if feature.kind == "date":
        instead = f"the medians of {'the others' if feature.first_form else 'those in training'}"
    taken = "counts as missing" if feature.indicator else f"taken for {instead}"
    none = gone == len(found.gone) > 0 and feature.first_form
    if none:
        notes.append(
            f"column {feature.name!r}: no row has a date, and the model was saved by a version that kept no medians of "
            "those in training: taken for the year 0, or 0 days; train it again to have the medians"
        )
    elif gone > found.spoilt and not feature.indicator:
        notes.append(
            f"column {feature.name!r}: {gone - found.spoilt} missing, but none were in training: taken for {instead}"
        )
    if feature.first_form and found.zoned is not None and found.zoned.any():
        notes.append(f"column {feature.name!r}: offsets from UTC are ignored, as they were when the model was saved")
    if found.spoilt:
        what = f"{found.spoilt} not a {feature.kind}, such as {found.example}"
        notes.append(f"column {feature.name!r}: {what}{f': {taken}' * (not none)}")
    if found.kind == "number" and found.doubt:
        notes.append(f"column {feature.name!r}: {cells.as_read(found.doubt, Style(feature.decimal or '.'))[0]}")
    if feature.kind == "category":
        unseen = sorted({x for x in found.values if x is not None} - set(feature.categories))
        if unseen and not feature.other:
            notes.append(
                f"column {feature.name!r}: {listed(unseen, 5)} not seen in training: taken for none of the known ones"
            )
    return notes
