"""Equal bodies: branches, rounds and solvers that a function writes many times, for example in a Python loop.

All of them call one section (`sections.py`), which is recorded, differentiated and compiled once. Their calls are then
the same operation of the tape, in which `roll` finds groups and loops as in any other.

The first body of a form has its numbers in its section. If another is the same but for some numbers, as with `0.1 * k`
in a Python loop over k, these are operands of its call, and so they are for all that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.tape.tape import CALL
from macrograd.compiler.trace.sections import Section

Form = tuple[Any, ...]
Place = tuple[int, int]  # the id of an operation, and the position of an operand

_FIXED = (ops.power, ops.take)  # whose numbers decide what becomes of them: a square is a product
_MOST_TRIED = 3  # sections of one form that have some of the numbers; then there is one that has none
_MOST_NUMBERS = 200  # as operands of a call


def form_of(
    order: Sequence[Any], roots: Sequence[Any], own: Sequence[Any], mark: Callable[[Any], Hashable]
) -> tuple[Form, list[Any], list[tuple[Place, Any]]]:
    """The form of the Values in this order, with the results `roots` and leaves of their `own`; what they use besides,
    in order of first use; and the numbers that are not part of the form, with their places. Bodies of the same form
    are the same program of these two. The `mark` of a Value is what a trace knows of it besides its operation."""
    number = {id(x): k for k, x in enumerate((*own, *order))}
    known = len(number)
    outside: list[Any] = []
    numbers: list[tuple[Place, Any]] = []
    found: list[Any] = [len(own), len(order)]

    def use(x: Any) -> None:
        k = number.get(id(x))
        if k is None and x.op is ops.CONSTANT:
            found.append(x._data.hex())  # −0.0 is not 0.0, and a NaN is itself
            return
        if k is None:
            k = number[id(x)] = known + len(outside)
            outside.append(x)
        found.append(k)

    for x in order:
        inputs = x.inputs
        found += x.op.code, x.op.number if x.op.code == CALL else 0, mark(x), len(inputs)
        free = x.op.code >= 0 and x.op not in _FIXED
        for p, y in enumerate(inputs):
            if free and y.op is ops.CONSTANT and id(y) not in number:
                numbers.append(((id(x), p), y))
                found.append("a number")
            else:
                use(y)
    for x in roots:
        use(x)
    return tuple(found), outside, numbers


@dataclass
class Kind:
    """A section that bodies of one form call which agree in some numbers.

    numbers  those of the first such body
    groups   the places among them of those that are operands: each operand's
    """

    section: Section
    numbers: list[str]
    groups: list[list[int]]

    def operands(self, numbers: Sequence[str]) -> list[int] | None:
        """Where the operands of a call stand among a body's numbers; None if it differs elsewhere."""
        found = list(self.numbers)
        for group in self.groups:
            for k in group:
                found[k] = numbers[group[0]]
        return [group[0] for group in self.groups] if found == list(numbers) else None

    def lifted(self, numbers: Sequence[tuple[Place, Any]], leaves: Sequence[Any]) -> dict[Place, Any]:
        """The leaf of the section in place of each number that is an operand."""
        return {numbers[k][0]: leaf for group, leaf in zip(self.groups, leaves, strict=True) for k in group}


class Kinds:
    """The sections that have been written, by the forms of their bodies."""

    def __init__(self) -> None:
        self._known: dict[Form, list[Kind]] = {}

    def of(self, form: Form, numbers: Sequence[tuple[Place, Any]], section: Section) -> tuple[Kind, list[Any]]:
        """What a body of this form calls, which is `section` if it is the first of its kind, and the numbers that are
        operands of the call."""
        texts = [x._data.hex() for _, x in numbers]
        kinds = self._known.setdefault(form, [])
        for kind in kinds:
            places = kind.operands(texts)
            if places is not None:
                return kind, [numbers[k][1] for k in places]
        groups: dict[Any, list[int]] = {}
        for k, text in enumerate(texts if kinds else ()):
            before = kinds[-1].numbers[k]
            if len(kinds) > _MOST_TRIED:
                groups[k] = [k]
            elif before != text:
                groups.setdefault((before, text), []).append(k)
        kind = Kind(section, texts, list(groups.values()) if len(groups) <= _MOST_NUMBERS else [])
        kinds.append(kind)
        return kind, [numbers[group[0]][1] for group in kind.groups]
