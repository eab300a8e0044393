"""Delimited text, read by DuckDB: its sniffer finds delimiter, quotes, comments and the lines above the table.

The rest is done here: encodings, compressed files, columns separated by runs of spaces, detecting the header, lines of
totals, and error messages. Every cell is returned as text, or None if it is empty.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import re
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from macrograd._extras import installing
from macrograd.tables import cells
from macrograd.tables.table import Array, Table

# More columns than any net of single scalars has; DuckDB takes minutes for ten times as many.
MOST_COLUMNS = 10_000
# For text from a compressed file: a few kilobytes can expand to any number of gigabytes.
MOST_BYTES = 4 << 30
_PIECE = 1 << 20
_SAMPLE = 20_480  # lines that the sniffer examines, its own default

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
_TOTALS = re.compile(
    r"^\W*(grand\s+)?(sub)?(total|totals|sum|sums|average|averages|mean|count|gesamt|summe|somme|totale)\b", re.I
)


@dataclass(frozen=True)
class Dialect:
    """How text is split into cells."""

    delimiter: str
    quote: str
    comment: str
    skip: int  # lines above the first one of the table
    columns: int


def read(path: Path, *, delimiter: str | None = None, header: bool | None = None) -> Table:
    """The table in a file of delimited text.

    delimiter  the string between cells; None to detect it
    header     whether the first line has the names; None to detect it

    Raises OSError, ImportError without DuckDB, and ValueError, with line and remedy, if it is not such a table.
    """
    duckdb = library(path.name)
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="macrograd-") as folder:
        plain = Path(folder) / "table.csv"
        encoding = _copy(path, plain)
        if encoding != "UTF-8":
            notes.append(f"read as {encoding}")
        _check_text(path, plain)
        with connected(duckdb) as connection:
            dialect = _sniff(connection, duckdb, path, plain, delimiter)
            found, left = _cut(connection, duckdb, path, plain, dialect)
            notes += left
    return _table(path, found, dialect, header, notes)


def library(name: str) -> Any:
    """DuckDB. Raises ImportError that says how to install it."""
    try:
        import duckdb
    except ImportError:
        raise ImportError(f"reading {name} needs DuckDB: {installing('tables')}") from None
    return duckdb


@contextlib.contextmanager
def connected(duckdb: Any) -> Iterator[Any]:
    """An in-memory database that never uses the network, whatever a file's name or content."""
    settings = {"autoinstall_known_extensions": False, "autoload_known_extensions": False, "threads": 1}
    connection = duckdb.connect(config=settings)
    try:
        yield connection
    finally:
        connection.close()


# --- a file of UTF-8 --------------------------------------------------------------------------------------------------


def _copy(source: Path, plain: Path) -> str:
    """Write a file's text as UTF-8 to `plain`; returns its original encoding."""
    with opened(source) as file:
        head = file.read(_PIECE)
        encoding = _encoding(head)
        try:
            _decode(head, file, encoding or "utf-8", plain)
            return {"utf-8-sig": "UTF-8", None: "UTF-8"}.get(encoding, str(encoding).upper())
        except UnicodeDecodeError:
            if encoding is not None:
                raise ValueError(
                    f"{source.name} begins as {encoding.upper()} and continues in another encoding"
                ) from None
    # Every byte is a character in Latin-1; Windows-1252 has letters where Latin-1 has control characters.
    for guess in ("cp1252", "latin-1"):
        with opened(source) as file, contextlib.suppress(UnicodeDecodeError):
            _decode(b"", file, guess, plain)
            return {"cp1252": "Latin-1 (cp1252)"}.get(guess, "Latin-1")
    raise AssertionError("every byte is a character in Latin-1")


def _decode(head: bytes, file: IO[bytes], encoding: str, plain: Path) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    size = 0
    with open(plain, "w", encoding="utf-8", newline="") as out:
        piece = head or file.read(_PIECE)
        while piece:
            size += len(piece)
            if size > MOST_BYTES:
                raise ValueError(f"the text is larger than {MOST_BYTES >> 30} GiB: cut the table into smaller ones")
            out.write(decoder.decode(piece))
            piece = file.read(_PIECE)
        out.write(decoder.decode(b"", final=True))


def _encoding(head: bytes) -> str | None:
    """By the byte order mark, or by the zeros of UTF-16 in Western text; None: UTF-8 if possible."""
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) and len(head) % 4 == 0:
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    some = np.frombuffer(head[: 1 << 12], dtype=np.uint8)
    if len(some) >= 4:
        even, odd = np.mean(some[::2] == 0), np.mean(some[1::2] == 0)
        if odd > 0.6 and even < 0.1:
            return "utf-16-le"
        if even > 0.6 and odd < 0.1:
            return "utf-16-be"
    return None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, decompressed from gzip or from the only file in a zip. Raises ValueError for archives that are
    damaged or hold several tables."""
    with open(path, "rb") as file:
        magic = file.read(4)
        file.seek(0)
        try:
            if magic[:2] == b"\x1f\x8b":
                with gzip.open(file) as inner:
                    yield inner  # type: ignore[misc]  # a GzipFile reads bytes as any file does
            elif magic == b"PK\x03\x04":
                with zipfile.ZipFile(file) as archive:
                    names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX")]
                    if len(names) != 1:
                        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
                        raise ValueError(f"{path.name} holds {len(names)} files ({shown}): take out the one to read")
                    with archive.open(names[0]) as inner:
                        yield inner
            else:
                yield file
        except (gzip.BadGzipFile, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f"{path.name} is damaged: {error}") from None


def _check_text(path: Path, plain: Path) -> None:
    """Refuse binary files, and tables with more columns than can be learned from, before parsing."""
    with open(plain, encoding="utf-8", newline="") as file:
        head = file.read(_PIECE)
    if not head.strip():
        raise ValueError(
            f"{path.name} is empty: it needs a header line with the names of the columns, and rows below it"
        )
    if re.match(r"\ufeff?\s*(<!doctype\s+html|<html\b)", head, re.IGNORECASE):
        raise ValueError(
            f"{path.name} is a web page, not a table: download the table itself, where a link says 'raw' or 'download'"
        )
    control = sum(1 for c in head[:65536] if ord(c) < 32 and c not in "\t\n\r\f")
    if control > len(head[:65536]) / 50:
        raise ValueError(
            f"{path.name} is not a table in text: {control} of its first characters are control characters"
        )
    lines = re.split(r"\r\n|\n|\r", head)
    widest = max(max(line.count(mark) for mark in ",;\t|") for line in lines[:10]) + 1
    if widest > MOST_COLUMNS:
        raise ValueError(
            f"{path.name} has {widest:,} columns{'' if len(lines) > 1 else ' or more'}, and {MOST_COLUMNS:,} are the "
            "most that can be read: copy those that matter into a smaller table"
        )


# --- cells ------------------------------------------------------------------------------------------------------------


def _sniff(connection: Any, duckdb: Any, path: Path, plain: Path, delimiter: str | None) -> Dialect:
    options = f", sample_size={_SAMPLE}" + (", delim=?" if delimiter is not None else "")
    arguments = [str(plain)] + ([delimiter] if delimiter is not None else [])
    try:
        row = connection.execute(
            f"SELECT Delimiter, Quote, Comment, SkipRows, len(Columns) FROM sniff_csv(?{options})", arguments
        ).fetchone()
    except duckdb.Error as error:
        row = None
        reason = str(error)
        if "line size" in reason.lower():
            raise ValueError(f"{path.name} has a line of more than 2 MB: that is not a table in text") from None
    if row is not None and (row[4] > 1 or delimiter is not None):
        quote = row[1] if row[1] not in ("(empty)", "\0") else '"'
        comment = row[2] if row[2] not in ("(empty)", "\0") else ""
        return Dialect(row[0], quote, comment, int(row[3]), int(row[4]))
    if delimiter is None and (spaced := _spaced(connection, duckdb, plain)) is not None:
        return spaced
    lines = [line for line in plain.read_text("utf-8")[:_PIECE].splitlines() if line.strip()]
    by_spaces = {len(line.split()) for line in lines[:100]}
    if delimiter is None and len(by_spaces) == 1 and (width := by_spaces.pop()) > 1:
        _set_apart(plain)
        return Dialect("\t", '"', "", 0, width)
    guess = max(",;\t|", key=lambda mark: min((line.count(mark) for line in lines[:20]), default=0))
    width = max((line.count(guess) for line in lines[:20]), default=0) + 1
    return Dialect(guess, '"', "", 0, width)


def _spaced(connection: Any, duckdb: Any, plain: Path) -> Dialect | None:
    """Text with cells separated by single spaces, which the sniffer does not try on its own."""
    try:
        row = connection.execute(
            f"SELECT Quote, SkipRows, len(Columns) FROM sniff_csv(?, sample_size={_SAMPLE}, delim=' ', quote='\"')",
            [str(plain)],
        ).fetchone()
    except duckdb.Error:
        return None
    return None if row[2] < 2 or row[1] else Dialect(" ", '"', "", 0, int(row[2]))


def _set_apart(plain: Path) -> None:
    """Runs of spaces become tabs."""
    text = plain.read_text("utf-8")
    plain.write_text("".join("\t".join(line.split()) + "\n" for line in text.splitlines() if line.strip()), "utf-8")


def _cut(connection: Any, duckdb: Any, path: Path, plain: Path, dialect: Dialect) -> tuple[list[Array], list[str]]:
    """(the columns, first line included; notes)."""
    columns = "{" + ", ".join(f"'c{i}': 'VARCHAR'" for i in range(dialect.columns)) + "}"
    statement = (
        f"SELECT * FROM read_csv(?, auto_detect=false, header=false, columns={columns}, delim=?, quote=?, escape=?, "
        f"comment=?, skip={dialect.skip}"
    )
    arguments = [str(plain), dialect.delimiter, dialect.quote, dialect.quote, dialect.comment]
    try:
        return _arrays(connection.execute(statement + ")", arguments)), []
    except duckdb.Error as error:
        first = str(error)
    # Some lines are malformed. Lines of totals at the end may be skipped; anything else is an error.
    try:
        connection.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
        found = _arrays(connection.execute(statement + ", store_rejects=true, rejects_limit=100)", arguments))
        rejected = connection.execute(
            "SELECT line, csv_line, error_type, error_message FROM reject_errors ORDER BY line"
        ).fetchall()
    except duckdb.Error as error:
        first, rejected, found = str(error), [], []
    last = dialect.skip + len(found[0]) if found else 0
    if rejected and all(_TOTALS.match(text or "") and line > last for line, text, *_ in rejected):
        return found, [f"line {line} left out, a line of totals" for line, *_ in rejected]
    raise ValueError(_wrong(path, dialect, first))


def _wrong(path: Path, dialect: Dialect, message: str) -> str:
    """DuckDB's error as one line."""
    line = re.search(r"CSV Error on Line: (\d+)", message)
    place = f"{path.name}, line {line[1]}" if line else path.name
    counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if counts:
        found = int(counts[2])
        if line is not None and int(line[1]) == dialect.skip + 1 and found < int(counts[1]):
            return (
                f"{path.name} has lines with {counts[1]} cells separated by {_name(dialect.delimiter)}, and its first "
                f"line has {found}: correct those lines, or the header, or name another --delimiter"
            )
        return (
            f"{place} has {found} cell{'s' * (found != 1)} separated by {_name(dialect.delimiter)}, where {counts[1]} "
            "are expected: correct the line, or name another --delimiter"
        )
    if "quote" in message.lower():
        return f"{place} has a quote ({dialect.quote}) that is not closed, or text after it: correct the line"
    if "line size" in message.lower():
        return f"{place} is longer than 2 MB: that is not a table in text"
    return f"{path.name} cannot be read as a table: {' '.join(message.split())[:200]}"


def _name(delimiter: str) -> str:
    return next((name for name, mark in DELIMITERS.items() if mark == delimiter), repr(delimiter))


def _arrays(result: Any) -> list[Array]:
    found = []
    for column in result.fetchnumpy().values():
        mask = np.ma.getmaskarray(column)
        array = np.asarray(column.data if isinstance(column, np.ma.MaskedArray) else column, dtype=object)
        array = array.copy()
        array[mask] = None
        found.append(array)
    return found


# --- rows and names ---------------------------------------------------------------------------------------------------


def _table(path: Path, found: list[Array], dialect: Dialect, header: bool | None, notes: list[str]) -> Table:
    if not found or not len(found[0]):
        raise ValueError(f"{path.name} has no rows: it needs a header line with names, and rows below it")
    first = [_strip(column[0]) for column in found]
    has_header = _has_header(first, found) if header is None else header
    if has_header:
        found = [column[1:] for column in found]
        names = [name or "" for name in first]
    else:
        names = [f"column {i + 1}" for i in range(len(found))]
        if header is None:
            notes = [*notes, f"no header line: the columns are called {names[0]!r} to {names[-1]!r}"]
    names, found = _without_empty(names, found)
    if len(found[0]) and (total := _total(found)):
        found, notes = (
            [column[:-1] for column in found],
            [*notes, f"the last line left out, a line of totals ({total})"],
        )
    names, renamed = unique(names)
    notes += renamed
    return Table(dict(zip(names, found, strict=True)), path.name, tuple(notes))


def _strip(cell: Any) -> str | None:
    return None if cell is None else str(cell).strip()


def _without_empty(names: list[str], found: list[Array]) -> tuple[list[str], list[Array]]:
    """Without columns that have neither a name nor cells, such as those from a comma at the end of every line."""
    kept = [
        (name, column)
        for name, column in zip(names, found, strict=True)
        if name or any(c is not None and c.strip() for c in column)
    ]
    return ([n for n, _ in kept], [c for _, c in kept]) if kept else (names, found)


def _has_header(first: list[str | None], found: list[Array]) -> bool:
    """Whether the first line has the column names: strings above numbers, or strings that do not occur again."""
    point = cells.Style(".")
    numeric = [name is not None and cells.number_of(name, point)[0] is not None for name in first]
    if first[0] in (None, "") and all(first[1:]) and len(first) > 1 and all(c is not None for c in found[0][1:]):
        return True  # an empty corner above the row names
    if any(numeric):
        # Years are names if the other cells of the line are names too, and no number is below a text.
        words = sum(not n and bool(name) for n, name in zip(numeric, first, strict=True))
        below = [_numeric(column[1:200]) for column in found]
        return any(b and not n and bool(name) for b, n, name in zip(below, numeric, first, strict=True)) and words > 0
    if len(found[0]) < 2:
        return True
    if any(_numeric(column[1:200]) for column in found):
        return True
    again = sum(
        name is not None and name in {_strip(c) for c in column[1:1000]}
        for name, column in zip(first, found, strict=True)
    )
    return again == 0 and len(set(first)) == len(first)


def _numeric(column: Array) -> bool:
    texts = [t for t, gone in zip(column, cells.missing(column), strict=True) if not gone]
    return bool(texts) and all(cells.number_of(t, cells.Style("."))[0] is not None for t in texts)


def _total(found: list[Array]) -> str:
    """The word that marks a last line of totals: in a column of numbers, or next to nothing but numbers."""
    last = [_strip(column[-1]) for column in found]
    words = [(i, text) for i, text in enumerate(last) if text and _TOTALS.match(text)]
    if len(words) != 1 or len(found[0]) < 3:
        return ""
    i, text = words[0]
    above = {_strip(c) for c in found[i][:-1]}
    # A "mean" or "total" that also occurs elsewhere is a category.
    return "" if text in above else text


def unique(names: list[str]) -> tuple[list[str], list[str]]:
    """Duplicate names get a number."""
    found: list[str] = []
    notes = []
    taken = set(names)
    seen: set[str] = set()
    for name in names:
        new, k = name, 2
        while new in seen or (new != name and new in taken):
            new, k = f"{name}.{k}", k + 1
        if new != name:
            notes.append(f"two columns are named {name!r}: the second is called {new!r}")
        seen.add(new)
        found.append(new)
    return found, notes
