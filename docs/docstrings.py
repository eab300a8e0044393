"""The project's docstrings as reStructuredText.

They are written to be read with `help()`: paragraphs, lists of arguments in two columns, programs indented by four
spaces. Sphinx gets these as definition lists and code blocks.

    name         what it is, one line
    first, last  two arguments, whose description goes on
                 in the next line, under its first word
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_ROW = re.compile(r"(?P<name>\*{0,2}\w[\w.]*(?:, \*{0,2}\w+)*) {1,}(?P<text>\S.*)")


def paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """The runs of lines between empty ones."""
    found: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            found.append(line)
        elif found:
            yield found
            found = []


def table(lines: list[str]) -> list[tuple[str, str]] | None:
    """The rows (names, description) of a paragraph in two columns; None for any other paragraph.

    It is one if every line either begins with names, followed by the description's column, or is indented to that
    column. One line alone needs two spaces between the columns.
    """
    columns = {len(line) - len(line.lstrip()) for line in lines} - {0}
    rows: list[tuple[str, str]] = []
    first = re.match(r"(\*{0,2}\w[\w.]*(?:, \*{0,2}\w+)*) {2,}(?=\S)", lines[0])
    column = min(columns) if len(columns) == 1 else (first.end() if first else 0)
    if not column:
        return None
    for line in lines:
        names, text = line[:column], line[column:]
        if not names.strip() and text:
            if not rows:
                return None
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {text.strip()}")
        elif names.endswith(" ") and re.fullmatch(r"\*{0,2}\w[\w.]*(?:, \*{0,2}\w+)*", names.rstrip()):
            rows.append((names.rstrip(), text.strip()))
        else:
            loose = re.match(r"(\*{0,2}\w[\w.]*(?:, \*{0,2}\w+)*) {2,}(\S.*)", line)
            if not loose:
                return None
            rows.append((loose[1], loose[2]))
    return rows


def as_rst(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of a docstring in place (an autodoc-process-docstring listener)."""
    result: list[str] = []
    for paragraph in paragraphs(lines):
        if all(line.startswith("    ") for line in paragraph):
            result += [".. code-block:: python", "", *[f"   {line[4:]}" for line in paragraph], ""]
        elif rows := table(paragraph):
            for names, text in rows:
                result += [", ".join(f"`{escaped(n)}`" for n in names.split(", ")), f"   {escaped(text)}"]
            result.append("")
        else:
            # Other indented lines would be an error: they become text.
            result += [*(escaped(line.strip()) for line in paragraph), ""]
    lines[:] = result


def escaped(text: str) -> str:
    """Text in which backticks alone are markup: stars, bars and underscores stand for themselves; *titles* stay."""
    parts = re.split(r"(`[^`]*`)", text)
    for index, part in enumerate(parts):
        if part.startswith("`") and len(part) > 1:
            parts[index] = f"`{part}`" + (r"\ " if parts[index + 1][:1].isalpha() else "")
        else:
            part = re.sub(r"\*(?!\w[^*]*\w\*)(?<!\w\*)", r"\\*", part)
            parts[index] = re.sub(r"[|_]", r"\\\g<0>", part)
    return "".join(parts)
