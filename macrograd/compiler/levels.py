"""Levels: which entries of a tape may run side by side.

The level of an entry is above those of its operands, so entries of one level are independent of each other. The first
level that is possible, the longest path from the leaves, is right for a net of layers. It tears apart what belongs
together where some members are ready before others: in causal attention, position k takes the largest of k scores, and
all that follows is one level later for every position. Entries have time, though, until somebody needs them.

`gathered` therefore lets them wait: an entry runs when its last moment has come (the longest path to the end of the
program), and all others like it that are ready run with it.
"""

from __future__ import annotations

import numpy as np

from macrograd.compiler.tape import Ints, Tape, ranges
from macrograd.compiler.tape import levels as soonest

_LEAST_WIDTH = 8  # entries per level, on average; narrower programs are recurrences, whose rounds are loops as they are
_MANY = 64  # groups; with fewer there is little to gain
_GAIN = 0.8


def levels(tape: Tape, kind: Ints) -> Ints:
    """A level for every entry, 0 for leaves. `kind` is equal for entries that can be one group."""
    first = soonest(tape)
    if not len(first) or len(tape) < _LEAST_WIDTH * int(first.max()):
        return first
    before = _groups(tape, first, kind)
    if before < _MANY:
        return first
    late = gathered(tape, latest(tape, int(first.max())), kind)
    return late if _groups(tape, late, kind) < _GAIN * before else first


def latest(tape: Tape, last: int) -> Ints:
    """The last level at which each entry may run if the program is to end at level `last`."""
    level = [last + 1] * len(tape)
    operand, start = tape.operand.tolist(), tape.start.tolist()
    for i in range(len(tape) - 1, -1, -1):
        before = level[i] = level[i] - 1
        for k in operand[start[i] : start[i + 1]]:
            if level[k] > before:
                level[k] = before
    return np.asarray(level, dtype=np.int64)


def gathered(tape: Tape, latest: Ints, kind: Ints) -> Ints:
    """Levels by the rule of this module's beginning."""
    n = len(tape)
    level = np.zeros(n, dtype=np.int64)
    computed = tape.arity > 0
    inner = computed[tape.operand]
    user, used = tape.owner[inner], tape.operand[inner]
    by_operand = np.argsort(used, kind="stable")
    user = user[by_operand]
    begin = np.searchsorted(used[by_operand], np.arange(n + 1))
    missing = np.bincount(user, minlength=n)  # operands that are not computed yet
    _, kind = np.unique(kind, return_inverse=True)
    due = np.zeros(int(kind.max()) + 1, dtype=bool)
    waiting = np.flatnonzero(computed & (missing == 0))
    for now in range(1, int(latest.max()) + 1):
        due[:] = False
        due[kind[waiting[latest[waiting] == now]]] = True
        runs = due[kind[waiting]]
        done, waiting = waiting[runs], waiting[~runs]
        level[done] = now
        freed = user[ranges(begin[done], begin[done + 1] - begin[done])]
        np.subtract.at(missing, freed, 1)
        ready = np.unique(freed)
        waiting = np.concatenate([waiting, ready[missing[ready] == 0]])
    return level


def _groups(tape: Tape, level: Ints, kind: Ints) -> int:
    """How many groups there are with these levels."""
    computed = tape.arity > 0
    order = np.lexsort((kind[computed], level[computed]))
    a, b = kind[computed][order], level[computed][order]
    return int(np.sum((a[1:] != a[:-1]) | (b[1:] != b[:-1]))) + 1
