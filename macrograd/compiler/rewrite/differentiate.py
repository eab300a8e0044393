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

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.rewrite.choices import ALWAYS, Choices
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CONSTANT, INPUT, PARAMETER, REDUCE, SCATTER, UNIFORM, Ints, Tape
from macrograd.compiler.trace.traced import Traced, record
from macrograd.rules import contributions
from macrograd.value import CONSTANT as NUMBER
from macrograd.value import topological

# Operands of a rule's small tape: the adjoint of the result, the result, the k-th operand, or an earlier line.
_ADJOINT, _RESULT, _OPERAND, _LINE = 0, 1, 2, 3
FEW_CHOICES = 8  # up to this many values of a take are compared one by one


@dataclass(frozen=True)
class Rule:
    """A derivative as lines (code, operand references, constant), and the reference to its value."""

    lines: tuple[tuple[int, tuple[tuple[int, int], ...], float], ...]
    value: tuple[int, int]


@cache
def rules(code: int) -> tuple[Rule | None, ...]:
    """The derivative rules of an operation, one per slot of its operands (see `Op.slot`)."""
    op = ops.TABLE[code]
    g, out, operands = record(None, ()), record(None, ()), [record(None, ()) for _ in range(op.slots)]
    known = {id(g): (_ADJOINT, 0), id(out): (_RESULT, 0)} | {id(x): (_OPERAND, k) for k, x in enumerate(operands)}
    gains = contributions(op, g, out, operands)
    return tuple(None if gain is None else _rule(gain, dict(known)) for gain in gains)


def _rule(gain: Any, known: dict[int, tuple[int, int]]) -> Rule:
    if not isinstance(gain, Traced):
        raise tapes.TapeError(f"a derivative rule gave {gain!r}, which does not depend on the incoming derivative")
    lines: list[tuple[int, tuple[tuple[int, int], ...], float]] = []
    for node in topological(gain):
        if id(node) in known:
            continue
        assert node.op is not None
        if node.op is NUMBER:
            lines.append((CONSTANT, (), node._data))
        else:
            lines.append((node.op.code, tuple(known[id(x)] for x in node.inputs), 0.0))
        known[id(node)] = (_LINE, len(lines) - 1)
    return Rule(tuple(lines), known[id(gain)])


# The operand _ADJOINTS + i stands for the adjoint of entry i until that is known.
_ADJOINTS = 1 << 40


class _Entries:
    """New entries as blocks of arrays, each with its place in the finished tape.

    The adjoint of entry i comes after the contributions of all entries after i and before those of i itself.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.count = n
        self.code: list[Ints] = []
        self.arity: list[Ints] = []
        self.operand: list[Ints] = []
        self.leaf: list[NDArray[np.float64]] = []
        self.place: list[Ints] = []

    def before(self, entry: Ints) -> Ints:
        """The place of the entries that sum up the adjoint of an entry."""
        return 2 * (2 * self.n - entry)

    def after(self, entry: Ints) -> Ints:
        """The place of the entries that use the adjoint of an entry."""
        return 2 * (2 * self.n - entry) + 1

    def add(self, code: int, operands: list[Ints], place: Ints, leaf: Any = 0.0) -> Ints:
        """One entry per element of `place`, all with the same operation; returns their provisional ids."""
        n = len(place)
        operand = np.stack(operands, axis=1).ravel() if operands else np.empty(0, dtype=np.int64)
        return self.add_variadic(code, np.full(n, len(operands)), operand, place, leaf)

    def add_variadic(self, code: int, arity: Ints, operand: Ints, place: Ints, leaf: Any = 0.0) -> Ints:
        n = len(place)
        self.code.append(np.full(n, code))
        self.arity.append(arity)
        self.operand.append(operand)
        self.leaf.append(np.broadcast_to(np.asarray(leaf, dtype=np.float64), (n,)))
        self.place.append(place)
        self.count += n
        return np.arange(self.count - n, self.count)


def differentiate(
    tape: Tape, *, batch: bool, strict: bool = False, wrt: Ints | None = None, one: int | None = None
) -> Tape:
    """The tape whose results are the (mean) value and its derivatives with respect to the leaves `wrt`.

    `wrt` are entry ids, by default the parameters by number. With `batch`, one more input (the last) is the weight of
    a sample: 1/n for a mean over n samples, and 0 for a padding lane; the value is Σ weight · result. Without a batch
    the derivative of the result by itself is the constant 1, or the uniform input number `one`. With `strict`, the
    contributions to an entry are added in the order of the eager engine, starting from 0.0.
    """
    (result,) = tape.results.tolist()
    if wrt is None:
        leaves = np.flatnonzero(tape.code == PARAMETER)
        wrt = leaves[np.argsort(tape.leaf[leaves], kind="stable")]
    n = len(tape)
    varies = tapes.kinds(tape, batch=batch)
    entries = _Entries(n)
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
    scattered = _scattered(tape, edges, varies, strict)
    taken = _taken(tape, Choices(tape, edges, result, varies), entries)
    gains = _contributions(tape, edges[~scattered], entries, taken, in_order=strict)
    scatters = _scatters(tape, edges[scattered], varies, entries)
    alias = _sum_up(n, gains, scatters, varies, entries)
    alias[result] = seed[0]
    gradients = np.where(alias[wrt] >= 0, _ADJOINTS + wrt, zero)
    if strict:  # the eager engine starts gradients at 0.0, so that none is ever -0.0
        some = alias[wrt] >= 0
        gradients[some] = entries.add(
            ops.add.code, [gradients[some], np.repeat(zero, some.sum())], entries.after(wrt[some])
        )
    return _assemble(tape, entries, alias, np.concatenate([value, gradients]))


def _edges(tape: Tape, wrt: Ints) -> Ints:
    """Operand positions through which a gradient can flow to a leaf in `wrt`."""
    leaf_wanted = np.zeros(len(tape), dtype=bool)
    leaf_wanted[wrt] = True
    leads = (tape.arity > 0) | leaf_wanted
    owner = tape.owner
    position = np.arange(len(tape.operand)) - tape.start[owner]
    flows = np.zeros(len(tape.operand), dtype=bool)
    for code in tapes.distinct(tape.code).tolist():
        if code < 0:
            continue
        here = tape.code[owner] == code
        op = ops.TABLE[code]
        slot = op.slot(position)
        for k, rule in enumerate(rules(code)):
            if rule is not None:
                flows |= here & (slot == k)
    return np.flatnonzero(flows & leads[tape.operand])


def _reached(tape: Tape, edges: Ints, result: int) -> Ints:
    """The edges whose user itself gets a gradient."""
    owner = tape.owner[edges]
    first = np.searchsorted(owner, np.arange(len(tape) + 1))
    found: Ints = edges[walks.reached(first, tape.operand[edges], np.array([result]))[owner]]
    return found


def _taken(tape: Tape, choices: Choices, entries: _Entries) -> Ints:
    """By operand position: the mask of the user if the rule is gated, otherwise -1."""
    found = np.full(len(tape.operand), -1)
    gated = choices.gated
    if not gated.any():
        return found
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
            place = entries.after(np.array([what]))
            shares = [_share(tape, entries, what, side, one) for side in rest[0]]
            total = any_of(shares, place)
            ids[mask] = total if rest[1] == ALWAYS else add(ops.where.code, [total, ids[rest[1]], zero], place)
    found[choices.edges[gated]] = [ids[mask] for mask in choices.taken[choices.owner[gated]].tolist()]
    return found


def _share(tape: Tape, entries: _Entries, choice: int, side: int, one: int) -> int:
    """The share of an adjoint of 1 that a choice passes on to the operand at one of its sides."""
    user = np.array([choice])
    if tape.code[choice] == ops.take.code:
        k = entries.add(CONSTANT, [], entries.after(user), side - 1.0)
        index = tape.operand[tape.start[user]]
        return int(entries.add(ops.onehot.code, [index, k, np.array([one])], entries.after(user))[0])
    rule = rules(int(tape.code[choice]))[side]
    assert rule is not None
    return int(_instantiate(rule, user, tape.start[user], tape, entries, np.array([one]))[0])


def _contributions(
    tape: Tape, edges: Ints, entries: _Entries, taken: Ints, *, in_order: bool
) -> tuple[Ints, Ints, Ints]:
    """Copy the rules for all edges; returns (using entry, used entry, id of the contribution), those of one user in the
    order of its operands if they are to be `in_order`."""
    owner = tape.owner[edges]
    position = edges - tape.start[owner]
    through, gains = [], []
    for code in tapes.distinct(tape.code[owner]).tolist():
        op = ops.TABLE[code]
        here, slot = tape.code[owner] == code, op.slot(position)
        for k, rule in enumerate(rules(code)):
            pick = here & (slot == k)
            if rule is None or not pick.any():
                continue
            users, edge = owner[pick], edges[pick]
            if op is ops.dot:  # most terms of sums are x · 1, which passes the adjoint on unchanged
                factor = tape.operand[edge + 1 - 2 * k]
                plain = (tape.code[factor] == CONSTANT) & (tape.leaf[factor] == 1.0)
                through.append(edge[plain])
                gains.append(_ADJOINTS + users[plain])
                users, edge = users[~plain], edge[~plain]
            if op is ops.take:  # its rule depends on the number of the term
                place = entries.after(users)
                choice = entries.add(CONSTANT, [], place, position[pick] - float(op.first))
                index = tape.operand[tape.start[users]]
                gain = entries.add(ops.onehot.code, [index, choice, _ADJOINTS + users], place)
            else:
                base = edge - k if op.arity is None else tape.start[users]
                gain = _instantiate(rule, users, base, tape, entries, _ADJOINTS + users, taken[edge])
            through.append(edge)
            gains.append(gain)
    if not through:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty, empty
    edge, gain = np.concatenate(through), np.concatenate(gains)
    if in_order:
        order = np.argsort(edge, kind="stable")
        edge, gain = edge[order], gain[order]
    return tape.owner[edge], tape.operand[edge], gain


def _scattered(tape: Tape, edges: Ints, varies: NDArray[np.bool_], strict: bool) -> NDArray[np.bool_]:
    """Which edges lead from a take into a long table that is the same for all samples."""
    owner = tape.owner[edges]
    found: NDArray[np.bool_] = (tape.code[owner] == ops.take.code) & (tape.arity[owner] - 1 > FEW_CHOICES)
    return found & ~varies[tape.operand[edges]] & (not strict)


def _scatters(tape: Tape, edges: Ints, varies: NDArray[np.bool_], entries: _Entries) -> tuple[Ints, Ints]:
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
    pairs = np.stack([tape.operand[tape.start[users]], _ADJOINTS + users], axis=1).ravel()
    arity = 2 * np.diff(np.append(begin, len(users)))
    found = target[begin]
    return found, entries.add_variadic(SCATTER, arity, pairs, entries.before(found), choice[begin])


def _instantiate(
    rule: Rule, users: Ints, base: Ints, tape: Tape, entries: _Entries, adjoint: Ints, taken: Ints | None = None
) -> Ints:
    """One copy of the rule for each user; `base` is where its operands (or those of its term) start. Where `taken` has
    a mask, the numbers from which it computes slopes go through gates."""
    place = entries.after(users)
    lines: list[Ints] = []
    gated = taken >= 0 if taken is not None else np.zeros(len(users), dtype=bool)
    through: dict[tuple[int, int], Ints] = {}

    def resolve(reference: tuple[int, int]) -> Ints:
        kind, k = reference
        if kind == _ADJOINT:
            return adjoint
        if kind == _LINE:
            return lines[k]
        found = users if kind == _RESULT else tape.operand[base + k]
        if taken is not None and gated.any():
            if reference not in through:
                size = np.abs(tape.leaf[found])  # 1/0 is infinite, and in float32 so is 1/x² for small x other than 0
                moderate = (tape.code[found] == CONSTANT) & (size >= 1e-18) & (size <= 1e18)
                some = np.flatnonzero(gated & ~moderate)
                through[reference] = found = found.copy()
                found[some] = entries.add(ops.gate.code, [taken[some], found[some]], place[some])
            found = through[reference]
        return found

    for code, operands, leaf in rule.lines:
        if code == CONSTANT:  # one for all users
            lines.append(np.repeat(entries.add(code, [], entries.before(np.array([len(tape)])), leaf), len(users)))
        else:
            lines.append(entries.add(code, [resolve(x) for x in operands], place, leaf))
    return resolve(rule.value)


def _sum_up(
    n: int,
    gains: tuple[Ints, Ints, Ints],
    scatters: tuple[Ints, Ints],
    varies: NDArray[np.bool_],
    entries: _Entries,
) -> Ints:
    """Make one adjoint from all contributions to an entry; returns its id for each entry, -1 if there is none."""
    source, target, gain = gains
    order = np.lexsort((-source, target))
    source, target, gain = source[order], target[order], gain[order]
    crossing = varies[source] & ~varies[target]
    if crossing.any():
        inner, summed = _combine(target[crossing], gain[crossing], entries)
        reduced = entries.add(REDUCE, [summed], entries.before(inner))
        target = np.concatenate([inner, target[~crossing]])
        gain = np.concatenate([reduced, gain[~crossing]])
    target, gain = np.concatenate([target, scatters[0]]), np.concatenate([gain, scatters[1]])
    order = np.argsort(target, kind="stable")
    target, gain = target[order], gain[order]
    alias = np.full(n, -1)
    found, ids = _combine(target, gain, entries)
    alias[found] = ids
    return alias


def _combine(target: Ints, gain: Ints, entries: _Entries) -> tuple[Ints, Ints]:
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


def _assemble(tape: Tape, entries: _Entries, alias: Ints, results: Ints) -> Tape:
    """Put the new entries in their places among the old ones and resolve the adjoints."""

    def pending() -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = alias >= _ADJOINTS
        return found

    while (waiting := pending()).any():
        alias[waiting] = alias[alias[waiting] - _ADJOINTS]

    n = len(tape)
    place = np.concatenate([2 * np.arange(n), *entries.place])
    order = np.argsort(place, kind="stable")
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order))
    # The ids of the entries, followed by those of the adjoints; an entry without an adjoint is never looked up.
    number = np.concatenate([number, number[np.maximum(alias, 0)]])

    def place_of(ids: Ints) -> Ints:
        return np.where(ids >= _ADJOINTS, ids - (_ADJOINTS - len(order)), ids)

    operand = np.concatenate([tape.operand, *map(place_of, entries.operand)])
    arity = np.concatenate([tape.arity, *entries.arity])
    start, operand = walks.picked((np.cumsum(arity) - arity)[order], arity[order], operand, number)
    return tapes.make(
        np.concatenate([tape.code, *entries.code])[order],
        start,
        operand,
        np.concatenate([tape.leaf, *entries.leaf])[order],
        number[place_of(results)],
    )
