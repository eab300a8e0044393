"""How the derivative rules of the op table are applied: by sweeps back and ahead, on numbers and on graphs.

A row has one rule per operand: c_k(g, out, *operands) is what the gradient of operand k gains where g is the gradient
of the result. A rule is linear in g, so that its factor is ∂out/∂x_k. All derivatives are made of these rules, here:

    contributions   all rules of one operation
    reaches         the operands that have a rule: through the others no derivative flows
    accumulate      back, on the numbers of a graph: `Value.backward`, `macrograd.grad` of numbers
    sweep           back, on the graph itself: derivatives that can be differentiated again
    ahead           ahead, on numbers or on the graph: d(out) = Σ_k c_k(d(x_k), out, *operands)

The compiler differentiates whole tapes at a time (`compiler.rewrite.differentiate`): it asks `contributions` once per
operation, of values without numbers, and copies what comes out.

**Order.** Going back, the last use of a value contributes first, and among the operands of one use the left one. The
sum that they make is added up in that order, by everything that must give the same bits.

**Strong zeros.** None is a contribution, too: nothing flows to what a choice did not take, not even the NaN that zero
times an infinite slope would be.

Source: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, §3.1 and §3.2.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, TypeVar

from macrograd.graph import Node
from macrograd.ops import CONSTANT, Op, dot, gate, maximum, sum_, where

N = TypeVar("N", bound=Node)


# --- one operation ----------------------------------------------------------------------------------------------------


def contributions(op: Op, g: Any, out: Any, operands: Sequence[Any]) -> list[Any]:
    """What each operand's gradient gains; None where nothing flows: there is no rule, or a choice did not take it."""
    if op.arity is None:
        return list(op.derivative(g, out, *operands))
    return [None if rule is None else rule(g, out, *operands) for rule in op.derivative]


def reaches(op: Op) -> tuple[bool, ...]:
    """Whether an operand has a rule, by its slot (see `Op.slot`)."""
    if op.arity is None:
        return tuple([gain is not None for gain in op.derivative(1.0, 0.0, *[0.0] * op.slots)])
    return tuple([rule is not None for rule in op.derivative])


# --- back -------------------------------------------------------------------------------------------------------------


def accumulate(order: Sequence[Any], nothing: float) -> None:
    """Add to the `.grad` of all operands what the operations in `order` contribute, the last operation first.

    `order` has operands before results. All of it but the results to begin with, and the operands that no operation of
    `order` made, hold the object `nothing` as their gradient, or what they had; what still holds it at its turn has
    received no gradient, and passes none on.
    """
    for node in reversed(order):
        g = node.grad
        if g is nothing:  # no choice took it, or only a comparison used it: 0 times an infinite slope would be NaN
            continue
        op, a, b = node.op, node._a, node._b
        if op.arity == 2:
            left, right = op.derivative
            x, y, out = a._data, b._data, node._data
            if a.op is not CONSTANT and left is not None and (gain := left(g, out, x, y)) is not None:
                a.grad += gain
            if b.op is not CONSTANT and right is not None and (gain := right(g, out, x, y)) is not None:
                b.grad += gain
        elif op.arity == 1:
            (rule,) = op.derivative
            if rule is not None and (gain := rule(g, node._data, a._data)) is not None:
                a.grad += gain
        else:
            inputs = node.inputs
            gains = contributions(op, g, node._data, [x._data for x in inputs])
            for operand, gain in zip(inputs, gains, strict=True):
                if gain is not None and operand.op is not CONSTANT:
                    operand.grad += gain


def of_numbers(order: Sequence[N], root: N, leaves: Sequence[N], beside: Iterable[N] = ()) -> dict[N, float]:
    """The gradient of `root` by the leaves, as numbers; of a leaf that it does not depend on there is none.

    `order` are the operations between them, operands before results. It works in their `.grad`. Those of `beside`,
    operands which depend on no leaf, are what they were afterwards.
    """
    kept = [(x, x.grad) for x in beside]
    nothing = float("-0")  # an object of its own; added to −0.0, a number keeps its sign
    node: Any
    for node in (*leaves, *order):
        node.grad = nothing
    node = root
    node.grad = 1.0
    accumulate(order, nothing)
    for node, grad in kept:
        node.grad = grad
    return {x: x.grad for x in leaves if x.grad is not nothing}


def sweep(order: Iterable[N], root: N, seed: Any = 1.0, *, active: Container[N] | None = None) -> dict[N, Any]:
    """Gradients of `root`, times the number or Value `seed`, by Value, for all of `order` that root depends on.

    They are Values (numbers, where they are the same for all operands), made by operations on the graph itself, so that
    the result can be differentiated again. Only Values in `active` get gradients, by default all of `order` that are
    not constants.

    While a function is traced nobody knows what a choice takes: there `taken` holds, for what lies behind choices, a
    Value that is not 0 where it was taken, and its slopes are computed from what passes through `gate`.
    """
    nodes: list[Any] = list(order)
    if active is None:
        active = {x for x in nodes if x.op is not CONSTANT}
    gradients: dict[N, Any] = {root: seed}
    taken: dict[N, Any] = {}
    get = gradients.get
    for node in reversed(nodes):
        g = get(node)
        op, a, b = node.op, node._a, node._b
        if g is None or a is None:
            continue
        if op.arity != 2 or op.chooses or node in taken:
            _step(node, g, active, gradients, taken)
            continue
        left, right = op.derivative
        x, y = a, b
        if a.op is CONSTANT:  # as a number it costs the rule no operations of its own
            x = a._data
        elif b.op is CONSTANT:
            y = b._data
        if left is not None and a in active and (gain := left(g, node, x, y)) is not None:
            old = get(a)
            gradients[a] = gain if old is None else old + gain
            taken.pop(a, None)
        if right is not None and b in active and (gain := right(g, node, x, y)) is not None:
            old = get(b)
            gradients[b] = gain if old is None else old + gain
            taken.pop(b, None)
    return gradients


def _step(node: Any, g: Any, active: Container[Any], gradients: dict[Any, Any], taken: dict[Any, Any]) -> None:
    """The step of `sweep` for any operation, also one that chooses or lies behind a choice in a trace."""
    op, mask, out = node.op, taken.get(node), node
    inputs = node.inputs
    operands = [x._data if x.op is CONSTANT else x for x in inputs]
    shares: list[Any] = [1.0] * len(inputs)
    if op.chooses:
        shares = contributions(op, 1.0, node, operands)
    elif mask is not None:
        out = gate(mask, node)
        operands = [x if x.__class__ is float and 1e-18 <= abs(x) <= 1e18 else gate(mask, x) for x in operands]
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


# --- ahead ------------------------------------------------------------------------------------------------------------


def ahead(order: Iterable[N], tangents: dict[N, Any], numbers: bool) -> dict[N, Any]:
    """Add the tangents of all of `order` to those of the leaves; none for what does not change along them.

    `order` has operands before results. With `numbers` the tangents are floats, else Values that can be differentiated.
    """
    get = tangents.get
    node: Any
    for node in order:
        op, a, b, out = node.op, node._a, node._b, node
        if op.arity == 2:
            t, u = get(a), get(b)
            if t is None and u is None:
                continue
            left, right = op.derivative
            x, y = a, b
            if numbers:
                out, x, y = node._data, a._data, b._data
            elif a.op is CONSTANT:  # as a number it costs the rule no operations of its own
                x = a._data
            elif b.op is CONSTANT:
                y = b._data
            first = None if t is None or left is None else left(t, out, x, y)
            second = None if u is None or right is None else right(u, out, x, y)
            found = second if first is None else first if second is None else first + second
        else:
            inputs: Any = node.inputs
            ts = [get(x) for x in inputs]
            if not any(t is not None for t in ts):
                continue
            operands = inputs
            if numbers:
                out, operands = node._data, [x._data for x in inputs]
            found = _tangent(op, ts, out, operands)
        if found is not None:
            tangents[node] = found
    return tangents


def _tangent(op: Op, ts: list[Any], out: Any, operands: Any) -> Any:
    """The tangent of an operation that does not have two operands."""
    if op.arity is not None:
        rules = zip(ts, op.derivative, strict=True)
        flows = [rule(t, out, *operands) for t, rule in rules if t is not None and rule is not None]
        gains = [gain for gain in flows if gain is not None]
        return sum_(*gains) if len(gains) > 1 else gains[0] if gains else None
    # Its one rule gives all contributions at once. To call it for every tangent would take quadratic time, so it is
    # called once, for the factors.
    factors = contributions(op, 1.0, out, operands)
    if op.chooses and not all(factor is None or factor.__class__ is float for factor in factors):
        # In a trace it is open which it takes: it takes among the tangents. Times 0, one not taken might be a NaN.
        return op(operands[0], *[0.0 if t is None else t for t in ts[1:]])
    pairs = [(t, factor) for t, factor in zip(ts, factors, strict=True) if t is not None and factor is not None]
    if all(factor.__class__ is float and factor == 1.0 for _, factor in pairs):
        return sum_(*[t for t, _ in pairs]) if pairs else None
    return dot(*[x for pair in pairs for x in pair])
