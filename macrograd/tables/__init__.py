"""Tables: `read` loads files and databases, `Plan` decides the encoding of each column, `Target` the column to learn.

    table = tables.read("flowers.csv")
    target = tables.target_of(table, "species")
    plan = tables.plan_of(table, "species", rows=target.rows)
    X, notes = plan.numbers(table.rows(target.rows))

Reading text needs DuckDB, and other formats their own libraries: `pip install "macrograd[tables]"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from macrograd._lazy import lazy

if TYPE_CHECKING:
    from macrograd.tables.feature import Feature
    from macrograd.tables.plan import Plan
    from macrograd.tables.plan import of as plan_of
    from macrograd.tables.reading import is_address, read
    from macrograd.tables.table import Table, column_of, is_frame, listed, needs_plan
    from macrograd.tables.table import of as from_frame
    from macrograd.tables.target import Target, labels_of
    from macrograd.tables.target import of as target_of
    from macrograd.tables.telling import notes as telling_notes
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "feature": "Feature",
            "plan": "Plan, of as plan_of",
            "reading": "is_address, read",
            "table": "Table, column_of, is_frame, listed, needs_plan, of as from_frame",
            "target": "Target, labels_of, of as target_of",
            "telling": "notes as telling_notes",
        },
    )

__all__ = [
    "Feature",
    "Plan",
    "Table",
    "Target",
    "column_of",
    "from_frame",
    "is_address",
    "is_frame",
    "labels_of",
    "listed",
    "needs_plan",
    "plan_of",
    "read",
    "target_of",
    "telling_notes",
]
