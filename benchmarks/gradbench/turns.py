"""Evals of GradBench by turns in one process: macrograd, GradBench's tools for JAX and PyTorch, and the peers of
`jax_peers.py`, by processor time on one core.

    python -m benchmarks.gradbench.turns --gradbench FOLDER "lse -n 10000" "ba --max 1" "ht --max 1"

FOLDER is a copy of GradBench as `session.py` needs it. Macrograd's answers are validated as there; how far those of the
others are from it is printed. "ready" is the processor time until the first answer, without any cache.
"""

from __future__ import annotations

import os

if __name__ == "__main__":  # before whatever reads them is imported
    os.environ |= {"JAX_ENABLE_X64": "1", "MACROGRAD_CACHE": "off", "MACROGRAD_TIERS": "best"}
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import argparse
import contextlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.gradbench import jax_peers
from benchmarks.gradbench.protocol import functions, plain
from benchmarks.gradbench.session import Partner, environment

Run = Callable[[], Any]
MINUTES = ("ba", "ht", "lstm")  # that PyTorch's tool takes for these


@dataclass
class Contender:
    """One side: its processor time until the first answer, that answer, and the time of a run in each turn."""

    name: str
    run: Run
    ready: float
    answer: Any
    turns: list[float] = field(default_factory=list)


def tools(gradbench: Path) -> None:
    """Let GradBench's tools be imported, with functions that `_prepared` can call."""
    sys.path.insert(0, str(gradbench / "python" / "gradbench"))
    wrap = import_module("gradbench.wrap")

    def multiple_runs(*, pre: Callable[[Any], Any], post: Callable[[Any], Any], **_: Any) -> Any:
        return lambda function: (pre, function, post)

    wrap.multiple_runs = multiple_runs


def peers(module: str, function: str) -> Iterator[tuple[str, Callable[[Any], tuple[Run, Callable[[Any], Any]]]]]:
    """The names of those that have the function, and how each prepares a run and reads its answer."""
    for tool in ("jax", "pytorch")[: 2 - (module in MINUTES)]:
        with contextlib.suppress(ImportError, AttributeError):
            found = getattr(import_module(f"gradbench.tools.{tool}.{module}"), function)
            yield tool, partial(_prepared, *found)
    for name, prepare in jax_peers.FUNCTIONS.get((module, function), {}).items():
        yield name, lambda given, prepare=prepare: (prepare(given), plain)


def _prepared(
    pre: Callable[[Any], Any], function: Callable[[Any], Any], post: Callable[[Any], Any], given: Any
) -> tuple[Run, Callable[[Any], Any]]:
    import jax

    ready = pre(given)
    return lambda: jax.block_until_ready(function(ready)), post


def started(name: str, prepare: Callable[[Any], tuple[Run, Callable[[Any], Any]]], given: Any) -> Contender:
    start = time.process_time()
    run, read = prepare(given)
    found = run()
    return Contender(name, run, time.process_time() - start, read(found))


def measure(contenders: list[Contender], turns: int, seconds: float, patience: float) -> None:
    """Time the contenders by turns of so many seconds; who needs more than `patience` for one run gets one turn."""
    for turn in range(turns):
        for x in contenders:
            if turn and x.turns[0] > patience:
                x.turns.append(x.turns[0])
                continue
            runs, start = 0, time.process_time()
            while (spent := time.process_time() - start) < seconds or not runs:
                x.run()
                runs += 1
            x.turns.append(spent / runs)


def distance(a: Any, b: Any) -> float:
    """The largest difference of two answers, as a share of the largest number, or of 1 if that is less."""
    left, right = (np.concatenate([np.ravel(np.asarray(y, dtype=float)) for y in _leaves(x)]) for x in (a, b))
    if left.shape != right.shape:
        return float("inf")
    return float(np.max(np.abs(left - right)) / max(np.max(np.abs(left)), 1.0))


def _leaves(x: Any) -> list[Any]:
    return [leaf for key in sorted(x) for leaf in _leaves(x[key])] if isinstance(x, dict) else [x]


def messages(gradbench: Path, words: str) -> Iterator[tuple[str, str, str, Any, Callable[[Any], None]]]:
    """The evaluations that an eval asks for: module, function, description, input, and whom to tell the answer."""
    name, *options = shlex.split(words)
    script = gradbench / "python" / "gradbench" / "gradbench" / "evals" / name / "run.py"
    paths = (gradbench / "python" / "gradbench", *map(Path, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    with Partner([sys.executable, str(script), *options], gradbench, environment(*paths)) as asks:
        while line := asks.hear():
            message = json.loads(line)
            answer: dict[str, Any] = {"id": message["id"], "success": True}
            if message["kind"] == "analysis" and not message["valid"]:
                print(f"INVALID: {message.get('error', '')[-300:]}", flush=True)
            if message["kind"] == "start":
                answer["tool"] = "macrograd"
            if message["kind"] == "evaluate":
                told = partial(answer.__setitem__, "output")
                yield message["module"], message["function"], message.get("description", ""), message["input"], told
                answer["timings"] = []
            asks.tell(json.dumps(answer) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gradbench", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.02, help="of processor time, of each turn")
    parser.add_argument("--patience", type=float, default=2.0, help="a run that takes longer is done once")
    parser.add_argument("evals", nargs="+", help='evals and their options, as in "det -l 5 6 7"')
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    tools(args.gradbench.resolve())
    for words in args.evals:
        for module, function, description, given, tell in messages(args.gradbench.resolve(), words):
            prepare = functions(module)[function]
            ours = started("macrograd", lambda given, prepare=prepare: (prepare(given), plain), given)
            tell(ours.answer)
            others = [started(name, other, given) for name, other in peers(module, function)]
            measure([ours, *others], args.turns, args.seconds, args.patience)
            print(
                f"{module} {function} {description}: {median(ours.turns):.3g} s, ready {ours.ready:.2f} s", flush=True
            )
            for x in others:
                ratio = median(a / b for a, b in zip(ours.turns, x.turns, strict=True))
                apart = distance(ours.answer, x.answer)
                print(f"    {ratio:6.3f} of {x.name}, ready {x.ready:.2f} s, {apart:.1g} apart", flush=True)


if __name__ == "__main__":
    main()
