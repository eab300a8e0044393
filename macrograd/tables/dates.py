"""Dates and times as text: which order of day, month and year a column has, and what a net can learn from a moment."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?\s*(?P<half>[aApP][mM])?"
_ZONE = r"\s*(?P<zone>Z|UTC|GMT|(?:UTC|GMT)?[+-]\d{2}(?::?\d{2})?)?"
_MONTHS = {
    month: names.split()
    for month, names in enumerate(
        (
            "january januar januari jänner janvier enero gennaio janeiro ene",
            "february februar februari feber février fevrier febrero febbraio fevereiro",
            "march märz maerz mrz maart mars marts marzo março marco",
            "april avril abril aprile avr abr",
            "may mai maj mei mayo maggio maio",
            "june juni juin junio giugno junho",
            "july juli juillet julio luglio julho",
            "august augustus augusti août aout agosto ago",
            "september septembre septiembre settembre setembro sept",
            "october oktober octobre octubre ottobre outubro okt",
            "november novembre noviembre novembro",
            "december dezember décembre decembre diciembre dicembre dezembro dez dic",
        ),
        start=1,
    )
}
_AFTER = rf"(?:[T\s,:]+{_CLOCK}{_ZONE})?"
_YEAR, _SHORT_YEAR = r"(?P<year>\d{4})", r"(?P<year>\d{4}|\d{2})"
_LETTERS = r"[^\W\d_]{3,10}\.?"
_WORD, _DAY, _WEEKDAY = rf"(?P<word>{_LETTERS})", r"(?P<day>\d{1,2})", rf"(?:{_LETTERS}[, ]\s*)?"
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_YEAR}[-/.](?P<month>\d{{1,2}})[-/.]{_DAY}{_AFTER}",
        rf"(?P<first>\d{{1,2}})(?P<mark>[-/.])(?P<then>\d{{1,2}})[-/.]{_SHORT_YEAR}{_AFTER}",
        rf"{_WEEKDAY}{_DAY}(?:st|nd|rd|th)?[-/. ]+{_WORD}[-/., ]+{_SHORT_YEAR}{_AFTER}",
        rf"{_WEEKDAY}{_WORD}[-/. ]+{_DAY}(?:st|nd|rd|th)?[-/., ]+{_SHORT_YEAR}{_AFTER}",
        rf"[A-Za-z]{{3}} {_WORD} +{_DAY} {_CLOCK}{_ZONE} {_YEAR}",
        # Months, quarters and weeks.
        rf"{_YEAR}[-/](?P<month>\d{{2}})",
        rf"(?P<month>\d{{1,2}})/{_YEAR}",
        rf"{_YEAR}[-/ ]?M(?P<month>\d{{2}})",
        rf"{_WORD}[-/., ]+{_YEAR}",
        rf"{_WORD}[- ]?[-'](?P<year>\d{{2}})",  # Oct-18, but not Oct 18, which is a day
        rf"{_YEAR}[-/., ]+{_WORD}",
        rf"{_YEAR}[-/ ]?Q0?(?P<quarter>[1-4])",
        rf"Q(?P<quarter>[1-4])[-/ ]?{_YEAR}",
        rf"{_YEAR}-?W(?P<week>\d{{2}})",
        # Digits alone: see `compact`.
        rf"{_YEAR}(?P<month>\d{{2}})(?P<day>\d{{2}})(?:T?(?P<hour>\d{{2}})(?P<minute>\d{{2}})(?P<second>\d{{2}}){_ZONE})?",
    )
)
_TIME = re.compile(_CLOCK + _ZONE)
_DAY_SECONDS = 86400
_COMPACT = re.compile(r"(?:19|20)\d{6}(?:\d{6})?")

# All that could be read when dates had no `Feature.middles`, for files of that time.
_EARLIER_WORD = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
_EARLIER_CLOCK = re.sub("[?]P<[a-z]+>", "?:", _CLOCK)
_EARLIER = re.compile(
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})"
    rf"|\d{{1,2}}[-/. ]+{_EARLIER_WORD}[-/., ]+(?:\d{{4}}|\d{{2}})"
    rf"|{_EARLIER_WORD}[-/. ]+\d{{1,2}}[-/., ]+(?:\d{{4}}|\d{{2}}))"
    rf"(?:[T\s,]+{_EARLIER_CLOCK}\s*(?:Z|UTC|[+-]\d{{2}}:?\d{{2}})?)?"
    rf"|\d{{4}}-\d{{2}}|{_EARLIER_CLOCK}",
    re.IGNORECASE,
)

ORDERS = ("ymd", "dmy", "mdy")


class Moments(NamedTuple):
    """A column of dates or times.

    values   datetime64[s], in UTC where the strings have an offset; NaT for strings that are no dates
    order    ymd, dmy, mdy, or hms for times of day
    offsets  timedelta64[s] by which each string is ahead of UTC; NaT where it has no offset
    marks    what stands between the numbers of those that begin with the day or the month
    doubt    the first of these, if no string says which of the two comes first
    """

    values: NDArray[Any]
    order: str
    offsets: NDArray[Any]
    marks: str = ""
    doubt: str = ""

    @property
    def zoned(self) -> bool:
        """Whether some have an offset from UTC."""
        return not bool(np.isnat(self.offsets).all())

    def local(self) -> NDArray[Any]:
        """The moments as the strings show them, without their offsets."""
        ahead = np.where(np.isnat(self.offsets), np.timedelta64(0, "s"), self.offsets)
        values = self.values + ahead
        return _of_a_day(values) if self.order == "hms" else values


def moments(
    texts: Sequence[str], order: str | None = None, *, earlier: bool = False, marks: str = ""
) -> Moments | None:
    """The dates or times in these strings; None if most of them are none.

    With `order` None it is the one that all cells allow; of dmy and mdy, where both are possible, dmy for dates with
    points and mdy for those with slashes, as they are mostly written. Raises ValueError for a date such as 1/2/2024
    where the order is ymd, which does not say which number is the month, for one such as 1/31/2024 where it is dmy,
    since the others are then doubtful, and, if the `marks` of those with the order are given, for others with another
    mark that may be in another order. `earlier` is the reading of files without `Feature.middles`, which raises
    nothing and knows fewer forms.
    """
    texts = [text.strip() for text in texts]
    known = order is not None
    clocks = [_TIME.fullmatch(text) if order in (None, "hms") else None for text in texts]
    if order is None and _most(clocks):
        order = "hms"
    found = [
        clock.groupdict() if clock is not None and order == "hms" else _match(text)
        for text, clock in zip(texts, clocks, strict=True)
    ]
    if earlier:
        found = [m if _EARLIER.fullmatch(text) else None for text, m in zip(texts, found, strict=True)]
    if not _most(found):
        return None
    loose = [(text, m) for text, m in zip(texts, found, strict=True) if m is not None and "first" in m]
    doubt = ""
    if order is None:
        order = "ymd"
        if loose:
            first, second = (max(int(m[part]) for _, m in loose) for part in ("first", "then"))
            order = "dmy" if first > 12 or (second <= 12 and loose[0][1]["mark"] == ".") else "mdy"
            if first <= 12 and second <= 12:
                doubt = next((text for text, m in loose if int(m["first"]) != int(m["then"])), "")
    elif not earlier:
        if marks:
            _check_marks(loose, order, marks)
        for text, m in loose:
            m["order"] = _order_of(text, m, order)
    nat = np.datetime64("NaT", "s")
    values = [nat if m is None else _moment(m, m.get("order", order), known) for m in found]
    ahead = [None if m is None or not m.get("zone") else _offset(m["zone"]) for m in found]
    offsets = np.array([np.timedelta64("NaT" if x is None else x, "s") for x in ahead], dtype="timedelta64[s]")
    seen = "".join(sorted({m["mark"] for _, m in loose}))
    return Moments(np.array(values, dtype="datetime64[s]"), order, offsets, seen, doubt)


def _check_marks(loose: Sequence[tuple[str, dict[str, Any]]], order: str, marks: str) -> None:
    """Raise ValueError for a date that may be in another order than those of training, which had other marks."""
    day, begin = ("first", "day") if order == "dmy" else ("then", "month")
    shown = " or ".join(map(repr, marks))
    proven = {m["mark"] for _, m in loose if int(m[day]) > 12}
    for text, m in loose:
        first, then = int(m["first"]), int(m["then"])
        if m["mark"] not in (*marks, *proven) and max(first, then) <= 12 and first != then:
            raise ValueError(
                f"{text!r} may be the month {first} or {then}: the dates in training had {shown} in it, and the "
                f"{begin} first; write dates as then, or as 2024-01-31"
            )


def _order_of(text: str, match: dict[str, Any], order: str) -> str:
    """The order of one date, where `order` is that of training."""
    first, then = int(match["first"]), int(match["then"])
    if order not in ("dmy", "mdy"):
        if first <= 12 and then <= 12 and first != then and match["mark"] != ".":
            raise ValueError(
                f"{text!r} may be the month {first} or {then}, and training had dates that begin with the year: write "
                "dates as 2024-01-31"
            )
        return "mdy" if then > 12 else "dmy"
    day, month = (first, then) if order == "dmy" else (then, first)
    if month > 12 and 1 <= day <= 12 and month <= 31:
        was = "the day first" if order == "dmy" else "the month first"
        raise ValueError(f"{text!r} has no month {month}, and training had dates with {was}: write dates as 2024-01-31")
    return order


def _of_a_day(values: NDArray[Any]) -> NDArray[Any]:
    """Times of day, of 1970-01-01: a time of day remains one in another zone. Dates are unchanged."""
    midnight = values.astype("datetime64[D]")
    return np.where(np.abs(midnight.astype(np.int64)) <= 1, values - (midnight - np.datetime64(0, "D")), values)


def compact(texts: Sequence[str]) -> bool:
    """Whether these are numbers such as 20240131, each of them a day of the calendar (or a second of it): different
    numbers of eight digits that are not dates hardly ever are."""
    if len(texts) < 2 or not all(_COMPACT.fullmatch(text.strip()) for text in texts):
        return False
    found = moments(texts, "ymd")
    return found is not None and not bool(np.isnat(found.values).any())


def _match(text: str) -> dict[str, Any] | None:
    if len(text) >= 60 or not any(c.isdigit() for c in text):
        return None
    found = (pattern.fullmatch(text) for pattern in _PATTERNS)
    return next((match.groupdict() for match in found if match is not None), None)


def _most(found: Sequence[Any]) -> bool:
    return sum(x is not None for x in found) > len(found) / 2


def _moment(parts: dict[str, Any], order: str, known: bool) -> np.datetime64:
    """The moment of a match; NaT if there is no such day or time. Of a column that is known to hold dates, every word
    that begins as a month does is one."""
    seconds = 0 if parts.get("hour") is None else _seconds(parts)
    if seconds is None:
        return np.datetime64("NaT", "s")
    if "year" not in parts:
        return np.datetime64(seconds % _DAY_SECONDS, "s")  # a time of day remains one in UTC
    year, month, day = parts["year"], parts.get("month") or "1", parts.get("day") or "1"
    if "first" in parts:
        day, month = (parts["first"], parts["then"]) if order != "mdy" else (parts["then"], parts["first"])
    if "word" in parts:
        month = str(_month(parts["word"].rstrip(".").lower(), known))
    if len(year) == 2:  # as POSIX has it
        year = ("19" if int(year) >= 69 else "20") + year
    if "quarter" in parts:
        month = str(3 * int(parts["quarter"]) - 2)
    try:
        if "week" in parts:
            date = datetime.date.fromisocalendar(int(year), int(parts["week"]), 1)
        else:
            date = datetime.date(int(year), int(month), int(day))
    except ValueError:
        return np.datetime64("NaT", "s")
    return np.datetime64(date, "s") + np.timedelta64(seconds, "s")


def _month(word: str, known: bool) -> int:
    """The month that a word names, 0 if none."""
    for month, (english, *others) in _MONTHS.items():
        if english.startswith(word) or word in others or (known and word.startswith(english[:3])):
            return month
    return 0


def _seconds(parts: dict[str, Any]) -> int | None:
    """The seconds since midnight, of UTC if there is an offset; None for what is no time."""
    hour, minute, second = int(parts["hour"]), int(parts["minute"]), int(parts["second"] or 0)
    if parts.get("half"):
        hour = hour % 12 + (12 if parts["half"].lower() == "pm" else 0)
    if hour >= 24 or minute >= 60 or second >= 60:
        return None
    return 3600 * hour + 60 * minute + second - _offset(parts.get("zone"))


def _offset(zone: str | None) -> int:
    """The seconds by which a zone is ahead of UTC."""
    match = re.search(r"([+-])(\d{2}):?(\d{2})?$", zone or "")
    if match is None:
        return 0
    ahead = 3600 * int(match[2]) + 60 * int(match[3] or 0)
    return ahead if match[1] == "+" else -ahead


def parts(moments: NDArray[Any], names: Sequence[str], since: np.datetime64) -> list[NDArray[np.float64]]:
    """Columns of numbers, NaN where there is no moment: "year", "month" (1 to 12), "weekday" (Monday is 0), "hour"
    (with its fraction) and "elapsed" (days since `since`)."""
    moments = moments.astype("datetime64[s]")
    gone = np.isnat(moments)
    days = moments.astype("datetime64[D]")
    found = []
    for name in names:
        values: NDArray[Any]
        if name == "year":
            values = moments.astype("datetime64[Y]").astype(np.int64) + 1970
        elif name == "month":
            values = moments.astype("datetime64[M]").astype(np.int64) % 12 + 1
        elif name == "weekday":
            values = (days.astype(np.int64) + 3) % 7  # the first of January 1970 was a Thursday
        elif name == "hour":
            values = (moments - days).astype("timedelta64[s]").astype(np.int64) / 3600.0
        else:
            values = (moments - since).astype("timedelta64[s]").astype(np.int64) / 86400.0
        found.append(np.where(gone, np.nan, values.astype(np.float64)))
    return found


def telling(moments: NDArray[Any], order: str) -> list[str]:
    """The parts that differ between these moments. Where all are first days, they stand for months or years, and their
    weekdays for nothing."""
    there = moments[~np.isnat(moments)]
    names = ["hour"] if order == "hms" else ["year", "month", "weekday", "hour", "elapsed"]
    if (there == there.astype("datetime64[M]")).all():
        names = [name for name in names if name != "weekday"]
    since = np.datetime64(0, "s")
    return [name for name in names if len(np.unique(parts(there, [name], since)[0])) > 1]
