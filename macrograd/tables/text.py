"""Delimited text, read by DuckDB: its sniffer finds delimiter, quotes, comments and the lines above the table.

The rest is done here: columns separated by runs of spaces, detecting the header, lines of totals, and error messages;
`decoding.py` makes plain UTF-8 of the file first. Every cell is returned as text, or None if it is empty.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from macrograd._dataclass import dataclass
from macrograd._extras import installing
from macrograd.tables import cells, headers
from macrograd.tables.decoding import PIECE, SAMPLE, check_memory, check_text, copied
from macrograd.tables.table import Array, Table

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
_YEAR = re.compile(r"(1[5-9]|20|21)\d\d")
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
    names: tuple[str, ...] = ()  # in the last line above, if it has one cell less: R leaves the row names without one


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
        encoding = copied(path, plain)
        if encoding != "UTF-8":
            notes.append(f"read as {encoding}")
        check_text(path, plain)
        with connected(duckdb) as connection:
            dialect, comments = _without_comments(plain, _sniff(connection, duckdb, path, plain, delimiter))
            notes += comments
            check_memory(path.name, plain, dialect.columns)
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


# --- cells ------------------------------------------------------------------------------------------------------------


def _sniff(connection: Any, duckdb: Any, path: Path, plain: Path, delimiter: str | None) -> Dialect:
    options = f", sample_size={SAMPLE}" + (", delim=?" if delimiter is not None else "")
    arguments = [str(plain)] + ([delimiter] if delimiter is not None else [])
    try:
        row = connection.execute(
            f"SELECT Delimiter, Quote, Comment, SkipRows, len(Columns) FROM sniff_csv(?{options})", arguments
        ).fetchone()
    except duckdb.Error as error:
        row = None
        reason = str(error)
        if "line size of" in reason.lower():  # in quotes: its advice speaks of the size always
            raise ValueError(f"{path.name} has a line of more than 2 MB: that is not a table in text") from None
    if row is not None and (row[4] > 1 or delimiter is not None):
        quote = row[1] if row[1] not in ("(empty)", "\0") else '"'
        comment = row[2] if row[2] not in ("(empty)", "\0") else ""
        return _with_names(plain, Dialect(row[0], quote, comment, int(row[3]), int(row[4])))
    if delimiter is None and (spaced := _spaced(connection, duckdb, plain)) is not None:
        return spaced
    lines = [line for line in plain.read_text("utf-8")[:PIECE].splitlines() if line.strip()]
    by_spaces = {len(line.split()) for line in lines[1:100]}
    if delimiter is None and len(by_spaces) == 1 and (width := by_spaces.pop()) > 1:
        missing = width - len(lines[0].split())
        if missing in (0, 1):
            _set_apart(plain)
            return _with_names(plain, Dialect("\t", '"', "", missing, width))
    if (found := _most_frequent(plain)) is not None:
        return found
    guess = max(",;\t|", key=lambda mark: min((line.count(mark) for line in lines[:20]), default=0))
    width = max((line.count(guess) for line in lines[:20]), default=0) + 1
    return Dialect(guess, '"', "", 0, width)


def _most_frequent(plain: Path) -> Dialect | None:
    """With the mark that cuts nine of ten lines into one number of cells, the first of them the first of the table."""
    for mark in ",;\t|":
        with open(plain, encoding="utf-8", newline="") as file:
            reader = csv.reader(itertools.islice(file, SAMPLE), delimiter=mark)
            widths: list[tuple[int, int]] = []
            with contextlib.suppress(csv.Error):  # of a cell that is too long: the lines above tell
                before = 0
                for row in reader:
                    widths.append((len(row), before))
                    before = reader.line_num
        counts = Counter(width for width, _ in widths if width > 1)
        if counts and (most := counts.most_common(1)[0])[1] >= 0.9 * sum(width > 0 for width, _ in widths):
            return Dialect(mark, '"', "", next(line for width, line in widths if width == most[0]), most[0])
    return None


def _without_comments(plain: Path, dialect: Dialect) -> tuple[Dialect, list[str]]:
    """The dialect, and a note on lines that begin as comments do. If some of them are rows, such as `#N/A,1.5`, the
    comments are taken out of the file, and nothing begins a comment any more."""
    if not dialect.comment:
        return dialect, []
    with open(plain, encoding="utf-8", newline="") as file:
        lines = [(k, line) for k, line in enumerate(file) if line.startswith(dialect.comment)]
    rows = {k for k, line in lines if k >= dialect.skip and line.count(dialect.delimiter) == dialect.columns - 1}
    comments = {k for k, _ in lines} - rows
    if rows:
        with open(plain, encoding="utf-8", newline="") as file:
            kept = "".join(line for k, line in enumerate(file) if k not in comments)
        plain.write_text(kept, "utf-8", newline="")
        dialect = replace(dialect, comment="", skip=dialect.skip - sum(k < dialect.skip for k in comments))
    within = sum(k >= dialect.skip for k in comments)
    note = f"{within} line{'s' * (within > 1)} that begin{'s' * (within == 1)} with {lines[0][1][0]} left out"
    return dialect, [note] if within else []


def _spaced(connection: Any, duckdb: Any, plain: Path) -> Dialect | None:
    """Text with cells separated by single spaces, which the sniffer does not try on its own."""
    try:
        row = connection.execute(
            f"SELECT Quote, SkipRows, len(Columns) FROM sniff_csv(?, sample_size={SAMPLE}, delim=' ', quote='\"')",
            [str(plain)],
        ).fetchone()
    except duckdb.Error:
        return None
    found = _with_names(plain, Dialect(" ", '"', "", int(row[1]), int(row[2])))
    return None if found.columns < 2 or (found.skip and not found.names) else found


def _with_names(plain: Path, dialect: Dialect) -> Dialect:
    """With the names in the line above the table, if this line has one cell less than the table."""
    if not dialect.skip:
        return dialect
    with open(plain, encoding="utf-8", newline="") as file:
        line = next(itertools.islice(file, dialect.skip - 1, None), "")
    names = next(csv.reader([line.rstrip("\r\n")], delimiter=dialect.delimiter, quotechar=dialect.quote), [])
    names = [name.strip() for name in names]
    fits = len(names) == dialect.columns - 1 and all(names) and len(set(names)) == len(names)
    return replace(dialect, names=tuple(names)) if fits else dialect


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
    if "line size of" in message.lower():
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
    several = headers.of([column[: headers.LOOKED_AT] for column in found], _is_number) if header is None else None
    has_header = _has_header(first, found) if header is None and several is None else header
    above = dialect.skip
    if several is not None:
        found = [column[several.lines :] for column in found]
        names, notes = several.names, [*notes, *several.notes]
    elif has_header:
        found = [column[1:] for column in found]
        names = [name or "" for name in first]
    elif dialect.names and header is None:
        names, above = ["", *dialect.names], above - 1
    else:
        names = [f"column {i + 1}" for i in range(len(found))]
        if header is None:
            notes = [*notes, f"no header line: the columns are called {names[0]!r} to {names[-1]!r}"]
    if above:
        notes = [*notes, f"{above} line{'s' * (above > 1)} above the table left out"]
    names, found = _without_empty(names, found)
    if len(found[0]) and (word := total(found)):
        found, notes = (
            [column[:-1] for column in found],
            [*notes, f"the last line left out, a line of totals ({word})"],
        )
    names, renamed = unique(names)
    notes += renamed
    return Table(dict(zip(names, found, strict=True)), path.name, tuple(notes))


def _is_number(cell: Any) -> bool:
    return any(cells.number_of(cell, cells.Style(mark))[0] is not None for mark in ".,")


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
        if _years(first, found):
            return True
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


def _years(first: list[str | None], found: list[Array]) -> bool:
    """Whether the first line has words and consecutive years above numbers that are none, as wide tables have them."""
    years = [(int(name), c) for name, c in zip(first, found, strict=True) if name and _YEAR.fullmatch(name)]
    numbers = {year for year, _ in years}
    below = {str(cell).strip() for _, column in years for cell in column[1:200] if cell is not None}
    return (
        len(years) >= 2
        and len(numbers) == len(years) < len(first)
        and max(numbers) - min(numbers) == len(years) - 1
        and not any(_YEAR.fullmatch(cell) for cell in below)
    )


def _numeric(column: Array) -> bool:
    texts = [t for t, gone in zip(column, cells.missing(column), strict=True) if not gone]
    return bool(texts) and all(cells.number_of(t, cells.Style("."))[0] is not None for t in texts)


def total(found: list[Array]) -> str:
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
    numbers: Counter[str] = Counter()  # of the names that were made of each, after all of which the next one is free
    for name in names:
        new = name
        while new in seen or (new != name and new in taken):
            numbers[name] += 1
            new = f"{name}.{numbers[name] + 1}"
        if new != name:
            notes.append(f"two columns are named {name!r}: the second is called {new!r}")
        seen.add(new)
        found.append(new)
    return found, notes
