"""The figures as text: one table per case, and the regressions."""

from __future__ import annotations

from typing import Any

from benchmarks import machine, statistics

# A smaller change is not called a regression even if the quartiles do not overlap: two runs of the same code differ by
# about this much through addresses and page colours alone.
SLACK = 0.05


def duration(seconds: float) -> str:
    """Three digits and a unit: 1.26 µs."""
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
    unit, size = next((u for u in units if seconds >= u[1]), units[-1])
    number = seconds / size
    digits = 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:,.{digits}f} {unit}"


def quiet(entry: dict[str, Any]) -> bool:
    """Whether other programs left the machine alone while a case was measured, as far as is known."""
    return float(entry.get("others") or 0.0) <= machine.QUIET


def faults(entry: dict[str, Any]) -> list[str]:
    """What kept macrograd and the floors from a figure, though they can run here, or a table from being made."""
    if "failed" in entry:
        return [entry["failed"]]
    return [
        f"{row['name']}: {row['failed']}"
        for row in entry.get("rows", ())
        if row["kind"] != "peer" and "failed" in row and not row.get("absent")
    ]


def heading(where: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items() if version)
    return (
        f"{where['date']} · {where['cpu']}, {where['cores']} cores, pinned to core {where['pinned_to']}\n"
        f"Python {where['python']} · {where['c_compiler']}\n{packages}\n"
    )


def table(title: str, entry: dict[str, Any]) -> str:
    """A case's rows, fastest first, with their ratio to the baseline; those without figures after them."""
    rows = entry["rows"]
    base = next((r["median"] for r in rows if r["name"] == entry["baseline"] and "median" in r), None)
    lines = [f"{title}: {entry['what']}", f"  time of one {entry['unit']}; ratio to {entry['baseline']}"]
    if not quiet(entry):
        lines.append(f"  not quiet: other programs used {entry['others']:.2f} cores")
    head = ("contender", "median", "quartiles", "ratio", "import", "set-up", "first", "memory")
    cells = [head]
    for row in sorted((r for r in rows if "median" in r), key=lambda r: r["median"]):
        cells.append(
            (
                row["name"],
                duration(row["median"]),
                f"{duration(row['q1'])} … {duration(row['q3'])}",
                f"{row['median'] / base:,.2f}" if base else "",
                duration(row["import"]),
                duration(row["setup"]),
                duration(row["first"]),
                f"{row['peak_mb']:,.0f} MB ({row['job_mb']:+,.0f})",
            )
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    for line in cells:
        lines.append(
            "  "
            + line[0].ljust(widths[0])
            + "".join("  " + c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))
        )
    for row in rows:
        if "median" not in row:
            lines.append(f"  {row['name'].ljust(widths[0])}  {row.get('failed', 'no figures')}")
    for row in rows:
        extra = "; ".join(f"{key} {value}" for key, value in row.get("extra", {}).items())
        few = f"{row['rounds']} rounds" if row.get("rounds", 9) < 3 else ""
        if text := "; ".join(filter(None, (row.get("note"), extra, few.replace("1 rounds", "one round")))):
            lines.append(f"    {row['name']}: {text}")
    return "\n".join(lines) + "\n"


def regressions(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    """One line per macrograd row that is slower than in `old` beyond the spread, measured against the case's floor."""
    found = []
    for case, entry in new["cases"].items():
        if case not in old["cases"]:
            continue
        now = {row["name"]: row for row in entry["rows"]}
        before = {row["name"]: row for row in old["cases"][case]["rows"]}
        base = entry["baseline"]
        scale = 1.0
        if "median" in now.get(base, {}) and "median" in before.get(base, {}):
            scale = now[base]["median"] / before[base]["median"]
        for name, row in now.items():
            was = before.get(name, {})
            if row["kind"] != "macrograd" or "median" not in was:
                continue
            if "median" not in row:
                found.append(f"{case}: {name} gives no figure any more: {row.get('failed')}")
            elif factor := statistics.regression(row, was, scale, SLACK):
                found.append(
                    f"{case}: {name} is {factor:.2f} × slower: {duration(was['median'])} → {duration(row['median'])}"
                    f" (the floor's own change of {scale:.2f} × taken off)"
                )
    return found
