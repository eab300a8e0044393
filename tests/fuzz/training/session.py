"""A search through many runs."""

from __future__ import annotations

import os
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import check, laws, members
from .cases import Case, case

Law = Callable[[Case, random.Random], str]


class Tally:
    """The results of a search."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.undecidable: Counter[str] = Counter()
        self.wrong = 0

    def __str__(self) -> str:
        laws = ", ".join(f"{name} {count} ({self.undecidable[name]} undecidable)" for name, count in self.done.items())
        return f"{laws}; {self.wrong} wrong"


@contextmanager
def compiling(tiers: str = "") -> Iterator[None]:
    """Nothing kept on disk."""
    environment = {"MACROGRAD_CACHE": "off"} | ({"MACROGRAD_TIERS": tiers} if tiers else {})
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def reference(made: Case, rng: random.Random) -> str:
    """Against the plainly written run."""
    return check.run(made)


LAWS: dict[str, tuple[Law, int]] = {
    "reference": (reference, 10),
    "again": (laws.again, 2),
    "resumed": (laws.resumed, 4),
    "refused": (laws.refused, 2),
    "kept": (laws.kept, 2),
    "answers": (laws.answers, 2),
    "many": (members.many, 6),
    "copies": (members.copies, 2),
    "ensemble": (members.ensemble, 2),
    "sweep": (members.sweep, 2),
}


def one(seed: str) -> tuple[str, str, str]:
    """(the law, what is wrong, the case in words) of a seed."""
    rng = random.Random(f"{seed}/laws")
    names = list(LAWS)
    name = rng.choices(names, [LAWS[n][1] for n in names])[0]
    made = case(seed)
    try:
        found = LAWS[name][0](made, rng)
    except Exception as error:  # noqa: BLE001 - whatever it is, no case should raise it
        where = traceback.extract_tb(error.__traceback__)[-1]
        found = f"raises {type(error).__name__}: {error} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})"
    return name, found, made.told()


def search(seed: int, first: int, count: int | None, seconds: float) -> Tally:
    """Look at run after run, and print those that are wrong."""
    tally, end, number = Tally(), time.monotonic() + seconds, first
    with compiling():
        while time.monotonic() < end and (count is None or number < first + count):
            name, found, told = one(f"{seed}:{number}")
            tally.done[name] += 1
            if found == "?":
                tally.undecidable[name] += 1
            elif found:
                tally.wrong += 1
                print(f"WRONG --seed {seed} --first {number} --runs 1: {name}: {found}\n    {told}", flush=True)
            number += 1
    return tally
