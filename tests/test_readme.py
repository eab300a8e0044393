"""The README's programs run, and print what the comment beside each print says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.page import COLUMNS, ROWS

ROOT = Path(__file__).parent.parent
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_program(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - the project's own text
    promised = re.findall(r"print\(.*\)  # (.*)", program)
    assert capsys.readouterr().out.splitlines() == promised


def medians(case: str) -> list[dict[str, float]]:
    """Of every contender of a case, in seconds, as the page of benchmarks has them, for each machine."""
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    tables = [part.split("```")[0] for part in text.split(f"\n{case}: ")[1:]]
    rows = [re.findall(r"^(\S+) +([\d.,]+) (s|ms|µs|ns) ", table, re.MULTILINE) for table in tables]
    return [{name: float(x.replace(",", "")) * UNITS[unit] for name, x, unit in each} for each in rows]


def test_the_ratios_are_those_of_the_page_of_benchmarks() -> None:
    """Recomputed from the times there, which have three digits: the worst of all machines. No row of two threads is the
    fastest of its family."""
    readme = (ROOT / "README.md").read_text("utf-8")
    for what, case, ours in ROWS:
        cells = readme.split(f"| {what} | ")[1].split(" |\n")[0].split(" | ")
        for cell, (_, families) in zip(cells, COLUMNS, strict=True):
            ratios = [
                t / times[ours]
                for times in medians(case)
                for name, t in times.items()
                if name.split("-")[0] in families and not name.endswith("-2")
            ]
            if ratios:
                assert float(cell.replace(",", "")) == pytest.approx(min(ratios), rel=0.02)
            else:
                assert cell == "–"


PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "benchmarks/**/*.md", "docs/**/*.md")
    for page in ROOT.glob(pattern)
)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    """In a clone, where pages are read as they are, as well as in the site."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text("utf-8")):
        assert "://" in target or (ROOT / page).parent.joinpath(target).exists(), target
        assert "notebooks/" not in target, target  # the site's own copies, which a clone does not have
