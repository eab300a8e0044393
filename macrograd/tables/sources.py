"""Tables that are not text: Parquet, JSON lines, Arrow, SQLite and PostgreSQL, each read by its library."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from macrograd._extras import installing
from macrograd.tables import table as tables
from macrograd.tables import text
from macrograd.tables.decoding import MOST_COLUMNS
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
            check_size(path.name, names, [names])
            arrays = [tables.of_values(column) for column in found.fetchnumpy().values()]
            arrays = [tables.utc(a) if at and a.dtype.kind == "M" else a for a, at in zip(arrays, zoned, strict=True)]
        except duckdb.Error as error:
            raise ValueError(f"{path.name} cannot be read: {short(error)}") from None
    check_size(path.name, names, arrays)
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
            check_size(path.name, found.column_names, [found])
            return tables.of(found, path.name)
    except pa.ArrowException as error:
        raise ValueError(f"{path.name} cannot be read: {short(error)}") from None


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
            raise ValueError(f"{path.name}: {short(error)}") from None


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
        raise ValueError(f"{name}: {short(error)}") from None


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


def check_size(name: str, names: Sequence[str], arrays: Sequence[Any]) -> None:
    """Raise ValueError for a table without rows, and for one of too many columns."""
    if len(names) > MOST_COLUMNS:
        raise ValueError(
            f"{name} has {len(names):,} columns, and {MOST_COLUMNS:,} are the most that can be read: copy those "
            "that matter into a smaller table"
        )
    if not arrays or not len(arrays[0]):
        raise ValueError(f"{name} has no rows")


def short(error: Any) -> str:
    """A library's message as one line."""
    return " ".join(str(error).split())[:300]
