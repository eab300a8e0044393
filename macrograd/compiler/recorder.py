"""One trace of a function, with a given number of rounds of its long loops."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.rewrite.simplify import simplify
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import Tape
from macrograd.compiler.trace.calls import Calls
from macrograd.compiler.trace.checking import Checks, Unused
from macrograd.compiler.trace.controls import Control, Written
from macrograd.compiler.trace.even import Evenness
from macrograd.compiler.trace.refusals import TraceError
from macrograd.compiler.trace.rounds import (
    FEWEST,
    EndTogether,
    KeepsAll,
    MoreRounds,
    NoSections,
    Rounds,
    Sectioned,
    Slow,
    Unrolled,
)
from macrograd.compiler.trace.sections import SectionTape
from macrograd.compiler.trace.trace import Arguments, trace
from macrograd.interpreter import Interpreter
from macrograd.value import Value

LEAST_TIMES = 4  # a loop that is not written out has at least this many times the rounds written


@dataclass(frozen=True)
class Recorded:
    """One trace of the function, simplified and numbered."""

    tape: Tape
    parameters: list[Value]
    structure: Any
    recorded: int
    held: NDArray[np.float64]
    one: int | None
    checks: Checks
    arrays: list[Sequence[Any]]
    even: Evenness
    calls: Calls
    sections: dict[int, SectionTape]
    controls: list[Control | Written]
    untold: list[str]

    def calls_alike(self, other: Recorded) -> bool:
        """Whether the numbers of calls mean the same in both."""
        return self.calls.outline() == other.calls.outline()


@dataclass(frozen=True)
class Recorder:
    """Records a function with a given number of rounds."""

    fn: Callable[..., Any]
    shapes: Sequence[tuple[int, ...]]
    strict: bool
    name: str
    uniform: Container[int]
    seen: Callable[[str, Any], None]
    single: bool = False  # whether constants are folded as float32 programs compute them
    epsilon: float = Interpreter.epsilon  # of the numbers of the program
    given: list[Arguments] = field(default_factory=list)  # the arguments that several traces share

    def record(
        self, out: frozenset[int] = frozenset(), *, stops: bool = True, keeps: bool = False, copies: bool = True
    ) -> tuple[Recorded, Rounds]:
        """The function with some rounds of its long loops, and all rounds of those that must be written out."""
        why: dict[int, str] = {}
        least, sectioned, slow, tied = FEWEST, frozenset[int](), frozenset[int](), frozenset[int]()
        together = False
        while True:
            rounds = Rounds(
                least, out, stops=stops, keeps=keeps, sectioned=sectioned, tied=tied, together=together, copies=copies
            )
            try:
                return self.at(rounds), rounds
            except Unused as error:
                tied |= error.checks
            except KeepsAll:
                if keeps:
                    raise
                keeps = True
            except Sectioned as error:
                sectioned |= {error.count}
            except EndTogether:
                together = True
            except NoSections:
                stops = False
            except MoreRounds as more:
                if more.least * LEAST_TIMES > more.count:
                    out |= {more.count}
                    slow |= {more.count}
                else:
                    least = more.least
            except Unrolled as error:
                if error.count not in out:
                    out, why[error.count] = out | {error.count}, error.why
                    slow |= {error.count} if isinstance(error, Slow) else set()
                elif error.count in slow - sectioned:
                    sectioned |= {error.count}
                else:
                    raise self.refused(error.count, why.get(error.count, error.why)) from None

    def at(self, rounds: Rounds) -> Recorded:
        """One trace. Raises Unrolled."""
        given = self.given[0] if self.given else None
        traced = trace(
            self.fn,
            self.shapes,
            as_eager=self.strict,
            uniform=self.uniform,
            rounds=rounds,
            given=given,
            epsilon=self.epsilon,
        )
        self.given[:] = [traced.arguments]
        self.seen("trace", traced.tape)
        recorded = int((traced.tape.arity > 0).sum())
        if not len(traced.tape.results):
            raise ValueError(f"the result of {self.name} holds no numbers: return at least one number or Value")
        # In strict mode sums are chained only after the derivative, whose roundings follow the program as it was
        # written.
        tape = traced.tape
        tape = tape if self.strict else simplify(tape, final=False)
        tape, old = tapes.number_parameters(tape)
        self.seen("simplify", tape)
        return Recorded(
            tape,
            [traced.parameters[k] for k in old],
            traced.structure,
            recorded,
            traced.held,
            traced.one,
            traced.checks,
            traced.arrays,
            traced.even,
            traced.calls,
            traced.sections,
            traced.controls,
            traced.untold,
        )

    def refused(self, count: int, why: str) -> TraceError:
        return TraceError(
            f"a loop of {count} rounds in {self.name} cannot be compiled as a loop, and is too long to be written out: "
            f"{why}"
        )
