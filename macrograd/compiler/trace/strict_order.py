"""The order of a strict program: that in which the eager engine's `backward` walks its operations, on which the
roundings of sums depend.

`eager_order.py` walks as `backward` does. Here it is decided what it walks: which choices have ways apart, whether the
rounds of loops are alike, what sections follow from which, and which attempt comes next where there are too many ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from macrograd.compiler.trace.calls import Calls
from macrograd.compiler.trace.eager_calls import Expanded
from macrograd.compiler.trace.eager_graph import TooMany
from macrograd.compiler.trace.eager_order import as_eager_walks
from macrograd.compiler.trace.recording import MANY_ROUNDS, MANY_WAYS, Recording
from macrograd.compiler.trace.rounds import EndTogether, KeepsAll, NoSections, refuse_derivative
from macrograd.compiler.trace.sections import Section
from macrograd.graph import topological
from macrograd.value import Value

_FEW_ROUNDS = 24  # numbers of the states of loops after rounds that may be done: so many may be ways apart
# With too many ways through the choices, one attempt after the other: with those of derivatives inside the function
# (`sums`), with those of takes, and with a Value at each place where branches meet it, or only `once`.
_ATTEMPTS = [
    (True, True, False), (True, True, True), (False, True, False), (False, True, True),
    (False, False, False), (False, False, True),
]  # fmt: skip


def strict_order(
    results: Sequence[Value], recording: Recording, calls: Calls, made: list[Section]
) -> tuple[list[Value], dict[int, list[Value]]]:
    """The order of a strict program, and of its sections by their ids. Raises KeepsAll if sections of loops with
    memory= would be rounded in another, and NoSections if branches and loops that stop would."""
    comparisons, many = recording.comparisons, bool(recording.loops.rounds.counts)
    sums = recording.few_sums(topological(*results, stop=comparisons))
    apart = _apart(recording, sums=sums)
    if not made and not apart:
        return as_eager_walks(results, comparisons, apart), {}
    if not made and (many or recording.loops.rounds.plain):
        return _alike(results, recording), {}
    if made:
        check_derivatives(calls, made)
        try:
            return _with_sections(results, recording, made, apart)
        except (KeepsAll, TooMany) as error:
            if any(x.stops is not None for x in made):
                raise NoSections from None
            if isinstance(error, KeepsAll):
                raise
            _refuse_order(made[0].where)
    if recording.asks_for_the_end() and sum(recording.choices.values()) > _FEW_ROUNDS:
        raise EndTogether
    if not sums:
        recording.untold[MANY_WAYS] = None
    for few, takes, once in _ATTEMPTS[0 if sums else 2 :]:
        for rounds in recording.rounds_first():
            try:
                apart = _apart(recording, takes=takes, sums=few, rounds=rounds)
                return as_eager_walks(results, comparisons, apart, once=once), {}
            except TooMany:
                recording.untold[MANY_WAYS] = None
    return as_eager_walks(results, comparisons), {}


def _alike(results: Sequence[Value], recording: Recording) -> list[Value]:
    """The order of a strict program with loops of which a few rounds, which must be alike, stand on the tape."""
    comparisons, rounds = recording.comparisons, recording.loops.rounds
    if rounds.plain is None:  # otherwise another trace has shown it
        rounds.plain = recording.adds_up_as_eager(results, topological(*results, stop=comparisons))
        if not rounds.plain and recording.asks_for_the_end():
            raise EndTogether
        if not rounds.plain and not rounds.copies:
            rounds.plain, recording.untold[MANY_ROUNDS] = True, None
    if not rounds.plain:
        try:
            return as_eager_walks(results, comparisons, _apart(recording, rounds=True), once=False, alike=True)
        except TooMany:
            rounds.plain, recording.untold[MANY_ROUNDS] = True, None
    return as_eager_walks(results, comparisons)


def _with_sections(
    results: Sequence[Value], recording: Recording, made: list[Section], apart: dict[int, bool]
) -> tuple[list[Value], dict[int, list[Value]]]:
    """`strict_order` of a program with sections. Raises KeepsAll if they would be rounded in another."""
    _check_sections(results, made)
    if recording.loops.rounds.counts:
        choices = recording.choices | dict.fromkeys(recording.takes, False)
    else:  # of written rounds it is looked at how many are done
        inner = {id(x) for section in made for row in section.made for x in row}
        choices = apart = {x: rounds and x in inner for x, rounds in apart.items()}
    graph = Expanded(results, recording.comparisons, made, choices, apart)
    order, of_sections = graph.walked(results)
    if not graph.fits(order, of_sections):
        _refuse_order(made[0].where)
    return order, of_sections


def _apart(recording: Recording, *, takes: bool = True, sums: bool = True, rounds: bool = False) -> dict[int, bool]:
    """The choices, for an attempt, which adds the copies that it makes; unless `rounds`, those of loops that may be
    done are operations."""
    if recording.loops.rounds.counts and not rounds:  # of long loops, rounds must be alike
        return dict.fromkeys(recording.choices, True)
    found = recording.choices | dict.fromkeys(recording.takes if takes else (), False)
    if rounds:
        found = dict.fromkeys(found, False)
    return found if sums else {x: rounds for x, rounds in found.items() if x not in recording.sums}


def check_derivatives(calls: Calls, made: list[Section]) -> None:
    """Raise NoSections or KeepsAll if a derivative was taken inside the function through sections."""
    if len(calls.made) > len(made):
        if any(x.stops is not None for x in made):
            raise NoSections
        refuse_derivative(made[0].where)


def _check_sections(results: Sequence[Value], made: list[Section]) -> None:
    """Raise KeepsAll for sections whose order cannot be told."""
    if not made:
        return
    where = made[0].where
    if any(x.outs for x in made):
        raise KeepsAll(f"strict=True, collect=True and memory= of the loop of {where}: leave out one of the three")
    loops = [x for x in made if x.stops is None]
    at = [x for x in topological(*results) if any(x.op is y.call.op for y in loops)]
    if len(at) > len(loops) or any(all(x is not y.call for y in loops) for x in at):
        raise KeepsAll(
            f"strict=True and memory= of the loop of {where}, which is in the body of another: leave out one of the two"
        )


def _refuse_order(where: str) -> NoReturn:
    raise KeepsAll(
        f"strict=True and memory= of the loop of {where}: its derivative is not added up round by round, so that the "
        "sections would be rounded in another order. Leave out one of the two"
    )
