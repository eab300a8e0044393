"""Loops over time: find runs of groups that repeat, with every operand moved by a constant number of slots.

A recurrence, a simulation, a stack of equal layers: after a few first rounds its groups come in the same sequence again
and again, and since slots are dealt out in order, what one round reads and writes lies a fixed distance behind the
round before. Candidates are found in the sequence of the groups' signatures; whether the slots agree is checked then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from macrograd.compiler.patterns import Group, group_of
from macrograd.compiler.tape import Ints, Tape

if TYPE_CHECKING:
    from macrograd.compiler.roll import Layout, Terms

_LONGEST_PERIOD = 512  # groups
_LEAST_ROUNDS = 4
_LEAST_GROUPS = 8  # in all rounds: fewer are as well written out
_MUCH_MORE = 1.5


@dataclass(frozen=True)
class Candidate:
    """Groups first … first + period·rounds - 1, the same sequence of `period` signatures `rounds` times."""

    first: int
    period: int
    rounds: int

    @property
    def groups(self) -> int:
        return self.period * self.rounds

    @property
    def end(self) -> int:
        return self.first + self.groups

    def overlap(self, other: Candidate) -> int:
        """How many groups both have."""
        return max(0, min(self.end, other.end) - max(self.first, other.first))


def candidates(signatures: Ints) -> dict[int, Candidate]:
    """Repeating runs in a sequence of signatures, by their first group; no two of them overlap.

    Shorter periods come first, so that a run is not found again as one of a multiple of its period; a longer period
    takes the place of shorter ones where it covers much more than they do.
    """
    accepted: list[Candidate] = []
    for period in range(1, min(_LONGEST_PERIOD, len(signatures) // _LEAST_ROUNDS) + 1):
        for run in _runs(signatures, period):
            trimmed = _trimmed(run, accepted)
            rivals = [other for other in accepted if trimmed.overlap(other)]
            if trimmed.rounds >= _LEAST_ROUNDS and trimmed.groups > _MUCH_MORE * sum(rival.groups for rival in rivals):
                accepted = [other for other in accepted if other not in rivals] + [trimmed]
        if sum(run.groups for run in accepted) >= 0.98 * len(signatures):
            break
    return {run.first: run for run in sorted(accepted, key=lambda run: run.first)}


def _runs(signatures: Ints, period: int) -> list[Candidate]:
    """The runs of one period."""
    equal = signatures[:-period] == signatures[period:]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], equal, [False]]).astype(np.int8)))
    return [
        Candidate(begin, period, (end - begin) // period + 1)
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        if end - begin >= max(period * (_LEAST_ROUNDS - 1), _LEAST_GROUPS - period)
    ]


def _trimmed(run: Candidate, accepted: list[Candidate]) -> Candidate:
    """The run without its ends that reach a little way into a neighbour."""
    first, end = run.first, run.end
    for other in accepted:
        if 0 < run.overlap(other) <= min(run.groups, other.groups) // 4:
            if other.first <= first:
                first = max(first, other.end)
            else:
                end = min(end, other.first)
    return Candidate(first, run.period, max(0, end - first) // run.period)


def settle(
    candidate: Candidate, bounds: list[int], order: Ints, tape: Tape, terms: Terms, layout: Layout
) -> tuple[int, int, list[Group]] | None:
    """Where in a candidate the operands really move by constants: (rounds to skip, rounds, body), or None.

    `bounds` are the positions in `order` where groups begin.
    """
    first, period, rounds = candidate.first, candidate.period, candidate.rounds
    width = bounds[first + period] - bounds[first]
    if any(bounds[first + r * period] - bounds[first] != r * width for r in (1, rounds - 1)):
        rounds = _equal_rounds(candidate, bounds, width)
        if rounds < _LEAST_ROUNDS:
            return None
    entries = order[bounds[first] : bounds[first] + rounds * width].reshape(rounds, width)
    body = [group_of(tape, terms, order[bounds[k] : bounds[k + 1]]) for k in range(first, first + period)]
    rows = _slots(entries, body, bounds, first, tape, terms, layout)
    step = np.diff(rows, axis=0)
    steady = (step[1:] == step[:-1]).all(axis=1)  # round r + 2 moves as round r + 1 did
    edges = np.flatnonzero(np.diff(np.concatenate([[False], steady, [False]]).astype(np.int8)))
    if not len(edges):
        return None
    lengths = edges[1::2] - edges[::2]
    longest = int(lengths.argmax())
    begin, count = int(edges[2 * longest]), int(lengths[longest]) + 2
    if count < _LEAST_ROUNDS:
        return None
    moved = step[begin]
    groups, column = [], 0
    at = begin * period
    for k in range(period):
        group = group_of(tape, terms, order[bounds[first + at + k] : bounds[first + at + k + 1]])
        n, width_k = group.operands.shape
        shifts = moved[column : column + n * width_k].reshape(n, width_k)
        if group.kind == "take" and (shifts[:, 1:] != shifts[:, 1:2]).any():
            return None  # what a take chooses among moves as one
        column += n * width_k
        moves = moved[column : column + n]
        column += n
        groups.append(replace(group, shifts=shifts, moves=moves, fixed=True))
    return begin, count, groups


def _equal_rounds(candidate: Candidate, bounds: list[int], width: int) -> int:
    """How many rounds from the first on have as many members in every group as the first round has."""
    first, period = candidate.first, candidate.period
    shape = [bounds[first + k] - bounds[first] for k in range(period + 1)]
    for r in range(1, candidate.rounds):
        at = first + r * period
        if [bounds[at + k] - bounds[at] for k in range(period + 1)] != shape:
            return r
    return candidate.rounds


def _slots(
    entries: Ints, body: list[Group], bounds: list[int], first: int, tape: Tape, terms: Terms, layout: Layout
) -> Ints:
    """The slots of all operands and results of every round, one row a round, in the order of the body."""
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
