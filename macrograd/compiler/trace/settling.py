"""How many rounds of a loop show what all of them do.

The program of all rounds is derived from a few of them, so these must be enough for every path through the state: a
number that enters a delay line of 20 leaves it 20 rounds later, and its derivative comes back as slowly. Earlier, the
end of the line is a constant, and programs of that few rounds fit each other perfectly, and are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

_MARGIN = 4
_MOST_WORK = 3_000_000  # bit sets joined in the search


def settled(depends: Sequence[int]) -> tuple[int, int] | None:
    """The least number of rounds, and the period, for a state whose number j depends on the numbers `depends[j]` (bits)
    of the round before; None if the search takes too long.

    After k rounds number j depends on the numbers of the first state that k steps of `depends` lead to. These sets come
    in a cycle after some rounds. That many rounds are needed forwards, and again for what flows back. If the cycle is
    longer than one round, as in a ring of 12 numbers that are handed on, how many operations lie between the first
    state and the last depends on where in it the rounds end: only programs whose rounds differ by whole periods are
    alike.
    """
    before = [[i for i in range(mask.bit_length()) if mask >> i & 1] for mask in depends]
    work = 1 + sum(map(len, before))
    now = tuple([1 << j for j in range(len(depends))])
    seen = {now: 0}
    while True:
        if work * len(seen) > _MOST_WORK:
            return None
        joined = []
        for some in before:
            found = 0
            for i in some:
                found |= now[i]
            joined.append(found)
        now = tuple(joined)
        if now in seen:
            return 2 * len(seen) + _MARGIN, len(seen) - seen[now]
        seen[now] = len(seen)
