"""Names in several lines: groups above names, as merged cells or not, and units below names."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from macrograd import tables

ROWS: list[list[Any]] = [["a", 5.1, 3.5, 1.4, 2], ["b", 4.9, 3.0, 1.5, 3], ["a", 4.7, 3.2, 1.3, 4], ["b", 4.6, 3, 1, 5]]
GROUPS = ["kind", "Sepal", None, "Petal", None]
PARTS = [None, "length", "width", "length", "width"]
NAMES = ["kind", "Sepal length", "Sepal width", "Petal length", "Petal width"]
PLAIN = ["kind", "a", "b", "c", "d"]
JOINED = "the names stand in 2 lines and are joined: 'kind', 'Sepal length', 'Sepal width', 'Petal length', "
UNITS = "the line 'cm', 'mm', '-', 'm2' below the names left out: it has words in the columns of numbers, as units are"


def book(path: Path, lines: list[list[Any]], merged: str = "") -> tables.Table:
    """A workbook with these lines and merged cells, read."""
    openpyxl = pytest.importorskip("openpyxl")
    written = openpyxl.Workbook()
    for line in lines:
        written.active.append(line)
    for area in merged.split():
        written.active.merge_cells(area)
    written.save(path)
    return tables.read(path)


def values(table: tables.Table) -> list[list[Any]]:
    return [column.tolist() for column in table.columns.values()]


@pytest.mark.parametrize(("mark", "decimal"), [(",", "."), (";", "."), ("\t", "."), (";", ","), ("\t", ",")])
@pytest.mark.parametrize(
    ("lines", "names", "note"),
    [
        ([GROUPS, PARTS], NAMES, JOINED),
        ([[None, *GROUPS[1:]], ["kind", *PARTS[1:]]], NAMES, JOINED),
        ([["kind", "Sepal", "Sepal", "Petal", "Petal"], PARTS], NAMES, JOINED),
        ([PLAIN, [None, "cm", "mm", "-", "m2"]], PLAIN, UNITS),
    ],
)
def test_text(lines: list[list[Any]], names: list[str], note: str, decimal: str, mark: str, tmp_path: Path) -> None:
    cells = [["" if cell is None else str(cell) for cell in line] for line in [*lines, *ROWS]]
    rows = [[cell.replace(".", decimal) for cell in line] for line in cells]
    (tmp_path / "t.csv").write_text("".join(mark.join(line) + "\n" for line in rows), "utf-8")
    table = tables.read(tmp_path / "t.csv")
    assert list(table) == names
    assert values(table) == [list(column) for column in zip(*rows[2:], strict=True)]
    assert any(told.startswith(note) for told in table.notes)


@pytest.mark.parametrize(
    "lines",
    [
        [["site", "a", "b"], ["s", "<0.1", "<0.2"], ["t", "0.3", "0.4"], ["u", "0.5", "0.4"], ["v", "0.1", "0.2"]],
        [["site", "a", "b"], ["s", "ND", "ND"], ["t", "0.3", "0.4"], ["u", "0.5", "0.4"], ["v", "0.1", "0.2"]],
        [["site", "a", "b"], ["", "NA", "?"], ["t", "0.3", "0.4"], ["u", "0.5", "0.4"], ["v", "0.1", "0.2"]],
        [["site", "a", "b"], ["", "1,5", "2,5"], ["t", "3", "4"], ["u", "5", "4"], ["v", "1", "2"]],
    ],
)
def test_a_row_is_no_header(lines: list[list[str]], tmp_path: Path) -> None:
    """What a meter says, marks for missing values, decimal commas."""
    (tmp_path / "t.csv").write_text("".join(";".join(line) + "\n" for line in lines), "utf-8")
    assert len(tables.read(tmp_path / "t.csv")) == 4


@pytest.mark.parametrize(
    ("lines", "merged", "names"),
    [
        ([GROUPS, PARTS], "A1:A2 B1:C1 D1:E1", NAMES),
        ([[None, *GROUPS[1:]], ["kind", *PARTS[1:]]], "B1:C1 D1:E1", NAMES),
        ([GROUPS, PARTS], "", NAMES),
        ([["A report"], [], GROUPS, PARTS], "A1:E1 A3:A4 B3:C3 D3:E3", NAMES),
        (
            [GROUPS, [None, 2019, 2020, 2019, 2020]],
            "A1:A2 B1:C1 D1:E1",
            ["kind", "Sepal 2019", "Sepal 2020", "Petal 2019", "Petal 2020"],
        ),
        (
            [["kind", "All", None, None, None], [None, *GROUPS[1:]], PARTS],
            "A1:A3 B1:E1 B2:C2 D2:E2",
            ["kind", *(f"All {name}" for name in NAMES[1:])],
        ),
        ([PLAIN, []], "A1:A2 B1:B2 C1:C2 D1:D2 E1:E2", PLAIN),
        ([PLAIN, [None, "cm", "mm", "-", "m2"]], "", PLAIN),
    ],
)
def test_workbooks(lines: list[list[Any]], merged: str, names: list[str], tmp_path: Path) -> None:
    table = book(tmp_path / "t.xlsx", [*lines, *ROWS], merged)
    assert list(table) == names
    assert values(table) == [list(column) for column in zip(*ROWS, strict=True)]


@pytest.mark.parametrize(
    ("lines", "merged"),
    [
        ([GROUPS], "B1:C1 D1:E1"),
        ([GROUPS, ["kind", 2019, 2020, 2019, 2020]], "B1:C1 D1:E1"),
        ([["kind", "Sepal", None, "Petal", None], ["a", "p", "q", "r", "s"], ["b", "p", "q", "r", "s"]], "B1:C1"),
    ],
)
def test_a_name_above_several_columns_is_refused(lines: list[list[Any]], merged: str, tmp_path: Path) -> None:
    rows = [] if len(lines) > 2 else ROWS
    expected = "t.xlsx: 'Sepal' stands above 2 columns, as merged cells, and it does not show whether the line below"
    with pytest.raises(ValueError, match=expected):
        book(tmp_path / "t.xlsx", [*lines, *rows], merged)


def test_the_first_sheet_that_is_not_hidden_is_read(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    written = openpyxl.Workbook()
    for line in (["x"], [1], [2]):
        written.active.append(line)
    written.active.sheet_state = "hidden"
    shown = written.create_sheet("Lab")
    for line in (["y"], [3], [4]):
        shown.append(line)
    written.active = 1
    written.save(tmp_path / "t.xlsx")
    table = tables.read(tmp_path / "t.xlsx")
    assert list(table) == ["y"]
    assert table.notes == ("the sheet 'Lab', of 'Sheet', 'Lab': --query 'NAME' takes another",)
    assert list(tables.read(tmp_path / "t.xlsx", query="Sheet")) == ["x"]


def document(path: Path, rows: str) -> Path:
    """An OpenDocument workbook with these rows in XML."""
    names = " ".join(f'xmlns:{x}="urn:oasis:names:tc:opendocument:xmlns:{x}:1.0"' for x in ("office", "table", "text"))
    body = f'<office:spreadsheet><table:table table:name="S">{rows}</table:table></office:spreadsheet>'
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", kind)
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr(
            "content.xml",
            f"<office:document-content {names}><office:body>{body}</office:body></office:document-content>",
        )
    return path


def test_open_documents(tmp_path: Path) -> None:
    def cell(value: Any) -> str:
        if value is None:
            return "<table:covered-table-cell/>"
        if isinstance(value, str):
            return f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'
        return f'<table:table-cell office:value-type="float" office:value="{value}"/>'

    rows = "".join(f"<table:table-row>{''.join(map(cell, line))}</table:table-row>" for line in [GROUPS, PARTS, *ROWS])
    table = tables.read(document(tmp_path / "t.ods", rows))
    assert list(table) == NAMES
    assert values(table) == [list(column) for column in zip(*ROWS, strict=True)]


def test_a_document_with_far_cells_names_the_remedy(tmp_path: Path) -> None:
    """They repeat a cell, and their reader has a limit."""
    cell = '<table:table-cell table:number-columns-repeated="16000" office:value-type="float" office:value="1"/>'
    rows = f'<table:table-row table:number-rows-repeated="1000000">{cell}</table:table-row>'
    with pytest.raises(ValueError, match=r"^t.ods cannot be read: Cell limit .*: clear the cells beyond the table, or"):
        tables.read(document(tmp_path / "t.ods", rows))
