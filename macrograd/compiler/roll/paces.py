"""Paces: recurrences whose chains of operations advance at different speeds are held together, round by round.

The first level that is possible lets every chain run as fast as it can. In the derivative of a Kalman filter the mean's
adjoint needs two levels a round and the variance's nine: the one would be through when the other has done two rounds of
nine. What stands on one level then is another mixture in each round, and nothing repeats but for the least common
multiple of the two. `paced` finds the rounds where they are plain to see, in the order in which the operations were
recorded, and lets no round begin before the one before it is done.

What does not depend on the round before, such as a product with each observation, stays where it is: on one level for
all rounds, as one array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import Ints, Tape

_LONGEST = 512  # operations of a round
_LEAST_ROUNDS = 8
_PROBES = 16  # places in the tape at which rounds are looked for
_STEADY = 4  # rounds of which one level more or less is no other speed


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
        """The numbers of its operations, a row for each round."""
        return column[self.first : self.end].reshape(self.rounds, self.period)


def paced(tape: Tape, level: Ints, kind: Ints) -> Ints:
    """The first levels that are possible, `level`, or later ones where recurrences would get out of step."""
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
    """The runs whose operations advance at different speeds, and those that advance at another speed than an earlier
    one which would run at the same time. Of each, the levels of its operations are given, a row for each round."""
    found: set[Repetition] = set()
    before: list[tuple[int, int, float]] = []  # of the runs so far: first and last level, levels a round
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
    """How many levels each operation has advanced in the middle half of the rounds. What is as soon in each round as in
    all others, or follows the rounds of another run from its last to its first, advances by none or less."""
    skipped = len(grid) // 4
    found: Ints = grid[-1 - skipped] - grid[skipped]
    return found


def repetitions(kind: Ints) -> Iterator[Repetition]:
    """Runs in a sequence of kinds, from the first to the last; no two of them overlap."""
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
    """After how many operations what stands there comes again, several times over; 0 if it does not."""
    ahead = kind[at : at + _LEAST_ROUNDS * _LONGEST]
    for period in (np.flatnonzero(ahead[1 : _LONGEST + 1] == ahead[:1]) + 1).tolist():
        length = (_LEAST_ROUNDS // 2) * period
        if np.array_equal(ahead[:length], ahead[period : period + length]):
            return int(period)
    return 0


def _around(kind: Ints, at: int, period: int, least: int) -> Repetition:
    """The longest run of a period around a place, from `least` on."""
    other = np.flatnonzero(kind[:-period] != kind[period:])
    k = int(np.searchsorted(other, at))
    first = max(least, int(other[k - 1]) + 1 if k else 0)
    end = (int(other[k]) if k < len(other) else len(kind) - period) + period
    return Repetition(first, period, (end - first) // period)


def _cut(tape: Tape, entries: Ints, run: Repetition) -> Repetition:
    """The run with its rounds cut where the fewest operands lead from one round to the next."""
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
