"""The meaning of the text in cells: missing, a number, or yes or no. Works on columns: the reading of one cell depends
on the others, since 1,234 is a thousand in one table and a little over one in another."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass

# The markers of missing values in tables, in any case.
MISSING = frozenset(["", "na", "n/a", "#n/a", "#na", "<na>", "nan", "null", "none", "nil", "?", "-", "--", "—", "."])

PERCENT, SOME_PERCENT = "%", "% or none"

# Yes and no, in the order of 0 and 1.
YES_NO = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))

_CURRENCY = "$€£¥₹₽₩₺฿₫₴₦₱₪"
_CODES = "USD|EUR|GBP|JPY|CHF|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|BRL|RUB"
_UNIT = re.compile(rf"^([+-]?)\s*(?:([{_CURRENCY}]|{_CODES})\s*)?(.*?)\s*([{_CURRENCY}%‰]|{_CODES})?$", re.DOTALL)
# Separators of thousands besides comma and point: spaces of all widths, and the Swiss apostrophe.
_BETWEEN = re.compile("(?<=\\d)[ \u00a0\u2007\u2009\u202f'’](?=\\d{3}(?!\\d))")
_MINUS = str.maketrans({"−": "-", "–": "-", "﹣": "-", "－": "-"})

_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eEdD][+-]?\d+)?")
_POINT_GROUPS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d*)?")
_COMMA_GROUPS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
# Thousands or a fraction: a number of thousands does not begin with 0.
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}([.,])\d{3}")
_EITHER_EARLIER = re.compile(r"[+-]?\d{1,3}([.,])\d{3}")
_WORDS = re.compile(r"[+-]?(inf|infinity)", re.IGNORECASE)


DECIMALS = {"point": ".", "comma": ","}


@dataclass(frozen=True)
class Style:
    """How numbers are written in a table: with a decimal point or comma. The other one may separate thousands."""

    decimal: str = "."


def missing(texts: NDArray[Any], more: Collection[str] = ()) -> NDArray[np.bool_]:
    """Where an object array of str and None has no value. `more` are further markers, matched exactly."""
    own = {marker.strip() for marker in more}
    found = np.fromiter(
        (t is None or t.strip().lower() in MISSING or (bool(own) and t.strip() in own) for t in texts),
        dtype=bool,
        count=len(texts),
    )
    return found


def style_of(columns: Iterable[Sequence[str]], *, earlier: bool = False) -> Style | None:
    """The style that the cells of a whole table imply; None if they imply none.

    1,5 and 1.234,5 imply the comma; 1.5, 1,234.5 and 1,234,567 the point; 1,234 alone neither. 0,123 implies the comma,
    except in the `earlier` reading of old files.
    """
    either = _EITHER_EARLIER if earlier else _EITHER
    comma = point = 0
    for cells in columns:
        # A column of sentences has commas too: only columns of nothing but numbers count.
        bare = [_bare(cell)[0] for cell in cells]
        if not bare or not all(_one_of(text, (_POINT, _COMMA, _POINT_GROUPS, _COMMA_GROUPS)) for text in bare):
            continue
        says_comma = sum(_speaks(text, ",", ".", either) for text in bare)
        says_point = sum(_speaks(text, ".", ",", either) for text in bare)
        # Both in one column: 1,234 beside 1.5.
        comma += says_comma > 0 and says_point == 0
        point += says_point > 0 and says_comma == 0
    return None if comma == point == 0 else Style("," if comma > point else ".")


def _speaks(text: str, decimal: str, other: str, either: re.Pattern[str] = _EITHER) -> bool:
    """Whether a number's text can only be read with this decimal mark."""
    if text.count(other) > 1 or (decimal in text and other in text and text.rindex(other) < text.rindex(decimal)):
        return True
    return text.count(decimal) == 1 and other not in text and not either.fullmatch(text)


def doubtful(texts: Iterable[str]) -> str:
    """The first of a column's numbers that is thousands with one decimal mark and a fraction with the other, such as
    753.469; "" if there is none, or if another cell says which mark it is."""
    found = ""
    for text in texts:
        bare = _bare(text)[0]
        if _EITHER.fullmatch(bare):
            found = found or text.strip()
        elif ("." in bare or "," in bare) and (_speaks(bare, ",", ".") or _speaks(bare, ".", ",")):
            return ""
    return found


def as_read(text: str, style: Style) -> tuple[str, str]:
    """(how a doubtful number is read, in words; the kind by which it is read in the other way)."""
    number = number_of(text, style)[0]
    fraction = float(two_ways(text)[0]) == number
    how = "with a fraction" if fraction else "in thousands"
    return f"{text!r} is read as {number:.15g}, {how}", f"number:{'comma' if style.decimal == '.' else 'point'}"


def two_ways(text: str) -> tuple[str, str]:
    """What a doubtful number may be: (with its mark as the decimal one, with it between thousands), as text."""
    bare = _bare(text)[0]
    return bare.replace(",", "."), bare.replace(",", "").replace(".", "")


def numbers(texts: Sequence[str], style: Style) -> tuple[NDArray[np.float64], str] | None:
    """The numbers in these strings, none of which is missing, and their unit, or ""; NaN for each that is not a number.
    The unit is SOME_PERCENT if some are in percent and others, not 0, in nothing. None if there are several units.

    Understood beside Python's own: − and other minus signs, thousands in groups of three, a decimal comma by `style`,
    exponents by D as Fortran writes them, currencies, and percent (12 % is 12).
    """
    try:
        found = np.array(texts, dtype=object).astype(np.float64)
    except (ValueError, TypeError):
        found = None
    # Python also reads 1_000 and the digits of all scripts, which no table intends.
    if found is not None and style.decimal == "." and np.isfinite(found).all() and not any("_" in t for t in texts):
        return found, ""
    units, bare = set(), False
    result = np.full(len(texts), np.nan)
    for i, text in enumerate(texts):
        number, unit = number_of(text, style)
        if number is not None:
            result[i] = number
            units.add(unit)
            bare |= not unit and number != 0.0
    units.discard("")
    if units == {PERCENT} and bare:
        return result, SOME_PERCENT
    return None if len(units) > 1 else (result, "".join(units))


def number_of(text: str, style: Style) -> tuple[float | None, str]:
    """(the number in a cell, or None; its unit: a currency, "%", or "")."""
    bare, unit = _bare(text)
    groups, plain = (_COMMA_GROUPS, _POINT) if style.decimal == "." else (_POINT_GROUPS, _COMMA)
    if plain.fullmatch(bare):
        bare = bare.replace(style.decimal, ".")
    elif groups.fullmatch(bare):
        bare = bare.replace("," if style.decimal == "." else ".", "").replace(style.decimal, ".")
    elif _WORDS.fullmatch(bare):
        pass
    else:
        return None, ""
    return float(bare.replace("D", "e").replace("d", "e")), unit


def _bare(text: str) -> tuple[str, str]:
    text = text.strip().translate(_MINUS)
    if _POINT.fullmatch(text):
        return text, ""
    if len(text) > 60:  # no number is that long, and the patterns below are slow on pages of text
        return "", ""
    sign = ""
    if text.startswith("(") and text.endswith(")"):  # accountants' notation for negative amounts
        sign, text = "-", text[1:-1].strip()
    match = _UNIT.match(text)
    assert match is not None
    unit = match[2] or match[4] or ""
    body = match[3]
    if sign and not (unit or "," in body or "." in body):
        return "", ""  # (1) is a footnote, not a negative amount
    return (sign or match[1]) + _BETWEEN.sub("", body), unit


def _one_of(text: str, patterns: Sequence[re.Pattern[str]]) -> bool:
    return any(pattern.fullmatch(text) for pattern in patterns)


def yes_no(texts: Collection[str]) -> dict[str, float] | None:
    """1 or 0 for each text if all of them are from one pair of yes and no; None otherwise."""
    words = {text.strip().lower() for text in texts}
    for pair in YES_NO:
        if words and words <= set(pair):
            return {text: float(pair.index(text.strip().lower())) for text in texts}
    return None


def known_yes_no(texts: Collection[str]) -> dict[str, float]:
    """1 or 0 for each text of a column that is known to hold yes and no: in all spellings side by side, also as
    numbers. Raises ValueError for another."""
    meaning = {word: float(k) for pair in YES_NO for k, word in enumerate(pair)} | {"0": 0.0, "1": 1.0}
    words = {text: text.strip().lower().removesuffix(".0") for text in texts}
    other = next((text for text, word in words.items() if word not in meaning), None)
    if other is not None:
        raise ValueError(f"{other!r} is not yes or no, true or false, 1 or 0")
    return {text: meaning[word] for text, word in words.items()}


def several_spellings(labels: Iterable[str]) -> list[list[str]]:
    """Labels that differ only in case and surrounding spaces, such as Up, up and "up "."""
    by_word: dict[str, list[str]] = {}
    for label in labels:
        by_word.setdefault(" ".join(label.split()).casefold(), []).append(label)
    return [sorted(spellings) for spellings in by_word.values() if len(spellings) > 1]
