"""A job: a definition, and one adapter per contender. `benchmarks/README.md` has the conventions."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# In the order of running and printing.
JOBS = (
    "moons",
    "demo",
    "digits",
    "mid",
    "wide",
    "large",
    "small",
    "many",
    "accuracy",
    "fit",
    "rosenbrock",
    "lorenz",
    "kalman",
    "asian",
    "west",
    "irregular",
    "gpt",
    "one",
    "export",
    "ready",
    "start",
    "eager",
    "import",
)

# A part's name → its numbers; a bare array is one part.
Answer = Any


class Unavailable(Exception):  # noqa: N818 - it is a state of the contender, not an error of the harness
    """Raised by an adapter that cannot run here; its message goes into the row."""


@dataclass
class Prepared:
    """A contender that is ready to answer and to be timed.

    run      the timed call
    answer   the numbers that are compared before anything is timed: an array, or a dict of arrays
    units    the number of the job's units in one `run()`
    gc       whether Python's garbage collector stays on in the timed rounds
    extra    further figures to print and store; may be filled by `answer`
    """

    run: Callable[[], object]
    answer: Callable[[], Answer]
    units: int = 1
    gc: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


Adapter = Callable[[str], Prepared]


@dataclass(frozen=True)
class Contender:
    name: str
    adapter: Adapter
    packages: tuple[str, ...]
    cases: tuple[str, ...]
    tolerance: float
    note: str
    environment: Mapping[str, str]
    threads: int = 1

    @property
    def kind(self) -> str:
        """'floor', 'macrograd' or 'peer'."""
        family = self.name.split("-")[0]
        return {"c": "floor", "macrograd": "macrograd"}.get(family, "peer")


class Job:
    """One row of the table of jobs.

    name        on the command line
    what        the definition in one line, with the precision
    unit        the unit that a time refers to
    cases       variants, each with a separate table
    tolerance   the largest difference from the reference, relative to the largest number of the part, that is allowed;
                one number, or one per case
    baseline    the contender that ratios are taken to
    quick       the cases that --quick runs; all by default
    beaten      why macrograd may be more than 5 % faster than the fastest floor, by case
    """

    def __init__(
        self,
        name: str,
        *,
        what: str,
        unit: str,
        cases: tuple[str, ...],
        tolerance: float | Mapping[str, float],
        baseline: str = "c",
        quick: tuple[str, ...] | None = None,
        beaten: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.what = what
        self.unit = unit
        self.cases = cases
        self.tolerances = {case: tolerance if isinstance(tolerance, float) else tolerance[case] for case in cases}
        self.baseline = baseline
        self.quick = cases if quick is None else quick
        self.beaten = dict(beaten or {})
        self.contenders: list[tuple[str, Contender]] = []
        self._reference: Callable[[str], Answer] | None = None

    def reference(self, function: Callable[[str], Answer]) -> Callable[[str], Answer]:
        """The job's definition: case → the right answer, written for readability."""
        self._reference = function
        return function

    def right_answer(self, case: str) -> Answer:
        if self._reference is None:
            raise ValueError(f"job {self.name!r} has no @JOB.reference")
        return self._reference(case)

    def contender(
        self,
        name: str,
        *,
        packages: tuple[str, ...] = (),
        cases: tuple[str, ...] | None = None,
        tolerance: float | None = None,
        note: str = "",
        environment: Mapping[str, str] | None = None,
        threads: int = 1,
    ) -> Callable[[Adapter], Adapter]:
        """Register an adapter: case → Prepared.

        `note` is printed under the table; `environment` is added to its process's variables, to the end of one that
        is set already. Its process may use `threads` cores, and its libraries are told so.
        """
        unknown = set(cases or ()) - set(self.cases)
        if unknown:
            raise ValueError(f"{self.name}: contender {name!r} names cases that the job has not: {sorted(unknown)}")

        def register(adapter: Adapter) -> Adapter:
            for case in cases or self.cases:
                allowed = self.tolerances[case] if tolerance is None else tolerance
                known = environment or {}
                contender = Contender(name, adapter, packages, cases or self.cases, allowed, note, known, threads)
                self.contenders.append((case, contender))
            return adapter

        return register

    def of(self, case: str) -> list[Contender]:
        return [contender for its_case, contender in self.contenders if its_case == case]

    def find(self, case: str, name: str) -> Contender:
        for contender in self.of(case):
            if contender.name == name:
                return contender
        raise KeyError(f"{self.name}/{case} has no contender {name!r}")


def load(name: str) -> Job:
    """The job of that name. A job whose module is `import_` stands for the keyword `import`."""
    module = importlib.import_module(f"benchmarks.{'import_' if name == 'import' else name}")
    job = module.JOB
    assert isinstance(job, Job)
    return job


def available() -> list[str]:
    """The names of the jobs whose module is here."""
    return [
        name
        for name in JOBS
        if importlib.util.find_spec(f"benchmarks.{'import_' if name == 'import' else name}") is not None
    ]
