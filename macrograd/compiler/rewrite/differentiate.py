"""Differentiate: from a tape with one result, the tape of that result and its gradient.

Reverse accumulation (Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, §3.2), written as one rewriting of
the whole tape instead of a walk over it: every entry `i` has an adjoint `ī`, and every operand position of every entry
that has a derivative rule in the op table contributes to the adjoint of that operand:

    ī  =  Σ  rule(j̄, j, operands of j)      over all uses of i as an operand of j,

in the order in which the eager engine would add them: the last use first. The rules are traced from the op table once,
as small tapes, and copied for all entries of an operation at once.

If an entry that varies over the batch uses one that does not (a weight, or a number computed from weights alone), the
contributions are first summed over the batch (`reduce`), so that numbers shared by all samples are computed once.

The index of a `take` selects one of many values, which receives its adjoint: value k gets the sum of the adjoints of
all takes whose index is k. For a few values, or values that vary over the batch, each value compares every index
(`onehot`); a long table gets a `scatter`, whose cost is that of the takes, however long the table is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.rewrite.calls import through_calls
from macrograd.compiler.rewrite.choices import ALWAYS, Choices
from macrograd.compiler.rewrite.derivatives import flows, instantiate, rules
from macrograd.compiler.rewrite.entries import ADJOINTS, Entries, assembled
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CALL, CONSTANT, INPUT, PARAMETER, REDUCE, SCATTER, UNIFORM, Ints, Tape
from macrograd.compiler.trace.calls import Calls

FEW_CHOICES = 8  # up to this many values of a take are compared one by one


def differentiate(
    tape: Tape,
    *,
    batch: bool,
    strict: bool = False,
    wrt: Ints | None = None,
    one: int | None = None,
    calls: Calls | None = None,
    scatter: bool = True,
) -> Tape:
    """The tape whose results are the (mean) value and its derivatives with respect to the leaves `wrt`.

    `wrt` are entry ids, by default the parameters by number. With `batch`, one more input (the last) is the weight of
    a sample: 1/n for a mean over n samples, and 0 for a padding lane; the value is Σ weight · result. Without a batch
    the derivative of the result by itself is the constant 1, or the uniform input number `one`. With `strict`, the
    contributions to an entry are added in the order of the eager engine, starting from 0.0. `calls` knows the sections
    that the tape calls. A scatter adds up the samples, so a tape whose leaves vary over samples that it knows nothing
    of must do without (`scatter`).
    """
    (result,) = tape.results.tolist()
    if wrt is None:
        leaves = np.flatnonzero(tape.code == PARAMETER)
        wrt = leaves[np.argsort(tape.leaf[leaves], kind="stable")]
    n = len(tape)
    varies = tapes.kinds(tape, batch=batch)
    entries = Entries(n)
    head = np.array([n])
    zero = entries.add(CONSTANT, [], entries.before(head), 0.0)
    if batch:
        weight = entries.add(INPUT, [], entries.before(head), float(tapes.count_given(tape, INPUT)))
        seed = weight if varies[result] else entries.add(REDUCE, [weight], entries.before(head))
        value = entries.add(ops.mul.code, [np.array([result]), seed], entries.before(head))
        if varies[result]:
            value = entries.add(REDUCE, [value], entries.before(head))
    else:
        value = np.array([result])
        if one is None:
            seed = entries.add(CONSTANT, [], entries.before(head), 1.0)
        else:
            seed = np.flatnonzero((tape.code == UNIFORM) & (tape.leaf == one))
    edges = _reached(tape, _edges(tape, wrt), result)
    scattered = _scattered(tape, edges, varies) & (scatter and not strict)
    taken = _taken(tape, Choices(tape, edges, result, varies), entries)
    called = tape.code[tape.owner[edges]] <= CALL
    gains = _contributions(tape, edges[~scattered & ~called], entries, taken, in_order=strict)
    if called.any():
        assert calls is not None
        gains = through_calls(tape, edges[called], gains, entries, calls, taken, varies if strict else None)
    scatters = _scatters(tape, edges[scattered], varies, entries)
    del edges, scattered, taken, called  # each is as long as the tape
    columns = [*gains]
    del gains
    alias = _sum_up(n, columns, scatters, varies, entries)
    alias[result] = seed[0]
    gradients = np.where(alias[wrt] >= 0, ADJOINTS + wrt, zero)
    if strict:  # the eager engine starts gradients at 0.0, so that none is ever -0.0
        some = alias[wrt] >= 0
        gradients[some] = entries.add(
            ops.add.code, [gradients[some], np.repeat(zero, some.sum())], entries.after(wrt[some])
        )
    return assembled(tape, entries, alias, np.concatenate([value, gradients]))


def _edges(tape: Tape, wrt: Ints) -> Ints:
    """Operand positions through which a gradient can flow to a leaf in `wrt`."""
    leaf_wanted = np.zeros(len(tape), dtype=bool)
    leaf_wanted[wrt] = True
    leads = (tape.arity > 0) | leaf_wanted
    return np.flatnonzero(flows(tape) & tapes.at(leads, tape.operand)).astype(np.int32)


def _reached(tape: Tape, edges: Ints, result: int) -> Ints:
    """The edges whose user itself gets a gradient."""
    owner = tapes.at(tape.owner, edges)
    first = np.searchsorted(owner, np.arange(len(tape) + 1, dtype=np.int32))
    found: Ints = edges[walks.reached(first, tape.operand[edges], np.array([result]))[owner]]
    return found


def _taken(tape: Tape, choices: Choices, entries: Entries) -> Ints:
    """By operand position: the mask of the user if the rule is gated, otherwise -1."""
    gated = choices.gated
    if not gated.any():
        return np.broadcast_to(np.int32(-1), len(tape.operand))
    found = np.full(len(tape.operand), -1, dtype=np.int32)
    needed = choices.masks.with_parts(choices.taken[choices.owner[gated]].tolist())
    head = np.array([len(tape)])
    one, zero = (int(entries.add(CONSTANT, [], entries.before(head), x)[0]) for x in (1.0, 0.0))
    ids = {ALWAYS: one}

    def add(code: int, operands: list[int], place: Ints) -> int:
        return int(entries.add(code, [np.array([x]) for x in operands], place)[0])

    def any_of(parts: list[int], place: Ints) -> int:
        total = parts[0]
        for x in parts[1:]:
            total = add(ops.maximum.code, [total, x], place)
        return total

    for mask in needed:
        kind, what, *rest = choices.masks.rows[mask]
        if kind == "reduce":
            ids[mask] = add(REDUCE, [ids[what]], entries.before(np.array(rest)))
        elif kind == "any":
            ids[mask] = any_of([ids[x] for x in what], entries.before(np.array(rest)))
        else:
            sides, whole, choice = rest
            place = entries.after(np.array([choice]))
            shares = [_share(tape, entries, choice, side, one) for side in sides]
            total = any_of(shares, place)
            ids[mask] = total if whole == ALWAYS else add(ops.where.code, [total, ids[whole], zero], place)
    found[choices.edges[gated]] = [ids[mask] for mask in choices.taken[choices.owner[gated]].tolist()]
    return found


def _share(tape: Tape, entries: Entries, choice: int, side: int, one: int) -> int:
    """The share of an adjoint of 1 that a choice passes on to the operand at one of its sides."""
    user = np.array([choice])
    if tape.code[choice] == ops.take.code:
        k = entries.add(CONSTANT, [], entries.after(user), side - 1.0)
        index = tape.operand[tape.start[user]]
        return int(entries.add(ops.onehot.code, [index, k, np.array([one])], entries.after(user))[0])
    rule = rules(int(tape.code[choice]))[side]
    assert rule is not None
    return int(instantiate(rule, user, tape.start[user], tape, entries, np.array([one]))[0])


def _contributions(
    tape: Tape, edges: Ints, entries: Entries, taken: Ints, *, in_order: bool
) -> tuple[Ints, Ints, Ints]:
    """Copy the rules for all edges; returns (using entry, used entry, id of the contribution), those of one user in the
    order of its operands if they are to be `in_order`."""
    owner = tapes.at(tape.owner, edges)
    position, codes = edges - tapes.at(tape.start, owner), tapes.at(tape.code, owner)
    through, gains = [], []
    for code in tapes.distinct(codes).tolist():
        op = ops.TABLE[code]
        here, slot = codes == code, op.slot(position)
        for k, rule in enumerate(rules(code)):
            pick = here & (slot == k)
            if rule is None or not pick.any():
                continue
            users, edge = owner[pick], edges[pick]
            if op is ops.dot:  # most terms of sums are x · 1, which passes the adjoint on unchanged
                factor = tape.operand[edge + 1 - 2 * k]
                plain = (tape.code[factor] == CONSTANT) & (tape.leaf[factor] == 1.0)
                through.append(edge[plain])
                gains.append(ADJOINTS + users[plain])
                users, edge = users[~plain], edge[~plain]
            if op is ops.take:  # its rule depends on the number of the term
                place = entries.after(users)
                choice = entries.add(CONSTANT, [], place, position[pick] - float(op.first))
                index = tape.operand[tape.start[users]]
                gain = entries.add(ops.onehot.code, [index, choice, ADJOINTS + users], place)
            else:
                base = edge - k if op.arity is None else tape.start[users]
                gain = instantiate(rule, users, base, tape, entries, ADJOINTS + users, taken[edge])
            through.append(edge)
            gains.append(gain)
    if not through:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty, empty
    del owner, position, codes, here, slot, pick, users  # each is as long as the tape
    edge, gain = np.concatenate(through), np.concatenate(gains)
    through.clear()
    gains.clear()
    if in_order:
        order = np.argsort(edge, kind="stable")
        edge, gain = edge[order], gain[order]
    return tapes.at(tape.owner, edge), tapes.at(tape.operand, edge), gain


def _scattered(tape: Tape, edges: Ints, varies: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which edges lead from a take into a long table that is the same for all samples."""
    owner = tape.owner[edges]
    found: NDArray[np.bool_] = (tape.code[owner] == ops.take.code) & (tape.arity[owner] - 1 > FEW_CHOICES)
    return found & ~varies[tape.operand[edges]]


def _scatters(tape: Tape, edges: Ints, varies: NDArray[np.bool_], entries: Entries) -> tuple[Ints, Ints]:
    """The summed contributions of those edges: (used entry, id of the sum)."""
    if not len(edges):
        return edges, edges
    users = tape.owner[edges]
    choice, target = edges - tape.start[users] - 1, tape.operand[edges]
    order = np.lexsort((-users, varies[users], choice, target))
    users, choice, target = users[order], choice[order], target[order]
    first = np.ones(len(users), dtype=bool)
    first[1:] = False
    for column in (target, choice, varies[users]):
        first[1:] |= column[1:] != column[:-1]
    begin = np.flatnonzero(first)
    pairs = np.stack([tape.operand[tape.start[users]], ADJOINTS + users], axis=1).ravel()
    arity = 2 * np.diff(np.append(begin, len(users)))
    found = target[begin]
    return found, entries.add_variadic(SCATTER, arity, pairs, entries.before(found), choice[begin])


def _sum_up(
    n: int,
    gains: list[Ints],
    scatters: tuple[Ints, Ints],
    varies: NDArray[np.bool_],
    entries: Entries,
) -> Ints:
    """Make one adjoint from all contributions to an entry; returns its id for each entry, -1 if there is none. The list
    of their columns is emptied."""
    source, target, gain = gains
    gains.clear()
    order: Ints = np.lexsort((-source, target)).astype(np.int32)
    source, target, gain = (tapes.at(column, order) for column in (source, target, gain))
    crossing = varies[source] & ~varies[target]
    if crossing.any():
        inner, summed = _combine(target[crossing], gain[crossing], entries)
        reduced = entries.add(REDUCE, [summed], entries.before(inner))
        target = np.concatenate([inner, target[~crossing]])
        gain = np.concatenate([reduced, gain[~crossing]])
    del source
    if crossing.any() or len(scatters[0]):  # otherwise they are sorted
        target, gain = np.concatenate([target, scatters[0]]), np.concatenate([gain, scatters[1]])
        order = np.argsort(target, kind="stable")
        target, gain = target[order], gain[order]
    alias = np.full(n, -1, dtype=np.int32)
    found, ids = _combine(target, gain, entries)
    alias[found] = ids
    return alias


def _combine(target: Ints, gain: Ints, entries: Entries) -> tuple[Ints, Ints]:
    """Sums of the gains of equal (adjacent) targets; a single gain stands for itself."""
    if not len(target):
        return target, gain
    first = np.flatnonzero(np.diff(target, prepend=-1))
    count = np.diff(np.append(first, len(target)))
    found, ids = target[first], gain[first].copy()
    many = count > 1
    if many.any():
        operand = gain[tapes.ranges(first[many], count[many])]
        ids[many] = entries.add_variadic(ops.sum_.code, count[many], operand, entries.before(found[many]))
    return found, ids
