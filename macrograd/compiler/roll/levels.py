"""Levels: which entries of a tape may run side by side.

The level of an entry is above those of its operands, so entries of one level are independent of each other. The
earliest possible level, the longest path from the leaves, is right for a net of layers. It splits groups if some
members are ready before others: in causal attention, position k takes the largest of k scores, and everything after it
is one level later with every position. Entries can wait, though, until they are needed.

`gathered` therefore lets them wait: an entry runs at its latest possible level (by the longest path to the end of the
program), together with all entries of its kind that are ready. Entries with more slack than others of their kind,
because fewer entries follow them, would run too late to join them: a second pass takes the level at which those others
ran as their latest.
"""

from __future__ import annotations

import numpy as np

from macrograd.compiler.roll.cost_model import MOST_TINY, TINY
from macrograd.compiler.roll.paces import paced
from macrograd.compiler.roll.repeats import candidates
from macrograd.compiler.tape.hashing import mix
from macrograd.compiler.tape.tape import AT_ONCE, Ints, Tape, distinct, ranges
from macrograd.compiler.tape.tape import levels as soonest

_LEAST_WIDTH = 8  # entries per level, on average; narrower programs are recurrences, whose rounds already form loops
_MANY = 64  # groups; fewer leave little to gain
_LEAST_MEMBERS = 8  # entries per group, on average; programs this scattered become data in any case
GAIN = 0.8
_MOST_TRIES = 4


def levels(tape: Tape, kind: Ints, phase: Ints) -> Ints:
    """A level for every entry, 0 for leaves. `kind` is equal for entries that can form one group if they run in the
    same phase. Of the two kinds of levels, the one with the shorter program is taken."""
    first = soonest(tape)
    if not len(first):
        return first
    if len(tape) < _LEAST_WIDTH * int(first.max()):
        return paced(tape, first, mix(kind, phase))
    computed = tape.arity > 0
    if _irregular(mix(kind[computed], phase[computed])):
        return first
    size = count_groups(tape, first, kind, phase)
    if size < _MANY or len(tape) < _LEAST_MEMBERS * size:
        return first
    alike = mix(kind, phase)
    last = np.full(len(tape), int(first.max()))
    best, least = first, int(GAIN * size)
    for _ in range(_MOST_TRIES):
        waited = gathered(tape, latest(tape, last, first), alike)
        size = count_groups(tape, waited, kind, phase)
        if size >= least:
            break
        best, least = waited, size
        last = earlier(waited, first, alike)
        if (last == waited).all():
            break
    return best


def _irregular(kind: Ints) -> bool:
    """Whether most kinds have so few members that the program becomes data in any order. Sorts the array."""
    kind.sort()
    begin = np.flatnonzero(np.append(True, kind[1:] != kind[:-1]))
    return int((np.diff(np.append(begin, len(kind))) < TINY).sum()) > MOST_TINY


def earlier(level: Ints, soonest: Ints, kind: Ints) -> Ints:
    """Levels at which a smaller group joins a larger one of its kind that runs one level earlier, if it can."""
    order = np.lexsort((level, kind))
    new_kind, new_level = (column[order][1:] != column[order][:-1] for column in (kind, level))
    begin = np.flatnonzero(np.concatenate([[True], new_kind | new_level]))
    size = np.diff(np.append(begin, len(order)))
    at = level[order[begin]]
    joins = np.append(False, ~new_kind[begin[1:] - 1] & (size[1:] < size[:-1]) & (np.diff(at) == 1))
    found = np.empty_like(level)
    found[order] = np.repeat(at - joins, size)
    return np.where(found >= soonest, found, level)


def latest(tape: Tape, last: Ints, soonest: Ints) -> Ints:
    """The latest level at which each entry may run so that all have run by level `last`."""
    level = last.copy()
    order = np.argsort(soonest, kind="stable")
    begin = np.searchsorted(soonest[order], np.arange(int(soonest.max()) + 2)).tolist()
    for now in range(len(begin) - 2, 0, -1):  # users are on higher levels than their operands
        users = order[begin[now] : begin[now + 1]]
        arity = tape.start[users + 1] - tape.start[users]
        used = tape.operand[ranges(tape.start[users], arity)]
        np.minimum.at(level, used, np.repeat(level[users] - 1, arity))
    return level


def gathered(tape: Tape, latest: Ints, kind: Ints) -> Ints:
    """Levels by the rule in the module docstring."""
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
        ready = distinct(freed)
        waiting = np.concatenate([waiting, ready[missing[ready] == 0]])
    return level


def count_groups(tape: Tape, level: Ints, kind: Ints, phase: Ints) -> int:
    """The number of groups with these levels, where a loop counts as one round."""
    computed, steps = tape.arity > 0, int(level.max()) + 1
    bits = 63 - (int(phase.max(initial=0)) * steps + steps).bit_length()
    # Sorted by phase and level, and then by as much of the kind as one number has room for.
    group = np.empty(int(computed.sum()), dtype=np.int64)
    end = 0
    for first in range(0, len(tape), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        moment = phase[some].astype(np.int64) * steps + level[some]
        found = ((moment << bits) | (kind[some] & ((1 << bits) - 1)))[computed[some]]
        group[end : end + len(found)] = found
        end += len(found)
    group.sort()
    edge = np.ones(len(group), dtype=bool)
    np.not_equal(group[1:], group[:-1], out=edge[1:])
    begin = np.flatnonzero(edge)
    sequence = mix(group[begin] & ((1 << bits) - 1), np.diff(np.append(begin, len(group))))
    return len(begin) - sum(loop.period * (loop.rounds - 1) for loop in candidates(sequence).values())
