"""Walks over the graph that Values make: in which order to visit it, and the reverse sweep on the graph itself.

Every walk is iterative, takes operands from left to right and knows a Value by its identity, so its order depends on
the graph alone: not on addresses, not on hashes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Protocol, TypeVar

from macrograd.ops import CONSTANT, Op, gate, maximum, where


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
    whether some have been in a backward before, where their gradient is another object than `fresh`.

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


def contributions(op: Op, g: Any, out: Any, operands: list[Any]) -> list[Any]:
    """What each operand's gradient gains; None where nothing flows: there is no rule, or a choice did not take it."""
    if op.arity is None:
        return list(op.derivative(g, out, *operands))
    return [None if rule is None else rule(g, out, *operands) for rule in op.derivative]


def sweep(
    order: Iterable[N],
    root: N,
    seed: Any = 1.0,
    *,
    active: Container[N] | None = None,
    numbers: bool = False,
) -> dict[N, Any]:
    """Gradients of `root`, times the number or Value `seed`, by Value, for all of `order` that root depends on.

    The same walk as `Value.backward`, but on the graph itself instead of on its numbers, so that the result can be
    differentiated again; with `numbers` on the numbers, into floats. Only Values in `active` get gradients, by default
    all of `order` that are not constants.

    What a choice did not take gets nothing. While a function is traced nobody knows what that is: there `taken` holds,
    for what lies behind choices, a Value that is not 0 where it was taken, and its slopes are computed from what passes
    through `gate`.
    """
    nodes: list[Any] = list(order)
    if active is None:
        active = {x for x in nodes if x.op is not CONSTANT}
    gradients: dict[N, Any] = {root: seed}
    taken: dict[N, Any] = {}
    get = gradients.get
    for node in reversed(nodes):
        g = get(node)
        op, a, b, out = node.op, node._a, node._b, node
        if g is None or a is None:
            continue
        if not numbers and (op.chooses or node in taken):
            _guarded(node, g, active, gradients, taken)
            continue
        if op.arity == 2:
            left, right = op.derivative
            x, y = a, b
            if numbers:
                out, x, y = node._data, a._data, b._data
            elif a.op is CONSTANT:  # as a number it costs the rule no operations of its own
                x = a._data
            elif b.op is CONSTANT:
                y = b._data
            if left is not None and a in active and (gain := left(g, out, x, y)) is not None:
                old = get(a)
                gradients[a] = gain if old is None else old + gain
                taken.pop(a, None)
            if right is not None and b in active and (gain := right(g, out, x, y)) is not None:
                old = get(b)
                gradients[b] = gain if old is None else old + gain
                taken.pop(b, None)
            continue
        inputs = operands = node.inputs
        if numbers:
            out, operands = node._data, [x._data for x in inputs]
        for x, gain in zip(inputs, contributions(op, g, out, operands), strict=True):
            if gain is not None and x in active:
                old = get(x)
                gradients[x] = gain if old is None else old + gain
                taken.pop(x, None)
    return gradients


def _guarded(node: Any, g: Any, active: Container[Any], gradients: dict[Any, Any], taken: dict[Any, Any]) -> None:
    """The step of `sweep` for an operation that chooses, and for what lies behind one in a trace."""
    op, mask, out = node.op, taken.get(node), node
    inputs = node.inputs
    operands = [x._data if x.op is CONSTANT else x for x in inputs]
    shares: list[Any] = [1.0] * len(inputs)
    if op.chooses:
        shares = contributions(op, 1.0, node, operands)
    elif mask is not None:
        out = gate(mask, node)
        operands = [x if x.__class__ is float else gate(mask, x) for x in operands]
    gains = contributions(op, g, out, operands)
    for x, gain, share in zip(inputs, gains, shares, strict=True):
        if gain is None or x not in active:
            continue
        way = mask
        if share.__class__ is not float:  # in a trace it is open whether it was taken here
            way = share if mask is None else where(share, mask, 0.0)
        old = gradients.get(x)
        gradients[x] = gain if old is None else old + gain
        if old is None:
            if way is not None:
                taken[x] = way
        elif x in taken:
            if way is None:
                del taken[x]
            elif way is not taken[x]:
                taken[x] = maximum(taken[x], way)
