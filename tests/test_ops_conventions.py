"""Where derivatives are a matter of convention: the table in docs/operations.md is true of macrograd and of the others.

`python tests/test_ops_conventions.py` prints the table, for a person to read through and paste.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import macrograd as mg
from macrograd import Value

ROOT = Path(__file__).parent.parent
CASES: list[dict[str, Any]] = json.loads((ROOT / "references" / "conventions.json").read_text())["cases"]
DIFFERENT_VALUES = {"mod", "digamma"}  # casadi's mod is C's fmod, and JAX's digamma(0) is NaN


def ours(case: dict[str, Any]) -> list[Any]:
    leaves = [Value(x) for x in case["arguments"]]
    out = getattr(mg, case["function"])(*leaves)
    out.backward()
    return [out.data, [x.grad for x in leaves]]


def number(x: float) -> str:
    if math.isnan(x):
        return "NaN"
    text = "∞" if math.isinf(x) else f"{abs(x):.4g}"
    return f"−{text}" if x < 0 else text


def cell(answer: list[Any] | None) -> str:
    return "" if answer is None else f"{number(answer[0])}; {', '.join(map(number, answer[1]))}"


def table() -> str:
    lines = ["| value; slopes | macrograd | PyTorch | JAX | casadi |", "|---|---|---|---|---|"]
    for case in CASES:
        name = f"{case['function']}({', '.join(map(number, case['arguments']))})"
        answers = [ours(case), *(case.get(library) for library in ("pytorch", "jax", "casadi"))]
        lines.append(f"| {' | '.join([name, *map(cell, answers)])} |")
    return "\n".join(lines)


def test_the_table_of_conventions_is_true() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert table() in page


def test_all_agree_on_values_but_where_the_page_says_so() -> None:
    for case in CASES:
        if case["function"] not in DIFFERENT_VALUES:
            values = {cell([case[k][0], []]) for k in ("pytorch", "jax", "casadi") if k in case}
            assert values == {cell([ours(case)[0], []])}, case


if __name__ == "__main__":
    print(table())
