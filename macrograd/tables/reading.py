"""`read`: a table by its path or address. The first bytes select the reader, or the name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from macrograd.tables import sources, text, workbooks
from macrograd.tables.table import Table

_READERS: dict[str, Callable[[Path], Table]] = {
    ".parquet": sources.parquet,
    ".pq": sources.parquet,
    ".jsonl": sources.json_lines,
    ".ndjson": sources.json_lines,
    ".json": sources.json_lines,
    ".arrow": sources.arrow,
    ".feather": sources.arrow,
    ".ipc": sources.arrow,
    ".arrows": sources.arrow,
}
_WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_DATABASES = (".sqlite", ".sqlite3", ".db", ".db3")
_MAGIC = ((b"SQLite format 3\0", ".sqlite"), (b"PAR1", ".parquet"), (b"ARROW1", ".arrow"))


def is_address(name: str) -> bool:
    """Whether this names a PostgreSQL database, not a file."""
    return name.startswith(("postgresql://", "postgres://"))


def read(
    path: str | Path, *, query: str | None = None, delimiter: str | None = None, header: bool | None = None
) -> Table:
    """Read a table from a file or a database, with all cells unchanged.

    path       of text with delimiters (also .gz and .zip), Parquet, Arrow, JSON lines, Excel or OpenDocument, SQLite;
               or postgresql://user@host/database
    query      for databases: a SELECT or the name of a table; for workbooks the name of a sheet
    delimiter  for text: the string between cells; None to detect it
    header     for text: whether the first line has the names; None to detect it

    Raises OSError if it cannot be opened, ImportError naming the extra to install, and ValueError, with place and
    remedy, if it is not a table.
    """
    name = str(path)
    for given, what in ((delimiter, "delimiter"), (header, "header")):
        if given is not None and (is_address(name) or _ending(Path(path)) != ""):
            raise ValueError(f"a {what} is for tables in text, not for {sources.without_password(name)}")
    if is_address(name):
        return sources.postgres(name, query)
    place = Path(path)
    ending = _ending(place)
    if query is not None and ending not in (*_DATABASES, *_WORKBOOKS):
        raise ValueError(f"a query is for databases, and for workbooks the name of a sheet; {place.name} is neither")
    if ending in _DATABASES:
        return sources.sqlite(place, query)
    if ending in _WORKBOOKS:
        return workbooks.sheet(place, query)
    if ending:
        return _READERS[ending](place)
    return text.read(place, delimiter=delimiter, header=header)


def _ending(path: Path) -> str:
    """The ending that names the format; "" for text. Raises OSError if it cannot be opened."""
    with open(path, "rb") as file:
        head = file.read(16)
    for magic, ending in _MAGIC:
        if head.startswith(magic):
            return ending
    ending = path.suffix.lower()
    if ending in (*_WORKBOOKS, *_READERS):
        return ending
    # .db means many formats: without SQLite's signature it is tried as text. An empty SQLite file has no signature
    # either.
    return ending if ending in _DATABASES and not head else ""
