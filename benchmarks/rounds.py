"""The contenders of a case side by side: started, compared, and timed in turns."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import machine, statistics
from benchmarks.harness import Contender, Job

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    rounds    at most
    seconds   of a round
    budget    the seconds of a contender's rounds, after which it gets no more: macrograd, floors and the baseline have
              three rounds at least, and a peer has one
    case      the same of all contenders' rounds together, after five rounds
    patience  the seconds until an answer counts as missing
    """

    rounds: int
    seconds: float
    budget: float
    case: float
    patience: float


FULL = Plan(rounds=15, seconds=0.05, budget=3.0, case=30.0, patience=90.0)
QUICK = Plan(rounds=11, seconds=0.02, budget=1.0, case=15.0, patience=12.0)
TRIAL = Plan(rounds=1, seconds=0.0, budget=1.0, case=15.0, patience=600.0)


class Process:
    """A contender's process, which communicates in lines of JSON."""

    def __init__(self, job: Job, case: str, contender: Contender, core: int) -> None:
        self.contender = contender
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", job.name, case, contender.name, str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if _wants_traceback() else subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=machine.workers(contender.environment, contender.threads),
        )

    def ask(self, patience: float, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its reply; failures are replies {"failed": why}."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # if it died, its last words may still be in the pipe
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(patience):
                self.process.kill()
                return {"failed": f"no answer within {patience:.0f} s"}
        line = self.process.stdout.readline()
        if not line:
            return {"failed": f"its process ended with status {self.process.wait()}"}
        reply = json.loads(line)
        assert isinstance(reply, dict)
        return reply

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def measure(
    job: Job, case: str, contenders: list[Contender], plan: Plan, core: int, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One row per contender, in order: the figures, or why there are none."""
    reference = job.right_answer(case)
    rows: list[dict[str, Any]] = []
    running: list[tuple[Process, dict[str, Any], list[float]]] = []
    try:
        for contender in contenders:
            tell(f"{job.name}/{case}: {contender.name} …")
            process = Process(job, case, contender, core)
            row, alive = admitted(process, contender, reference, plan)
            rows.append(row)
            if alive:
                running.append((process, row, []))
            else:
                process.close()
        tell(f"{job.name}/{case}: {len(running)} contenders in turns …")
        begun = perf_counter()
        for number in range(plan.rounds):
            if number >= 5 and perf_counter() - begun > plan.case:
                break
            for process, row, times in running:
                least = 1 if row["kind"] == "peer" and row["name"] != job.baseline else 3
                if "failed" in row or (number >= least and row["spent"] > plan.budget):
                    continue
                reply = process.ask(plan.patience, do="round", seconds=plan.seconds)
                if "failed" in reply:
                    row["failed"] = reply["failed"]
                    continue
                times.append(reply["per_unit"])
                row["calls"] = reply["calls"]
                row["spent"] += reply["per_unit"] * reply["calls"] * row["units"]
        for process, row, times in running:
            if "failed" not in row:
                row.update(statistics.summary(times))
                row.update(process.ask(plan.patience, do="memory"))
    finally:
        for process, _, _ in running:
            process.close()
    return rows


def admitted(process: Process, contender: Contender, reference: Any, plan: Plan) -> tuple[dict[str, Any], bool]:
    """The row of a contender after its answer, and whether it may be timed."""
    known = {"name": contender.name, "kind": contender.kind, "note": contender.note, "threads": contender.threads}
    row: dict[str, Any] = {**known, "spent": 0.0}
    reply = process.ask(plan.patience, do="answer")
    if "failed" in reply:
        return {**row, **reply}, False
    gap, where = statistics.difference(reply.pop("answer"), reference)
    row.update(reply, difference=gap, tolerance=contender.tolerance)
    if gap > contender.tolerance:
        row["failed"] = f"disagrees with the reference: {gap:.1e} > {contender.tolerance:.0e} ({where})"
        return row, False
    return row, True


def _wants_traceback() -> bool:
    return bool(os.environ.get("BENCHMARKS_TRACEBACK"))
