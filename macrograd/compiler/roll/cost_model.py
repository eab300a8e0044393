"""The cost model: which groups and loops become code, and which become data for the stream kernel.

An array instruction takes half a millisecond to compile, whatever it does. A stream record takes no compilation, but
its scalars run at half the speed or less. So a program may have as many instructions as keep their compilation short
beside its other stages: `FREE`, plus one for every `SHARE` scalars. Instructions of a loop are counted once; a group
whose members follow no pattern, and which therefore reads tables, counts as `TABLED`.

The rule: a program with more groups than that, or with more than `MOST_TINY` groups of fewer than `TINY` scalars, is
long. In a long program these become code: loops with at least `TINY` scalars per instruction, as far as the budget
allows; up to `MOST_LARGE` groups of at least `LEAST` members in a pattern, largest first; scatters; and takes with at
least `LARGE_TAKE` operands. The rest becomes data.
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
        f"a program of {scalars:,} scalars may have {budget(scalars):,} groups of equal operations ({FREE}, one more",
        f"for each {SHARE} scalars), {MOST_TINY} of them of fewer than {TINY} scalars; this one has more. Code is for",
        f"large takes, loops with at least {TINY} scalars per instruction, and the {MOST_LARGE} largest groups of",
        f"{LEAST} members or more in a pattern; the rest is data: nothing to compile, at half the speed",
    ]


def promising(
    found: list[dict[int, Candidate]], sequence: Ints, work: Ints, scalars: int
) -> list[dict[int, Candidate]]:
    """The candidates for loops, without those that are certain to become data: examining each takes time."""
    covered, total = np.zeros(len(work), dtype=bool), 0
    for candidate in (c for level in reversed(found) for c in level.values()):  # outermost first
        if not covered[candidate.first]:
            covered[candidate.first : candidate.end] = True
            total += _body(candidate, sequence)
    if total <= budget(scalars):
        return found

    def pays(c: Candidate) -> bool:
        return bool(work[c.first : c.end].sum() >= TINY * _body(c, sequence))

    return [{first: candidate for first, candidate in level.items() if pays(candidate)} for level in found]


def _body(candidate: Candidate, sequence: Ints) -> int:
    """The approximate number of instructions of the loop: in its inner loops, equal groups are written once."""
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
    """The number of instructions that these groups count as."""
    count = int(alone.sum())
    if count * TABLED > budget(scalars) >= count:  # otherwise the pattern of the members makes no difference
        many = np.flatnonzero(alone & (np.diff(groups.bounds) >= TINY))
        count += (TABLED - 1) * int((~_in_patterns(groups, many)).sum())
    return count


def _written(loop: Rolled) -> int:
    """The number of groups in a loop's body."""

    def bodies(loop: Rolled) -> Iterator[int]:
        for step in loop.body:
            yield _written(step) if isinstance(step, Rolled) else 1

    return sum(bodies(loop))


def _outside(loops: dict[int, Settled], n: int) -> NDArray[np.bool_]:
    """Which of n groups are outside all loops."""
    found = np.ones(n, dtype=bool)
    for settled in loops.values():
        found[settled.loop.first : settled.loop.end] = False
    return found


def _in_patterns(groups: Groups, which: Ints) -> NDArray[np.bool_]:
    """In which groups the first and last operands move by only one or two distances from member to member."""
    tape, slot, bounds = groups.tape, groups.layout.slot, groups.bounds

    def even(at: Ints) -> bool:
        return len(distinct(np.diff(slot[tape.operand[at]]))) <= 2

    members = [groups.order[bounds[k] : bounds[k + 1]] for k in which.tolist()]
    return np.array([even(tape.start[m]) and even(tape.start[m + 1] - 1) for m in members], dtype=bool)
