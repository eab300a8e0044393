"""The passes, in the order in which they run: the one place that says what happens to a program.

    trace → simplify → number → (differentiate → simplify) → roll → lower

`MACROGRAD_DEBUG=passes` prints what every stage makes, and verifies it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from macrograd.compiler.program import program as programs
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stored import kept
from macrograd.compiler.rewrite.differentiate import differentiate
from macrograd.compiler.rewrite.simplify import own_results, simplify
from macrograd.compiler.roll.roll import roll
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import Tape
from macrograd.compiler.trace.trace import trace
from macrograd.value import Value

# Called with (stage, tape or program) after every stage; the tests put a verifier here.
observer: Callable[[str, Tape | Program], None] | None = None


@dataclass(frozen=True)
class Source:
    """A recorded function: its tape, simplified, the leaves that it closed over, and its result's nesting."""

    tape: Tape
    parameters: list[Value]
    structure: Any
    recorded: int


def record(
    fn: Callable[..., Any], shapes: Sequence[tuple[int, ...]], *, strict: bool = False, name: str = "the function"
) -> Source:
    """Trace and simplify. Raises ValueError if the result holds no number at all."""
    traced = trace(fn, shapes, as_eager=strict)
    _seen("trace", traced.tape)
    recorded = int((traced.tape.arity > 0).sum())
    if not len(traced.tape.results):
        raise ValueError(f"the result of {name} holds no numbers: return at least one number or Value")
    # In strict mode sums are chained only after the derivative, whose roundings follow the program as it was written.
    tape = traced.tape if strict else simplify(traced.tape, final=False)
    tape, old = tapes.number_parameters(tape)
    _seen("simplify", tape)
    return Source(tape, [traced.parameters[k] for k in old], traced.structure, recorded)


def value_program(source: Source, *, batch: bool, strict: bool = False, own: bool = False) -> Program:
    """The program of the function's values; with `own` each result is an entry that it has to itself."""
    how = "own values" if own else "values", batch, strict
    return _kept(source, how, lambda: _value_program(source, batch=batch, strict=strict, own=own))


def _value_program(source: Source, *, batch: bool, strict: bool, own: bool) -> Program:
    tape = simplify(source.tape, strict=strict)
    if own:
        tape = own_results(tape)
    _seen("simplify", tape)
    program = roll(tape, batch=batch, strict=strict)
    _seen("roll", program)
    return program


def gradient_program(source: Source, *, batch: bool, strict: bool = False) -> Program:
    """The program of the function's (mean) value and its derivatives with respect to all parameters."""
    how = "gradient", batch, strict
    return _kept(source, how, lambda: _gradient_program(source, batch=batch, strict=strict))


def _gradient_program(source: Source, *, batch: bool, strict: bool) -> Program:
    tape = differentiate(source.tape, batch=batch, strict=strict)
    _seen("differentiate", tape)
    tape = own_results(simplify(tape, strict=strict))  # so that the gradient is one array
    _seen("simplify", tape)
    program = roll(tape, batch=batch, strict=strict, weighted=batch)
    _seen("roll", program)
    return program


def _kept(source: Source, how: tuple[str, bool, bool], make: Callable[[], Program]) -> Program:
    """The program from disk if an earlier run made it; but who looks at the passes sees them work."""
    watched = observer is not None or "passes" in os.environ.get("MACROGRAD_DEBUG", "")
    return make() if watched else kept(source.tape, how, make)


def _seen(stage: str, what: Tape | Program) -> None:
    if observer is not None:
        observer(stage, what)
    if "passes" in os.environ.get("MACROGRAD_DEBUG", ""):
        if isinstance(what, Tape):
            tapes.verify(what)
        else:
            programs.verify(what)
        print(f"--- {stage}\n{what}", file=sys.stderr)
