"""The passes in execution order: the only place that decides what happens to a program and where it runs.

    trace → simplify → (number) → (differentiate → simplify) → roll → (link → stretch → stripes → folds → compact)
    → prepare → lower

Stages in brackets run where a program needs them. `number` makes numbers that the program holds its first inputs, and
`link` puts the programs of sections in place of calls, both for functions with loops and branches that are sections
(`sections.py`); `stretch` is for long loops, of which a few rounds are recorded (`stretched.py`); stripes,
folds and compact are for programs of many slots.

`MACROGRAD_DEBUG=passes` prints the result of every stage, and verifies it.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Container, Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from macrograd._dataclass import dataclass
from macrograd.compiler.jit.heap import give_back
from macrograd.compiler.program import program as programs
from macrograd.compiler.program.cache import cached
from macrograd.compiler.program.compact import with_few_slots
from macrograd.compiler.program.nets import NetsError
from macrograd.compiler.program.program import Program
from macrograd.compiler.recorder import Recorded, Recorder
from macrograd.compiler.rewrite.simplify import own_results, simplify
from macrograd.compiler.settings import CompileWarning, Settings, say_once
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import Tape
from macrograd.compiler.targets.llvm.target import Llvm
from macrograd.compiler.targets.nets import Nets, Own
from macrograd.compiler.targets.numpy.target import Numpy
from macrograd.compiler.targets.target import Executable, Request, Runner
from macrograd.compiler.targets.training import Parts
from macrograd.compiler.trace.checking import Checks
from macrograd.compiler.trace.controls import Control, Written
from macrograd.compiler.trace.rounds import KeepsAll, NoSections, Rounds
from macrograd.interpreter import Interpreter
from macrograd.value import Value

if TYPE_CHECKING:
    from macrograd.compiler.sections import Sections
    from macrograd.compiler.stretched import Stretched

_LEAST_IN_A_FILE = 16  # slots
LONG = 100_000  # entries of a tape whose passes take much memory
FALLBACK: Runner = Numpy()  # available on every machine
TARGETS: tuple[Runner, ...] = (Llvm(), FALLBACK)  # fastest first

# Called with (stage, tape or program) after every stage; the tests put a verifier here.
observer: Callable[[str, Tape | Program], None] | None = None
Seen = TypeVar("Seen", Tape, Program)


@dataclass(frozen=True)
class Source:
    """A recorded function: its tape, simplified, the leaves that it closed over, and its result's nesting.

    checks  what the program says where the index of a take is the number of a message (`FIRST_CHECK`)
    loops  the source of its programs, if loops in it have more rounds than the tape
    sections  what its tape calls, if it has loops with memory=
    keeps  whether loops with memory= keep everything, because sections would be rounded in another order
    single  whether constants are folded as float32 programs compute them
    controls  what became of its loops and branches
    untold    why sums of a strict program's derivatives may be in another order than the eager engine's
    """

    tape: Tape
    parameters: list[Value]
    structure: Any
    recorded: int
    loops: Stretched | None = None
    sections: Sections | None = None
    checks: Checks = field(default_factory=Checks)
    keeps: bool = False
    single: bool = False
    controls: Sequence[Control | Written] = ()
    untold: Sequence[str] = ()


def record(
    fn: Callable[..., Any],
    shapes: Sequence[tuple[int, ...]],
    *,
    strict: bool = False,
    single: bool = False,
    name: str = "the function",
    uniform: Container[int] = (),
    epsilon: float = Interpreter.epsilon,
) -> Source:
    """Trace and simplify; `uniform` are the positions of arguments that are the same for all samples, `single` programs
    fold constants in float32, and `epsilon` is that of their numbers. Raises ValueError if the result holds no numbers.
    """
    recorder = Recorder(fn, shapes, strict, name, uniform, _seen, single, epsilon)
    stops, keeps = True, False
    while True:
        try:
            return _source(recorder, *recorder.record(stops=stops, keeps=keeps))
        except NoSections:  # requests of traces with more rounds than the first
            stops = False
        except KeepsAll:
            if keeps:
                raise
            keeps = True


def _source(recorder: Recorder, found: Recorded, rounds: Rounds) -> Source:
    sections, single = None, recorder.single
    if found.sections:
        from macrograd.compiler.sections import Sections

        sections = Sections(recorder, rounds, found)
        sections.first_traces()
    tape = found.tape if sections is None else sections.with_numbers(found.tape)
    if not rounds.counts:
        return Source(
            tape,
            found.parameters,
            found.structure,
            found.recorded,
            None,
            sections,
            found.checks,
            rounds.keeps,
            single,
            found.controls,
            found.untold,
        )
    from macrograd.compiler.stretched import Stretched

    loops = Stretched(recorder, rounds, found)
    checks, controls, untold = found.checks, found.controls, found.untold
    return Source(tape, *loops.whole(), loops, sections, checks, rounds.keeps, single, controls, untold)


# The next two are loaded when they are needed: most programs have an earlier run's work on disk.


def differentiate(tape: Tape, **how: Any) -> Tape:
    from macrograd.compiler.rewrite.differentiate import differentiate

    return differentiate(tape, **how)


def roll(tape: Tape, **how: Any) -> Program:
    from macrograd.compiler.roll.roll import roll

    return roll(tape, **how)


def value_program(source: Source, *, batch: bool, strict: bool = False, own: bool = False) -> Program:
    """The program of the function's values; with `own` each result has an entry to itself."""
    how = "own values" if own else "values", batch, strict

    def make(tape: Tape, one: int | None = None) -> Program:
        tape = simplify(tape, strict=strict, single=source.single)
        if own:
            tape = own_results(tape)
        _seen("simplify", tape)
        program = roll(tape, batch=batch, strict=strict, whole=one is not None)
        return _linked(source, program, strict)

    return _made(source, how, make)


def batch_program(tape: Tape, *, strict: bool = False) -> Program:
    """The program of a tape over a batch that was written by hand, not recorded."""

    def make() -> Program:
        program = roll(simplify(tape, strict=strict), batch=True, strict=strict)
        _seen("roll", program)
        return program

    return _kept(tape, ("tape", True, strict), make)


def gradient_program(source: Source, *, batch: bool, strict: bool = False) -> Program:
    """The program of the function's (mean) value and its derivatives with respect to all parameters."""

    def make(tape: Tape, one: int | None = None) -> Program:
        calls = None if source.sections is None else source.sections.calls
        # No name holds a tape here while the next is made from it.
        tape = simplify(
            _seen("differentiate", differentiate(tape, batch=batch, strict=strict, one=one, calls=calls)),
            strict=strict,
            single=source.single,
        )
        tape = _seen("simplify", own_results(tape))  # so that the gradient is one array
        program = roll(tape, batch=batch, strict=strict, weighted=batch, whole=one is not None)
        return _linked(source, program, strict)

    return _made(source, ("gradient", batch, strict), make)


def for_file(program: Program) -> Program:
    """The program as a file has it: its memory is given by a caller who may have little, so that loops write slots
    again even where that saves a few."""
    program = with_few_slots(program, least=_LEAST_IN_A_FILE)
    _seen("compact", program)
    return program


def _linked(source: Source, program: Program, strict: bool) -> Program:
    """A rolled program, with the sections that it calls."""
    if source.sections is not None:
        program = source.sections.linked(program, strict=strict)
    _seen("roll" if source.sections is None else "link", program)
    return program


def _made(source: Source, how: tuple[Any, ...], make: Callable[..., Program]) -> Program:
    """The program of a recorded function, in one piece or told from those of a few rounds of its loops."""
    loops, sections = source.loops, source.sections
    if source.single:
        how = (*how, "single")
    if sections is not None:
        how = (*how, sections.digest())
    if loops is None:
        return _kept(source.tape, how, lambda: make(source.tape))

    def told() -> Program:
        program = loops.program(make if sections is None else partial(_numbered, sections, make))
        _seen("stretch", program)
        return program

    return _kept(source.tape, (*how, loops.digest()), told, lambda: loops.digested)


def _numbered(sections: Sections, make: Callable[..., Program], tape: Tape, one: int | None = None) -> Program:
    """The program that `make` makes from one of the tapes of a function with long loops, and with sections."""
    return make(sections.with_numbers(tape), one=None if one is None else one + len(sections.numbers))


def prepare(request: Request, settings: Settings) -> Executable:
    """Prepare the program for the target that the settings name; "auto" is the first that can run it.

    Raises ImportError if a named target is not installed, and LookupError if it lacks an operation of the program.
    """
    target = _target(request.program, settings)
    try:
        return target.prepare(request)
    except RuntimeError as error:  # raised by LLVM when it cannot compile or link
        if target is FALLBACK:
            raise
        return instead(error, request, settings)


def nets(request: Request, settings: Settings, parts: Parts, own: Own, rule: Own) -> Nets:
    """Training steps of many nets that share this program of value and gradient, on the target that runs it for one.

    Raises NetsError, which names the obstacle, if that target cannot run nets together.
    """
    try:
        return _target(request.program, settings).nets(request, parts, own, rule)
    except RuntimeError as error:  # raised by LLVM when it cannot compile or link
        raise NetsError(f"LLVM, which failed on it ({error})") from error


def instead(error: RuntimeError, request: Request, settings: Settings) -> Executable:
    """The executable for a program that LLVM failed to compile."""
    warnings.warn(
        f"LLVM failed on {settings.name} ({error}); it runs on NumPy instead, which is slower",
        CompileWarning,
        stacklevel=7,
    )
    return FALLBACK.prepare(request)


def _target(program: Program, settings: Settings) -> Runner:
    """The target for a program. One that does not load is skipped, with a warning shown once."""
    for target in TARGETS:
        named = settings.backend == target.name
        if not named and settings.backend != "auto":
            continue
        if (error := target.missing()) is not None:
            if named:
                raise ImportError(
                    f"backend={target.name!r} needs {target.needs}, which does not load here ({error}); "
                    "install it, or use backend='numpy'"
                ) from error
            say_once(f"{target.needs} does not load here ({error}): programs run on NumPy, which is slower", 8)
        elif lacks := target.lacks(program):
            if named:
                raise LookupError(
                    f"backend={target.name!r} has neither a form of {', '.join(lacks)} nor a formula to compose one "
                    "from: use another backend"
                )
        else:
            return target
    raise LookupError(f"no target has all operations of {settings.name}")


def _kept(
    tape: Tape, how: tuple[Any, ...], make: Callable[[], Program], keep: Callable[[], bool] = lambda: True
) -> Program:
    """The program from disk if an earlier run made it, unless an observer wants to see the passes work."""
    found = make() if watched() else cached(tape, how, make, keep)
    if len(tape) > LONG:
        give_back()
    return found


def watched() -> bool:
    """Whether an observer wants to see the passes work."""
    return observer is not None or "passes" in os.environ.get("MACROGRAD_DEBUG", "")


def _seen(stage: str, what: Seen) -> Seen:
    if observer is not None:
        observer(stage, what)
    if "passes" in os.environ.get("MACROGRAD_DEBUG", ""):
        if isinstance(what, Tape):
            tapes.verify(what)
        else:
            programs.verify(what)
        print(f"--- {stage}\n{what}", file=sys.stderr)
    return what
