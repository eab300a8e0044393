"""Durations as text: clocks beyond a day, words and letters of units, and ISO 8601, all as seconds.

A month counts as 30 days and a year as 365, as PostgreSQL's clients have it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_UNITS = {
    unit: seconds
    for names, seconds in (
        ("ns nanosecond nanoseconds", 1e-9),
        ("us µs μs microsecond microseconds", 1e-6),
        ("ms msec msecs millisecond milliseconds", 1e-3),
        ("s sec secs second seconds", 1.0),
        ("m min mins minute minutes", _MINUTE),
        ("h hr hrs hour hours", _HOUR),
        ("d day days", _DAY),
        ("w wk wks week weeks", 7 * _DAY),
        ("mo mon mons month months", 30 * _DAY),
        ("y yr yrs year years", 365 * _DAY),
    )
    for unit in names.split()
}
_NUMBER = r"\d+(?:[.,]\d+)?"
_PIECE = re.compile(rf"([+-]?{_NUMBER})\s*([A-Za-zµμ]+)\.?\s*(?:,\s*)?(?:and\s+)?")
# Hours may be any number; with a fraction behind two parts these are minutes and seconds, 3:59.4.
_CLOCK = re.compile(r"([+-]?)(\d+):(\d{2}):(\d{2}(?:[.,]\d+)?)")
_SHORT = re.compile(r"([+-]?)(\d+):(\d{2})")
_LAP = re.compile(r"([+-]?)(\d+):(\d{2}[.,]\d+)")
_METRES = re.compile(rf"{_NUMBER}\s*m")
_ISO = re.compile(
    rf"([+-]?)P(?=.)(?:({_NUMBER})Y)?(?:({_NUMBER})M)?(?:({_NUMBER})W)?(?:({_NUMBER})D)?"
    rf"(?:T(?=.)(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?",
    re.IGNORECASE,
)
_ISO_SECONDS = (365 * _DAY, 30 * _DAY, 7 * _DAY, _DAY, _HOUR, _MINUTE, 1.0)


# How cells of two numbers, such as 40:18, are read: as hours and minutes, as minutes and seconds, or not at all.
HOURS, MINUTES, FULL = ORDERS = ("h:mm", "m:ss", "h:mm:ss")

MEANINGS = {HOURS: "hours and minutes", MINUTES: "minutes and seconds"}


class Durations(NamedTuple):
    """A column of durations.

    values  seconds, NaN for other strings
    told    whether the strings say that they are durations
    order   one of `ORDERS`
    """

    values: NDArray[np.float64]
    told: bool
    order: str


def seconds(texts: Sequence[str], order: str | None = None) -> Durations | None:
    """The durations in these strings; None if there is none.

    Times of day are durations since midnight, which their strings do not say; nor do scores and ranges such as 21:18
    where some of them cannot be read, and nor does 12 m, which may be metres.

    If `order` does not say it, 58:20 is minutes and seconds beside 1:02:03 or 3:59.4, and otherwise hours and minutes.
    Raises ValueError for 58:20 if the order is FULL.
    """
    texts = [text.strip().replace("−", "-") for text in texts]
    short = [text for text in texts if two_numbers(text)]
    if order is None and short:
        order = MINUTES if any(_CLOCK.fullmatch(text) or _LAP.fullmatch(text) for text in texts) else HOURS
    elif order == FULL and short:
        raise ValueError(
            f"{short[0]!r} may be hours and minutes or minutes and seconds, and training had no such duration: write "
            f"{short[0]}:00 or 0:{short[0].lstrip('+-')}"
        )
    order = order or FULL
    read = (seconds_of(text) for text in texts)
    found = np.array([np.nan if x is None else x for x in read], dtype=np.float64)
    of_a_day = (found >= 0) & (found < _DAY)
    if order == MINUTES:
        found = np.where([two_numbers(text) for text in texts], found / _MINUTE, found)
    bad = np.isnan(found)
    if bad.all():
        return None
    said = [text for text, wrong in zip(texts, bad, strict=True) if not wrong]
    if any(not _clock_like(text) for text in said):
        return Durations(found, not all(_METRES.fullmatch(text) for text in said), order)
    return Durations(found, bool((~of_a_day[~bad]).any()) and not (short and bool(bad.any())), order)


def two_numbers(text: str) -> bool:
    """Whether this is a duration such as 40:18."""
    return _SHORT.fullmatch(text.strip().replace("−", "-")) is not None


def seconds_of(text: str) -> float | None:
    """The seconds of a duration; None for other strings."""
    text = text.strip().replace("−", "-")
    if not text or len(text) > 100:
        return None
    if text[-1].isdigit() and ":" in text:
        return _with_clock(text)
    if match := _ISO.fullmatch(text):
        parts = [_real(x) * s for x, s in zip(match.groups()[1:], _ISO_SECONDS, strict=True) if x]
        return -math.fsum(parts) if match[1] == "-" else math.fsum(parts)
    return _words(text)


def _clock_like(text: str) -> bool:
    return bool(_CLOCK.fullmatch(text) or _SHORT.fullmatch(text))


def _with_clock(text: str) -> float | None:
    """A clock, alone or behind words: 1:23:45, 2 days 03:04:05, -1 day, 23:59:00."""
    words, _, clock = text.rpartition(" ")
    before = _words(words.rstrip(", ")) if words else 0.0
    if before is None:
        return None
    if match := _CLOCK.fullmatch(clock):
        hours, minutes, rest = float(match[2]), float(match[3]), _real(match[4])
    elif match := _SHORT.fullmatch(clock):
        hours, minutes, rest = float(match[2]), float(match[3]), 0.0
    elif match := _LAP.fullmatch(clock):
        hours, minutes, rest = 0.0, float(match[2]), _real(match[3])
    else:
        return None
    if rest >= 60 or (minutes >= 60 and match.re is not _LAP):
        return None
    since = hours * _HOUR + minutes * _MINUTE + rest
    return before - since if match[1] == "-" else before + since


def _words(text: str) -> float | None:
    """Numbers with units, one behind the other: 1 day 2 hours, 1h 30m, 250ms."""
    total, at = 0.0, 0
    while at < len(text):
        match = _PIECE.match(text, at)
        if match is None:
            return None
        # Single capitals mean other things: 5M are millions, 10 W watts.
        unit = match[2] if len(match[2]) == 1 else match[2].lower()
        if unit not in _UNITS:
            return None
        total += _real(match[1]) * _UNITS[unit]
        at = match.end()
    return total if at else None


def _real(text: str) -> float:
    return float(text.replace(",", "."))
