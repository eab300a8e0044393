"""Choices: which derivatives must be guarded because a choice may not have taken their operand.

An operand that `where`, `take`, `relu`, `maximum` or `minimum` did not take gets no derivative. On the tape its adjoint
is 0, and 0 times an infinite slope would be NaN. There, and only there, the numbers from which the slope is computed go
through `gate(taken, x)`: x where the entry was taken, a harmless number where it was not.

**Where it is needed.** An entry is *hidden* if every path from it to the result leads through a choice. The rule of a
hidden entry is gated if one of its slopes may be infinite or NaN, that is, if

- its operation has such slopes (`Op.tame`: ÷, log, √, powers, exp) at operands within the bounds known from the tape,
such as 1 + x·x > 0; or
- the rule uses a *wild* number: one made by such an operation while hidden, or computed from one.

An entry that is not hidden counts as finite: otherwise the result would not be finite. So do sums and products of
finite numbers, and parameters and inputs behind a *clamp* (relu, maximum, minimum, and a `where` whose condition
compares its own operand, as in a hand-written relu, or a random number, as in dropout); otherwise every net would pay.
Behind any other choice (`where` and `take`, as for missing values) a hidden parameter or input is wild.

**Masks.** A mask on the tape is not 0 where a path to the result exists along which every choice took its operand: for
a in `where(c, a, b)`, it is `where(c, 1, 0)`. If both sides of a choice lead to an entry, it is always taken and costs
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from macrograd import ops
from macrograd.compiler.rewrite.bounds import COMPARES, Bools, Bounds, untamed, wild
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CONSTANT, Ints, Tape

_CHOICES = [op.code for op in ops.TABLE if op.chooses]
_CLAMPS = [op.code for op in (ops.relu, ops.maximum, ops.minimum)]

ALWAYS = 0  # the mask that is always true


class Masks:
    """The masks, each once, by number; the parts of a mask have smaller numbers.

    ("took", test, sides, mask, choice)  a choice by this test took the operand at one of its sides and was itself taken
                                         by the mask; of all choices with the same test and mask, the first one met
    ("reduce", mask, entry)              true in some sample; for an entry that is the same for all samples
    ("any", masks, entry)                true if one of these is; for the entry
    """

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = [("always",)]
        self._numbers: dict[tuple[Any, ...], int] = {}

    def number(self, kind: str, what: Any, *rest: Any) -> int:
        key = (kind, what, *rest[:2]) if kind == "took" else (kind, what)
        if key not in self._numbers:
            self._numbers[key] = len(self.rows)
            self.rows.append((kind, what, *rest))
        return self._numbers[key]

    def with_parts(self, masks: Iterable[int]) -> list[int]:
        """The masks and all their parts except `ALWAYS`, parts first."""
        found, waiting = set[int](), list(masks)
        while waiting:
            if (mask := waiting.pop()) == ALWAYS or mask in found:
                continue
            found.add(mask)
            kind, what, *rest = self.rows[mask]
            waiting.extend(what if kind == "any" else [what] if kind == "reduce" else [rest[1]])
        return sorted(found)


class Choices:
    """The edges of a tape that its choices hide from the result.

    edges    operand positions through which the result's derivative flows
    gated    by edge: whether its rule must be gated
    taken    by entry that uses a gated edge: the mask that tells whether it was taken
    """

    def __init__(self, tape: Tape, edges: Ints, result: int, varies: Bools) -> None:
        self.tape, self.edges, self.varies = tape, edges, varies
        self.owner = tape.owner[edges]
        self.gated = np.zeros(len(edges), dtype=bool)
        self.masks = Masks()
        self.taken = np.zeros(len(tape), dtype=np.int64)
        chooses = tapes.among(tape.code[self.owner], _CHOICES)
        if not chooses.any():
            return
        hidden = ~self._reached(~chooses, result)
        candidates = hidden[self.owner] & ~chooses
        if not candidates.any():
            return
        guarded = ~self._reached(~chooses | self._clamps(), result)
        users = np.zeros(len(tape), dtype=bool)
        users[self.owner[candidates]] = True
        numbers = np.flatnonzero(tape.code == CONSTANT)
        numbers = numbers[~tapes.finite(tape.leaf[numbers])]
        used = np.zeros(len(tape), dtype=bool)
        used[tape.operand[users[tape.owner]]] = True
        numbers = numbers[used[numbers]]
        slopes = untamed(tape, np.concatenate([np.flatnonzero(users), numbers]), Bounds(tape))
        if not slopes.any() and not (guarded[self.owner] & candidates).any():
            return  # a net
        sure = wild(tape, slopes)
        leaf = guarded & tapes.given(tape)
        loose = wild(tape, slopes | leaf) if leaf.any() else sure
        self.gated = candidates & (slopes[self.owner] | self._uses(guarded[self.owner], sure, loose))
        if self.gated.any():
            self._find_masks(hidden, result)

    def _reached(self, through: Bools, result: int) -> Bools:
        first = np.searchsorted(self.owner[through], np.arange(len(self.tape) + 1))
        return walks.reached(first, self.tape.operand[self.edges[through]], np.array([result]))

    def _clamps(self) -> Bools:
        """Edges of clamps: choices by the operand itself, or by a random number."""
        tape, owner = self.tape, self.owner
        found: Bools = tapes.among(tape.code[owner], _CLAMPS)
        where = np.flatnonzero(tape.code[owner] == ops.where.code)
        condition = tape.operand[tape.start[owner[where]]]
        found[where] = tape.code[condition] == ops.relu.code  # the derivative of a clamp
        compares = tapes.among(tape.code[condition], COMPARES)
        where, condition = where[compares], condition[compares]
        chosen, begin = tape.operand[self.edges[where]], tape.start[condition]
        left, right = tape.operand[begin], tape.operand[begin + 1]
        found[where] = (left == chosen) | (right == chosen) | (tape.code[left] == ops.random.code)
        return found

    def _uses(self, guarded: Bools, sure: Bools, loose: Bools) -> Bools:
        """Whether the rule of an edge uses a number that may be infinite or NaN: an operand or the result."""
        tape = self.tape
        found = np.zeros(len(self.edges), dtype=bool)
        linear = tapes.among(tape.code[self.owner], [op.code for op in (ops.add, ops.sub, ops.neg, ops.sum_)])
        for numbers, here in ((sure, ~guarded & ~linear), (loose, guarded & ~linear)):
            is_dot = tape.code[self.owner] == ops.dot.code
            any_operand = np.bincount(tape.owner[numbers[tape.operand]], minlength=len(tape)) > 0
            found |= here & ~is_dot & (numbers | any_operand)[self.owner]
            pairs = np.flatnonzero(here & is_dot)
            found[pairs] = numbers[self._factor(pairs)]
        return found

    def _factor(self, edges: Ints) -> Ints:
        """The factors of the operands at these edges of dots."""
        at = self.edges[edges]
        odd = (at - self.tape.start[self.owner[edges]]) % 2
        factor: Ints = self.tape.operand[at + 1 - 2 * odd]
        return factor

    # --- what was taken -------------------------------------------------------------------------------------------

    def _find_masks(self, hidden: Bools, result: int) -> None:
        """The masks of the entries whose rules are gated, starting from the result."""
        tape, owner = self.tape, self.owner
        used = tape.operand[self.edges]
        needed = np.zeros(len(tape), dtype=bool)
        needed[owner[self.gated]] = True
        inside = np.flatnonzero(hidden[used])
        for e in inside[np.argsort(used[inside], kind="stable")].tolist():  # and of the users of those
            if needed[used[e]]:
                needed[owner[e]] = True
        ways: dict[int, list[int]] = {}
        for e in inside[needed[used[inside]]].tolist():
            ways.setdefault(int(used[e]), []).append(e)
        masks, taken = self.masks, self.taken
        for i in sorted(ways, reverse=True):
            inner: list[int] = []  # users that vary over the batch, while the entry does not
            outer: list[int] = []
            for e in ways[i]:
                j = int(owner[e])
                mask = int(taken[j])
                if tape.code[j] in _CHOICES:
                    mask = masks.number("took", self._test(j), (int(self.edges[e] - tape.start[j]),), mask, j)
                (inner if self.varies[j] and not self.varies[i] else outer).append(mask)
            if inner:
                mask = self._any(inner, i)
                outer.append(mask if mask == ALWAYS else masks.number("reduce", mask, i))
            taken[i] = self._any(outer, i)
        self.gated &= taken[owner] != ALWAYS

    def _any(self, masks: list[int], i: int) -> int:
        """The mask for entry i that is true if one of these is; for a choice all of whose sides are among them, its own
        mask."""
        waiting, others = list(masks), set[int]()
        sides: dict[tuple[Any, int], set[int]] = {}  # by test and mask
        choices: dict[tuple[Any, int], int] = {}
        while waiting:
            mask = waiting.pop()
            if mask == ALWAYS:
                return ALWAYS
            kind, what, *rest = self.masks.rows[mask]
            if kind == "any":
                waiting.extend(what)
            elif kind == "took":
                some, whole, choice = rest
                found = sides.setdefault((what, whole), set())
                found.update(some)
                choices.setdefault((what, whole), choice)
                if len(found) == self._sides(choice):
                    waiting.append(whole)
            else:
                others.add(mask)
        for (test, whole), found in sides.items():
            choice = choices[test, whole]
            if len(found) != self._sides(choice):
                others.add(self.masks.number("took", test, tuple(sorted(found)), whole, choice))
        several = tuple(sorted(others))
        return several[0] if len(several) == 1 else self.masks.number("any", several, i)

    def _test(self, j: int) -> tuple[int, ...]:
        """What decides a choice: others that it decides take the operands at the same sides."""
        tape = self.tape
        code, begin = int(tape.code[j]), int(tape.start[j])
        if code in (ops.where.code, ops.take.code):
            return code, int(tape.operand[begin]), int(tape.arity[j])
        return (j,)

    def _sides(self, j: int) -> int:
        """The number of sides of which a choice takes exactly one; 0 if it may take none."""
        code = self.tape.code[j]
        if code == ops.take.code:
            return int(self.tape.arity[j]) - 1
        return 2 if code in (ops.where.code, ops.maximum.code, ops.minimum.code) else 0
