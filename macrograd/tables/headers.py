"""The names of columns where they stand in more than one line: groups above names, or units below them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.tables.cells import MISSING
from macrograd.tables.table import listed

Cells = Sequence[Any] | NDArray[Any]  # of a line or a column; "" or None where there is nothing
LOOKED_AT = 200  # cells that tell whether a column holds words
_MOST_LINES = 3
_SHOWN = 6
# "<0.1" and "~3" are what a meter says of a row.
_UNIT = re.compile(r"[^\d<>≤≥~±+].*", re.S)


@dataclass(frozen=True)
class Header:
    """The lines above the rows.

    names  of the columns, "" for none
    lines  how many there are
    notes  on what became of them, in words
    """

    names: list[str]
    lines: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Merged:
    """Cells that are one: the lines (0 is the first) and the columns from `first` to `last`."""

    first: tuple[int, int]
    last: tuple[int, int]


def of_merged(lines: Sequence[Cells], merged: Sequence[Merged], where: str) -> Header | None:
    """The header of a sheet whose first line has merged cells; None if it has none. Raises ValueError for a name above
    several columns where no line below it is sure to tell them apart."""
    tops = [area for area in merged if area.first[0] == 0 and _there(lines[0][area.first[1]])]
    down = max((area.last[0] + 1 for area in tops), default=1)
    wide = [area for area in tops if area.last[1] > area.first[1]]
    if not wide and (down == 1 or down >= len(lines)):
        return None
    deep = _deep(lines, merged, down)
    spread = [list(line) for line in lines[:deep]]
    for area in merged:
        for row in range(area.first[0], min(area.last[0] + 1, deep)):
            for column in range(area.first[1], min(area.last[1] + 1, len(lines[0]))):
                spread[row][column] = lines[area.first[0]][area.first[1]]
    names = [_joined(column) for column in zip(*spread, strict=True)]
    sure = deep == down or _above_numbers(lines, deep)
    for area in wide:
        under = names[area.first[1] : area.last[1] + 1]
        if len(set(under)) < len(under) or not sure:
            raise ValueError(
                f"{where}: {_text(lines[0][area.first[1]])!r} stands above {len(under)} columns, as merged cells, and "
                "it does not show whether the line below names these: give every column a name of its own, in one line"
            )
    return Header(names, deep, _note(names, deep))


def _deep(lines: Sequence[Cells], merged: Sequence[Merged], down: int) -> int:
    """How many lines a header has that goes `down` so far by its merged cells: more, if words stand below groups."""
    deep = down
    while deep < min(_MOST_LINES, len(lines) - 1):
        groups = any(a.first[0] < deep <= a.last[0] + 1 and a.last[1] > a.first[1] for a in merged)
        if not groups or not all(_word(cell) or not _there(cell) for cell in lines[deep]):
            break
        deep += 1
    return deep


def _above_numbers(lines: Sequence[Cells], deep: int) -> bool:
    """Whether a word in the last of `deep` lines stands above a column without words, so that it is no row."""
    columns = list(zip(*lines[deep : deep + LOOKED_AT], strict=True))
    return any(
        _word(cell) and _all_numbers(column, lambda below: not isinstance(below, str))
        for cell, column in zip(lines[deep - 1], columns, strict=True)
    )


def of(columns: Sequence[Cells], number: Callable[[Any], bool]) -> Header | None:
    """The header of several lines of a table, by what its cells are; None if there is one line of names, or none.

    number  whether a cell is a number; one that is neither that nor missing is a word

    Groups have gaps, or stand again beside themselves, above words in the next line; units are words below names.
    Either needs a column of numbers with a word in that line: it is no row.
    """
    if not columns or len(columns[0]) < 4:
        return None
    first, second = ([column[k] for column in columns] for k in (0, 1))
    if not all(_word(cell) and not number(cell) for line in (first, second) for cell in line if _there(cell)):
        return None
    numbers = [_all_numbers(column[2:LOOKED_AT], number) for column in columns]
    if not any(_given(cell) and below for cell, below in zip(second, numbers, strict=True)):
        return None
    filled = [_there(cell) for cell in first]
    if all(filled) and len({str(cell).strip() for cell in first}) == len(first):
        return _with_units(first, second, numbers)
    groups, group = [], ""
    for cell, below in zip(first, second, strict=True):
        group = str(cell).strip() if _there(cell) else group if _there(below) else ""
        groups.append(group)
    names = [_joined(parts) for parts in zip(groups, second, strict=True)]
    if not all(names) or len(set(names)) < len(names) or not any(filled):
        return None
    return Header(names, 2, _note(names, 2))


def _with_units(first: Cells, second: Cells, numbers: Sequence[bool]) -> Header | None:
    """Names with units below them: a word in every column of numbers, perhaps a dash, and in no other."""
    units = [str(cell).strip() for cell, below in zip(second, numbers, strict=True) if below and _there(cell)]
    others = [cell for cell, below in zip(second, numbers, strict=True) if not below and _given(cell)]
    if others or sum(numbers) > len(units) or sum(map(_given, units)) < 2 or not all(map(_UNIT.match, units)):
        return None
    shown = listed(units, _SHOWN)
    note = f"the line {shown} below the names left out: it has words in the columns of numbers, as units are"
    return Header([str(cell).strip() for cell in first], 2, (note,))


def _all_numbers(cells: Cells, number: Callable[[Any], bool]) -> bool:
    given = [cell for cell in cells if _given(cell)]
    return bool(given) and all(number(cell) for cell in given)


def _there(cell: Any) -> bool:
    return cell is not None and bool(str(cell).strip())


def _given(cell: Any) -> bool:
    """Whether it is there, and no mark for a missing value."""
    return _there(cell) and str(cell).strip().lower() not in MISSING


def _word(cell: Any) -> bool:
    return isinstance(cell, str) and bool(cell.strip())


def _joined(parts: Cells) -> str:
    """The name below its groups; cells that are merged downwards count once."""
    texts = [_text(part) for part in parts if _there(part)]
    return " ".join(text for k, text in enumerate(texts) if k == 0 or text != texts[k - 1])


def _text(cell: Any) -> str:
    """A name; 2019 is no 2019.0, which a workbook has it as."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _note(names: Sequence[str], lines: int) -> tuple[str, ...]:
    return (f"the names stand in {lines} lines and are joined: {listed(names, _SHOWN)}",)
