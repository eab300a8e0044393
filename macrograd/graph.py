"""Walks over a graph of Values, which decide the order of visits.

Every walk is iterative, takes operands from left to right and compares Values by identity, so its order depends on the
graph alone, not on addresses or hashes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Protocol, TypeVar

from macrograd.ops import Op


class Node(Protocol):
    """The part of a `Value` that the walks use: its number, gradient, operation and operands."""

    op: Op | None
    _a: Any
    _b: Any
    _grad: Any

    @property
    def data(self) -> float: ...
    @property
    def inputs(self) -> tuple[Any, ...]: ...


N = TypeVar("N", bound=Node)


def topological(
    *roots: N, stop: Iterable[N] = (), seen: set[int] | None = None, within: Container[int] | None = None
) -> list[N]:
    """The roots and every Value that they were computed from, operands before results.

    Leaves out the Values in `stop` with everything that only they were computed from, and those whose ids are in
    `seen`, to which this walk adds its own: several walks with the same set list every Value once. It does not go
    beyond the Values whose ids are `within`, if given. The order is that of
    a depth-first walk that takes operands from left to right, so it depends on the graph alone and not on addresses.
    Iterative: a chain of a million operations is no deeper than a short one.
    """
    order: list[N] = []
    seen = set() if seen is None else seen
    seen.update(map(id, stop))
    mark = seen.add
    # None on the stack means that all operands of the Value below it have been listed.
    stack: list[Any] = list(reversed(roots))
    pop, push, extend, emit = stack.pop, stack.append, stack.extend, order.append
    while stack:
        node = pop()
        if node is None:
            emit(pop())
            continue
        key = id(node)
        if key in seen or (within is not None and key not in within):
            continue
        mark(key)
        a, b = node._a, node._b
        if a is None:
            emit(node)
            continue
        push(node)
        push(None)
        if b is not None:
            push(b)
            push(a)
        elif a.__class__ is tuple:
            extend(a[::-1])
        else:
            push(a)
    return order


class _Mark(float):
    """The mark that `interior` leaves in `.grad`: recognised by identity, and still a number if the walk is
    interrupted."""

    __slots__ = ()


def interior(root: Any, fresh: float) -> tuple[list[Any], bool]:
    """`topological(root)` without the leaves, for `backward`, which spends most of a small step here; and whether some
    may be out of date, met by a backward or built before a number changed: their gradient is not the object `fresh`.

    Instead of keeping a set it marks the Values seen in their `.grad`, which backward overwrites anyway: first as
    entered, with operands still to come, then as listed.
    """
    if root._a is None:
        return [], False
    again = False
    order: list[Any] = []
    entered, listed = _Mark(), _Mark()
    stack: list[Any] = [root]
    pop, push, emit = stack.pop, stack.append, order.append
    while stack:
        node = pop()
        state = node._grad
        if state is listed:
            continue
        if state is entered:
            node._grad = listed
            emit(node)
            continue
        while True:  # go down the first operand at once, and leave the others on the stack
            a, b = node._a, node._b
            if state is not fresh:
                again = True
            if b is not None:
                down = a._a is not None and (state := a._grad) is not listed
                if b._a is not None and b._grad is not listed:
                    node._grad = entered
                    push(node)
                    push(b)
                elif down:
                    node._grad = entered
                    push(node)
                else:
                    node._grad = listed
                    emit(node)
                    break
                if not down:
                    break
                node = a
                continue
            node._grad = entered
            push(node)
            if a.__class__ is tuple:
                stack.extend([x for x in a[::-1] if x._a is not None and x._grad is not listed])
                break
            if a._a is None or (state := a._grad) is listed:
                break
            node = a
    return order, again
