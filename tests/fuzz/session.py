"""A run of many programs."""

from __future__ import annotations

import os
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from macrograd.compiler import pipeline
from macrograd.compiler.program import program as programs
from macrograd.compiler.program.program import Program
from macrograd.compiler.tape import tape as tapes

from . import ways
from .check import Verdict, check
from .generate import Case, case
from .ways import Way


@dataclass(frozen=True)
class Failure:
    seed: str  # of the program
    case: Case
    way: Way
    outcome: Verdict


@dataclass
class Tally:
    """The results of a run."""

    programs: int = 0
    compared: int = 0
    undecidable: int = 0
    exact: int = 0
    seconds: float = 0.0
    ways: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.programs / self.seconds if self.seconds else 0.0
        return (
            f"{self.programs:,} programs in {self.seconds:.0f} s ({rate:.1f} a second), {self.ways.total():,} ways, "
            f"{self.compared:,} numbers compared, {self.exact:,} of them bit by bit, {self.undecidable:,} undecidable "
            f"({100 * self.undecidable / max(1, self.compared):.1f} %); {len(self.failures)} failures"
        )


def _verify(stage: str, what: Any) -> None:
    if isinstance(what, Program):
        programs.verify(what)
    else:
        tapes.verify(what)


@contextmanager
def compiling() -> Iterator[None]:
    """Quick code, nothing kept on disk, every pass verified, and warnings are errors."""
    environment = {"MACROGRAD_TIERS": "first", "MACROGRAD_CACHE": "off"}
    before = {name: os.environ.get(name) for name in environment}
    observer, pipeline.observer = pipeline.observer, _verify
    os.environ.update(environment)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        pipeline.observer = observer
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run(
    seed: int,
    count: int | None,
    *,
    first: int = 0,
    seconds: float = float("inf"),
    most: int = 1,
    told: Callable[[Failure], None] = lambda failure: None,
) -> Tally:
    """Programs `first`, `first` + 1, … of a seed, until there were `count`, `most` failures or the time is up."""
    tally, begin = Tally(), time.monotonic()
    with compiling():
        number = first
        while count is None or number < first + count:
            if time.monotonic() - begin > seconds or len(tally.failures) >= most:
                break
            _one(f"{seed}:{number}", tally, told)
            number += 1
            tally.seconds = time.monotonic() - begin
    return tally


def _one(seed: str, tally: Tally, told: Callable[[Failure], None]) -> None:
    made = case(seed)
    tally.programs += 1
    for way in ways.draw(random.Random(seed + "/ways"), made):
        outcome = check(made, way)
        tally.ways[way.what] += 1
        tally.compared += outcome.compared
        tally.undecidable += outcome.undecidable
        tally.exact += outcome.exact
        if outcome.failure:
            tally.failures.append(Failure(seed, made, way, outcome))
            told(tally.failures[-1])
            return
