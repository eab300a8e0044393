"""One contender in a separate process: prepares it, answers, and times rounds on request.

The parent writes one JSON object per line to standard input and reads one per line from the original standard output:

    {"do": "answer"}                  → {"import": s, "setup": s, "first": s, "answer": {part: numbers}, ...}
    {"do": "round", "seconds": 0.05}  → {"per_unit": s, "calls": n}
    {"do": "memory"}                  → {"peak_mb": x, "job_mb": y}

Output of the libraries goes to standard error. A failure is an answer {"failed": "..."} and ends the process; it has
"absent": true too if the contender cannot run on this machine, which is no fault of its adapter.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import sys
from itertools import repeat
from time import perf_counter
from typing import Any

from benchmarks import machine
from benchmarks.harness import Contender, Prepared, Unavailable, load


def main() -> None:
    job_name, case, name, core = sys.argv[1:]
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    try:
        contender = load(job_name).find(case, name)
        machine.pin(int(core), contender.threads)
        serve(contender, case, reply)
    except Unavailable as error:
        reply({"failed": str(error), "absent": True})
    except ModuleNotFoundError as error:
        ours = (error.name or "").startswith("macrograd")
        reply({"failed": f"{'not there yet' if ours else 'not installed'}: {error.name}", "absent": not ours})
    except Exception as error:  # noqa: BLE001 - whatever a contender raises becomes its row
        if os.environ.get("BENCHMARKS_TRACEBACK"):
            import traceback

            traceback.print_exc()
        text = re.sub(r"(?<![\w.])/\S*/", "…/", " ".join(str(error).split()))  # no paths of this machine on the page
        reply({"failed": f"failed: {type(error).__name__}: {text[:160]}"})


def serve(contender: Contender, case: str, reply: Any) -> None:
    import numpy as np  # every contender's data are arrays

    started = perf_counter()
    for package in contender.packages:
        importlib.import_module(package)
    imported = perf_counter()
    resident = machine.resident_mb()
    prepared = contender.adapter(case)
    ready = perf_counter()
    calls = 0
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "answer":
            begun = perf_counter()
            answer = prepared.answer()
            answered = perf_counter()
            named = answer if isinstance(answer, dict) else {"answer": answer}
            reply(
                {
                    "import": imported - started,
                    "setup": ready - imported,
                    "first": answered - begun,
                    "answer": {part: np.asarray(x, dtype=np.float64).tolist() for part, x in named.items()},
                    "extra": prepared.extra,
                    "gc": prepared.gc,
                    "units": prepared.units,
                }
            )
            del answer, named  # or the memory of the rounds would count them
        elif command["do"] == "round":
            spent = 0.0
            if not calls:
                settle(prepared, contender.kind)
                calls, spent = calls_that_fill(prepared, command["seconds"])
            # A call that fills the round was timed by the trial already.
            spent = spent if calls == 1 and spent else timed(prepared, calls)
            reply({"per_unit": spent / prepared.units, "calls": calls})
        elif command["do"] == "memory":
            peak = machine.peak_mb()
            reply({"peak_mb": peak, "job_mb": max(0.0, peak - resident), "extra": prepared.extra})


def settle(prepared: Prepared, kind: str) -> None:
    """Wait for macrograd's better code, which is compiled in the background while the baseline code runs, and for what
    the first call of that code prepares."""
    if kind == "macrograd" and "macrograd.compiler.jit.tiers" in sys.modules:
        prepared.run()
        sys.modules["macrograd.compiler.jit.tiers"].finish()
        prepared.run()


def timed(prepared: Prepared, calls: int) -> float:
    """Seconds per call over `calls` calls, after a warm-up call (unless there is only one to time)."""
    run = prepared.run
    gc.collect()
    if not prepared.gc:
        gc.disable()
    try:
        if calls > 1:
            run()
        started = perf_counter()
        for _ in repeat(None, calls):
            run()
        return (perf_counter() - started) / calls
    finally:
        gc.enable()


def calls_that_fill(prepared: Prepared, seconds: float) -> tuple[int, float]:
    """The number of calls that take about that long, and the last trial's seconds; the trials are the warm-up."""
    calls = 1
    while True:
        spent = timed(prepared, calls) * calls
        if spent >= seconds / 4:
            return max(1, round(calls * seconds / spent)), spent
        calls = min(calls * 10, max(calls + 1, int(calls * seconds / max(spent, 1e-9))))


if __name__ == "__main__":
    main()
