"""Runs one of GradBench's evals with one or more tools: starts both, passes their messages, and says what validated.

    python -m benchmarks.gradbench.session --gradbench FOLDER "ode -n 1000 -s 1 10" macrograd jax pytorch manual

FOLDER is a copy of GradBench with the golden implementation built (README.md says how). A tool is one of the names
above or a command line. Tools take turns, each with its own process of the eval.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """One evaluation by one tool.

    name   the function and the eval's words for the input
    valid  what the eval says of the output; None if the tool failed
    first  the time of the first run, which compiles, in seconds
    usual  the median time of the others, or of all if there is one
    error  why it failed or is not valid
    """

    name: str
    valid: bool | None
    first: float
    usual: float
    error: str = ""


def tool_command(name: str, python: str) -> list[str]:
    """How to start a tool."""
    if name == "macrograd":
        return [sys.executable, "-m", "benchmarks.gradbench"]
    if name == "jax":
        return [python, str(Path(__file__).with_name("waiting_jax.py")), "python/gradbench/gradbench/tools/jax/run.py"]
    if name == "pytorch":
        return [python, "python/gradbench/gradbench/tools/pytorch/run.py"]
    if name == "manual":
        return [python, "python/gradbench/gradbench/cpp.py", "manual"]
    return shlex.split(name)


class Partner:
    """A process that is talked to by lines."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Partner:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def hear(self) -> str:
        """Its next line; empty at the end."""
        assert self.process.stdout
        return self.process.stdout.readline()

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line)
        self.process.stdin.flush()


def environment(*paths: Path) -> dict[str, str]:
    """Variables of a process: one thread for all, no programs from earlier runs, and these folders to import from."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **one, "MACROGRAD_CACHE": "off", "PYTHONPATH": os.pathsep.join(map(str, paths))}


def session(gradbench: Path, eval_words: str, tool: str, python: str) -> Iterator[Outcome]:
    """The outcomes of an eval, as they come."""
    name, *options = shlex.split(eval_words)
    inside = gradbench / "python" / "gradbench"
    command = [python, str(inside / "gradbench" / "evals" / name / "run.py"), *options]
    theirs = environment(inside, *map(Path, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    ours = environment(ROOT, *map(Path, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    folder, variables = (ROOT, ours) if tool == "macrograd" else (gradbench, theirs)
    pending: Outcome | None = None
    with Partner(command, gradbench, theirs) as asks, Partner(tool_command(tool, python), folder, variables) as does:
        while line := asks.hear():
            message = json.loads(line)
            if message["kind"] == "analysis" and pending is not None:
                yield replace(pending, valid=message["valid"], error=message.get("error", ""))
            does.tell(line)
            if not (answer := does.hear()):
                yield Outcome(name, None, 0.0, 0.0, f"{tool} ended")
                return
            asks.tell(answer)
            pending = outcome(message, json.loads(answer))
            if pending is not None and pending.error:
                yield pending


def outcome(message: dict[str, Any], answer: dict[str, Any]) -> Outcome | None:
    """What a response says, before it is validated."""
    if message["kind"] not in ("define", "evaluate"):
        return None
    if not answer.get("success"):
        return Outcome(message["kind"], None, 0.0, 0.0, answer.get("error") or "no reason given")
    if message["kind"] == "define":
        return None
    times = [t["nanoseconds"] / 1e9 for t in answer["timings"] if t["name"] == "evaluate"]
    name = f"{message['function']} {message.get('description', '')}".strip()
    return Outcome(name, None, times[0], median(times[1:] or times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gradbench", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs the evals and the other tools")
    parser.add_argument("--rounds", type=int, default=1, help="how often each tool has its turn")
    parser.add_argument("eval", help='an eval and its options, as in "det -l 5 6 7"')
    parser.add_argument("tools", nargs="+")
    args = parser.parse_args()
    for _ in range(args.rounds):
        for tool in args.tools:
            for found in session(args.gradbench.resolve(), args.eval, tool, args.python):
                said = {True: "valid", False: "INVALID", None: "failed"}[found.valid]
                line = f"{args.eval.split()[0]:9}{tool:10} {found.name:28} {said:8}"
                print(
                    f"{line} first {found.first:10.6f} s  then {found.usual:12.9f} s  {found.error[-200:]}", flush=True
                )


if __name__ == "__main__":
    main()
