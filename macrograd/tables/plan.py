"""`Plan`: how each column of a table is encoded for a net. It is learned from one table, stored in the model's file,
and applied to all others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.tables import cells, dates, kinds
from macrograd.tables.cells import Style
from macrograd.tables.kinds import Understood
from macrograd.tables.table import Table, listed

Array = NDArray[Any]

# A category gets a separate column if it has this many rows, or this share of them; at most this many do.
_LEAST_ROWS, _LEAST_SHARE, _MOST_CATEGORIES = 2, 0.005, 50
MISSING, OTHER = "missing", "other"


@dataclass(frozen=True)
class Feature:
    """One column of a table, and the columns of numbers that it becomes.

    name, kind  of the column; kind "" for one that is left out, with a reason
    missing     how many cells were empty
    median      the replacement for a missing number
    indicator   whether another column tells where numbers were missing
    categories  in order; rare ones share one column `other`, and missing ones another if `indicator`
    order       for dates; `parts` are the numbers made of them, `middles` the replacements of missing ones, and `since`
                the origin of elapsed time, as ISO 8601
    decimal     how the table wrote numbers
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
    def instead(self) -> tuple[float, ...]:
        """The replacement of each number of a missing cell."""
        if self.kind == "date":
            return self.middles or (0.0,) * len(self.parts)
        return (self.median,)

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
            told.append(", ".join(self.parts) + (" in UTC" if self.unit else ""))
            told += ["a column for missing ones"] * self.indicator
        elif self.kind == "yes/no":
            told += ["0 or 1"] + ["a column for missing ones"] * self.indicator
        else:
            told.append(f"as it is{f', in {self.unit}' if self.unit else ''}")
            told += [f"missing ones {self.median:.6g}, and a column for them"] * self.indicator
        if self.spoilt:
            told.append(f"{self.spoilt} cell{'s' * (self.spoilt > 1)} count as missing, such as {self.example}")
        return "; ".join(told)

    def columns(self, found: Understood) -> list[Array]:
        """The columns of numbers for a column read as this kind."""
        gone = found.gone
        flag = [gone.astype(np.float64)] if self.indicator else []
        if self.kind == "category":
            index = self._index(found)
            return [(index == k).astype(np.float64) for k in range(len(self.categories) + self.other)] + flag
        if self.kind == "date":
            return [np.where(gone, m, c) for c, m in zip(self._parts(found), self.instead, strict=True)] + flag
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


def learn(name: str, found: Understood, rows: Array, style: Style) -> Feature:
    """The encoding of a column, learned from some of its rows."""
    gone = found.gone
    told: dict[str, Any] = {"missing": int(gone.sum()), "spoilt": found.spoilt, "example": found.example}
    indicator = bool(gone.any())
    there = found.values[rows][~gone[rows]]
    if not len(there):
        return Feature(name, "", reason="every cell is empty", **told)
    if found.kind in ("number", "duration", "yes/no"):
        median = float(np.median(there))
        return Feature(
            name, found.kind, unit=found.unit, median=median, indicator=indicator, decimal=style.decimal, **told
        )
    if found.kind == "date":
        parts = dates.telling(there, found.order)
        if not parts:
            return Feature(name, "", reason=f"it is {there[0]} in every row", **told)
        since = str(there.min())
        middles = tuple(float(np.median(column)) for column in dates.parts(there, parts, there.min()))
        return Feature(
            name, "date", unit=found.unit, parts=tuple(parts), middles=middles, order=found.order, since=since,
            indicator=indicator, **told,
        )  # fmt: skip
    counts = Counter(there.tolist())
    least = max(_LEAST_ROWS, math.ceil(_LEAST_SHARE * len(rows)))
    kept = sorted(c for c, n in counts.most_common(_MOST_CATEGORIES) if n >= least)
    if not kept:
        return Feature(name, "", reason="almost all of its strings are different", **told)
    other = len(kept) < len(counts)
    return Feature(name, "category", categories=tuple(kept), other=other, indicator=indicator, **told)


@dataclass(frozen=True)
class Plan:
    """The encoding of all columns except the target: `of` learns it, `numbers` applies it."""

    features: tuple[Feature, ...]
    markers: tuple[str, ...] = ()
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(name for f in self.features for name in f.names))

    @property
    def needed(self) -> list[str]:
        """The columns that a table must have to be predicted from."""
        return [f.name for f in self.features if f.kind]

    def numbers(self, table: Table) -> tuple[Array, list[str]]:
        """(the features of a table, (rows, len(names)), float64; notes on cells that were not seen in training).

        Columns are matched by name, in any order, and extra columns are ignored. Raises ValueError that names missing
        columns and cells of the wrong kind.
        """
        found: list[Array] = []
        notes: list[str] = []
        for feature, understood in self._understood(table):
            found += feature.columns(understood)
            notes += _surprises(feature, understood)
        X = np.stack(found, axis=1) if found else np.empty((len(table), 0))
        return X, notes

    def cells(self, table: Table) -> Array:
        """The cells of a table as exported files take them, (rows, numbers of a row), float64: numbers, NaN where
        missing; the index of a category, -1 where missing; the parts of a date. Raises as `numbers` does."""
        found = [column for feature, understood in self._understood(table) for column in feature.cells(understood)]
        return np.stack(found, axis=1) if found else np.empty((len(table), 0))

    def _understood(self, table: Table) -> Iterator[tuple[Feature, Understood]]:
        """The columns that are used, each read as its kind."""
        absent = [name for name in self.needed if name not in table.columns]
        if absent:
            raise ValueError(f"{table.name} lacks {listed(absent)}; it has {listed(list(table))}")
        # The table may use another number style than the training table, if its cells imply one.
        style = style_of(Table({name: table.columns[name] for name in self.needed}), self.markers)
        for feature in self.features:
            if not feature.kind:
                continue
            try:
                understood = kinds.understand(
                    table.columns[feature.name], style=style or Style(feature.decimal), markers=self.markers,
                    kind=feature.kind, order=feature.order or None,
                )  # fmt: skip
            except ValueError as error:
                raise ValueError(f"{table.name}, column {feature.name!r}: {error}") from None
            _check_finite(table.name, feature.name, understood)
            yield feature, understood

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        plain = asdict(Feature("", ""))
        features = [
            {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(feature).items()
                if name in ("name", "kind") or value != plain[name]
            }
            for feature in self.features
        ]
        return {"markers": list(self.markers), "features": features}

    @classmethod
    def from_json(cls, data: Any) -> Plan:
        """The plan that `to_json` wrote. Raises ValueError for anything else."""
        try:
            features = tuple(_feature(item) for item in data["features"])
            markers = tuple(str(marker) for marker in data["markers"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its description of the columns is invalid ({error!r})") from None
        if len({f.name for f in features}) < len(features):
            raise ValueError("two columns have the same name")
        return cls(features, markers)


def _feature(item: Mapping[str, Any]) -> Feature:
    values: dict[str, Any] = {}
    for name, value in item.items():
        plain = getattr(Feature("", ""), name)
        if isinstance(plain, tuple):
            kinds_of, what = ((int, float), "finite numbers") if name == "middles" else ((str,), "strings")
            if not isinstance(value, list) or not all(type(x) in kinds_of and x == x for x in value):
                raise ValueError(f"{name} must be a list of {what}")
            value = tuple(value)
        elif isinstance(plain, float):
            if type(value) not in (int, float) or not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number")
        elif type(value) is not type(plain):
            raise ValueError(f"{name} must be a {type(plain).__name__}")
        values[name] = value
    found = Feature(**values)
    if found.kind and found.kind not in kinds.KINDS:
        raise ValueError(f"the kind {found.kind!r} of a column is not known")
    if not set(found.parts) <= {"year", "month", "weekday", "hour", "elapsed"}:
        raise ValueError(f"a date has no parts {found.parts}")
    if found.middles and (len(found.middles) != len(found.parts) or not np.isfinite(found.middles).all()):
        raise ValueError(f"a date of the parts {found.parts} has no middles {found.middles}")
    if found.since:
        np.datetime64(found.since, "s")
    return found


def _check_finite(table: str, column: str, found: Understood) -> None:
    if found.values.dtype.kind == "f" and np.isinf(found.values).any():
        row = int(np.argmax(np.isinf(found.values)))
        raise ValueError(
            f"{table}, row {row + 1}, column {column!r}: {found.values[row]} is not a finite number; remove the row, "
            "or leave the column out with --drop"
        )


def _surprises(feature: Feature, found: Understood) -> list[str]:
    """Notes for predictions: cells of a kind that training had not seen."""
    notes = []
    gone = int(found.gone.sum())
    if gone and not feature.indicator:
        instead = "none of the known ones" if feature.kind == "category" else f"the median, {feature.median:.6g}"
        if feature.kind == "date":
            instead = "the medians of those in training"
        notes.append(f"column {feature.name!r}: {gone} missing, but none were in training: taken for {instead}")
    if found.spoilt:
        notes.append(f"column {feature.name!r}: {found.spoilt} not a {feature.kind}, such as {found.example}")
    percent = "%" in (feature.unit, found.unit)
    if feature.unit != found.unit and (percent or (feature.unit and found.unit)):
        was, now = (f"in {unit}" if unit else "plain numbers" for unit in (feature.unit, found.unit))
        notes.append(f"column {feature.name!r}: {was} in training, {now} here: taken as they are")
    if feature.kind == "category":
        unseen = sorted({x for x in found.values if x is not None} - set(feature.categories))
        if unseen and not feature.other:
            notes.append(
                f"column {feature.name!r}: {listed(unseen, 5)} not seen in training: taken for none of the known ones"
            )
    return notes


def of(
    table: Table,
    target: str | Sequence[str] | None = None,
    *,
    rows: Array | None = None,
    only: Sequence[str] | None = None,
    drop: Collection[str] = (),
    kind: Mapping[str, str] | None = None,
    markers: Collection[str] = (),
) -> Plan:
    """The plan for a table: column kinds are inferred from all rows, medians and categories learned only from `rows`.

    target  the column or columns to learn, which are not features
    only    the columns to use, regardless of their contents; None for all that are useful
    drop    columns to leave out
    kind    of columns, by name: one of kinds.KINDS, "date:dmy" or "date:mdy" for the order, or "drop"
    markers strings that mark a missing value, in addition to the common ones

    Raises ValueError for names that the table does not have, kinds that are unknown or do not fit, and a table without
    features.
    """
    kind = dict(kind or {})
    for name in [*(only or ()), *drop, *kind]:
        if name not in table.columns:
            raise ValueError(no_column(table, name))
    style = style_of(table, markers) or Style()
    where = np.arange(len(table)) if rows is None else rows
    learned = (target,) if isinstance(target, str) else tuple(target or ())
    features = []
    for place, (name, column) in enumerate(table.columns.items()):
        if name in learned:
            continue
        asked = kind.get(name)
        if name in drop or asked == "drop" or (only is not None and name not in only):
            features.append(Feature(name, "", reason="as requested"))
            continue
        features.append(_planned(table, name, column, place, asked, name in (only or ()), style, markers, where))
    plan = Plan(tuple(features), tuple(markers))
    if not plan.names:
        left = "; ".join(f"{f.name!r}: {f.reason}" for f in features[:5]) or "it has no other column"
        raise ValueError(
            f"{table.name} has nothing to learn {', '.join(map(repr, learned))} from ({left}): add a column, or name "
            "one to use in spite of that, with --features"
        )
    return plan


def _planned(
    table: Table, name: str, column: Array, place: int, asked: str | None, wanted: bool, style: Style,
    markers: Collection[str], rows: Array,
) -> Feature:  # fmt: skip
    order = None
    if asked is not None:
        asked, _, order = asked.partition(":")
        order = order or None
        asked = {"yes-no": "yes/no", "yesno": "yes/no", "bool": "yes/no", "text": "category"}.get(asked, asked)
        if asked not in kinds.KINDS or (order is not None and order not in dates.ORDERS):
            raise ValueError(
                f"the kind {asked!r} of {name!r} is not known: use number, category, yes-no, date (also date:dmy, "
                "date:mdy), duration or drop"
            )
    try:
        found = kinds.understand(column, style=style, markers=markers, kind=asked, order=order)
        if not asked and found.kind == "number" and not found.unit and kinds.names_a_code(name):
            found = kinds.understand(column, style=style, markers=markers, kind="category")
    except ValueError as error:
        raise ValueError(f"{table.name}, column {name!r}: {error}") from None
    if not found.kind:
        return Feature(name, "", missing=len(column), reason=found.reason)
    reason = "" if asked or wanted else kinds.nothing_to_learn(name, place, found)
    if reason:
        return Feature(name, "", missing=int(found.gone.sum()), reason=reason)
    _check_finite(table.name, name, found)
    return learn(name, found, rows, style)


def style_of(table: Table, markers: Collection[str] = ()) -> Style | None:
    """The number style of a table, from all its columns of text; None if they imply none."""

    def texts() -> Any:
        for column in table.columns.values():
            if column.dtype.kind == "O":
                some = column[:2000]
                yield [str(t) for t, gone in zip(some, cells.missing(some, markers), strict=True) if not gone]

    return cells.style_of(texts())


def no_column(table: Table, name: str) -> str:
    """The message for a column that a table does not have."""
    import difflib  # needed only for misspellings, and slow to load

    close = difflib.get_close_matches(name, list(table), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{table.name} has no column {name!r}, it has {listed(list(table))}{hint}"
