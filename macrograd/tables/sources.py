"""Tables that are not text: Parquet, JSON lines, Arrow, Excel, SQLite and PostgreSQL, each read by its library."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from macrograd._extras import installing
from macrograd.tables import table as tables
from macrograd.tables import text
from macrograd.tables.decoding import MOST_COLUMNS, PIECE, check_cells
from macrograd.tables.table import Table, listed


def parquet(path: Path) -> Table:
    """A Parquet file. Raises ValueError for one that is damaged."""
    return _by_duckdb(path, "read_parquet")


def json_lines(path: Path) -> Table:
    """JSON, one object per line, or one list of objects. Raises ValueError for one that is damaged."""
    return _by_duckdb(path, "read_json_auto")


def _by_duckdb(path: Path, function: str) -> Table:
    duckdb = text.library(path.name)
    with text.connected(duckdb) as connection:
        try:
            # A name with a star would match many files.
            quoted = re.sub(r"([\[*?])", r"[\1]", str(path))
            found = connection.execute(f"SELECT * FROM {function}(?)", [quoted])
            names = [column[0] for column in found.description]
            zoned = [str(column[1]) == "TIMESTAMP WITH TIME ZONE" for column in found.description]
            if names == ["json"] and re.match("JSON|MAP", str(found.description[0][1])):
                raise ValueError(
                    f"{path.name} holds no table, or objects of too many different names to be rows of one"
                )
            _check_size(path.name, names, [names])
            arrays = [tables.of_values(column) for column in found.fetchnumpy().values()]
            arrays = [tables.utc(a) if at and a.dtype.kind == "M" else a for a, at in zip(arrays, zoned, strict=True)]
        except duckdb.Error as error:
            raise ValueError(f"{path.name} cannot be read: {_short(error)}") from None
    _check_size(path.name, names, arrays)
    return Table(dict(zip(names, arrays, strict=True)), path.name)


def arrow(path: Path) -> Table:
    """An Arrow file or stream (also called Feather). Raises ImportError without pyarrow, and ValueError for one that is
    damaged."""
    try:
        import pyarrow as pa
        from pyarrow import ipc
    except ImportError:
        raise ImportError(f"reading {path.name} needs pyarrow: {installing('arrow')}") from None
    try:
        with pa.memory_map(str(path)) as source:
            if source.read(6) == b"ARROW1":
                source.seek(0)
                found = ipc.open_file(source).read_all()
            else:
                source.seek(0)
                found = ipc.open_stream(source).read_all()
            _check_size(path.name, found.column_names, [found])
            return tables.of(found, path.name)
    except pa.ArrowException as error:
        raise ValueError(f"{path.name} cannot be read: {_short(error)}") from None


def excel(path: Path, sheet: str | None = None) -> Table:
    """A sheet of an Excel or OpenDocument workbook, by default the first; its first line has the names.

    Raises ImportError without python-calamine, and ValueError for another sheet and a damaged file.
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
            if sheet is not None and sheet not in book.sheet_names:
                raise ValueError(f"{path.name} has no sheet {sheet!r}, it has {listed(book.sheet_names)}")
            chosen = sheet if sheet is not None else book.sheet_names[0]
            if sheet is None and len(book.sheet_names) > 1:
                notes.append(f"the sheet {chosen!r}, of {listed(book.sheet_names)}: --query 'NAME' takes another")
            rows = book.get_sheet_by_name(chosen).to_python(skip_empty_area=True)
    except (calamine.CalamineError, OSError) as error:
        if isinstance(error, OSError) and not path.exists():
            raise
        raise ValueError(f"{path.name} cannot be read: {_short(error)}") from None
    rows = [row for row in rows if any(cell != "" for cell in row)]
    # A title above the table: lines with a single cell, if the table has more.
    while (len(rows) > 2 and _filled(rows[0]) <= 1 < _filled(rows[1])) or (
        len(rows) > 2 and _filled(rows[0]) <= 1 < _filled(rows[2])
    ):
        notes.append(f"the line {next(c for c in rows[0] if c != '')!s} above the table left out")
        rows.pop(0)
    if len(rows) < 2:
        raise ValueError(f"{path.name} has no rows: it needs a line with the names of the columns, and rows below it")
    names, renamed = text.unique([str(name).strip() for name in rows[0]])
    columns = [[None if row[i] == "" else row[i] for row in rows[1:]] for i in range(len(names))]
    kept = [i for i, name in enumerate(names) if name or any(x is not None for x in columns[i])]
    _check_size(path.name, [names[i] for i in kept], columns)
    cells = [np.array([None if x is None else str(x) for x in columns[i]], dtype=object) for i in kept]
    if total := text.total(cells):
        columns = [column[:-1] for column in columns]
        notes.append(f"the last line left out, a line of totals ({total})")
    found = {names[i]: tables.of_values(columns[i]) for i in kept}
    return Table(found, path.name, (*notes, *renamed))


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


def sqlite(path: Path, query: str | None) -> Table:
    """The result of a query, or a table by name; the only table if no query is given. The database is opened read-only.
    Raises ValueError if SQLite refuses."""
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            names = [
                row[0]
                for row in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
                if not row[0].startswith("sqlite_")
            ]
            return _queried(connection, path.name, query, names)
        except sqlite3.Error as error:
            raise ValueError(f"{path.name}: {_short(error)}") from None


def postgres(address: str, query: str | None) -> Table:
    """The result of a query to a PostgreSQL database, or a table by name. The session is read-only.

    address  postgresql://user@host:port/database; without a password in it, libpq asks its own file

    Raises ImportError without psycopg, and ValueError if the server refuses.
    """
    name = without_password(address)
    try:
        import psycopg
    except ImportError:
        raise ImportError(f"reading {name} needs psycopg: {installing('postgres')}") from None
    try:
        with psycopg.connect(address, connect_timeout=10, options="-c default_transaction_read_only=on") as connection:
            tables_there = [
                row[0]
                for row in connection.execute(
                    "SELECT table_name FROM information_schema.tables WHERE table_schema = ANY(current_schemas(false)) "
                    "ORDER BY table_name"
                )
            ]
            return _queried(connection, name, query, tables_there)
    except psycopg.Error as error:
        raise ValueError(f"{name}: {_short(error)}") from None


def without_password(address: str) -> str:
    """An address without its password, for messages and files."""
    address = re.sub(r"(//[^/@]*):[^/@]*@", r"\1@", address)
    return re.sub(r"([?&])password=[^&]*&?", r"\1", address).rstrip("?&")


def _queried(connection: Any, name: str, query: str | None, names: list[str]) -> Table:
    notes: list[str] = []
    if query is None:
        if len(names) != 1:
            has = f"it has the tables {listed(names)}" if names else "it has no table"
            raise ValueError(f"{name}: say what to read, with --query TABLE or --query 'SELECT …'; {has}")
        query, notes = names[0], [f"the table {names[0]!r}"]
    if query in names:
        doubled = query.replace('"', '""')
        query = f'SELECT * FROM "{doubled}"'
    elif re.fullmatch(r"\s*[\w$]+(\.[\w$]+)+\s*", query):  # of a schema; the database says whether it is there
        query = f"SELECT * FROM {query}"
    elif re.fullmatch(r"\s*[\w.$]+\s*", query):
        raise ValueError(f"{name} has no table {query.strip()!r}, it has {listed(names)}")
    found = connection.execute(query)
    if found.description is None:
        raise ValueError(f"{name}: the query returns no table: it must be a SELECT")
    columns, renamed = text.unique([str(column[0]) for column in found.description])
    rows = found.fetchall()
    if not rows:
        raise ValueError(f"{name}: the query answers no rows")
    arrays = [tables.of_values(column) for column in zip(*rows, strict=True)]
    return Table(dict(zip(columns, arrays, strict=True)), name, (*notes, *renamed))


def _check_size(name: str, names: Sequence[str], arrays: Sequence[Any]) -> None:
    if len(names) > MOST_COLUMNS:
        raise ValueError(
            f"{name} has {len(names):,} columns, and {MOST_COLUMNS:,} are the most that can be read: copy those "
            "that matter into a smaller table"
        )
    if not arrays or not len(arrays[0]):
        raise ValueError(f"{name} has no rows")


def _short(error: Any) -> str:
    return " ".join(str(error).split())[:300]
