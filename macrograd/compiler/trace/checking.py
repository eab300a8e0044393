"""What a program checks when it runs: the index of each `take`, and what `Recording.checked` was told.

A check is part of the program only if a result depends on it. Eagerly it raises in any case, so a trace notes by which
Values each check shows. If none of them is used, another trace makes the first result depend on the check (`tied`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from macrograd import ops
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import Tape
from macrograd.value import constant

Check = tuple[Any, ...]
_SHOWN = 3  # lines in an error


class Unused(Exception):  # noqa: N818 - a request, not an error
    """The results depend on none of the Values of these checks, by their numbers."""

    def __init__(self, checks: frozenset[int]) -> None:
        super().__init__("a check would not be part of the program")
        self.checks = checks


class Checks:
    """The checks of one trace.

    messages  what the program says where a check fails
    lines     of the takes from so many values, where they stand in the user's program
    made      for each check the Values of which one must be used
    """

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.lines: dict[int, list[str]] = {}
        self.made: list[Check] = []

    def message(self, text: str) -> int:
        """The number of a message."""
        if text not in self.messages:
            self.messages.append(text)
        return self.messages.index(text)

    def take(self, found: Sequence[Any], count: int, line: str) -> None:
        """Note takes by the same index, from so many values each."""
        if line not in (lines := self.lines.setdefault(count, [])):
            lines.append(line)
        self.made.append(tuple(found))

    def where(self, count: int | None = None) -> str:
        """Where the takes from so many values, or all, stand in the user's program, for an error."""
        lines = [x for k, some in self.lines.items() if count in (None, k) for x in some]
        return f", at {' or '.join(lines[:_SHOWN])}{' or another line' * (len(lines) > _SHOWN)}" if lines else ""

    def since(self, mark: int) -> list[Check]:
        """Forget and return the checks made since there were this many."""
        found = self.made[mark:]
        del self.made[mark:]
        return found

    def unused(self, tape: Tape, results: int, known: frozenset[int]) -> frozenset[int]:
        """The numbers of the checks that no result needs. After its first `results`, the results of the tape are the
        Values of all checks but the `known` ones."""
        used = tapes.reached(replace(tape, results=tape.results[:results]))
        found, at = set[int](), results
        for k, values in enumerate(self.made):
            if k not in known:
                if not used[tape.results[at : at + len(values)]].any():
                    found.add(k)
                at += len(values)
        return frozenset(found)

    def values(self, known: frozenset[int]) -> list[Any]:
        """The Values of all checks but the `known` ones."""
        return [constant(x) for x in chain(*(check for k, check in enumerate(self.made) if k not in known))]


def tied(x: Any, checks: Sequence[Check], compared: Callable[[Any], None]) -> Any:
    """x, with the same bits and derivatives, so that it depends on these checks."""
    zeros = [ops.less(2.0, ops.less(check[0], 0.0)) for check in checks]
    total = zeros[0] if len(zeros) == 1 else ops.sum_(*zeros)
    compared(total)  # eagerly there is none
    return ops.sub(x, total)  # −0.0 − 0.0 is −0.0


class Inside:
    """The checks in the body of a loop.

    made   by which Values of the body they show
    added  how many numbers were added to the state, which show those that nothing else does
    """

    def __init__(self, made: list[Check]) -> None:
        self.made, self.added = made, 0
        self._by: list[tuple[list[int], list[int]]] = []  # for each the numbers of the state, and of what is kept

    def unseen(
        self,
        order: Sequence[Any],
        inner: Callable[[Any], Sequence[Any]],
        outs: Sequence[Any],
        kept: Sequence[Any],
        depends: Sequence[int],
    ) -> list[Check]:
        """The checks of which neither a number of the state, after any number of rounds, nor one that is kept shows
        anything. `order` are the body's Values, of which `inner` gives the operands, and each number of the next state
        `depends` on some (bits)."""
        bits = self._bits(order, inner)
        found = []
        for k, check in enumerate(self.made):
            state, rows = ([j for j, x in enumerate(some) if bits.get(id(x), 0) >> k & 1] for some in (outs, kept))
            if (state := _lasting(state, depends)) or rows:
                self._by.append((state, rows))
            else:
                found.append(check)
        if found:
            self.added = 1
            self._by.append(([len(outs)], []))
        return found

    def _bits(self, order: Sequence[Any], inner: Callable[[Any], Sequence[Any]]) -> dict[int, int]:
        """The checks that a Value of the body depends on, as bits, by its id."""
        found: dict[int, int] = {}
        for k, check in enumerate(self.made):
            for x in check:
                found[id(x)] = found.get(id(x), 0) | 1 << k
        for x in order:
            bits = found.get(id(x), 0)
            for y in inner(x):
                bits |= found.get(id(y), 0)
            if bits:
                found[id(x)] = bits
        return found

    def after(self, state: Sequence[Any], columns: Sequence[Sequence[Any]]) -> list[Check]:
        """The checks, as they show after the loop."""
        return [(*(state[k] for k in some), *(x for k in rows for x in columns[k])) for some, rows in self._by]


def _lasting(slots: Sequence[int], depends: Sequence[int]) -> list[int]:
    """The numbers of a state that carry on what enters those at `slots`, for any number of rounds: those that it
    reaches and that lead back to themselves. `depends` has the slots that each depends on, as bits."""
    after = [[j for j, mask in enumerate(depends) if mask >> k & 1] for k in range(len(depends))]

    def reached(begin: Sequence[int]) -> set[int]:
        seen, stack = set(begin), list(begin)
        while stack:
            new = [j for j in after[stack.pop()] if j not in seen]
            seen.update(new)
            stack += new
        return seen

    return [k for k in sorted(reached(slots)) if k in reached(after[k])]
