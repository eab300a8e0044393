"""Forward derivatives of a tape: the tangents of its results, from those of some of its inputs.

    d(out)  =  Σ  rule(d(x), out, operands)      over the operands x that change

with the rules of the op table, copied for all entries of an operation at once, as `differentiate` does, and added in
the order of `macrograd.rules.ahead`. A program's own derivatives are taken in reverse; this is for the sections of
loops, where a derivative inside the function goes forward through a call (`trace/calls.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from macrograd import ops
from macrograd.compiler.rewrite.derivatives import Bools, flows, instantiate, rules
from macrograd.compiler.rewrite.entries import ADJOINTS, Entries, assembled
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CALL, CONSTANT, INPUT, OUT, Ints, Tape
from macrograd.compiler.trace.calls import Calls


class _Ahead(Entries):
    """New entries, of which those of an entry follow it at once. The operand ADJOINTS + i is the tangent of entry i."""

    def before(self, entry: Ints) -> Ints:
        return np.full(len(entry), -1)

    def after(self, entry: Ints) -> Ints:
        return 2 * entry + 1


def ahead(tape: Tape, given: Mapping[int, int], calls: Calls) -> Tape:
    """The tape of the tangents of the results; the tangent of entry k is input `given[k]`."""
    found = _Tangents(tape, calls)
    found.leaves(given)
    found.operations()
    found.calls()
    results = np.where(found.moves[tape.results], ADJOINTS + tape.results, found.zero)
    made = assembled(tape, found.entries, found.alias, results)
    return tapes.select(made, tapes.reached(made) | tapes.given(made))


class _Tangents:
    """The tangents of the entries that change: `alias` has the ids of their entries."""

    def __init__(self, tape: Tape, calls: Calls) -> None:
        self.tape, self._calls = tape, calls
        self.entries = _Ahead(len(tape))
        self.alias = np.full(len(tape), -1)
        self.head = np.array([len(tape)])
        self.zero = int(self.entries.add(CONSTANT, [], self.entries.before(self.head), 0.0)[0])
        self.moves: Bools = np.zeros(len(tape), dtype=bool)
        self.edges: Ints = np.empty(0, dtype=np.int64)  # operand positions along which tangents flow
        self.made: dict[int, tuple[int, list[int]]] = {}  # the numbers of calls' tangents and their operands, by entry

    def leaves(self, given: Mapping[int, int]) -> None:
        """Find what changes."""
        leaf = np.array(list(given.values()), dtype=np.float64)
        which = np.array(list(given), dtype=np.int64)
        place = np.repeat(self.entries.before(self.head), len(which))
        self.alias[which] = self.entries.add(INPUT, [], place, leaf)
        tape, flow = self.tape, flows(self.tape)
        own = np.zeros(len(tape), dtype=np.int64)
        own[which] = 1
        while True:
            ways = np.flatnonzero(flow)
            first = np.searchsorted(tape.owner[ways], np.arange(len(tape) + 1))
            self.moves = walks.longest(first, tape.operand[ways], own, np.zeros_like(own)) > 0
            self.edges = ways[self.moves[tape.operand[ways]]]
            fixed = self._fixed()
            if not len(fixed):
                return
            flow[tape.start[fixed]] = False

    def _fixed(self) -> Ints:
        """Results of calls that do not change, although something that goes into the call does."""
        tape, found = self.tape, []
        self.made.clear()
        for c in np.flatnonzero((tape.code == CALL) & self.moves).tolist():
            if (made := self._call(c)) is not None:
                self.made[c] = made
        for k in np.flatnonzero((tape.code == OUT) & self.moves).tolist():
            call, which = tape.operands(k).tolist()
            made = self.made.get(call)
            if made is None or self._calls.tangent_of(made[0], int(tape.leaf[which])) is None:
                found.append(k)
        return np.array(found, dtype=np.int64)

    def _call(self, c: int) -> tuple[int, list[int]] | None:
        """The number and the operands of the tangent of a call."""
        tape = self.tape
        inputs = tape.operands(c).tolist()
        along = {p: ADJOINTS + x for p, x in enumerate(inputs) if self.moves[x] and self._fills(x)}
        number = int(tape.leaf[c])
        return self._calls.tangent(number, c, inputs, along, lambda x: self.made[x - ADJOINTS][0], self.zero)

    def _fills(self, x: int) -> bool:
        """Whether something that changes has a tangent: a call may have none."""
        return self.tape.code[x] != CALL or x in self.made

    def calls(self) -> None:
        tape, entries = self.tape, self.entries
        for c, (number, operands) in self.made.items():
            place = entries.after(np.array([c]))
            back = entries.add_variadic(CALL, np.array([len(operands)]), np.array(operands), place, float(number))
            self.alias[c] = back[0]
        for k in np.flatnonzero((tape.code == OUT) & self.moves).tolist():
            call, which = tape.operands(k).tolist()
            result = self._calls.tangent_of(self.made[call][0], int(tape.leaf[which]))
            assert result is not None
            leaf = entries.add(CONSTANT, [], entries.before(self.head), float(result))
            place = entries.after(np.array([k]))
            self.alias[k] = entries.add(OUT, [np.array([ADJOINTS + call]), leaf], place)[0]

    def operations(self) -> None:
        owner = self.tape.owner[self.edges]
        codes = self.tape.code[owner]
        for code in tapes.distinct(codes).tolist():
            if code < 0:
                continue
            edges = self.edges[codes == code]
            op = ops.TABLE[code]
            if op is ops.take:
                self._takes(edges)
            elif op is ops.dot or op is ops.sum_:
                self._sums(edges, op.code)
            else:
                self._rules(edges, op)

    def _takes(self, edges: Ints) -> None:
        """take(i, x₀, x₁, …) of the tangents, 0 for one that does not change."""
        tape = self.tape
        users = tapes.distinct(tape.owner[edges])
        arity = tape.arity[users]
        operand = tape.operand[tapes.ranges(tape.start[users], arity)]
        first = np.cumsum(arity) - arity
        tangents = np.where(self.moves[operand], ADJOINTS + operand, self.zero)
        tangents[first] = operand[first]
        self.alias[users] = self.entries.add_variadic(ops.take.code, arity, tangents, self.entries.after(users))

    def _sums(self, edges: Ints, code: int) -> None:
        """The sum of the tangents, of a sum of products each times the other factor."""
        tape = self.tape
        owner, operand = tape.owner[edges], ADJOINTS + tape.operand[edges]
        if code == ops.dot.code:
            side = (edges - tape.start[owner]) % 2
            self._combine(owner, np.stack([operand, tape.operand[edges + 1 - 2 * side]], axis=1).ravel(), code, 2)
        else:
            self._combine(owner, operand, code, 1)

    def _rules(self, edges: Ints, op: ops.Op) -> None:
        tape = self.tape
        owner = tape.owner[edges]
        slot = op.slot(edges - tape.start[owner])
        gain = np.empty(len(edges), dtype=np.int64)
        for k, rule in enumerate(rules(op.code)):
            pick = np.flatnonzero(slot == k)
            if rule is not None and len(pick):
                users, along = owner[pick], ADJOINTS + tape.operand[edges[pick]]
                gain[pick] = instantiate(rule, users, tape.start[users], tape, self.entries, along)
        self._combine(owner, gain, ops.add.code if op.arity == 2 else ops.sum_.code, 1)

    def _combine(self, owner: Ints, operand: Ints, code: int, each: int) -> None:
        """Add up the (adjacent) terms of an entry, of `each` operands; a single term of one stands for itself."""
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        count = np.diff(np.append(first, len(owner)))
        users = owner[first]
        many = (count > 1) | (each > 1)
        self.alias[users[~many]] = operand[first[~many]]
        if many.any():
            some = operand[tapes.ranges(each * first[many], each * count[many])]
            place = self.entries.after(users[many])
            self.alias[users[many]] = self.entries.add_variadic(code, each * count[many], some, place)
