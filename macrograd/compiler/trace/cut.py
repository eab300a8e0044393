"""Cut the sections of loops out of a tape: each becomes a tape, and in the function's own tape one call.

The entries of a section use the state before it, its own leaves, and entries from outside. In its tape these are
inputs, in this order:

    state, outside, the numbers of its rounds, the elements that it reads (round by round for each read)

The operands of the call are the state, the entries from outside, and those of its reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import CALL, CONSTANT, INPUT, OUT, PARAMETER, Ints, Tape
from macrograd.compiler.trace.sections import Section

Bools = NDArray[np.bool_]
_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class SectionTape:
    """One section: its results are the state after it.

    outside  how many inputs come from outside
    """

    tape: Tape
    section: Section
    outside: int

    @property
    def state(self) -> int:
        return len(self.section.before)


@dataclass(frozen=True)
class _Part:
    """The entries of a section on the function's tape; `rows` by round."""

    before: Ints
    after: Ints
    rows: list[Ints]
    leaves: Ints
    reads: Ints

    @property
    def made(self) -> Ints:
        return np.concatenate([_NONE, *self.rows])


def cut(tape: Tape, sections: Sequence[Section], strict: bool) -> tuple[Tape, list[SectionTape]]:
    """The function's tape with a call for each section, and the tapes of the sections.

    Raises ValueError if anything but the next section uses what a section makes, and with `strict` if the contributions
    to a derivative would be added in another order than without sections.
    """
    own = len(tape.results) - sum(len(section.values()) for section in sections)
    parts = _parts(tape, sections, own)
    found, calls = [], []
    for section, part in zip(sections, parts, strict=True):
        alone, outside = _section_tape(tape, section, part)
        found.append(alone)
        calls.append(np.concatenate([_operands(tape, part.before), outside, part.reads]))
    made, rank = _with_calls(tape, parts, calls, own)
    precedes = (made.operand >= 0) & (made.operand < made.owner)
    if not precedes.all() or (strict and not all(_in_order(tape, part, rank) for part in parts)):
        raise ValueError(
            f"strict=True and memory= of the loop of {sections[0].where}: its derivative is not added up round by "
            "round, so that the sections would be rounded in another order. Leave out one of the two"
        )
    return tapes.select(made, tapes.reached(made) | tapes.given(made)), found


def _operands(tape: Tape, identities: Ints) -> Ints:
    found: Ints = tape.operand[tape.start[identities]]
    return found


def _parts(tape: Tape, sections: Sequence[Section], at: int) -> list[_Part]:
    given = np.flatnonzero(tapes.given(tape) & (tape.code != PARAMETER))
    leaf = len(given) - sum(len(section.leaves()) for section in sections)
    found = []
    for section in sections:
        parts: list[Ints] = []
        for values in (section.before, section.after, *section.made, *(r.operands for r in section.reads.values())):
            parts.append(tape.results[at : at + len(values)])
            at += len(values)
        rounds, count = 2 + len(section.made), len(section.leaves())
        reads = np.concatenate([_NONE, *parts[rounds:]])
        found.append(_Part(parts[0], parts[1], parts[2:rounds], given[leaf : leaf + count], reads))
        leaf += count
    return found


def _section_tape(tape: Tape, section: Section, part: _Part) -> tuple[SectionTape, Ints]:
    """A section's tape, and the entries outside that it uses."""
    made = np.sort(part.made)
    operand = np.concatenate([_NONE, *(tape.operands(i) for i in made.tolist())])
    used = np.concatenate([operand, _operands(tape, part.after)])
    inside = np.zeros(len(tape), dtype=bool)
    inside[made] = inside[part.before] = inside[part.leaves] = True
    outside = used[~inside[used] & (tape.code[used] != CONSTANT)]
    outside = outside[np.sort(np.unique(outside, return_index=True)[1])]
    constants = tapes.distinct(used[tape.code[used] == CONSTANT])
    leaves = np.concatenate([part.before, outside, part.leaves])
    entries = np.concatenate([leaves, constants, made])
    number = np.full(len(tape), -1)
    number[entries] = np.arange(len(entries))
    none = np.zeros(len(leaves) + len(constants) + 1, dtype=np.int64)
    found = tapes.make(
        np.concatenate([np.full(len(leaves), INPUT), tape.code[constants], tape.code[made]]),
        np.cumsum(np.concatenate([none, tape.arity[made]])),
        number[operand],
        np.concatenate([np.arange(len(leaves)), tape.leaf[constants], tape.leaf[made]]),
        number[_operands(tape, part.after)],
    )
    return SectionTape(found, section, len(outside)), outside


def _with_calls(tape: Tape, parts: list[_Part], calls: list[Ints], own: int) -> tuple[Tape, Ints]:
    """The tape whose calls take the place of sections, and the place of each old entry in it; those of a section have
    that of their call."""
    n = len(tape)
    keep = np.ones(n, dtype=bool)
    rows = dict[int, list[int]]()
    code, leaf = tape.code.copy(), tape.leaf
    new: list[tuple[float, int, float]] = []  # place, code, leaf
    for number, (part, operands) in enumerate(zip(parts, calls, strict=True)):
        keep[part.made] = keep[part.before] = keep[part.leaves] = False
        call = n + len(new)
        first = int(part.made.min()) if len(part.made) else int(part.after.min())
        new += [(first - 0.5, CALL, number), *((-1.0, CONSTANT, j) for j in range(len(part.after)))]
        rows[call] = operands.tolist()
        rows |= {entry: [call, call + 1 + j] for j, entry in enumerate(part.after.tolist())}
        code[part.after] = OUT
    given = np.flatnonzero(keep & tapes.given(tape)).tolist()
    listed = [rows[i] if i in rows else tape.operands(i).tolist() if i < n else [] for i in range(n + len(new))]
    place = np.concatenate([np.arange(n), [at for at, _, _ in new]])
    needed = _needed(listed, [*tape.results[:own].tolist(), *given])
    if not np.append(keep, np.ones(len(new), dtype=bool))[needed].all():
        raise ValueError(
            "a derivative is taken inside the function (mg.grad, mg.value_and_grad, mg.hessian …) of a loop with "
            "memory=, whose rounds are computed again only for the derivative of the compiled function (f.backward, "
            "f.value_and_grad, a Trainer): leave out memory="
        )
    order = _order(listed, place, needed, n, parts)
    rank = np.full(len(place), -1)
    rank[order] = np.arange(len(order))
    code = np.concatenate([code, np.array([x for _, x, _ in new])])[order]
    leaf = np.concatenate([leaf, [x for _, _, x in new]])[order]
    operand = rank[np.array([x for i in order.tolist() for x in listed[i]], dtype=np.int64)]
    ends = np.cumsum([0, *(len(listed[i]) for i in order.tolist())])
    made = tapes.make(code, ends, operand, leaf, rank[tape.results[:own]])
    at = n
    for part in parts:
        rank[part.made] = rank[at]
        at += 1 + len(part.after)
    return made, rank


def _needed(listed: list[list[int]], roots: Iterable[int]) -> list[int]:
    """The entries that some need, in the order of their ids."""
    found, stack = set[int](), [*roots]
    while stack:
        i = stack.pop()
        if i not in found:
            found.add(i)
            stack.extend(listed[i])
    return sorted(found)


def _order(listed: list[list[int]], place: NDArray[np.float64], ids: list[int], n: int, parts: list[_Part]) -> Ints:
    """An order of the entries in which operands precede their users: what a call needs comes before it, what needs it
    after it, and everything else as near to its place as that allows."""
    waiting = dict.fromkeys(ids, 0)
    users: dict[int, list[int]] = {}
    for i in ids:
        waiting[i] = len(listed[i])
        for x in listed[i]:
            users.setdefault(x, []).append(i)
    ready = [i for i in ids if not waiting[i]]
    found: list[int] = []
    while ready:  # in any order in which operands come first
        i = ready.pop()
        found.append(i)
        for j in users.get(i, []):
            waiting[j] -= 1
            if not waiting[j]:
                ready.append(j)
    latest: dict[int, float] = {}  # the place of an entry, or of one that it needs, if that is later
    for i in found:
        latest[i] = max([float(place[i]), *(latest[x] for x in listed[i])]) if listed[i] else -1.0
    keys: dict[int, tuple[int, ...]] = dict.fromkeys(ids, ())
    at = n
    for part in parts:
        if at not in latest:  # nothing needs this call
            at += 1 + len(part.after)
            continue
        needed = set(_needed(listed, [at]))
        needs = set[int]()
        for i in found:
            if i == at or any(x in needs for x in listed[i]):
                needs.add(i)
        for i in ids:
            side = 1 if i == at else 0 if i in needed or (i not in needs and latest[i] < latest[at]) else 2
            keys[i] = (*keys[i], side)
        at += 1 + len(part.after)
    return np.array(sorted(ids, key=lambda i: (keys[i], latest[i], place[i])), dtype=np.int64)


def _in_order(tape: Tape, part: _Part, rank: Ints) -> bool:
    """Whether all contributions to an entry come in the order of the tape without sections: those of the rounds one
    after the other, and those of others before or after the call as they come before or after the rounds."""
    if len(part.made) and rank[part.made[0]] < 0:
        return True  # nothing needs the call
    round_of = np.full(len(tape), -1)
    for k, row in enumerate(part.rows):
        round_of[row] = k
    through = np.arange(len(tape))
    for identities in (part.before, part.after):
        if len(tapes.distinct(_operands(tape, identities))) < len(identities):
            return False  # what comes back to a number that is twice in the state would be added up for each
        through[identities] = _operands(tape, identities)
    owner, target = tape.owner, through[tape.operand]
    counts = (tape.code[target] != CONSTANT) & (through[owner] == owner)
    shared = np.zeros(len(tape), dtype=bool)
    shared[target[counts & (round_of[owner] >= 0)]] = True
    edges = np.flatnonzero(counts & shared[target])
    edges = edges[np.lexsort((owner[edges], target[edges]))]
    bounds = np.flatnonzero(np.diff(target[edges], prepend=-1, append=-1))
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        users = owner[edges[begin:end]]
        inside = np.flatnonzero(round_of[users] >= 0)
        first, last = int(inside[0]), int(inside[-1])
        if len(inside) != last + 1 - first or (np.diff(round_of[users[inside]]) < 0).any():
            return False
        call = rank[users[first]]
        if (rank[users[:first]] > call).any() or (rank[users[last + 1 :]] < call).any():
            return False
    return True
