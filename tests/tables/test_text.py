"""Delimited text in all the forms that people have it in."""

from __future__ import annotations

import gzip
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from macrograd import tables
from macrograd.tables import decoding

Write = Callable[..., Path]

# The same table in each of the forms below.
ROWS = [(6.25, 1434.5, "red"), (-4.5, 1350.75, "green"), (0.5, 1050.0, "red"), (1002.0, 1208.5, "a b")]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes, name: str = "t.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


def lines(separator: str = ",", head: bool = True, **by_type: Callable[[object], str]) -> str:
    number, label = by_type.get("number", str), by_type.get("label", str)
    rows = [separator.join([number(a), number(b), label(c)]) for a, b, c in ROWS]
    return "\n".join([separator.join(["a", "b", "kind"])] * head + rows) + "\n"


def grouped(x: object) -> str:
    return f"{x:,.2f}"


def european(x: object) -> str:
    return grouped(x).translate(str.maketrans(",.", ".,"))


def fortran(x: object) -> str:
    return f"{x:.6E}".replace("E", "D")


def quoted(x: object) -> str:
    return f'"{x}"'


FORMS: dict[str, str | bytes] = {
    "comma": lines(),
    "semicolon": lines(";"),
    "tab": lines("\t"),
    "pipe": lines("|"),
    "space": lines(" ", label=quoted),
    "decimal commas": lines(";", number=lambda x: str(x).replace(".", ",")),
    "thousands": lines(";", number=grouped),
    "quoted thousands": lines(number=lambda x: quoted(grouped(x))),
    "thousands with points": lines(";", number=european),
    "thousands with spaces": lines(";", number=lambda x: grouped(x).replace(",", "\u202f")),
    "thousands with apostrophes": lines(number=lambda x: grouped(x).replace(",", "'")),
    "quotes": lines(number=quoted, label=quoted),
    "spaces around quotes": lines(", ", number=quoted, label=quoted),
    "byte order mark": "\ufeff" + lines(),
    "comments": "# a file\n# of things\n" + lines(),
    "a title": "Things we measured, 2024\n\n" + lines(),
    "two titles": "Report\nCreated 2024\n" + lines(";"),
    "sep=": "sep=;\n" + lines(";"),
    "blank lines": lines().replace("\n", "\n\n"),
    "trailing commas": lines().replace("\n", ",\n"),
    "trailing commas below the header": lines().replace("\n", ",\n").replace("kind,", "kind"),
    "a line of totals": lines() + "Total,5043.75,\n",
    "a short line of totals": lines() + "Total,5043.75\n",
    "old Mac line ends": lines().replace("\n", "\r"),
    "Windows line ends": lines().replace("\n", "\r\n"),
    "Windows line ends the wrong way round": lines().replace("\n", "\n\r"),
    "blank Windows lines": lines().replace("\n", "\r\n\r\n"),
    "Fortran's exponents": lines(number=fortran),
    "minus signs": lines(number=lambda x: str(x).replace("-", "−")),
    "currency": lines(number=lambda x: f"{'-' if x < 0 else ''}${abs(x)}"),
    "currency behind": lines(number=lambda x: f"{x} €"),
    "UTF-16": lines().encode("utf-16"),
    "UTF-16 without its mark": lines().encode("utf-16-le"),
    "gzip": gzip.compress(lines().encode()),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(write: Write, form: str) -> None:
    table = tables.read(write(FORMS[form]))
    assert list(table) == ["a", "b", "kind"]
    plan = tables.plan_of(table, kind={"kind": "category"})
    a, b, *kinds = plan.numbers(table)[0].T.tolist()
    assert a == [row[0] for row in ROWS]
    assert b == [row[1] for row in ROWS]
    assert plan.names[2:] == ("kind=red", "kind=other")
    assert kinds == [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]


def test_columns_set_apart_by_runs_of_spaces(write: Write) -> None:
    table = tables.read(write("   a        b\n 6.25   1434.5\n-4.50    350.0\n"))
    assert {name: column.tolist() for name, column in table.columns.items()} == {
        "a": ["6.25", "-4.50"],
        "b": ["1434.5", "350.0"],
    }


def test_latin_1_is_read_and_said(write: Write) -> None:
    table = tables.read(write("größe,y\n1,grün\n2,blau\n", encoding="latin-1"))
    assert table.columns["y"].tolist() == ["grün", "blau"]
    assert list(table) == ["größe", "y"]
    assert table.notes == ("read as Latin-1 (cp1252)",)


def test_one_file_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("inner.csv", lines())
    assert len(tables.read(tmp_path / "t.zip")) == 4
    with zipfile.ZipFile(tmp_path / "t.zip", "a") as archive:
        archive.writestr("second.csv", lines())
    with pytest.raises(ValueError, match=r"t.zip holds 2 files \(inner.csv, second.csv\): take out the one to read"):
        tables.read(tmp_path / "t.zip")


def test_no_header(write: Write) -> None:
    table = tables.read(write(lines(head=False)))
    assert list(table) == ["column 1", "column 2", "column 3"]
    assert len(table) == 4
    assert table.notes == ("no header line: the columns are called 'column 1' to 'column 3'",)
    assert len(tables.read(write("a,b\nc,d\na,d\nc,b\n"), header=False)) == 4
    assert list(tables.read(write("1,2\n3,4\n"), header=True)) == ["1", "2"]


def test_a_header_of_numbers_beside_an_empty_corner(write: Write) -> None:
    table = tables.read(write('"","0","1"\n"x",3,4\n"y",5,6\n'))
    assert list(table) == ["", "0", "1"]


def test_names_that_stand_twice(write: Write) -> None:
    table = tables.read(write("a,a,a.2\n1,2,3\n4,5,6\n"))
    assert list(table) == ["a", "a.3", "a.2"]
    assert table.notes == ("two columns are named 'a': the second is called 'a.3'",)


def test_line_ends_and_delimiters_in_quotes(write: Write) -> None:
    table = tables.read(write('a,b\n"x\ny",1\n"p;q;r",2\n"say ""so""",3\n'))
    assert table.columns["a"].tolist() == ["x\ny", "p;q;r", 'say "so"']


def test_a_marker_late_in_the_file_changes_nothing_before_it(write: Write) -> None:
    table = tables.read(write("a,b\n" + "".join(f"{'NA' if i == 29_999 else i},1\n" for i in range(30_000))))
    numbers = tables.plan_of(table).numbers(table)[0]
    assert numbers[:3, 0].tolist() == [0.0, 1.0, 2.0]
    assert numbers[-1].tolist() == [14_999.0, 1.0]  # the median, and that it was missing


def test_numbers_come_back_bit_for_bit(write: Write) -> None:
    numbers = [*np.random.RandomState(0).normal(size=200).tolist(), 5e-324, 1.7976931348623157e308, -0.0, 1 / 3]
    table = tables.read(write("x\n" + "\n".join(map(repr, numbers)) + "\n", "x.csv"))
    found = tables.plan_of(table).numbers(table)[0][:, 0]
    assert found.tobytes() == np.array(numbers).tobytes()


# --- what is no table ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv is empty: it needs a header line with the names of the columns, and rows below it"),
        ("\n \n", "t.csv is empty: it needs a header line with the names of the columns, and rows below it"),
        (
            "a,b\n1,2\n3\n",
            "t.csv, line 3 has 1 cell separated by comma, where 2 are expected: correct the line, or name another "
            "--delimiter",
        ),
        (
            "a,b,c\n1,2,3\n1,2\n1,2,3,4\n" * 9,
            "t.csv has lines with 4 cells separated by comma, and its first line has 3: correct those lines, or the "
            "header, or name another --delimiter",
        ),
        ("\n<!DOCTYPE html>\n<p>a,b</p>", "t.csv is a web page, not a table: download the table itself"),
        ("<html lang='en'>", "t.csv is a web page, not a table: download the table itself"),
        ('a,b\n"1,2\n', 't.csv, line 2 has a quote (") that is not closed, or text after it: correct the line'),
        (b"\x00" * 1_000_000, "t.csv is not a table in text: 65536 of its first characters are control characters"),
        ("a,b\n" + "x" * 3_000_000 + "\n1,2\n", "t.csv has a line of more than 2 MB: that is not a table in text"),
        (
            ",".join(f"c{i}" for i in range(100_000)) + "\n" + ",".join(["1"] * 100_000) + "\n",
            "t.csv has 100,000 columns, and 10,000 are the most that can be read: copy those that matter into "
            "a smaller table",
        ),
        (
            "a,b\n" + "1,2\n" * 30 + "1," * 50_000 + "2\n3,4\n",
            "t.csv, line 32 has 50,001 cells, and 10,000 are the most that can be read: correct the line",
        ),
        (
            "a,b\r\n" + "1,2\r\n" * 300_000 + "1;" * 20_000 + "2",
            "t.csv, line 300,002 has 20,001 cells, and 10,000 are the most that can be read: correct the line",
        ),
        (
            "\n".join("1," * k + "1" for k in range(980, 1200)),
            "t.csv has lines of 981 to 1,013 cells up to line 33: that is not a table in text",
        ),
        (
            'a,b\n1,"' + ("2" * 99 + "\n") * 22_000 + '"\n3,4\n',
            "t.csv has a line of more than 2 MB: that is not a table in text",
        ),
        (gzip.compress(b"a,b\n1,2\n")[:-9], "t.csv is damaged: "),
        (b"PK\x03\x04" + b"junk" * 100, "t.csv is damaged: "),
    ],
    ids=[
        "empty",
        "blank",
        "ragged",
        "long rows",
        "a page",
        "another page",
        "open quote",
        "zeros",
        "a long line",
        "100,000 columns",
        "one wide line",
        "a wide last line",
        "lines of many widths",
        "a long cell",
        "half a gzip",
        "no zip",
    ],
)
def test_what_is_no_table(write: Write, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        tables.read(write(content))


@pytest.mark.parametrize("seed", range(5))
def test_junk_is_refused_or_read_and_never_worse(write: Write, seed: int) -> None:
    random = np.random.RandomState(seed)
    content = bytes(random.randint(0, 256, size=200_000, dtype=np.uint8).tolist())
    if seed >= 3:  # junk that could be text
        content = "".join(random.choice(list("a1,;\"'\n\t \\|"), size=50_000)).encode()
    path, refused = write(content), ""
    try:
        tables.read(path)
    except ValueError as error:
        refused = str(error)
    assert refused.startswith("t.csv") or not refused


def test_zero_bytes_in_a_cell_are_part_of_it(write: Write) -> None:
    table = tables.read(write(b"a,b\n1,\x00\n" + b"2,3\n" * 20))
    assert table.columns["b"][0] == "\x00"
    assert len(table) == 21


def test_a_compressed_giant_stops_at_a_bound(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_BYTES", 1 << 22)
    with pytest.raises(ValueError, match="the text is larger than 0 GiB"):
        tables.read(write(gzip.compress(b"1,2\n" * (1 << 21))))


def test_a_path_with_a_star_is_one_file(write: Write) -> None:
    write("a,b\n5,6\n", "t1.csv")
    assert tables.read(write("a,b\n1,2\n", "t*.csv")).columns["a"].tolist() == ["1"]


def test_a_table_that_takes_more_memory_than_there_is(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a,b\n" + "1,2\n" * 1000)
    monkeypatch.setattr(decoding, "COUNTED", 1)
    assert len(tables.read(path)) == 1000
    monkeypatch.setattr(decoding, "CELL_BYTES", 1 << 40)
    with pytest.raises(
        ValueError, match=r"t.csv has 1,001 lines of 2 cells, which take some 2,050,048.0 GiB of memory"
    ):
        tables.read(path)


def test_without_duckdb_the_message_says_what_to_install(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ImportError, match=r'reading t.csv needs DuckDB: pip install "macrograd\[tables\]"'):
        tables.read(write(lines()))


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tables.read(tmp_path / "none.csv")
    with pytest.raises(IsADirectoryError):
        tables.read(tmp_path)


def test_lines_that_begin_as_comments_do_are_rows_if_they_have_all_cells(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = "".join(f"{'#N/A' if k % 7 == 0 else k},{k}\n" for k in range(30))
    path.write_text("# title\nx,y\n" + rows + "# the end\n")
    found = tables.read(path)
    assert list(found) == ["x", "y"]
    assert found.columns["y"].tolist() == [str(k) for k in range(30)]
    assert found.columns["x"].tolist()[:2] == ["#N/A", "1"]
    path.write_text("x,y\n1,2\n# note\n3,4\n# another\n5,6\n")
    found = tables.read(path)
    assert len(found) == 3
    assert found.notes == ("2 lines that begin with # left out",)


def test_a_wrong_delimiter_is_named_where_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b;kind\n1;2;x\n3;4;y\n")
    with pytest.raises(ValueError, match="these are several names, so try --delimiter semicolon"):
        tables.target_of(tables.read(path, delimiter=","), "kind")


def test_a_title_trailing_commas_and_a_total_of_another_width(write: Write) -> None:
    rows = "".join(f'"$1,{k:03}.50",{k},\n' for k in range(30))
    found = tables.read(write("Sales, of 2020\n\nprice,n,\n" + rows + "Total,30\n"))
    assert list(found) == ["price", "n"]
    assert found.columns["price"].tolist()[:2] == ["$1,000.50", "$1,001.50"]
    assert len(found) == 30
    assert "2 lines above the table left out" in found.notes
