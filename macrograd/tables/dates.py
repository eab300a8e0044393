"""Dates and times as text: which order of day, month and year a column has, and what a net can learn from a moment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TIME = r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*([aApP][mM])?"
_ZONE = r"\s*(?:Z|UTC|[+-]\d{2}:?\d{2})?"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_AFTER = rf"(?:[T\s,]+{_TIME}{_ZONE})?"
_PATTERNS = {
    # Order of the three groups: year, month, day by their letters.
    "ymd": re.compile(rf"(\d{{4}})[-/.](\d{{1,2}})[-/.](\d{{1,2}}){_AFTER}"),
    "any": re.compile(rf"(\d{{1,2}})[-/.](\d{{1,2}})[-/.](\d{{4}}|\d{{2}}){_AFTER}"),
    "dmy words": re.compile(rf"(\d{{1,2}})[-/. ]+([A-Za-z]{{3,9}})[-/., ]+(\d{{4}}|\d{{2}}){_AFTER}"),
    "mdy words": re.compile(rf"([A-Za-z]{{3,9}})[-/. ]+(\d{{1,2}})[-/., ]+(\d{{4}}|\d{{2}}){_AFTER}"),
    "ym": re.compile(r"(\d{4})-(\d{2})()"),
}
_CLOCK = re.compile(_TIME)

ORDERS = ("ymd", "dmy", "mdy")


def moments(texts: Sequence[str], order: str | None = None) -> tuple[NDArray[Any], str] | None:
    """(the moments, datetime64[s] with NaT for other strings; their order: ymd, dmy, mdy or hms).

    None if most strings are not dates. With `order` None it is the one that all cells allow; of dmy and mdy, where both
    are possible, dmy for dates with points and mdy for those with slashes, as they are mostly written.
    """
    clock = [_CLOCK.fullmatch(text.strip()) for text in texts]
    if order in (None, "hms") and texts and sum(m is not None for m in clock) > len(texts) / 2:
        seconds = [None if m is None else _seconds(m.groups()) for m in clock]
        return np.array([np.datetime64("NaT") if s is None else s for s in seconds], dtype="datetime64[s]"), "hms"
    matches = []
    for text in texts:
        text = text.strip()
        matches.append(
            next(((name, m) for name, p in _PATTERNS.items() if (m := p.fullmatch(text)) is not None), None)
            if len(text) < 60
            else None
        )
    if not texts or sum(m is not None for m in matches) <= len(texts) / 2:
        return None
    loose = [(text, m[1]) for text, m in zip(texts, matches, strict=True) if m is not None and m[0] == "any"]
    if order is None:
        order = "ymd"
        if loose:
            first, second = (max(int(m[k]) for _, m in loose) for k in (1, 2))
            order = "dmy" if first > 12 or (second <= 12 and "." in loose[0][0]) else "mdy"
    found = [np.datetime64("NaT") if m is None else _moment(*m, order) for m in matches]
    return np.array(found, dtype="datetime64[s]"), order


def _moment(name: str, match: re.Match[str], order: str) -> np.datetime64:
    groups = match.groups()
    if name in ("ymd", "ym"):
        year, month, day = groups[:3]
    elif name == "mdy words" or (name == "any" and order == "mdy"):
        month, day, year = groups[:3]
    else:
        day, month, year = groups[:3]
    if not month.isdigit():
        if month[:3].lower() not in _MONTHS:
            return np.datetime64("NaT")
        month = str(_MONTHS.index(month[:3].lower()) + 1)
    if len(year) == 2:  # as POSIX has it
        year = ("19" if int(year) >= 69 else "20") + year
    seconds = _seconds(groups[3:7]) if len(groups) > 3 and groups[3] is not None else 0
    try:
        moment = np.datetime64(f"{int(year):04d}-{int(month):02d}-{int(day or 1):02d}", "s")
    except ValueError:
        return np.datetime64("NaT")
    return np.datetime64("NaT") if seconds is None else moment + np.timedelta64(seconds, "s")


def _seconds(groups: Sequence[Any]) -> int | None:
    hour, minute, second = int(groups[0]), int(groups[1]), int(groups[2] or 0)
    if groups[3]:
        hour = hour % 12 + (12 if groups[3].lower() == "pm" else 0)
    return 3600 * hour + 60 * minute + second if hour < 24 and minute < 60 and second < 60 else None


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
    """The parts that differ between these moments."""
    there = moments[~np.isnat(moments)]
    names = ["hour"] if order == "hms" else ["year", "month", "weekday", "hour", "elapsed"]
    since = np.datetime64(0, "s")
    return [name for name in names if len(np.unique(parts(there, [name], since)[0])) > 1]
