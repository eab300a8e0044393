"""Parquet, Arrow, JSON lines, Excel, SQLite and PostgreSQL, each written and read by the real thing."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from macrograd import tables
from macrograd.tables import sources, text, workbooks

DATA: dict[str, list[Any]] = {
    "number": [1.5, None, 3.25, 8.0],
    "whole": [1, 2, 3, 5],
    "word": ["p", "q", None, "p"],
    "yes": [True, False, True, True],
    "day": [datetime.date(2024, 1, day) for day in (1, 2, 3, 5)],
}
EXPECTED = tables.plan_of(tables.from_frame(DATA))
NUMBERS = EXPECTED.numbers(tables.from_frame(DATA))[0].tolist()


def write(path: Path) -> Path:
    import polars as pl

    frame = pl.DataFrame(DATA)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".arrow":
        frame.write_ipc(path)
    elif path.suffix == ".arrows":
        frame.write_ipc_stream(path)
    elif path.suffix in (".jsonl", ".json"):
        frame.write_ndjson(path)
    else:
        import openpyxl

        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        for row in [list(DATA), *zip(*DATA.values(), strict=True)]:
            sheet.append(row)
        book.save(path)
    return path


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.arrows", "t.jsonl", "t.json", "t.xlsx", "t*.parquet"])
def test_files(tmp_path: Path, name: str) -> None:
    table = tables.read(write(tmp_path / name))
    assert list(table) == list(DATA)
    assert len(table) == 4
    plan = tables.plan_of(table)
    assert plan.names == EXPECTED.names
    assert plan.numbers(table)[0].tolist() == NUMBERS
    assert EXPECTED.numbers(table)[0].tolist() == NUMBERS  # and a plan of one kind of file is for all of them


def test_the_first_bytes_count_more_than_the_name(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet").rename(tmp_path / "t.csv")
    assert list(tables.read(tmp_path / "t.csv")) == list(DATA)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.jsonl", "t.xlsx", "t.sqlite"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    magic = {".parquet": b"PAR1", ".arrow": b"ARROW1", ".sqlite": b"SQLite format 3\0"}
    (tmp_path / name).write_bytes(magic.get(Path(name).suffix, b"{") + b"junk\xff" * 50)
    with pytest.raises(ValueError, match=rf"^{name}"):
        tables.read(tmp_path / name)


def test_workbooks_with_sheets_and_a_title(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    first, second = book.active, book.create_sheet("Lab")
    assert first is not None
    for row in [["Report of 2024"], [], ["a", "b", "a", None], [1, "x", 3, None], [2, "y", 5, None]]:
        first.append(row)
    for row in [["c"], [7], [8]]:
        second.append(row)
    book.save(tmp_path / "t.xlsx")
    table = tables.read(tmp_path / "t.xlsx")
    assert {name: c.tolist() for name, c in table.columns.items()} == {"a": [1, 2], "b": ["x", "y"], "a.2": [3, 5]}
    assert table.notes[0] == "the sheet 'Sheet', of 'Sheet', 'Lab': --query 'NAME' takes another"
    assert table.notes[1] == "the line Report of 2024 above the table left out"
    assert list(tables.read(tmp_path / "t.xlsx", query="Lab")) == ["c"]
    with pytest.raises(ValueError, match=r"t.xlsx has no sheet 'lab', it has 'Sheet', 'Lab'"):
        tables.read(tmp_path / "t.xlsx", query="lab")


def test_formulas_without_a_result_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `=` at the beginning of a label becomes one where pandas writes the workbook."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in [["a", "kind"], [1, "=high"], [2, "-low"], [3, "=high"], [4, "=1+1"]]:
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    for piece in (workbooks.PIECE, 7):
        monkeypatch.setattr(workbooks, "PIECE", piece)
        table = tables.read(tmp_path / "t.xlsx")
        assert table.columns["kind"].tolist() == [None, "-low", None, None]
        assert table.notes[0].startswith("3 formulas without a result in the workbook, empty here: open it in a spread")

    with zipfile.ZipFile(tmp_path / "t.xlsx") as old, zipfile.ZipFile(tmp_path / "saved.xlsx", "w") as new:
        for name in old.namelist():
            new.writestr(name, re.sub(rb"<v ?/>|<v></v>", b"<v>2</v>", old.read(name)))
    assert tables.read(tmp_path / "saved.xlsx").notes == ()


def test_wide_tables_are_refused_at_once(tmp_path: Path) -> None:
    """Quadratic searches for names took minutes, and the reader of workbooks, which makes all cells before the last
    one, ended the process."""
    openpyxl, pa = pytest.importorskip("openpyxl"), pytest.importorskip("pyarrow")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in range(2):
        sheet.append([row] * 10_001)
    book.save(tmp_path / "wide.xlsx")
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active["A1"], book.active["A2"] = "a", 1
    book.active.cell(1_048_576, 16_384, "z")
    book.save(tmp_path / "far.xlsx")
    wide = pa.table({f"c{i}": [1.0, 2.0] for i in range(10_001)})
    with pa.OSFile(str(tmp_path / "wide.arrow"), "wb") as file, pa.ipc.new_file(file, wide.schema) as writer:
        writer.write_table(wide)
    row = json.dumps({f"c{i}": i for i in range(10_001)})
    (tmp_path / "wide.jsonl").write_text(f"{row}\n{row}\n")
    for name, said in [
        ("wide.xlsx", "wide.xlsx has 10,001 columns, and 10,000 are the most that can be read"),
        (
            "far.xlsx",
            "far.xlsx has 1,048,576 lines of 16384 cells, which take some 1,024.0 GiB of memory, and the mach",
        ),
        ("wide.arrow", "wide.arrow has 10,001 columns, and 10,000 are the most that can be read"),
        ("wide.jsonl", "wide.jsonl holds no table, or objects of too many different names to be rows of one"),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
            tables.read(tmp_path / name)
    (tmp_path / "t.jsonl").write_text('{"json": 1}\n{"json": 2}\n')
    assert tables.read(tmp_path / "t.jsonl").columns["json"].tolist() == [1, 2]


class Counted(str):
    """A name that counts how often any is compared: events, and no time, tell a quadratic search."""

    seen = 0

    def __eq__(self, other: object) -> bool:
        Counted.seen += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_names_are_found_without_comparing_each_with_all() -> None:
    from macrograd.train.samples.columns import in_order

    names = [Counted(f"c{i}") for i in range(300)]
    frame = pd.DataFrame(np.ones((2, 300)), columns=[f"c{i}" for i in range(300)])
    Counted.seen = 0
    assert in_order(frame, tuple(names), "X") is frame
    assert Counted.seen <= 4 * len(names)
    Counted.seen = 0
    assert text.unique([*names, *names])[0] == [*names, *[f"{name}.2" for name in names]]
    assert text.unique(["a", "a", "a.2", "a"])[0] == ["a", "a.3", "a.2", "a.4"]
    assert text.unique(["a"] * 5000)[0][-1] == "a.5000"
    assert Counted.seen <= 4 * len(names)


def test_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with sqlite3.connect(path) as connection:
        connection.execute('CREATE TABLE "my runs" (a REAL, b TEXT)')
        connection.executemany('INSERT INTO "my runs" VALUES (?, ?)', [(1.5, "x"), (None, "y"), (4, None)])
    connection.close()
    table = tables.read(path)
    assert table.notes == ("the table 'my runs'",)
    assert table.columns["a"].tolist() == pytest.approx([1.5, float("nan"), 4.0], nan_ok=True)
    assert table.columns["b"].tolist() == ["x", "y", None]
    assert tables.read(path, query='SELECT a + 1 AS c, a AS c FROM "my runs" WHERE a > 1').columns["c.2"].tolist() == [
        1.5,
        4,
    ]
    assert len(tables.read(path, query="my runs")) == 3
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE VIEW seen AS SELECT a FROM 'my runs'")
    connection.close()
    assert len(tables.read(path, query="main.seen")) == 3

    def wrong(query: str | None) -> str:
        with pytest.raises(ValueError, match=r"^t\.db") as raised:
            tables.read(path, query=query)
        return str(raised.value)

    assert wrong("other") == "t.db has no table 'other', it has 'my runs', 'seen'"
    assert wrong("main.other") == "t.db: no such table: main.other"
    assert wrong("SELECT x FROM nowhere") == "t.db: no such table: nowhere"
    assert wrong("SELECT a FROM 'my runs' WHERE a > 99") == "t.db: the query answers no rows"
    assert wrong("DELETE FROM 'my runs'") == "t.db: attempt to write a readonly database"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE second (a REAL)")
    connection.close()
    assert wrong(None).endswith(
        "with --query TABLE or --query 'SELECT …'; it has the tables 'my runs', 'seen', 'second'"
    )


def test_options_where_they_do_not_belong(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"a query is for databases, and for workbooks the name of a sheet; t.csv is"):
        tables.read(tmp_path / "t.csv", query="SELECT 1")
    with pytest.raises(ValueError, match="a delimiter is for tables in text, not for"):
        tables.read(write(tmp_path / "t.parquet"), delimiter=";")


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("pyarrow", "t.arrow", "arrow"), ("python_calamine", "t.xlsx", "tables"), ("duckdb", "t.parquet", "tables")],
)
def test_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, extra: str) -> None:
    path = write(tmp_path / name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'reading {name} needs .*: pip install "macrograd\[{extra}\]"'):
        tables.read(path)


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def programs() -> Path | None:
    """Where a PostgreSQL server is on this machine."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places else None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, on a socket in a folder, which no network reaches."""
    place = programs()
    if place is None:
        pytest.skip("there is no PostgreSQL server here: install postgresql to run this")
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/pgXXXXXX"], text=True).strip())
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # which a server refuses to run as
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no runuser here")
        import pwd

        try:
            other = pwd.getpwnam("postgres")
        except KeyError:
            other = pwd.getpwnam("nobody")
        os.chown(folder, other.pw_uid, other.pw_gid)
        who = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
    run: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": 600, **who}
    subprocess.run([place / "initdb", "-D", "data", "-A", "trust", "-U", "me", "--no-sync"], check=True, **run)
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    start = [place / "pg_ctl", "-D", "data", "-w", "-o", options, "-l", "log", "start"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, cwd=folder, timeout=600, **who)
    try:
        yield f"postgresql://me@/postgres?host={folder}"
    finally:
        subprocess.run([place / "pg_ctl", "-D", "data", "-m", "immediate", "stop"], check=False, **run)
        shutil.rmtree(folder, ignore_errors=True)


def test_postgresql(server: str) -> None:
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE runs (number double precision, whole int, word text, yes boolean, day date, cost numeric)"
        )
        with connection.cursor() as cursor:
            rows = zip(*DATA.values(), strict=True)
            cursor.executemany("INSERT INTO runs VALUES (%s, %s, %s, %s, %s, 1.25)", list(rows))
    table = tables.read(server)
    assert list(table) == [*DATA, "cost"]
    assert table.columns["cost"].tolist() == [1.25] * 4
    assert EXPECTED.numbers(table)[0].tolist() == NUMBERS
    assert tables.read(server, query="SELECT whole FROM runs ORDER BY whole DESC LIMIT 2").columns[
        "whole"
    ].tolist() == [5, 3]
    with pytest.raises(ValueError, match=r"cannot execute DELETE in a read-only transaction"):
        tables.read(server, query="DELETE FROM runs")
    with pytest.raises(ValueError, match=r'column "nothing" does not exist'):
        tables.read(server, query="SELECT nothing FROM runs")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA lab; CREATE TABLE lab.runs AS SELECT whole + 1 AS whole FROM runs")
    assert tables.read(server, query="lab.runs").columns["whole"].tolist() == [2, 3, 4, 6]
    with pytest.raises(ValueError, match=r'relation "lab.none" does not exist'):
        tables.read(server, query="lab.none")


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^postgresql://me@/db: connection failed|^postgresql://me@/db") as raised:
        tables.read(f"postgresql://me:secret@/db?host={tmp_path}")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me"),
        ("postgresql://host/db?password=secret&user=me", "postgresql://host/db?user=me"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
    ],
)
def test_passwords_are_not_shown(address: str, shown: str) -> None:
    assert sources.without_password(address) == shown


def test_a_line_of_totals_in_a_workbook_is_left_out(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in [["day", "n"], ["Monday", 1], ["Tuesday", 2], ["Friday", 4], ["Total", 7]]:
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    table = tables.read(tmp_path / "t.xlsx")
    assert table.columns["n"].tolist() == [1, 2, 4]
    assert table.notes == ("the last line left out, a line of totals (Total)",)


def test_cells_that_hold_several_values_are_text(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"tags": ["a", "b"], "size": [1, null]}\n{"tags": ["a"], "size": [2, 3]}\n', "utf-8")
    frame = {"tags": [["a", "b"], ["a"]], "size": [np.ma.array([1, 0], mask=[False, True]), np.array([2, 3])]}
    for table in (tables.read(path), tables.from_frame(frame)):
        assert all(isinstance(x, str) for column in table.columns.values() for x in column.tolist() if x is not None)
    assert tables.read(path).columns["size"].tolist() == ["[1, None]", "[2, 3]"]
    assert tables.from_frame(frame).columns["tags"].tolist() == ["['a', 'b']", "['a']"]
