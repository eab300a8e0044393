"""`Plan`: how each column of a table is encoded for a net. It is learned from one table, stored in the model's file,
and applied to all others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.tables import cells, dates, durations, kinds
from macrograd.tables.cells import Style
from macrograd.tables.feature import Feature, check_finite, feature_of, learn, read_as, surprises
from macrograd.tables.kinds import Understood
from macrograd.tables.table import Table, listed

Array = NDArray[Any]

# Forms: before 2, cells that cannot be compared with those of training are taken as they are, with a note; before 3, a
# table of numbers such as 0,123 was none with a decimal comma.
_REFUSES, _ZEROS = 2, 3
FORM = 3


@dataclass(frozen=True)
class Plan:
    """The encoding of all columns except the target: `of` learns it, `numbers` applies it.

    form  how it reads cells: as when its file was written
    """

    features: tuple[Feature, ...]
    markers: tuple[str, ...] = ()
    form: int = 1
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(name for f in self.features for name in f.names))

    @property
    def needed(self) -> list[str]:
        """The columns that a table must have to be predicted from."""
        return [f.name for f in self.features if f.kind]

    @property
    def assumed(self) -> list[str]:
        """What the cells of the table did not say, in words. The printed table of columns says it, too."""
        return [f"column {feature.name!r}: {what}" for feature in self.features for what, _ in feature.assumed]

    def numbers(self, table: Table) -> tuple[Array, list[str]]:
        """(the features of a table, (rows, len(names)), float64; notes on cells that were not seen in training).

        Columns are matched by name, in any order, and extra columns are ignored. Raises ValueError that names missing
        columns and cells of the wrong kind.
        """
        found: list[Array] = []
        notes: list[str] = []
        for feature, understood, doubt in self._understood(table):
            found += feature.columns(understood)
            notes += surprises(feature, understood)
            notes += [f"column {feature.name!r}, taken as it is: {doubt}"] * bool(doubt)
        X = np.stack(found, axis=1) if found else np.empty((len(table), 0))
        return X, notes

    def cells(self, table: Table) -> Array:
        """The cells of a table as exported files take them, (rows, numbers of a row), float64: numbers, NaN where
        missing; the index of a category, -1 where missing; the parts of a date. Raises as `numbers` does."""
        found = [column for feature, understood, _ in self._understood(table) for column in feature.cells(understood)]
        return np.stack(found, axis=1) if found else np.empty((len(table), 0))

    def _understood(self, table: Table) -> Iterator[tuple[Feature, Understood, str]]:
        """The columns that are used, each read as its kind, and why their cells cannot be compared with those of
        training."""
        absent = [name for name in self.needed if name not in table.columns]
        if absent:
            raise ValueError(f"{table.name} lacks {listed(absent)}; it has {listed(list(table))}")
        # The table may use another number style than the training table, if its cells imply one.
        asked = Table({name: table.columns[name] for name in self.needed})
        style = style_of(asked, self.markers, earlier=self.form < _ZEROS)
        for feature in self.features:
            if not feature.kind:
                continue
            try:
                understood, doubt = read_as(feature, table.columns[feature.name], style, self.markers)
                if doubt and self.form >= _REFUSES:
                    raise ValueError(doubt)
            except ValueError as error:
                raise ValueError(f"{table.name}, column {feature.name!r}: {error}") from None
            check_finite(table.name, feature.name, understood)
            yield feature, understood, doubt

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
        form = {"form": self.form} if self.form > 1 else {}
        return {"markers": list(self.markers), "features": features, **form}

    @classmethod
    def from_json(cls, data: Any) -> Plan:
        """The plan that `to_json` wrote. Raises ValueError for anything else."""
        try:
            features = tuple(feature_of(item) for item in data["features"])
            markers = tuple(str(marker) for marker in data["markers"])
            form = int(data.get("form", 1))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its description of the columns is invalid ({error!r})") from None
        if len({f.name for f in features}) < len(features):
            raise ValueError("two columns have the same name")
        return cls(features, markers, form)


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
    kind    of columns, by name: one of kinds.KINDS, "drop", or with the reading of its cells "date:dmy", "date:mdy",
            "duration:h:mm", "duration:m:ss" (what 40:18 is), "number:point" or "number:comma" (the decimal mark)
    markers strings that mark a missing value, in addition to the common ones

    Raises ValueError for names that the table does not have, kinds that are unknown or do not fit, and a table without
    features.
    """
    kind = dict(kind or {})
    for name in [*(only or ()), *drop, *kind]:
        if name not in table.columns:
            raise ValueError(no_column(table, name))
    style = style_of(table, markers)
    where = np.arange(len(table)) if rows is None else rows
    learned = (target,) if isinstance(target, str) else tuple(target or ())
    features = []
    for place, (name, column) in enumerate(table.columns.items()):
        if name in learned:
            if name in kind:
                raise ValueError(f"{name!r} is a target, and has no kind: name its --task")
            continue
        asked = kind.get(name)
        if name in drop or asked == "drop" or (only is not None and name not in only):
            features.append(Feature(name, "", reason="as requested"))
            continue
        features.append(_planned(table, name, column, place, asked, name in (only or ()), style, markers, where))
    plan = Plan(tuple(features), tuple(markers), FORM)
    if not plan.names:
        left = "; ".join(f"{f.name!r}: {f.reason}" for f in features[:5]) or "it has no other column"
        raise ValueError(
            f"{table.name} has nothing to learn {', '.join(map(repr, learned))} from ({left}): add a column, or name "
            "one to use in spite of that, with --features"
        )
    return plan


def _planned(
    table: Table, name: str, column: Array, place: int, asked: str | None, wanted: bool, style: Style | None,
    markers: Collection[str], rows: Array,
) -> Feature:  # fmt: skip
    order = None
    if asked is not None:
        given = asked
        asked, _, order = asked.partition(":")
        order = order or None
        asked = {"yes-no": "yes/no", "yesno": "yes/no", "bool": "yes/no", "text": "category"}.get(asked, asked)
        orders = {"date": dates.ORDERS, "duration": durations.ORDERS, "number": tuple(cells.DECIMALS)}.get(asked, ())
        if asked not in kinds.KINDS or (order is not None and order not in orders):
            raise ValueError(
                f"the kind {given!r} of {name!r} is not known: use number (also number:point, number:comma), category, "
                "yes-no, date (also date:dmy, date:mdy), duration (also duration:h:mm, duration:m:ss) or drop"
            )
    said = order is not None
    if asked == "number" and order is not None:
        style, order = Style(cells.DECIMALS[order]), None
    try:
        found = kinds.understand(column, style=style or Style(), markers=markers, kind=asked, order=order)
        if not asked and found.kind == "number" and not found.unit and kinds.names_a_code(name):
            found = kinds.understand(column, style=style or Style(), markers=markers, kind="category")
    except ValueError as error:
        raise ValueError(f"{table.name}, column {name!r}: {error}") from None
    if asked and found.spoilt > (len(column) - int(found.gone.sum())):
        raise ValueError(
            f"{table.name}, column {name!r}: {found.spoilt} of its cells are not a {asked}, such as {found.example}"
        )
    if not found.kind:
        return Feature(name, "", missing=len(column), reason=found.reason)
    reason = "" if asked or wanted else kinds.nothing_to_learn(name, place, found)
    if reason:
        return Feature(name, "", missing=int(found.gone.sum()), reason=reason)
    check_finite(table.name, name, found)
    return learn(name, found, rows, style, said=said)


def style_of(table: Table, markers: Collection[str] = (), *, earlier: bool = False) -> Style | None:
    """The number style of a table, from all its columns of text; None if they imply none. For `earlier` see
    `cells.style_of`."""

    def texts() -> Any:
        for column in table.columns.values():
            if column.dtype.kind == "O":
                some = column[:2000]
                yield [str(t) for t, gone in zip(some, cells.missing(some, markers), strict=True) if not gone]

    return cells.style_of(texts(), earlier=earlier)


def no_column(table: Table, name: str) -> str:
    """The message for a column that a table does not have."""
    import difflib  # needed only for misspellings, and slow to load

    close = difflib.get_close_matches(name, list(table), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    marks = {"semicolon": ";", "comma": ",", "tab": "\t", "pipe": "|"}
    found = [called for called, mark in marks.items() if len(table.columns) == 1 and mark in next(iter(table))]
    if found:
        hint = f": these are several names, so try --delimiter {found[0]}"
    return f"{table.name} has no column {name!r}, it has {listed(list(table))}{hint}"
