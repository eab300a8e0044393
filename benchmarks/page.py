"""The page and its picture, from the figures of one run: `python -m benchmarks.page figures.json`."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import report, scaling, tables, targets
from benchmarks.files import write, write_with
from benchmarks.machine import same

DOCS = Path(__file__).parent.parent / "docs"
FIGURES = Path(__file__).parent / "figures"  # of whole runs, a file for each kind of machine
COLOURS = {"floor": "#8a8f98", "macrograd": "#d1495b", "peer": "#30638e"}
# The cases in the picture, in this order; the others are in the tables.
PICTURE = (
    "moons/step",
    "digits/128/32",
    "wide/step",
    "rosenbrock/1000",
    "lorenz/200",
    "lorenz/10000",
    "irregular/10000",
    "one/predict",
)

README = DOCS.parent / "README.md"
MARKS = "<!-- from here: python -m benchmarks.page -->\n", "<!-- to here -->\n"
# The README's rows: what, the case, our row; and its columns: what, the families of rows, of which the fastest counts.
ROWS = (
    ("training step, 2-16-16-1, 32 samples", "moons/step", "macrograd"),
    ("training step, 64-128-10, Adam, 32 samples", "digits/128/32", "macrograd"),
    ("training step, 784-128-10, Adam, 128 samples", "wide/step", "macrograd"),
    ("a step of each of 1,000 nets 2-16-16-1, one sample", "many/batch-1", "macrograd"),
    ("gradient of a scalar loop, Rosenbrock, 1,000 variables", "rosenbrock/1000", "macrograd-bound"),
    ("gradient of a scalar loop, Lorenz, 200 steps", "lorenz/200", "macrograd-bound"),
    ("training step of a character GPT, 16 documents, per token without padding", "gpt/names", "macrograd"),
    ("one prediction, 2-16-16-1", "one/predict", "macrograd"),
)
COLUMNS = (("C by hand", ("c",)), ("JAX, compiled", ("jax",)), ("PyTorch", ("torch",)))

INTRODUCTION = """\
# Benchmarks

`make bench` installs the peers, and `python -m benchmarks` writes this page from the figures of a run. Only ratios
within a run are meaningful: the times are those of the machines that are named here.
"""

PICTURED = "![Time of one gradient, step or prediction, macrograd and its peers, log scale](images/benchmarks.png)\n"

METHOD = """\
## Method

- Each job is defined once, in clear and slow NumPy or plain Python; data, arithmetic and precision are the same for
  all. Before anything is timed, every contender's answer (all gradients, all losses) is compared with that definition.
  A contender that differs by more than the stated tolerance gets a row that says so, without a time. Exempt are
  scikit-learn's classifier, which starts from its own random numbers, and bare matrix products.
- Each contender runs in a separate process, on one core, with one thread in every library. Processes take turns, round
  by round, so that anything that slows the machine down slows all of them; a round's figure is the mean time of one
  unit, after a warm-up call. The tables give the median of the rounds and the quartiles.
- Python's garbage collector is off in the timed rounds, except where a row says that it is on: micrograd is measured
  both ways, since its users run it with the collector on.
- *set-up* is tracing, building and compiling; *first* is the first answer, which includes late compilation; "ready" is
  both together. macrograd's cache of compiled code is off, as for a program never seen (except in `demo/process` and
  `start/kept`). The code compiled first is timed as ready; the code that later replaces it is timed in the rounds.
- Peers are used in the way that their documentation calls fastest: jitted, scanned, fused, buffers bound once. The
  set-up of `torch-compile` may come from PyTorch's own cache on disk, which is left on. What measures macrograd alone
  (`fit`, `export`, `start/kept`, `demo/process`, the largest programs of `ready`) has no peers.
- macrograd's nets are plain lists of `Value`s, sums and products; the compiler has no special path for any job.
- C floors are `benchmarks/floors/*.c`, written by hand for the one job, with explicit vectors and blocks where that
  pays. Of several floors the fastest counts. Where macrograd is more than 5 % faster, the page says why.

rust_nn, the Rust port of micrograd, was not run for this page. Its README publishes the output of a run of this net on
moons: losses and accuracies of 46 steps, without times. Its time was measured in another run on a machine like this:
181 s for 100 steps of the moons job. Neither is part of any ratio here.
"""


class NotQuiet(Exception):  # noqa: N818 - it is a state of the figures
    """Figures of a machine that did something else as well; the message names the cases and says what to do."""


class Faulty(Exception):  # noqa: N818 - it is a state of the figures
    """Figures of a run in which a contender of ours failed; the message names the cases and says what to do."""


def page(results: list[dict[str, Any]]) -> str:
    parts = [INTRODUCTION, "## Machines\n", *map(setting, results), PICTURED]
    parts += ["## Against the targets\n", targets_table(results)]
    for result in results:
        where = f" ({result['machine']['cpu']})" if len(results) > 1 else ""
        parts += [losses(result["cases"], where), beaten(result["cases"], where)]
    parts.append(METHOD)
    for result in results[:1]:
        parts += [tables.section(name, result["tables"][name]) for name in tables.TABLES if name in result["tables"]]
        parts += [tables.gradbench()]
        parts += [scaling.section(result["scaling"])] if result.get("scaling") else []
    for result in results:
        where = f" ({result['machine']['cpu']})" if len(results) > 1 else ""
        parts.append(f"## Every figure{where}\n")
        for case, entry in result["cases"].items():
            parts.append("```text\n" + report.table(case, entry).replace("\n  ", "\n") + "```\n")
    return "\n".join(parts)


def setting(result: dict[str, Any]) -> str:
    """A machine, its software, how long it was measured, and whether it was quiet."""
    machine, plan = result["machine"], result["plan"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    missing = [name for name, version in machine["packages"].items() if not version]
    minutes = sum(e.get("seconds", 0.0) for kind in ("cases", "tables") for e in result.get(kind, {}).values()) / 60
    others = elsewhen(result["cases"])
    return (
        f"**{machine['cpu']}**, {machine['cores']} cores, pinned to one unless a row has threads "
        f"({', '.join(machine['vector_flags']) or 'vector flags not known'}); {machine['system'].split('-')[0]}; "
        f"Python {machine['python']}; {machine['c_compiler']}. {packages}."
        + (f" Not installed: {', '.join(missing)}." if missing else "")
        + f" {machine['date'][:10]}, commit {machine.get('commit') or 'not known'}"
        + (f" ({', '.join(others)}: of other revisions)" if others else "")
        + f"; {minutes:.0f} minutes, up to {plan['rounds']} rounds of {plan['seconds'] * 1e3:.0f} ms. "
        + quietness(result)
        + "\n"
    )


def elsewhen(cases: dict[str, Any]) -> list[str]:
    """The cases that are of other code than most."""
    codes = Counter(entry.get("code") for entry in cases.values())
    most = codes.most_common(1)[0][0] if codes else None
    return [name for name, entry in cases.items() if entry.get("code") != most]


def disturbed(result: dict[str, Any]) -> dict[str, float]:
    """The cases and tables during which other programs ran, and the cores that these used."""
    entries = {**result["cases"], **result.get("tables", {})}
    return {name: float(entry["others"]) for name, entry in entries.items() if not report.quiet(entry)}


def quietness(result: dict[str, Any]) -> str:
    found = disturbed(result)
    if found:
        everything = len(result["cases"]) + len(result.get("tables", {}))
        return (
            f"**Not quiet**: other programs used up to {max(found.values()):.1f} cores during {len(found)} of "
            f"{everything} cases and tables. Times are longer than on a quiet machine, for which the targets in µs, ms "
            "and s were set; the quartiles tell how far to trust a ratio."
        )
    if any(entry.get("others") is None for entry in result["cases"].values()):
        return "Whether other programs ran is not known."
    return "The machine was quiet."


def number(figure: float, unit: str) -> str:
    digits = 0 if figure >= 100 else 1 if figure >= 10 else 2
    return f"{figure:,.{digits}f} {unit}"


def targets_table(results: list[dict[str, Any]]) -> str:
    """Every target with its figure on each machine; reached is what all machines reach."""
    names = [r["machine"]["cpu"] for r in results] if len(results) > 1 else ["here"]
    lines = [f"| job | figure | {' | '.join(names)} | target | |", f"|---|---|{'--:|' * (len(results) + 1)}---|"]
    for found in zip(*(targets.judged(r["cases"] | tables.case(r.get("tables", {}))) for r in results), strict=True):
        target = found[0][0]
        bound = f"{'≥' if target.least else '≤'} {target.bound:,g} {target.unit}"
        cells = ["–" if figure is None else number(figure, target.unit) for _, figure, _ in found]
        figures = [figure for _, figure, _ in found if figure is not None]
        verdict = "reached" if all(map(target.reached, figures)) else "**missed**"
        verdict = verdict if figures else found[0][2]
        lines.append(f"| {target.case} | {target.what} | {' | '.join(cells)} | {bound} | {verdict} |")
    return "\n".join(lines) + "\n"


def alone(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a time on one core, the fastest first: those on more are compared with each other in the tables."""
    return sorted((r for r in rows if "median" in r and r.get("threads", 1) == 1), key=lambda r: r["median"])


def fastest(rows: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    return next((r for r in alone(rows) if r["kind"] == kind), None)


def losses(cases: dict[str, Any], where: str = "") -> str:
    """Where a contender is faster than macrograd's best row, or macrograd has no figure: found, not chosen."""
    lines = [f"## Where macrograd loses{where}\n"]
    for case, entry in cases.items():
        for row in entry["rows"]:
            if row["kind"] == "macrograd" and "median" not in row:
                lines.append(f"- **{case}**: `{row['name']}` gives no figure: {row['failed']}.")
        best = fastest(entry["rows"], "macrograd")
        if best is None:
            continue
        ahead = [r for r in alone(entry["rows"]) if r["kind"] != "macrograd" and r["median"] < best["median"]]
        if ahead and not case.startswith("import"):
            names = ", ".join(f"{r['name']} ({best['median'] / r['median']:.2f} ×)" for r in ahead)
            lines.append(f"- **{case}**: faster than `{best['name']}` by the factor given: {names}.")
    lines += [
        "- **Getting ready** costs small programs 15 to 50 ms for LLVM, and as much again once per process to load it; "
        "casadi's virtual machine is ready in a few milliseconds. A second process finds programs and code on disk and "
        "does not pay again.",
        "- **Large nets** are the field of JAX, PyTorch and BLAS: these jobs do not measure accelerators or memory far "
        "beyond the caches, and a trace of single scalars is limited to a few million of them.",
    ]
    return "\n".join(lines) + "\n"


def beaten(cases: dict[str, Any], where: str = "") -> str:
    """Where macrograd is more than 5 % faster than the fastest C, and why: a floor should not be beaten."""
    lines = []
    for case, entry in cases.items():
        ours, floor = fastest(entry["rows"], "macrograd"), fastest(entry["rows"], "floor")
        if ours and floor and ours["median"] < 0.95 * floor["median"]:
            ratio = ours["median"] / floor["median"]
            why = entry.get("beaten") or "**no explanation yet**, so this floor is none."
            lines.append(f"- **{case}**: {ratio:.2f} of the time of `{floor['name']}`: {why}")
    if not lines:
        return f"No C floor is beaten by more than 5 %{where}.\n"
    return "\n".join([f"## Where a C floor is beaten{where}\n", *lines]) + "\n"


def readme(results: list[dict[str, Any]]) -> str:
    """The README's table: of several machines each cell has the ratio of the worst, and only quiet cases count."""
    lines = ["| time, as a multiple of macrograd's | " + " | ".join(head for head, _ in COLUMNS) + " |"]
    lines.append("|---|" + "--:|" * len(COLUMNS))
    for what, case, ours in ROWS:
        cells = [least(results, case, ours, families) for _, families in COLUMNS]
        if any(cells):
            lines.append(f"| {what} | " + " | ".join(ratio(cell) if cell else "–" for cell in cells) + " |")
    names = " and ".join(f"{r['machine']['cpu']} ({r['machine']['date'][:10]})" for r in results)
    worst = "The worst of several machines: " if len(results) > 1 else "Measured on "
    lines += ["", f"{worst}{names}. Below 1 is faster than macrograd."]
    if found := least(results, "moons/step", "macrograd", ("micrograd",)):
        lines[-1] += f" For the first row, micrograd takes {found:,.0f} times as long."
    lines.append("[All figures](docs/benchmarks.md), and where macrograd loses.")
    return "\n".join(lines) + "\n"


def least(results: list[dict[str, Any]], case: str, ours: str, families: tuple[str, ...]) -> float | None:
    """The smallest ratio over machines of the fastest row of these families to ours; None without a figure."""
    ratios = []
    for result in results:
        rows = alone(result["cases"].get(case, {}).get("rows", []))
        mine = [r["median"] for r in rows if r["name"] == ours]
        theirs = [r["median"] for r in rows if family(r) in families]
        if mine and theirs:
            ratios.append(min(theirs) / mine[0])
    return min(ratios, default=None)


def family(row: dict[str, Any]) -> str:
    """Of rows that differ in how they use a library: `jax` for `jax-scan` and `jax-jit`."""
    name: str = row["name"]
    return name.split("-")[0]


def ratio(x: float) -> str:
    return f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:,.0f}"


LEVELS = (10, -17, 21, -28, 32)  # of the labels, in points above the mark


def picture(result: dict[str, Any], target: Path) -> None:
    """Times on one core, on a log scale, a row of marks for each case: the fastest of each family."""
    from matplotlib.figure import Figure

    cases = [case for case in PICTURE if case in result["cases"]]
    times = [r["median"] for case in cases for r in result["cases"][case]["rows"] if "median" in r]
    decades = math.log10(max(times) / min(times)) + 1.0
    figure = Figure(figsize=(11, 1.0 * len(cases) + 1.2), layout="constrained")
    axes = figure.subplots()
    for height, case in enumerate(reversed(cases)):
        rows = {family(r): r for r in reversed(alone(result["cases"][case]["rows"]))}
        axes.axhline(height, color="#e3e6ea", linewidth=1, zorder=0)
        last = [-99.0] * len(LEVELS)  # where the latest label of each level ends, in decades
        for row in sorted(rows.values(), key=lambda r: r["median"]):
            kind, x = row["kind"], row["median"] * 1e6
            bold = kind == "macrograd"
            axes.plot(
                [x], [height], "D" if bold else "o", color=COLOURS[kind], markersize=11 if bold else 8, zorder=3 + bold
            )
            label = f"{row['name']}  {report.duration(row['median'])}"
            level = place(last, math.log10(x), len(label) * decades / 260)
            axes.annotate(
                label,
                (x, height),
                xytext=(0, LEVELS[level]),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color=COLOURS[kind],
                fontweight="bold" if bold else "normal",
            )
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 2, high * 2)
    axes.set_ylim(-0.6, len(cases) - 0.3)
    axes.set_yticks(range(len(cases)), list(reversed(cases)))
    axes.set_xlabel("µs for one step, gradient or prediction, on one core (log scale; further left is faster)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#eef0f2", zorder=0)
    write_with(target, lambda path: figure.savefig(path, dpi=130, format="png", metadata={"Software": None}))


def place(last: list[float], centre: float, half: float) -> int:
    """The first level on which a label with this centre and half width does not overlap the one before it."""
    level = next((k for k, end in enumerate(last) if centre - half > end), min(range(len(last)), key=last.__getitem__))
    last[level] = centre + half
    return level


def check(result: dict[str, Any]) -> None:
    """Raises Faulty if macrograd or a floor has no figure, though it can run here, or a table was not made."""
    entries = {**result["cases"], **result.get("tables", {})}
    if found := [f"{name} ({what})" for name, entry in entries.items() for what in report.faults(entry)]:
        raise Faulty(
            f"Not published: {'; '.join(found)}. Mend what fails (BENCHMARKS_TRACEBACK=1 shows where), and measure it "
            "again: python -m benchmarks --json FILE --resume"
        )


def publish(results: list[dict[str, Any]], docs: Path = DOCS, readme_file: Path = README, busy: bool = False) -> None:
    """docs/benchmarks.md, its picture and the README's table; without matplotlib no picture, and a line that says so.

    Raises NotQuiet, and writes nothing, if other programs ran during a case, unless `busy`; the page says so then.
    """
    found = {name: cores for result in results for name, cores in disturbed(result).items()}
    if found and not busy:
        names = ", ".join(f"{name} ({cores:.2f} cores)" for name, cores in list(found.items())[:6])
        more = f" and {len(found) - 6} more" if len(found) > 6 else ""
        raise NotQuiet(
            f"Not published: other programs ran during {names}{more}. Measure these cases again on a quiet machine: "
            "python -m benchmarks --json FILE --resume; or publish it as it is, and the page will say so: "
            "python -m benchmarks.page FILE --busy"
        )
    whole = page(results)
    (docs / "images").mkdir(parents=True, exist_ok=True)
    try:
        picture(results[0], docs / "images" / "benchmarks.png")
    except ModuleNotFoundError as error:
        print(f"No picture: {error.name} is not installed (pip install matplotlib).")
    write(docs / "benchmarks.md", whole)
    text = readme_file.read_text("utf-8") if readme_file.is_file() else ""
    if all(mark in text for mark in MARKS):
        before, rest = text.split(MARKS[0])
        write(readme_file, before + MARKS[0] + "\n" + readme(results) + "\n" + MARKS[1] + rest.split(MARKS[1])[1])


def kept(machine: dict[str, Any], folder: Path = FIGURES) -> Path:
    """Where the figures of such a machine are kept."""
    name = re.sub(r"[^a-z0-9]+", "-", f"{machine['cpu']} {machine['cores']} cores".lower()).strip("-")
    return folder / f"{name}.json"


def others(machine: dict[str, Any], folder: Path = FIGURES) -> list[dict[str, Any]]:
    """The kept figures of other kinds of machines."""
    mine = kept(machine, folder)
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json")) if path != mine]


def keep(result: dict[str, Any], folder: Path = FIGURES) -> None:
    """Keep the figures of a quiet run, in place of an earlier one on such a machine."""
    if not disturbed(result):
        folder.mkdir(exist_ok=True)
        write(kept(result["machine"], folder), json.dumps(result, indent=1) + "\n")


def merged(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Several runs, one for each machine: it has the date of its first, and each case of the last run that has it."""
    machines: list[dict[str, Any]] = []
    for result in results:
        known = next((m for m in machines if same(m["machine"], result["machine"])), None)
        if known is None:
            machines.append({**result, "cases": dict(result["cases"]), "tables": dict(result.get("tables", {}))})
            continue
        known["cases"].update(result["cases"])
        known["tables"].update(result.get("tables", {}))
        known["scaling"] = result.get("scaling", known.get("scaling"))
    return machines


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description="Write the page from saved figures.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FIGURES.json", help="of one machine or several")
    parser.add_argument("--busy", action="store_true", help="even if a machine was not quiet; the page says so")
    options = parser.parse_args(argv)
    try:
        stored = [json.loads(path.read_text("utf-8")) for path in options.files]
        results = merged(stored)
        for result in results:
            check(result)
        publish(results, busy=options.busy)
    except (OSError, ValueError, NotQuiet, Faulty) as error:
        raise SystemExit(str(error)) from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
