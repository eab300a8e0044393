"""Workbooks: sheets of Excel and OpenDocument, read by calamine. Here: which lines of a sheet are its table."""

from __future__ import annotations

import bisect
import contextlib
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from macrograd._extras import installing
from macrograd.tables import headers, text
from macrograd.tables import table as tables
from macrograd.tables.decoding import PIECE, check_cells
from macrograd.tables.sources import check_size, short
from macrograd.tables.table import Table, listed


def sheet(path: Path, name: str | None = None) -> Table:
    """A sheet of an Excel or OpenDocument workbook, by default the first that is not hidden. Its first line has the
    names, or its first lines, which are joined.

    Raises ImportError without python-calamine, and ValueError for another sheet, a damaged file, and merged cells that
    leave columns without a name.
    """
    try:
        import python_calamine as calamine
    except ImportError:
        raise ImportError(f"reading {path.name} needs python-calamine: {installing('tables')}") from None
    notes: list[str] = []
    if path.suffix.lower() in (".xlsx", ".xlsm") and (count := _surveyed(path)):
        notes.append(
            f"{count:,} formula{'s' * (count > 1)} without a result in the workbook, empty here: open it in a "
            "spreadsheet program and save it, or write text that begins with = as text"
        )
    try:
        with calamine.CalamineWorkbook.from_path(str(path)) as book:
            chosen, told = _chosen(book, path.name, name)
            found = book.get_sheet_by_name(chosen)
            rows, areas = found.to_python(skip_empty_area=True), _merged(found)
    except (calamine.CalamineError, OSError) as error:
        if isinstance(error, OSError) and not path.exists():
            raise
        far = ": clear the cells beyond the table, or save it as CSV" if "limit" in str(error).lower() else ""
        raise ValueError(f"{path.name} cannot be read: {short(error)}{far}") from None
    return _table(path.name, rows, areas, [*notes, *told])


def _chosen(book: Any, where: str, name: str | None) -> tuple[str, list[str]]:
    """The name of the sheet to read, and a note if there are others. Raises ValueError if there is none."""
    if name is not None:
        if name not in book.sheet_names:
            raise ValueError(f"{where} has no sheet {name!r}, it has {listed(book.sheet_names)}")
        return name, []
    if not book.sheet_names:
        raise ValueError(f"{where} has no sheets")
    known = getattr(book, "sheets_metadata", ())  # with charts and what is hidden; not in old versions
    plain = [x.name for x in known if str(x.typ).endswith("WorkSheet") and str(x.visible).endswith(".Visible")]
    chosen = str((plain or book.sheet_names)[0])
    if len(book.sheet_names) == 1:
        return chosen, []
    return chosen, [f"the sheet {chosen!r}, of {listed(book.sheet_names)}: --query 'NAME' takes another"]


def _merged(found: Any) -> list[headers.Merged]:
    """The merged cells of a sheet, counted from its first cell that is not empty; [] if its format does not tell."""
    row, column = found.start or (0, 0)
    return [
        headers.Merged((max(0, a - row), max(0, b - column)), (c - row, d - column))
        for (a, b), (c, d) in getattr(found, "merged_cell_ranges", None) or ()
        if c >= row and d >= column
    ]


def _table(where: str, lines: list[Any], merged: list[headers.Merged], notes: list[str]) -> Table:
    """The table that the lines of a sheet hold."""
    places = [k for k, line in enumerate(lines) if any(cell != "" for cell in line)]
    rows = [lines[k] for k in places]
    # A title above the table: lines with a single cell, if the table has more.
    while (len(rows) > 2 and _filled(rows[0]) <= 1 < _filled(rows[1])) or (
        len(rows) > 2 and _filled(rows[0]) <= 1 < _filled(rows[2])
    ):
        notes.append(f"the line {next(c for c in rows[0] if c != '')!s} above the table left out")
        rows.pop(0)
        places.pop(0)
    if len(rows) < 2:
        raise ValueError(f"{where} has no rows: it needs a line with the names of the columns, and rows below it")
    header = _header(where, rows, merged, places)
    notes += header.notes
    names, renamed = text.unique(header.names)
    columns = [[None if row[i] == "" else row[i] for row in rows[header.lines :]] for i in range(len(names))]
    kept = [i for i, name in enumerate(names) if name or any(x is not None for x in columns[i])]
    check_size(where, [names[i] for i in kept], columns)
    cells = [np.array([None if x is None else str(x) for x in columns[i]], dtype=object) for i in kept]
    if total := text.total(cells):
        columns = [column[:-1] for column in columns]
        notes.append(f"the last line left out, a line of totals ({total})")
    found = {names[i]: tables.of_values(columns[i]) for i in kept}
    return Table(found, where, (*notes, *renamed))


def _header(where: str, rows: list[Any], merged: list[headers.Merged], places: list[int]) -> headers.Header:
    """The names in the first line, or in several. `places` are the lines of the sheet that the rows are."""
    areas = [  # counted in rows
        headers.Merged(
            (bisect.bisect_left(places, area.first[0]), area.first[1]),
            (bisect.bisect_right(places, area.last[0]) - 1, area.last[1]),
        )
        for area in merged
        if area.last[0] >= places[0]
    ]
    found = headers.of_merged(rows, areas, where) if areas else None
    if found is None:
        top = rows[: headers.LOOKED_AT]
        found = headers.of(list(zip(*top, strict=True)), lambda cell: not isinstance(cell, str))
    return found or headers.Header([str(name).strip() for name in rows[0]], 1)


# As libraries write formulas, and whatever else begins with =; a spreadsheet program puts the result into <v>.
_WITHOUT_RESULT = re.compile(rb"</f>\s*(?:<v\s*/>|<v>\s*</v>|</c>)|<f\b[^>]*/>\s*(?:<v\s*/>|<v>\s*</v>|</c>)")
_PLACE = re.compile(rb'<c\b[^>]*?\br="([A-Z]{1,3})([0-9]{1,7})"')


def _surveyed(path: Path) -> int:
    """How many cells of an Excel workbook have a formula and no result. Raises ValueError for a sheet whose last cell
    is so far out that its reader, which makes all cells before it, would end the process for lack of memory."""
    count = 0
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:  # which its reader says better
        for name in archive.namelist():
            if re.fullmatch(r"xl/worksheets/[^/]+\.xml", name):
                with archive.open(name) as sheet:
                    lines = columns = 0
                    for cells in _whole_cells(sheet):
                        count += len(_WITHOUT_RESULT.findall(cells))
                        for column, row in _PLACE.findall(cells):
                            lines, columns = max(lines, int(row)), max(columns, _number(column))
                    check_cells(path.name, lines, columns, "clear the cells beyond the table, or save it as CSV")
    return count


def _whole_cells(sheet: IO[bytes]) -> Iterator[bytes]:
    """The text of a sheet in pieces that end between cells."""
    held = b""
    while piece := sheet.read(PIECE):
        held += piece
        cell = max(held.rfind(b"<c "), 0)  # which may end in the next piece
        yield held[:cell]
        held = held[cell:]
    yield held


def _number(column: bytes) -> int:
    """1 for A, 27 for AA."""
    number = 0
    for letter in column:
        number = 26 * number + letter - ord("A") + 1
    return number


def _filled(row: Sequence[Any]) -> int:
    return sum(cell != "" for cell in row)
