"""GradBench's protocol as a tool speaks it: JSON lines in, JSON lines out.

A module of this folder is an eval. Each of its public functions takes an eval's input and prepares a function without
arguments; that one is run and timed, first and compiling run included, as often as the input asks.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

import numpy as np

EVALS = ("hello", "ode", "llsq", "lse", "det", "kmeans", "gmm", "lstm", "particle", "saddle", "ba", "ht")

Functions = dict[str, Callable[[Any], Callable[[], Any]]]  # by name: the input prepares what is run


def functions(module: str) -> Functions:
    """The functions of an eval by the names that its messages use. Raises ValueError for an unknown one."""
    if module not in EVALS:
        raise ValueError(f"macrograd has no eval {module!r}: it has {', '.join(EVALS)}")
    found: Functions = import_module(f"benchmarks.gradbench.{module}").FUNCTIONS
    return found


def responses(lines: Iterable[str]) -> Iterator[str]:
    """The response to each message."""
    for line in lines:
        message = json.loads(line)
        try:
            answer = _answer(message)
        except Exception:  # noqa: BLE001 - whatever goes wrong belongs into the response, and the next message is another
            answer = {"success": False, "error": traceback.format_exc()}
        yield json.dumps({"id": message["id"], **answer})


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    kind = message["kind"]
    if kind == "start":
        return {"tool": "macrograd"}
    if kind == "define":
        functions(message["module"])
        return {"success": True}
    if kind == "evaluate":
        known = functions(message["module"])
        if message["function"] not in known:
            raise ValueError(f"{message['module']} has no function {message['function']!r}: it has {', '.join(known)}")
        return evaluate(known[message["function"]], message["input"])
    return {}


def evaluate(prepare: Callable[[Any], Callable[[], Any]], given: Any) -> dict[str, Any]:
    """The output of an eval's function, and the time of each of its runs."""
    runs, seconds = (given.get("min_runs", 1), given.get("min_seconds", 0.0)) if isinstance(given, dict) else (1, 0.0)
    run = prepare(given)
    times: list[int] = []
    while len(times) < runs or sum(times) < 1e9 * seconds:
        start = time.perf_counter_ns()
        found = run()
        times.append(time.perf_counter_ns() - start)
    timings = [{"name": "evaluate", "nanoseconds": t} for t in times]
    return {"success": True, "output": plain(found), "timings": timings}


def plain(found: Any) -> Any:
    """Arrays as lists."""
    if isinstance(found, dict):
        return {name: plain(value) for name, value in found.items()}
    return found.tolist() if isinstance(found, np.ndarray) else found
