"""Shows how a table was understood, as a table."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from macrograd.tables.feature import Feature
from macrograd.tables.plan import Plan
from macrograd.tables.table import Table
from macrograd.tables.target import Target

_MOST_LINES = 40
_WIDTH = 110  # if there is no terminal to ask


def understood(table: Table, target: Target | None, plan: Plan, file: TextIO | None = None) -> None:
    """Print each column with its kind, number of missing cells, and encoding; then the notes.

    If a table has many columns, equal ones share a line.
    """
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    out = sys.stdout if file is None else file
    console = Console(
        file=out, highlight=False, markup=False, emoji=False, width=None if out.isatty() else _WIDTH, soft_wrap=False
    )
    grid = Grid(box=None, pad_edge=False, show_edge=False)
    for heading, right in (("column", False), ("kind", False), ("missing", True), ("becomes", False)):
        grid.add_column(
            heading, justify="right" if right else "left", no_wrap=heading != "becomes", overflow="ellipsis"
        )
    if target is not None:
        number = f"a number{f', in {target.unit}' if target.unit else ''}"
        what = number if target.classes is None else f"{len(target.classes)} classes"
        what = f"{len(target.labels)} labels, yes or no" if target.labels else what
        missing = len(table) - len(target.rows)
        grid.add_row(*map(Text, (printable(target.name), "target", str(missing or ""), what)))
    for names, feature in _grouped(plan.features):
        kind = f"date ({feature.order})" if feature.kind == "date" and feature.order != "ymd" else feature.kind
        grid.add_row(*(Text(printable(t)) for t in (names, kind or "–", str(feature.missing or ""), feature.becomes())))
    with console.capture() as drawn:
        console.print(grid)
    for line in drawn.get().splitlines():  # without the spaces that fill up a column
        print(line.rstrip(), file=out)
    for note in [*table.notes, *(target.notes if target is not None else ())]:
        console.print(Text(f"note: {printable(note)}"))


def _grouped(features: tuple[Feature, ...]) -> list[tuple[str, Feature]]:
    """(name or names, feature) of each line."""
    if len(features) <= _MOST_LINES:
        return [(feature.name, feature) for feature in features]
    groups: dict[Any, list[Feature]] = {}
    for feature in features:
        groups.setdefault(
            (feature.kind, feature.becomes() if feature.kind != "category" else "", feature.missing), []
        ).append(feature)
    lines = []
    for group in list(groups.values())[:_MOST_LINES]:
        name = group[0].name if len(group) == 1 else f"{len(group)} columns, {group[0].name} to {group[-1].name}"
        lines.append((name, group[0]))
    return lines


def printable(text: str) -> str:
    """A file from an untrusted source must not move a terminal's cursor."""
    return "".join(c if c.isprintable() else "·" for c in text)
