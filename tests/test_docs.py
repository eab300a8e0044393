"""The pages in docs/ are true: their programs run, and print what stands below them.

`python tests/test_docs.py` rewrites the prints, for a person to review and commit.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))
BLOCK = re.compile(r"```python\n(?P<program>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)


def printed(program: str, names: dict[str, Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(program, "page", "exec"), names)  # noqa: S102 - the project's own text
    return out.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_prints_what_it_says(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in BLOCK.finditer(page.read_text("utf-8")):
        assert printed(block["program"], names) == (block["output"] or ""), block["program"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    root, compiler = DOCS.parent, DOCS.parent / "macrograd" / "compiler"
    for name in re.findall(r"`([\w/]+\.py)`", page.read_text("utf-8")):
        assert any((folder / name).exists() for folder in (root, root / "macrograd", compiler)), name


def test_the_walk_through_the_compiler_names_all_files() -> None:
    compiler = DOCS.parent / "macrograd" / "compiler"
    text = (DOCS / "compiler.md").read_text("utf-8").partition("\n## All files")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w/]+)/` \|[^|]*\|([^|]*)\|$", text, re.MULTILINE)
    named = {(folder, file) for folder, files in rows for file in re.findall(r"`(\w+)`", files)}
    files = [file for file in compiler.rglob("*.py") if file.stem != "__init__"]
    there = {(str(file.parent.relative_to(compiler.parent)), file.stem) for file in files}
    assert {(folder if folder == "compiler" else f"compiler/{folder}", file) for folder, file in named} == there


def write(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"}

    def block(match: re.Match[str]) -> str:
        output = printed(match["program"], names)
        shown = f"\n```text\n{output}```\n" if output else ""
        return f"```python\n{match['program']}```\n{shown}"

    page.write_text(BLOCK.sub(block, page.read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    for path in PAGES:
        write(path)
