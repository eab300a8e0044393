"""Trace: run a function once on values without numbers, and record its operations.

A `Traced` (`traced.py`) is a Value that has an operation and operands but no number, so the function cannot read the
number of one sample: branching on it, or calling `float()` or `math.exp`, raises `TraceError` instead of baking it in.
The Values that the function closes over are ordinary ones: their leaves become the program's parameters. They have
numbers, but only of this moment, and each call reads them again; so a `Recording` (`recording.py`) guards them during
the trace, in the thread that traces. Constants, and anything computed from constants alone, may be read.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import value
from macrograd._collector import no_collection
from macrograd._dataclass import dataclass
from macrograd._numpy import REFUSED
from macrograd.compiler.tape.tape import Tape
from macrograd.compiler.trace.calls import Calls
from macrograd.compiler.trace.checking import Checks, Unused, tied
from macrograd.compiler.trace.controls import Control, Written
from macrograd.compiler.trace.even import Evenness
from macrograd.compiler.trace.guard import guarded_calls
from macrograd.compiler.trace.held import Leaves
from macrograd.compiler.trace.linearise import tape_of, tape_of_links, without_unused
from macrograd.compiler.trace.links import Links
from macrograd.compiler.trace.recording import Recording
from macrograd.compiler.trace.refusals import WAY_OUT, TraceError, refuse
from macrograd.compiler.trace.rounds import Kept, Rounds
from macrograd.compiler.trace.sections import Section, SectionTape, section_tape
from macrograd.compiler.trace.strict_order import check_derivatives, strict_order
from macrograd.compiler.trace.traced import Traced, leaf, listing
from macrograd.compiler.trace.turns import in_turn
from macrograd.interpreter import Interpreter
from macrograd.value import Value
from macrograd.vector import Vector, vector


@dataclass(frozen=True)
class Trace:
    """The record of one run: the tape, the leaves that the function closed over, and the nesting of its result.

    held       the numbers of the first uniform inputs, which the program holds, for all rounds of its loops
    arguments  what the function was called with, for another trace
    checks     what the program checks: its `messages` are said where the index of a take is the number of one
    arrays     what loops read parameters from, by the number of a round
    even       checks where the parameters that they read are
    one        the uniform input with which a derivative begins, if not with a constant
    calls      what the tape calls; `sections` has the tape of each section by the number of its call
    controls   what became of loops and branches
    untold     why sums of derivatives may be in another order than the eager engine's, with `as_eager`
    """

    tape: Tape
    parameters: list[Value]
    structure: Any  # the function's result with each scalar replaced by its position in tape.results
    held: NDArray[np.float64]
    arguments: Arguments
    one: int | None
    checks: Checks
    arrays: list[Sequence[Any]]
    even: Evenness
    calls: Calls
    sections: dict[int, SectionTape]
    controls: list[Control | Written]
    untold: list[str]


class Arguments:
    """The arguments of a trace: new traced values of these shapes, which several traces may share.

    inputs  the scalars; `same` says which of them are the same for all samples
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], uniform: Container[int] = ()) -> None:
        self.inputs: list[Traced] = []
        self.arguments: list[Any] = []
        self.same: list[bool] = []
        self._number: dict[int, int] = {}
        for k, shape in enumerate(shapes):
            self.arguments.append(_argument(shape, self.inputs))
            self.same += [k in uniform] * (len(self.inputs) - len(self.same))

    def number(self) -> dict[int, int]:
        """The places of the scalars among `inputs`, by their ids."""
        if not self._number:
            self._number = dict(zip(map(id, self.inputs), range(len(self.inputs)), strict=True))
        return self._number


class Span(list[int]):
    """The positions of the values kept by a loop of this many rounds, as far as its rounds are traced."""

    def __init__(self, positions: Iterable[int], rounds: int) -> None:
        super().__init__(positions)
        self.rounds = rounds


def trace(
    fn: Callable[..., Any],
    shapes: Sequence[tuple[int, ...]],
    *,
    as_eager: bool = False,
    uniform: Container[int] = (),
    rounds: Rounds | None = None,
    given: Arguments | None = None,
    epsilon: float = Interpreter.epsilon,
) -> Trace:
    """Run `fn` on (nested) Vectors of traced values, of the given shapes, and record its operations. The arguments at
    the positions `uniform` are the same for all samples. `rounds` says how many rounds of its loops are written;
    `given` is what an earlier trace made of the arguments. `epsilon` is that of the numbers of its program.

    The tape lists the operations in the order of execution; with `as_eager` in the order in which the eager engine's
    `backward` walks them, on which its roundings depend. Raises TraceError if the function reads a number, TypeError if
    its result holds anything but numbers and Values, Unrolled for a loop that must be written out and, with `rounds`,
    Unused for checks on which no result depends.
    """
    recording = Recording(rounds, as_eager=as_eager, epsilon=epsilon)
    return in_turn(recording, _traced, recording, fn, shapes, uniform, rounds, given)


def _traced(
    recording: Recording,
    fn: Callable[..., Any],
    shapes: Sequence[tuple[int, ...]],
    uniform: Container[int],
    rounds: Rounds | None,
    given: Arguments | None,
) -> Trace:
    as_eager = recording.as_eager
    with guarded_calls(refuse), listing(recording.new_traced), no_collection():
        given = given or Arguments(shapes, uniform)
        recording.loops.given = given
        recording.loops.reads.arguments.update(map(id, given.arguments))
        structure, results = _flatten(_called(fn, given.arguments))
        many = len(results)
        _add_checks(results, structure, recording)
        constants = set(map(id, recording.made.copy()))  # others may make more meanwhile
        links = recording.links(results)
        values = recording.values()
        if not as_eager:
            recording.forget()
        leaves = recording.loops.leaves(values, results, given)
        calls = recording.loops.calls
        calls.finish()
        made = {k: x for k, x in enumerate(calls.made) if isinstance(x, Section)}
        tape, parameters = _linearised(values, results, links, leaves, constants, last=not as_eager)
        if len(tape.results) > many:
            tape, parameters = _without_checks(tape, parameters, many, recording, rounds)
            del results[many:]
        recording.checks.made.clear()
        inner: Mapping[int, list[Value]] = {}
        if as_eager and parameters:  # without any, nothing more is differentiated
            order, inner = strict_order(results, recording, calls, [*made.values()])
            tape, parameters = tape_of(order, results, leaves.nodes, constants, parameters, leaves.same)
        elif as_eager:
            check_derivatives(calls, [*made.values()])
        sections = {k: section_tape(x, constants, inner.get(id(x))) for k, x in made.items()}
        _check_own(parameters, recording.loops.bodies)
        tape = leaves.numbered(tape)
    reads = recording.loops.reads
    return Trace(
        tape,
        parameters,
        structure,
        leaves.held,
        given,
        leaves.one,
        recording.checks,
        [*reads.arrays.values()],
        reads.even,
        calls,
        sections,
        recording.loops.controls,
        [*recording.untold],
    )


def _add_checks(results: list[Value], structure: Any, recording: Recording) -> None:
    """Make the results depend on the checks that an earlier trace found unused, and append those of all others."""
    checks, known = recording.checks, recording.loops.rounds.tied
    for k in _tie(structure, len(results)) if known else ():
        results[k] = tied(results[k], [checks.made[n] for n in sorted(known)], recording.compared)
    results += checks.values(known)


def _linearised(
    values: list[Value],
    results: list[Value],
    links: Links | None,
    leaves: Leaves,
    constants: set[int],
    *,
    last: bool,
) -> tuple[Tape, list[Value]]:
    """The tape in the order of execution, and its parameters: from the links, if the Values are forgotten."""
    inputs, same = leaves.nodes, leaves.same
    try:
        if links is not None:
            return tape_of_links(links, inputs, constants, (), same)
        return tape_of(values, results, inputs, constants, (), same, last=last)
    except AttributeError:  # one that another thread is just making, not part of this trace
        values = [x for x in values if hasattr(x, "label")]
        return tape_of(values, results, inputs, constants, (), same, last=last)


def _without_checks(
    tape: Tape, parameters: list[Value], many: int, recording: Recording, rounds: Rounds | None
) -> tuple[Tape, list[Value]]:
    """The tape of the first `many` results. Raises Unused for checks on which none of them depends."""
    checks, known = recording.checks, recording.loops.rounds.tied
    if rounds is not None and rounds.first and (unused := checks.unused(tape, many, known)):
        raise Unused(unused)
    return without_unused(replace(tape, results=tape.results[:many]), parameters)


def _tie(structure: Any, results: int) -> Iterable[int]:
    """The numbers of the results that checks are tied to: the first, or all where each is from a round of a loop, since
    rounds must be alike."""
    stack = [structure]
    while stack:
        x = stack.pop()
        if isinstance(x, int):
            return (x,)
        if not isinstance(x, Span):
            stack += reversed([*x.values()] if isinstance(x, dict) else [*x])
    return range(results)


def _called(fn: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """The function's result; where NumPy met a Value, with an error that says so."""
    try:
        return fn(*arguments)
    except (TypeError, ValueError) as error:
        if isinstance(error.__cause__, TraceError):  # NumPy wraps it where it fails to make an array
            raise error.__cause__ from None
        if REFUSED not in str(error):
            raise
        what = "a NumPy function was called on a Value while the function is traced"
        raise TraceError(f"{what}: {WAY_OUT}") from error
    except IndexError as error:
        if "only integers, slices" not in str(error):  # NumPy's words for an index that it cannot use
            raise
        what = "a NumPy array was indexed by a value that has no number while the function is traced"
        raise TraceError(f"{what}, with the message {str(error)!r}: write mg.take(array, i)") from error


def _check_own(parameters: list[Value], bodies: Container[int]) -> None:
    """Raise TraceError if a traced value got among the parameters; `bodies` are the ids of those in loops."""
    if not any(issubclass(kind, Traced) for kind in set(map(type, parameters))):
        return
    foreign = next(p for p in parameters if isinstance(p, Traced))
    if id(foreign) in bodies:
        raise TraceError(
            "a value that the body of a loop made was used outside of the loop: return it as part of the state, or as "
            "what is kept of the round (collect=True)"
        )
    raise TraceError("a traced value of another trace was used: keep none between calls")


def _argument(shape: tuple[int, ...], inputs: list[Traced]) -> Any:
    """New traced values as (nested) Vectors, numbered in row-major order."""
    if len(shape) == 1:
        row = [leaf() for _ in range(shape[0])]
        inputs += row
        return vector([*row])
    if not shape:
        inputs.append(leaf())
        return inputs[-1]
    return vector([_argument(shape[1:], inputs) for _ in range(shape[0])])


def _flatten(result: Any) -> tuple[Any, list[Value]]:
    """The result's nesting with positions in place of scalars, and the scalars."""
    scalars: list[Value] = []
    return _placed(result, scalars), scalars


def _placed(x: Any, scalars: list[Value]) -> Any:
    """`_flatten` of a part. A nested function that calls itself would be a reference cycle, and keep all Values."""
    if isinstance(x, Value):
        scalars.append(x)
        return len(scalars) - 1
    if isinstance(x, Kept):
        return Span([_placed(item, scalars) for item in x.elements], len(x))
    if isinstance(x, tuple):
        return tuple([_placed(item, scalars) for item in x])
    if isinstance(x, dict):
        return {key: _placed(item, scalars) for key, item in x.items()}
    if isinstance(x, (list, Vector)) or bool(getattr(x, "shape", None)):
        return [_placed(item, scalars) for item in x]
    lifted = value.constant(x)
    if lifted is None:
        raise TypeError(
            f"a compiled function returns Values, numbers, or lists, tuples and dicts of them; "
            f"got {x!r} of type {type(x).__name__}"
        )
    scalars.append(lifted)
    return len(scalars) - 1
