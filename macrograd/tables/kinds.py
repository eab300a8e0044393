"""The kind of a column: a number, a category, yes or no, a date, a duration, or nothing to learn from. Inferred from
its cells, unless it is given."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.tables import cells, dates, durations
from macrograd.tables.cells import Style
from macrograd.tables.table import are_truths, in_utc

Array = NDArray[Any]

KINDS = ("number", "category", "yes/no", "date", "duration")
UTC, SOME_UTC = "UTC", "UTC or none"

# The largest share of cells that may not be of the column's kind: these then count as mistakes.
_MOST_SPOILT = 0.1
_UNNAMED = re.compile(r"(unnamed:? ?\d*(_level_\d+)?|\.\.\.1|)", re.I)
_COUNTER = re.compile(r"index|row[ _.]?(names?|num(ber)?|id)|id|no\.?|nr\.?|num|obs\.?|row|#|record|seq", re.I)
_CODE = re.compile(r"(.*[_ .-])?(zip|plz|(zip|post|postal|area|phone)[_ .-]?codes?|postcode|phone|fips)", re.I | re.S)
_ID = re.compile(r".*([_ .-]id|[a-z]I[Dd])|id|uuid|guid", re.S)


@dataclass(frozen=True)
class Understood:
    """A column as what it is.

    kind    one of KINDS, or "" for one that is left out
    values  floats (NaN where missing), 0.0 and 1.0 for yes/no, objects (str and None), or datetime64[s]
    reason  why it is left out
    unit    of numbers: a currency or "%"; "seconds" of durations; UTC of dates with offsets from it, SOME_UTC if only
            some cells have one
    order   of dates: ymd, dmy, mdy or hms; of durations: how two numbers are read, see `durations.ORDERS`
    zoned   of dates: where cells have an offset from UTC
    marks   of dates: what stands between the numbers of those that begin with the day or the month
    doubt   the first cell that can be read in two ways, if no other says in which: 753.469, 04.07.2018
    spoilt  how many cells count as missing since they are not of this kind, and the first of them
    """

    kind: str
    values: Array
    reason: str = ""
    unit: str = ""
    order: str = ""
    spoilt: int = 0
    example: str = ""
    zoned: NDArray[np.bool_] | None = None
    marks: str = ""
    doubt: str = ""

    @property
    def gone(self) -> NDArray[np.bool_]:
        """Where cells are missing."""
        if self.values.dtype.kind == "O":
            return np.array([x is None for x in self.values], dtype=bool)
        if self.values.dtype.kind == "M":
            return np.asarray(np.isnat(self.values))
        return np.asarray(np.isnan(self.values))


def understand(
    column: Array, *, style: Style, markers: Collection[str] = (), kind: str | None = None, order: str | None = None,
    local: bool = False, marks: str = "",
) -> Understood:  # fmt: skip
    """A column as the kind that it is, or as `kind`. Index and identifiers are not told apart from others here.

    style    how the table writes numbers
    markers  strings that mark a missing value, in addition to the common ones
    order    of a date's or a duration's parts, if it is known
    local    whether offsets from UTC in text are ignored, and dates in another order are missing
    marks    those of dates whose order is known

    Raises ValueError for cells that are not of the requested kind.
    """
    if kind and column.dtype.kind in "fMm" and np.isnan(column).all():
        return _nothing(kind, len(column))
    if column.dtype.kind == "M":
        return _moments(column, kind)
    if column.dtype.kind == "m":
        return _durations(column, kind)
    if column.dtype.kind != "O":
        return _numbers(column, markers, kind)
    gone = cells.missing(column, markers)
    texts = [str(t) for t in column[~gone]]
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return _nothing(kind or "", len(column))
    if kind == "category":
        return _category(column, gone)
    share = _Share(column, gone, texts, distinct)
    if kind is None and dates.compact(distinct):
        kind = "date"
    found = _number(share, style, kind) if kind in (None, "number") else None
    if found is None and kind in (None, "yes/no"):
        found = _yes_no(share, kind)
    if found is None and kind in (None, "duration"):
        found = _duration(share, order, kind)
    if found is None and kind in (None, "date"):
        found = _date(share, dates.moments(distinct, order, earlier=local, marks=marks), kind, local=local)
    if found is None and kind is not None:
        raise ValueError(f"{distinct[0]!r} is not a {kind}")
    return found or _category(column, gone)


def _number(share: _Share, style: Style, kind: str | None) -> Understood | None:
    """The strings as numbers; None if they are not. Raises ValueError if they should be, but in several units."""
    read = cells.numbers(share.distinct, style)
    if read is None or not (kind or not _codes(share.distinct)):
        if kind is not None:
            raise ValueError("it holds several currencies or units")
        return None
    numbers, unit = read
    found = share.of(numbers, np.isnan(numbers), kind, "number")
    if found is None:
        return None
    return Understood("number", found[0], unit=unit, doubt=cells.doubtful(share.distinct), **found[1])


def _yes_no(share: _Share, kind: str | None) -> Understood | None:
    """The strings as 1 and 0; None if they are not."""
    meaning = cells.yes_no(share.distinct) if kind is None else cells.known_yes_no(share.distinct)
    if meaning is None:
        return None
    return Understood("yes/no", share.spread(np.array([meaning[t] for t in share.distinct])))


def _duration(share: _Share, order: str | None, kind: str | None) -> Understood | None:
    """The strings as seconds; None if they are not."""
    timed = durations.seconds(share.distinct, order)
    if timed is None or not (kind or timed.told):
        return None
    found = share.of(timed.values, np.isnan(timed.values), kind, "duration")
    return found and Understood("duration", found[0], unit="seconds", order=timed.order, **found[1])


def _date(share: _Share, moments: dates.Moments | None, kind: str | None, *, local: bool) -> Understood | None:
    """The strings as `moments`; None if they are not."""
    if moments is None:
        return None
    values = moments.local() if local else moments.values
    found = share.of(values, np.isnat(values), kind, "date")
    if found is None:
        return None
    there, offset = ~np.isnat(values), ~np.isnat(moments.offsets)
    unit = "" if local or not moments.zoned else UTC if offset[there].all() else SOME_UTC
    zoned = share.spread(offset.astype(np.float64)) == 1.0
    return Understood(
        "date", found[0], order=moments.order, unit=unit, zoned=zoned, marks=moments.marks, doubt=moments.doubt,
        **found[1],
    )  # fmt: skip


def _nothing(kind: str, count: int) -> Understood:
    """A column of this kind whose cells are all missing."""
    missing = {"category": np.full(count, None), "date": np.full(count, "NaT", "datetime64[s]")}
    return Understood(kind, missing.get(kind, np.full(count, np.nan)), "every cell is empty")


class _Share:
    """The distinct strings of a column, and how each cell gets the value of its string."""

    def __init__(self, column: Array, gone: Array, texts: list[str], distinct: list[str]) -> None:
        self.column, self.there = column, np.flatnonzero(~gone)
        self.distinct = distinct
        place = {text: i for i, text in enumerate(distinct)}
        self.index = np.fromiter((place[t] for t in texts), dtype=np.int64, count=len(texts))

    def spread(self, values: Array) -> Array:
        found = np.full(len(self.column), "NaT" if values.dtype.kind == "M" else np.nan, dtype=values.dtype)
        found[self.there] = values[self.index]
        return found

    def of(self, values: Array, bad: Array, kind: str | None, what: str) -> tuple[Array, dict[str, Any]] | None:
        """(the column, facts about cells that are not of this kind); None if they are too many."""
        wrong = bad[self.index]
        if not wrong.any():
            return self.spread(values), {}
        row = int(self.there[int(np.argmax(wrong))])
        example = f"{self.column[row].strip()[:40]!r} in row {row + 1}"
        if kind is not None and wrong.all():
            raise ValueError(f"{example} is not a {what}")
        few = wrong.sum() <= _MOST_SPOILT * len(wrong) and len(wrong) - wrong.sum() >= 5
        if kind is None and not few:
            return None
        return self.spread(values), {"spoilt": int(wrong.sum()), "example": example}


def _codes(distinct: list[str]) -> bool:
    """Postal codes and the like: digits of one length, some with a zero in front."""
    return (
        len({len(t.strip()) for t in distinct}) == 1
        and all(t.strip().isdigit() for t in distinct)
        and any(t.strip().startswith("0") and len(t.strip()) > 1 for t in distinct)
    )


def names_a_code(name: str) -> bool:
    """Whether numbers under this name are codes, that is, categories: 10115 is not half of 20230."""
    return _CODE.fullmatch(name.strip()) is not None


def _category(column: Array, gone: Array) -> Understood:
    found = np.empty(len(column), dtype=object)
    found[:] = [None if g else t.strip() for t, g in zip(column, gone, strict=True)]
    return Understood("category", found)


def _numbers(column: Array, markers: Collection[str], kind: str | None) -> Understood:
    numbers = column.astype(np.float64)
    for marker in markers:
        try:
            numbers = np.where(numbers == float(marker), np.nan, numbers)
        except ValueError:
            continue
    if kind == "category":
        found = np.empty(len(column), dtype=object)
        found[:] = [None if x != x else name_of(x) for x in numbers.tolist()]
        return Understood("category", found)
    if kind in (None, "date") and _eight_digits(numbers):
        names = [None if x != x else name_of(x) for x in numbers.tolist()]
        if kind or dates.compact(list(dict.fromkeys(t for t in names if t is not None))):
            return understand(np.array(names, dtype=object), style=Style(), kind="date")
    if kind in ("date", "duration"):
        raise ValueError(f"{numbers[0]:g} is a number and not a {kind}")
    if kind == "yes/no" and not np.isin(numbers[~np.isnan(numbers)], (0.0, 1.0)).all():
        raise ValueError(f"{numbers[0]:g} is neither 0 nor 1")
    if np.isnan(numbers).all():
        return Understood("", numbers, "every cell is empty")
    return Understood(kind or ("yes/no" if are_truths(column) else "number"), numbers)


def _moments(column: Array, kind: str | None) -> Understood:
    if kind not in (None, "date"):
        raise ValueError(f"it holds dates, which cannot be read as the kind {kind!r}")
    if np.isnat(column).all():
        return Understood("", column, "every cell is empty")
    zoned = np.full(len(column), in_utc(column))
    return Understood("date", column.astype("datetime64[s]"), order="ymd", unit=UTC if zoned.any() else "", zoned=zoned)


def _eight_digits(numbers: Array) -> bool:
    """Whether these may be dates such as 20240131."""
    there = numbers[~np.isnan(numbers)]
    return bool(len(there)) and bool(((there >= 1e7) & (there < 1e8) & (there == np.floor(there))).all())


def _durations(column: Array, kind: str | None) -> Understood:
    if kind not in (None, "duration"):
        raise ValueError(f"it holds durations, which cannot be read as the kind {kind!r}")
    if np.isnat(column).all():
        return Understood("", np.full(len(column), np.nan), "every cell is empty")
    seconds = np.where(np.isnat(column), np.nan, column.astype("timedelta64[us]").astype(np.int64) / 1e6)
    return Understood("duration", seconds, unit="seconds", order=durations.FULL)


def name_of(number: float) -> str:
    """A number as a label: 1 and 1.0 are the same."""
    return str(int(number)) if number == int(number) and abs(number) < 1e16 else repr(number)


def nothing_to_learn(name: str, place: int, found: Understood) -> str:
    """Why a column is not a feature: it counts the rows, names them, or never changes; "" if it is one.

    name, place  of the column; a counter stands first, or has the name of one
    """
    values, gone = found.values, found.gone
    there = values[~gone]
    if not len(there):
        return "every cell is empty"
    different = len(np.unique(there.astype(str) if values.dtype.kind == "O" else there))
    if different == 1 and not gone.any():
        return f"it is {shown(there[0], found.order)} in every row"
    if found.kind == "number" and not gone.any():
        whole = bool((there == np.floor(there)).all()) and bool(np.isfinite(there).all())
        counts = whole and bool((np.diff(there) == 1).all())
        unnamed = bool(_UNNAMED.fullmatch(name.strip()))
        all_different = different == len(there) > 2
        if unnamed and (counts or (place == 0 and all_different)):
            return "it numbers the rows"
        if counts and len(there) > 2 and _COUNTER.fullmatch(name.strip()):
            return "it numbers the rows"
        if whole and all_different and len(there) >= 10 and _ID.fullmatch(name.strip()):
            return "it identifies the rows: each has a different number"
    if found.kind == "category" and different == len(there) and len(there) > 2:
        return "it identifies the rows: each has a different string"
    return ""


def shown(value: Any, order: str) -> str:
    """A value of a column in words."""
    if isinstance(value, np.datetime64):
        return str(value).partition("T")[2] if order == "hms" else str(value).replace("T00:00:00", "")
    return repr(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
