"""Loops over time: find runs of groups that repeat, with every operand moved by a constant number of slots.

A recurrence, a simulation, a stack of equal layers: after a few first rounds its groups repeat in the same sequence,
and since slots are assigned in order, the slots that one round reads and writes are a fixed distance after those of the
round before. Candidates are found in the sequence of the groups' signatures; then their slots are checked.

A run of candidates may itself repeat: a simulation with an observation every twentieth step, an iteration within each
step of another. `candidates` are then found among candidates, and a loop has loops in its body.

A `Rolled` and its `Group`s are not yet steps of a program, so `program.walk` does not apply to them; the three places
that tell them apart do so themselves, which is shorter than a second walker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.roll.groups import Group, Groups
from macrograd.compiler.roll.repeats import LEAST_ROUNDS, Candidate
from macrograd.compiler.tape.tape import Ints

_SHORT = 64


@dataclass(frozen=True)
class Rolled:
    """A loop: `rounds` of the steps `body`, which replace the groups first … end - 1.

    A group's `shifts` and `moves` tell how it moves with the rounds of every loop around it.
    """

    first: int
    end: int
    rounds: int
    body: tuple[Group | Rolled, ...]

    def head(self) -> Group:
        """Its first group."""
        step = self.body[0]
        return step.head() if isinstance(step, Rolled) else step


@dataclass(frozen=True)
class Settled:
    """A candidate, the depth of the candidates nested in it, and the loop that it became."""

    candidate: Candidate
    depth: int
    loop: Rolled


def rolled(groups: Groups, found: list[dict[int, Candidate]]) -> dict[int, Settled]:
    """Loops from the candidates whose slots agree, by their first group; of nested ones the outermost."""
    taken = np.zeros(len(groups.bounds), dtype=bool)
    loops: dict[int, Settled] = {}
    for depth in range(len(found) - 1, -1, -1):
        left = list(found[depth].values())
        while left:
            candidate = left.pop()
            if taken[candidate.first : candidate.end].any():
                left += _free(candidate, taken, groups.least_inside)
                continue
            loop = roll_up(groups, candidate, found[:depth])
            if loop is not None:
                loops[loop.first] = Settled(candidate, depth, loop)
                taken[loop.first : loop.end] = True
                if loop.end - loop.first >= groups.least_inside:  # the rest of the candidate has no longer runs
                    left += _free(candidate, taken, groups.least_inside)
    return loops


def _free(candidate: Candidate, taken: NDArray[np.bool_], least: int) -> Iterator[Candidate]:
    """The rounds of a candidate before and after the groups that are taken, if there are enough."""
    period = candidate.period
    inside = np.flatnonzero(taken[candidate.first : candidate.end])
    before, behind = int(inside[0]) // period, -(-(int(inside[-1]) + 1) // period)
    for first, end in ((0, before), (behind, candidate.rounds)):
        if end - first >= LEAST_ROUNDS and (end - first) * period >= least:
            yield Candidate(candidate.first + first * period, period, end - first)


def settled_again(groups: Groups, found: list[dict[int, Candidate]], settled: Settled, first: int) -> Settled | None:
    """The loop that was to begin at group `first`, recomputed after slots were reassigned; None if there is none
    now."""
    past = (first - settled.candidate.first) // settled.candidate.period
    rest = replace(settled.candidate, first=first, rounds=settled.candidate.rounds - past)
    loop = roll_up(groups, rest, found[: settled.depth])
    return None if loop is None else replace(settled, loop=loop)


def roll_up(groups: Groups, candidate: Candidate, inner: list[dict[int, Candidate]]) -> Rolled | None:
    """A candidate as a loop, with those of the `inner` candidates in its body that are loops there."""
    found = settle(candidate, groups)
    if found is None:
        return None
    used, (skip, rounds, body) = found
    first, end = (used.first + r * used.period for r in (skip, skip + rounds))
    return Rolled(first, end, rounds, tuple(_with_loops(groups, first, body, _within(candidate, used, first, inner))))


def _within(
    candidate: Candidate, used: Candidate, first: int, inner: list[dict[int, Candidate]]
) -> list[dict[int, Candidate]]:
    """The candidates for loops in a body that starts at group `first`."""
    if used.period == candidate.period:
        return inner
    return [*inner, {first: Candidate(first, candidate.period, used.period // candidate.period)}]


def _with_loops(
    groups: Groups, first: int, body: list[Group], inner: list[dict[int, Candidate]]
) -> Iterator[Group | Rolled]:
    """The groups of a body that starts at group `first`, with loops in place of those that repeat."""
    k = 0
    while k < len(body):
        for depth in range(len(inner) - 1, -1, -1):
            candidate = inner[depth].get(first + k)
            if candidate is None or candidate.groups < groups.least_inside or candidate.end > first + len(body):
                continue
            found = settle(candidate, groups)
            if found is None:
                continue
            used, (skip, rounds, steps) = found
            begin = used.first - first + skip * used.period
            end = begin + rounds * used.period
            if not _alike(body[begin:end], used.period):
                continue
            yield from body[k:begin]
            steps = [_also(around, step) for around, step in zip(body[begin:], steps, strict=False)]
            at = first + begin
            deeper = _within(candidate, used, at, inner[:depth])
            yield Rolled(at, first + end, rounds, tuple(_with_loops(groups, at, steps, deeper)))
            k = end
            break
        else:
            yield body[k]
            k += 1


def _alike(body: list[Group], period: int) -> bool:
    """Whether the groups of all rounds of an inner loop move equally with the loops around it."""
    return all(
        np.array_equal(a.shifts, b.shifts) and np.array_equal(a.moves, b.moves)
        for a, b in zip(body, body[period:], strict=False)
    )


def _also(around: Group, step: Group) -> Group:
    """The group, also moving with the loops around its own."""
    shifts = np.concatenate([around.shifts, step.shifts], axis=2)
    return replace(step, shifts=shifts, moves=np.concatenate([around.moves, step.moves], axis=1))


Steady = tuple[int, int, list[Group]]  # rounds to skip, rounds, body


def settle(candidate: Candidate, groups: Groups) -> tuple[Candidate, Steady] | None:
    """The part of a candidate in which all operands move by constants, or None. If they do so only over several rounds
    at a time, these together may be one round of a loop; then the candidate returned is the one with that longer
    period."""
    found, beat = steadiest(candidate, groups)
    if beat is not None:
        offset, rounds = beat
        longer = Candidate(
            candidate.first + offset * candidate.period,
            rounds * candidate.period,
            (candidate.rounds - offset) // rounds,
        )
        if longer.rounds >= LEAST_ROUNDS:
            outer, _ = steadiest(longer, groups)
            if outer is not None and (found is None or outer[1] * rounds > found[1]):
                return longer, outer
    return None if found is None else (candidate, found)


def steadiest(candidate: Candidate, groups: Groups) -> tuple[Steady | None, tuple[int, int] | None]:
    """The longest run of rounds in a candidate whose operands move by constants; and, if that is less than half of
    them, the first round and the length of a longer period that repeats instead, if there is one."""
    rows = _rows(candidate, groups)
    if rows is None:
        return None, None
    begin, count = max(_steady(rows), key=lambda run: run[1], default=(0, 0))
    beat = None if 2 * count > len(rows) else _beat(rows)
    if count < LEAST_ROUNDS:
        return None, beat
    moved = rows[begin + 1] - rows[begin]
    body, column = [], 0
    at = candidate.first + begin * candidate.period
    for k in range(candidate.period):
        group = groups.group(at + k)
        n, width_k = group.operands.shape
        shifts = moved[column : column + n * width_k].reshape(n, width_k, 1)
        if group.kind == "take" and (shifts[:, 1:] != shifts[:, 1:2]).any():
            return None, beat  # the values of a take move as one
        column += n * width_k
        moves = moved[column : column + n, None]
        column += n
        body.append(replace(group, shifts=shifts, moves=moves, fixed=True))
    return (begin, count, body), beat


def _rows(candidate: Candidate, groups: Groups) -> Ints | None:
    """The slots of all operands and results, one row per round; None if too few rounds have the same size."""
    bounds, order = groups.bounds, groups.order
    first, period, rounds = candidate.first, candidate.period, candidate.rounds
    width = bounds[first + period] - bounds[first]
    if any(bounds[first + r * period] - bounds[first] != r * width for r in (1, rounds - 1)):
        rounds = _equal_rounds(candidate, bounds, width)
        if rounds < LEAST_ROUNDS:
            return None
    entries = order[bounds[first] : bounds[first] + rounds * width].reshape(rounds, width)
    return _result_slots(entries, [groups.group(k) for k in range(first, first + period)], groups, first)


def _steady(rows: Ints) -> list[tuple[int, int]]:
    """Runs of rounds that move by constants: the start and length of each."""
    step = np.diff(rows, axis=0)
    steady = (step[1:] == step[:-1]).all(axis=1)  # round r + 2 moves as round r + 1 did
    edges = np.flatnonzero(np.diff(np.concatenate([[False], steady, [False]]).astype(np.int8)))
    begin, end = edges[::2], edges[1::2]
    return list(zip(begin.tolist(), (end - begin + 2).tolist(), strict=True))


def _beat(slots: Ints) -> tuple[int, int] | None:
    """The number of rounds after which the slots have moved by constants, if they do not from each round to the next,
    and the round at which such a period starts: after the longest stretch in which every round moves like the one
    before."""
    # A linear hash: a relation between the hashes of rounds holds between all their slots.
    place = slots @ (np.arange(1, slots.shape[1] + 1) * 0x1E3779B97F4A7C15 | 1)
    changed = np.flatnonzero(place[2:] - 2 * place[1:-1] + place[:-2])
    if not len(changed):
        return None
    middle = int(changed[len(changed) // 2])
    longest = len(place) // LEAST_ROUNDS
    distances = changed[(changed > middle + _SHORT) & (changed <= middle + longest)][:_SHORT] - middle
    for rounds in [*range(2, min(_SHORT, longest + 1)), *distances.tolist()]:
        twice = place[2 * rounds :] - 2 * place[rounds:-rounds] + place[: -2 * rounds]
        if 4 * np.count_nonzero(twice) <= len(changed):
            around = changed[(changed >= middle) & (changed <= middle + rounds)]
            widest = int(np.diff(around).argmax()) if len(around) > 1 else 0
            return (int(around[widest]) + 1) % rounds, rounds
    return None


def _equal_rounds(candidate: Candidate, bounds: list[int], width: int) -> int:
    """The number of leading rounds whose groups all have as many members as in the first round."""
    first, period = candidate.first, candidate.period
    shape = [bounds[first + k] - bounds[first] for k in range(period + 1)]
    for r in range(1, candidate.rounds):
        at = first + r * period
        if [bounds[at + k] - bounds[at] for k in range(period + 1)] != shape:
            return r
    return candidate.rounds


def _result_slots(entries: Ints, body: list[Group], groups: Groups, first: int) -> Ints:
    """The slots of all operands and results, one row per round, in the order of the body."""
    tape, terms, layout, bounds = groups.tape, groups.terms, groups.layout, groups.bounds
    parts = []
    for k, group in enumerate(body):
        begin = bounds[first + k] - bounds[first]
        members = entries[:, begin : begin + len(group.members)]
        if len(group.kinds):
            at = terms.start[members][:, :, None] + np.arange(len(group.kinds))
            left, right = terms.left[at], terms.right[at]
            operands = np.concatenate([np.where(left < 0, 0, layout.slot[left]), layout.slot[right]], axis=2)
        else:
            columns = np.arange(group.operands.shape[1])
            operands = layout.slot[tape.operand[tape.start[members][:, :, None] + columns]]
        parts.append(operands.reshape(len(entries), -1))
        parts.append(layout.slot[members])
    return np.concatenate(parts, axis=1)
