"""Roll: find the arrays in a tape.

1. Entries on the same level (`levels.py`) with the same operation and the same kinds of operands form
   a group. Levels make the members of a group independent of each other.
2. Each group's results get consecutive slots, so that the operands of the next group follow patterns.
3. The patterns are fitted (`fit.py`): affine maps of nested counters, in as few pieces as possible, and tables where
nothing fits.

Nothing here knows what a layer is. A group of n-term sums of products that share their operands *is* a matrix product,
its adjoints are the transposed product and the outer product, and the same rules find them.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.program.program import Instruction, Loop, Program, Step
from macrograd.compiler.program.results import Results
from macrograd.compiler.rewrite.simplify import takes_of_one_kind
from macrograd.compiler.roll.cost_model import promising, select
from macrograd.compiler.roll.fit import instructions_of
from macrograd.compiler.roll.groups import Group, Groups
from macrograd.compiler.roll.layout import (
    AFTER,
    BEFORE,
    BLOCK,
    SUM,
    Layout,
    Terms,
    arranged,
    layout_of,
    sums_of,
    terms_of,
)
from macrograd.compiler.roll.levels import levels
from macrograd.compiler.roll.loops import Rolled, rolled, settled_again
from macrograd.compiler.roll.repeats import nested
from macrograd.compiler.roll.streams import stream_of
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.hashing import mix
from macrograd.compiler.tape.tape import CALL, CONSTANT, INPUT, OUT, PARAMETER, REDUCE, SCATTER, UNIFORM, Ints, Tape

RESULT, FEEDS = 1, 2  # roles of entries
_SHARED = 8  # uses of a parameter by which it is one of all rounds, and not of an array with one for each


def roll(tape: Tape, *, batch: bool, strict: bool = False, weighted: bool = False, whole: bool = False) -> Program:
    """The array program of a tape. `weighted` means that the last input is the weight of a sample, `whole` that
    all of it becomes code, whatever that costs."""
    varies = tapes.kinds(tape, batch=batch)
    given, tape = tape, takes_of_one_kind(tape, varies)
    if tape is not given:
        varies = tapes.kinds(tape, batch=batch)
    phase = _phases(tape, varies)
    sums, used = sums_of(tape, varies, strict)
    terms = terms_of(tape, sums, varies)
    del sums  # of what is as long as the tape, only what is still needed is kept
    is_result = np.zeros(len(tape), dtype=bool)
    is_result[tape.results] = True
    role = _roles(tape, is_result)
    kind = mix(_signatures(tape, terms, varies, strict), role)
    level = levels(tape, kind, phase)
    placed = np.flatnonzero((tape.arity > 0) & used).astype(np.int32)
    level, kind = tapes.at(level, placed), tapes.at(kind, placed)
    which, bounds = _groups(tapes.at(phase, placed), level, kind, placed, _member_keys(tape, role, placed))
    order, first = tapes.at(placed, which), which[bounds[:-1]]
    heads = order[bounds[:-1]]
    moment = phase[heads].astype(np.int64) * (int(level.max(initial=0)) + 1) + level[first]
    sequence = mix(kind[first], np.diff(bounds) * 8 + phase[heads])
    del placed, level, role, kind, which
    layout = layout_of(tape, order, varies & used, is_result, batch)
    if whole:  # a piece for each round of a loop is another program for another number of rounds
        layout = replace(layout, most_segments=3)
    terms = arranged(terms, layout, strict)
    phases: dict[int, list[Step]] = {BEFORE: [], BLOCK: [], AFTER: []}
    if whole:
        sequence = mix(sequence, _surroundings(tape)[heads])
    when = np.where(phase[heads] == SUM, BLOCK, phase[heads])
    for group, step in _steps(tape, terms, layout, order, bounds, sequence, when, moment, whole):
        where = int(phase[group.members[0]])
        phases[BLOCK if where == SUM else where].append(step)
    inputs = tapes.count_given(tape, INPUT)
    return Program(
        before=tuple(phases[BEFORE]),
        block=tuple(phases[BLOCK]),
        after=tuple(phases[AFTER]),
        parameters=int(np.sum(tape.code == PARAMETER)),
        inputs=inputs,
        constants=layout.constants,
        uniform=layout.uniform,
        varying=layout.varying + layout.spare[0],
        results=Results(layout.varies[tape.results], layout.slot[tape.results].astype(np.int64)),
        batch=batch,
        weight=inputs - 1 if weighted else None,
        first_output=inputs if batch else 0,
        scalars=int(np.sum(tape.arity > 0)),
        uniform_inputs=tapes.count_given(tape, UNIFORM),
    )


def _groups(
    phase: Ints, level: Ints, kind: Ints, entries: Ints, keys: tuple[Ints, Ints]
) -> tuple[NDArray[np.int32], list[int]]:
    """The places of the entries, of which the columns tell, group by group, and where each group begins. Members are
    sorted by their keys, and groups of one moment by their first members, so that operands move evenly from group to
    group."""
    key, tie = keys
    steps = int(level.max(initial=0)) + 1
    bits = 63 - (AFTER * steps + steps).bit_length()
    # The moment, and as much of the kind, a hash, as one number has room for.
    group = np.empty(len(entries), dtype=np.int64)
    for first in range(0, len(entries), tapes.AT_ONCE):
        some = slice(first, first + tapes.AT_ONCE)
        when = phase[some] * np.int64(steps) + level[some]
        group[some] = when << bits | kind[some] & ((1 << bits) - 1)
    order = np.lexsort((tie, key, group)).astype(np.int32)  # and then in tape order
    del group, tie
    same = np.ones(len(order), dtype=bool)
    for column in (phase, level, kind):
        sorted_ = tapes.at(column, order)
        same[1:] &= sorted_[1:] == sorted_[:-1]
        del sorted_
    same[:1] = False
    begin = np.flatnonzero(~same)
    size = np.diff(np.append(begin, len(order)))
    heads = order[begin]
    rank = np.lexsort((entries[heads], key[heads], level[heads], phase[heads]))
    if not (rank[1:] > rank[:-1]).all():
        order = order[tapes.ranges(begin[rank], size[rank])]
    return order, np.append(0, np.cumsum(size[rank])).tolist()


def _steps(
    tape: Tape,
    terms: Terms,
    layout: Layout,
    order: Ints,
    bounds: list[int],
    sequence: Ints,
    phases: Ints,
    moment: Ints,
    whole: bool,
) -> Iterator[tuple[Group, Step]]:
    """The groups in order, as instructions, loops and streams."""
    # Of a program derived from a few rounds every loop that is written must be one, however few of its rounds are here.
    groups = Groups(tape, terms, layout, order, bounds, **({"least_inside": 8} if whole else {}))
    work = np.diff(bounds) * np.maximum(np.diff(terms.start)[order[bounds[:-1]]], 1)
    scalars = int(np.sum(tape.arity > 0))
    if whole:
        found = nested(sequence)
        loops, code = rolled(groups, found), np.ones(len(work), dtype=bool)
    else:
        found = promising(nested(sequence), sequence, work, scalars)
        loops, code = select(groups, rolled(groups, found), work, scalars)
        code |= tape.code[order[bounds[:-1]]] <= CALL
    dealt = layout.slot.copy() if loops else layout.slot  # the slots for which the loops were found
    fixed = np.zeros(len(work), dtype=bool)  # groups that the first rounds of a loop refer to keep their slots
    for settled in loops.values():
        fixed[settled.candidate.first : settled.loop.first] = True
    k = 0
    while k < len(work):
        if k in loops and not np.array_equal(dealt, layout.slot):  # an earlier group has reassigned its slots
            again = settled_again(groups, found, loops.pop(k), k)
            if again is not None:
                loops[again.loop.first] = again
                fixed[k : again.loop.first] = True
        if k in loops:
            loop = loops[k].loop
            yield loop.head(), _loop(tape, layout, loop)
            k = loop.end
            continue
        end = _data_until(code, k, loops, phases)
        if end > k:
            head = groups.group(k)
            block = bool(layout.varies[head.members[0]]) or head.kind == "reduce"
            yield head, stream_of(tape, terms, layout, order, bounds[k : end + 1], moment[k:end], block=block)
            k = end
            continue
        group = groups.group(k)
        if fixed[k]:
            group = replace(group, fixed=True)
        for instruction in instructions_of(tape, layout, group):
            yield group, instruction
        k += 1


def _loop(tape: Tape, layout: Layout, loop: Rolled) -> Loop:
    body: list[Instruction | Loop] = []
    for step in loop.body:
        if isinstance(step, Rolled):
            body.append(_loop(tape, layout, step))
        else:
            body += instructions_of(tape, layout, step)
    return Loop(loop.rounds, tuple(body))


def _data_until(code: NDArray[np.bool_], k: int, loops: Container[int], phases: Ints) -> int:
    """The end of the run of groups that starts at k and becomes data."""
    begin = k
    while k < len(code) and k not in loops and phases[k] == phases[begin] and not code[k]:
        k += 1
    return k


def _phases(tape: Tape, varies: NDArray[np.bool_]) -> Ints:
    """The phase of each entry. Entries that depend on a sum over the batch run after the blocks."""
    phase = np.where(varies, np.int8(BLOCK), np.int8(BEFORE))
    scatters = np.flatnonzero(tape.code == SCATTER)
    over_batch = np.maximum.reduceat(varies[tape.operand], tape.start[scatters]) if len(scatters) else scatters == 0
    reduces = np.sort(np.concatenate([np.flatnonzero(tape.code == REDUCE), scatters[over_batch]]))
    phase[reduces] = SUM
    if len(reduces):
        # Nothing within a block depends on a sum over the batch.
        after = walks.longest(
            tape.start, tape.operand, (phase == SUM).astype(np.int64), -(phase == BLOCK).astype(np.int64)
        )
        phase[(phase == BEFORE) & (after > 0)] = AFTER
    return phase


def _signatures(tape: Tape, terms: Terms, varies: NDArray[np.bool_], strict: bool) -> Ints:
    """A hash per entry, equal for entries that may share an instruction."""
    signature = np.empty(len(tape), dtype=np.int64)
    for first in range(0, len(tape), tapes.AT_ONCE):
        some = slice(first, first + tapes.AT_ONCE)
        signature[some] = np.where(
            terms.start[1:][some] > terms.start[:-1][some],
            _of_terms(tape, terms, some, strict),
            _of_operands(tape, varies, some),
        )
    call = np.flatnonzero(tape.code == CALL)
    signature[call] = mix(signature[call], tape.leaf[call].astype(np.int64))
    out = np.flatnonzero(tape.code == OUT)
    signature[out] = mix(signature[out], tape.leaf[tape.operand[tape.start[out]]].astype(np.int64))
    return signature


def _of_terms(tape: Tape, terms: Terms, some: slice, strict: bool) -> Ints:
    """A hash of the kinds of the products in each of some sums, in strict mode of their places, too."""
    begin, end = terms.start[:-1][some], terms.start[1:][some]
    kind = terms.kind[begin[0] : end[-1]]
    place = np.arange(begin[0], end[-1]) - np.repeat(begin, end - begin) if strict else np.array([0])
    with np.errstate(over="ignore"):  # hashing wraps around on purpose
        total = np.concatenate([[0], np.cumsum(mix(kind + 17, place))])
        return mix(mix(tape.code[some], end - begin), total[end - begin[0]] - total[begin - begin[0]])


def _of_operands(tape: Tape, varies: NDArray[np.bool_], some: slice) -> Ints:
    """A hash of the operation and the kinds of operands of some entries."""
    code, begin, end = tape.code[some], tape.start[:-1][some], tape.start[1:][some]
    arity, operand = end - begin, tape.operand[begin[0] : end[-1]]
    owner = np.repeat(code, arity)
    position = np.arange(begin[0], end[-1]) - np.repeat(begin, arity)
    # A constant exponent is part of the operation: x³ and x⁵ are computed differently.
    exponent = (owner == ops.power.code) & (position == 1) & (tape.code[operand] == CONSTANT)
    kind = np.where(exponent, 2 + operand, varies[operand])
    plain = ~tapes.among(owner, [ops.dot.code, REDUCE])
    with np.errstate(over="ignore"):  # hashing wraps around on purpose
        total = np.concatenate([[0], np.cumsum(np.where(plain, mix(kind, position), 0))])
        return mix(mix(code, arity), total[end - begin[0]] - total[begin - begin[0]])


def _surroundings(tape: Tape) -> Ints:
    """A number per entry for what its operands are: which operations, which constants and which of the parameters that
    all rounds share. Of groups that look alike it tells which of a round's they are."""
    shared = np.bincount(tape.operand, minlength=len(tape)) >= _SHARED
    named = (tape.code == CONSTANT) | ((tape.code == PARAMETER) & shared)
    own = np.where(named, mix(tape.leaf.view(np.int64), tape.code), tape.code)
    position = np.arange(len(tape.operand)) - tape.start[tape.owner]
    with np.errstate(over="ignore"):  # hashing wraps around on purpose
        total = np.concatenate([[0], np.cumsum(mix(own[tape.operand], position))])
        found: Ints = total[tape.start[1:]] - total[tape.start[:-1]]
    return found


def _roles(tape: Tape, is_result: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Of each entry whether it is a RESULT, only FEEDS one, or neither (0)."""
    alone = (walks.counted(tape.operand, len(tape)) == 1) & ~is_result & (tape.arity > 0)
    role = is_result.astype(np.int8)
    role[tape.operand[np.repeat(is_result, tape.arity) & tapes.at(alone, tape.operand)]] = FEEDS
    return role


def _member_keys(tape: Tape, role: NDArray[np.int8], entries: Ints) -> tuple[Ints, Ints]:
    """The sort keys of some entries within their groups: their index among the results, or that of the only result that
    uses them, or else their first operand, and then the key of their last operand. Which of the three it is, is their
    role: they must not be mixed."""
    n = len(tape)
    key = np.arange(n, dtype=np.int32)
    last, number = key.copy(), key.copy()
    number[tape.code == CONSTANT] = n
    for first in range(0, n, tapes.AT_ONCE):
        some = first + np.flatnonzero(np.diff(tape.start[first : first + tapes.AT_ONCE + 1]))
        if not len(some):
            continue
        begin = int(tape.start[some[0]])
        operand, start = tape.operand[begin : tape.start[some[-1] + 1]], tape.start[some] - begin
        key[some] = np.minimum.reduceat(number[operand], start)
        last[some] = np.maximum.reduceat(operand, start)
    tie = tapes.at(key, tapes.at(last, entries))
    del last
    number[tape.results[::-1]] = np.arange(len(tape.results), dtype=np.int32)[::-1]
    for first in range(0, n, tapes.AT_ONCE):
        results = first + np.flatnonzero(role[first : first + tapes.AT_ONCE] == RESULT)
        key[results] = number[results]
        arity = tape.start[results + 1] - tape.start[results]
        operand = tape.operand[tapes.ranges(tape.start[results], arity)]
        feeds = role[operand] == FEEDS
        key[operand[feeds]] = np.repeat(number[results], arity)[feeds]
    return tapes.at(key, entries), tie
