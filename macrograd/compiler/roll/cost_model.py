"""The cost model: which groups and loops become code, and which become data for the kernel of streams.

An array instruction costs half a millisecond to compile, whatever it does. A record of a stream costs nothing to
compile, and its scalars run at half the speed or less. So a program may have so many instructions as stay small beside
the rest of its way to code: `FREE`, and one more for every `SHARE` scalars. Instructions are counted as they are
written down, those of a loop once; a group whose members lie in no pattern, and which therefore reads tables, counts
for `TABLED` of them.

The rule: a program with more groups than that, or with more than `MOST_TINY` of fewer than `TINY` scalars, is long.
Of a long program code are loops with `TINY` scalars or more for each instruction, as far as the number allows it; up to
`MOST_LARGE` groups of `LEAST` members or more in a pattern, the largest first; scatters, and takes with `LARGE_TAKE`
operands or more. The rest is data.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.roll.groups import Groups
from macrograd.compiler.roll.loops import Rolled, Settled
from macrograd.compiler.roll.repeats import Candidate
from macrograd.compiler.tape.tape import SCATTER, Ints, distinct

FREE = 192
SHARE = 256
MOST_TINY = 96
TABLED = 2
TINY = 16
MOST_LARGE = 128
LEAST = 64
LARGE_TAKE = 1024


def budget(scalars: int) -> int:
    """The largest number of instructions for a program of this many scalars."""
    return FREE + scalars // SHARE


def rule(scalars: int) -> list[str]:
    """The rule in words, for a program of this many scalars."""
    return [
        f"a program of {scalars:,} scalars may have {budget(scalars):,} groups of like operations ({FREE}, and one for",
        f"each {SHARE} scalars), {MOST_TINY} of them with fewer than {TINY} scalars; this one has more. Code are then",
        f"large takes, loops with {TINY} scalars or more for each instruction, and the {MOST_LARGE} largest groups of",
        f"{LEAST} members or more in a pattern; the rest is data: nothing to compile, at half the speed",
    ]


def promising(
    found: list[dict[int, Candidate]], sequence: Ints, work: Ints, scalars: int
) -> list[dict[int, Candidate]]:
    """The candidates for loops, without those that are sure to be data: looking into each takes its time."""
    covered, total = np.zeros(len(work), dtype=bool), 0
    for candidate in (c for level in reversed(found) for c in level.values()):  # the outermost first
        if not covered[candidate.first]:
            covered[candidate.first : candidate.end] = True
            total += _body(candidate, sequence)
    if total <= budget(scalars):
        return found

    def pays(c: Candidate) -> bool:
        return bool(work[c.first : c.end].sum() >= TINY * _body(c, sequence))

    return [{first: candidate for first, candidate in level.items() if pays(candidate)} for level in found]


def _body(candidate: Candidate, sequence: Ints) -> int:
    """About how many instructions the loop would be: in loops of its own, groups that are alike are written once."""
    return len(distinct(sequence[candidate.first : candidate.first + candidate.period]))


def select(
    groups: Groups, loops: dict[int, Settled], work: Ints, scalars: int
) -> tuple[dict[int, Settled], NDArray[np.bool_]]:
    """The loops that become code, and which of the groups outside of them do."""
    size, code = {k: _written(settled.loop) for k, settled in loops.items()}, np.ones(len(work), dtype=bool)
    alone = _outside(loops, len(work))
    tiny = int((work[alone] < TINY).sum())
    if tiny <= MOST_TINY and sum(size.values()) + _instructions(groups, alone, scalars) <= budget(scalars):
        return loops, code
    value = {k: int(work[settled.loop.first : settled.loop.end].sum()) / size[k] for k, settled in loops.items()}
    kept, room = dict[int, Settled](), budget(scalars)
    for k in sorted(loops, key=lambda k: -value[k]):
        if value[k] >= TINY and room >= size[k]:
            kept[k] = loops[k]
            room -= size[k]
    sizes = np.diff(groups.bounds)
    members = np.where(_outside(kept, len(work)), sizes, 0)
    large = np.flatnonzero(members >= LEAST)
    members[large[~_in_patterns(groups, large)]] = 0
    least = np.sort(members)[::-1][MOST_LARGE] + 1 if len(members) > MOST_LARGE else 1
    heads = groups.order[groups.bounds[:-1]]
    takes = (groups.tape.code[heads] == ops.take.code) & (sizes * groups.tape.arity[heads] >= LARGE_TAKE)
    return kept, (members >= max(LEAST, least)) | takes | (groups.tape.code[heads] == SCATTER)


def _instructions(groups: Groups, alone: NDArray[np.bool_], scalars: int) -> int:
    """How many instructions these groups count for."""
    count = int(alone.sum())
    if count * TABLED > budget(scalars) >= count:  # otherwise it makes no difference where the members lie
        many = np.flatnonzero(alone & (np.diff(groups.bounds) >= TINY))
        count += (TABLED - 1) * int((~_in_patterns(groups, many)).sum())
    return count


def _written(loop: Rolled) -> int:
    """How many groups a loop's body writes down."""

    def bodies(loop: Rolled) -> Iterator[int]:
        for step in loop.body:
            yield _written(step) if isinstance(step, Rolled) else 1

    return sum(bodies(loop))


def _outside(loops: dict[int, Settled], n: int) -> NDArray[np.bool_]:
    """Which of n groups are in none of the loops."""
    found = np.ones(n, dtype=bool)
    for settled in loops.values():
        found[settled.loop.first : settled.loop.end] = False
    return found


def _in_patterns(groups: Groups, which: Ints) -> NDArray[np.bool_]:
    """Of which groups the first and the last operands move by one or two distances from member to member."""
    tape, slot, bounds = groups.tape, groups.layout.slot, groups.bounds

    def even(at: Ints) -> bool:
        return len(distinct(np.diff(slot[tape.operand[at]]))) <= 2

    members = [groups.order[bounds[k] : bounds[k + 1]] for k in which.tolist()]
    return np.array([even(tape.start[m]) and even(tape.start[m + 1] - 1) for m in members], dtype=bool)
