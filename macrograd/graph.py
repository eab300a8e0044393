"""Walks over the graph that Values make: in which order to visit it.

Every walk is iterative, takes operands from left to right and knows a Value by its identity, so its order depends on
the graph alone: not on addresses, not on hashes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from macrograd.ops import Op


class Node(Protocol):
    """What the walks know of a `Value`: its number, its gradient, its operation and its operands (see there)."""

    op: Op | None
    _a: Any
    _b: Any

    @property
    def data(self) -> float: ...
    @property
    def grad(self) -> Any: ...
    @property
    def inputs(self) -> tuple[Any, ...]: ...


N = TypeVar("N", bound=Node)


def topological(*roots: N, stop: Iterable[N] = (), seen: set[int] | None = None) -> list[N]:
    """Every Value that the roots were computed from and the roots themselves, operands before results.

    The Values in `stop`, and what only they were computed from, are left out; so are those whose ids are in `seen`, to
    which this walk adds its own: several walks with the same set list every Value once. The order is that of a
    depth-first walk that takes operands from left to right, so it depends on the graph alone and not on addresses.
    Iterative: a chain of a million operations is no deeper than a short one.
    """
    order: list[N] = []
    seen = set() if seen is None else seen
    seen.update(map(id, stop))
    mark = seen.add
    # None on the stack means that the Value below it has had all its operands listed.
    stack: list[Any] = list(reversed(roots))
    pop, push, extend, emit = stack.pop, stack.append, stack.extend, order.append
    while stack:
        node = pop()
        if node is None:
            emit(pop())
            continue
        key = id(node)
        if key in seen:
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
    """What `interior` leaves in `.grad`: known by its identity, and a number even when the walk is broken off."""

    __slots__ = ()


def interior(root: Any, fresh: float) -> tuple[list[Any], bool]:
    """`topological(root)` without the leaves, for `backward`: most of the time of a small step is spent here; and
    whether some may be out of date: met by a backward, or built before a number changed, where their gradient is
    another object than `fresh`.

    Instead of a set of the Values seen it marks them in their `.grad`, which backward writes anew anyway: first as
    entered, with the operands still to come, then as listed.
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
        state = node.grad
        if state is listed:
            continue
        if state is entered:
            node.grad = listed
            emit(node)
            continue
        while True:  # go down the first operand at once, and leave the others on the stack
            a, b = node._a, node._b
            if state is not fresh:
                again = True
            if b is not None:
                down = a._a is not None and (state := a.grad) is not listed
                if b._a is not None and b.grad is not listed:
                    node.grad = entered
                    push(node)
                    push(b)
                elif down:
                    node.grad = entered
                    push(node)
                else:
                    node.grad = listed
                    emit(node)
                    break
                if not down:
                    break
                node = a
                continue
            node.grad = entered
            push(node)
            if a.__class__ is tuple:
                stack.extend([x for x in a[::-1] if x._a is not None and x.grad is not listed])
                break
            if a._a is None or (state := a.grad) is listed:
                break
            node = a
    return order, again
