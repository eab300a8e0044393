"""`python -m tests.fuzz.training`: search for training runs that are not those of the reference."""

from __future__ import annotations

import argparse
import secrets
import sys

from . import session


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.training", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, metavar="M", help="stop after this time")
    parser.add_argument("--seed", type=int, metavar="S", help="the same runs for the same seed; drawn if not given")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="begin with run K of the seed")
    parser.add_argument("--runs", type=int, metavar="N", help="how many at most")
    given = parser.parse_args()
    seed = secrets.randbelow(10**9) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    tally = session.search(seed, given.first, given.runs, given.minutes * 60.0)
    print(f"seed {seed}: {tally}")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
