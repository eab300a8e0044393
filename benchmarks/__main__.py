"""`python -m benchmarks`: run jobs, print their tables, keep and compare the figures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import harness, machine, page, report, rounds, scaling
from benchmarks.files import write


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Every job beside its peers, in one run.")
    parser.add_argument(
        "--job", metavar="NAMES", help="jobs to run, comma-separated: moons or moons/step; all by default"
    )
    parser.add_argument(
        "--with", dest="peers", metavar="NAMES", help="peers to run beside macrograd and the floors: jax,torch"
    )
    parser.add_argument("--quick", action="store_true", help="macrograd and the C floors only, short rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--compare", type=Path, metavar="OLD.json", help="exit 1 where macrograd became slower beyond the spread"
    )
    parser.add_argument(
        "--page",
        action="store_true",
        help="write docs/benchmarks.md and its picture; a run of everything does so anyway",
    )
    parser.add_argument("--core", type=int, help="the core to pin to; the last one by default")
    parser.add_argument("--list", action="store_true", help="print jobs, cases and contenders, and run nothing")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    selection = selected(options.job, options.quick)
    if options.list:
        for job, cases in selection:
            print(f"{job.name}: {job.what}")
            for case in cases:
                print(f"    {case}: {', '.join(c.name for c in job.of(case))}")
        return 0
    old = json.loads(options.compare.read_text()) if options.compare else None
    core = machine.last_core() if options.core is None else options.core
    plan = rounds.QUICK if options.quick else rounds.FULL
    result: dict[str, Any] = {"machine": machine.describe(core), "plan": vars(plan), "cases": {}}
    print(report.heading(result["machine"]))
    for job, cases in selection:
        for case in cases:
            contenders = [c for c in job.of(case) if c.name == job.baseline or wanted(c, options.peers, options.quick)]
            rows = rounds.measure(job, case, contenders, plan, core, tell)
            tell("")
            entry = {"what": job.what, "unit": job.unit, "baseline": job.baseline, "rows": rows}
            result["cases"][f"{job.name}/{case}"] = entry
            print(report.table(f"{job.name}/{case}", entry), flush=True)
            if options.json:  # after every case, so that an interrupted run keeps its figures
                write(options.json, json.dumps(result, indent=1))
    if options.page or not (options.job or options.quick or options.peers or options.compare):
        result["scaling"] = scaling.curves()
        if options.json:
            write(options.json, json.dumps(result, indent=1))
        page.publish(result, result["scaling"])
    if old is not None:
        worse = report.regressions(result, old)
        print("\n".join(worse) if worse else "No regression beyond the spread.")
        return 1 if worse else 0
    return 0


def selected(names: str | None, quick: bool = False) -> list[tuple[harness.Job, list[str]]]:
    """The jobs and cases that `--job` names, or all, or the quick ones; SystemExit for one that does not exist."""
    here = harness.available()
    if not names:
        return [(job, list(job.quick if quick else job.cases)) for job in map(harness.load, here)]
    chosen = []
    for text in names.split(","):
        name, _, case = text.partition("/")
        if name not in here:
            raise SystemExit(f"no job {name!r}; there are {', '.join(here)}")
        job = harness.load(name)
        if case and case not in job.cases:
            raise SystemExit(f"job {name!r} has no case {case!r}; it has {', '.join(job.cases)}")
        chosen.append((job, [case] if case else list(job.cases)))
    return chosen


def wanted(contender: harness.Contender, peers: str | None, quick: bool) -> bool:
    """Whether a contender takes part: ours and the floors always, peers on request."""
    if contender.kind != "peer":
        return True
    if peers is None:
        return not quick
    return any(contender.name == p or contender.name.startswith(p + "-") for p in peers.split(","))


def tell(text: str) -> None:
    """A line of progress that the next one replaces, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
