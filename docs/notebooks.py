"""The course as Jupyter notebooks: `python docs/notebooks.py FOLDER` writes one for each page of docs/course."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

COURSE = Path(__file__).parent / "course"
CELL = re.compile(r"^```\{code-cell\}\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def pages() -> list[Path]:
    """The notebooks of the course, in order."""
    return sorted(COURSE.glob("[0-9]*.md"))


def cells(page: Path) -> list[tuple[str, str]]:
    """The cells of a page as (kind, source), with kind "markdown" or "code"."""
    text = re.sub(r"\A---\n.*?\n---\n", "", page.read_text("utf-8"), flags=re.DOTALL)
    parts = CELL.split(text)  # text, code, text, code, …
    found = [("code" if k % 2 else "markdown", part.strip()) for k, part in enumerate(parts)]
    return [(kind, source) for kind, source in found if source]


def notebook(page: Path) -> dict[str, Any]:
    """A page as a notebook in Jupyter's format, version 4.5; links lead to the other notebooks."""
    found = []
    for k, (kind, source) in enumerate(cells(page)):
        if kind == "markdown":
            source = re.sub(r"\]\((\d\d-[\w-]+)\.md\)", r"](\1.ipynb)", source)
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{k}", "metadata": {}, "source": source}
        found.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": found, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def write(folder: Path) -> list[Path]:
    """Write all notebooks to a folder, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{page.stem}.ipynb" for page in pages()]
    for page, path in zip(pages(), written, strict=True):
        path.write_text(json.dumps(notebook(page), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/notebooks.py FOLDER")
    for path in write(Path(sys.argv[1])):
        print(path)
