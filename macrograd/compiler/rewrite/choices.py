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

import math
from collections.abc import Callable, Iterable, Sequence
from operator import eq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import CALL, CONSTANT, Ints, Tape

Bools = NDArray[np.bool_]
_CHOICES = [op.code for op in ops.TABLE if op.chooses]
_CLAMPS = [op.code for op in (ops.relu, ops.maximum, ops.minimum)]
_FINITE = [op.code for op in (ops.less, ops.less_equal)]  # for any operands
_DEEP = 12  # depth, in operations, of the search for an entry's bounds
_WIDE = 64  # sums of more terms have no known bounds
_ANY = (-math.inf, math.inf)

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
        slopes = _untamed(tape, np.concatenate([np.flatnonzero(users), numbers]), Bounds(tape))
        if not slopes.any() and not (guarded[self.owner] & candidates).any():
            return  # a net
        wild = _wild(tape, slopes)
        leaf = guarded & tapes.given(tape)
        loose = _wild(tape, slopes | leaf) if leaf.any() else wild
        self.gated = candidates & (slopes[self.owner] | self._uses(guarded[self.owner], wild, loose))
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
        compares = tapes.among(tape.code[condition], _FINITE)
        where, condition = where[compares], condition[compares]
        chosen, begin = tape.operand[self.edges[where]], tape.start[condition]
        left, right = tape.operand[begin], tape.operand[begin + 1]
        found[where] = (left == chosen) | (right == chosen) | (tape.code[left] == ops.random.code)
        return found

    def _uses(self, guarded: Bools, wild: Bools, loose: Bools) -> Bools:
        """Whether the rule of an edge uses a number that may be infinite or NaN: an operand or the result."""
        tape = self.tape
        found = np.zeros(len(self.edges), dtype=bool)
        linear = tapes.among(tape.code[self.owner], [op.code for op in (ops.add, ops.sub, ops.neg, ops.sum_)])
        for numbers, here in ((wild, ~guarded & ~linear), (loose, guarded & ~linear)):
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


class Bounds:
    """The lowest and highest values of entries, in float32 too, as far as the few operations before them tell."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._known: dict[int, tuple[float, float]] = {}
        self._found: dict[Any, tuple[float, float]] = {}  # by what decides them: many entries of a net are alike

    def __call__(self, i: int, depth: int = _DEEP) -> tuple[float, float]:
        code = int(self.tape.code[i])
        if code == CONSTANT:
            number = float(self.tape.leaf[i])
            return _rounded((number, number)) if number == number else _ANY
        if code < 0 or not depth:
            return _ANY
        if i not in self._known:
            self._known[i] = self._of(ops.TABLE[code], self.tape.operands(i).tolist(), depth - 1)
        return self._known[i]

    def _of(self, op: ops.Op, operands: list[int], depth: int) -> tuple[float, float]:
        parts: tuple[tuple[float, float], ...] = ()
        same: tuple[bool, ...] = ()
        if len(operands) <= 2 * _WIDE and (op in _PRODUCTS or op.code in _BOUNDS):
            parts = tuple([self(x, depth) for x in operands])
            same = tuple(map(eq, operands[::2], operands[1::2])) if op in _PRODUCTS else ()
        key = op.code, parts, same
        if key not in self._found:
            self._found[key] = _rounded(_computed(op, parts, same))
        return self._found[key]


def _computed(op: ops.Op, parts: Sequence[tuple[float, float]], same: Sequence[bool]) -> tuple[float, float]:
    """The bounds of an operation on operands within `parts`; of pairs of factors, which are the `same`."""
    if not parts:
        return op.range
    if op is ops.power:
        return _product(parts[0], parts[0], same=True) if parts[1] == (2.0, 2.0) else op.range
    if op in _PRODUCTS:
        return _total([_product(*pair) for pair in zip(parts[::2], parts[1::2], same, strict=True)])
    return _BOUNDS[op.code](*parts)


def _product(a: tuple[float, float], b: tuple[float, float], same: bool) -> tuple[float, float]:
    low, high = _times(a, b)
    return (max(low, 0.0), high) if same else (low, high)


def _rounded(bounds: tuple[float, float]) -> tuple[float, float]:
    """The bounds with the 0 or infinity that a float32 has in place of numbers beyond its range: those above it are
    anything from its end on."""
    least, end = tapes.SINGLE_ENDS
    found = [x for x in bounds if abs(x) < end]
    for x in bounds:
        if abs(x) <= least:
            found.append(0.0)
        elif abs(x) >= end:
            found += [math.copysign(end, x), math.copysign(math.inf, x)]
    return min(found), max(found)


def _total(terms: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return -_most([-a for a, _ in terms]), _most([b for _, b in terms])


def _most(ends: list[float]) -> float:
    """The largest sum of numbers up to these: more than 0 where what is left of it may be a rounding in float32."""
    if math.inf in ends:
        return math.inf
    total, slack = math.fsum(ends), 2.0**-22 * math.fsum(map(abs, ends))
    cancels = min(ends) < 0.0 < max(ends) and -slack <= total < slack
    return slack if cancels else total


def _times(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    corners = [x * y if x and y else 0.0 for x in a for y in b]
    return min(corners), max(corners)


def _turned(a: tuple[float, float]) -> tuple[float, float]:
    return -a[1], -a[0]


def _quotient(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return _times(a, (1.0 / b[1], 1.0 / b[0])) if b[0] > 0.0 else _ANY


def _root(a: tuple[float, float]) -> tuple[float, float]:
    return math.sqrt(max(a[0], 0.0)), math.sqrt(max(a[1], 0.0))


_PRODUCTS = (ops.mul, ops.dot, ops.power)
_BOUNDS: dict[int, Callable[..., tuple[float, float]]] = {
    ops.sqrt.code: _root,
    ops.add.code: lambda a, b: _total([a, b]),
    ops.sub.code: lambda a, b: _total([a, _turned(b)]),
    ops.sum_.code: lambda *terms: _total(terms),
    ops.neg.code: _turned,
    ops.div.code: _quotient,
    ops.maximum.code: lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    ops.minimum.code: lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    ops.where.code: lambda c, a, b: (min(a[0], b[0]), max(a[1], b[1])),
    ops.gate.code: lambda taken, a: (min(a[0], ops.HARMLESS), max(a[1], ops.HARMLESS)),
    ops.relu.code: lambda a: (max(a[0], 0.0), max(a[1], 0.0)),
    ops.detach.code: lambda a: a,
}


def _untamed(tape: Tape, among: Ints, bounds: Bounds) -> Bools:
    """Which of the entries may have an infinite or NaN value or slope although their operands are finite."""
    found = np.zeros(len(tape), dtype=bool)
    numbers = among[(tape.code[among] == CONSTANT)]
    found[numbers] = ~tapes.finite(tape.leaf[numbers])
    for code in tapes.distinct(tape.code[among]).tolist():
        tame = (code < 0 and code != CALL) or (code >= 0 and ops.TABLE[code].tame)
        if tame is True:
            continue
        entries = among[tape.code[among] == code]
        if not tame:
            found[entries] = True
            continue
        known: dict[tuple[tuple[float, float], ...], bool] = {}
        for i in entries.tolist():
            parts = tuple([bounds(x) for x in tape.operands(i).tolist()])
            if parts not in known:
                known[parts] = bool(tame(*parts))
            found[i] = not known[parts]
    return found


def _wild(tape: Tape, made: Bools) -> Bools:
    """The entries that are among those `made` or computed from them."""
    ends = -tapes.among(tape.code, _FINITE).astype(np.int64)
    found: Bools = walks.longest(tape.start, tape.operand, made.astype(np.int64), ends) > 0
    return found


def without_gates(tape: Tape) -> Tape:
    """gate(t, x) = x if neither x nor a slope computed from it can be infinite or NaN. `macrograd.grad` in a compiled
    function records a gate behind every choice; this removes those that are not needed. The module docstring tells what
    counts as finite, except that such a tape does not show which entries are hidden."""
    gates = np.flatnonzero(tape.code == ops.gate.code)
    if not len(gates):
        return tape
    taken, x = tape.operand[tape.start[gates]], tape.operand[tape.start[gates] + 1]
    slopes = _untamed(tape, np.flatnonzero(tapes.reached(tape)), Bounds(tape))
    used = walks.reached(tape.start, tape.operand, tape.operand[slopes[tape.owner]])
    leaf = tapes.given(tape)
    loose, wild = _wild(tape, slopes | leaf), _wild(tape, slopes)
    needless = ~np.where(_of_clamps(tape, taken)[taken], wild[x], loose[x]) & ~used[gates]
    needless |= (tape.code[taken] == CONSTANT) & (tape.leaf[taken] != 0.0)
    alias = np.arange(len(tape))
    alias[gates[needless]] = x[needless]
    if not needless.any():
        return tape
    while not np.array_equal(further := alias[alias], alias):
        alias = further
    return tapes.make(tape.code, tape.start, alias[tape.operand], tape.leaf, alias[tape.results])


def _of_clamps(tape: Tape, taken: Ints) -> Bools:
    """Which masks depend on clamps alone; of the choices by a comparison, only those of `maximum`, `minimum` and
    dropout can be recognised here."""
    found = np.zeros(len(tape), dtype=bool)
    code, leaf = tape.code.tolist(), tape.leaf.tolist()
    masks = walks.reached(tape.start, tape.operand, taken) & tapes.among(tape.code, [ops.where.code, ops.maximum.code])
    for i in np.flatnonzero(masks).tolist():
        operands = tape.operands(i).tolist()
        if code[i] == ops.maximum.code:
            found[i] = found[operands].any()
            continue
        condition, a, b = operands
        if code[a] != CONSTANT:  # where(mask, the mask behind it, 0)
            found[i] = found[condition] and found[a]
            continue
        inner = tape.operands(b).tolist() if code[b] == ops.where.code else []
        halves = any(code[k] == CONSTANT and leaf[k] == 0.5 for k in inner)
        drawn = code[condition] in _FINITE and code[tape.operands(condition)[0]] == ops.random.code
        found[i] = code[condition] == ops.relu.code or drawn or halves
    return found
