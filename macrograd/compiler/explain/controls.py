"""What became of the loops and branches that a function has, and of calls that wrote many operations, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from macrograd.compiler.explain.words import plural
from macrograd.compiler.trace.controls import Control, Written
from macrograd.compiler.trace.sections import Plan

_MOST_LINES = 16
_AGAIN = ("once", "twice", *(f"{k} times" for k in range(3, 8)))


def described(controls: Sequence[Control | Written], batch: bool) -> list[str]:
    """A line for each loop and branch, and then for each call of `linalg`, `random` or `custom`; those that are alike
    share one."""
    calls: dict[tuple[str, str], list[int]] = {}
    for x in controls:
        if isinstance(x, Written):
            calls.setdefault((x.what, x.where), []).append(x.scalars)
    rest = [x for x in controls if not isinstance(x, Written)]
    found = Counter(_branch(x, batch) if x.what == "branch" else _loop(x, batch) for x in rest)
    lines = [text + (f" ({times} times)" if times > 1 else "") for text, times in found.items()]
    told = [_call(what, where, scalars) for (what, where), scalars in calls.items()]
    return [*_first(lines, "more loops or branches"), *_first(told, "more such calls")]


def _first(lines: list[str], others: str) -> list[str]:
    more = len(lines) - _MOST_LINES
    return lines if more <= 0 else [*lines[:_MOST_LINES], f"… and {more:,} {others}"]


def _call(what: str, where: str, scalars: list[int]) -> str:
    at, times = f", at {where}" if where else "", len(scalars)
    often = f"{plural(times, 'call')} of {what}" if times > 1 else what
    if not any(scalars):
        return f"{often}{at}: computed while the function was traced, and nothing of it recorded"
    return f"{often}{at}: recorded as {plural(sum(scalars), 'scalar')}, and rolled like everything else"


def _branch(x: Control, batch: bool) -> str:
    if x.plan is None:
        return f"the branch {x.where}: always computed, and chosen where it is taken"
    return f"the branch {x.where}: computed only if it is taken" + (" by a sample of the block" if batch else "")


def _loop(x: Control, batch: bool) -> str:
    what, _, again = x.what.partition(" ")
    name = f"implicit() for {x.where}" if what == "implicit" else f"the {what} of {x.where}"
    stops, rounds = what != "loop", plural(x.count, "round")
    if again:
        name += " once more, with the rounds that are done at the end, to add up as the eager engine does"
    if x.plan is not None:
        done = f"once {'all samples of a block are' if batch else 'it is'} done"
        return name + _in_sections(x.plan, f"none is begun {done}" if stops else "")
    if x.written < x.count:
        text = f"{name}: traced once, and the program of its {rounds} told from that of {x.written:,}"
    else:
        text = f"{name}: its {rounds} {'is' if x.count == 1 else 'are'} written out, and rolled like everything else"
    unused = "those before them" if again else "those after its end"
    return text + (f"; {unused} change nothing" if stops else "")


def _in_sections(plan: Plan, ends: str) -> str:
    """What follows the name of a loop that has sections."""
    if plan.rounds > 1:
        kept, again = plan.count // prod(plan.groups) + sum(plan.groups), _AGAIN[len(plan.groups)]
        return (
            f", in {plan.count:,} sections of {plan.rounds:,} rounds{f', of which {ends},' if ends else ','} keeps the "
            f"state before {kept:,} of these; a derivative computes its rounds again {again}"
        )
    if ends:
        return f": at most {plural(plan.count, 'round')}, of which {ends}"
    return (
        f", whose {plan.count:,} rounds cannot be told from a few, keeps the state before each; a derivative computes "
        "its rounds again once"
    )
