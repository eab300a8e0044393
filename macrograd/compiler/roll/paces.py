"""Paces: keeps recurrences together, round by round, whose chains of operations advance at different speeds.

The earliest possible level lets every chain run as fast as it can. In the derivative of a Kalman filter, the mean's
adjoint takes two levels per round and the variance's nine: the first would be finished when the second has done two
rounds of nine. The mixture of operations on a level then differs from round to round, and repeats only with the least
common multiple of the two. `paced` finds the rounds where they are obvious, in the order of recording, and starts no
round before the previous one is done.

Operations that do not depend on the previous round, such as a product with each observation, stay where they are: on
one level for all rounds, as one array.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import Ints, Tape

_LONGEST = 512  # operations in a round
_LEAST_ROUNDS = 8
_PROBES = 16  # places in the tape where rounds are searched for
_STEADY = 4  # rounds over which a difference of one level does not count as another speed


@dataclass(frozen=True)
class Repetition:
    """The operations first … first + period·rounds - 1, the same sequence `rounds` times."""

    first: int
    period: int
    rounds: int

    @property
    def end(self) -> int:
        return self.first + self.period * self.rounds

    def grid(self, column: Ints) -> Ints:
        """The indices of its operations, one row per round."""
        return column[self.first : self.end].reshape(self.rounds, self.period)


def paced(tape: Tape, level: Ints, kind: Ints) -> Ints:
    """The earliest levels, `level`, or later ones where recurrences would get out of step."""
    entries = np.flatnonzero(tape.arity > 0)
    runs = [_cut(tape, entries, run) for run in repetitions(kind[entries])]
    held, opens = np.zeros(len(tape), dtype=np.int64), np.zeros(len(tape), dtype=np.int64)
    step = (tape.arity > 0).astype(np.int64)
    slow: set[Repetition] = set()
    while more := _out_of_step([(run, run.grid(level[entries])) for run in runs]) - slow:
        for run in more:
            places = run.grid(entries)
            held[places[:, _growth(run.grid(level[entries])) > 0]] = 1
            opens[places[:, 0]] = 1
        slow |= more
        level = walks.in_rounds(tape.start, tape.operand, step, held, opens)
    return level


def _out_of_step(runs: list[tuple[Repetition, Ints]]) -> set[Repetition]:
    """The runs whose operations advance at different speeds, and those whose speed differs from an earlier run on the
    same levels. Each comes with the levels of its operations, one row per round."""
    found: set[Repetition] = set()
    before: list[tuple[int, int, float]] = []  # of the runs so far: first and last level, levels per round
    for run, grid in runs:
        grown = _growth(grid)
        moving = grown > 0
        if not moving.any():
            continue
        between = run.rounds - 1 - 2 * (run.rounds // 4)
        pace = int(grown.max()) / between
        low, high = int(grid[:, moving].min()), int(grid[:, moving].max())
        if pace - int(grown[moving].min()) / between > 1 / _STEADY or any(
            low <= other_high and other_low <= high and abs(pace - other) > 1 / _STEADY
            for other_low, other_high, other in before
        ):
            found.add(run)
        before.append((low, high, pace))
    return found


def _growth(grid: Ints) -> Ints:
    """The levels by which each operation advances over the middle half of the rounds. An operation that is equally
    early in all rounds, or follows the rounds of another run backwards, advances by 0 or less."""
    skipped = len(grid) // 4
    found: Ints = grid[-1 - skipped] - grid[skipped]
    return found


def repetitions(kind: Ints) -> Iterator[Repetition]:
    """Non-overlapping runs in a sequence of kinds, in order."""
    found: list[Repetition] = []
    for probe in np.linspace(0, len(kind), _PROBES + 1, dtype=int)[:-1].tolist():
        if found and probe < found[-1].end:
            continue
        period = _period(kind, probe)
        if period:
            run = _around(kind, probe, period, found[-1].end if found else 0)
            if run.rounds >= _LEAST_ROUNDS:
                found.append(run)
    yield from found


def _period(kind: Ints, at: int) -> int:
    """The number of operations after which the sequence at this place repeats several times; 0 if it does not."""
    ahead = kind[at : at + _LEAST_ROUNDS * _LONGEST]
    for period in (np.flatnonzero(ahead[1 : _LONGEST + 1] == ahead[:1]) + 1).tolist():
        length = (_LEAST_ROUNDS // 2) * period
        if np.array_equal(ahead[:length], ahead[period : period + length]):
            return int(period)
    return 0


def _around(kind: Ints, at: int, period: int, least: int) -> Repetition:
    """The longest run of a period around a place, starting at `least` or later."""
    other = np.flatnonzero(kind[:-period] != kind[period:])
    k = int(np.searchsorted(other, at))
    first = max(least, int(other[k - 1]) + 1 if k else 0)
    end = (int(other[k]) if k < len(other) else len(kind) - period) + period
    return Repetition(first, period, (end - first) // period)


def _cut(tape: Tape, entries: Ints, run: Repetition) -> Repetition:
    """The run with its rounds cut where the fewest operands cross from one round to the next."""
    begin = run.first + run.rounds // 2 * run.period
    some = entries[begin : begin + run.period]
    number = np.cumsum(tape.arity > 0) - 1
    owner = np.repeat(np.arange(run.period), tape.arity[some])
    at = np.concatenate([tape.operand[tape.start[i] : tape.start[i + 1]] for i in some.tolist()])
    far = begin + owner - number[at]
    near = (tape.arity[at] > 0) & (far <= 2 * run.period)
    crossed = np.zeros(run.period, dtype=np.int64)  # of the edge in front of each place
    for place, distance in zip(owner[near].tolist(), far[near].tolist(), strict=True):
        np.add.at(crossed, (place - np.arange(distance)) % run.period, 1)
    shift = int(np.argmin(crossed))
    return Repetition(run.first + shift, run.period, run.rounds - (shift > 0))
