"""`python -m benchmarks`: run jobs, print their tables, keep and compare the figures."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import harness, machine, page, report, rounds, scaling, tables
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
    parser.add_argument(
        "--try",
        dest="trial",
        action="store_true",
        help="macrograd and the floors only, answers and one call each: exit 1 and name those that fail",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, case by case")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="measure only what the --json file lacks, and cases of other code, of minutes that were not quiet, or"
        " in which one of ours failed",
    )
    parser.add_argument(
        "--compare", type=Path, metavar="OLD.json", help="exit 1 where macrograd became slower beyond the spread"
    )
    parser.add_argument(
        "--page",
        action="store_true",
        help="write docs/benchmarks.md, its picture and the README's table, with benchmarks/figures/ of other machines;"
        " a run of everything does so anyway",
    )
    parser.add_argument(
        "--busy", action="store_true", help="write the page even if the machine was not quiet; it says so"
    )
    parser.add_argument("--core", type=int, help="the core to pin to; the last one by default")
    parser.add_argument("--list", action="store_true", help="print jobs, cases and contenders, and run nothing")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    brief = options.quick or options.trial
    selection = selected(options.job, options.quick)
    if options.list:
        for job, cases in selection:
            print(f"{job.name}: {job.what}")
            for case in cases:
                print(f"    {case}: {', '.join(c.name for c in job.of(case))}")
        return 0
    if options.resume and not options.json:
        raise SystemExit("--resume needs --json FILE, the file to go on with")
    old = json.loads(options.compare.read_text()) if options.compare else None
    core = machine.last_core() if options.core is None else options.core
    result = begun(options, core)
    print(report.heading(result["machine"]))
    for job, cases in selection:
        for case in cases:
            name = f"{job.name}/{case}"
            if name in result["cases"]:
                continue
            contenders = [c for c in job.of(case) if c.name == job.baseline or wanted(c, options.peers, brief)]
            entry = result["cases"][name] = measured(job, case, contenders, plan(options), core)
            print(report.table(name, entry), flush=True)
            keep(options.json, result)
    if options.page or not (options.job or brief or options.peers or options.compare):
        finish(options, result)
    wrong = [f"{name}: {what}" for name, entry in result["cases"].items() for what in report.faults(entry)]
    wrong += [] if old is None else report.regressions(result, old)
    if wrong or old is not None:
        print("\n".join(wrong) or "No regression beyond the spread.")
    return 1 if wrong else 0


def plan(options: argparse.Namespace) -> rounds.Plan:
    return rounds.TRIAL if options.trial else rounds.QUICK if options.quick else rounds.FULL


def begun(options: argparse.Namespace, core: int) -> dict[str, Any]:
    """A result without cases, or with those of the file that need not be measured again."""
    result: dict[str, Any] = {"machine": machine.describe(core), "plan": vars(plan(options)), "cases": {}, "tables": {}}
    if options.resume and options.json.is_file():
        stored, here = json.loads(options.json.read_text()), result["machine"]
        if not machine.same(stored["machine"], here):
            raise SystemExit(
                f"{options.json} was measured on another machine or with other packages: name another file"
            )
        now = machine.code()
        for kind in ("cases", "tables"):
            result[kind] = {
                name: entry
                for name, entry in stored.get(kind, {}).items()
                if entry.get("code") == now and entry["plan"] == result["plan"]
                if report.quiet(entry) and not report.faults(entry)
            }
        if stored.get("scaling") and stored.get("scaling_code") == now:
            result["scaling"], result["scaling_code"] = stored["scaling"], now
        print(f"{options.json}: {len(result['cases'])} of {len(stored['cases'])} cases stay as they are.")
    return result


def measured(
    job: harness.Job, case: str, contenders: list[harness.Contender], plan: rounds.Plan, core: int
) -> dict[str, Any]:
    """The rows of a case, and what a reader must know of the minutes they are from."""
    others, started = machine.Others(), time.monotonic()
    rows = rounds.measure(job, case, contenders, plan, core, tell)
    tell("")
    return {
        "what": job.what,
        "unit": job.unit,
        "baseline": job.baseline,
        "rows": rows,
        "beaten": job.beaten.get(case, ""),
        "others": others.used(),
        "seconds": round(time.monotonic() - started, 1),
        "code": machine.code(),
        "plan": vars(plan),
    }


def finish(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """What the page has beside the cases, and the page."""
    for name in tables.TABLES:
        if name not in result["tables"]:
            tell(f"{name} …")
            result["tables"][name] = tables.made(name, quick=options.quick) | {"plan": result["plan"]}
            keep(options.json, result)
    if "scaling" not in result:
        result["scaling"], result["scaling_code"] = scaling.curves(), machine.code()
        keep(options.json, result)
    try:
        page.check(result)
        page.publish([result, *page.others(result["machine"])], busy=options.busy)
        page.keep(result)
    except (page.NotQuiet, page.Faulty) as error:
        raise SystemExit(str(error)) from None


def keep(path: Path | None, result: dict[str, Any]) -> None:
    """After every case, so that an interrupted run keeps its figures."""
    if path is not None:
        write(path, json.dumps(result, indent=1))


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
