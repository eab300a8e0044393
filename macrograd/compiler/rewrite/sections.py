"""The tapes of derivatives of sections, from the tape of the section (`trace/calls.py`).

The tape of a section has the inputs

    carry, outside, rows, the numbers of its rounds, the elements that it reads (round by round for each read)

and the results: the carry after it, what it puts out (round by round for each kind), the rows that it fills besides the
carry before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from macrograd import ops
from macrograd.compiler.rewrite.ahead import ahead
from macrograd.compiler.rewrite.differentiate import differentiate
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import CONSTANT, INPUT, Tape
from macrograd.compiler.trace.calls import Calls, Derivative, Derived, Tangent


def derived(
    tape: Tape, calls: Calls, made: Derived, written: int, counters: int, *, strict: bool, scatter: bool
) -> Tape:
    """The tape of a derivative of a section, of which `written` rounds are on the tape and `counters` of these have
    inputs for their numbers."""
    section = _Section(tape, calls, made, written, counters)
    if isinstance(made, Tangent):
        return section.tangent(made)
    return section.derivative(made, strict=strict, scatter=scatter)


class _Section:
    """A section's tape, with its inputs where the derivative has them.

    at  the entries of its inputs, by their old numbers
    """

    def __init__(self, tape: Tape, calls: Calls, made: Derived, written: int, counters: int) -> None:
        self.calls, self.written = calls, written
        self.of, self.shape = of, shape = calls.shape(made.of), calls.shape(calls.derived(made))
        # Where the inputs begin: those of the section, and those of the derivative.
        self.old_rows = of.inner
        self.old_reads = self.old_rows + sum(of.rows) + counters
        self.rows = shape.inner
        numbers = self.rows + sum(shape.rows)
        self.reads = numbers + counters
        self.added = self.rows + of.carry + sum(of.rows)
        self.of_reads = written * len(of.reads)
        place = [  # of an old input among the new ones
            *range(self.rows, self.rows + of.carry),  # the carry before the section is a row now
            *range(shape.carry, shape.carry + of.outside),
            *range(self.rows + of.carry, self.added),
            *range(numbers, self.reads + self.of_reads),
        ]
        given = np.flatnonzero(tape.code == INPUT)
        old = tape.leaf[given].astype(np.int64)
        missing = np.setdiff1d(np.arange(len(place)), old)
        leaf = np.concatenate([tape.leaf, np.zeros(len(missing))])
        new = np.array(place, dtype=np.float64)
        leaf[given], leaf[len(tape) :] = new[old], new[missing]
        self.tape = tapes.make(
            np.concatenate([tape.code, np.full(len(missing), INPUT)]),
            np.concatenate([tape.start, np.full(len(missing), tape.start[-1])]),
            tape.operand,
            leaf,
            tape.results,
        )
        self.at = np.empty(len(place), dtype=np.int64)
        self.at[old], self.at[missing] = given, len(tape) + np.arange(len(missing))
        self.results = tape.results.tolist()
        self.fills = np.cumsum([of.carry + written * len(of.outs), *calls.fills(made.of)]).tolist()

    def reads_of(self, kinds: Iterable[int]) -> list[int]:
        """The old numbers of the inputs that are elements of these reads."""
        return [self.old_reads + kind * self.written + k for kind in kinds for k in range(self.written)]

    def row(self, number: int) -> int:
        """The old number of the first input of a row."""
        return self.old_rows + sum(self.of.rows[:number])

    def filled(self, row: int, k: int) -> int:
        """The entry of a number in a row that the section fills."""
        return int(self.at[k]) if not row else int(self.results[self.fills[row - 1] + k])

    def derivative(self, made: Derivative, *, strict: bool, scatter: bool) -> Tape:
        """The derivative of the sum of all results times their adjoints, and of the operands from outside times the
        sums so far."""
        of, shape, calls = self.of, self.shape, self.calls
        sums = calls.sums(made)
        outs = range(of.carry, self.fills[0])
        terms = [(self.results[k], k) for k in range(of.carry)]
        terms += [(int(self.at[p]), of.carry + k) for k, p in enumerate(sums)]
        terms += [(self.results[k], self.reads + self.of_reads + k - of.carry) for k in outs]
        begin = self.added
        for row, *_ in made.added:
            width = calls.width(made.of, row)
            terms += [(self.filled(row, k), begin + k) for k in range(width)]
            begin += width
        wrt = [*range(of.carry), *sums, *self.reads_of(calls.wanted_reads(made))]
        plain = len(wrt)
        for row in made.rows:
            wrt += range(self.row(row), self.row(row) + of.rows[row])
        whole = differentiate(
            _total(self.tape, terms), batch=False, strict=strict, wrt=self.at[wrt], calls=calls, scatter=scatter
        )
        found = replace(whole, results=whole.results[1:])
        if made.masked:
            found = _masked(found, plain, shape.carry + of.outside)
        return tapes.select(found, tapes.reached(found) | tapes.given(found))

    def tangent(self, made: Tangent) -> Tape:
        """The tangents of the results, from those of the carry, from outside, of reads and of rows."""
        of, calls = self.of, self.calls
        sums = calls.sums(made)
        along = dict(zip(made.carry, range(len(made.carry)), strict=True))
        along |= {p: self.shape.carry + of.outside + k for k, p in enumerate(sums)}
        reads = self.reads_of(calls.wanted_reads(made))
        along |= {x: self.reads + self.of_reads + k for k, x in enumerate(reads)}
        begin = self.added
        for row, call, theirs in made.added:
            changed = calls.changed(call, theirs)
            along |= {self.row(row) + k: begin + j for j, k in enumerate(changed)}
            begin += len(changed)
        wanted = [*made.carry]
        wanted += [of.carry + kind * self.written + k for kind in made.outs for k in range(self.written)]
        wanted += range(self.fills[0], self.fills[-1])
        tape = replace(self.tape, results=self.tape.results[wanted])
        return ahead(tape, {int(self.at[old]): new for old, new in along.items()}, calls)


def _total(tape: Tape, terms: list[tuple[int, int]]) -> Tape:
    """The tape of the sum of products of entries and of inputs by number."""
    n, many = len(tape), len(terms)
    products = n + many + np.arange(many)
    operand = np.stack([np.array([x for x, _ in terms], dtype=np.int64), n + np.arange(many)], axis=1).ravel()
    code = [np.full(many, INPUT), np.full(many, ops.mul.code), [ops.sum_.code]]
    start = tape.start[-1] + np.concatenate([np.zeros(many, np.int64), 2 * np.arange(1, many + 1), [3 * many]])
    leaf = [np.array([x for _, x in terms], dtype=np.float64), np.zeros(many + 1)]
    return tapes.make(
        np.concatenate([tape.code, *code]),
        np.concatenate([tape.start, start]),
        np.concatenate([tape.operand, operand, products]),
        np.concatenate([tape.leaf, *leaf]),
        [n + 2 * many],
    )


def _masked(tape: Tape, first: int, mask: int) -> Tape:
    """The tape whose results from the first of some on are 0 where the input `mask` is 0."""
    n, many = len(tape), len(tape.results) - first
    taken, zero = n, n + 1
    operands = np.array([[taken, x, zero] for x in tape.results[first:].tolist()], dtype=np.int64).ravel()
    return tapes.make(
        np.concatenate([tape.code, [INPUT, CONSTANT], np.full(many, ops.where.code)]),
        np.concatenate([tape.start, [tape.start[-1]] * 2, tape.start[-1] + 3 * np.arange(1, many + 1)]),
        np.concatenate([tape.operand, operands]),
        np.concatenate([tape.leaf, [mask, 0.0], np.zeros(many)]),
        np.concatenate([tape.results[:first], n + 2 + np.arange(many)]),
    )
