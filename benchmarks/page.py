"""The page and its picture, from the figures of one run: `python -m benchmarks.page figures.json`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from benchmarks import report, scaling, targets
from benchmarks.files import write, write_with

DOCS = Path(__file__).parent.parent / "docs"
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

INTRODUCTION = """\
# Benchmarks

`make bench` installs the peers, and `python -m benchmarks` writes this page from the figures of a run. Only ratios
within a run are meaningful: the times are those of one machine, which is named below.

![Time of one gradient, step or prediction, macrograd and its peers, log scale](images/benchmarks.png)
"""

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
- Peers are used in the way that their documentation calls fastest: jitted, scanned, fused, buffers bound once.
- macrograd's nets are plain lists of `Value`s, sums and products; the compiler has no special path for any job.
- C floors are `benchmarks/floors/*.c`, written by hand for the one job; a floor is what a person achieves in an
  afternoon, not a bound that nothing can beat.

rust_nn, the Rust port of micrograd, was not run for this page. Its README publishes the output of a run of this net on
moons: losses and accuracies of 46 steps, without times. Its time was measured in another run on a machine like this:
181 s for 100 steps of the moons job. Neither is part of any ratio here.
"""


def page(result: dict[str, Any], curves: list[dict[str, Any]]) -> str:
    machine = result["machine"]
    parts = [INTRODUCTION, "## Against the targets\n", targets_table(result["cases"]), busy(machine)]
    if result.get("parts", 1) > 1:
        parts.append("The cases were measured in several runs on one day; all rows of a case are from the same run.\n")
    parts += [losses(result["cases"]), METHOD]
    if curves:
        parts += [scaling.section(curves)]
    parts += ["## Every figure\n", setting(machine, result["plan"])]
    for case, entry in result["cases"].items():
        parts.append("```text\n" + report.table(case, entry).replace("\n  ", "\n") + "```\n")
    return "\n".join(parts)


def setting(machine: dict[str, Any], plan: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    return (
        f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores, pinned to one "
        f"({', '.join(machine['vector_flags']) or 'vector flags not known'}); {machine['system'].split('-')[0]}; "
        f"Python {machine['python']}; {machine['c_compiler']}. {packages}. Up to {plan['rounds']} rounds of "
        f"{plan['seconds'] * 1e3:.0f} ms.\n"
    )


def busy(machine: dict[str, Any]) -> str:
    """The machine's load, and how it affects the figures."""
    load = machine["load_at_start"]
    if not load:
        return ""
    text = f"The machine's load was {load[0]:.1f} on {machine['cores']} cores before the run began."
    if load[0] > 0.5:
        text += (
            " It was not quiet: contenders took turns on a core that other programs used as well. Times are longer"
            " than on a quiet machine, for which the targets in µs, ms and s were set; the quartiles tell how far"
            " to trust a ratio."
        )
    return text + "\n"


def number(figure: float, unit: str) -> str:
    digits = 0 if figure >= 100 else 1 if figure >= 10 else 2
    return f"{figure:,.{digits}f} {unit}"


def targets_table(cases: dict[str, Any]) -> str:
    lines = ["| job | figure | here | target | |", "|---|---|--:|--:|---|"]
    for target, figure, why in targets.judged(cases):
        bound = f"{'≥' if target.least else '≤'} {target.bound:,g} {target.unit}"
        if figure is None:
            lines.append(f"| {target.case} | {target.what} | – | {bound} | {why} |")
        else:
            verdict = "reached" if target.reached(figure) else "**missed**"
            lines.append(f"| {target.case} | {target.what} | {number(figure, target.unit)} | {bound} | {verdict} |")
    return "\n".join(lines) + "\n"


def losses(cases: dict[str, Any]) -> str:
    """Where a contender is faster than macrograd's best row, or macrograd has no figure: found, not chosen."""
    lines = ["## Where macrograd loses\n"]
    for case, entry in cases.items():
        ours = [r for r in entry["rows"] if r["kind"] == "macrograd"]
        timed = [r for r in ours if "median" in r]
        for row in ours:
            if "median" not in row:
                lines.append(f"- **{case}**: `{row['name']}` gives no figure: {row['failed']}.")
        if not timed:
            continue
        best = min(timed, key=lambda r: r["median"])
        ahead = [r for r in entry["rows"] if r["kind"] != "macrograd" and r.get("median", 1e9) < best["median"]]
        if ahead and not case.startswith("import"):
            names = ", ".join(f"{r['name']} ({best['median'] / r['median']:.2f} ×)" for r in ahead)
            lines.append(f"- **{case}**: faster than `{best['name']}` by the factor given: {names}.")
    lines += [
        "- **Getting ready** costs small programs 15 to 50 ms for LLVM, and as much again once per process to load it; "
        "casadi's virtual machine is ready in a few milliseconds. A second process finds programs and code on disk and "
        "does not pay again.",
        "- **Large nets** are the field of JAX, PyTorch and BLAS: these jobs do not measure threads, accelerators or "
        "memory beyond the caches, and a trace of single scalars is limited to a few million of them.",
    ]
    return "\n".join(lines) + "\n"


LEVELS = (10, -17, 21, -28, 32)  # of the labels, in points above the mark


def picture(result: dict[str, Any], target: Path) -> None:
    """Times on a log scale, a row of marks for each case: floors, peers and macrograd."""
    from matplotlib.figure import Figure

    cases = [case for case in PICTURE if case in result["cases"]]
    times = [r["median"] for case in cases for r in result["cases"][case]["rows"] if "median" in r]
    decades = math.log10(max(times) / min(times)) + 1.0
    figure = Figure(figsize=(11, 1.0 * len(cases) + 1.2), layout="constrained")
    axes = figure.subplots()
    for height, case in enumerate(reversed(cases)):
        rows = sorted((r for r in result["cases"][case]["rows"] if "median" in r), key=lambda r: r["median"])
        best = next((r for r in rows if r["kind"] == "macrograd"), None)
        rows = [r for r in rows if r["kind"] != "macrograd" or r is best]
        axes.axhline(height, color="#e3e6ea", linewidth=1, zorder=0)
        last = [-99.0] * len(LEVELS)  # where the latest label of each level ends, in decades
        for row in rows:
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


def publish(result: dict[str, Any], curves: list[dict[str, Any]], docs: Path = DOCS) -> None:
    """docs/benchmarks.md and its picture; without matplotlib the page alone, and a line that says so."""
    (docs / "images").mkdir(parents=True, exist_ok=True)
    try:
        picture(result, docs / "images" / "benchmarks.png")
    except ModuleNotFoundError as error:
        print(f"No picture: {error.name} is not installed (pip install matplotlib).")
    write(docs / "benchmarks.md", page(result, curves))


def merged(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Several runs as one: the machine is that of the first, and each case that of the last run that has it."""
    whole = {**results[0], "cases": {}, "parts": len(results)}
    for result in results:
        whole["cases"].update(result["cases"])
        whole["scaling"] = result.get("scaling", whole.get("scaling", []))
    return whole


if __name__ == "__main__":
    stored = merged([json.loads(Path(name).read_text()) for name in sys.argv[1:]])
    publish(stored, stored.get("scaling", []))
