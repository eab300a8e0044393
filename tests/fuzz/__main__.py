"""`python -m tests.fuzz`: search for programs whose compiled numbers differ from the eager ones."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
from pathlib import Path

from . import paste, session
from .check import check
from .session import Failure
from .shrink import shrink


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--programs", type=int, metavar="N", help="how many (default 1000; any number with --minutes)")
    parser.add_argument("--seed", type=int, metavar="S", help="the same programs for the same seed; drawn if not given")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after this time")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="begin with program K of the seed")
    parser.add_argument("--failures", type=int, default=1, metavar="F", help="stop after so many (default 1)")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), metavar="DIR", help="where tests of failures go")
    parser.add_argument("--no-shrink", action="store_true", help="report failing programs as they were found")
    given = parser.parse_args()
    for name in ("programs", "minutes", "failures"):
        if (number := getattr(given, name)) is not None and not number > 0:
            parser.error(f"--{name} must be more than 0, got {number}")
    seed = secrets.randbelow(10**9) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    count = given.programs or (None if given.minutes else 1000)
    seconds = given.minutes * 60 if given.minutes else float("inf")

    def told(failure: Failure) -> None:
        print(report(failure, given.out, shrunk=not given.no_shrink), flush=True)

    try:
        tally = session.run(seed, count, first=given.first, seconds=seconds, most=given.failures, told=told)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print(f"seed {seed}: {tally}")
    return 1 if tally.failures else 0


def report(failure: Failure, folder: Path, *, shrunk: bool) -> str:
    """The failure, the shortest program that shows it, and the file with its test."""
    case, way, outcome = failure.case, failure.way, failure.outcome
    if shrunk:
        case, way = shrink(case, way)
        outcome = check(case, way)
        if not outcome.failure:  # it comes and goes, which is a fault too
            case, way, outcome = failure.case, failure.way, failure.outcome
            outcome.failure += "; not each time"
    seed, number = failure.seed.split(":")
    text = paste.test_of(case, way, outcome, failure.seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"test_found_{seed}_{number}.py"
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
        file.write(text)
    os.replace(file.name, path)
    return f"\nFAILURE of --seed {seed} --first {number} --programs 1: {outcome.failure}\n{path}:\n\n{text}"


if __name__ == "__main__":
    sys.exit(main())
