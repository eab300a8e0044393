"""The tables of the page that are no cases: what other commands here print, and GradBench's, whose page has it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import machine

ROOT = Path(__file__).parent.parent


class Table:
    """A section of the page: its heading, the words before it, and the command that prints it."""

    def __init__(self, heading: str, words: str, command: tuple[str, ...], quick: tuple[str, ...]) -> None:
        self.heading, self.words, self.command, self.quick = heading, words, command, quick


TABLES = {
    "export": Table(
        "Exported files",
        "The same nets of scikit-learn's digits as C files, beside emlearn and m2cgen: bytes of a Cortex-M4F, "
        "instructions of a prediction there, and time here; [Export](export.md) says how they are counted.",
        ("benchmarks.exporting",),
        ("benchmarks.exporting",),
    ),
    "recipe": Table(
        "The estimators on twenty tables",
        "Mean score on the rest of the rows (accuracy or R²) and CPU time of fit and predict, compiling included, "
        "beside scikit-learn's MLPClassifier and MLPRegressor behind a StandardScaler, three splits of each table; "
        "[scikit-learn](sklearn.md) has ten.",
        ("benchmarks.recipe", "--splits", "3"),
        ("benchmarks.recipe", "--splits", "1", "--sets", "wine,vehicle"),
    ),
}


def made(name: str, quick: bool = False) -> dict[str, Any]:
    """The printed text of that table's command, or why there is none."""
    others, started = machine.Others(), time.monotonic()
    command = [sys.executable, "-m", *(TABLES[name].quick if quick else TABLES[name].command)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    found: dict[str, Any] = {"text": done.stdout.strip()}
    if done.returncode:
        found = {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    taken = round(time.monotonic() - started, 1)
    return {**found, "others": others.used(), "seconds": taken, "code": machine.code()}


def section(name: str, entry: dict[str, Any]) -> str:
    table = TABLES[name]
    body = entry.get("text") or f"Not made: {entry['failed']}"
    return f"## {table.heading}\n\n{table.words}\n\n{body}\n"


def case(made_tables: dict[str, Any]) -> dict[str, Any]:
    """What the recipe's last line says, as a case that targets can be judged by; none if there is no such table."""
    words = r"above MLP on (\d+) of (\d+) sets .*?; all splits together took ([\d.,]+) and ([\d.,]+) s"
    found = re.search(words, made_tables.get("recipe", {}).get("text", ""))
    if found is None:
        return {}
    above, sets, ours, theirs = (float(text.replace(",", "")) for text in found.groups())
    extra = {"share of sets above MLP": above / sets, "time, in MLP's": ours / theirs}
    return {"tables/recipe": {"rows": [{"name": "macrograd", "kind": "macrograd", "extra": extra}]}}


def gradbench() -> str:
    """GradBench's section: what validates, and the times that its own page in this repository has."""
    text = (ROOT / "benchmarks" / "gradbench" / "README.md").read_text("utf-8")
    bodies = []
    for heading in ("What validates", "Times"):
        found = re.search(rf"^## {heading}\n\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        if found is None:
            raise ValueError(f"benchmarks/gradbench/README.md has no section {heading!r}")
        bodies.append(found[1].strip())
    link = "https://github.com/gradbench/gradbench"
    return (
        f"## GradBench\n\nmacrograd answers the evals of [GradBench]({link}). How to run it and where it loses is in "
        "`benchmarks/gradbench/README.md`, from which this is: the times are not of the run above.\n\n"
        + "\n\n".join(bodies)
        + "\n"
    )
