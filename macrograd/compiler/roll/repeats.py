"""Repeats: runs of groups whose signatures repeat in the same sequence, the candidates for loops.

A run of candidates may itself repeat: a simulation with an observation every twentieth step, an iteration within each
step of another. `nested` therefore looks for candidates among candidates.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.tape.tape import Ints, distinct

LEAST_ROUNDS = 4
_LONGEST_PERIOD = 512  # groups
_LEAST_GROUPS = 8  # in all rounds: fewer are just as well unrolled
_SHORT = 1 << 13  # groups of a sequence
_MUCH_MORE = 1.5
_DEEPEST = 3


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
        """The number of groups that both contain."""
        return max(0, min(self.end, other.end) - max(self.first, other.first))


def candidates(signatures: Ints) -> dict[int, Candidate]:
    """Non-overlapping repeating runs in a sequence of signatures, by their first group.

    Shorter periods come first, so that a run is not found again with a multiple of its period; a longer period replaces
    shorter ones if it covers much more than they do.
    """
    accepted: dict[int, Candidate] = {}
    owner = np.full(len(signatures), -1)  # the key of the candidate that contains a group
    for period in _periods(signatures):
        runs = _candidates(signatures, period)
        for run in runs:
            rivals = {key: accepted[key] for key in distinct(owner[run.first : run.end]).tolist() if key >= 0}
            trimmed = _trimmed(run, rivals.values())
            rivals = {key: rival for key, rival in rivals.items() if trimmed.overlap(rival)}
            covered = sum(rival.groups for rival in rivals.values())
            if trimmed.rounds >= LEAST_ROUNDS and trimmed.groups > _MUCH_MORE * covered:
                for key, rival in rivals.items():
                    owner[rival.first : rival.end] = -1
                    del accepted[key]
                owner[trimmed.first : trimmed.end] = trimmed.first
                accepted[trimmed.first] = trimmed
        if runs and (owner >= 0).sum() >= 0.98 * len(signatures):
            break
    return dict(sorted(accepted.items()))


def nested(signatures: Ints) -> list[dict[int, Candidate]]:
    """Candidates among the groups, then candidates whose rounds contain those of the level before, as long as there are
    any; all by their first group."""
    found = [candidates(signatures)]
    inner, sequence, begin = found[0], signatures, np.arange(len(signatures) + 1)  # in items of one or more groups
    while inner and len(found) < _DEEPEST:
        kept = np.ones(len(sequence), dtype=bool)
        sequence = sequence.copy()
        for run in inner.values():
            kept[run.first + 1 : run.end] = False
            sequence[run.first] = hash((run.rounds, *sequence[run.first : run.first + run.period].tolist()))
        loop = np.zeros(len(sequence) + 1, dtype=np.int64)
        loop[[run.first + 1 for run in inner.values()]] = 1
        loops_before = np.append(np.cumsum(loop[:-1])[kept], len(inner))
        sequence, begin = sequence[kept], np.append(begin[:-1][kept], begin[-1])
        runs = candidates(sequence).values()
        inner = {run.first: run for run in runs if loops_before[run.first + run.period] > loops_before[run.first]}
        if inner:
            firsts = {run: begin[[run.first, run.first + run.period]].tolist() for run in inner.values()}
            found.append({a: Candidate(a, b - a, run.rounds) for run, (a, b) in firsts.items()})
    return found


def _periods(signatures: Ints) -> Iterable[int]:
    """The periods that runs may have. Of a short sequence those for which two of a few groups are equal, one of which
    is in every run: NumPy's calls for each period would take longer than what they do."""
    longest = min(_LONGEST_PERIOD, len(signatures) // LEAST_ROUNDS)
    if not longest or len(signatures) > _SHORT:
        return range(1, longest + 1)
    periods = np.arange(1, longest + 1)
    step = np.maximum(periods * (LEAST_ROUNDS - 1), _LEAST_GROUPS - periods)
    count = (len(signatures) - periods - 1) // step + 1
    period = np.repeat(periods, count)
    place = np.repeat(step, count) * (np.arange(len(period)) - np.repeat(np.cumsum(count) - count, count))
    found: list[int] = distinct(period[signatures[place] == signatures[place + period]]).tolist()
    return found


def _candidates(signatures: Ints, period: int) -> list[Candidate]:
    """The runs of one period."""
    least = max(period * (LEAST_ROUNDS - 1), _LEAST_GROUPS - period)
    before, after = signatures[:-period], signatures[period:]
    if not (before[::least] == after[::least]).any():  # a run of this length contains one of these
        return []
    same = np.zeros(len(before) + 2, dtype=bool)
    same[1:-1] = before == after
    edges = np.flatnonzero(same[1:] != same[:-1])
    begin, end = edges[::2], edges[1::2]
    long = end - begin >= least
    return [
        Candidate(first, period, (last - first) // period + 1)
        for first, last in zip(begin[long].tolist(), end[long].tolist(), strict=True)
    ]


def _trimmed(run: Candidate, others: Iterable[Candidate]) -> Candidate:
    """The run without ends that overlap a neighbour a little."""
    first, end = run.first, run.end
    for other in others:
        if 0 < run.overlap(other) <= min(run.groups, other.groups) // 4:
            if other.first <= first:
                first = max(first, other.end)
            else:
                end = min(end, other.first)
    return Candidate(first, run.period, max(0, end - first) // run.period)
